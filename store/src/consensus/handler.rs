//! What a member does when another one calls.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, SnapshotResponse, TransferLeaderRequest, VoteRequest};
use prost::Message as _;
use tribunal_env::{Clock as _, Env};
use tribunal_history::MemberId;
use tribunal_proto::peer;

use super::machine::as_snapshot;
use super::node::Node;
use super::types::Types;
use super::wire::{self, Card, Forwarded, ForwardedChange, Install, Installed, Piece, Proposed, Standing};
use crate::defect::Defect;
use crate::points;
use crate::service::{Code, Consensus as _, Context};
use crate::wal::WalError;
use crate::wal::snapshot::ContentId;

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
                self.refuse_removed(&request)?;
                let answer = raft.vote(request).await.map_err(|e| failed(&e))?;
                Ok(wire::encode(&answer))
            }
            wire::PRE_VOTE => {
                let request: VoteRequest<Types<E>> = read(method, &body)?;
                self.refuse_removed(&request)?;
                let answer = raft.pre_vote(request).await.map_err(|e| failed(&e))?;
                Ok(wire::encode(&answer))
            }
            wire::PIECE => {
                let piece: Piece = read(method, &body)?;
                let came = self.receive(piece).await.map_err(|e| failed(&e))?;
                Ok(wire::encode(&came))
            }
            wire::INSTALL => {
                let request: Install = read(method, &body)?;
                Ok(wire::encode(&self.install(request).await?))
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
                self.node.keep(card);
                Ok(wire::encode(&self.node.card()))
            }
            wire::CHANGE => {
                let forwarded: ForwardedChange = read(method, &body)?;
                Ok(wire::encode(&self.node.change_for_peer(forwarded).await))
            }
            wire::STANDING => {
                let member: u64 = read(method, &body)?;
                Ok(wire::encode(&self.node.standing(member)))
            }
            wire::JOIN => {
                let peer_urls: Vec<String> = read(method, &body)?;
                // Who lags may still know the member that was there before and is removed: it must not come back.
                let now = self.node.read_barrier(Context::default()).await;
                now.map_err(|error| HandlerError::Refused(error.text))?;
                Ok(wire::encode(&self.node.welcome(peer_urls)))
            }
            _ => Err(HandlerError::Refused(format!("there is no method {method:?}"))),
        }
    }

    /// Adds a piece to the snapshot that is being received. One of another snapshot takes its place.
    async fn receive(&self, piece: Piece) -> Result<u64, WalError> {
        let snapshots = self.node.snapshots();
        let slot = self.node.incoming();
        // Taken out meanwhile, so that two pieces at once do not mix: the second one finds nothing to add to.
        let taken = lock(slot).take();
        let mut incoming = match taken {
            Some((content, incoming)) if content == piece.content => incoming,
            other => {
                if let Some((_, incoming)) = other {
                    snapshots.discard(incoming.name()).await?;
                }
                snapshots.receive().await?
            }
        };
        let is_next = piece.offset == incoming.length();
        if is_next {
            incoming.write(piece.bytes).await?;
        }
        let came = incoming.length();
        let other = lock(slot).replace((piece.content, incoming));
        if let Some((_, incoming)) = other {
            snapshots.discard(incoming.name()).await?;
        }
        Ok(came)
    }

    /// Checks the snapshot that was received and gives it to consensus. Until that has kept it, nothing has changed
    /// here but a file beside.
    async fn install(&self, request: Install) -> Result<Installed<SnapshotResponse<Types<E>>>, HandlerError> {
        let failed = |error: &dyn std::fmt::Display| HandlerError::Failed(error.to_string());
        let snapshots = self.node.snapshots();
        let taken = lock(self.node.incoming()).take();
        let Some((content, incoming)) = taken else {
            if self.node.has(Defect::StaleSnapshotInstalled) {
                self.install_again(request.content).await.map_err(|e| failed(&e))?;
            }
            return Ok(Installed::Missing);
        };
        let name = incoming.name().to_owned();
        let is_whole = content == request.content && incoming.length() == request.length;
        let stored = match is_whole.then_some(incoming) {
            None => None,
            Some(incoming) => match incoming.finish().await {
                Ok(stored) if stored.id() == content => Some(stored),
                Ok(_) | Err(WalError::Corrupt { .. } | WalError::Version { .. }) => None,
                Err(error) => return Err(failed(&error)),
            },
        };
        let snapshot = stored.map(as_snapshot).transpose().map_err(|e| failed(&e))?;
        let answer = match snapshot {
            None => Installed::Missing,
            Some(snapshot) => {
                if self.node.has(Defect::StaleSnapshotInstalled) {
                    let late = self.node.inner.machine.install_late(&snapshot).await;
                    late.map_err(|e| failed(&e))?;
                }
                let installed = self.node.raft().install_full_snapshot(request.vote, snapshot).await;
                Installed::Answered(installed.map_err(|e| failed(&e))?)
            }
        };
        // Consensus may have declined it. If it was kept, it has another name.
        snapshots.discard(&name).await.map_err(|e| failed(&e))?;
        Ok(answer)
    }

    /// Planted defect `stale-snapshot-installed`: who asks again for what was done gets it done again.
    async fn install_again(&self, content: ContentId) -> Result<(), std::io::Error> {
        match self.node.snapshots().current() {
            Some(current) if current.id() == content => {
                self.node.inner.machine.install_late(&as_snapshot(current)?).await
            }
            _ => Ok(()),
        }
    }

    /// A member that was removed is no candidate, however it got here.
    fn refuse_removed(&self, request: &VoteRequest<Types<E>>) -> Result<(), HandlerError> {
        let candidate = request.vote.leader_id.voted_for;
        if self.node.standing(candidate) == Standing::Removed {
            let why = format!("{} was removed from the cluster", MemberId(candidate));
            return Err(HandlerError::Refused(why));
        }
        Ok(())
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T: serde::de::DeserializeOwned>(method: &str, body: &[u8]) -> Result<T, HandlerError> {
    wire::decode(method, body).map_err(HandlerError::Refused)
}
