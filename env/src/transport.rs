//! The other nodes, as bytes.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tribunal_history::MemberId;

/// What is asked of another node: a name that its handler knows, such as `raft/append`.
pub type Method = &'static str;

/// Messages to other nodes.
pub trait Transport: Clone + Send + Sync + 'static {
    /// An ordered stream.
    type Stream: PeerStream;

    /// Asks `to` and waits at most `within` for its answer.
    fn call(
        &self,
        to: MemberId,
        method: Method,
        body: Bytes,
        within: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send;

    /// Tells where a member is reached, as the membership says. A transport that has a directory of its own need not
    /// listen.
    fn learn(&self, member: MemberId, peer_urls: &[String]) {
        let _ = (member, peer_urls);
    }

    /// Tells that a member is none any more.
    fn forget(&self, member: MemberId) {
        let _ = member;
    }

    /// Opens an ordered stream in both directions, which breaks as a whole.
    fn stream(&self, to: MemberId, method: Method) -> impl Future<Output = Result<Self::Stream, CallError>> + Send;
}

/// An ordered stream of messages in both directions.
pub trait PeerStream: Send + 'static {
    /// Sends a message; an error means that the stream is broken.
    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Receives the next message; none when the other side has closed in good order.
    fn receive(&mut self) -> impl Future<Output = Result<Option<Bytes>, CallError>> + Send;
}

/// Why a call has no answer. The difference decides whether it may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It was not executed: nobody was there, or it was refused before execution.
    Refused(String),
    /// Nobody knows whether it was executed.
    TimedOut(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::TimedOut(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for CallError {}
