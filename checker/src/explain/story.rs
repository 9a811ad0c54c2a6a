//! Which kind of wrong a counterexample shows.

use std::collections::BTreeSet;

use tribunal_history::{Ending, Value};

use super::lineage::{Lineage, Zone};
use super::{Case, class, shown};
use crate::linearizability::Entry;
use crate::spec::{Class, Recorded};

/// What a counterexample tells. Operations are named by their places in the list of recorded operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Story {
    /// A value was observed that nobody could have made by then.
    Phantom {
        /// Who observed it, or a value that was made from it.
        observer: usize,
        /// What that one observed.
        observed: Value,
        /// The value.
        value: Value,
        /// Who asked for it first, afterwards.
        later: Option<usize>,
    },
    /// A value was observed that only an operation with a definite failure could have made.
    FailedTookEffect {
        /// Who observed it, or a value that was made from it.
        observer: usize,
        /// What that one observed.
        observed: Value,
        /// The value.
        value: Value,
        /// What had failed.
        failed: usize,
    },
    /// A compare-and-set found the value that it asked for itself, and nobody else did.
    ExecutedTwice {
        /// The operation.
        operation: usize,
        /// The value.
        value: Value,
    },
    /// A value was observed although another had replaced it before.
    Replaced {
        /// Who observed the old value.
        observer: usize,
        /// What was observed: the old value last, before it the values that were made from it in turn.
        branch: Vec<Value>,
        /// What had ended before that made or showed the newer value.
        newer: usize,
        /// The newer value.
        new: Value,
        /// What became of the newer value.
        fate: Fate,
    },
    /// Two updates were made on one and the same value.
    LostUpdate {
        /// The update that began first.
        first: usize,
        /// The other one.
        second: usize,
        /// The value that both found.
        from: Value,
    },
    /// Two values each seem to have come after the other.
    Crossed {
        /// What was there before the other one was shown again.
        one: Crossing,
        /// And the other way round.
        other: Crossing,
    },
    /// None of these.
    Other,
}

/// What the whole history says of a value that had been replaced by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is gone for good.
    Lost,
    /// It was there, and an update was made on the value before it.
    Overwritten,
    /// It was there, and somebody looked at an old copy.
    Hidden,
}

/// One of two values that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The value.
    pub value: Value,
    /// The operation that shows that it had been there.
    pub early: usize,
    /// The operation that shows that it was there still or again, begun after the other's `early` had ended.
    pub late: usize,
}

/// Most operations of a counterexample among which a story is looked for: every pair is looked at, and in what
/// could not be shrunk further nobody would recognise it.
const OPERATIONS_MAX: usize = 64;

/// Looks for the narrowest story that fits, in an order that prefers what needs no second operation.
pub fn tell<S: Recorded>(case: &Case<'_, S>) -> Story {
    // What an opaque operation makes is not known, so nothing can be said of where a value comes from.
    let is_opaque = |entry: &Entry<S>| class(entry).hides_values();
    if case.minimal.entries.len() > OPERATIONS_MAX || case.partition.entries.iter().any(is_opaque) {
        return Story::Other;
    }
    let lineage = Lineage::new(&case.minimal.entries);
    phantom(case, &lineage)
        .or_else(|| {
            lost_update(case, &lineage, |first, second| {
                !first.precedes(second) && !second.precedes(first)
            })
        })
        .or_else(|| replaced(case, &lineage))
        .or_else(|| lost_update(case, &lineage, |_, _| true))
        .or_else(|| crossed(case, &lineage))
        .unwrap_or(Story::Other)
}

fn phantom<S: Recorded>(case: &Case<'_, S>, lineage: &Lineage<'_, S>) -> Option<Story> {
    case.minimal.entries.iter().find_map(|entry| {
        let observed = class(entry).observed().cloned()?;
        let end = entry.end?;
        lineage
            .ancestors(&observed)
            .into_iter()
            .find_map(|value| phantom_value(case, entry, end, &observed, value))
    })
}

/// The story if nobody can have made `value` by `end`, although `entry`, which observed it or what was made from it,
/// had ended by then.
fn phantom_value<S: Recorded>(
    case: &Case<'_, S>,
    entry: &Entry<S>,
    end: u64,
    observed: &Value,
    value: Value,
) -> Option<Story> {
    let mut makers = case.partition.entries.iter().filter(|other| makes(other, &value));
    if value == S::default().value() || makers.clone().any(|other| other.call < end && other.id != entry.id) {
        return None;
    }
    let (observer, observed) = (entry.id, observed.clone());
    Some(match failed_maker(case, &value, end) {
        Some(failed) => Story::FailedTookEffect {
            observer,
            observed,
            value,
            failed,
        },
        // It was to make the value, and answered that it found it there.
        None if observed == value && S::class(&entry.op, None).made() == Some(&value) && !makes(entry, &value) => {
            Story::ExecutedTwice {
                operation: observer,
                value,
            }
        }
        None => Story::Phantom {
            observer,
            observed,
            later: makers.find(|other| other.id != entry.id).map(|other| other.id),
            value,
        },
    })
}

/// An operation with a definite failure, begun before `end`, that would have made `value`.
fn failed_maker<S: Recorded>(case: &Case<'_, S>, value: &Value, end: u64) -> Option<usize> {
    case.operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.ending == Ending::Fail && operation.invoked.0 < end)
        .find(|(_, operation)| {
            S::parse(operation).is_ok_and(|(op, ret)| {
                S::partition(&op) == case.partition.key.as_deref() && S::class(&op, ret.as_ref()).made() == Some(value)
            })
        })
        .map(|(id, _)| id)
}

fn makes<S: Recorded>(entry: &Entry<S>, value: &Value) -> bool {
    class(entry).made() == Some(value)
}

/// Two updates from one value that was there only once, of which `concerns` is true. One in doubt counts, since it
/// would not be here if nothing depended on its effect.
fn lost_update<S: Recorded>(
    case: &Case<'_, S>,
    lineage: &Lineage<'_, S>,
    concerns: impl Fn(&Entry<S>, &Entry<S>) -> bool,
) -> Option<Story> {
    let initial = S::default().value();
    let updates: Vec<(&Entry<S>, Value)> = case
        .minimal
        .entries
        .iter()
        .filter_map(|entry| match class(entry) {
            Class::Update { from, to } if from != to && (entry.is_required() || lineage.is_observed(&to)) => {
                Some((entry, from))
            }
            _ => None,
        })
        .collect();
    updates.iter().enumerate().find_map(|(place, (first, from))| {
        let (second, _) = updates[place + 1..]
            .iter()
            .find(|(second, other)| other == from && concerns(first, second))?;
        let made_of = |entry: &&Entry<S>| class(entry).made().cloned();
        let once = |value: &Value| {
            let made = case
                .partition
                .entries
                .iter()
                .filter(|entry| makes(entry, value))
                .count();
            // Made twice, it could have been found twice.
            made + usize::from(*value == initial) == 1
        };
        let certain = |entry: &&Entry<S>| entry.is_required() || made_of(entry).is_some_and(|to| once(&to));
        (once(from) && certain(first) && certain(second)).then(|| Story::LostUpdate {
            first: first.id,
            second: second.id,
            from: from.clone(),
        })
    })
}

/// An observation of a value, or of one made from it, after another had taken its place.
fn replaced<S: Recorded>(case: &Case<'_, S>, lineage: &Lineage<'_, S>) -> Option<Story> {
    let entries = &case.minimal.entries;
    let mut observers: Vec<&Entry<S>> = entries.iter().filter(|entry| entry.is_required()).collect();
    observers.sort_by_key(|entry| std::cmp::Reverse(entry.end));
    observers.into_iter().find_map(|observer| {
        let observed = class(observer).observed().cloned()?;
        let ancestors = lineage.ancestors(&observed);
        (1..=ancestors.len()).find_map(|length| {
            let branch = &ancestors[..length];
            let mut candidates: Vec<(&Entry<S>, Value)> = entries
                .iter()
                .filter(|entry| entry.precedes(observer))
                .filter_map(|entry| Some((entry, shown(entry)?)))
                .filter(|(entry, new)| !branch.contains(new) && lineage.was_before(&branch[length - 1], entry))
                .collect();
            // A write says more than a read, and what ended last lies closest.
            candidates.sort_by_key(|(entry, _)| (class(entry).made().is_some(), entry.end));
            let (newer, new) = candidates.pop()?;
            Some(Story::Replaced {
                observer: observer.id,
                branch: branch.to_vec(),
                newer: newer.id,
                fate: fate(case, lineage, branch, newer, &new, observer),
                new,
            })
        })
    })
}

/// Two runs of values that were both held before the other was held last.
fn crossed<S: Recorded>(case: &Case<'_, S>, lineage: &Lineage<'_, S>) -> Option<Story> {
    let mut runs: Vec<(Vec<Value>, Zone<'_, S>)> = Vec::new();
    for value in case.minimal.entries.iter().filter_map(shown) {
        let ancestors = lineage.ancestors(&value);
        for length in 1..=ancestors.len() {
            let run = &ancestors[..length];
            if let Some(zone) = lineage.zone(run)
                && !runs.iter().any(|(known, _)| known == run)
            {
                runs.push((run.to_vec(), zone));
            }
        }
    }
    // The shortest runs make the plainest story.
    runs.sort_by_key(|(run, _)| run.len());
    let crossing = |run: &[Value], zone: &Zone<'_, S>| Crossing {
        value: [class(zone.early).made(), class(zone.early).observed()]
            .into_iter()
            .flatten()
            .find(|value| run.contains(value))
            .expect("the operation shows a value of the run")
            .clone(),
        early: zone.early.id,
        late: zone.late.id,
    };
    runs.iter().enumerate().find_map(|(place, (run, zone))| {
        let (its_run, its_zone) = runs[..place].iter().find(|(other, its)| {
            let apart = !run.iter().any(|value| other.contains(value));
            apart && zone.early.precedes(its.late) && its.early.precedes(zone.late)
        })?;
        let (one, other) = (crossing(run, zone), crossing(its_run, its_zone));
        // The one whose last beginning is the latest stands at the end.
        let late = |crossing: &Crossing| case.operations[crossing.late].invoked;
        Some(if late(&one) < late(&other) {
            Story::Crossed { one, other }
        } else {
            Story::Crossed { one: other, other: one }
        })
    })
}

/// What became of `new`, shown by `newer`, according to the whole history. Where it does not tell, a stale read
/// claims less than a lost write.
fn fate<S: Recorded>(
    case: &Case<'_, S>,
    lineage: &Lineage<'_, S>,
    branch: &[Value],
    newer: &Entry<S>,
    new: &Value,
    observer: &Entry<S>,
) -> Fate {
    // A compare is decided where writes are decided, so what it found is what the store holds.
    let is_compare = |entry: &Entry<S>| matches!(S::class(&entry.op, None), Class::Update { .. });
    let has_swapped = |entry: &Entry<S>| matches!(class(entry), Class::Update { .. });
    let swapped = has_swapped(observer)
        || branch
            .iter()
            .filter_map(|value| lineage.maker(value))
            .any(|maker| newer.precedes(maker) && has_swapped(maker));
    let otherwise = if swapped { Fate::Overwritten } else { Fate::Hidden };
    let whole = &case.partition.entries;
    let required = || whole.iter().filter(|entry| entry.is_required());
    let ended = observer.end.unwrap_or(u64::MAX);
    if required().any(|entry| class(entry).observed() == Some(new) && entry.end > Some(ended)) {
        return otherwise;
    }
    let reverted: Vec<&Entry<S>> = required()
        .filter(|entry| newer.precedes(entry) && class(entry).observed().is_some_and(|value| branch.contains(value)))
        .collect();
    let by_compare = swapped || reverted.iter().any(|entry| is_compare(entry));
    let nodes: BTreeSet<_> = reverted.iter().map(|entry| case.recorded(entry).node).collect();
    let overwritten = whole.iter().any(|entry| {
        entry.id != newer.id
            && class(entry).made().is_some_and(|made| made != new)
            && entry.end.is_none_or(|end| end > newer.call)
    });
    // A later revision without the write that an earlier one had.
    let by_revision = match (case.recorded(observer).revision, case.recorded(newer).revision) {
        (Some(observed), Some(written)) => class(newer).made().is_some() && observed >= written,
        _ => false,
    };
    if by_compare || by_revision || nodes.len() > 1 || (!overwritten && reverted.len() > 1) {
        Fate::Lost
    } else {
        otherwise
    }
}
