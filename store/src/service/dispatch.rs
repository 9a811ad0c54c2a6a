//! The services as bytes: one function from a method's name and an encoded request to an encoded answer.
//!
//! For worlds without gRPC. Names are gRPC paths without the slash at their beginning; messages are what gRPC would
//! carry. The services behind it are the same.

use bytes::Bytes;
use prost::Message;

use super::consensus::{Consensus, Context};
use super::error::{ApiError, Code};
use super::{ClusterService, KvService, MaintenanceService};

/// The names of the methods.
pub mod method {
    /// Reads keys.
    pub const RANGE: &str = "etcdserverpb.KV/Range";
    /// Writes a key.
    pub const PUT: &str = "etcdserverpb.KV/Put";
    /// Deletes keys.
    pub const DELETE_RANGE: &str = "etcdserverpb.KV/DeleteRange";
    /// Compares, then does one of two lists of operations.
    pub const TXN: &str = "etcdserverpb.KV/Txn";
    /// Forgets states before a revision.
    pub const COMPACT: &str = "etcdserverpb.KV/Compact";
    /// Lists the members.
    pub const MEMBER_LIST: &str = "etcdserverpb.Cluster/MemberList";
    /// Adds a member.
    pub const MEMBER_ADD: &str = "etcdserverpb.Cluster/MemberAdd";
    /// Removes a member.
    pub const MEMBER_REMOVE: &str = "etcdserverpb.Cluster/MemberRemove";
    /// Changes where a member is reached.
    pub const MEMBER_UPDATE: &str = "etcdserverpb.Cluster/MemberUpdate";
    /// Gives a learner a vote.
    pub const MEMBER_PROMOTE: &str = "etcdserverpb.Cluster/MemberPromote";
    /// Hands leadership to another voter.
    pub const MOVE_LEADER: &str = "etcdserverpb.Maintenance/MoveLeader";
    /// Saves a snapshot and removes the log that it covers.
    pub const DEFRAGMENT: &str = "etcdserverpb.Maintenance/Defragment";
    /// What a member knows of itself.
    pub const STATUS: &str = "etcdserverpb.Maintenance/Status";
    /// The alarms.
    pub const ALARM: &str = "etcdserverpb.Maintenance/Alarm";
}

/// Answers one request.
///
/// # Errors
/// Those of the method; there is no method of this name; the message is malformed.
pub async fn dispatch<C: Consensus>(
    consensus: &C,
    context: Context,
    method: &str,
    message: Bytes,
) -> Result<Bytes, ApiError> {
    let kv = || KvService::new(consensus.clone());
    let cluster = || ClusterService::new(consensus.clone());
    let maintenance = || MaintenanceService::new(consensus.clone());
    let answer = match method {
        method::RANGE => encode(&kv().range(context, decode(message)?).await?),
        method::PUT => encode(&kv().put(context, decode(message)?).await?),
        method::DELETE_RANGE => encode(&kv().delete_range(context, decode(message)?).await?),
        method::TXN => encode(&kv().txn(context, decode(message)?).await?),
        method::COMPACT => encode(&kv().compact(context, decode(message)?).await?),
        method::MEMBER_LIST => encode(&cluster().member_list(context, decode(message)?).await?),
        method::MEMBER_ADD => encode(&cluster().member_add(context, decode(message)?).await?),
        method::MEMBER_REMOVE => encode(&cluster().member_remove(context, decode(message)?).await?),
        method::MEMBER_UPDATE => encode(&cluster().member_update(context, decode(message)?).await?),
        method::MEMBER_PROMOTE => encode(&cluster().member_promote(context, decode(message)?).await?),
        method::MOVE_LEADER => encode(&maintenance().move_leader(context, decode(message)?).await?),
        method::DEFRAGMENT => encode(&maintenance().defragment(context, decode(message)?).await?),
        method::STATUS => encode(&maintenance().status(context, decode(message)?).await?),
        method::ALARM => encode(&maintenance().alarm(context, decode(message)?).await?),
        _ => return Err(ApiError::unimplemented(method)),
    };
    Ok(answer)
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// gRPC answers a message that it cannot decode in this way too.
fn decode<M: Message + Default>(message: Bytes) -> Result<M, ApiError> {
    M::decode(message)
        .map_err(|error| ApiError::new(Code::Internal, format!("failed to decode Protobuf message: {error}")))
}
