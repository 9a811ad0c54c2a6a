//! Members that come and go, one change at a time.
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

use prost::Message;
use rand::RngExt as _;
use tribunal_history::{MemberId, NodeId};
use tribunal_nemesis::{Effect, FaultError};
use tribunal_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
};
use tribunal_store::service::{ApiError, method};

use super::requests::{Answer, Refusal};
use super::{Departure, Hands, PAUSE, names};

/// How long after the heal what is pending may take: members are removed, catch up and get their votes within a few
/// elections each, and the phase after the heal waits for this.
const SETTLED_WITHIN: Duration = Duration::from_secs(18);

/// What is to be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its member is removed, and another one added in its place.
    Replace,
    /// As `Replace`, for a node that is down since it lost what it had promised: only if it is still that one.
    ReplaceLost,
    /// A member is added on it.
    Grow,
    /// Its member is removed.
    Shrink,
}

/// Changes members, one after the other, and does what else an operator does.
#[derive(Debug)]
pub struct Operator<H> {
    hands: H,
    /// Tickets: the next one to be given, and the one whose turn it is.
    given: AtomicU64,
    serving: AtomicU64,
    /// What the change that is under way waits for.
    waits_for: Mutex<String>,
}

/// A change that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Order {
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

/// Why a change did not come about. Nothing of it was appended, or the cluster is no more.
struct GivenUp(String);

impl<H: Hands> Operator<H> {
    /// One who has nothing to do yet.
    pub fn new(hands: H) -> Arc<Self> {
        Arc::new(Self {
            hands,
            given: AtomicU64::new(0),
            serving: AtomicU64::new(0),
            waits_for: Mutex::default(),
        })
    }

    pub(super) fn hands(&self) -> &H {
        &self.hands
    }

    /// Begins a change, after those that were ordered before.
    pub fn order(self: &Arc<Self>, change: Change, node: NodeId) -> Order {
        let order = Order::default();
        let ticket = self.given.fetch_add(1, Ordering::Relaxed);
        self.hands.roster().set_changing(node, true);
        let (operator, given) = (Arc::clone(self), order.clone());
        let task = async move {
            while operator.serving.load(Ordering::Relaxed) != ticket {
                operator.hands.sleep(PAUSE).await;
            }
            let work = Work {
                operator: &operator,
                hands: &operator.hands,
                ticket,
                order: &given,
            };
            let effect = match work.change(change, node).await {
                Ok(proof) => Effect::Proved(proof),
                Err(GivenUp(why)) => Effect::NotYet(why),
            };
            given.answer.set(effect);
            operator.hands.roster().set_changing(node, false);
            operator.serving.fetch_add(1, Ordering::Relaxed);
        };
        self.hands.spawn(task);
        order
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.serving.load(Ordering::Relaxed) == self.given.load(Ordering::Relaxed)
    }

    /// Waits until nothing is under way.
    ///
    /// # Errors
    /// If that takes too long; what is waited for.
    pub async fn settle(&self) -> Result<(), FaultError> {
        let limit = self.hands.now() + SETTLED_WITHIN;
        while !self.is_idle() {
            if self.hands.now() >= limit {
                let why = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let within = SETTLED_WITHIN.as_secs();
                return Err(FaultError(format!(
                    "a change of members had not ended {within} s after everything else was undone: {why}"
                )));
            }
            self.hands.sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// A change under way.
struct Work<'a, H> {
    operator: &'a Operator<H>,
    hands: &'a H,
    ticket: u64,
    order: &'a Order,
}

impl<H: Hands> Work<'_, H> {
    async fn change(&self, change: Change, node: NodeId) -> Result<String, GivenUp> {
        let roster = self.hands.roster();
        match change {
            Change::Grow => {
                if roster.member(node).is_some() {
                    return Err(GivenUp(format!("{node} is a member already")));
                }
                let member = self.add(node, true).await?;
                Ok(format!("{node} is member {member}; {}", self.members_text()))
            }
            Change::Shrink => {
                let least = self.hands.members_min();
                if roster.members().len() <= least {
                    return Err(GivenUp(format!("there are {least} members, which is the least")));
                }
                let gone = self.remove(node).await?;
                Ok(format!("{node} is member {gone} no more; {}", self.members_text()))
            }
            Change::ReplaceLost if !self.hands.is_lost(node) => Err(GivenUp(format!("{node} was replaced already"))),
            Change::Replace | Change::ReplaceLost => {
                let gone = self.remove(node).await?;
                let member = self.add(node, false).await?;
                let members = self.members_text();
                Ok(format!("{node} is member {member} in place of {gone}; {members}"))
            }
        }
    }

    fn members_text(&self) -> String {
        let nodes: Vec<NodeId> = self.hands.roster().members().into_keys().collect();
        format!("members: {}", names(&nodes))
    }

    /// Removes a member, and wipes its node when that is certain.
    async fn remove(&self, node: NodeId) -> Result<MemberId, GivenUp> {
        let hands = self.hands;
        let Some(member) = hands.roster().member(node) else {
            return Err(GivenUp(format!("{node} is no member")));
        };
        loop {
            match hands.may_leave(node) {
                Departure::Now => break,
                Departure::Never(why) => return Err(GivenUp(why)),
                Departure::Later(why) => self.pause("the removal", &why, false).await?,
            }
        }
        hands.set_leaving(node, true);
        let mut in_doubt = false;
        for attempt in 0.. {
            let request = MemberRemoveRequest { id: member.0 };
            let answer: Result<MemberRemoveResponse, Refusal> = self.ask(attempt, method::MEMBER_REMOVE, request).await;
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
            in_doubt |= !refusal.is_certain();
            if self.pause("the removal", &refusal, in_doubt).await.is_err() {
                hands.set_leaving(node, false);
                return Err(GivenUp(format!("{node} was not removed: {refusal}")));
            }
        }
        hands.roster().remove(node);
        hands.count("members-removed");
        while let Err(why) = hands.wipe(node, member).await {
            self.pause("the data of a removed member", &why, true).await?;
        }
        Ok(member)
    }

    /// Adds a member at a node that has an empty disk, and waits until it votes.
    async fn add(&self, node: NodeId, may_give_up: bool) -> Result<MemberId, GivenUp> {
        let hands = self.hands;
        let is_learner = hands.draws(self.ticket).random_bool(0.5);
        let member = self.introduce(node, is_learner, may_give_up).await?;
        hands.count("members-added");
        hands.roster().add(node, member);
        while let Err(why) = hands.join(node, member).await {
            self.pause("the start of the new member", &why, true).await?;
        }
        for attempt in 0.. {
            let refusal = if is_learner {
                let request = MemberPromoteRequest { id: member.0 };
                let answer: Result<MemberPromoteResponse, Refusal> =
                    self.ask(attempt, method::MEMBER_PROMOTE, request).await;
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
            self.pause("the vote of the new member", &refusal, true).await?;
        }
        hands.roster().promote(node);
        hands.count("members-promoted");
        Ok(member)
    }

    /// Adds a member that is not there yet; its id.
    async fn introduce(&self, node: NodeId, is_learner: bool, may_give_up: bool) -> Result<MemberId, GivenUp> {
        let urls = self.hands.peer_urls(node);
        let is_it = |known: &&Member| known.peer_ur_ls == urls;
        let mut in_doubt = !may_give_up;
        for attempt in 0.. {
            let request = MemberAddRequest {
                peer_ur_ls: urls.clone(),
                is_learner,
            };
            let answer: Result<MemberAddResponse, Refusal> = self.ask(attempt, method::MEMBER_ADD, request).await;
            let refusal = match answer {
                Ok(MemberAddResponse {
                    member: Some(added), ..
                }) => return Ok(MemberId(added.id)),
                Ok(_) => Refusal::from("the answer names no member".to_owned()),
                Err(refusal) => refusal,
            };
            if refusal.is(&ApiError::peer_url_exists()) {
                // The first attempt was appended after all; once it is committed its id is known.
                in_doubt = true;
                if let Ok(members) = self.list(attempt).await
                    && let Some(added) = members.iter().find(is_it)
                {
                    return Ok(MemberId(added.id));
                }
            }
            in_doubt |= !refusal.is_certain();
            if self.pause("the addition", &refusal, in_doubt).await.is_err() {
                return Err(GivenUp(format!("{node} was not added: {refusal}")));
            }
        }
        unreachable!("attempts have no end")
    }

    /// The members by what is committed now.
    async fn list(&self, attempt: u64) -> Result<Vec<Member>, Refusal> {
        let request = MemberListRequest { linearizable: true };
        let answer: Result<MemberListResponse, Refusal> = self.ask(attempt, method::MEMBER_LIST, request).await;
        answer.map(|answer| answer.members)
    }

    /// Asks the leader, or in every other attempt whoever is next.
    async fn ask<M, R>(&self, attempt: u64, method: &'static str, request: R) -> Result<M, Refusal>
    where
        M: Message + Default + 'static,
        R: Message + 'static,
    {
        let leader = if attempt.is_multiple_of(2) {
            self.hands.leader().await
        } else {
            None
        };
        let members = self.hands.roster().members();
        let next = members.iter().nth(attempt as usize % members.len().max(1));
        let asked = leader.and_then(|leader| members.get_key_value(&leader)).or(next);
        let Some((node, member)) = asked else {
            return Err(Refusal::from("there is no member to ask".to_owned()));
        };
        self.hands.ask((*node, *member), method, request).await
    }

    /// Waits before the next try; an error if the time is over and it is certain that nothing came of the last ones, or
    /// if the cluster is no more.
    async fn pause(&self, what: &str, why: &(impl std::fmt::Display + Sync), in_doubt: bool) -> Result<(), GivenUp> {
        let text = format!("{what}: {why}");
        self.order.answer.set(Effect::NotYet(text.clone()));
        *self.operator.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = text.clone();
        if self.hands.is_closed() || self.order.is_over() && !in_doubt {
            return Err(GivenUp(text));
        }
        self.hands.sleep(PAUSE).await;
        Ok(())
    }
}
