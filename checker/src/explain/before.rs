//! What the object held before the first drawn operation.

use std::collections::BTreeSet;

use tribunal_history::Value;

use super::{Case, class};
use crate::linearizability::Entry;
use crate::spec::Recorded;

/// The value before the first operation of `ids` began, as the whole partition tells it: the initial one if
/// nothing had been written, otherwise what was written last. Where writes overlapped and no read settled their
/// order, `{"one of": […]}` names what it may have been; where operations do not tell what they make,
/// `{"unknown": true}`.
///
/// A write in doubt counts only if its value was observed, and then as ended when it was first observed: without
/// an observer it needs no place in any explanation.
pub fn state_before<S: Recorded>(case: &Case<'_, S>, ids: &[usize]) -> Value {
    let initial = S::default().value();
    let Some(moment) = ids.iter().map(|&id| case.operations[id].invoked.0).min() else {
        return initial;
    };
    let entries: Vec<&Entry<S>> = case
        .partition
        .entries
        .iter()
        .filter(|entry| entry.call < moment)
        .collect();
    if entries.iter().any(|entry| class(entry).hides_values()) {
        return Value::map([("unknown", Value::Bool(true))]);
    }
    let first_observed = |value: &Value| {
        let observed = |entry: &&Entry<S>| class(entry).observed() == Some(value);
        case.partition
            .entries
            .iter()
            .filter(observed)
            .filter_map(|entry| entry.end)
            .min()
    };
    // Value, call, and the end as far as it is known.
    let made: Vec<(Value, u64, u64)> = entries
        .iter()
        .filter_map(|entry| {
            let value = class(entry).made()?.clone();
            let end = entry.end.or_else(|| first_observed(&value))?;
            Some((value, entry.call, end))
        })
        .collect();
    let last: Vec<&(Value, u64, u64)> = made
        .iter()
        .filter(|(_, _, end)| !made.iter().any(|(_, call, other)| call > end && *other < moment))
        .collect();
    if made.is_empty() {
        return initial;
    }
    // A read that began when all of those had ended, and ended in time, settles it.
    let settled = last.iter().map(|(_, _, end)| *end).max().unwrap_or_default();
    let seen = entries
        .iter()
        .filter(|entry| entry.call > settled && entry.end.is_some_and(|end| end < moment))
        .find_map(|entry| class(entry).observed().cloned());
    let mut values: BTreeSet<Value> = last.iter().map(|(value, _, _)| value.clone()).collect();
    if let Some(seen) = seen.filter(|seen| values.contains(seen)) {
        return seen;
    }
    if last.iter().all(|(_, _, end)| *end > moment) {
        // None of them need have taken effect yet.
        values.insert(initial);
    }
    match values.len() {
        1 => values.pop_first().unwrap_or_default(),
        _ => Value::map([("one of", Value::List(values.into_iter().collect()))]),
    }
}
