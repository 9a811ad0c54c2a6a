//! What the services need of consensus, so that neither knows how the other works.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tribunal_history::{LogIndex, MemberId, Revision, Term};
use tribunal_proto::peer;

use crate::kv::Kv;
use crate::service::error::ApiError;

/// Where a request comes from and how long it may take; goes with it when it is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Identifies the client's operation in evidence; 0 for none.
    pub operation: u64,
    /// The moment of [`tribunal_env::Clock::monotonic`] after which nobody waits for the answer.
    pub deadline: Option<Duration>,
    /// It came from another member. Such a request is not forwarded again.
    pub forwarded: bool,
}

/// What a committed command did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Its result; of the headers only the revision is set.
    pub reply: peer::CommandReply,
    /// Term of its entry.
    pub term: Term,
    /// Index of its entry.
    pub index: LogIndex,
}

/// A read index (Raft dissertation §6.4), applied locally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Term of the leader that confirmed it.
    pub term: Term,
    /// Everything up to here is applied in the local state machine.
    pub index: LogIndex,
    /// The read that it was made for, counted from 1 in each life of a node; names it in evidence.
    pub read: u64,
}

/// What a member knows of itself and of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The cluster's id.
    pub cluster: u64,
    /// Its own id.
    pub member: MemberId,
    /// The leader it knows.
    pub leader: Option<MemberId>,
    /// Its term.
    pub term: Term,
    /// Last applied entry.
    pub applied: LogIndex,
    /// Last entry that it knows to be committed.
    pub committed: LogIndex,
    /// Last entry of its log.
    pub last: LogIndex,
    /// It has no vote.
    pub is_learner: bool,
    /// Bytes on its disk.
    pub size_bytes: u64,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Its id.
    pub id: MemberId,
    /// Its name, such as `n1`; empty until it has started.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started.
    pub client_urls: Vec<String>,
    /// It has no vote.
    pub is_learner: bool,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A member is added. It gets an id that no member ever had.
    Add {
        /// Where other members will reach it.
        peer_urls: Vec<String>,
        /// It stays without a vote until it is promoted on request. Otherwise it gets its vote by itself, once it has
        /// caught up.
        learner: bool,
    },
    /// A member is removed, for ever.
    Remove {
        /// Which.
        member: u64,
    },
    /// A learner gets a vote.
    Promote {
        /// Which.
        member: u64,
    },
    /// A member is reached elsewhere.
    Update {
        /// Which.
        member: u64,
        /// Where, from now on.
        peer_urls: Vec<String>,
    },
}

/// What a change of the membership did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedMembers {
    /// The member that was added.
    pub added: Option<u64>,
    /// All members now.
    pub members: Vec<MemberInfo>,
}

/// What the services need of consensus; implemented by `crate::consensus`.
pub trait Consensus: Clone + Send + Sync + 'static {
    /// Proposes a command and waits until it is committed and applied by the leader.
    ///
    /// A follower forwards it once, and repeats that only where the other said that it appended nothing. An error
    /// says nothing about whether the command takes effect, unless it was refused before it was appended. A
    /// command that is applied and refused by the state machine is no error here: see [`Applied::reply`].
    fn propose(
        &self,
        context: Context,
        command: peer::Command,
    ) -> impl Future<Output = Result<Applied, ApiError>> + Send;

    /// Waits until everything that was acknowledged before this call is applied in the local state machine: on
    /// the leader by ReadIndex, on a follower by asking the leader for the index.
    fn read_barrier(&self, context: Context) -> impl Future<Output = Result<Barrier, ApiError>> + Send;

    /// Runs `read` on the applied state, under its lock, at once.
    fn with_state<R>(&self, read: impl FnOnce(&Kv) -> R) -> R;

    /// Told when a read is about to be answered from the state at `revision`; `barrier` is none for a serializable
    /// one. The answer waits for this, so that evidence of the read is written first. Nothing by default.
    fn reading(
        &self,
        _context: Context,
        _barrier: Option<Barrier>,
        _revision: Revision,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        async { Ok(()) }
    }

    /// Changes the membership and waits until the change is committed and applied by the leader. One change is made
    /// at a time. A follower forwards it, as in [`Consensus::propose`]. Not implemented by default.
    fn change_members(
        &self,
        _context: Context,
        _change: MemberChange,
    ) -> impl Future<Output = Result<ChangedMembers, ApiError>> + Send {
        async { Err(ApiError::unimplemented("changing the membership")) }
    }

    /// Hands leadership to another voter and waits until this member follows it. Not implemented by default.
    fn move_leader(&self, _context: Context, _to: MemberId) -> impl Future<Output = Result<(), ApiError>> + Send {
        async { Err(ApiError::unimplemented("moving leadership")) }
    }

    /// Saves a snapshot of all that is applied and removes what it covers from the log. Not implemented by default.
    fn defragment(&self, _context: Context) -> impl Future<Output = Result<(), ApiError>> + Send {
        async { Err(ApiError::unimplemented("defragmentation")) }
    }

    /// What this member knows of itself and of the group.
    fn status(&self) -> NodeStatus;

    /// The members of the cluster, in order of their ids.
    fn members(&self) -> Vec<MemberInfo>;
}
