//! Linearizable reads: ReadIndex on the leader, the leader's index on a follower.
//!
//! Source: Ongaro, "Consensus: bridging theory and practice", §6.4.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::errors::RaftError;
use openraft::{ReadPolicy, ServerState};
use openraft_rt::{AsyncRuntime, Instant as _, WatchReceiver as _};
use tribunal_env::{Env, Transport as _};
use tribunal_history::{Evidence, LogIndex, MemberId, Term};

use super::node::Node;
use super::wire::{self, ReadIndexed};
use crate::defect::Defect;
use crate::points;
use crate::service::{ApiError, Barrier, Context};

/// The linearizable reads of one life of a node.
#[derive(Debug, Default)]
pub(super) struct Reads {
    begun: AtomicU64,
    waiting: AtomicU64,
}

/// A read that waits for an index.
struct Waiting<'a> {
    number: u64,
    reads: &'a Reads,
}

impl Reads {
    /// Whether any read waits: evidence of who confirms this node as the leader is of use to nobody else.
    pub(super) fn are_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn begin(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting {
            number: 1 + self.begun.fetch_add(1, Ordering::Relaxed),
            reads: self,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.reads.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<E: Env> Node<E> {
    /// Waits until what was acknowledged before this call is applied here.
    ///
    /// Asking has no effect, so it is repeated until the deadline.
    pub(super) async fn barrier(&self, context: Context) -> Result<Barrier, ApiError> {
        let deadline = self.deadline(context);
        let read = self.begin_read();
        let barrier = loop {
            let leader = self.leader();
            let answer = match leader {
                Some(leader) if leader == self.id() => self.read_index(read.number, deadline).await,
                Some(_) if self.has(Defect::FollowerServesLinearizableRead) => self.read_index_of_own(),
                Some(leader) => self.ask_read_index(leader, deadline).await,
                None => ReadIndexed::NotLeader,
            };
            match answer {
                ReadIndexed::At { term, index } => {
                    break Barrier {
                        term: Term(term),
                        index: LogIndex(index),
                        read: read.number,
                    };
                }
                ReadIndexed::Stopped => return Err(ApiError::stopped()),
                ReadIndexed::NotLeader if self.pause(deadline).await => {}
                ReadIndexed::NotLeader if leader.is_none() => return Err(ApiError::no_leader()),
                ReadIndexed::NotLeader => return Err(ApiError::timed_out()),
            }
        };
        points::linger(self.env(), points::READ_AFTER_CONFIRMATION).await;
        if self.has(Defect::ReadBeforeApply) {
            return Ok(barrier);
        }
        let left = deadline.saturating_sub(self.now());
        let applied = self.inner.machine.applied();
        match E::Runtime::timeout(left, applied.reaches(barrier.index.0 + 1)).await {
            Ok(Ok(_)) => Ok(barrier),
            Ok(Err(_)) => Err(ApiError::stopped()),
            Err(_) => Err(ApiError::timed_out()),
        }
    }

    /// Answers a follower that asks for a read index.
    pub(super) async fn read_index_for_peer(&self, within_ms: u64) -> ReadIndexed {
        let read = self.begin_read();
        self.read_index(read.number, self.now() + Duration::from_millis(within_ms))
            .await
    }

    fn begin_read(&self) -> Waiting<'_> {
        let read = self.inner.reads.begin();
        self.env().record(Evidence::ReadBegun { read: read.number });
        read
    }

    /// Names the index that a read must wait for, as the leader, and leaves evidence of it.
    async fn read_index(&self, read: u64, deadline: Duration) -> ReadIndexed {
        let by_lease = if self.has(Defect::LeaseRead) {
            self.read_index_by_lease()
        } else {
            None
        };
        let lease = by_lease.is_some();
        let answer = match by_lease {
            Some(answer) => answer,
            None => self.confirm_read_index(deadline).await,
        };
        if let ReadIndexed::At { term, index } = answer {
            self.env().record(Evidence::ReadIndex {
                read,
                term: Term(term),
                index: LogIndex(index),
                lease,
            });
        }
        answer
    }

    /// Confirms with a quorum that this member leads, and gives the index that a read must wait for: the last
    /// committed one when the confirmation began, and at least that of the leader's first entry.
    async fn confirm_read_index(&self, deadline: Duration) -> ReadIndexed {
        if self.has(Defect::ReadWithoutQuorum)
            && let Some(answer) = self.read_index_without_quorum()
        {
            return answer;
        }
        let left = deadline.saturating_sub(self.now());
        let confirmed = E::Runtime::timeout(left, self.raft().get_read_linearizer(ReadPolicy::ReadIndex)).await;
        match confirmed {
            Ok(Ok(linearizer)) => {
                let read = linearizer.read_log_id();
                let (term, mut index) = (read.committed_leader_id().term, read.index());
                if (self.has(Defect::AckBeforeQuorum) || self.has(Defect::RemovedNodeStillCounted))
                    && let Some(acknowledged) = self.acknowledged_in(Term(term))
                {
                    // For the defect an acknowledged entry is as good as committed.
                    index = index.max(acknowledged.0);
                }
                ReadIndexed::At { term, index }
            }
            Ok(Err(RaftError::Fatal(_))) => ReadIndexed::Stopped,
            Ok(Err(RaftError::APIError(_))) | Err(_) => ReadIndexed::NotLeader,
        }
    }

    /// Planted defect `read-without-quorum`: who believes that it leads names what it has applied.
    fn read_index_without_quorum(&self) -> Option<ReadIndexed> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let index = self.inner.machine.applied().get().checked_sub(1)?;
        (metrics.state == ServerState::Leader).then_some(ReadIndexed::At {
            term: metrics.current_term,
            index,
        })
    }

    /// Planted defect `follower-serves-linearizable-read`: what is applied here has to do.
    fn read_index_of_own(&self) -> ReadIndexed {
        match self.inner.machine.applied().get().checked_sub(1) {
            Some(index) => ReadIndexed::At {
                term: self.raft().metrics().borrow_watched().current_term,
                index,
            },
            None => ReadIndexed::NotLeader,
        }
    }

    /// Planted defect `lease-read`: who leads, has applied an entry of its own term, and heard from a quorum less
    /// than one and a half election timeouts ago by its own clock, names what it has applied.
    fn read_index_by_lease(&self) -> Option<ReadIndexed> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.last_quorum_acked.as_ref()?.into_inner();
        let leads = metrics.state == ServerState::Leader
            && metrics
                .last_applied
                .is_some_and(|last| last.leader_id.term == metrics.current_term);
        let holds = <E::Runtime as AsyncRuntime>::Instant::now() < heard + self.inner.settings.election * 3 / 2;
        let index = self.inner.machine.applied().get().checked_sub(1)?;
        (leads && holds).then_some(ReadIndexed::At {
            term: metrics.current_term,
            index,
        })
    }

    async fn ask_read_index(&self, leader: MemberId, deadline: Duration) -> ReadIndexed {
        let left = deadline.saturating_sub(self.now());
        // Not longer than an election, after which there may be another leader to ask.
        let within = left.min(self.inner.settings.election);
        let body = wire::encode(&u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let transport = self.env().transport();
        match transport.call(leader, wire::READ_INDEX, body, within).await {
            // A leader that stops is replaced: asking again is right.
            Ok(bytes) => match wire::decode(wire::READ_INDEX, &bytes) {
                Ok(ReadIndexed::Stopped) | Err(_) => ReadIndexed::NotLeader,
                Ok(answer) => answer,
            },
            Err(_) => ReadIndexed::NotLeader,
        }
    }
}
