//! Changes of members as faults, and members whose disks lied.
//!
//! Who loses what its member promised may not come back as that one, so it is replaced, and while there is one whose
//! disk lied nothing else about members is changed. The work is the operator's ([`crate::world::operator`]).

use tribunal_history::{DiskEffect, Fault, NodeId};
use tribunal_nemesis::Effect;
use tribunal_simulation::Crash;

use super::{InForce, SimTarget};
use crate::world::operator::Change;

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
                self.lives
                    .crash(node, Crash::MACHINE, "its power was cut, and its disk had lied");
                self.lives.count("liars-replaced");
                drop(self.operator.order(Change::ReplaceLost, node));
            }
        }
    }
}
