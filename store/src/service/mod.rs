//! etcd's services on plain messages: validation, reads, proposals, headers. No transport and no gRPC library.
//!
//! A service belongs to one member and is generic over [`Consensus`], so that it can be tried without a cluster.
//! Errors are [`ApiError`]s with etcd's codes and texts, which clients compare.

mod cluster;
pub mod consensus;
pub mod dispatch;
pub mod error;
mod header;
mod kv;
mod maintenance;
pub mod validate;

pub use cluster::ClusterService;
pub use consensus::{Applied, Barrier, ChangedMembers, Consensus, Context, MemberChange, MemberInfo, NodeStatus};
pub use dispatch::{dispatch, method};
pub use error::{ApiError, Code};
pub use kv::KvService;
pub use maintenance::{ETCD_VERSION, MaintenanceService};
