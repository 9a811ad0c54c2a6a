//! Links that are cut, held, or misbehave.

use std::collections::{BTreeMap, BTreeSet};

use tribunal_history::{Direction, Fault, LinkEffect, NodeId};
use tribunal_nemesis::Effect;
use tribunal_simulation::{Cut, Delay, LinkCounters, LinkSettings, Place, World as Simulator};

use super::InForce;

/// One direction between two nodes.
pub(super) type Pair = (NodeId, NodeId);

/// What differs from the usual on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LinkState {
    cut: Option<Cut>,
    is_held: bool,
    settings: Option<LinkSettings>,
}

pub(super) fn counters(simulator: &Simulator, (from, to): Pair) -> LinkCounters {
    simulator.link_counters(Place::Node(from), Place::Node(to))
}

/// The directions that a fault concerns.
pub(super) fn pairs(fault: &Fault, nodes: &[NodeId], all: &[NodeId]) -> BTreeSet<Pair> {
    match fault {
        Fault::Isolate { direction, .. } | Fault::Link { direction, .. } => of_nodes(nodes, *direction, all),
        Fault::Split { .. } => {
            let rest: Vec<NodeId> = all.iter().filter(|node| !nodes.contains(node)).copied().collect();
            between(nodes, &rest)
        }
        Fault::Bridge { .. } => {
            let others: Vec<NodeId> = all.iter().filter(|node| !nodes.contains(node)).copied().collect();
            let (left, right) = others.split_at(others.len() / 2);
            between(left, right)
        }
        Fault::Ring { .. } => ring(all),
        _ => BTreeSet::new(),
    }
}

fn of_nodes(nodes: &[NodeId], direction: Direction, all: &[NodeId]) -> BTreeSet<Pair> {
    let mut pairs = BTreeSet::new();
    for &node in nodes {
        for &other in all.iter().filter(|other| **other != node) {
            if direction != Direction::Outbound {
                pairs.insert((other, node));
            }
            if direction != Direction::Inbound {
                pairs.insert((node, other));
            }
        }
    }
    pairs
}

fn between(left: &[NodeId], right: &[NodeId]) -> BTreeSet<Pair> {
    left.iter()
        .flat_map(|one| right.iter().flat_map(move |other| [(*one, *other), (*other, *one)]))
        .collect()
}

/// All but those of near neighbours: as near as makes a majority with the node itself.
fn ring(all: &[NodeId]) -> BTreeSet<Pair> {
    let count = all.len();
    let majority = count / 2 + 1;
    let near = (majority - 1).div_ceil(2);
    let mut pairs = BTreeSet::new();
    for (place, one) in all.iter().enumerate() {
        for (other_place, other) in all.iter().enumerate() {
            let apart = place.abs_diff(other_place);
            if apart.min(count - apart) > near {
                pairs.insert((*one, *other));
            }
        }
    }
    pairs
}

/// Lets each link be as the faults in force want it.
pub(super) fn enforce(simulator: &Simulator, in_force: &[InForce], now: &mut BTreeMap<Pair, LinkState>) {
    let usual = simulator.links();
    let mut wanted: BTreeMap<Pair, LinkState> = BTreeMap::new();
    for active in in_force {
        for pair in active.links.keys() {
            add(wanted.entry(*pair).or_default(), &active.fault, &usual);
        }
    }
    let known: BTreeSet<Pair> = now.keys().chain(wanted.keys()).copied().collect();
    for pair in known {
        let before = now.get(&pair).copied().unwrap_or_default();
        let after = wanted.get(&pair).copied().unwrap_or_default();
        let (from, to) = (Place::Node(pair.0), Place::Node(pair.1));
        if before.settings != after.settings {
            simulator.set_link(from, to, after.settings);
        }
        match (before.cut, after.cut) {
            (before, Some(cut)) if before != Some(cut) => simulator.cut(from, to, cut),
            (Some(_), None) => simulator.heal(from, to),
            _ => {}
        }
        match (before.is_held, after.is_held) {
            (false, true) => simulator.hold(from, to),
            (true, false) => drop(simulator.release(from, to)),
            _ => {}
        }
    }
    *now = wanted;
}

/// What one more fault makes of a link: of two that concern the same, the worse.
fn add(state: &mut LinkState, fault: &Fault, usual: &LinkSettings) {
    let Fault::Link { effect, .. } = fault else {
        state.cut = Some(Cut::Silent);
        return;
    };
    let mut settings = state.settings.unwrap_or(*usual);
    match *effect {
        LinkEffect::Hold => {
            state.is_held = true;
            return;
        }
        LinkEffect::Refuse => {
            state.cut = state.cut.or(Some(Cut::Refusing));
            return;
        }
        LinkEffect::Delay { min_ms, max_ms } => {
            let millis = std::time::Duration::from_millis;
            let delay = Delay::uniform(millis(min_ms), millis(max_ms));
            if delay.max >= settings.delay.max {
                settings.delay = delay;
            }
        }
        LinkEffect::Loss { percent } => settings.loss = settings.loss.max(share(percent)),
        LinkEffect::Duplicate { percent } => settings.duplication = settings.duplication.max(share(percent)),
        LinkEffect::Reorder { percent, max_ms } => {
            settings.reordering = settings.reordering.max(share(percent));
            settings.reordering_max = std::time::Duration::from_millis(max_ms);
        }
        LinkEffect::Slow { bytes_per_second } => {
            let slowest = settings.bytes_per_second.unwrap_or(u64::MAX).min(bytes_per_second);
            settings.bytes_per_second = Some(slowest);
        }
    }
    state.settings = Some(settings);
}

fn share(percent: u32) -> f64 {
    f64::from(percent.min(100)) / 100.0
}

/// What the counters of the fault's links say.
pub(super) fn effect(simulator: &Simulator, active: &InForce) -> Effect {
    let sum = |ours: &dyn Fn(&Pair) -> bool, count: fn(&LinkCounters) -> u64| -> u64 {
        let pairs = active.links.iter().filter(|(pair, _)| ours(pair));
        pairs
            .map(|(pair, before)| count(&counters(simulator, *pair)) - count(before))
            .sum()
    };
    let all = |_: &Pair| true;
    let (count, what): (fn(&LinkCounters) -> u64, &str) = match &active.fault {
        Fault::Isolate { direction, .. } => {
            let mut proofs = Vec::new();
            for &node in &active.nodes {
                let ways = [
                    (
                        "to",
                        *direction != Direction::Outbound,
                        sum(&|pair| pair.1 == node, |link| link.cut),
                    ),
                    (
                        "from",
                        *direction != Direction::Inbound,
                        sum(&|pair| pair.0 == node, |link| link.cut),
                    ),
                ];
                for (way, is_cut, stopped) in ways {
                    if is_cut && stopped == 0 {
                        return Effect::NotYet(format!("nothing was sent {way} {node} that could be stopped"));
                    }
                    if is_cut {
                        proofs.push(format!("{stopped} messages {way} {node}"));
                    }
                }
            }
            return Effect::Proved(format!("stopped {}", proofs.join(", ")));
        }
        Fault::Link { effect, .. } => match effect {
            LinkEffect::Delay { .. } | LinkEffect::Slow { .. } => (|link| link.sent, "sent"),
            LinkEffect::Loss { .. } => (|link| link.lost, "lost"),
            LinkEffect::Duplicate { .. } => (|link| link.duplicated, "doubled"),
            LinkEffect::Reorder { .. } => (|link| link.reordered, "made late"),
            LinkEffect::Hold => (|link| link.held, "held"),
            LinkEffect::Refuse => (|link| link.cut, "refused"),
        },
        _ => (|link| link.cut, "stopped"),
    };
    match sum(&all, count) {
        0 => Effect::NotYet(format!("no message was {what} on its links")),
        messages => Effect::Proved(format!("{messages} messages were {what}")),
    }
}

#[cfg(test)]
mod tests {
    use tribunal_history::Select;

    use super::*;

    fn nodes(count: u16) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    fn heard(pairs: &BTreeSet<Pair>, node: NodeId, all: &[NodeId]) -> BTreeSet<NodeId> {
        let others = all.iter().filter(|other| !pairs.contains(&(**other, node)));
        others.copied().collect()
    }

    #[test]
    fn in_a_ring_each_node_hears_a_majority_and_no_two_the_same_one() {
        for count in 4..=9 {
            let all = nodes(count);
            let pairs = ring(&all);
            let heard: BTreeSet<BTreeSet<NodeId>> = all.iter().map(|node| heard(&pairs, *node, &all)).collect();
            assert_eq!(heard.len(), all.len(), "{count} nodes");
            for group in heard {
                assert!(group.len() > all.len() / 2, "{count} nodes: {group:?}");
                assert!(group.len() < all.len(), "{count} nodes: {group:?}");
            }
        }
    }

    #[test]
    fn a_bridge_hears_everybody_and_nobody_else_hears_more_than_its_half() {
        let all = nodes(5);
        let select = Select::Nodes { nodes: vec![NodeId(3)] };
        let pairs = pairs(&Fault::Bridge { select }, &[NodeId(3)], &all);
        assert_eq!(heard(&pairs, NodeId(3), &all).len(), 5);
        for node in [1, 2, 4, 5] {
            assert_eq!(heard(&pairs, NodeId(node), &all).len(), 3, "n{node}");
        }
    }

    #[test]
    fn faults_on_one_link_add_up() {
        let select = || Select::All;
        let link = |effect| Fault::Link {
            select: select(),
            direction: Direction::Both,
            effect,
        };
        let usual = LinkSettings::default();
        let mut state = LinkState::default();
        add(&mut state, &link(LinkEffect::Loss { percent: 20 }), &usual);
        add(&mut state, &link(LinkEffect::Loss { percent: 5 }), &usual);
        add(&mut state, &link(LinkEffect::Slow { bytes_per_second: 9 }), &usual);
        let settings = state.settings.expect("changed");
        assert_eq!((settings.loss, settings.bytes_per_second), (0.2, Some(9)));
        add(&mut state, &link(LinkEffect::Refuse), &usual);
        assert_eq!(state.cut, Some(Cut::Refusing));
        add(&mut state, &Fault::Split { select: select() }, &usual);
        assert_eq!(state.cut, Some(Cut::Silent), "silence is worse than a refusal");
        add(&mut state, &link(LinkEffect::Refuse), &usual);
        assert_eq!(state.cut, Some(Cut::Silent));
    }
}
