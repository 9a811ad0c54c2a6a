//! Which value was made from which.
//!
//! A compare-and-set that took effect made its value directly from the one that it compared with: nothing can stand
//! between the two. So the values along a chain of them, each made by nothing else, are one unbroken run, and any
//! other value that was held after one of them and before another contradicts the chain.

use tribunal_history::Value;

use super::class;
use crate::linearizability::Entry;
use crate::spec::{Class, Recorded};

/// The operations of a counterexample as makers of values.
#[derive(Debug)]
pub struct Lineage<'a, S: Recorded> {
    entries: &'a [Entry<S>],
    initial: Value,
}

impl<'a, S: Recorded> Lineage<'a, S> {
    /// That of these operations.
    pub fn new(entries: &'a [Entry<S>]) -> Self {
        Self {
            entries,
            initial: S::default().value(),
        }
    }

    /// The operations that may have made `value`.
    pub fn makers(&self, value: &Value) -> Vec<&'a Entry<S>> {
        self.entries
            .iter()
            .filter(|entry| class(entry).made() == Some(value))
            .collect()
    }

    /// The only operation that can have made `value`, if there is one and the object did not begin with it.
    pub fn maker(&self, value: &Value) -> Option<&'a Entry<S>> {
        match self.makers(value).as_slice() {
            [maker] if *value != self.initial => Some(maker),
            _ => None,
        }
    }

    /// `value`, what it was made from, what that was made from, and so on, as far as it is certain.
    pub fn ancestors(&self, value: &Value) -> Vec<Value> {
        let mut run = vec![value.clone()];
        while let Some(maker) = self.maker(&run[run.len() - 1])
            && let Class::Update { from, .. } = class(maker)
            && !run.contains(&from)
        {
            run.push(from);
        }
        run
    }

    /// Whether the object had held `value`, for the last time, before `newer` ended and showed another one.
    pub fn was_before(&self, value: &Value, newer: &Entry<S>) -> bool {
        let makers = self.makers(value);
        match makers.as_slice() {
            [] => *value == self.initial,
            [maker] if *value != self.initial => maker.precedes(newer) || self.was_seen(value, newer),
            several => several.iter().all(|maker| maker.precedes(newer)),
        }
    }

    /// Whether something shows that `value`, made once, had been made before `newer` ended: it was found, or a value
    /// that was made from it was made or found.
    fn was_seen(&self, value: &Value, newer: &Entry<S>) -> bool {
        let shows = |shown: Option<&Value>| shown.is_some_and(|shown| self.ancestors(shown).contains(value));
        self.entries
            .iter()
            .filter(|entry| entry.precedes(newer) || entry.id == newer.id)
            .any(|entry| shows(class(entry).observed()) || shows(class(entry).made()))
    }

    /// Whether an operation that ended ok found `value`.
    pub fn is_observed(&self, value: &Value) -> bool {
        let mut required = self.entries.iter().filter(|entry| entry.is_required());
        required.any(|entry| class(entry).observed() == Some(value))
    }

    /// The earliest end and the latest beginning among the operations that show a value of `run`.
    pub fn zone(&self, run: &[Value]) -> Option<Zone<'a, S>> {
        let shows = |entry: &&Entry<S>| {
            let class = class(entry);
            let makes = class.made().is_some_and(|made| run.contains(made));
            if entry.is_required() {
                return makes || class.observed().is_some_and(|value| run.contains(value));
            }
            // What is in doubt shows nothing, unless somebody found what it made.
            makes && class.made().is_some_and(|made| self.is_observed(made))
        };
        if run.iter().any(|value| self.maker(value).is_none()) {
            return None;
        }
        let of_run = || self.entries.iter().filter(shows);
        let early = of_run()
            .filter(|entry| entry.is_required())
            .min_by_key(|entry| entry.end)?;
        let late = of_run().max_by_key(|entry| entry.call)?;
        Some(Zone { early, late })
    }
}

/// When the values of a run were held: from the end of `early` at the latest to the beginning of `late` at least.
#[derive(Debug)]
pub struct Zone<'a, S: Recorded> {
    /// What ended first.
    pub early: &'a Entry<S>,
    /// What began last.
    pub late: &'a Entry<S>,
}
