//! Which kind of wrong a counterexample shows.

use std::collections::BTreeSet;

use tribunal_history::{Ending, Value};

use super::{Case, class, shown};
use crate::linearizability::Entry;
use crate::spec::{Class, Recorded};

/// What a counterexample tells. Operations are named by their places in the list of recorded operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Story {
    /// A value was observed that nobody could have made by then.
    Phantom {
        /// Who observed it.
        observer: usize,
        /// The value.
        value: Value,
        /// Who asked for it first, afterwards.
        later: Option<usize>,
    },
    /// A value was observed that only an operation with a definite failure could have made.
    FailedTookEffect {
        /// Who observed it.
        observer: usize,
        /// The value.
        value: Value,
        /// What had failed.
        failed: usize,
    },
    /// A value was observed although another had replaced it before.
    Replaced {
        /// Who observed the old value.
        observer: usize,
        /// The old value.
        old: Value,
        /// What had ended before that made or showed the newer value.
        newer: usize,
        /// The newer value.
        new: Value,
        /// Whether the newer value is gone for good.
        lost: bool,
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
    /// None of these.
    Other,
}

/// Most operations of a counterexample among which a story is looked for: every pair is looked at, and in what
/// could not be shrunk further nobody would recognise it.
const OPERATIONS_MAX: usize = 64;

/// Looks for the narrowest story that fits, in an order that prefers what needs no second operation.
pub fn tell<S: Recorded>(case: &Case<'_, S>) -> Story {
    if case.minimal.entries.len() > OPERATIONS_MAX {
        return Story::Other;
    }
    phantom(case)
        .or_else(|| lost_update(case))
        .or_else(|| replaced(case))
        .unwrap_or(Story::Other)
}

fn phantom<S: Recorded>(case: &Case<'_, S>) -> Option<Story> {
    let initial = S::default().value();
    case.minimal.entries.iter().find_map(|entry| {
        let value = class(entry).observed().cloned()?;
        let end = entry.end?;
        let mut makers = case.partition.entries.iter().filter(|other| makes(other, &value));
        if value == initial || makers.clone().any(|other| other.call < end && other.id != entry.id) {
            return None;
        }
        let observer = entry.id;
        Some(match failed_maker(case, &value, end) {
            Some(failed) => Story::FailedTookEffect {
                observer,
                value,
                failed,
            },
            None => Story::Phantom {
                observer,
                later: makers.find(|other| other.id != entry.id).map(|other| other.id),
                value,
            },
        })
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

fn lost_update<S: Recorded>(case: &Case<'_, S>) -> Option<Story> {
    let initial = S::default().value();
    let updates: Vec<(&Entry<S>, Value)> = case
        .minimal
        .entries
        .iter()
        .filter(|entry| entry.is_required())
        .filter_map(|entry| match class(entry) {
            Class::Update { from, to } if from != to => Some((entry, from)),
            _ => None,
        })
        .collect();
    updates.iter().enumerate().find_map(|(place, (first, from))| {
        let (second, _) = updates[place + 1..].iter().find(|(_, other)| other == from)?;
        let made = case.partition.entries.iter().filter(|entry| makes(entry, from)).count();
        // Made twice, it could have been found twice.
        (made + usize::from(*from == initial) == 1).then(|| Story::LostUpdate {
            first: first.id,
            second: second.id,
            from: from.clone(),
        })
    })
}

fn replaced<S: Recorded>(case: &Case<'_, S>) -> Option<Story> {
    let initial = S::default().value();
    let entries = &case.minimal.entries;
    let mut observers: Vec<&Entry<S>> = entries.iter().filter(|entry| entry.is_required()).collect();
    observers.sort_by_key(|entry| std::cmp::Reverse(entry.end));
    observers.into_iter().find_map(|observer| {
        let old = class(observer).observed().cloned()?;
        let mut candidates: Vec<(&Entry<S>, Value)> = entries
            .iter()
            .filter(|entry| entry.precedes(observer))
            .filter_map(|entry| Some((entry, shown(entry)?)))
            .filter(|(entry, new)| *new != old && was_before(case, &old, &initial, entry))
            .collect();
        // A write says more than a read, and what ended last lies closest.
        candidates.sort_by_key(|(entry, _)| (class(entry).made().is_some(), entry.end));
        let (newer, new) = candidates.pop()?;
        let lost = is_lost(case, &old, newer, &new, observer);
        Some(Story::Replaced {
            observer: observer.id,
            old,
            newer: newer.id,
            new,
            lost,
        })
    })
}

/// Whether the object had held `old`, for the last time as far as the counterexample goes, before `newer` began or
/// just when it took effect.
fn was_before<S: Recorded>(case: &Case<'_, S>, old: &Value, initial: &Value, newer: &Entry<S>) -> bool {
    let makers: Vec<&Entry<S>> = case.minimal.entries.iter().filter(|entry| makes(entry, old)).collect();
    let taken_from = class(newer).observed() == Some(old);
    match makers.as_slice() {
        [] => old == initial,
        [maker] => {
            let seen_before = case
                .minimal
                .entries
                .iter()
                .any(|entry| shown(entry).as_ref() == Some(old) && entry.precedes(newer));
            old != initial && (maker.precedes(newer) || seen_before || taken_from)
        }
        several => several.iter().all(|maker| maker.precedes(newer)),
    }
}

/// Whether the whole history says that `new`, shown by `newer`, is gone for good, rather than that `observer` looked
/// at an old copy. Where it says neither, a stale read claims less.
fn is_lost<S: Recorded>(case: &Case<'_, S>, old: &Value, newer: &Entry<S>, new: &Value, observer: &Entry<S>) -> bool {
    let whole = &case.partition.entries;
    let required = || whole.iter().filter(|entry| entry.is_required());
    let ended = observer.end.unwrap_or(u64::MAX);
    if required().any(|entry| class(entry).observed() == Some(new) && entry.end > Some(ended)) {
        return false;
    }
    let reverted: Vec<&Entry<S>> = required()
        .filter(|entry| newer.precedes(entry) && class(entry).observed() == Some(old))
        .collect();
    // A compare is decided where writes are decided, so what it found is what the store holds.
    let by_compare = reverted
        .iter()
        .any(|entry| matches!(S::class(&entry.op, None), Class::Update { .. }));
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
    by_compare || by_revision || nodes.len() > 1 || (!overwritten && reverted.len() > 1)
}
