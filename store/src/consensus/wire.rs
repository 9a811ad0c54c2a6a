//! What members say to each other, as bytes: postcard of openraft's messages and of ours.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tribunal_env::Method;

use super::types::Vote;

pub(super) const APPEND: Method = "raft/append";
pub(super) const VOTE: Method = "raft/vote";
pub(super) const PRE_VOTE: Method = "raft/prevote";
pub(super) const PIECE: Method = "raft/snapshot-piece";
pub(super) const INSTALL: Method = "raft/snapshot-install";
pub(super) const TRANSFER: Method = "raft/transfer";
pub(super) const PROPOSE: Method = "kv/propose";
pub(super) const READ_INDEX: Method = "kv/read-index";
pub(super) const MEET: Method = "member/meet";

/// Calls that may be executed twice without harm: Raft's messages, which bear it by design, and questions. A command
/// that is forwarded is not among them: executed twice it is two commands.
pub const MAY_ARRIVE_TWICE: &[Method] = &[APPEND, VOTE, PRE_VOTE, READ_INDEX, MEET];

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
    /// Where clients reach it.
    pub client_urls: Vec<String>,
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
