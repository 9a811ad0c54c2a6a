//! Which node is which member now.
//!
//! A node is a place: its machine, its disk and its links stay what they are whoever lives there. A member that is
//! removed is gone for good; what lives there next has another id and starts with an empty disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tribunal_history::{MemberId, NodeId};

/// The nodes of a cluster, members and others; one for all who ask.
#[derive(Debug, Default)]
pub struct Roster {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: BTreeSet<NodeId>,
    members: BTreeMap<NodeId, MemberId>,
    /// Members that have a vote.
    voters: BTreeSet<NodeId>,
    /// Whose membership is being changed, or waits for that.
    changing: BTreeSet<NodeId>,
}

impl Roster {
    /// The founders, and nodes that are no members.
    pub(in crate::world) fn new(
        founders: BTreeMap<NodeId, MemberId>,
        spares: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let places = founders.keys().copied().chain(spares).collect();
        Self {
            state: Mutex::new(State {
                places,
                voters: founders.keys().copied().collect(),
                members: founders,
                changing: BTreeSet::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All nodes, in order.
    pub fn places(&self) -> Vec<NodeId> {
        self.lock().places.iter().copied().collect()
    }

    /// The nodes that are members, in order, and which ones.
    pub fn members(&self) -> BTreeMap<NodeId, MemberId> {
        self.lock().members.clone()
    }

    /// The member that a node is; none if it is none.
    pub fn member(&self, node: NodeId) -> Option<MemberId> {
        self.lock().members.get(&node).copied()
    }

    /// The node itself if it is a member, or else the next one in order that is.
    pub fn member_from(&self, node: NodeId) -> Option<(NodeId, MemberId)> {
        let state = self.lock();
        let found = state
            .members
            .range(node..)
            .next()
            .or_else(|| state.members.iter().next());
        found.map(|(node, member)| (*node, *member))
    }

    /// As [`Roster::member_from`], of the members that have a vote: the others answer no requests yet.
    pub fn voter_from(&self, node: NodeId) -> Option<NodeId> {
        let state = self.lock();
        let found = state.voters.range(node..).next().or_else(|| state.voters.first());
        found.copied()
    }

    /// Nodes that are no members, in order; at the end those that are about to be some.
    pub fn spares(&self) -> Vec<NodeId> {
        let state = self.lock();
        let spare = state.places.iter().filter(|node| !state.members.contains_key(node));
        let (busy, free): (Vec<NodeId>, Vec<NodeId>) = spare.copied().partition(|node| state.changing.contains(node));
        free.into_iter().chain(busy).collect()
    }

    /// Members whose membership nobody is changing.
    pub fn settled(&self) -> BTreeSet<NodeId> {
        let state = self.lock();
        let members = state.members.keys().copied();
        members.filter(|node| !state.changing.contains(node)).collect()
    }

    pub(in crate::world) fn set_changing(&self, node: NodeId, is_changing: bool) {
        let mut state = self.lock();
        if is_changing {
            state.changing.insert(node);
        } else {
            state.changing.remove(&node);
        }
    }

    pub(in crate::world) fn add(&self, node: NodeId, member: MemberId) {
        self.lock().members.insert(node, member);
    }

    /// A member has its vote now.
    pub(in crate::world) fn promote(&self, node: NodeId) {
        let mut state = self.lock();
        if state.members.contains_key(&node) {
            state.voters.insert(node);
        }
    }

    pub(in crate::world) fn remove(&self, node: NodeId) {
        let mut state = self.lock();
        state.members.remove(&node);
        state.voters.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_no_member_is_stood_in_for_and_can_become_one() {
        let node = NodeId;
        let founders = (1..=3)
            .map(|number| (node(number), MemberId(u64::from(number) * 10)))
            .collect();
        let roster = Roster::new(founders, [node(4), node(5)]);
        assert_eq!(roster.member_from(node(2)), Some((node(2), MemberId(20))));
        assert_eq!(
            roster.member_from(node(4)),
            Some((node(1), MemberId(10))),
            "it goes on at the beginning"
        );
        roster.set_changing(node(4), true);
        roster.set_changing(node(2), true);
        assert_eq!(
            roster.spares(),
            [node(5), node(4)],
            "one that is being added is taken last"
        );
        assert_eq!(roster.settled(), [node(1), node(3)].into());
        roster.remove(node(2));
        assert_eq!(roster.member_from(node(2)), Some((node(3), MemberId(30))));
        assert_eq!(roster.spares(), [node(5), node(2), node(4)]);
        roster.add(node(2), MemberId(21));
        roster.set_changing(node(2), false);
        assert_eq!(roster.member(node(2)), Some(MemberId(21)));
        assert_eq!(roster.voter_from(node(2)), Some(node(3)), "it has no vote yet");
        roster.promote(node(2));
        roster.promote(node(5));
        assert_eq!(roster.voter_from(node(2)), Some(node(2)));
        assert_eq!(
            roster.voter_from(node(4)),
            Some(node(1)),
            "one that is no member gets no vote"
        );
        assert_eq!(roster.places(), (1..=5).map(node).collect::<Vec<_>>());
    }
}
