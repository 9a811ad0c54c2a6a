//! Members that come and go, as an operator changes them: through the store's API, one change at a time.
//!
//! To replace a member is to remove it, to wipe its disk, to add a new member in its place, and to give that one its
//! vote once it has caught up: half of the time by asking for it, half of the time by leaving it to the leader. A node
//! is wiped only when its removal is committed, and who was removed is never started again with its old data.
//!
//! The nemesis does not wait; a task of the harness does the work. A change whose time is over is given up if it is
//! certain that nothing of it was appended; what is in doubt, or was begun, is carried to its end, at the latest after
//! the heal.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tribunal_env::{Purpose, Stream};
use tribunal_history::{DiskEffect, Fault, MemberId, NodeId};
use tribunal_nemesis::{Effect, FaultError};
use tribunal_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
};
use tribunal_simulation::{Place, SimEnv, World as Simulator};
use tribunal_store::service::{ApiError, method};

use super::requests::{Answer, Refusal, ask};
use super::{InForce, SimTarget, names};
use crate::world::simulation::audit::Audit;
use crate::world::simulation::lives::Lives;
use crate::world::simulation::roster::Roster;
use crate::world::simulation::{SimulatedCluster, peer};

/// Between two tries: a change of leader takes longer, and a healthy cluster answers the first one.
const PAUSE: Duration = Duration::from_millis(100);

/// How long after the heal what is pending may take: members are removed, catch up and get their votes within a few
/// elections each, and the phase after the heal waits for this.
const SETTLED_WITHIN: Duration = Duration::from_secs(18);

/// Fewest members that making them fewer leaves, unless there were fewer at the start: with three, one may still fail.
const MEMBERS_MIN: usize = 3;

/// What is to be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Replace,
    /// As `Replace`, for a node that is down since its disk lied: only if it is still that one.
    ReplaceLiar,
    Grow,
    Shrink,
}

/// Changes members, one after the other.
pub struct Operator {
    simulator: Simulator,
    lives: Arc<Lives>,
    roster: Arc<Roster>,
    audit: Audit,
    cluster: SimulatedCluster,
    /// Tickets: the next one to be given, and the one whose turn it is.
    given: AtomicU64,
    serving: AtomicU64,
    /// What the change that is under way waits for.
    waits_for: Mutex<String>,
}

/// A change that was asked for.
#[derive(Clone)]
pub(super) struct Order {
    /// What came of it so far.
    pub answer: Answer,
    is_over: Arc<AtomicBool>,
}

impl Order {
    /// Its time is over.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Why a change did not come about. Nothing of it was appended.
struct GivenUp(String);

impl Operator {
    /// One who has nothing to do yet.
    pub(in crate::world::simulation) fn new(
        simulator: Simulator,
        lives: Arc<Lives>,
        roster: Arc<Roster>,
        audit: Audit,
        cluster: SimulatedCluster,
    ) -> Arc<Self> {
        Arc::new(Self {
            simulator,
            lives,
            roster,
            audit,
            cluster,
            given: AtomicU64::new(0),
            serving: AtomicU64::new(0),
            waits_for: Mutex::default(),
        })
    }

    /// Begins a change, after those that were ordered before.
    pub(super) fn order(self: &Arc<Self>, change: Change, node: NodeId) -> Order {
        let order = Order {
            answer: Answer::default(),
            is_over: Arc::default(),
        };
        let Some(env) = self.simulator.env(Place::Harness) else {
            return order;
        };
        let ticket = self.given.fetch_add(1, Ordering::Relaxed);
        self.roster.set_changing(node, true);
        let (operator, given) = (Arc::clone(self), order.clone());
        let task = async move {
            while operator.serving.load(Ordering::Relaxed) != ticket {
                operator.simulator.sleep(PAUSE).await;
            }
            let work = Work {
                operator: &operator,
                env,
                ticket,
                order: &given,
            };
            let effect = match work.change(change, node).await {
                Ok(proof) => Effect::Proved(proof),
                Err(GivenUp(why)) => Effect::NotYet(why),
            };
            given.answer.set(effect);
            operator.roster.set_changing(node, false);
            operator.serving.fetch_add(1, Ordering::Relaxed);
        };
        drop(self.simulator.spawn(Place::Harness, task));
        order
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.serving.load(Ordering::Relaxed) == self.given.load(Ordering::Relaxed)
    }

    /// Waits until nothing is under way.
    pub(super) async fn settle(&self) -> Result<(), FaultError> {
        let limit = self.simulator.now() + SETTLED_WITHIN;
        while !self.is_idle() {
            if self.simulator.now() >= limit {
                let why = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let within = SETTLED_WITHIN.as_secs();
                return Err(FaultError(format!(
                    "a change of members had not ended {within} s after everything else was undone: {why}"
                )));
            }
            self.simulator.sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Whether enough of the members can be relied on without this one: those whose disks have lied must stay fewer
    /// than half of the voters.
    fn may_leave(&self, node: NodeId) -> Result<(), GivenUp> {
        let mut members = self.roster.members();
        members.remove(&node);
        let liars = members.keys().filter(|node| self.lives.has_lied(**node)).count();
        if members.is_empty() || liars * 2 >= members.len() {
            return Err(GivenUp(format!(
                "without {node} there would be {} members, {liars} of them with a disk that lied",
                members.len()
            )));
        }
        Ok(())
    }
}

/// A change under way.
struct Work<'a> {
    operator: &'a Arc<Operator>,
    env: SimEnv,
    ticket: u64,
    order: &'a Order,
}

impl Work<'_> {
    async fn change(&self, change: Change, node: NodeId) -> Result<String, GivenUp> {
        let (lives, roster) = (&self.operator.lives, &self.operator.roster);
        match change {
            Change::Grow => {
                if roster.member(node).is_some() {
                    return Err(GivenUp(format!("{node} is a member already")));
                }
                let member = self.add(node, true).await?;
                Ok(format!("{node} is member {member}; {}", self.members_text()))
            }
            Change::Shrink => {
                let least = usize::from(self.operator.cluster.nodes).min(MEMBERS_MIN);
                if roster.members().len() <= least {
                    return Err(GivenUp(format!("there are {least} members, which is the least")));
                }
                let gone = self.remove(node).await?;
                Ok(format!("{node} is member {gone} no more; {}", self.members_text()))
            }
            Change::ReplaceLiar if !lives.has_lied(node) => Err(GivenUp(format!("{node} was replaced already"))),
            Change::Replace | Change::ReplaceLiar => {
                let gone = self.remove(node).await?;
                let member = self.add(node, false).await?;
                let members = self.members_text();
                Ok(format!("{node} is member {member} in place of {gone}; {members}"))
            }
        }
    }

    fn members_text(&self) -> String {
        let nodes: Vec<NodeId> = self.operator.roster.members().into_keys().collect();
        format!("members: {}", names(&nodes))
    }

    /// Removes a member, and wipes its node when that is certain.
    async fn remove(&self, node: NodeId) -> Result<MemberId, GivenUp> {
        let operator = self.operator;
        let Some(member) = operator.roster.member(node) else {
            return Err(GivenUp(format!("{node} is no member")));
        };
        operator.may_leave(node)?;
        operator.lives.set_leaving(node, true);
        let mut in_doubt = false;
        for attempt in 0.. {
            let request = MemberRemoveRequest { id: member.0 };
            let answer: Result<MemberRemoveResponse, Refusal> =
                self.ask(attempt, method::MEMBER_REMOVE, &request).await;
            let refusal = match answer {
                Ok(_) => break,
                Err(refusal) => refusal,
            };
            if refusal.is(&ApiError::member_not_found()) {
                // It may be appended and not committed; the list that is asked for knows.
                match self.list(attempt).await {
                    Ok(members) if members.iter().all(|known| known.id != member.0) => break,
                    _ => in_doubt = true,
                }
            }
            in_doubt |= !is_refusal(&refusal);
            if self.pause("the removal", &refusal, in_doubt).await.is_err() {
                operator.lives.set_leaving(node, false);
                return Err(GivenUp(format!("{node} was not removed: {refusal}")));
            }
        }
        operator.roster.remove(node);
        operator.lives.count("members-removed");
        operator.lives.remove(node);
        operator.simulator.remove_member(member);
        operator.audit.wiped(node);
        Ok(member)
    }

    /// Adds a member at a node that has an empty disk, and waits until it votes.
    async fn add(&self, node: NodeId, may_give_up: bool) -> Result<MemberId, GivenUp> {
        let operator = self.operator;
        let draws = &mut operator.simulator.rng(Stream {
            purpose: Purpose::Nemesis,
            a: self.ticket,
            b: MEMBERS_STREAM,
        });
        let is_learner = draws.random_bool(0.5);
        let urls = peer(node).peer_urls;
        let request = MemberAddRequest {
            peer_ur_ls: urls.clone(),
            is_learner,
        };
        let is_it = |known: &&Member| known.peer_ur_ls == urls;
        let mut in_doubt = !may_give_up;
        let mut member = None;
        for attempt in 0.. {
            let answer: Result<MemberAddResponse, Refusal> = self.ask(attempt, method::MEMBER_ADD, &request).await;
            let refusal = match answer {
                Ok(added) => {
                    member = added.member.map(|added| MemberId(added.id));
                    if member.is_some() {
                        break;
                    }
                    Refusal::from("the answer names no member".to_owned())
                }
                Err(refusal) => refusal,
            };
            if refusal.is(&ApiError::peer_url_exists()) {
                // The first attempt was appended after all; once it is committed its id is known.
                in_doubt = true;
                if let Ok(members) = self.list(attempt).await
                    && let Some(added) = members.iter().find(is_it)
                {
                    member = Some(MemberId(added.id));
                    break;
                }
            }
            in_doubt |= !is_refusal(&refusal);
            if self.pause("the addition", &refusal, in_doubt).await.is_err() {
                return Err(GivenUp(format!("{node} was not added: {refusal}")));
            }
        }
        let member = member.unwrap_or_default();
        operator.lives.count("members-added");
        operator.simulator.add_member(member, node);
        operator.roster.add(node, member);
        let settings = operator
            .cluster
            .joining(node, member, operator.roster.members().into_keys());
        operator.lives.join(node, settings);
        for attempt in 0.. {
            let refusal = if is_learner {
                let request = MemberPromoteRequest { id: member.0 };
                let answer: Result<MemberPromoteResponse, Refusal> =
                    self.ask(attempt, method::MEMBER_PROMOTE, &request).await;
                match answer {
                    Ok(_) => break,
                    Err(refusal) => refusal,
                }
            } else {
                Refusal::from("the leader gave it no vote yet".to_owned())
            };
            if !is_learner || refusal.is(&ApiError::member_not_learner()) {
                let members = self.list(attempt).await.unwrap_or_default();
                if members.iter().any(|known| known.id == member.0 && !known.is_learner) {
                    break;
                }
            }
            let _ = self.pause("the vote of the new member", &refusal, true).await;
        }
        operator.lives.count("members-promoted");
        Ok(member)
    }

    /// The members by what is committed now.
    async fn list(&self, attempt: u64) -> Result<Vec<Member>, Refusal> {
        let request = MemberListRequest { linearizable: true };
        let answer: Result<MemberListResponse, Refusal> = self.ask(attempt, method::MEMBER_LIST, &request).await;
        answer.map(|answer| answer.members)
    }

    /// Asks the leader, or in every other attempt whoever is next.
    async fn ask<M: prost::Message + Default>(
        &self,
        attempt: u64,
        method: &'static str,
        request: &impl prost::Message,
    ) -> Result<M, Refusal> {
        let members = self.operator.roster.members();
        let leader = self.operator.lives.leader().filter(|_| attempt.is_multiple_of(2));
        let next = members.values().nth(attempt as usize % members.len().max(1));
        let asked = leader.and_then(|leader| members.get(&leader)).or(next);
        let Some(asked) = asked else {
            return Err(Refusal::from("there is no member to ask".to_owned()));
        };
        ask(&self.env, *asked, method, request).await
    }

    /// Waits before the next try; an error if the time is over and it is certain that nothing came of the last ones.
    async fn pause(&self, what: &str, refusal: &Refusal, in_doubt: bool) -> Result<(), ()> {
        let text = format!("{what}: {refusal}");
        self.order.answer.set(Effect::NotYet(text.clone()));
        *self.operator.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = text;
        if self.order.is_over() && !in_doubt {
            return Err(());
        }
        self.operator.simulator.sleep(PAUSE).await;
        Ok(())
    }
}

/// Tells the operator's draws from the schedule's.
const MEMBERS_STREAM: u64 = 1 << 32;

/// Whether it is certain that nothing was appended.
fn is_refusal(refusal: &Refusal) -> bool {
    let known = [
        ApiError::unhealthy(),
        ApiError::not_enough_started(),
        ApiError::too_many_learners(),
        ApiError::no_leader(),
        ApiError::not_supported_for_learner(),
    ];
    refusal.was_not_executed() || known.iter().any(|known| refusal.is(known))
}

impl SimTarget {
    /// Begins to change members.
    pub(super) fn change(&mut self, change: Change, nodes: &[NodeId]) {
        let Some(node) = nodes.first() else { return };
        if self.is_a_liar_among() {
            self.done(Effect::NotYet(
                "a member whose disk lied is to be replaced first".to_owned(),
            ));
            return;
        }
        let order = self.operator.order(change, *node);
        if let Some(active) = self.in_force.last_mut() {
            active.answer = Some(order.answer.clone());
            active.order = Some(order);
        }
    }

    /// Whether a disk lies or has lied whose node is still to be replaced. Members are changed for nothing else then:
    /// the store adds none while a voter is away for good, so that each of two changes would wait for the other.
    fn is_a_liar_among(&self) -> bool {
        let lies = |active: &InForce| {
            matches!(
                active.fault,
                Fault::Disk {
                    effect: DiskEffect::LyingSync { .. },
                    ..
                }
            )
        };
        let members = self.roster.members();
        self.in_force.iter().any(lies) || members.keys().any(|node| self.lives.has_lied(*node))
    }

    /// Whether these nodes' disks may lie: one at a time, while nobody's membership is changing, and fewer than half of
    /// the voters.
    pub(super) fn may_lie(&self, nodes: &[NodeId]) -> bool {
        let members = self.roster.members();
        let is_settled = self.roster.settled().len() == members.len() && self.operator.is_idle();
        is_settled && !self.is_a_liar_among() && nodes.len() * 2 < members.len()
    }

    /// The power of those goes off whose disks lied: what they promised is gone, so they come back as other members.
    pub(super) fn replace_liars(&mut self, nodes: &[NodeId]) {
        for &node in nodes {
            if self.lives.has_lied(node) {
                self.lives.crash(
                    node,
                    tribunal_simulation::Crash::MACHINE,
                    "its power was cut, and its disk had lied",
                );
                self.lives.count("liars-replaced");
                drop(self.operator.order(Change::ReplaceLiar, node));
            }
        }
    }
}
