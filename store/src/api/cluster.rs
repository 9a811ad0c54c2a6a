//! `etcdserverpb.Cluster`.

use tonic::{Request, Response, Status};
use tribunal_proto::etcdserverpb::cluster_server::Cluster;
use tribunal_proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};

use super::gate::Gate;
use super::status;
use crate::service::{ClusterService, Consensus};

pub(super) struct Adapter<C> {
    gate: Gate<C>,
    service: ClusterService<C>,
}

impl<C: Consensus> Adapter<C> {
    pub fn new(gate: Gate<C>) -> Self {
        Self {
            service: ClusterService::new(gate.consensus.clone()),
            gate,
        }
    }
}

#[tonic::async_trait]
impl<C: Consensus> Cluster for Adapter<C> {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .member_list(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn member_add(&self, request: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .member_add(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .member_remove(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .member_update(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .member_promote(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }
}
