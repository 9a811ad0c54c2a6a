//! The zones of one key, while they grow.
//!
//! This is [`zones`](crate::linearizability::zones) turned around: blocks of values that stand together span zones
//! between the first end `f` of their operations and the last call `s`, and two blocks are in conflict exactly if each has
//! its `f` before the other's `s` (forward zones that overlap, and backward ones within forward ones, both). As events
//! come in order, an `f` is known with the first end and stays, and an `s` only grows; so a conflict is final, and so is its
//! absence between blocks that no longer grow.
//!
//! **What may be forgotten.** Every operation that ends from now on was called at the watermark `W` or later: the oldest call
//! that is open. A block can take no more operations without a conflict once another block has its `f` before `W` and its
//! `s` behind the `f` of this one: it is dead. Among those that are left, no conflict with a dead one can arise: a
//! living `f` is behind every `s` of a block whose `f` is before `W`. Inside a block, a value is dead once one that
//! was made after it has an end before `W`. What dies is forgotten. If its value is seen again, nobody is known to have made it, which is
//! the violation that it is; if it is written again, it is a new value, since whoever sees it cannot mean the dead one.
//!
//! A write in doubt is kept until its value is seen, for ever if need be: that is what its doubt costs. It is kept apart from
//! what took effect, and nothing ever looks through all of those.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use tribunal_history::Value;

use super::Reason;

/// Why a key is followed no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is violated.
    Violated(Reason),
    /// It is not a register whose values are all different.
    GivenUp,
}

/// What may make a value and was not seen to.
#[derive(Clone, Debug)]
struct Asked {
    /// Its call.
    call: u64,
    /// The value that it compares with.
    from: Option<Value>,
}

/// What concerns a living value: something ended that depends on it.
#[derive(Clone, Debug)]
struct Cluster {
    /// The call of what made it; none for the initial value.
    maker: Option<u64>,
    /// The value that its maker compared with.
    from: Option<Value>,
    /// Whether a value that took effect was made from this one.
    has_next: bool,
    /// Whether an operation of its own has ended.
    has_ended: bool,
    /// The first end among the values that were made after it in its block: no operation on it may be called later.
    limit: Option<u64>,
    block: usize,
}

/// Values that stand together.
#[derive(Clone, Copy, Debug)]
struct Block {
    first_end: u64,
    last_call: u64,
}

impl Block {
    /// Stands where no block is: in conflict with none.
    const NONE: Self = Self {
        first_end: u64::MAX,
        last_call: 0,
    };

    fn is_none(&self) -> bool {
        self.first_end == u64::MAX
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.first_end < other.last_call && other.first_end < self.last_call
    }
}

/// Multiplies and rotates; values come from a test and not from an adversary who knows the tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word) ^ ((part.len() as u64) << 56));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// A key that is followed. All moments are places in the run's order plus one, so that 0 is before all of them.
#[derive(Clone, Debug)]
pub struct Key {
    /// Values that nothing was seen of: what may make them is open or in doubt.
    asked: HashMap<Value, Asked, BuildHasherDefault<Mix>>,
    /// Values that took effect and may be seen again.
    clusters: HashMap<Value, Cluster, BuildHasherDefault<Mix>>,
    blocks: Vec<Block>,
    free: Vec<usize>,
    /// Clusters at which the dead ones are looked for.
    sweep_at: usize,
}

/// Clusters below which nothing is swept: as many as a few dozens of clients have at one time.
const SWEEP_AT_MIN: usize = 32;

impl Key {
    /// A key that holds `initial`.
    pub fn new(initial: Value) -> Self {
        let mut clusters = HashMap::default();
        clusters.insert(
            initial,
            Cluster {
                maker: None,
                from: None,
                has_next: false,
                has_ended: false,
                limit: None,
                block: 0,
            },
        );
        let first = Block {
            first_end: 0,
            last_call: 0,
        };
        Self {
            asked: HashMap::default(),
            clusters,
            blocks: vec![first],
            free: Vec::new(),
            sweep_at: SWEEP_AT_MIN,
        }
    }

    /// How many values are remembered.
    pub fn remembered(&self) -> usize {
        self.asked.len() + self.clusters.len()
    }

    /// An operation that may make `to` was called: of anything, or of `from`.
    pub fn asked(&mut self, call: u64, from: Option<Value>, to: Value) -> Result<(), Stop> {
        if self.clusters.contains_key(&to) {
            return Err(Stop::GivenUp);
        }
        match self.asked.entry(to) {
            Entry::Occupied(_) => Err(Stop::GivenUp),
            Entry::Vacant(place) => {
                place.insert(Asked { call, from });
                Ok(())
            }
        }
    }

    /// What was called at `call` did not make `to`.
    pub fn withdrawn(&mut self, call: u64, to: &Value) -> Result<(), Stop> {
        match self.asked.remove(to) {
            Some(asked) if asked.call == call => Ok(()),
            Some(other) => {
                // It was seen and has died, and was asked for again by another.
                self.asked.insert(to.clone(), other);
                Err(Stop::Violated(Reason::DidNotHappen))
            }
            // It was seen, and may be dead by now.
            None => Err(Stop::Violated(Reason::DidNotHappen)),
        }
    }

    /// What was called at `call` ended now, and made `value`.
    pub fn made(&mut self, call: u64, now: u64, value: &Value) -> Result<(), Stop> {
        let maker = self.clusters.get(value).map(|cluster| cluster.maker);
        let maker = maker.or_else(|| self.asked.get(value).map(|asked| Some(asked.call)));
        match maker {
            Some(Some(maker)) if maker == call => self.ended(call, now, value),
            // Its value was seen and has died since, while it was still open: then it changes nothing that is living. Its
            // call is in its zone already.
            _ => Ok(()),
        }
    }

    /// An operation that was called at `call` ended now, and shows `value`.
    pub fn seen(&mut self, call: u64, now: u64, value: &Value) -> Result<(), Stop> {
        self.ended(call, now, value)
    }

    fn ended(&mut self, call: u64, now: u64, value: &Value) -> Result<(), Stop> {
        let (place, is_first) = match self.clusters.get_mut(value) {
            Some(cluster) => {
                if cluster.limit.is_some_and(|limit| limit < call) {
                    return Err(Stop::Violated(Reason::NotCurrent));
                }
                let is_first = !std::mem::replace(&mut cluster.has_ended, true);
                let place = cluster.block;
                let block = &mut self.blocks[place];
                assert!(!block.is_none(), "the block of {value} lives as long as it does");
                if block.last_call >= call && !is_first {
                    return Ok(());
                }
                block.last_call = block.last_call.max(call);
                (place, is_first)
            }
            None => (self.make(call, now, value)?, true),
        };
        if is_first {
            self.limit_predecessors(now, value);
        }
        // It is in conflict with itself once it spans a zone, so it steps aside while the others are asked.
        let grown = std::mem::replace(&mut self.blocks[place], Block::NONE);
        let is_in_conflict = self.blocks.iter().any(|block| grown.conflicts(block));
        self.blocks[place] = grown;
        if is_in_conflict {
            return Err(Stop::Violated(Reason::Overlap));
        }
        Ok(())
    }

    /// `value`, seen for the first time, took effect, and so did everything that it was made from. Returns its block.
    fn make(&mut self, call: u64, now: u64, value: &Value) -> Result<usize, Stop> {
        // What took effect with it, the last one first.
        let mut chain: Vec<(Value, Asked)> = Vec::new();
        let mut last_call = call;
        let mut joined = None;
        let mut next = value.clone();
        loop {
            let Some(asked) = self.asked.remove(&next) else {
                return Err(Stop::Violated(Reason::NotCurrent));
            };
            last_call = last_call.max(asked.call);
            let from = asked.from.clone();
            chain.push((next, asked));
            let Some(from) = from else { break };
            if let Some(before) = self.clusters.get_mut(&from) {
                if std::mem::replace(&mut before.has_next, true) {
                    return Err(Stop::Violated(Reason::Replaced));
                }
                joined = Some(before.block);
                break;
            }
            if chain.iter().any(|(value, _)| *value == from) {
                return Err(Stop::Violated(Reason::Replaced));
            }
            next = from;
        }
        let place = match joined {
            Some(place) => place,
            None => {
                let block = Block {
                    first_end: now,
                    last_call: 0,
                };
                match self.free.pop() {
                    Some(place) => {
                        self.blocks[place] = block;
                        place
                    }
                    None => {
                        self.blocks.push(block);
                        self.blocks.len() - 1
                    }
                }
            }
        };
        let block = &mut self.blocks[place];
        block.last_call = block.last_call.max(last_call);
        let mut is_last = true;
        for (made, Asked { call, from }) in chain {
            let cluster = Cluster {
                maker: Some(call),
                from,
                has_next: !is_last,
                has_ended: is_last,
                limit: None,
                block: place,
            };
            self.clusters.insert(made, cluster);
            is_last = false;
        }
        Ok(place)
    }

    /// What `value` was made from was over before the first end on it.
    fn limit_predecessors(&mut self, now: u64, value: &Value) {
        let mut at = self.clusters.get(value).and_then(|cluster| cluster.from.clone());
        while let Some(from) = at {
            match self.clusters.get_mut(&from) {
                // Ends come in their order, so the first limit is the lowest.
                Some(cluster) if cluster.limit.is_none() => {
                    cluster.limit = Some(now);
                    at = cluster.from.clone();
                }
                _ => break,
            }
        }
    }

    /// Forgets what is dead, now and then. Everything that ends from now on was called at `watermark` or later.
    pub fn sweep(&mut self, watermark: u64) {
        if self.clusters.len() < self.sweep_at {
            return;
        }
        // The last calls that are furthest behind, of blocks that all that is called from now on is behind.
        let mut furthest = (0, usize::MAX);
        let mut second = 0;
        for (place, block) in self.blocks.iter().enumerate() {
            if block.first_end >= watermark {
                continue;
            }
            if block.last_call > furthest.0 {
                second = furthest.0;
                furthest = (block.last_call, place);
            } else {
                second = second.max(block.last_call);
            }
        }
        for (place, block) in self.blocks.iter_mut().enumerate() {
            let other = if place == furthest.1 { second } else { furthest.0 };
            if block.first_end < other {
                *block = Block::NONE;
                self.free.push(place);
            }
        }
        let blocks = &self.blocks;
        self.clusters.retain(|_, cluster| {
            !blocks[cluster.block].is_none() && cluster.limit.is_none_or(|limit| limit >= watermark)
        });
        self.sweep_at = (2 * self.clusters.len()).max(SWEEP_AT_MIN);
    }
}
