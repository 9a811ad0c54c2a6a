//! Nodes that die: at once, after some polls, at a named point.

use tribunal_history::{Fault, Moment, NodeId, Outage};
use tribunal_nemesis::{Effect, FaultError};
use tribunal_simulation::Crash;
use tribunal_store::points;

use super::{InForce, SimTarget, names, reached_some};

fn of(outage: Outage) -> Crash {
    match outage {
        Outage::Process => Crash::PROCESS,
        Outage::Machine => Crash::MACHINE,
        Outage::Reboot => Crash::REBOOT,
    }
}

impl SimTarget {
    pub(super) fn kill(&self, nodes: &[NodeId], crash: Crash) -> Result<(), FaultError> {
        let what = if crash.loses_unsynced {
            "its power was cut"
        } else {
            "its process was killed"
        };
        let mut reached = false;
        for &node in nodes {
            reached |= self.lives.crash(node, crash, what);
        }
        reached_some(reached, nodes)
    }

    pub(super) fn crash(&mut self, nodes: &[NodeId], outage: Outage, moment: &Moment) -> Result<(), FaultError> {
        let crash = of(outage);
        let mut reached = false;
        match moment {
            Moment::Now => return self.kill(nodes, crash),
            Moment::Polls { polls } => {
                for &node in nodes {
                    if self.simulator.crash_after_polls(node, *polls, crash) {
                        self.lives.expect(node, "it crashed where it waited".to_owned());
                        reached = true;
                    }
                }
            }
            Moment::Point { point, passes } => {
                let known = points::ALL.iter().find(|known| known.name == *point);
                let Some(known) = known else {
                    return Err(FaultError(format!("the store has no point {point:?}")));
                };
                // What a new member passes, such as a snapshot's installation, members pass seldom.
                let newcomers = if known.is_rare {
                    self.roster.spares()
                } else {
                    Vec::new()
                };
                self.armed_newcomers.extend(&newcomers);
                for &node in nodes.iter().chain(&newcomers) {
                    if self.simulator.crash_at(node, known.name, *passes, crash) {
                        self.lives.expect(node, format!("it crashed at {point}"));
                        reached = true;
                    }
                }
                if known.is_of_recovery {
                    self.recover(nodes);
                }
            }
        }
        reached_some(reached, nodes)
    }

    /// Power fails and comes back, so that nodes pass what only recovery passes, on a disk that recovery has work with.
    fn recover(&self, nodes: &[NodeId]) {
        for &node in nodes {
            self.lives.crash(
                node,
                Crash::MACHINE,
                "its power was cut, to fail again while it recovers",
            );
        }
        self.restart(nodes);
    }

    /// All nodes that it hit are down; of a crash that waits for its moment one is enough. Of one that waits at a point,
    /// those that others have brought down meanwhile do not count: it still waits at them.
    pub(super) fn crash_effect(&self, active: &InForce) -> Effect {
        let is_at_point = matches!(
            active.fault,
            Fault::Crash {
                moment: Moment::Point { .. },
                ..
            }
        );
        let still_waits = |node: NodeId| is_at_point && self.lives.expects(node);
        let is_down = |node: &&NodeId| !self.simulator.is_up(**node) && !still_waits(**node);
        let down: Vec<NodeId> = active.nodes.iter().filter(is_down).copied().collect();
        let is_enough = match &active.fault {
            Fault::Crash {
                moment: Moment::Polls { .. } | Moment::Point { .. },
                ..
            } => !down.is_empty(),
            _ => down == active.nodes,
        };
        if is_enough {
            return Effect::Proved(format!("down: {}", names(&down)));
        }
        let up: Vec<NodeId> = active
            .nodes
            .iter()
            .filter(|node| !down.contains(node))
            .copied()
            .collect();
        Effect::NotYet(format!("still up: {}", names(&up)))
    }

    pub(super) fn end_of_crash(&self, nodes: &[NodeId]) {
        for &node in nodes {
            // Another fault may have armed it anew; then that one loses its effect, which its proof will say.
            if self.simulator.disarm(node) {
                self.lives.expect_no_more(node);
            }
        }
        self.restart(nodes);
    }

    /// As [`SimTarget::end_of_crash`], for a crash at a point.
    pub(super) fn end_of_crash_at_point(&mut self, nodes: &[NodeId]) {
        let newcomers = std::mem::take(&mut self.armed_newcomers);
        let all: Vec<NodeId> = nodes.iter().copied().chain(newcomers).collect();
        self.end_of_crash(&all);
    }
}
