//! Whom a fault hits, now.

use std::collections::BTreeSet;

use tribunal_history::{NodeId, Select};

/// What a cluster consists of at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its members, in order.
    pub members: Vec<NodeId>,
    /// Nodes that could become members, in order.
    pub spares: Vec<NodeId>,
    /// Whoever is known to lead.
    pub leader: Option<NodeId>,
}

impl View {
    /// The node if it is a member; the next member in order if it could be one and is none; else it is not there.
    fn member(&self, node: NodeId) -> Result<NodeId, ResolveError> {
        if self.members.contains(&node) {
            return Ok(node);
        }
        let next = self.members.iter().find(|member| **member > node);
        match next.or(self.members.first()) {
            Some(stand_in) if self.spares.contains(&node) => Ok(*stand_in),
            _ => Err(ResolveError::NoSuchNode {
                node,
                nodes: self.members.clone(),
            }),
        }
    }
}

/// The nodes that `select` names at this moment, sorted; at least one. For a node that is no member now, the next
/// member stands in.
///
/// A leader that is no member counts as unknown: a system under test may say what it likes.
pub fn resolve(select: &Select, view: &View) -> Result<Vec<NodeId>, ResolveError> {
    let members = &view.members;
    let leader = view.leader.filter(|leader| members.contains(leader));
    let chosen: BTreeSet<NodeId> = match select {
        Select::Nodes { nodes } => nodes.iter().map(|node| view.member(*node)).collect::<Result<_, _>>()?,
        Select::Leader { otherwise } => [leader.map_or_else(|| view.member(*otherwise), Ok)?].into(),
        Select::Majority { first } => {
            let first = view.member(*first)?;
            let place = members.iter().position(|node| *node == first).unwrap_or_default();
            let others = members.iter().cycle().skip(place).take(members.len()).copied();
            let mut majority: BTreeSet<NodeId> = leader.into_iter().collect();
            for node in others {
                if majority.len() > members.len() / 2 {
                    break;
                }
                majority.insert(node);
            }
            majority
        }
        Select::All => members.iter().copied().collect(),
        Select::Spare => [*view.spares.first().ok_or(ResolveError::NoSpare)?].into(),
    };
    if chosen.is_empty() {
        return Err(ResolveError::Nobody);
    }
    Ok(chosen.into_iter().collect())
}

/// Whether the leader must be known to resolve `select`.
pub fn needs_leader(select: &Select) -> bool {
    match select {
        Select::Leader { .. } | Select::Majority { .. } => true,
        Select::Nodes { .. } | Select::All | Select::Spare => false,
    }
}

/// A schedule that does not fit this cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It names a node that is not there.
    #[error("the schedule names {node}, but the nodes are {}", list(.nodes))]
    NoSuchNode {
        /// The name.
        node: NodeId,
        /// The nodes that are there.
        nodes: Vec<NodeId>,
    },
    /// It wants a new member, and every node is one.
    #[error("every node is a member already")]
    NoSpare,
    /// It names no node.
    #[error("the schedule names no node")]
    Nobody,
}

/// Nodes for people: `n1 n2 n3`.
pub(crate) fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u16>) -> Vec<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    fn view(members: impl IntoIterator<Item = u16>, leader: Option<NodeId>) -> View {
        View {
            members: nodes(members),
            spares: Vec::new(),
            leader,
        }
    }

    #[test]
    fn a_new_member_is_the_first_spare_and_a_spare_is_hit_through_the_next_member() {
        let mut view = View {
            spares: nodes([3, 5]),
            ..view([1, 2, 4], None)
        };
        let named = |node| Select::Nodes { nodes: nodes([node]) };
        assert_eq!(resolve(&Select::Spare, &view), Ok(nodes([3])));
        assert_eq!(resolve(&named(3), &view), Ok(nodes([4])));
        assert_eq!(
            resolve(&named(5), &view),
            Ok(nodes([1])),
            "past the end it goes on at the beginning"
        );
        assert_eq!(resolve(&Select::All, &view), Ok(nodes([1, 2, 4])));
        view.spares.clear();
        assert_eq!(resolve(&Select::Spare, &view), Err(ResolveError::NoSpare));
        assert!(resolve(&named(3), &view).is_err(), "there is no such node at all");
    }

    #[test]
    fn the_leader_is_hit_or_its_stand_in() {
        let select = Select::Leader { otherwise: NodeId(3) };
        let hit = |leader| resolve(&select, &view(1..=3, leader));
        assert_eq!(hit(Some(NodeId(2))), Ok(nodes([2])));
        assert_eq!(hit(None), Ok(nodes([3])));
        assert_eq!(hit(Some(NodeId(9))), Ok(nodes([3])), "a leader that is no node of ours");
    }

    #[test]
    fn a_majority_is_more_than_half_and_holds_the_leader() {
        for (count, majority) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)] {
            let all = nodes(1..=count);
            for first in &all {
                for leader in all.iter().map(|node| Some(*node)).chain([None]) {
                    let hit = resolve(&Select::Majority { first: *first }, &view(1..=count, leader)).expect("resolves");
                    assert_eq!(hit.len(), majority, "of {count} nodes");
                    assert!(
                        leader.is_none_or(|leader| hit.contains(&leader)),
                        "{leader:?} in {hit:?}"
                    );
                }
            }
        }
        let from_three = Select::Majority { first: NodeId(3) };
        assert_eq!(resolve(&from_three, &view(1..=3, Some(NodeId(2)))), Ok(nodes([2, 3])));
        assert_eq!(resolve(&from_three, &view(1..=3, None)), Ok(nodes([1, 3])));
    }

    #[test]
    fn a_schedule_for_another_cluster_is_refused() {
        let select = Select::Nodes { nodes: nodes([2, 7]) };
        let error = resolve(&select, &view(1..=3, None)).expect_err("n7 is not there");
        assert_eq!(error.to_string(), "the schedule names n7, but the nodes are n1 n2 n3");
        assert_eq!(
            resolve(&Select::Nodes { nodes: Vec::new() }, &view(1..=3, None)),
            Err(ResolveError::Nobody)
        );
        assert!(resolve(&Select::Majority { first: NodeId(9) }, &view(1..=3, None)).is_err());
    }
}
