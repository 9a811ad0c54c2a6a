//! Faults on a simulated cluster, with proof of their effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tribunal_history::{Direction, Fault, FaultKind, NodeId};
use tribunal_nemesis::{Effect, FaultError, Target};
use tribunal_simulation::{Crash, Cut, Place, World as Simulator};

use super::lives::{Life, Lives};

/// One direction between two nodes.
type Pair = (NodeId, NodeId);

/// What the nemesis does to a simulated cluster.
pub struct SimTarget {
    simulator: Simulator,
    lives: Arc<Lives>,
    nodes: Vec<NodeId>,
    /// What is cut by each isolation in force, and how many messages had been stopped there before.
    isolations: Vec<BTreeMap<Pair, u64>>,
}

impl SimTarget {
    pub(super) fn new(simulator: Simulator, lives: Arc<Lives>, nodes: Vec<NodeId>) -> Self {
        Self {
            simulator,
            lives,
            nodes,
            isolations: Vec::new(),
        }
    }

    fn kill(&self, nodes: &[NodeId]) -> Result<(), FaultError> {
        let mut reached = false;
        for &node in nodes {
            // The machine is back at once, so others are refused rather than left waiting, as with a process.
            reached |= self.lives.crash(node, Crash::REBOOT, "its power was cut");
        }
        reached_some(reached, nodes)
    }

    fn kill_effect(&self, nodes: &[NodeId]) -> Effect {
        match nodes.iter().find(|node| self.simulator.is_up(**node)) {
            Some(node) => Effect::NotYet(format!("{node} is up")),
            None => Effect::Proved(format!("down: {}", names(nodes))),
        }
    }

    /// Restarts those of `nodes` that are down; with `ours` only those that we put down.
    fn restart(&self, nodes: &[NodeId], ours: bool) {
        for &node in nodes {
            if !ours || matches!(self.lives.life(node), Some(Life::Down { by_us: true, .. })) {
                self.lives.restart(node);
            }
        }
    }

    fn pause(&self, nodes: &[NodeId]) -> Result<(), FaultError> {
        let mut reached = false;
        for &node in nodes {
            reached |= self.lives.pause(node);
        }
        reached_some(reached, nodes)
    }

    fn pause_effect(&self, nodes: &[NodeId]) -> Effect {
        let is_paused = |node: NodeId| matches!(self.lives.life(node), Some(Life::Up { is_paused: true, .. }));
        match nodes.iter().find(|node| !is_paused(**node)) {
            Some(node) => Effect::NotYet(format!("{node} is not stopped")),
            None => Effect::Proved(format!("stopped: {}", names(nodes))),
        }
    }

    /// The directions that an isolation cuts.
    fn pairs(&self, nodes: &[NodeId], direction: Direction) -> BTreeSet<Pair> {
        let mut pairs = BTreeSet::new();
        for &node in nodes {
            for &other in self.nodes.iter().filter(|other| **other != node) {
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

    fn stopped(&self, (from, to): Pair) -> u64 {
        self.simulator.link_counters(Place::Node(from), Place::Node(to)).cut
    }

    fn isolate(&mut self, nodes: &[NodeId], direction: Direction) {
        let pairs = self.pairs(nodes, direction);
        let before = pairs.iter().map(|pair| (*pair, self.stopped(*pair))).collect();
        self.isolations.push(before);
        for (from, to) in pairs {
            self.simulator.cut(Place::Node(from), Place::Node(to), Cut::Silent);
        }
    }

    fn isolate_effect(&self, nodes: &[NodeId], direction: Direction) -> Effect {
        let pairs = self.pairs(nodes, direction);
        let Some(before) = self.isolations.iter().rev().find(|cut| cut.keys().eq(pairs.iter())) else {
            return Effect::NotYet("nothing is cut".to_owned());
        };
        let mut proofs = Vec::new();
        for &node in nodes {
            let sum = |ours: &dyn Fn(&Pair) -> bool| -> u64 {
                let pairs = before.iter().filter(|(pair, _)| ours(pair));
                pairs.map(|(pair, before)| self.stopped(*pair) - before).sum()
            };
            let ways = [
                ("to", direction != Direction::Outbound, sum(&|pair| pair.1 == node)),
                ("from", direction != Direction::Inbound, sum(&|pair| pair.0 == node)),
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
        Effect::Proved(format!("stopped {}", proofs.join(", ")))
    }

    fn rejoin(&mut self, nodes: &[NodeId], direction: Direction) {
        let pairs = self.pairs(nodes, direction);
        if let Some(place) = self.isolations.iter().rposition(|cut| cut.keys().eq(pairs.iter())) {
            self.isolations.remove(place);
        }
        for pair in pairs {
            if !self.isolations.iter().any(|cut| cut.contains_key(&pair)) {
                self.simulator.heal(Place::Node(pair.0), Place::Node(pair.1));
            }
        }
    }
}

impl Target for SimTarget {
    fn nodes(&self) -> Vec<NodeId> {
        self.nodes.clone()
    }

    fn abilities(&self) -> BTreeSet<FaultKind> {
        let has_links = self.nodes.len() > 1;
        tribunal_nemesis::kinds_in("process")
            .into_iter()
            .filter(|kind| has_links || kind.group() != "partition")
            .collect()
    }

    async fn leader(&mut self) -> Option<NodeId> {
        self.lives.leader()
    }

    async fn start(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        match fault {
            Fault::Kill { .. } => self.kill(nodes),
            Fault::Pause { .. } => self.pause(nodes),
            Fault::Isolate { direction, .. } => {
                self.isolate(nodes, *direction);
                Ok(())
            }
            other => Err(FaultError(format!("{} is not possible here", other.kind()))),
        }
    }

    async fn effect(&mut self, fault: &Fault, nodes: &[NodeId]) -> Effect {
        match fault {
            Fault::Kill { .. } => self.kill_effect(nodes),
            Fault::Pause { .. } => self.pause_effect(nodes),
            Fault::Isolate { direction, .. } => self.isolate_effect(nodes, *direction),
            other => Effect::NotYet(format!("{} is not possible here", other.kind())),
        }
    }

    async fn stop(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        match fault {
            Fault::Kill { .. } => self.restart(nodes, true),
            Fault::Pause { .. } => {
                for node in nodes {
                    self.lives.resume(*node);
                }
            }
            Fault::Isolate { direction, .. } => self.rejoin(nodes, *direction),
            other => return Err(FaultError(format!("{} is not possible here", other.kind()))),
        }
        Ok(())
    }

    /// Also starts nodes that had ended by themselves; one that ends again stays down.
    async fn heal(&mut self) -> Result<(), FaultError> {
        self.isolations.clear();
        self.simulator.heal_all();
        for node in &self.nodes {
            self.lives.resume(*node);
        }
        self.restart(&self.nodes, false);
        Ok(())
    }
}

fn reached_some(reached: bool, nodes: &[NodeId]) -> Result<(), FaultError> {
    if reached {
        return Ok(());
    }
    Err(FaultError(format!("none of these nodes is running: {}", names(nodes))))
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    names.join(" ")
}
