//! Who is a member: changes, one at a time, and what follows from them.
//!
//! A change is one entry of the log whose membership differs from the one before by at most one voter (Raft
//! dissertation §4.1). It is computed from the membership in force and proposed on the condition that this is still
//! in force, so that of two changes at once one is computed anew. A follower forwards a change as it forwards a write:
//! once, unless the leader says that it appended nothing.
//!
//! A new member gets an id that depends on its URLs, the cluster's token, and the entry whose membership it was added
//! to. No other entry follows that one, so no id is ever given twice, and a member that is removed never comes back:
//! the state machine remembers who was removed. Votes of such a member are refused, and members that do not lead ask the
//! others now and then whether they are still members; one that is not stops. It may well never have heard, since a
//! leader sends nothing more to members that are removed.
//!
//! In this store a member that is added is always a learner at first, also where etcd would make it a voter at once,
//! and the leader gives it its vote once it has caught up. So a new member that has not started yet cannot cost the
//! cluster its quorum. The checks of etcd's `--strict-reconfig-check` are made all the same.
//!
//! Source: etcd, `server/etcdserver/server.go` (`AddMember`, `mayAddMember`, `mayRemoveMember`, `isLearnerReady`) and
//! `membership/cluster.go` (`IsReadyToAddVotingMember` and its siblings).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::raft::Precondition;
use openraft::{ChangeMembers, ServerState};
use openraft_rt::{AsyncRuntime, Instant as _, Select2, WatchReceiver as _};
use tribunal_env::{CallError, Env, Transport as _};
use tribunal_history::MemberId;

use super::identity::joined_id;
use super::node::Node;
use super::types::{Member, Membership, Payload, StoredMembership, Types};
use super::wire::{self, Card, ForwardedChange, ProposedChange, Standing};
use crate::service::{ApiError, ChangedMembers, Code, Consensus as _, Context, MemberChange};

/// Learners that wait for a promotion on request: etcd's default.
const LEARNERS_MAX: usize = 1;

/// A member without a vote gets it by itself when it lacks at most so many entries: they are sent within a moment.
const LAG_MAX: u64 = 64;

/// How one attempt to change the membership ended.
enum Attempt {
    Changed(ChangedMembers),
    /// Nothing was appended; it may be tried again.
    NotAppended,
    /// It is over; it may have been appended, unless the error is a refusal.
    Failed(ApiError),
}

/// What a change makes of the membership.
enum Next {
    /// One entry.
    Append { membership: Membership, added: Option<u64> },
    /// Only what is known of a member changes.
    Describe(u64, Member),
}

impl<E: Env> Node<E> {
    /// Changes the membership.
    pub(super) async fn change_membership(
        &self,
        context: Context,
        change: MemberChange,
    ) -> Result<ChangedMembers, ApiError> {
        let deadline = self.deadline(context);
        loop {
            let attempt = match self.leader() {
                Some(leader) if leader == self.id() => self.change_here(&change, deadline).await,
                Some(leader) if !context.forwarded => self.forward_change(leader, &change, deadline).await,
                _ => Attempt::NotAppended,
            };
            match attempt {
                Attempt::Changed(changed) => {
                    self.settle().await?;
                    return Ok(changed);
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::NotAppended if self.pause(deadline).await => {}
                Attempt::NotAppended => return Err(ApiError::no_leader()),
            }
        }
    }

    /// Answers a follower that forwarded a change. It is not forwarded again.
    pub(super) async fn change_for_peer(&self, forwarded: ForwardedChange) -> ProposedChange {
        let deadline = self.now() + Duration::from_millis(forwarded.within_ms);
        match self.change_here(&forwarded.change, deadline).await {
            Attempt::Changed(changed) => ProposedChange::Changed(changed),
            Attempt::NotAppended => ProposedChange::NotAppended,
            Attempt::Failed(error) => ProposedChange::Failed {
                code: error.code as u32,
                text: error.text,
            },
        }
    }

    async fn forward_change(&self, leader: MemberId, change: &MemberChange, deadline: Duration) -> Attempt {
        let left = deadline.saturating_sub(self.now());
        let forwarded = wire::encode(&ForwardedChange {
            within_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            change: change.clone(),
        });
        let answer = self.env().transport().call(leader, wire::CHANGE, forwarded, left).await;
        let answer = match answer {
            Ok(bytes) => wire::decode(wire::CHANGE, &bytes),
            // It was not executed, so it may be sent again.
            Err(CallError::Refused(_)) => return Attempt::NotAppended,
            Err(CallError::TimedOut(_)) => return Attempt::Failed(ApiError::timed_out()),
        };
        match answer {
            Ok(ProposedChange::Changed(changed)) => Attempt::Changed(changed),
            Ok(ProposedChange::NotAppended) => Attempt::NotAppended,
            Ok(ProposedChange::Failed { code, text }) => Attempt::Failed(ApiError::new(Code::from_number(code), text)),
            Err(error) => Attempt::Failed(ApiError::new(Code::Unknown, error)),
        }
    }

    async fn change_here(&self, change: &MemberChange, deadline: Duration) -> Attempt {
        let left = deadline.saturating_sub(self.now());
        if left.is_zero() {
            return Attempt::Failed(ApiError::timed_out());
        }
        let (next, before) = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow_watched();
            if metrics.state != ServerState::Leader {
                return Attempt::NotAppended;
            }
            match self.next(change, &metrics) {
                Ok(next) => (next, *metrics.membership_config.log_id()),
                Err(error) => return Attempt::Failed(error),
            }
        };
        let condition = Precondition::LastMembershipLogId {
            last_membership_log_id: before,
        };
        let raft = self.raft().clone();
        let (added, written) = match next {
            Next::Append { membership, added } => {
                let append = raft.append_membership(membership, Payload::Blank, [condition]);
                (added, E::Runtime::timeout(left, append).await)
            }
            Next::Describe(id, member) => {
                let set = ChangeMembers::SetNodes(BTreeMap::from([(id, member)]));
                let change = raft.change_membership_if(set, false, [condition]);
                (None, E::Runtime::timeout(left, change).await)
            }
        };
        match written {
            Ok(Ok(_)) => Attempt::Changed(ChangedMembers {
                added,
                members: self.members(),
            }),
            Ok(Err(error)) => refused(error),
            Err(_) => Attempt::Failed(ApiError::timed_out()),
        }
    }

    /// The membership that a change makes of the one in force, if that may be done now.
    fn next(&self, change: &MemberChange, metrics: &RaftMetrics<Types<E>>) -> Result<Next, ApiError> {
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        let mut voters: BTreeSet<u64> = membership.voter_ids().collect();
        let mut nodes: BTreeMap<u64, Member> = membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
        let pending = |(id, node): (&u64, &Member)| !voters.contains(id) && !node.stays_learner;
        let mut added = None;
        match change {
            MemberChange::Add { peer_urls, learner } => {
                if is_taken(&nodes, None, peer_urls) {
                    return Err(ApiError::peer_url_exists());
                }
                if *learner {
                    let learners = membership.learner_ids().filter(|id| nodes[id].stays_learner);
                    if learners.count() >= LEARNERS_MAX {
                        return Err(ApiError::too_many_learners());
                    }
                } else {
                    // Who waits for a vote counts as a voter that has not started.
                    let started = voters.len();
                    let all = started + nodes.iter().filter(|node| pending(*node)).count() + 1;
                    if started < all / 2 + 1 && (started, all) != (1, 2) {
                        return Err(ApiError::not_enough_started());
                    }
                }
                if self.active(metrics, &voters) < voters.len() {
                    return Err(ApiError::unhealthy());
                }
                let id = self.new_id(peer_urls, stored);
                let member = Member {
                    name: String::new(),
                    peer_urls: peer_urls.clone(),
                    stays_learner: *learner,
                };
                nodes.insert(id, member);
                added = Some(id);
            }
            MemberChange::Remove { member } => {
                nodes.remove(member).ok_or_else(ApiError::member_not_found)?;
                if voters.contains(member) {
                    if voters.len() == 1 {
                        return Err(ApiError::not_enough_started());
                    }
                    let left: BTreeSet<u64> = voters.iter().copied().filter(|id| id != member).collect();
                    // Who cannot be reached is no part of the quorum that is in use.
                    let is_active = self.active(metrics, &BTreeSet::from([*member])) > 0;
                    if is_active && self.active(metrics, &left) < left.len() / 2 + 1 {
                        return Err(ApiError::unhealthy());
                    }
                    voters = left;
                }
            }
            MemberChange::Promote { member } => {
                if !nodes.contains_key(member) {
                    return Err(ApiError::member_not_found());
                }
                if voters.contains(member) {
                    return Err(ApiError::member_not_learner());
                }
                let last = metrics.last_log_index.unwrap_or_default();
                let matched = matched(metrics, *member).unwrap_or_default();
                // etcd asks for nine tenths of the leader's log.
                if matched.saturating_mul(10) < last.saturating_mul(9) {
                    return Err(ApiError::learner_not_ready());
                }
                voters.insert(*member);
            }
            MemberChange::Update { member, peer_urls } => {
                let known = nodes.get(member).ok_or_else(ApiError::member_not_found)?;
                if is_taken(&nodes, Some(*member), peer_urls) {
                    return Err(ApiError::peer_url_exists());
                }
                let described = Member {
                    peer_urls: peer_urls.clone(),
                    ..known.clone()
                };
                return Ok(Next::Describe(*member, described));
            }
        }
        let membership = Membership::new(vec![voters], nodes);
        let membership = membership.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        Ok(Next::Append { membership, added })
    }

    /// An id that no member has or had.
    fn new_id(&self, peer_urls: &[String], stored: &StoredMembership) -> u64 {
        let token = &self.inner.settings.token;
        let entry = stored.log_id().map_or((0, 0), |last| (last.leader_id.term, last.index));
        let is_known = |id: u64| stored.membership().get_node(&id).is_some() || self.inner.machine.is_removed(id);
        (0_u64..)
            .map(|attempt| joined_id(peer_urls, token, entry, attempt).0)
            .find(|id| !is_known(*id))
            .unwrap_or_else(|| unreachable!("2^64 ids are not all taken"))
    }

    /// How many of these members the leader has heard of within the last two elections; it counts itself.
    fn active(&self, metrics: &RaftMetrics<Types<E>>, members: &BTreeSet<u64>) -> usize {
        let recent = 2 * self.inner.settings.election;
        let heard = |id: u64| {
            let acknowledged = metrics.heartbeat.as_ref()?.get(&id)?.as_ref()?;
            Some(acknowledged.elapsed() < recent)
        };
        let is_active = |id: &&u64| **id == self.inner.own.0 || heard(**id).unwrap_or_default();
        members.iter().filter(is_active).count()
    }

    /// Gives votes to those who were promised one and have caught up, as long as this member leads.
    pub(super) async fn promote_pending(self) {
        loop {
            E::Runtime::sleep(self.inner.settings.election / 2).await;
            let ready = {
                let metrics = self.raft().metrics();
                let metrics = metrics.borrow_watched();
                ready_for_promotion(&metrics)
            };
            if let Some(member) = ready {
                let deadline = self.now() + self.inner.settings.election;
                // If it fails it is tried again.
                let _ = self.change_here(&MemberChange::Promote { member }, deadline).await;
            }
        }
    }

    /// Keeps what follows from the membership up to date: where members are reached, and who has told of itself.
    pub(super) async fn follow_membership(self) {
        let mut metrics = self.raft().server_metrics();
        let mut known = BTreeMap::<u64, Vec<String>>::new();
        loop {
            let membership = Arc::clone(&metrics.borrow_and_update().membership_config);
            let now: BTreeMap<u64, Vec<String>> = membership
                .nodes()
                .filter(|(id, _)| **id != self.inner.own.0)
                .map(|(id, member)| (*id, member.peer_urls.clone()))
                .collect();
            let transport = self.env().transport();
            for (id, urls) in now.iter().filter(|(id, urls)| known.get(*id) != Some(*urls)) {
                transport.learn(MemberId(*id), urls);
            }
            for id in known.keys().filter(|id| !now.contains_key(*id)) {
                transport.forget(MemberId(*id));
                self.forget(*id);
            }
            known = now;
            self.meet(known.keys()).await;
            // Those who were not met are tried again; the others' news come by themselves.
            let pause = self.inner.settings.election;
            let changed = async { metrics.changed().await.is_ok() };
            let goes_on = if self.has_met(known.keys()) {
                changed.await
            } else {
                match E::Runtime::select2(changed, E::Runtime::sleep(pause)).await {
                    Select2::First(goes_on) => goes_on,
                    Select2::Second(()) => true,
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Tells members that were not met where clients reach this one, and learns the same from them.
    async fn meet(&self, members: impl Iterator<Item = &u64>) {
        let own = wire::encode(&self.card());
        for id in members.filter(|id| !self.has_met(std::iter::once(*id))) {
            let within = self.inner.settings.election;
            let transport = self.env().transport();
            let answer = transport.call(MemberId(*id), wire::MEET, own.clone(), within).await;
            if let Ok(Ok(card)) = answer.map(|bytes| wire::decode::<Card>(wire::MEET, &bytes)) {
                self.keep(card);
            }
        }
    }

    /// Waits until this member knows that it is none any more: from its own log, or from the others, of whom it asks
    /// one after the other. A follower that nobody sends anything to cannot tell that from a leader with nothing to say
    /// (openraft goes on to name the last leader), so it asks now and then in any case.
    pub(super) async fn removed(&self) {
        let own = self.inner.own.0;
        let election = self.inner.settings.election;
        let mut asked = 0;
        loop {
            E::Runtime::sleep(election).await;
            if self.inner.machine.is_removed(own) {
                return;
            }
            let others: Vec<u64> = {
                let metrics = self.raft().server_metrics();
                let metrics = metrics.borrow_watched();
                if metrics.state == ServerState::Leader {
                    continue;
                }
                let nodes = metrics.membership_config.nodes();
                nodes.map(|(id, _)| *id).filter(|id| *id != own).collect()
            };
            if others.is_empty() {
                continue;
            }
            asked += 1;
            let other = MemberId(others[asked % others.len()]);
            let question = wire::encode(&own);
            let answer = self
                .env()
                .transport()
                .call(other, wire::STANDING, question, election)
                .await;
            let standing = answer.map(|bytes| wire::decode::<Standing>(wire::STANDING, &bytes));
            if let Ok(Ok(Standing::Removed)) = standing {
                return;
            }
        }
    }

    /// What is known here, from committed entries, of a member.
    pub(super) fn standing(&self, member: u64) -> Standing {
        if self.inner.machine.is_removed(member) {
            Standing::Removed
        } else {
            Standing::NotRemoved
        }
    }

    /// Hands leadership to another voter and waits until this member follows it.
    pub(super) async fn hand_over(&self, context: Context, to: MemberId) -> Result<(), ApiError> {
        let deadline = self.deadline(context);
        if self.leader() == Some(to) {
            return Ok(());
        }
        self.raft()
            .trigger()
            .transfer_leader(to.0)
            .await
            .map_err(|_| ApiError::stopped())?;
        while self.leader() != Some(to) {
            if !self.pause(deadline).await {
                return Err(ApiError::timed_out_leader_transfer());
            }
        }
        Ok(())
    }

    /// Saves a snapshot of all that is applied and removes the log that it covers.
    pub(super) async fn shorten_log(&self, context: Context) -> Result<(), ApiError> {
        let deadline = self.deadline(context);
        let applied = self.inner.machine.applied().get();
        self.raft()
            .trigger()
            .snapshot()
            .await
            .map_err(|_| ApiError::stopped())?;
        let covered = loop {
            let covered = self.raft().metrics().borrow_watched().snapshot.map(|last| last.index);
            match covered {
                Some(covered) if covered + 1 >= applied => break covered,
                _ if applied == 0 => return Ok(()),
                _ if self.pause(deadline).await => {}
                _ => return Err(ApiError::timed_out()),
            }
        };
        self.raft()
            .trigger()
            .purge_log(covered)
            .await
            .map_err(|_| ApiError::stopped())
    }
}

/// Whether one of the URLs is that of another member.
fn is_taken(nodes: &BTreeMap<u64, Member>, but: Option<u64>, urls: &[String]) -> bool {
    let mut others = nodes.iter().filter(|(id, _)| Some(**id) != but);
    others.any(|(_, member)| member.peer_urls.iter().any(|url| urls.contains(url)))
}

/// Where the leader knows that a member's log agrees with its own.
fn matched<E: Env>(metrics: &RaftMetrics<Types<E>>, member: u64) -> Option<u64> {
    let replicated = metrics.replication.as_ref()?.get(&member)?;
    replicated.map(|last| last.index)
}

/// A member that was promised a vote and has caught up.
fn ready_for_promotion<E: Env>(metrics: &RaftMetrics<Types<E>>) -> Option<u64> {
    let membership = metrics.membership_config.membership();
    let last = metrics.last_log_index?;
    let promised = |id: &u64| membership.get_node(id).is_some_and(|member| !member.stays_learner);
    let is_ready = |id: &u64| matched(metrics, *id).is_some_and(|matched| matched + LAG_MAX >= last);
    membership.learner_ids().find(|id| promised(id) && is_ready(id))
}

/// What an error of openraft says about whether the change was appended.
fn refused<E: Env>(error: RaftError<Types<E>, ClientWriteError<Types<E>>>) -> Attempt {
    match error {
        RaftError::APIError(
            // Another change came first, or is not committed, or the leader has committed nothing of its term yet.
            ClientWriteError::ForwardToLeader(_)
            | ClientWriteError::PreconditionFailed(_)
            | ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
            ),
        ) => Attempt::NotAppended,
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Attempt::Failed(ApiError::leader_changed()),
        RaftError::APIError(error) => Attempt::Failed(ApiError::new(Code::Internal, error.to_string())),
        RaftError::Fatal(_) => Attempt::Failed(ApiError::stopped()),
    }
}
