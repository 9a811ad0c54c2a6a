//! Values that can only be reached by growing: what is known where operations add to what is there.
//!
//! A read that is still to be placed and saw `R` needs the object to hold `R` at some moment to come. It can come to
//! that from a state that may grow to `R` ([`Spec::may_grow_to`]), or after another write of a value that may. Once all
//! such writes are placed the value is *pinned*: from then on no state is worth looking at that may not grow to it.
//! Tokens may repeat, writes may stand between appends, and operations may be in doubt; nothing here needs more than
//! true classes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tribunal_history::Value;

use crate::linearizability::Entry;
use crate::spec::{Class, Spec};

/// Most pairs of a value that is written and one that is observed that are compared beforehand.
const PAIRS_MAX: usize = 1 << 16;

/// Most pinned values that a state is compared with, those observed first. The others are for later.
const LOOKED_AT_MAX: usize = 16;

/// What is to be observed, and what may still lead there.
#[derive(Debug)]
pub struct Growth {
    observed: Vec<Observed>,
    /// By place in the partition's entries: the observed values that the value which the entry writes may grow to.
    leads: Vec<Rc<[u32]>>,
    /// By place in the partition's entries: the value that a required entry observes.
    observes: Vec<Option<u32>>,
    /// Observed values that no write leads to any more, by the first end of their observers.
    pinned: BTreeSet<(u64, u32)>,
}

#[derive(Debug)]
struct Observed {
    value: Value,
    /// Observers that are not placed.
    observers: u32,
    /// Writes that are not placed and may lead there.
    resets: u32,
    first_end: u64,
}

impl Growth {
    /// None where operations do not grow what they find, where something about them is not known, or where there is too
    /// much to compare.
    pub fn new<S: Spec>(entries: &[Entry<S>]) -> Option<Self> {
        let classes: Vec<Class> = entries
            .iter()
            .map(|entry| S::class(&entry.op, entry.ret.as_ref()))
            .collect();
        if classes.contains(&Class::Opaque) || !classes.iter().any(|class| matches!(class, Class::Grow(_))) {
            return None;
        }
        let mut numbers: BTreeMap<&Value, u32> = BTreeMap::new();
        let mut observed: Vec<Observed> = Vec::new();
        let mut observes = vec![None; entries.len()];
        for (place, (entry, class)) in entries.iter().zip(&classes).enumerate() {
            let (Some(end), Some(value)) = (entry.end, class.observed()) else {
                continue;
            };
            if entry.ret.is_none() {
                continue;
            }
            let number = *numbers.entry(value).or_insert_with(|| {
                observed.push(Observed {
                    value: value.clone(),
                    observers: 0,
                    resets: 0,
                    first_end: end,
                });
                observed.len() as u32 - 1
            });
            let one = &mut observed[number as usize];
            one.observers += 1;
            one.first_end = one.first_end.min(end);
            observes[place] = Some(number);
        }
        let written: BTreeSet<&Value> = classes.iter().filter_map(Class::made).collect();
        if written.len().saturating_mul(observed.len()) > PAIRS_MAX {
            return None;
        }
        let by_value: BTreeMap<&Value, Rc<[u32]>> = written
            .into_iter()
            .map(|value| {
                let leads = (0..observed.len() as u32).filter(|&to| S::grows(value, &observed[to as usize].value));
                (value, leads.collect())
            })
            .collect();
        let nowhere: Rc<[u32]> = Rc::from([]);
        let leads: Vec<Rc<[u32]>> = classes
            .iter()
            .map(|class| {
                class
                    .made()
                    .map_or_else(|| nowhere.clone(), |value| by_value[value].clone())
            })
            .collect();
        for to in leads.iter().flat_map(|leads| leads.iter()) {
            observed[*to as usize].resets += 1;
        }
        let pinned = (0u32..)
            .zip(&observed)
            .filter(|(_, one)| one.resets == 0)
            .map(|(number, one)| (one.first_end, number))
            .collect();
        Some(Self {
            observed,
            leads,
            observes,
            pinned,
        })
    }

    /// What is pinned and `next`, the state after placing the entry at `place`, can no longer come to hold; none if it can
    /// come to hold everything.
    pub fn lost_after<S: Spec>(&self, next: &S, place: u32) -> Option<u32> {
        let last_observed =
            self.observes[place as usize].filter(|&number| self.observed[number as usize].observers == 1);
        self.pinned
            .iter()
            .filter(|(_, number)| Some(*number) != last_observed)
            .take(LOOKED_AT_MAX)
            .map(|(_, number)| *number)
            .find(|number| !next.may_grow_to(&self.observed[*number as usize].value))
    }

    /// What is pinned already and `state` cannot come to hold.
    pub fn lost<S: Spec>(&self, state: &S) -> Option<u32> {
        let mut looked_at = self.pinned.iter().take(LOOKED_AT_MAX).map(|(_, number)| *number);
        looked_at.find(|number| !state.may_grow_to(&self.observed[*number as usize].value))
    }

    /// Whether what the entry at `place` writes may grow to the observed value `number`.
    pub fn leads(&self, place: u32, number: u32) -> bool {
        self.leads[place as usize].binary_search(&number).is_ok()
    }

    /// The entry at `place` is placed.
    pub fn place(&mut self, place: u32) {
        for &number in self.leads[place as usize].iter() {
            let one = &mut self.observed[number as usize];
            one.resets -= 1;
            if one.resets == 0 && one.observers > 0 {
                self.pinned.insert((one.first_end, number));
            }
        }
        if let Some(number) = self.observes[place as usize] {
            let one = &mut self.observed[number as usize];
            one.observers -= 1;
            if one.observers == 0 {
                self.pinned.remove(&(one.first_end, number));
            }
        }
    }

    /// The entry at `place`, placed last, is taken back.
    pub fn take_back(&mut self, place: u32) {
        if let Some(number) = self.observes[place as usize] {
            let one = &mut self.observed[number as usize];
            one.observers += 1;
            if one.observers == 1 && one.resets == 0 {
                self.pinned.insert((one.first_end, number));
            }
        }
        for &number in self.leads[place as usize].iter() {
            let one = &mut self.observed[number as usize];
            one.resets += 1;
            if one.resets == 1 {
                self.pinned.remove(&(one.first_end, number));
            }
        }
    }
}
