//! Shrinks a partition that nothing explains to the few operations that already have no explanation.
//!
//! Every step is a relaxation: it never turns a legal history into an illegal one, so what is left is a part of
//! the truth that is wrong by itself. A guess at two values that contradict each other (`two_values`) is tried
//! first, as one big relaxation; what needs any value but one stands in the way of step 3 and goes before that if it can.
//! Then, in order:
//!
//! 1. **Cut the suffix** after the first completion that leaves no explanation. What was open then is in doubt
//!    and its result is erased.
//! 2. **Ask less of compare-and-sets** ([`Spec::weaken`]): what is known to have been set, without what it was
//!    compared with. Where the comparison is the point, it stays.
//! 3. **Drop whole values**: everything that makes or observes a value, and with a compare-and-set that took it
//!    away also the value that this one made. In a legal order the operations of a value stand together, from
//!    the one that makes it to the next that makes another, and what makes that one does not look: so all of
//!    them can be taken out and the rest stays legal. This holds for repeated values too, since all makers of
//!    the value go, and it covers writes that nobody observed. It is used only where every operation has a
//!    [`Class`] that names its values and every required one its result.
//! 4. **Drop reads**, failed compares among them: they change nothing.
//! 5. Give the compare-and-sets back what was taken in step 2, where the value they compared with is still there.
//!
//! Chunks of half the size are tried first, then a quarter, and so on (Zeller and Hildebrandt 2002). The result is
//! proved again by an engine that shares nothing with the first, [`brute`].

use std::collections::BTreeSet;

use tribunal_history::Value;

use crate::linearizability::{Answer, Entry, Partition, Search, Wgl, brute, zones};
use crate::spec::{Class, Spec};

mod two_values;

/// Guesses that are tried.
const GUESSES_MAX: usize = 8;

/// Most configurations of the search that proves a result again.
const PROOF_CONFIGURATIONS_MAX: usize = 1 << 18;

/// A counterexample.
#[derive(Clone, Debug)]
pub struct Minimal<S: Spec> {
    /// The operations left, in order of their calls, as they were proved: what was open at the cut is in doubt,
    /// and some compare-and-sets are plain writes.
    pub entries: Vec<Entry<S>>,
    /// What an independent search says of them: true if it proves them illegal too, false if it finds an
    /// explanation (then one of the two is wrong), none if they are too many for it.
    pub proved_again: Option<bool>,
    /// Steps spent.
    pub steps: u64,
}

/// Shrinks `partition`, which nothing explains, in about `steps_max` steps of search.
pub fn minimise<S: Spec>(partition: &Partition<S>, steps_max: u64) -> Minimal<S> {
    let mut prover = Prover { steps: 0, steps_max };
    let fewer = without_differs(&mut prover, &partition.entries);
    let all = fewer.as_ref().unwrap_or(&partition.entries);
    let guess = values_are_known(all).then(|| guess(&mut prover, all)).flatten();
    let end = cut(&mut prover, guess.as_ref().unwrap_or(all));
    let until = |entries: &[Entry<S>]| end.map_or_else(|| entries.to_vec(), |end| prefix(entries, end));
    let mut entries = until(guess.as_ref().unwrap_or(all));
    if values_are_known(&entries) {
        let strong = until(all);
        entries = weaken_all(&mut prover, entries);
        entries = drop_values(&mut prover, entries);
        entries = weaken_most(&mut prover, entries);
        entries = drop_values(&mut prover, entries);
        entries = drop_reads(&mut prover, entries);
        entries = drop_values(&mut prover, entries);
        entries = strengthen(&mut prover, entries, &strong);
    }
    entries = drop_reads(&mut prover, entries);
    let proved_again = if entries.len() <= brute::EVERY_ORDER_MAX {
        Some(!brute::try_every_order(&entries))
    } else {
        brute::by_sets(&entries, PROOF_CONFIGURATIONS_MAX).map(|legal| !legal)
    };
    Minimal {
        entries,
        proved_again,
        steps: prover.steps,
    }
}

/// Asks the engines, within a budget.
struct Prover {
    steps: u64,
    steps_max: u64,
}

impl Prover {
    /// Whether `entries` are proved to have no explanation. An open question counts as no.
    fn illegal<S: Spec>(&mut self, entries: &[Entry<S>]) -> bool {
        // Copying and indexing an entry costs about as much as this many steps.
        let indexing = 8 * entries.len() as u64;
        let left = self.steps_max.saturating_sub(self.steps.saturating_add(indexing));
        if left == 0 {
            self.steps = self.steps_max;
            return false;
        }
        if let Some(answer) = zones::decide(entries) {
            self.steps += indexing;
            return answer == Answer::NotLinearizable;
        }
        let partition = Partition {
            key: None,
            entries: entries.to_vec(),
        };
        let mut search = Wgl::new(&partition);
        // No single question may use up what all the others need.
        let answer = search.advance(left.min(2 * indexing + (1 << 16)));
        self.steps += indexing + search.steps();
        answer == Some(Answer::NotLinearizable)
    }

    /// The smallest part of `items` that is found by leaving out chunks of them, such that what `build` makes of
    /// it is illegal; all of them if nothing can be left out.
    fn smallest<T: Clone, S: Spec>(&mut self, mut items: Vec<T>, build: impl Fn(&[T]) -> Vec<Entry<S>>) -> Vec<T> {
        let mut chunk = items.len().div_ceil(2).max(1);
        while self.steps < self.steps_max {
            let before = items.len();
            let mut at = 0;
            while at < items.len() && self.steps < self.steps_max {
                let mut fewer = items.clone();
                fewer.drain(at..items.len().min(at + chunk));
                if self.illegal(&build(&fewer)) {
                    items = fewer;
                } else {
                    at += chunk;
                }
            }
            if chunk > 1 {
                chunk = chunk.div_ceil(2).min(items.len().max(1));
            } else if items.len() == before {
                break;
            }
        }
        items
    }
}

/// Steps 2 and 3 at once: all operations of two values that seem to contradict each other, weakened; none if no
/// guess is confirmed.
fn guess<S: Spec>(prover: &mut Prover, entries: &[Entry<S>]) -> Option<Vec<Entry<S>>> {
    let weak: Vec<Entry<S>> = entries
        .iter()
        .map(|entry| weaker(entry).unwrap_or_else(|| entry.clone()))
        .collect();
    two_values::suspects(&weak, GUESSES_MAX)
        .iter()
        .map(|values| with_values(&weak, values.iter().collect()))
        .find(|guess| prover.illegal(guess))
}

/// Step 1. The completion that ends the shortest prefix without an explanation; a longer one has none either. None if
/// nothing is required.
fn cut<S: Spec>(prover: &mut Prover, entries: &[Entry<S>]) -> Option<u64> {
    let mut ends: Vec<u64> = entries.iter().filter_map(|entry| entry.end).collect();
    ends.sort_unstable();
    let (mut low, mut high) = (0, ends.len());
    // Invariant: the prefix of all ends before `high` is illegal; that of `low` is not known to be.
    while low + 1 < high {
        let middle = low.midpoint(high);
        if prover.illegal(&prefix(entries, ends[middle - 1])) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high.checked_sub(1).map(|last| ends[last])
}

/// What was known when the completion at `end` had come in.
fn prefix<S: Spec>(entries: &[Entry<S>], end: u64) -> Vec<Entry<S>> {
    entries
        .iter()
        .filter(|entry| entry.call < end)
        .map(|entry| {
            let mut entry = entry.clone();
            if entry.end.is_none_or(|its_end| its_end > end) {
                entry.end = None;
                entry.ret = None;
            }
            entry
        })
        .filter(|entry| entry.is_required() || !class(entry).is_read())
        .collect()
}

fn class<S: Spec>(entry: &Entry<S>) -> Class {
    S::class(&entry.op, entry.ret.as_ref())
}

/// The precondition of step 3. What needs any value but one may need a value that it does not name.
fn values_are_known<S: Spec>(entries: &[Entry<S>]) -> bool {
    entries.iter().all(|entry| {
        let is_known = !matches!(class(entry), Class::Opaque | Class::Grow(_) | Class::Differs(_));
        is_known && (entry.ret.is_some() || !entry.is_required())
    })
}

/// The entries without those that need any value but one, if they are illegal without them.
fn without_differs<S: Spec>(prover: &mut Prover, entries: &[Entry<S>]) -> Option<Vec<Entry<S>>> {
    let differs = |entry: &Entry<S>| matches!(class(entry), Class::Differs(_));
    if !entries.iter().any(differs) {
        return None;
    }
    let fewer: Vec<Entry<S>> = entries.iter().filter(|entry| !differs(entry)).cloned().collect();
    prover.illegal(&fewer).then_some(fewer)
}

/// The weaker form of an entry, if it has one.
fn weaker<S: Spec>(entry: &Entry<S>) -> Option<Entry<S>> {
    let (op, ret) = S::weaken(&entry.op, entry.ret.as_ref())?;
    Some(Entry {
        op,
        ret,
        ..entry.clone()
    })
}

/// Step 2, all at once, which is right for most counterexamples and cheap on a long history.
fn weaken_all<S: Spec>(prover: &mut Prover, entries: Vec<Entry<S>>) -> Vec<Entry<S>> {
    let weak: Vec<Entry<S>> = entries
        .iter()
        .map(|entry| weaker(entry).unwrap_or_else(|| entry.clone()))
        .collect();
    if prover.illegal(&weak) { weak } else { entries }
}

/// Step 2, but for the fewest that must stay as they are.
fn weaken_most<S: Spec>(prover: &mut Prover, entries: Vec<Entry<S>>) -> Vec<Entry<S>> {
    let can: Vec<usize> = (0..entries.len())
        .filter(|&place| weaker(&entries[place]).is_some())
        .collect();
    let build = |strong: &[usize]| -> Vec<Entry<S>> {
        let strong: BTreeSet<usize> = strong.iter().copied().collect();
        entries
            .iter()
            .enumerate()
            .map(|(place, entry)| match weaker(entry) {
                Some(weak) if !strong.contains(&place) => weak,
                _ => entry.clone(),
            })
            .collect()
    };
    let strong = prover.smallest(can, build);
    build(&strong)
}

/// Step 3.
fn drop_values<S: Spec>(prover: &mut Prover, entries: Vec<Entry<S>>) -> Vec<Entry<S>> {
    let mut values: Vec<Value> = entries
        .iter()
        .map(class)
        .flat_map(|class| [class.observed().cloned(), class.made().cloned()])
        .flatten()
        .collect();
    let mut seen = BTreeSet::new();
    values.retain(|value| seen.insert(value.clone()));
    let kept = prover.smallest(values, |kept| with_values(&entries, kept.iter().collect()));
    with_values(&entries, kept.iter().collect())
}

/// The operations that concern the `kept` values only, and none that a compare-and-set led to from a dropped one.
fn with_values<S: Spec>(entries: &[Entry<S>], mut kept: BTreeSet<&Value>) -> Vec<Entry<S>> {
    let classes: Vec<Class> = entries.iter().map(class).collect();
    // What a compare-and-set made of a dropped value is dropped as well, and so on.
    loop {
        let before = kept.len();
        for class in &classes {
            if let Class::Update { from, to } = class
                && !kept.contains(from)
            {
                kept.remove(to);
            }
        }
        if kept.len() == before {
            break;
        }
    }
    let stays = |value: Option<&Value>| value.is_none_or(|value| kept.contains(value));
    entries
        .iter()
        .zip(&classes)
        .filter(|(_, class)| stays(class.observed()) && stays(class.made()))
        .map(|(entry, _)| entry.clone())
        .collect()
}

/// Step 4.
fn drop_reads<S: Spec>(prover: &mut Prover, entries: Vec<Entry<S>>) -> Vec<Entry<S>> {
    let is_read = |entry: &Entry<S>| class(entry).is_read();
    let reads: Vec<usize> = (0..entries.len()).filter(|&place| is_read(&entries[place])).collect();
    let build = |kept: &[usize]| -> Vec<Entry<S>> {
        let kept: BTreeSet<usize> = kept.iter().copied().collect();
        entries
            .iter()
            .enumerate()
            .filter(|(place, entry)| kept.contains(place) || !is_read(entry))
            .map(|(_, entry)| entry.clone())
            .collect()
    };
    let kept = prover.smallest(reads, build);
    build(&kept)
}

/// Step 5. Where everything that makes the compared value is still there, the value was not dropped, and all that
/// was dropped could have been dropped with the comparison in place.
fn strengthen<S: Spec>(prover: &mut Prover, entries: Vec<Entry<S>>, strong: &[Entry<S>]) -> Vec<Entry<S>> {
    let left: BTreeSet<usize> = entries.iter().map(|entry| entry.id).collect();
    let dropped: BTreeSet<Value> = strong
        .iter()
        .filter(|entry| !left.contains(&entry.id))
        .filter_map(|entry| class(entry).made().cloned())
        .collect();
    let restored: Vec<Entry<S>> = strong
        .iter()
        .filter(|entry| left.contains(&entry.id))
        .zip(&entries)
        .map(|(original, weak)| match class(original).observed() {
            Some(value) if dropped.contains(value) => weak.clone(),
            _ => original.clone(),
        })
        .collect();
    if prover.illegal(&restored) { restored } else { entries }
}
