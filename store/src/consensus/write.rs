//! Writes: propose, forward at most once, tell what is certain from what is not.

use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use openraft_rt::{AsyncRuntime, Select2};
use prost::Message as _;
use tribunal_env::{CallError, Env, Transport as _};
use tribunal_history::{Evidence, LogIndex, MemberId, Revision, Term};
use tribunal_proto::etcdserverpb::ResponseHeader;
use tribunal_proto::peer::{self, command_reply};

use super::node::Node;
use super::types::Proposal;
use super::wire::{self, Forwarded, Proposed};
use crate::defect::Defect;
use crate::service::{ApiError, Applied, Code, Context};

/// How one attempt to write ended.
enum Attempt {
    Applied(Applied),
    /// Nothing was appended anywhere, and nothing will be: it may be tried again.
    NotAppended,
    /// It is over; it may have been appended.
    Failed(ApiError),
}

impl<E: Env> Node<E> {
    pub(super) async fn write(&self, context: Context, command: peer::Command) -> Result<Applied, ApiError> {
        let proposal = Proposal::new(&command);
        let deadline = self.deadline(context);
        loop {
            let attempt = match self.leader() {
                Some(leader) if leader == self.id() => self.propose_here(&proposal, &command, deadline).await,
                Some(leader) => self.forward(leader, context, &proposal, deadline).await,
                None => Attempt::NotAppended,
            };
            match attempt {
                Attempt::Applied(applied) => {
                    if let Some(revision) = acknowledged(&applied.reply) {
                        self.env().record(Evidence::Ack {
                            operation: context.operation,
                            index: applied.index,
                            revision,
                        });
                    }
                    self.settle().await?;
                    return Ok(applied);
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::NotAppended if self.pause(deadline).await => {}
                Attempt::NotAppended => return Err(ApiError::no_leader()),
            }
        }
    }

    /// Answers a follower that forwarded a command. It is not forwarded again.
    pub(super) async fn propose_for_peer(&self, context: Context, command: peer::Command) -> Proposed {
        let proposal = Proposal::new(&command);
        match self.propose_here(&proposal, &command, self.deadline(context)).await {
            Attempt::Applied(applied) => Proposed::Applied {
                reply: applied.reply.encode_to_vec().into(),
                term: applied.term.0,
                index: applied.index.0,
            },
            Attempt::NotAppended => Proposed::NotAppended,
            Attempt::Failed(error) => Proposed::Failed {
                code: error.code as u32,
                text: error.text,
            },
        }
    }

    async fn propose_here(&self, proposal: &Proposal, command: &peer::Command, deadline: Duration) -> Attempt {
        let left = deadline.saturating_sub(self.now());
        if left.is_zero() {
            return Attempt::NotAppended;
        }
        if self.has(Defect::AckBeforeQuorum) {
            return self.acknowledge_before_quorum(proposal, command, left).await;
        }
        let written = E::Runtime::timeout(left, self.raft().client_write(proposal.clone())).await;
        match written {
            Ok(Ok(response)) => Attempt::Applied(Applied {
                reply: response.data.0,
                term: Term(response.log_id.leader_id.term),
                index: LogIndex(response.log_id.index),
            }),
            Ok(Err(error)) => refused(error),
            Err(_) => Attempt::Failed(ApiError::timed_out()),
        }
    }

    /// Planted defect `ack-before-quorum`: answers once the own log has grown, with what the applied state makes
    /// of the command. If consensus refuses the command first, that is the answer.
    async fn acknowledge_before_quorum(&self, proposal: &Proposal, command: &peer::Command, left: Duration) -> Attempt {
        let reply = self.inner.machine.with_state(|kv| kv.clone().apply(command));
        let appended = self.inner.log.appended();
        let next = appended.get();
        let raft = self.raft().clone();
        let proposal = proposal.clone();
        let write = E::Runtime::spawn(async move { raft.client_write(proposal).await });
        let grown = appended.reaches(next + 1);
        match E::Runtime::timeout(left, E::Runtime::select2(write, grown)).await {
            Ok(Select2::First(Ok(Ok(response)))) => Attempt::Applied(Applied {
                reply: response.data.0,
                term: Term(response.log_id.leader_id.term),
                index: LogIndex(response.log_id.index),
            }),
            Ok(Select2::First(Ok(Err(error)))) => refused(error),
            Ok(Select2::First(Err(_)) | Select2::Second(Err(_))) => Attempt::Failed(ApiError::stopped()),
            Ok(Select2::Second(Ok(_))) => {
                let last = self.inner.log.last();
                Attempt::Applied(Applied {
                    reply,
                    term: last.map(|last| last.term).unwrap_or_default(),
                    index: last.map(|last| last.index).unwrap_or_default(),
                })
            }
            Err(_) => Attempt::Failed(ApiError::timed_out()),
        }
    }

    /// Forwards to the leader. The call is made once: whether an unanswered one was executed, nobody knows.
    async fn forward(&self, leader: MemberId, context: Context, proposal: &Proposal, deadline: Duration) -> Attempt {
        let left = deadline.saturating_sub(self.now());
        if context.forwarded || left.is_zero() {
            return Attempt::NotAppended;
        }
        let forwarded = Forwarded {
            operation: context.operation,
            within_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            command: proposal.0.clone(),
        };
        let transport = self.env().transport();
        let answer = transport
            .call(leader, wire::PROPOSE, wire::encode(&forwarded), left)
            .await;
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(CallError::Refused(_)) => return Attempt::NotAppended,
            Err(CallError::TimedOut(_)) => return Attempt::Failed(ApiError::timed_out()),
        };
        match wire::decode(wire::PROPOSE, &bytes) {
            Ok(Proposed::Applied { reply, term, index }) => match peer::CommandReply::decode(reply) {
                Ok(reply) => Attempt::Applied(Applied {
                    reply,
                    term: Term(term),
                    index: LogIndex(index),
                }),
                Err(error) => malformed(&error),
            },
            Ok(Proposed::NotAppended) => Attempt::NotAppended,
            Ok(Proposed::Failed { code, text }) => Attempt::Failed(ApiError::new(Code::from_number(code), text)),
            Err(error) => malformed(&error),
        }
    }
}

/// The leader's answer cannot be read; what it did is unknown.
fn malformed(error: &dyn std::fmt::Display) -> Attempt {
    Attempt::Failed(ApiError::new(
        Code::Unknown,
        format!("the leader's answer is malformed: {error}"),
    ))
}

/// What an error of openraft says about whether the command was appended (openraft, `ClientWriteError`).
fn refused<E: Env>(error: RaftError<super::types::Types<E>, ClientWriteError<super::types::Types<E>>>) -> Attempt {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Attempt::NotAppended,
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Attempt::Failed(ApiError::leader_changed()),
        RaftError::APIError(error) => Attempt::Failed(ApiError::new(Code::Internal, error.to_string())),
        RaftError::Fatal(_) => Attempt::Failed(ApiError::stopped()),
    }
}

/// The revision of a reply that says ok.
fn acknowledged(reply: &peer::CommandReply) -> Option<Revision> {
    let header = match reply.response.as_ref()? {
        command_reply::Response::Error(_) => return None,
        command_reply::Response::Put(put) => &put.header,
        command_reply::Response::DeleteRange(delete) => &delete.header,
        command_reply::Response::Txn(txn) => &txn.header,
    };
    let revision = |header: &ResponseHeader| Revision(header.revision);
    Some(header.as_ref().map(revision).unwrap_or_default())
}
