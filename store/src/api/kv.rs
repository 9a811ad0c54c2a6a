//! `etcdserverpb.KV`.

use tonic::{Request, Response, Status};
use tribunal_proto::etcdserverpb::kv_server::Kv;
use tribunal_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};

use super::gate::Gate;
use super::status;
use crate::service::{Consensus, KvService};

pub(super) struct Adapter<C> {
    gate: Gate<C>,
    service: KvService<C>,
}

impl<C: Consensus> Adapter<C> {
    pub fn new(gate: Gate<C>) -> Self {
        Self {
            service: KvService::new(gate.consensus.clone()),
            gate,
        }
    }
}

#[tonic::async_trait]
impl<C: Consensus> Kv for Adapter<C> {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .range(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .put(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .delete_range(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .txn(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        let (context, request) = self.gate.enter(request)?;
        self.service
            .compact(context, request)
            .await
            .map(Response::new)
            .map_err(status)
    }
}
