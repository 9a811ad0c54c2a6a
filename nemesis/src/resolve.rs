//! Whom a fault hits, now.

use std::collections::BTreeSet;

use tribunal_history::{NodeId, Select};

/// The nodes that `select` names at this moment, sorted; at least one. `leader` is whoever is known to lead.
///
/// A leader that is none of `nodes` counts as unknown: a system under test may say what it likes.
pub fn resolve(select: &Select, nodes: &[NodeId], leader: Option<NodeId>) -> Result<Vec<NodeId>, ResolveError> {
    let leader = leader.filter(|leader| nodes.contains(leader));
    let known = |node: NodeId| {
        nodes
            .contains(&node)
            .then_some(node)
            .ok_or_else(|| ResolveError::NoSuchNode {
                node,
                nodes: nodes.to_vec(),
            })
    };
    let chosen: BTreeSet<NodeId> = match select {
        Select::Nodes { nodes } => nodes.iter().map(|node| known(*node)).collect::<Result<_, _>>()?,
        Select::Leader { otherwise } => [leader.map_or_else(|| known(*otherwise), Ok)?].into(),
        Select::Majority { first } => {
            let first = known(*first)?;
            let place = nodes.iter().position(|node| *node == first).unwrap_or_default();
            let others = nodes.iter().cycle().skip(place).take(nodes.len()).copied();
            let mut majority: BTreeSet<NodeId> = leader.into_iter().collect();
            for node in others {
                if majority.len() > nodes.len() / 2 {
                    break;
                }
                majority.insert(node);
            }
            majority
        }
        Select::All => nodes.iter().copied().collect(),
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
        Select::Nodes { .. } | Select::All => false,
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

    #[test]
    fn the_leader_is_hit_or_its_stand_in() {
        let select = Select::Leader { otherwise: NodeId(3) };
        let hit = |leader| resolve(&select, &nodes(1..=3), leader);
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
                    let hit = resolve(&Select::Majority { first: *first }, &all, leader).expect("resolves");
                    assert_eq!(hit.len(), majority, "of {count} nodes");
                    assert!(
                        leader.is_none_or(|leader| hit.contains(&leader)),
                        "{leader:?} in {hit:?}"
                    );
                }
            }
        }
        let from_three = Select::Majority { first: NodeId(3) };
        assert_eq!(resolve(&from_three, &nodes(1..=3), Some(NodeId(2))), Ok(nodes([2, 3])));
        assert_eq!(resolve(&from_three, &nodes(1..=3), None), Ok(nodes([1, 3])));
    }

    #[test]
    fn a_schedule_for_another_cluster_is_refused() {
        let select = Select::Nodes { nodes: nodes([2, 7]) };
        let error = resolve(&select, &nodes(1..=3), None).expect_err("n7 is not there");
        assert_eq!(error.to_string(), "the schedule names n7, but the nodes are n1 n2 n3");
        assert_eq!(
            resolve(&Select::Nodes { nodes: Vec::new() }, &nodes(1..=3), None),
            Err(ResolveError::Nobody)
        );
        assert!(resolve(&Select::Majority { first: NodeId(9) }, &nodes(1..=3), None).is_err());
    }
}
