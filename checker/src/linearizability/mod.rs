//! Is there an order of a partition's operations that its specification accepts?
//!
//! An order is accepted if it respects real time (what ended before another began stands before it), places
//! each operation that ended ok exactly once, places one in doubt once or never, and every result fits the
//! state at its place. An operation in doubt never ends: it may be placed at any point after its invocation.
//!
//! An engine is one file here: [`zones`] decides at once what meets its precondition; anything else is searched by a type
//! that implements [`Search`], over a [`table`] where there are few states, and [`rounds`] shares a budget among the
//! searches of all partitions. What an engine finds is not believed: [`certificate`] replays the order, and [`brute`] tries
//! small counterexamples again in the most obvious way.

use crate::spec::Spec;

pub mod brute;
pub mod certificate;
pub mod frontier;
pub mod lists;
mod prepare;
mod race;
pub mod rounds;
pub mod table;
pub mod wgl;
pub mod witness;
pub mod zones;

pub use certificate::{CertificateError, verify};
pub use frontier::Frontier;
pub use table::Table;
pub use wgl::Wgl;

/// One operation as an engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<S: Spec> {
    /// Its place in the list of recorded operations.
    pub id: usize,
    /// What was asked.
    pub op: S::Op,
    /// What came back; none if nobody knows.
    pub ret: Option<S::Ret>,
    /// Place of the invocation in the run's order.
    pub call: u64,
    /// Place of the completion; none for an operation in doubt, which may take effect at any time after its
    /// invocation or never. With an end and no result, it took effect and its result is not known.
    pub end: Option<u64>,
}

impl<S: Spec> Entry<S> {
    /// Whether it must be placed.
    pub fn is_required(&self) -> bool {
        self.end.is_some()
    }

    /// Whether it ended before `other` began.
    pub fn precedes(&self, other: &Self) -> bool {
        self.end.is_some_and(|end| end < other.call)
    }

    /// Does it in `state`; whether that is legal. An unknown result fits always.
    pub fn step(&self, state: &mut S) -> bool {
        match &self.ret {
            Some(ret) => state.is_valid_step(&self.op, ret),
            None => {
                state.invoke(&self.op);
                true
            }
        }
    }
}

/// The operations on one object, in order of their invocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition<S: Spec> {
    /// The object's key, if it has one.
    pub key: Option<String>,
    /// The operations; definite failures are left out, since they did nothing.
    pub entries: Vec<Entry<S>>,
}

impl<S: Spec> Partition<S> {
    /// A partition of these entries, brought into order.
    pub fn new(key: Option<String>, mut entries: Vec<Entry<S>>) -> Self {
        entries.sort_by_key(|entry| entry.call);
        Self { key, entries }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This order of places in the partition's `entries` explains it.
    Linearizable(Vec<u32>),
    /// Nothing explains it.
    NotLinearizable,
}

/// A search that can be stopped and continued.
pub trait Search {
    /// Goes on for `steps` steps or a few more; none if it has to go on after that.
    fn advance(&mut self, steps: u64) -> Option<Answer>;

    /// Steps taken so far. A step is one attempt to place an operation.
    fn steps(&self) -> u64;

    /// Memory held, in bytes, roughly.
    fn memory_bytes(&self) -> u64;

    /// Where it could not get on, as far as it is known.
    fn hard_spot(&self) -> HardSpot;
}

/// The furthest point that a search reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardSpot {
    /// Place in the entries of the operation that could not be placed before it ended; none if no dead end was
    /// met.
    pub blocked: Option<u32>,
    /// Operations that were open there.
    pub open: usize,
    /// Operations in doubt that could be placed there.
    pub in_doubt: usize,
}
