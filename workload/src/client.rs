//! What a client can do: one request to one node, and what came of it.

use std::future::Future;
use std::time::Duration;

use tribunal_history::NodeId;
use tribunal_proto::etcdserverpb as pb;

/// A request of etcd's v3 API.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Reads keys.
    Range(pb::RangeRequest),
    /// Writes a key.
    Put(pb::PutRequest),
    /// Deletes keys.
    DeleteRange(pb::DeleteRangeRequest),
    /// Compares, then does one of two lists of operations.
    Txn(pb::TxnRequest),
}

/// The answer to a [`Call`], of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To a range.
    Range(pb::RangeResponse),
    /// To a put.
    Put(pb::PutResponse),
    /// To a delete.
    DeleteRange(pb::DeleteRangeResponse),
    /// To a txn.
    Txn(pb::TxnResponse),
}

impl Response {
    /// The header, which every answer of etcd carries.
    pub fn header(&self) -> Option<&pb::ResponseHeader> {
        match self {
            Self::Range(response) => response.header.as_ref(),
            Self::Put(response) => response.header.as_ref(),
            Self::DeleteRange(response) => response.header.as_ref(),
            Self::Txn(response) => response.header.as_ref(),
        }
    }
}

/// Why a call has no answer, as the client saw it; `classify` makes an ending of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent: there was no connection.
    NotSent(String),
    /// The client's own deadline passed.
    Deadline,
    /// The connection broke after something may have been sent.
    Broken(String),
    /// The node answered with an error.
    Status {
        /// gRPC's code (0 to 16).
        code: i32,
        /// The message, word for word.
        message: String,
        /// Whether the client's own stack made it rather than the node, as far as can be told.
        local: bool,
    },
}

/// One logical client, pinned to one node. It never retries.
pub trait Client: Send + 'static {
    /// The node that it talks to.
    fn node(&self) -> NodeId;

    /// Makes sure that a connection is established. This is not an operation; the caller backs off and repeats.
    fn connect(&mut self, within: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Sends one request on the established connection and waits for its answer.
    fn call(&mut self, call: Call, within: Duration) -> impl Future<Output = Result<Response, Failure>> + Send;
}
