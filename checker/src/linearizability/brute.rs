//! The slow twins: obvious ways to decide what the engines decide cleverly.
//!
//! [`try_every_order`] is the definition written down. [`by_sets`] walks breadth-first over exact sets of placed
//! operations and exact states: no hashes that stand for states, no dominance, no rule about values. The
//! first answers for a handful of operations, the second for up to 64.

use std::collections::HashSet;

use super::Entry;
use crate::spec::Spec;

/// Most entries that [`try_every_order`] takes: 9! is 362,880 orders.
pub const EVERY_ORDER_MAX: usize = 9;

/// Whether some order explains the entries, by trying every one.
pub fn try_every_order<S: Spec>(entries: &[Entry<S>]) -> bool {
    assert!(
        entries.len() <= EVERY_ORDER_MAX,
        "{} entries have too many orders",
        entries.len()
    );
    try_from(entries, &mut vec![false; entries.len()], &S::default())
}

fn try_from<S: Spec>(entries: &[Entry<S>], placed: &mut [bool], state: &S) -> bool {
    if (0..entries.len()).all(|i| placed[i] || !entries[i].is_required()) {
        return true;
    }
    for i in 0..entries.len() {
        let too_early = (0..entries.len()).any(|j| !placed[j] && entries[j].precedes(&entries[i]));
        let mut next = state.clone();
        if placed[i] || too_early || !entries[i].step(&mut next) {
            continue;
        }
        placed[i] = true;
        let explained = try_from(entries, placed, &next);
        placed[i] = false;
        if explained {
            return true;
        }
    }
    false
}

/// Whether some order explains the entries, by all reachable (set of placed entries, state); none if there are
/// more than 64 entries or more than `configurations_max` of those.
pub fn by_sets<S: Spec>(entries: &[Entry<S>], configurations_max: usize) -> Option<bool> {
    let walk = Walk::new(entries, configurations_max)?;
    Some(walk.complete)
}

/// The longest legal order of the entries, or one of them; none if there are too many to walk.
pub fn longest_legal_order<S: Spec>(entries: &[Entry<S>], configurations_max: usize) -> Option<Vec<usize>> {
    let walk = Walk::new(entries, configurations_max)?;
    let mut order = Vec::new();
    let mut at = walk.last;
    while let Some((before, entry)) = walk.came_from[at] {
        order.push(entry);
        at = before;
    }
    order.reverse();
    Some(order)
}

/// A breadth-first walk over everything that can be placed.
struct Walk {
    /// How each configuration was reached first: from which, by which entry.
    came_from: Vec<Option<(usize, usize)>>,
    /// The configuration with most entries placed, the first of them.
    last: usize,
    /// Whether all that must be placed was placed somewhere.
    complete: bool,
}

impl Walk {
    fn new<S: Spec>(entries: &[Entry<S>], configurations_max: usize) -> Option<Self> {
        if entries.len() > 64 {
            return None;
        }
        let before: Vec<u64> = entries
            .iter()
            .map(|entry| bits(entries, |other| other.precedes(entry)))
            .collect();
        let required = bits(entries, Entry::is_required);
        let mut walk = Self {
            came_from: vec![None],
            last: 0,
            complete: false,
        };
        let mut queue: Vec<(u64, S)> = vec![(0, S::default())];
        let mut seen: HashSet<(u64, S)> = HashSet::from([queue[0].clone()]);
        let mut at = 0;
        while at < queue.len() {
            let (placed, state) = queue[at].clone();
            if placed.count_ones() > queue[walk.last].0.count_ones() {
                walk.last = at;
            }
            walk.complete |= placed & required == required;
            for (i, entry) in entries.iter().enumerate() {
                let mut next = state.clone();
                if placed >> i & 1 == 1 || before[i] & !placed != 0 || !entry.step(&mut next) {
                    continue;
                }
                let configuration = (placed | 1 << i, next);
                if seen.insert(configuration.clone()) {
                    if queue.len() >= configurations_max {
                        return None;
                    }
                    queue.push(configuration);
                    walk.came_from.push(Some((at, i)));
                }
            }
            at += 1;
        }
        Some(walk)
    }
}

fn bits<S: Spec>(entries: &[Entry<S>], holds: impl Fn(&Entry<S>) -> bool) -> u64 {
    entries
        .iter()
        .enumerate()
        .fold(0, |set, (i, entry)| set | u64::from(holds(entry)) << i)
}
