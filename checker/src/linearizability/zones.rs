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
//! [`Class`], and no value is made twice, the initial one counted. The verdict *not linearizable*
//! rests on the promises of the classes alone. An order is replayed before it is returned, so that a specification which
//! refuses more than its classes say goes to another engine instead.

use std::collections::HashMap;

use tribunal_history::Value;

use super::{Answer, Entry, verify};
use crate::spec::{Class, Spec};

/// The answer for these entries, in order of their calls; none if the precondition does not hold.
pub fn decide<S: Spec>(entries: &[Entry<S>]) -> Option<Answer> {
    let clusters = Clusters::new(entries)?;
    match clusters.blocks().and_then(|blocks| arrange(&blocks)) {
        None => Some(Answer::NotLinearizable),
        Some(order) => verify(entries, &order).is_ok().then_some(Answer::Linearizable(order)),
    }
}

/// Number of the initial value.
const INITIAL: u32 = 0;

/// Stands for "none" where a number is expected.
const NONE: u32 = u32::MAX;

/// What concerns one value.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// Place of the operation that makes it.
    maker: u32,
    /// Number of the value that its maker compared with.
    from: u32,
    /// Number of the value that an operation which took effect made from it.
    next: u32,
    /// Whether several did.
    is_forked: bool,
    /// Whether its maker took effect.
    is_made: bool,
    /// Where its reads end in the list of all reads by value; they begin where those of the value before end.
    reads_end: u32,
}

impl Cluster {
    const EMPTY: Self = Self {
        maker: NONE,
        from: NONE,
        next: NONE,
        is_forked: false,
        is_made: false,
        reads_end: 0,
    };
}

/// Gives each value a number.
struct Numbers {
    clusters: Vec<Cluster>,
    /// Of small whole numbers, by themselves: most histories count their values.
    small: Vec<u32>,
    others: HashMap<Value, u32>,
}

impl Numbers {
    fn new(initial: Value, operations: usize) -> Self {
        let mut numbers = Self {
            clusters: Vec::with_capacity(operations / 2),
            small: vec![NONE; 2 * operations],
            others: HashMap::new(),
        };
        numbers.of(initial);
        numbers
    }

    fn of(&mut self, value: Value) -> u32 {
        let next = self.clusters.len() as u32;
        let small = match value {
            Value::Int(number) => usize::try_from(number).ok().filter(|place| *place < self.small.len()),
            _ => None,
        };
        let number = match small {
            Some(place) if self.small[place] == NONE => {
                self.small[place] = next;
                next
            }
            Some(place) => self.small[place],
            None => *self.others.entry(value).or_insert(next),
        };
        if number == next {
            self.clusters.push(Cluster::EMPTY);
        }
        number
    }
}

/// All clusters, by number of their value.
struct Clusters<'a, S: Spec> {
    entries: &'a [Entry<S>],
    clusters: Vec<Cluster>,
    /// Places of all reads, by value and then by call.
    reads: Vec<u32>,
}

impl<'a, S: Spec> Clusters<'a, S> {
    /// None if the precondition does not hold.
    fn new(entries: &'a [Entry<S>]) -> Option<Self> {
        let mut numbers = Numbers::new(S::default().value(), entries.len());
        // The number of the value that each operation reads.
        let mut reads_of: Vec<u32> = vec![NONE; entries.len()];
        for (place, entry) in entries.iter().enumerate() {
            if entry.is_required() && entry.ret.is_none() {
                return None;
            }
            let (from, to) = match S::class(&entry.op, entry.ret.as_ref()) {
                Class::Opaque | Class::Grow(_) | Class::Differs(_) => return None,
                // In doubt it says nothing.
                Class::Read(_) if !entry.is_required() => continue,
                // It says nothing either, but has to have a place.
                Class::Read(None) => return None,
                Class::Read(Some(value)) => {
                    let value = numbers.of(value);
                    reads_of[place] = value;
                    numbers.clusters[value as usize].reads_end += 1;
                    continue;
                }
                Class::Write(to) => (NONE, to),
                Class::Update { from, to } => (numbers.of(from), to),
            };
            let to = numbers.of(to);
            let cluster = &mut numbers.clusters[to as usize];
            if to == INITIAL || cluster.maker != NONE {
                return None;
            }
            (cluster.maker, cluster.from) = (place as u32, from);
        }
        let mut all = Self {
            entries,
            clusters: numbers.clusters,
            reads: Vec::new(),
        };
        all.sort_reads(&reads_of);
        all.settle();
        Some(all)
    }

    /// Brings the reads together by value. Until now `reads_end` is their count.
    fn sort_reads(&mut self, reads_of: &[u32]) {
        let mut begin = 0;
        for cluster in &mut self.clusters {
            // Where they begin, for now; it moves to the end as they come in.
            begin += std::mem::replace(&mut cluster.reads_end, begin);
        }
        self.reads = vec![NONE; begin as usize];
        for (place, value) in reads_of.iter().enumerate().filter(|(_, value)| **value != NONE) {
            let end = &mut self.clusters[*value as usize].reads_end;
            self.reads[*end as usize] = place as u32;
            *end += 1;
        }
    }

    /// The places of the reads of a value.
    fn reads(&self, value: u32) -> &[u32] {
        let begin = match value.checked_sub(1) {
            Some(before) => self.clusters[before as usize].reads_end,
            None => 0,
        };
        &self.reads[begin as usize..self.clusters[value as usize].reads_end as usize]
    }

    /// Finds out which makers took effect: those that ended, and those that something which took effect depends on.
    fn settle(&mut self) {
        let ended = |cluster: &Cluster| cluster.maker != NONE && self.entries[cluster.maker as usize].is_required();
        let mut needed: Vec<u32> = (0..self.clusters.len() as u32)
            .filter(|&value| !self.reads(value).is_empty() || ended(&self.clusters[value as usize]))
            .collect();
        while let Some(value) = needed.pop() {
            let cluster = &mut self.clusters[value as usize];
            if std::mem::replace(&mut cluster.is_made, true) || cluster.from == NONE {
                continue;
            }
            let from = cluster.from;
            needed.push(from);
            let from = &mut self.clusters[from as usize];
            from.is_forked |= from.next != NONE;
            from.next = value;
        }
        self.clusters[INITIAL as usize].is_made = true;
    }

    /// The blocks; none if no order is legal because of what one of them holds.
    fn blocks(&self) -> Option<Blocks> {
        let mut blocks = Blocks {
            blocks: Vec::new(),
            order: Vec::with_capacity(self.entries.len()),
        };
        let (mut made, mut in_blocks) = (0, 0);
        for (value, cluster) in (0u32..).zip(&self.clusters).filter(|(_, cluster)| cluster.is_made) {
            made += 1;
            // Observed, and nobody makes it; or two were made from one value that was there once.
            if value != INITIAL && cluster.maker == NONE || cluster.is_forked {
                return None;
            }
            if cluster.from != NONE {
                continue;
            }
            let mut block = Block::new(value == INITIAL, blocks.order.len());
            let mut at = value;
            while at != NONE {
                in_blocks += 1;
                let cluster = &self.clusters[at as usize];
                let maker = [cluster.maker];
                let maker = if cluster.maker == NONE { &[][..] } else { &maker[..] };
                for stage in [maker, self.reads(at)] {
                    if !block.add(stage, self.entries) {
                        return None;
                    }
                    blocks.order.extend_from_slice(stage);
                }
                at = cluster.next;
            }
            block.end = blocks.order.len();
            blocks.blocks.push(block);
        }
        // What is in no block is on a cycle: each value made from another of them.
        (in_blocks == made).then_some(blocks)
    }
}

/// All blocks, each a stretch of one list.
#[derive(Debug)]
struct Blocks {
    blocks: Vec<Block>,
    /// Places of operations in the forced order of their block.
    order: Vec<u32>,
}

/// Values that stand together.
#[derive(Debug)]
struct Block {
    /// Where its operations begin in the list.
    begin: usize,
    /// Where they end.
    end: usize,
    /// Whether it begins with the initial value, and so before everything.
    is_initial: bool,
    /// The first end; none if nothing in it has ended yet.
    first_end: Option<u64>,
    /// The last call; none if there is no operation.
    last_call: Option<u64>,
}

impl Block {
    fn new(is_initial: bool, begin: usize) -> Self {
        Self {
            begin,
            end: begin,
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
fn arrange(all: &Blocks) -> Option<Vec<u32>> {
    let mut forward: Vec<(u64, u64)> = all
        .blocks
        .iter()
        .filter_map(Block::zone)
        .filter(|(first_end, last_call)| first_end < last_call)
        .collect();
    forward.sort_unstable();
    if forward.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return None;
    }
    let mut placed: Vec<(u64, &Block)> = Vec::with_capacity(all.blocks.len());
    for block in &all.blocks {
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
    placed.sort_by_key(|(moment, _)| *moment);
    let mut order = Vec::with_capacity(all.order.len());
    for (_, block) in placed {
        order.extend_from_slice(&all.order[block.begin..block.end]);
    }
    Some(order)
}
