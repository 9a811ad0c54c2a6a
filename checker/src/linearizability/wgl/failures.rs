//! Configurations that failed, and what they lacked.
//!
//! A configuration is (required operations placed, state) and how many operations in doubt are used up, by class. Where
//! one failed, what matters is not all that was used up, but only what was missed: an operation in doubt that would have
//! led on, had one of its class been left. A search that fails therefore says by class *from how many used ones on* it
//! fails, its [`Lack`]. Another configuration with the same operations placed and the same state fails too if it has used
//! as many of each class that is named there, whatever it has used of the others.
//!
//! Why that is so, by induction over the search: each alternative of the configuration was refused for a reason that does
//! not look at what is used (the specification, real time, nobody observes it), or since a class was used up, which is then
//! in the lack with the count from which on it is, or since what comes after it failed, whose lack is in the lack less what
//! was taken on the way. So every alternative of the other configuration is refused as well: it has no more left of what
//! was missed, and what it has more of was not missed. This is what conflict clauses are to a solver for formulas
//! (Marques-Silva and Sakallah, "GRASP", 1999).
//!
//! Keys are fingerprints of 128 bits.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// By class of operations in doubt: from how many used ones on. Sorted by class, and no zeros, which say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lack(Vec<(u32, u32)>);

impl Lack {
    /// One more reason: `class` was missed, which is so wherever at least `used` of it are used.
    pub fn note(&mut self, class: u32, used: u32) {
        if used == 0 {
            return;
        }
        match self.0.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(place) => self.0[place].1 = self.0[place].1.max(used),
            Err(place) => self.0.insert(place, (class, used)),
        }
    }

    /// All reasons of a configuration that was reached by using one of each of `taken`, repeats counted.
    pub fn note_after(&mut self, taken: &[u32], lack: &[(u32, u32)]) {
        for &(class, used) in lack {
            let on_the_way = taken.iter().filter(|&&other| other == class).count() as u32;
            self.note(class, used.saturating_sub(on_the_way));
        }
    }

    /// The reasons.
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.0
    }
}

/// By key, without hashing a hash.
type ByKey<T> = HashMap<u128, T, BuildHasherDefault<AlreadyRandom>>;

/// What a [`Lack`] holds, as it is kept.
type Condition = Box<[(u32, u32)]>;

/// All that failed.
#[derive(Debug, Default)]
pub struct Failures {
    by_key: ByKey<Vec<Condition>>,
    /// Those that lacked nothing: no operation in doubt saves them.
    outright: HashSet<u128, BuildHasherDefault<AlreadyRandom>>,
    bytes: u64,
}

impl Failures {
    /// Whether nothing has failed yet, so that there is no need to make a key.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty() && self.outright.is_empty()
    }

    /// The lack of a failure that condemns a configuration which has used `used` and one of each of `taken`; none if there
    /// is none.
    pub fn condemns(&self, key: u128, used: &[u32], taken: &[u32]) -> Option<&[(u32, u32)]> {
        if self.outright.contains(&key) {
            return Some(&[]);
        }
        let used_of = |class: u32| {
            let on_the_way = taken.iter().filter(|&&other| other == class).count() as u32;
            used[class as usize] + on_the_way
        };
        let failures = self.by_key.get(&key)?;
        let condemns = |lack: &&[(u32, u32)]| lack.iter().all(|&(class, least)| used_of(class) >= least);
        failures.iter().map(|lack| &**lack).find(condemns)
    }

    /// Remembers a failure, unless a more general one is known.
    pub fn remember(&mut self, key: u128, lack: &Lack) {
        let lack = lack.as_slice();
        if lack.is_empty() {
            self.by_key.remove(&key);
            // The key, and the room that the table leaves.
            self.bytes += 32 * u64::from(self.outright.insert(key));
            return;
        }
        if self.outright.contains(&key) {
            return;
        }
        let failures = self.by_key.entry(key).or_default();
        if failures.iter().any(|failure| is_within(failure, lack)) {
            return;
        }
        failures.retain(|failure| !is_within(lack, failure));
        // Key, vector and its allocation, then the pairs; shrinking lists are counted as if they had not.
        self.bytes += 80 + 8 * lack.len() as u64;
        failures.push(lack.into());
    }

    /// Memory held, in bytes, roughly.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

/// Whether `fewer` asks for no more of any class than `more`, both sorted.
fn is_within(fewer: &[(u32, u32)], more: &[(u32, u32)]) -> bool {
    let mut more = more.iter();
    fewer.iter().all(|(class, least)| {
        more.by_ref()
            .find(|(other, _)| other >= class)
            .is_some_and(|(other, most)| other == class && least <= most)
    })
}

/// Keys that are fingerprints need no further hashing.
#[derive(Default)]
struct AlreadyRandom(u64);

impl Hasher for AlreadyRandom {
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("keys are 128-bit numbers, not {} bytes", bytes.len());
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack(pairs: &[(u32, u32)]) -> Lack {
        let mut lack = Lack::default();
        for &(class, used) in pairs {
            lack.note(class, used);
        }
        lack
    }

    #[test]
    fn a_failure_condemns_what_has_used_as_much_of_what_it_lacked() {
        let mut failures = Failures::default();
        failures.remember(1, &lack(&[(2, 1), (0, 2)]));
        assert!(failures.condemns(1, &[2, 0, 1], &[]).is_some());
        assert!(failures.condemns(1, &[2, 9, 0], &[2]).is_some(), "what is taken counts");
        assert!(
            failures.condemns(1, &[1, 9, 1], &[2]).is_none(),
            "one of class 0 is left"
        );
        assert!(failures.condemns(3, &[9, 9, 9], &[]).is_none(), "another configuration");
    }

    #[test]
    fn of_two_failures_the_more_general_one_stays() {
        let mut failures = Failures::default();
        failures.remember(1, &lack(&[(0, 1), (1, 1)]));
        failures.remember(1, &lack(&[(1, 1)]));
        assert_eq!(failures.by_key[&1].len(), 1);
        failures.remember(1, &lack(&[(1, 2), (3, 1)]));
        assert_eq!(failures.by_key[&1].len(), 1);
        failures.remember(1, &Lack::default());
        assert_eq!(failures.condemns(1, &[0, 0], &[]), Some(&[][..]));
    }

    #[test]
    fn what_was_taken_on_the_way_is_not_asked_for_before() {
        let mut before = lack(&[(1, 1)]);
        before.note_after(&[0, 0, 1], &[(0, 2), (1, 3), (2, 1)]);
        assert_eq!(before.as_slice(), &[(1, 2), (2, 1)]);
    }
}
