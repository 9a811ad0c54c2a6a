//! What nodes say of themselves, and who listens.
//!
//! A listener is told of each event at the instant that it is recorded, before the node does anything more. There it
//! may look at every disk, so a broken promise is seen when it is broken and not when somebody reads.

use std::sync::Arc;
use std::time::Duration;

use tribunal_history::NodeId;
use tribunal_history::evidence::{self, Stamped};

use crate::executor::trace::Kind;
use crate::executor::{Kernel, lock};
use crate::place::{Owner, Place};
use crate::world::World;

/// An event of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// True time since the start.
    pub at: Duration,
    /// Whose it is.
    pub place: Place,
    /// In which of its lives.
    pub incarnation: u32,
    /// What happened, stamped with the node's own clock.
    pub stamped: Stamped,
}

type Listener = Box<dyn FnMut(&Recorded) + Send>;

/// What was recorded and not taken yet.
#[derive(Default)]
pub(crate) struct Records {
    /// Not handed to the system: a crash loses it.
    buffered: Vec<Recorded>,
    written: Vec<Recorded>,
    listener: Option<Listener>,
    /// Room for an event as the trace has it.
    frame: Vec<u8>,
    /// Nobody will take them.
    forgets: bool,
}

impl Records {
    /// Whether events are kept for nobody.
    pub(crate) fn forget(&mut self, forgets: bool) {
        self.forgets = forgets;
    }
}

/// The listener while it runs: taken out, so that it may use the world, and put back even if it crashes the node.
struct Lent<'a> {
    kernel: &'a Kernel,
    listener: Option<Listener>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            // One that was set meanwhile stays.
            lock(&self.kernel.evidence).listener.get_or_insert(listener);
        }
    }
}

impl Kernel {
    pub(crate) fn record(&self, owner: Owner, stamped: Stamped) {
        let state = self.state();
        if !state.is_alive(owner) {
            drop(state);
            self.find_act_after_death(owner, "record evidence");
            return;
        }
        let at = Duration::from_nanos(state.now);
        drop(state);
        let incarnation = owner.incarnation;
        let mut frame = std::mem::take(&mut lock(&self.evidence).frame);
        frame.clear();
        evidence::encode(&stamped, &mut frame);
        self.trace(Kind::Evidence, owner.place.number(), u64::from(incarnation), &frame);
        lock(&self.evidence).frame = frame;
        let recorded = Recorded {
            at,
            place: owner.place,
            incarnation,
            stamped,
        };
        let mut lent = Lent {
            kernel: self,
            listener: lock(&self.evidence).listener.take(),
        };
        if let Some(listener) = &mut lent.listener {
            listener(&recorded);
        }
        drop(lent);
        let mut records = lock(&self.evidence);
        if !records.forgets {
            records.buffered.push(recorded);
        }
    }

    /// Hands a place's evidence to the system.
    pub(crate) fn settle(&self, owner: Owner) {
        let mut records = lock(&self.evidence);
        let is_own = |recorded: &mut Recorded| recorded.place == owner.place;
        let settled: Vec<Recorded> = records.buffered.extract_if(.., is_own).collect();
        records.written.extend(settled);
    }

    /// A crash loses what was not handed to the system.
    pub(crate) fn lose_evidence(&self, owner: Owner) {
        lock(&self.evidence)
            .buffered
            .retain(|recorded| recorded.place != owner.place);
    }

    /// Drops the listener, which may hold this kernel.
    pub(crate) fn silence(&self) {
        let listener = lock(&self.evidence).listener.take();
        drop(listener);
    }
}

impl World {
    /// Tells this function of each event of each node at the instant that it is recorded. It may look at the world and
    /// change it (a node that it crashes does nothing after that event), and must not let time pass. The last listener set is the only one; what it panics with is a finding of the task that
    /// recorded.
    pub fn listen(&self, listener: impl FnMut(&Recorded) + Send + 'static) {
        let before = lock(&self.kernel.evidence).listener.replace(Box::new(listener));
        drop(before);
    }

    /// Takes the events that nodes have settled so far, in the order of settling. Those of a life that was lost before
    /// they were settled are lost with it, as they are with a process.
    pub fn take_evidence(&self) -> Vec<Recorded> {
        std::mem::take(&mut lock(&self.kernel.evidence).written)
    }

    /// Settles what a node has recorded so far, as a process does now and then for events that no reply waits for.
    pub fn settle(&self, node: NodeId) {
        let kernel = Arc::clone(&self.kernel);
        if let Some(owner) = kernel.alive(Place::Node(node)) {
            kernel.settle(owner);
        }
    }
}
