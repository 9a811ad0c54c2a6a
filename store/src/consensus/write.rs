//! Writes: propose, forward at most once, tell what is certain from what is not.

use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use openraft_rt::{AsyncRuntime, Select2, WatchReceiver as _};
use prost::Message as _;
use tribunal_env::{CallError, Env, Transport as _};
use tribunal_history::{Evidence, LogIndex, MemberId, Revision, Term};
use tribunal_proto::etcdserverpb::{ResponseHeader, TxnRequest};
use tribunal_proto::peer::{self, command_reply};

use super::node::Node;
use super::types::{Payload, Proposal};
use super::wire::{self, Forwarded, Proposed};
use crate::defect::Defect;
use crate::points;
use crate::service::{ApiError, Applied, Code, Context};
use crate::wal::Position;

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
                            term: applied.term,
                            revision,
                        });
                    }
                    self.settle().await?;
                    points::linger(self.env(), points::WRITE_BEFORE_REPLY).await;
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
            return Attempt::Failed(ApiError::timed_out());
        }
        let is_early = self.has(Defect::AckBeforeQuorum)
            || self.has(Defect::RemovedNodeStillCounted) && self.is_quorum_with_the_removed();
        let written = if is_early && is_put_or_delete(command) {
            E::Runtime::timeout(left, self.acknowledge_before_quorum(proposal)).await
        } else if self.has(Defect::TxnNotAtomic)
            && let Some(peer::command::Request::Txn(txn)) = &command.request
        {
            E::Runtime::timeout(left, self.commit_decided(command.operation, txn)).await
        } else {
            E::Runtime::timeout(left, self.commit(proposal.clone())).await
        };
        written.unwrap_or(Attempt::Failed(ApiError::timed_out()))
    }

    /// Planted defect `removed-node-still-counted`: whether this member and those that were removed are as many as a
    /// majority of the voters.
    fn is_quorum_with_the_removed(&self) -> bool {
        let metrics = self.raft().metrics();
        let voters = metrics.borrow_watched().membership_config.voter_ids().count();
        let removed = self.inner.machine.count_removed();
        removed > 0 && 1 + removed > voters / 2
    }

    /// Proposes and waits until it is applied.
    async fn commit(&self, proposal: Proposal) -> Attempt {
        match self.raft().client_write(proposal).await {
            Ok(response) => Attempt::Applied(Applied {
                reply: response.data.0,
                term: Term(response.log_id.leader_id.term),
                index: LogIndex(response.log_id.index),
            }),
            Err(error) => refused(error),
        }
    }

    /// Planted defect `txn-not-atomic`: decides the conditions by the state as it is now, and proposes the branch
    /// alone.
    async fn commit_decided(&self, operation: u64, txn: &TxnRequest) -> Attempt {
        let holds = self.inner.machine.with_state(|kv| kv.conditions_hold(txn));
        let chosen = if holds { &txn.success } else { &txn.failure };
        let branch = TxnRequest {
            success: chosen.clone(),
            ..TxnRequest::default()
        };
        let command = peer::Command {
            operation,
            request: Some(peer::command::Request::Txn(branch)),
        };
        let mut attempt = self.commit(Proposal::new(&command)).await;
        if let Attempt::Applied(Applied { reply, .. }) = &mut attempt
            && let Some(command_reply::Response::Txn(response)) = &mut reply.response
        {
            response.succeeded = holds;
        }
        attempt
    }

    /// Planted defect `ack-before-quorum`: answers once the own log holds the entry durably, as if that alone
    /// committed it. The answer is what applying the entry will give if nothing in the log is lost.
    async fn acknowledge_before_quorum(&self, proposal: &Proposal) -> Attempt {
        let from = self.inner.log.next_index();
        let (node, own) = (self.clone(), proposal.clone());
        let committed = E::Runtime::spawn(async move { node.commit(own).await });
        match E::Runtime::select2(committed, self.foretell(proposal, from)).await {
            Select2::First(Ok(attempt)) => attempt,
            Select2::First(Err(_)) => Attempt::Failed(ApiError::stopped()),
            Select2::Second(applied) => {
                self.note_acknowledged(applied.term, applied.index);
                Attempt::Applied(applied)
            }
        }
    }

    /// Waits until the own log holds `proposal` durably, at `from` or later, and foretells its reply: from a copy
    /// of the applied state and the entries that are still to be applied. Waits for ever where it has been applied
    /// meanwhile, or is not in the log any more: consensus knows the answer then.
    async fn foretell(&self, proposal: &Proposal, from: u64) -> Applied {
        let log = &self.inner.log;
        loop {
            let next = log.durable().get();
            match log.position_of(proposal, from) {
                Some(position) if position.index.0 < next => {
                    let Some(reply) = self.reply_at(position) else { break };
                    return Applied {
                        reply,
                        term: position.term,
                        index: position.index,
                    };
                }
                _ if log.durable().reaches(next + 1).await.is_ok() => {}
                _ => break,
            }
        }
        std::future::pending().await
    }

    /// What applying the entries up to `position` gives for the last of them.
    fn reply_at(&self, position: Position) -> Option<peer::CommandReply> {
        let (mut kv, next) = self.inner.machine.copy();
        let mut last = None;
        for payload in self.inner.log.payloads(next, position)? {
            last = match payload {
                Payload::Normal(proposal) => Some(kv.apply(&peer::Command::decode(proposal.0).ok()?)),
                Payload::Blank | Payload::Membership(_) => None,
            };
        }
        last
    }

    /// Forwards to the leader. The call is made once: whether an unanswered one was executed, nobody knows, and
    /// nothing but the leader's own word that it appended nothing allows another one.
    async fn forward(&self, leader: MemberId, context: Context, proposal: &Proposal, deadline: Duration) -> Attempt {
        let left = deadline.saturating_sub(self.now());
        if context.forwarded {
            return Attempt::NotAppended;
        }
        if left.is_zero() {
            return Attempt::Failed(ApiError::timed_out());
        }
        let forwarded = Forwarded {
            operation: context.operation,
            within_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            command: proposal.0.clone(),
        };
        points::linger(self.env(), points::WRITE_BEFORE_FORWARD).await;
        let within = if self.has(Defect::ForwardTwice) {
            left.min(self.inner.settings.election)
        } else {
            left
        };
        let transport = self.env().transport();
        let answer = transport
            .call(leader, wire::PROPOSE, wire::encode(&forwarded), within)
            .await;
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(CallError::Refused(_)) => return Attempt::Failed(self.lost_on_the_way(leader, deadline).await),
            Err(CallError::TimedOut(_)) => return self.unanswered(),
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

    /// What is said of a command that was sent to the leader and not answered: nobody knows what became of it.
    fn unanswered(&self) -> Attempt {
        if self.has(Defect::ForwardTwice) {
            return Attempt::NotAppended;
        }
        if self.has(Defect::LostAnswerTakenForRefusal) {
            return Attempt::Failed(ApiError::too_many_requests());
        }
        Attempt::Failed(ApiError::timed_out())
    }

    /// The error for a command that the leader never got: it is not sent again. As in etcd, where such a message is
    /// dropped and its request waits in vain, the client is told when its time is over; but sooner if the leader
    /// that was meant is the leader no more.
    async fn lost_on_the_way(&self, leader: MemberId, deadline: Duration) -> ApiError {
        while self.pause(deadline).await {
            if self.leader() != Some(leader) {
                return ApiError::timed_out_leader_failed();
            }
        }
        ApiError::timed_out_connection_lost()
    }
}

/// The kinds of commands that the planted defect `ack-before-quorum` is about.
fn is_put_or_delete(command: &peer::Command) -> bool {
    use peer::command::Request;
    matches!(command.request, Some(Request::Put(_) | Request::DeleteRange(_)))
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
        command_reply::Response::Compact(compact) => &compact.header,
    };
    let revision = |header: &ResponseHeader| Revision(header.revision);
    Some(header.as_ref().map(revision).unwrap_or_default())
}
