//! What a member does when another one calls.

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use prost::Message as _;
use tribunal_env::{Clock as _, Env};
use tribunal_proto::peer;

use super::node::Node;
use super::types::{Snapshot, Types};
use super::wire::{self, Card, Forwarded, Proposed, SentSnapshot};
use crate::points;
use crate::service::{Code, Context};

/// Answers the calls of other members; every transport delivers to it.
#[derive(Clone)]
pub struct PeerHandler<E: Env> {
    node: Node<E>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// It was not executed.
    #[error("{0}")]
    Refused(String),
    /// It may have been executed, at least in part.
    #[error("{0}")]
    Failed(String),
}

impl<E: Env> PeerHandler<E> {
    /// The handler of a node.
    pub fn new(node: Node<E>) -> Self {
        Self { node }
    }

    /// Executes a call. The answer rests on evidence, which is written before this returns.
    pub async fn call(&self, method: &str, body: Bytes) -> Result<Bytes, HandlerError> {
        let answer = self.dispatch(method, body).await?;
        self.node
            .env()
            .settle()
            .await
            .map_err(|error| HandlerError::Failed(format!("cannot write evidence: {error}")))?;
        points::linger(self.node.env(), points::PEER_BEFORE_ANSWER).await;
        Ok(answer)
    }

    async fn dispatch(&self, method: &str, body: Bytes) -> Result<Bytes, HandlerError> {
        let raft = self.node.raft();
        let failed = |error: &dyn std::fmt::Display| HandlerError::Failed(error.to_string());
        match method {
            wire::APPEND => {
                let request: AppendEntriesRequest<Types<E>> = read(method, &body)?;
                let answer = raft.append_entries(request).await.map_err(|e| failed(&e))?;
                Ok(wire::encode(&answer))
            }
            wire::VOTE => {
                let request: VoteRequest<Types<E>> = read(method, &body)?;
                let answer = raft.vote(request).await.map_err(|e| failed(&e))?;
                Ok(wire::encode(&answer))
            }
            wire::PRE_VOTE => {
                let request: VoteRequest<Types<E>> = read(method, &body)?;
                let answer = raft.pre_vote(request).await.map_err(|e| failed(&e))?;
                Ok(wire::encode(&answer))
            }
            wire::SNAPSHOT => {
                let SentSnapshot { vote, meta, data } = read(method, &body)?;
                let snapshot = Snapshot { meta, snapshot: data };
                let answer = raft
                    .install_full_snapshot(vote, snapshot)
                    .await
                    .map_err(|e| failed(&e))?;
                Ok(wire::encode(&answer))
            }
            wire::TRANSFER => {
                let request: TransferLeaderRequest<Types<E>> = read(method, &body)?;
                let answer = raft.handle_transfer_leader(request).await.map_err(|e| failed(&e))?;
                Ok(wire::encode(&answer))
            }
            wire::PROPOSE => {
                let forwarded: Forwarded = read(method, &body)?;
                Ok(wire::encode(&self.propose(forwarded).await))
            }
            wire::READ_INDEX => {
                let within_ms: u64 = read(method, &body)?;
                Ok(wire::encode(&self.node.read_index_for_peer(within_ms).await))
            }
            wire::MEET => {
                let card: Card = read(method, &body)?;
                Ok(wire::encode(&self.node.meet(card)))
            }
            _ => Err(HandlerError::Refused(format!("there is no method {method:?}"))),
        }
    }

    async fn propose(&self, forwarded: Forwarded) -> Proposed {
        let command = match peer::Command::decode(forwarded.command) {
            Ok(command) => command,
            Err(error) => {
                return Proposed::Failed {
                    code: Code::Internal as u32,
                    text: format!("a malformed command was forwarded: {error}"),
                };
            }
        };
        let within = std::time::Duration::from_millis(forwarded.within_ms);
        let context = Context {
            operation: forwarded.operation,
            deadline: Some(self.node.env().clock().monotonic() + within),
            forwarded: true,
        };
        self.node.propose_for_peer(context, command).await
    }
}

fn read<T: serde::de::DeserializeOwned>(method: &str, body: &[u8]) -> Result<T, HandlerError> {
    wire::decode(method, body).map_err(HandlerError::Refused)
}
