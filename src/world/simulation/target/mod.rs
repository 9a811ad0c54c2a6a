//! Faults on a simulated cluster, with proof of their effects.
//!
//! Several faults may be in force at a time. What they do to links, disks and clocks is a function of the faults in
//! force: it is computed anew whenever one starts or stops, so that the end of one undoes nothing of another. A node
//! comes back when the last fault that keeps it down is over.
//!
//! Proofs come from what the simulator counted: a fault remembers how its counters stood when it started.

mod crashes;
mod disks;
mod hands;
mod links;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tribunal_history::{ClockEffect, DiskEffect, Fault, FaultKind, Moment, NodeId};
use tribunal_nemesis::{Effect, FaultError, Target};
use tribunal_simulation::{Crash, DiskCounters, DiskSettings, LinkCounters, Place, World as Simulator};

use super::lives::{Life, Lives};
use crate::world::operator::{Answer, Change, Operator, Order, Roster};
pub use hands::SimHands;
use links::{LinkState, Pair};

/// What the nemesis does to a simulated cluster.
pub struct SimTarget {
    simulator: Simulator,
    lives: Arc<Lives>,
    roster: Arc<Roster>,
    operator: Arc<Operator<SimHands>>,
    /// In order of their start.
    in_force: Vec<InForce>,
    /// What differs from the usual on each link now.
    links: BTreeMap<Pair, LinkState>,
    /// How the disks were before any fault.
    disks: BTreeMap<NodeId, DiskSettings>,
    /// How the clocks ran before any fault.
    drifts: BTreeMap<NodeId, i32>,
    /// Who is no member yet and will crash at a point, if it becomes one in time.
    armed_newcomers: BTreeSet<NodeId>,
}

/// A fault in force, and how things stood when it started.
struct InForce {
    fault: Fault,
    nodes: Vec<NodeId>,
    /// True time.
    since: Duration,
    links: BTreeMap<Pair, LinkCounters>,
    disks: BTreeMap<NodeId, DiskCounters>,
    /// Monotonic and wall.
    clocks: BTreeMap<NodeId, (Duration, Duration)>,
    /// What happened at its start, if that proves it.
    done: Option<Effect>,
    /// What the store answered, if it is asked for something.
    answer: Option<Answer>,
    /// The change of members that it is.
    order: Option<Order>,
}

impl InForce {
    /// Whether a node that goes down stays down while it lasts. What waits at a point may wait for the next life.
    fn keeps_down(&self, node: NodeId, lives: &Lives) -> bool {
        let is_of_death = match &self.fault {
            Fault::Crash {
                moment: Moment::Point { .. },
                ..
            } => !lives.expects(node),
            Fault::Kill { .. } | Fault::Crash { .. } => true,
            Fault::Disk { effect, .. } => disks::may_end_a_node(*effect),
            _ => false,
        };
        is_of_death && self.nodes.contains(&node)
    }
}

impl SimTarget {
    pub(super) fn new(
        simulator: Simulator,
        lives: Arc<Lives>,
        roster: Arc<Roster>,
        operator: Arc<Operator<SimHands>>,
    ) -> Self {
        let nodes = roster.places();
        let disks = nodes.iter().map(|node| (*node, simulator.disk(*node))).collect();
        let drift = |node: &NodeId| (*node, simulator.drift(Place::Node(*node)));
        let drifts = nodes.iter().map(drift).collect();
        Self {
            simulator,
            lives,
            roster,
            operator,
            in_force: Vec::new(),
            links: BTreeMap::new(),
            disks,
            drifts,
            armed_newcomers: BTreeSet::new(),
        }
    }

    /// Remembers how everything stands, before the fault has changed anything.
    fn begin(&mut self, fault: &Fault, nodes: &[NodeId]) {
        let pairs = links::pairs(fault, nodes, &self.concerned(fault));
        let counters = |pair: &Pair| (*pair, links::counters(&self.simulator, *pair));
        let disk = |node: &NodeId| (*node, self.simulator.disk_counters(*node));
        let clocks = |node: &NodeId| (*node, self.simulator.clocks(Place::Node(*node)));
        self.in_force.push(InForce {
            fault: fault.clone(),
            nodes: nodes.to_vec(),
            since: self.simulator.now(),
            links: pairs.iter().map(counters).collect(),
            disks: nodes.iter().map(disk).collect(),
            clocks: nodes.iter().map(clocks).collect(),
            done: None,
            answer: None,
            order: None,
        });
    }

    /// The nodes that a fault of links is about: a group that stands for a part of the members is one of members, and
    /// who is cut off is cut off from all.
    fn concerned(&self, fault: &Fault) -> Vec<NodeId> {
        match fault {
            Fault::Bridge { .. } | Fault::Ring { .. } => self.roster.members().into_keys().collect(),
            _ => self.roster.places(),
        }
    }

    fn find(&self, fault: &Fault, nodes: &[NodeId]) -> Option<usize> {
        self.in_force
            .iter()
            .rposition(|active| active.fault == *fault && active.nodes == nodes)
    }

    /// Says of the fault that started last what came of it at once.
    fn done(&mut self, effect: Effect) {
        if let Some(active) = self.in_force.last_mut() {
            active.done = Some(effect);
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
        match nodes.iter().find(|node| !self.lives.is_paused(**node)) {
            Some(node) => Effect::NotYet(format!("{node} is not stopped")),
            None => Effect::Proved(format!("stopped: {}", names(nodes))),
        }
    }

    /// Lets those go on that no pause in force stops.
    fn resume(&self, nodes: &[NodeId]) {
        for &node in nodes {
            let is_stopped =
                |active: &InForce| matches!(active.fault, Fault::Pause { .. }) && active.nodes.contains(&node);
            if !self.in_force.iter().any(is_stopped) {
                self.lives.resume(node);
            }
        }
    }

    /// Starts those again that are down through us and that nothing keeps down.
    fn restart(&self, nodes: &[NodeId]) {
        for &node in nodes {
            if self.in_force.iter().any(|active| active.keeps_down(node, &self.lives)) {
                continue;
            }
            match self.lives.life(node) {
                // Its disk failed: the machine restarts, so that its cache does not show what is not durable.
                Some(Life::Down {
                    by_us: true,
                    by_itself: true,
                    ..
                }) => self.lives.restart_machine(node),
                Some(Life::Down { by_us: true, .. }) => self.lives.restart(node),
                _ => false,
            };
        }
    }

    /// Whatever the faults in force make of links, disks and clocks.
    fn enforce(&mut self) {
        links::enforce(&self.simulator, &self.in_force, &mut self.links);
        for (node, usual) in &self.disks {
            let wanted = disks::wanted(*usual, *node, &self.in_force);
            if self.simulator.disk(*node) != wanted {
                self.simulator.set_disk(*node, wanted);
            }
        }
        for (node, usual) in &self.drifts {
            let drifts = self.in_force.iter().rev().filter(|active| active.nodes.contains(node));
            let wanted = drifts.filter_map(|active| match active.fault {
                Fault::Clock {
                    effect: ClockEffect::Drift { ppm },
                    ..
                } => Some(ppm),
                _ => None,
            });
            let wanted = wanted.take(1).fold(*usual, |_, ppm| ppm);
            if self.simulator.drift(Place::Node(*node)) != wanted {
                self.simulator.set_drift(Place::Node(*node), wanted);
            }
        }
    }

    fn turn_clocks(&self, effect: ClockEffect, nodes: &[NodeId], back: bool) {
        for node in nodes {
            let place = Place::Node(*node);
            match effect {
                ClockEffect::Drift { .. } => {}
                ClockEffect::Jump { by_ms } if !back => {
                    self.simulator.leap(place, Duration::from_millis(by_ms));
                }
                ClockEffect::Jump { .. } => {}
                ClockEffect::WallJump { by_ms } => {
                    let by_ms = if back { -by_ms } else { by_ms };
                    self.simulator.set_wall(place, by_ms.saturating_mul(1_000_000));
                }
            }
        }
    }

    fn clock_effect(&self, active: &InForce, effect: ClockEffect) -> Effect {
        let passed = self.simulator.now().saturating_sub(active.since);
        let mut proofs = Vec::new();
        for (node, (monotonic, wall)) in &active.clocks {
            let now = self.simulator.clocks(Place::Node(*node));
            let shown = now.0.saturating_sub(*monotonic);
            let is_off = match effect {
                ClockEffect::Drift { .. } => shown != passed,
                ClockEffect::Jump { by_ms } => shown >= Duration::from_millis(by_ms),
                ClockEffect::WallJump { .. } => now.1 != wall.saturating_add(shown),
            };
            if !is_off {
                return Effect::NotYet(format!("the clock of {node} runs as before"));
            }
            proofs.push(format!(
                "on {node} {} ms passed in {} ms, and its wall clock went from {} to {} ms",
                shown.as_millis(),
                passed.as_millis(),
                wall.as_millis(),
                now.1.as_millis()
            ));
        }
        Effect::Proved(proofs.join(", "))
    }
}

impl Target for SimTarget {
    fn nodes(&self) -> Vec<NodeId> {
        self.roster.members().into_keys().collect()
    }

    fn spares(&self) -> Vec<NodeId> {
        self.roster.spares()
    }

    fn abilities(&self) -> BTreeSet<FaultKind> {
        ABILITIES.into()
    }

    async fn leader(&mut self) -> Option<NodeId> {
        self.lives.leader()
    }

    async fn start(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        if let Fault::Disk {
            effect: DiskEffect::LyingSync { .. },
            ..
        } = fault
            && !self.may_lie(nodes)
        {
            let why = format!(
                "members change, or too many could lose what they promised, with {}",
                names(nodes)
            );
            return Err(FaultError(why));
        }
        self.begin(fault, nodes);
        match fault {
            // The machine is back at once, so others are refused rather than left waiting, as with a process.
            Fault::Kill { .. } => return self.kill(nodes, Crash::REBOOT),
            Fault::Crash { outage, moment, .. } => return self.crash(nodes, *outage, moment),
            Fault::Pause { .. } => return self.pause(nodes),
            Fault::Disk { effect, .. } => self.damage(*effect, nodes),
            Fault::Clock { effect, .. } => self.turn_clocks(*effect, nodes, false),
            Fault::Isolate { .. }
            | Fault::Split { .. }
            | Fault::Bridge { .. }
            | Fault::Ring { .. }
            | Fault::Link { .. } => {}
            Fault::TransferLeader { .. } | Fault::Compact { .. } | Fault::Snapshot { .. } => {
                let answer = self.operator.look_after(fault, nodes);
                if let Some(active) = self.in_force.last_mut() {
                    active.answer = Some(answer);
                }
            }
            Fault::MemberReplace { .. } => self.change(Change::Replace, nodes),
            Fault::MemberGrow { .. } => self.change(Change::Grow, nodes),
            Fault::MemberShrink { .. } => self.change(Change::Shrink, nodes),
        }
        self.enforce();
        Ok(())
    }

    async fn effect(&mut self, fault: &Fault, nodes: &[NodeId]) -> Effect {
        let Some(place) = self.find(fault, nodes) else {
            return Effect::NotYet("it is not in force".to_owned());
        };
        let active = &self.in_force[place];
        if let Some(done) = &active.done {
            return done.clone();
        }
        if let Some(answer) = &active.answer {
            return answer.get();
        }
        match fault {
            Fault::Kill { .. } | Fault::Crash { .. } => self.crash_effect(active),
            Fault::Pause { .. } => self.pause_effect(nodes),
            Fault::Disk { effect, .. } => disks::effect(&self.simulator, active, *effect),
            Fault::Clock { effect, .. } => self.clock_effect(active, *effect),
            _ => links::effect(&self.simulator, active),
        }
    }

    async fn stop(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        let Some(place) = self.find(fault, nodes) else {
            return Ok(());
        };
        let ended = self.in_force.remove(place);
        if let Some(order) = &ended.order {
            order.end();
        }
        match fault {
            Fault::Crash {
                moment: Moment::Point { .. },
                ..
            } => self.end_of_crash_at_point(nodes),
            Fault::Crash {
                moment: Moment::Polls { .. },
                ..
            } => self.end_of_crash(nodes),
            // Whoever waits at a point of recovery waits for this.
            Fault::Kill { .. } | Fault::Crash { .. } => self.restart(nodes),
            Fault::Pause { .. } => self.resume(nodes),
            Fault::Disk { effect, .. } => {
                self.enforce();
                self.repair(*effect, nodes);
            }
            Fault::Clock { effect, .. } => {
                self.turn_clocks(*effect, nodes, true);
                self.enforce();
            }
            _ => self.enforce(),
        }
        Ok(())
    }

    /// Also starts nodes that had ended by themselves; one that ends again stays down. Changes of members that are under
    /// way are carried to their end.
    async fn heal(&mut self) -> Result<(), FaultError> {
        for active in std::mem::take(&mut self.in_force) {
            if let Some(order) = &active.order {
                order.end();
            }
            match &active.fault {
                Fault::Clock { effect, .. } => self.turn_clocks(*effect, &active.nodes, true),
                Fault::Disk { effect, .. } => self.repair(*effect, &active.nodes),
                _ => {}
            }
        }
        self.enforce();
        self.simulator.heal_all();
        for node in self.roster.places() {
            self.simulator.disarm(node);
            self.simulator.mend(node);
            self.lives.resume(node);
            self.lives.restart(node);
            self.lives.pardon(node);
        }
        // One may have been given up while another member was away.
        let settled: Vec<NodeId> = self.roster.settled().into_iter().collect();
        self.replace_liars(&settled);
        self.operator.settle().await
    }
}

/// The kinds of faults that a simulated cluster can have: all that there are.
pub const ABILITIES: [FaultKind; FaultKind::ALL.len()] = FaultKind::ALL;

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
