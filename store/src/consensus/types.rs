//! The types that openraft is configured with.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::vote::leader_id_std;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use prost::Message as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tribunal_env::Env;
use tribunal_history::MemberId;
use tribunal_history::evidence::Configuration;
use tribunal_proto::peer;

use crate::wal::snapshot::Stored;

/// openraft's configuration for a node in the world `E`. It has no values; the traits are written by hand since
/// derives would ask for them of `E`.
pub struct Types<E>(PhantomData<fn() -> E>);

impl<E: Env> RaftTypeConfig for Types<E> {
    type D = Proposal;
    type R = Reply;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = E::Runtime;
    type Responder<T>
        = openraft::impls::ProgressResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// At most one leader in a term, as in the Raft paper.
pub(super) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(super) type CommittedLeaderId = leader_id_std::CommittedLeaderId<u64>;
pub(super) type Vote = openraft::Vote<LeaderId>;
pub(super) type LogId = openraft::LogId<CommittedLeaderId>;
pub(super) type Payload = EntryPayload<Proposal, u64, Member>;
pub(super) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(super) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, Member>;
pub(super) type Membership = openraft::Membership<u64, Member>;
pub(super) type Snapshot<E> = openraft::Snapshot<CommittedLeaderId, u64, Member, Stored<E>>;

/// A membership as evidence names it.
pub(super) fn configuration(membership: &Membership) -> Configuration {
    let sorted = |ids: &mut dyn Iterator<Item = u64>| {
        let mut members: Vec<MemberId> = ids.map(MemberId).collect();
        members.sort_unstable();
        members
    };
    let voters = membership.get_joint_config().iter();
    Configuration {
        voters: voters.map(|set| sorted(&mut set.iter().copied())).collect(),
        learners: sorted(&mut membership.learner_ids()),
    }
}

/// A command as a log entry carries it: encoded once, where it is proposed, and decoded where it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proposal(pub Bytes);

impl Proposal {
    /// The proposal of a command.
    pub fn new(command: &peer::Command) -> Self {
        Self(command.encode_to_vec().into())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying an entry gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply(pub peer::CommandReply);

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes::from(self.0.encode_to_vec()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        peer::CommandReply::decode(bytes).map(Self).map_err(D::Error::custom)
    }
}

/// A member as the membership in the log knows it. Where clients reach it is not here: members tell that to
/// each other when they meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, for a member of the initial cluster; others tell theirs themselves.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// While it has no vote: it waits to be promoted on request, and does not get its vote by itself.
    pub stays_learner: bool,
}

impl<E> fmt::Debug for Types<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}

impl<E> Clone for Types<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Types<E> {}

impl<E> Default for Types<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E> PartialEq for Types<E> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<E> Eq for Types<E> {}

impl<E> PartialOrd for Types<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Types<E> {
    fn cmp(&self, _other: &Self) -> Ordering {
        Ordering::Equal
    }
}
