//! etcd's services on plain messages: validation, reads, proposals, headers. No transport and no gRPC library.

pub mod consensus;
pub mod error;

pub use consensus::{Applied, Barrier, Consensus, Context, MemberInfo, NodeStatus};
pub use error::{ApiError, Code};
