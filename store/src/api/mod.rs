//! The services as gRPC: thin adapters between tonic and [`crate::service`]; nothing of tonic goes below.
//!
//! What is not registered here, such as `Watch` and `Lease`, is answered *unimplemented* by tonic itself.
//!
//! Metadata that is read: `tribunal-operation` names the client's operation in evidence; `grpc-timeout` becomes
//! the deadline; `hasleader` asks for a refusal while the member knows no leader (etcd's `WithRequireLeader`).

mod cluster;
mod gate;
mod kv;
mod maintenance;

use std::time::Duration;

use tonic::service::Routes;
use tribunal_proto::etcdserverpb::cluster_server::ClusterServer;
use tribunal_proto::etcdserverpb::kv_server::KvServer;
use tribunal_proto::etcdserverpb::maintenance_server::MaintenanceServer;

use crate::service::{ApiError, Consensus};

pub use gate::OPERATION_KEY;

use gate::Gate;

/// Largest message that is read from a client, in bytes: etcd's limit of a request and its allowance for what is
/// around it, so that a request which is a little too large gets etcd's own error.
pub const MESSAGE_BYTES_MAX: usize = crate::service::validate::REQUEST_BYTES_MAX + (512 << 10);

/// Everything that a member serves on its client URL. `now` is the node's [`tribunal_env::Clock::monotonic`].
pub fn router<C: Consensus>(consensus: C, now: impl Fn() -> Duration + Send + Sync + 'static) -> Routes {
    let gate = Gate::new(consensus, now);
    Routes::new(KvServer::new(kv::Adapter::new(gate.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(
            ClusterServer::new(cluster::Adapter::new(gate.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            MaintenanceServer::new(maintenance::Adapter::new(gate)).max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
}

/// Our error as tonic's; code and text stay what they are.
fn status(error: ApiError) -> tonic::Status {
    tonic::Status::new(tonic::Code::from_i32(error.code as i32), error.text)
}

/// The answer to a method that this store does not have.
fn unimplemented<T>(method: &str) -> Result<tonic::Response<T>, tonic::Status> {
    Err(status(ApiError::unimplemented(method)))
}
