//! Two values that cannot both have had their time: a guess at where to look, for the prover to confirm.
//!
//! The operations of a value span a zone between the first end and the last beginning among them (Gibbons and Korach
//! 1997). If the first end comes first, the object held the value during the whole zone. Two such zones that overlap,
//! or one around all the common time of another value's operations, contradict each other. That is nearly every stale
//! read and lost write, found in O(n log n) however many operations overlap, where a search may take long to prove the
//! same of the whole history.

use std::collections::BTreeMap;

use tribunal_history::Value;

use super::class;
use crate::linearizability::Entry;
use crate::spec::Spec;

/// A value's operations in time.
#[derive(Clone, Debug)]
struct Zone {
    value: Value,
    first_end: u64,
    last_call: u64,
}

impl Zone {
    /// Whether the object held the value all the time from the first end to the last beginning.
    fn is_forward(&self) -> bool {
        self.first_end < self.last_call
    }
}

/// Values that seem to contradict each other, or one that seems to contradict itself; the earliest first, at most
/// `count` of them.
pub fn suspects<S: Spec>(entries: &[Entry<S>], count: usize) -> Vec<Vec<Value>> {
    let (zones, mut found) = zones(entries);
    let mut forward: Vec<&Zone> = zones.iter().filter(|zone| zone.is_forward()).collect();
    forward.sort_by_key(|zone| zone.first_end);
    // The forward zone that reaches furthest, of those up to each place.
    let mut furthest: Vec<&Zone> = Vec::with_capacity(forward.len());
    for &zone in &forward {
        let before = furthest.last().copied();
        if let Some(before) = before.filter(|before| zone.first_end < before.last_call) {
            found.push((zone.first_end, vec![before.value.clone(), zone.value.clone()]));
        }
        furthest.push(match before {
            Some(before) if before.last_call > zone.last_call => before,
            _ => zone,
        });
    }
    for zone in zones.iter().filter(|zone| !zone.is_forward()) {
        let begun = forward.partition_point(|other| other.first_end < zone.last_call);
        if let Some(around) = begun.checked_sub(1).map(|last| furthest[last])
            && zone.first_end < around.last_call
        {
            found.push((zone.first_end, vec![around.value.clone(), zone.value.clone()]));
        }
    }
    found.sort();
    found.into_iter().take(count).map(|(_, values)| values).collect()
}

/// The zones, and the values that were observed before anybody began to make them, each with the time of that.
fn zones<S: Spec>(entries: &[Entry<S>]) -> (Vec<Zone>, Vec<(u64, Vec<Value>)>) {
    struct Span {
        zone: Zone,
        first_maker: u64,
        is_observed: bool,
    }
    let mut spans: BTreeMap<Value, Span> = BTreeMap::new();
    let initial = S::default().value();
    for entry in entries {
        let class = class(entry);
        let Some(value) = class.made().or(class.observed()) else {
            continue;
        };
        let span = spans.entry(value.clone()).or_insert_with(|| Span {
            zone: Zone {
                value: value.clone(),
                // The initial value is there before everything.
                first_end: if *value == initial { 0 } else { u64::MAX },
                last_call: 0,
            },
            first_maker: if *value == initial { 0 } else { u64::MAX },
            is_observed: false,
        });
        span.zone.first_end = span.zone.first_end.min(entry.end.unwrap_or(u64::MAX));
        span.zone.last_call = span.zone.last_call.max(entry.call);
        span.is_observed |= entry.is_required();
        if class.made().is_some() {
            span.first_maker = span.first_maker.min(entry.call);
        }
    }
    // What is in doubt and was never observed need not have happened.
    spans.retain(|_, span| span.is_observed);
    let early = spans
        .values()
        .filter(|span| span.zone.first_end < span.first_maker)
        .map(|span| (span.zone.first_end, vec![span.zone.value.clone()]))
        .collect();
    (spans.into_values().map(|span| span.zone).collect(), early)
}
