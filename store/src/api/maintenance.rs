//! `etcdserverpb.Maintenance`.

use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tribunal_proto::etcdserverpb::maintenance_server::Maintenance;
use tribunal_proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest, DowngradeResponse,
    HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest,
    SnapshotResponse, StatusRequest, StatusResponse,
};

use super::gate::Gate;
use super::{status, unimplemented};
use crate::service::{Consensus, MaintenanceService};

pub(super) struct Adapter<C> {
    gate: Gate<C>,
    service: MaintenanceService<C>,
}

impl<C: Consensus> Adapter<C> {
    pub fn new(gate: Gate<C>) -> Self {
        Self {
            service: MaintenanceService::new(gate.consensus.clone()),
            gate,
        }
    }
}

#[tonic::async_trait]
impl<C: Consensus> Maintenance for Adapter<C> {
    type SnapshotStream = BoxStream<SnapshotResponse>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .status(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .alarm(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn defragment(&self, request: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .defragment(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        unimplemented("Maintenance.Hash")
    }

    async fn hash_kv(&self, _: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        unimplemented("Maintenance.HashKV")
    }

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        unimplemented("Maintenance.Snapshot")
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .move_leader(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        unimplemented("Maintenance.Downgrade")
    }
}
