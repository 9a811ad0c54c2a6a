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
//! A write in doubt is kept until its value is seen, for ever if need be: that is what its doubt costs.

use std::collections::HashMap;
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

/// What concerns a living value.
#[derive(Clone, Debug)]
struct Cluster {
    /// The call of what makes it; none for the initial value.
    maker: Option<u64>,
    /// The value that its maker compared with.
    from: Option<Value>,
    /// Whether a value that took effect was made from this one.
    has_next: bool,
    /// Whether it took effect: something ended that depends on it.
    is_made: bool,
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
    fn conflicts(&self, other: &Self) -> bool {
        self.first_end < other.last_call && other.first_end < self.last_call
    }
}

/// Multiplies and rotates; values come from a test and not from an adversary who knows the tables.
#[derive(Clone, Copy, Debug, Default)]
struct Mix(u64);

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
    clusters: HashMap<Value, Cluster, BuildHasherDefault<Mix>>,
    blocks: Vec<Option<Block>>,
    free: Vec<usize>,
    /// Living values at which the dead ones are looked for.
    sweep_at: usize,
}

/// Living values below which nothing is swept: as many as a few dozens of clients have at one time.
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
                is_made: true,
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
            clusters,
            blocks: vec![Some(first)],
            free: Vec::new(),
            sweep_at: SWEEP_AT_MIN,
        }
    }

    /// How many values are remembered.
    pub fn remembered(&self) -> usize {
        self.clusters.len()
    }

    /// An operation that may make `to` was called: of anything, or of `from`.
    pub fn asked(&mut self, call: u64, from: Option<Value>, to: Value) -> Result<(), Stop> {
        if self.clusters.contains_key(&to) {
            return Err(Stop::GivenUp);
        }
        let cluster = Cluster {
            maker: Some(call),
            from,
            has_next: false,
            is_made: false,
            has_ended: false,
            limit: None,
            block: 0,
        };
        self.clusters.insert(to, cluster);
        Ok(())
    }

    /// What was called at `call` did not make `to`.
    pub fn withdrawn(&mut self, call: u64, to: &Value) -> Result<(), Stop> {
        match self.clusters.get(to) {
            Some(cluster) if cluster.maker == Some(call) && !cluster.is_made => {
                self.clusters.remove(to);
                Ok(())
            }
            // It was seen, and may be dead by now.
            _ => Err(Stop::Violated(Reason::DidNotHappen)),
        }
    }

    /// What was called at `call` ended now, and made `value`.
    pub fn made(&mut self, call: u64, now: u64, value: &Value) -> Result<(), Stop> {
        match self.clusters.get(value) {
            Some(cluster) if cluster.maker == Some(call) => self.ended(call, now, value),
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
        let Some(cluster) = self.clusters.get_mut(value) else {
            return Err(Stop::Violated(Reason::NotCurrent));
        };
        if cluster.limit.is_some_and(|limit| limit < call) {
            return Err(Stop::Violated(Reason::NotCurrent));
        }
        let is_first = !cluster.has_ended;
        cluster.has_ended = true;
        let place = if cluster.is_made {
            let place = cluster.block;
            let block = self.blocks[place].as_mut();
            let block = block.unwrap_or_else(|| panic!("the block of {value} lives as long as it does"));
            if block.last_call >= call && !is_first {
                return Ok(());
            }
            block.last_call = block.last_call.max(call);
            place
        } else {
            self.make(call, now, value)?
        };
        if is_first {
            self.limit_predecessors(now, value);
        }
        let grown = self.blocks[place].unwrap_or_else(|| panic!("the block of {value} was found above"));
        let others = self.blocks.iter().enumerate().filter(|(other, _)| *other != place);
        if others.flat_map(|(_, block)| block).any(|block| grown.conflicts(block)) {
            return Err(Stop::Violated(Reason::Overlap));
        }
        Ok(())
    }

    /// `value`, seen for the first time, took effect, and so did everything that it was made from. Returns its block.
    fn make(&mut self, call: u64, now: u64, value: &Value) -> Result<usize, Stop> {
        let mut chain = vec![value.clone()];
        let mut last_call = call;
        let mut joined = None;
        while let Some(at) = chain.last() {
            let Some(cluster) = self.clusters.get(at) else {
                return Err(Stop::Violated(Reason::NotCurrent));
            };
            last_call = last_call.max(cluster.maker.unwrap_or(0));
            let Some(from) = cluster.from.clone() else { break };
            let Some(before) = self.clusters.get_mut(&from) else {
                return Err(Stop::Violated(Reason::NotCurrent));
            };
            if before.has_next || chain.contains(&from) {
                return Err(Stop::Violated(Reason::Replaced));
            }
            before.has_next = true;
            if before.is_made {
                joined = Some(before.block);
                break;
            }
            chain.push(from);
        }
        let place = match joined {
            Some(place) => place,
            None => {
                let block = Some(Block {
                    first_end: now,
                    last_call: 0,
                });
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
        if let Some(block) = &mut self.blocks[place] {
            block.last_call = block.last_call.max(last_call);
        }
        for at in &chain {
            if let Some(cluster) = self.clusters.get_mut(at) {
                (cluster.is_made, cluster.block) = (true, place);
            }
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
            let Some(block) = block.filter(|block| block.first_end < watermark) else {
                continue;
            };
            if block.last_call > furthest.0 {
                second = furthest.0;
                furthest = (block.last_call, place);
            } else {
                second = second.max(block.last_call);
            }
        }
        for (place, slot) in self.blocks.iter_mut().enumerate() {
            let other = if place == furthest.1 { second } else { furthest.0 };
            if slot.is_some_and(|block| block.first_end < other) {
                *slot = None;
                self.free.push(place);
            }
        }
        let blocks = &self.blocks;
        self.clusters.retain(|_, cluster| {
            !cluster.is_made || blocks[cluster.block].is_some() && cluster.limit.is_none_or(|limit| limit >= watermark)
        });
        self.sweep_at = (2 * self.clusters.len()).max(SWEEP_AT_MIN);
    }
}
