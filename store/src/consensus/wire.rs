//! What members say to each other, as bytes: postcard of openraft's messages and of ours.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tribunal_env::Method;

use super::types::Vote;
use crate::service::{ChangedMembers, MemberChange};

pub(super) const APPEND: Method = "raft/append";
pub(super) const VOTE: Method = "raft/vote";
pub(super) const PRE_VOTE: Method = "raft/prevote";
pub(super) const PIECE: Method = "raft/snapshot-piece";
pub(super) const INSTALL: Method = "raft/snapshot-install";
pub(super) const TRANSFER: Method = "raft/transfer";
pub(super) const PROPOSE: Method = "kv/propose";
pub(super) const READ_INDEX: Method = "kv/read-index";
pub(super) const MEET: Method = "member/meet";
pub(super) const CHANGE: Method = "member/change";
pub(super) const STANDING: Method = "member/standing";

/// Asked by who is no member yet, or does not know which one it is; every member answers, whoever is meant.
pub const JOIN: Method = "member/join";

/// Calls that may be executed twice without harm, at once or much later: Raft's messages, which bear it by design, pieces
/// of snapshots, and questions. A command that is forwarded is not among them: executed twice it is two commands.
pub const MAY_ARRIVE_TWICE: &[Method] = &[APPEND, VOTE, PRE_VOTE, PIECE, INSTALL, READ_INDEX, MEET];

/// A command that a follower forwards.
#[derive(Serialize, Deserialize)]
pub(super) struct Forwarded {
    /// The client's operation, for evidence.
    pub operation: u64,
    /// How long the follower will wait.
    pub within_ms: u64,
    /// The encoded command.
    pub command: Bytes,
}

/// The leader's answer to a forwarded command.
#[derive(Serialize, Deserialize)]
pub(super) enum Proposed {
    /// It is committed and applied.
    Applied {
        /// The encoded reply.
        reply: Bytes,
        /// Term of its entry.
        term: u64,
        /// Index of its entry.
        index: u64,
    },
    /// It was not appended and will not be: this member does not lead, or not with a quorum.
    NotAppended,
    /// It failed in another way, and may have been appended.
    Failed {
        /// gRPC's code.
        code: u32,
        /// etcd's text.
        text: String,
    },
}

/// The leader's answer to a request for a read index.
#[derive(Serialize, Deserialize)]
pub(super) enum ReadIndexed {
    /// Everything up to here has to be applied before the read.
    At {
        /// The leader's term.
        term: u64,
        /// The index.
        index: u64,
    },
    /// This member does not lead, or not with a quorum.
    NotLeader,
    /// It is stopping.
    Stopped,
}

/// A piece of a snapshot's file. Answered with how many bytes of that file came so far: where the next piece begins.
#[derive(Serialize, Deserialize)]
pub(super) struct Piece {
    /// Names the content of the whole file.
    pub content: u128,
    /// Where in the file the piece stands.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// Asks to install the snapshot whose pieces were sent.
#[derive(Serialize, Deserialize)]
pub(super) struct Install {
    /// The leader's vote.
    pub vote: Vote,
    /// Names the content.
    pub content: u128,
    /// Bytes of the whole file.
    pub length: u64,
}

/// The answer to [`Install`].
#[derive(Serialize, Deserialize)]
pub(super) enum Installed<A> {
    /// Consensus says this.
    Answered(A),
    /// Pieces are missing, or the whole is damaged: it has to be sent again.
    Missing,
}

/// What members tell each other when they meet; both ways.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Card {
    /// Who it is.
    pub member: u64,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// A change of the membership that a follower forwards.
#[derive(Serialize, Deserialize)]
pub(super) struct ForwardedChange {
    /// How long the follower will wait.
    pub within_ms: u64,
    /// The change.
    pub change: MemberChange,
}

/// The leader's answer to a forwarded change.
#[derive(Serialize, Deserialize)]
pub(super) enum ProposedChange {
    /// It is committed and applied.
    Changed(ChangedMembers),
    /// It was not appended and will not be.
    NotAppended,
    /// It failed in another way, and may have been appended.
    Failed {
        /// gRPC's code.
        code: u32,
        /// etcd's text.
        text: String,
    },
}

/// The answer to a member that asks whether it is still one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// It was removed, for ever.
    Removed,
    /// It was not, as far as is known here.
    NotRemoved,
}

/// The answer to who asks at [`JOIN`] with its peer URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster's id.
    pub cluster: u64,
    /// The member that is reached at these URLs; none so far.
    pub member: Option<u64>,
}

/// The question at [`JOIN`]: who is reached at these URLs?
pub fn ask_to_join(peer_urls: &[String]) -> Bytes {
    encode(&peer_urls)
}

/// Reads the answer at [`JOIN`].
///
/// # Errors
/// It is malformed, and how.
pub fn read_welcome(bytes: &[u8]) -> Result<Welcome, String> {
    decode(JOIN, bytes)
}

pub(super) fn encode(message: &impl Serialize) -> Bytes {
    postcard::to_allocvec(message)
        .unwrap_or_else(|error| panic!("a message serializes: {error}"))
        .into()
}

/// Reads a message; an error says which one was malformed.
pub(super) fn decode<T: DeserializeOwned>(method: &str, bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|error| format!("a malformed message for {method}: {error}"))
}
