//! Decides registers whose values are all different, in the time of sorting them.
//!
//! Gibbons and Korach, "Testing shared memories" (1997): where each value is made once, the operations of a value form a
//! cluster, and in every legal order a cluster stands together. A compare-and-set that took effect ties the cluster of
//! what it found to the cluster of what it made, so clusters become *blocks* with a forced order inside. A block spans a
//! zone between the first end `f` and the last call `s` of its operations:
//!
//! - `f < s`, a forward zone: the object was in that block during all of it;
//! - otherwise a backward zone: all its operations overlap, and the block may stand at any moment of it.
//!
//! There is a legal order exactly if inside each block nothing has to stand against real time, no two forward zones
//! overlap, and no backward zone lies within a forward one. Then forward blocks go to their `f`, backward ones to a moment
//! of theirs that is outside all forward zones.
//!
//! An operation in doubt whose value nothing depends on is left out, since any order is as good without it; one whose value
//! was observed took effect, and has a call but no end.
//!
//! The precondition is verified from the operations, never assumed: every effect is known by its
//! [`Class`](crate::spec::Class), and no value is made twice, the initial one counted. The verdict *not linearizable*
//! rests on the promises of the classes alone. An order is replayed before it is returned, so that a specification which
//! refuses more than its classes say goes to another engine instead.

use std::collections::HashMap;

use tribunal_history::Value;

use super::{Answer, Entry, verify};
use crate::spec::{Class, Spec};

/// The answer for these entries, in order of their calls; none if the precondition does not hold.
pub fn decide<S: Spec>(entries: &[Entry<S>]) -> Option<Answer> {
    let clusters = Clusters::new(entries)?;
    match clusters.blocks().and_then(|blocks| arrange(entries, blocks)) {
        None => Some(Answer::NotLinearizable),
        Some(order) => verify(entries, &order).is_ok().then_some(Answer::Linearizable(order)),
    }
}

/// Number of the initial value.
const INITIAL: usize = 0;

/// What concerns one value.
#[derive(Clone, Debug, Default)]
struct Cluster {
    /// Place of the operation that makes it.
    maker: Option<u32>,
    /// Number of the value that its maker compared with.
    from: Option<usize>,
    /// Places of those that read it, in order of call.
    reads: Vec<u32>,
    /// Numbers of the values that operations which took effect made from it.
    next: Vec<usize>,
}

/// All clusters, by number of their value.
struct Clusters<'a, S: Spec> {
    entries: &'a [Entry<S>],
    clusters: Vec<Cluster>,
    /// Whether the maker of each value took effect.
    is_made: Vec<bool>,
}

impl<'a, S: Spec> Clusters<'a, S> {
    /// None if the precondition does not hold.
    fn new(entries: &'a [Entry<S>]) -> Option<Self> {
        let mut numbers: HashMap<Value, usize> = HashMap::with_capacity(entries.len() / 2);
        numbers.insert(S::default().value(), INITIAL);
        let mut clusters = vec![Cluster::default()];
        let mut number = |value: Value, clusters: &mut Vec<Cluster>| {
            let next = clusters.len();
            let number = *numbers.entry(value).or_insert(next);
            if number == next {
                clusters.push(Cluster::default());
            }
            number
        };
        for (place, entry) in entries.iter().enumerate() {
            if entry.is_required() && entry.ret.is_none() {
                return None;
            }
            let (from, to) = match S::class(&entry.op, entry.ret.as_ref()) {
                Class::Opaque | Class::Differs(_) => return None,
                // In doubt it says nothing.
                Class::Read(_) if !entry.is_required() => continue,
                // It says nothing either, but has to have a place.
                Class::Read(None) => return None,
                Class::Read(Some(value)) => {
                    let value = number(value, &mut clusters);
                    clusters[value].reads.push(place as u32);
                    continue;
                }
                Class::Write(to) => (None, to),
                Class::Update { from, to } => (Some(from), to),
            };
            let from = from.map(|from| number(from, &mut clusters));
            let to = number(to, &mut clusters);
            if to == INITIAL || clusters[to].maker.is_some() {
                return None;
            }
            clusters[to].maker = Some(place as u32);
            clusters[to].from = from;
        }
        let mut all = Self {
            entries,
            is_made: vec![false; clusters.len()],
            clusters,
        };
        all.settle();
        Some(all)
    }

    /// Finds out which makers took effect: those that ended, and those that something which took effect depends on.
    fn settle(&mut self) {
        let entry_of = |cluster: &Cluster| cluster.maker.map(|place| &self.entries[place as usize]);
        let mut needed: Vec<usize> = (0..self.clusters.len())
            .filter(|&value| {
                let cluster = &self.clusters[value];
                !cluster.reads.is_empty() || entry_of(cluster).is_some_and(Entry::is_required)
            })
            .collect();
        while let Some(value) = needed.pop() {
            if std::mem::replace(&mut self.is_made[value], true) {
                continue;
            }
            if let Some(from) = self.clusters[value].from {
                self.clusters[from].next.push(value);
                needed.push(from);
            }
        }
        self.is_made[INITIAL] = true;
    }

    /// The blocks; none if no order is legal because of what one of them holds.
    fn blocks(&self) -> Option<Vec<Block>> {
        let mut blocks = Vec::new();
        let mut in_blocks = 0;
        for (value, cluster) in self
            .clusters
            .iter()
            .enumerate()
            .filter(|(value, _)| self.is_made[*value])
        {
            // Observed, and nobody makes it.
            if value != INITIAL && cluster.maker.is_none() {
                return None;
            }
            if cluster.from.is_some() {
                continue;
            }
            let mut block = Block::new(value == INITIAL);
            let mut at = Some(value);
            while let Some(value) = at {
                in_blocks += 1;
                let cluster = &self.clusters[value];
                let stages = [cluster.maker.as_slice(), &cluster.reads];
                if !stages.into_iter().all(|stage| block.add(stage, self.entries)) {
                    return None;
                }
                at = match cluster.next.as_slice() {
                    [] => None,
                    [next] => Some(*next),
                    // Two were made from one value that was there once.
                    [_, _, ..] => return None,
                };
            }
            blocks.push(block);
        }
        // What is in no block is on a cycle: each value made from another of them.
        let made = self.is_made.iter().filter(|is_made| **is_made).count();
        (in_blocks == made).then_some(blocks)
    }
}

/// Values that stand together.
#[derive(Debug)]
struct Block {
    /// Places of its operations in the forced order.
    order: Vec<u32>,
    /// Whether it begins with the initial value, and so before everything.
    is_initial: bool,
    /// The first end; none if nothing in it has ended yet.
    first_end: Option<u64>,
    /// The last call; none if there is no operation.
    last_call: Option<u64>,
}

impl Block {
    fn new(is_initial: bool) -> Self {
        Self {
            order: Vec::new(),
            is_initial,
            first_end: None,
            last_call: None,
        }
    }

    /// Adds operations that come after all that are in it, in order of their calls; false if one of them ended before
    /// another that must precede it began.
    fn add<S: Spec>(&mut self, stage: &[u32], entries: &[Entry<S>]) -> bool {
        let before = self.last_call;
        for &place in stage {
            let entry = &entries[place as usize];
            if let (Some(end), Some(call)) = (entry.end, before)
                && end < call
            {
                return false;
            }
            if let Some(end) = entry.end {
                self.first_end = Some(self.first_end.map_or(end, |first| first.min(end)));
            }
            self.last_call = self.last_call.max(Some(entry.call));
            self.order.push(place);
        }
        true
    }

    /// First end and last call, both as moments; the initial value was there before all of them.
    fn zone(&self) -> Option<(u64, u64)> {
        let last_call = self.last_call? + 1;
        let first_end = if self.is_initial { 0 } else { self.first_end? + 1 };
        Some((first_end, last_call))
    }
}

/// One order of all blocks; none if there is none.
fn arrange<S: Spec>(entries: &[Entry<S>], blocks: Vec<Block>) -> Option<Vec<u32>> {
    let mut forward: Vec<(u64, u64)> = blocks
        .iter()
        .filter_map(Block::zone)
        .filter(|(first_end, last_call)| first_end < last_call)
        .collect();
    forward.sort_unstable();
    if forward.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return None;
    }
    let mut placed: Vec<(u64, &Block)> = Vec::with_capacity(blocks.len());
    for block in &blocks {
        // A block without operations needs no place.
        let Some((first_end, last_call)) = block.zone() else {
            continue;
        };
        let mut moment = first_end;
        if last_call <= first_end {
            moment = last_call;
            let begun = forward.partition_point(|(begin, _)| *begin < last_call);
            if let Some((_, end)) = begun.checked_sub(1).map(|last| forward[last])
                && last_call < end
            {
                // It may only stand behind the forward zone that it begins in.
                if first_end < end {
                    return None;
                }
                moment = end;
            }
        }
        placed.push((moment, block));
    }
    placed.sort_by_key(|(moment, block)| (*moment, !block.is_initial));
    let mut order = Vec::with_capacity(entries.len());
    for (_, block) in placed {
        order.extend_from_slice(&block.order);
    }
    Some(order)
}
