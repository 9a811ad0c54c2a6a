//! Which states can still be observed, where operations add to what they find and others overwrite it.
//!
//! A state is observed by a read that stands before the next overwriting operation. Whatever observes or overwrites and
//! has to be placed stands before what begins after its end. So the first to observe the present state, or what grows out
//! of it, began before the first end of anything not placed that observes or overwrites: a *window* that is hardly longer
//! than what is open. A state that cannot grow to what any read in it saw is *dead*: nothing will see it or what grows out
//! of it.
//!
//! Two things follow.
//! - All dead states are one. With the same operations placed, whatever explains the rest from one of them explains it
//!   from any other: no read stands before the next overwriting operation, and growing is legal everywhere.
//! - No operation in doubt is worth placing that leads to a dead state: without it, and without those placed in doubt
//!   between it and the next overwriting operation, the same order explains the rest.
//!
//! Only reads with a value, writes and growing operations are understood. Where there is anything else, or nothing that
//! overwrites, there is no window.

use super::opens::Opens;
use crate::linearizability::Partition;
use crate::linearizability::prepare::Required;
use crate::spec::{Class, Spec};
use tribunal_history::Value;

/// Most operations to come that are looked at. Where a window is longer, every state may be observed as far as we know,
/// which is never wrong.
const LOOKED_AT_MAX: usize = 64;

/// What every required operation is to a window.
#[derive(Debug)]
pub struct Window {
    /// By required operation.
    kinds: Vec<Kind>,
    /// By place in the order of calls: the first end from there on of what observes or overwrites.
    first_end: Vec<u64>,
}

#[derive(Debug)]
enum Kind {
    /// It sees this, and ends then.
    Observes(Value, u64),
    /// It overwrites, and ends then.
    Overwrites(u64),
    /// It grows what it finds, or says nothing.
    Other,
}

impl Kind {
    /// When the window that it is in ends at the latest.
    fn end(&self) -> u64 {
        match self {
            Self::Observes(_, end) | Self::Overwrites(end) => *end,
            Self::Other => u64::MAX,
        }
    }
}

impl Window {
    /// None where it cannot be told which states are dead.
    pub fn new<S: Spec>(partition: &Partition<S>, required: &[Required], opens: &Opens) -> Option<Self> {
        let mut grows = false;
        let mut overwrites = false;
        for entry in &partition.entries {
            match S::class(&entry.op, entry.ret.as_ref()) {
                Class::Grow(_) => grows = true,
                Class::Write(_) => overwrites = true,
                Class::Read(Some(_)) => {}
                Class::Read(None) if entry.ret.is_none() => {}
                _ => return None,
            }
        }
        if !grows || !overwrites {
            return None;
        }
        let kind = |operation: &Required| {
            let entry = &partition.entries[operation.entry as usize];
            match S::class(&entry.op, entry.ret.as_ref()) {
                Class::Read(Some(value)) => Kind::Observes(value, operation.end),
                Class::Write(_) => Kind::Overwrites(operation.end),
                _ => Kind::Other,
            }
        };
        let kinds: Vec<Kind> = required.iter().map(kind).collect();
        let mut first = u64::MAX;
        let mut first_end: Vec<u64> = vec![first];
        for &r in opens.by_call().iter().rev() {
            first = first.min(kinds[r as usize].end());
            first_end.push(first);
        }
        first_end.reverse();
        Some(Self { kinds, first_end })
    }

    /// Whether nothing will observe `state` or what grows out of it, when what `opens` names last is not placed, but for
    /// `placed`.
    pub fn is_dead<S: Spec>(&self, state: &S, opens: &Opens, placed: Option<u32>) -> bool {
        let open = || opens.last().iter().filter(|&&r| Some(r) != placed);
        let can_be_seen = |r: &u32| match &self.kinds[*r as usize] {
            Kind::Observes(value, _) => state.may_grow_to(value),
            _ => false,
        };
        if open().any(can_be_seen) {
            return false;
        }
        let let_in = opens.let_in_count();
        let ends = open().map(|&r| self.kinds[r as usize].end());
        let window = ends.min().unwrap_or(u64::MAX);
        let window = window.min(self.first_end[let_in]);
        for (looked_at, r) in opens.by_call()[let_in..].iter().enumerate() {
            if opens.call(*r) > window {
                return true;
            }
            if looked_at == LOOKED_AT_MAX || can_be_seen(r) {
                return false;
            }
        }
        true
    }
}
