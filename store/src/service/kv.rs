//! Keys and values.
//!
//! A read asks for a barrier, unless it is serializable, and then reads the local state. What may write goes
//! through the log. Both are checked first, so that a request which no state can make right costs no entry.

use tribunal_history::Revision;
use tribunal_proto::etcdserverpb::request_op::Request;
use tribunal_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use tribunal_proto::peer::{Command, command, command_reply::Response};

use super::consensus::{Consensus, Context};
use super::error::{ApiError, Code};
use super::{header, validate};
use crate::kv::{self, Kv, KvError};

/// etcd's service `KV`.
#[derive(Clone, Debug)]
pub struct KvService<C> {
    consensus: C,
}

impl<C: Consensus> KvService<C> {
    /// The service of one member.
    pub fn new(consensus: C) -> Self {
        Self { consensus }
    }

    /// Reads keys.
    ///
    /// # Errors
    /// The request is wrong; its revision is compacted or in the future; there is no leader, or no answer in time.
    pub async fn range(&self, context: Context, request: RangeRequest) -> Result<RangeResponse, ApiError> {
        validate::range(&request)?;
        let mut response = self
            .read(context, request.serializable, |kv| kv.range(&request))
            .await?;
        header::fill(&self.consensus, &mut response.header);
        Ok(response)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// The request is wrong or too large; the key or lease that it relies on is absent; see also
    /// [`Consensus::propose`].
    pub async fn put(&self, context: Context, request: PutRequest) -> Result<PutResponse, ApiError> {
        validate::put(&request)?;
        validate::size(&request)?;
        match self.propose(context, command::Request::Put(request)).await? {
            Response::Put(mut response) => {
                header::fill(&self.consensus, &mut response.header);
                Ok(response)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// The request is wrong or too large; see also [`Consensus::propose`].
    pub async fn delete_range(
        &self,
        context: Context,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, ApiError> {
        validate::delete_range(&request)?;
        validate::size(&request)?;
        match self.propose(context, command::Request::DeleteRange(request)).await? {
            Response::DeleteRange(mut response) => {
                header::fill(&self.consensus, &mut response.header);
                Ok(response)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Compares, then does one of two lists of operations. One that can only read needs no log entry.
    ///
    /// # Errors
    /// As for its operations; it has too many of them, or changes a key twice.
    pub async fn txn(&self, context: Context, request: TxnRequest) -> Result<TxnResponse, ApiError> {
        // The size bounds the work of the other checks.
        validate::size(&request)?;
        validate::txn(&request)?;
        let mut response = if kv::is_read_only(&request) {
            self.read(context, is_serializable(&request), |kv| kv.read_txn(&request))
                .await?
        } else {
            match self.propose(context, command::Request::Txn(request)).await? {
                Response::Txn(response) => response,
                other => return Err(unexpected(&other)),
            }
        };
        header::fill(&self.consensus, &mut response.header);
        Ok(response)
    }

    /// Forgets states before a revision.
    ///
    /// # Errors
    /// They are forgotten already, or the revision is in the future; see also [`Consensus::propose`].
    pub async fn compact(&self, context: Context, request: CompactionRequest) -> Result<CompactionResponse, ApiError> {
        match self.propose(context, command::Request::Compact(request)).await? {
            Response::Compact(mut response) => {
                header::fill(&self.consensus, &mut response.header);
                Ok(response)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn read<R: Send>(
        &self,
        context: Context,
        serializable: bool,
        read: impl FnOnce(&Kv) -> Result<R, KvError> + Send,
    ) -> Result<R, ApiError> {
        if !serializable && self.consensus.status().is_learner {
            return Err(ApiError::not_supported_for_learner());
        }
        let barrier = if serializable {
            None
        } else {
            Some(self.consensus.read_barrier(context).await?)
        };
        let (result, revision): (_, Revision) = self.consensus.with_state(|kv| (read(kv), kv.revision()));
        let response = result?;
        self.consensus.reading(context, barrier, revision).await?;
        Ok(response)
    }

    async fn propose(&self, context: Context, request: command::Request) -> Result<Response, ApiError> {
        if self.consensus.status().is_learner {
            return Err(ApiError::not_supported_for_learner());
        }
        let command = Command {
            operation: context.operation,
            request: Some(request),
        };
        match self.consensus.propose(context, command).await?.reply.response {
            Some(Response::Error(error)) => Err(error.into()),
            Some(response) => Ok(response),
            None => Err(ApiError::new(Code::Internal, "the command was applied without a reply")),
        }
    }
}

/// Whether every range of a transaction that only reads may be answered from local state.
fn is_serializable(txn: &TxnRequest) -> bool {
    let serializable = |request: &Option<Request>| match request {
        Some(Request::RequestRange(range)) => range.serializable,
        _ => false,
    };
    txn.success
        .iter()
        .chain(&txn.failure)
        .all(|operation| serializable(&operation.request))
}

/// Another member answered with something else; what it did is not known.
fn unexpected(response: &Response) -> ApiError {
    let kind = match response {
        Response::Error(_) => "an error",
        Response::Put(_) => "a put",
        Response::DeleteRange(_) => "a delete",
        Response::Txn(_) => "a txn",
        Response::Compact(_) => "a compaction",
    };
    ApiError::new(
        Code::Internal,
        format!("the reply of the state machine is that of {kind}, not of this request"),
    )
}
