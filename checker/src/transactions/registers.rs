//! Registers: what their reads say of the order of transactions.
//!
//! Every value is written once, so a read names the transaction that wrote it. Which of two writes came first a read
//! does not tell, so versions are ordered only as far as something certain orders them:
//!
//! - the initial nil comes before everything;
//! - what a transaction read comes before what it then wrote;
//! - where the model respects real time: what had been written before another write began comes before it, and what had
//!   been written before a read began comes before what that one read, unless that is the same.
//!
//! So *invalid* is certain, and *valid* means that nothing of this contradicts it.

use std::collections::BTreeMap;

use tribunal_history::{AnomalyClass, Ending, Value};

use super::circles::Times;
use super::direct::{Directs, shown, told, told_first};
use super::graph::{Builder, kind};
use super::nodes::Nodes;
use super::parse::{Parsed, Step, Writer};

/// A read of what others left: before the transaction wrote to the key itself.
struct Outside<'a> {
    operation: u32,
    key: u32,
    value: &'a Value,
    /// Who wrote what was read; none for the initial nil and for what nobody wrote.
    writer: Option<u32>,
    /// Whether the transaction then wrote to the key.
    writes: bool,
}

/// The registers of a history.
pub(super) struct Registers<'a, 'p> {
    parsed: &'p Parsed<'a>,
    outside: Vec<Outside<'a>>,
    /// Operations of unknown outcome that were seen to have happened.
    pub seen: Vec<bool>,
}

impl<'a, 'p> Registers<'a, 'p> {
    /// Looks at all reads.
    pub(super) fn read(parsed: &'p Parsed<'a>, directs: &mut Directs) -> Self {
        let mut registers = Self {
            parsed,
            outside: Vec::new(),
            seen: vec![false; parsed.operations.len()],
        };
        for operation in 0..parsed.operations.len() {
            if parsed.operations[operation].ending == Ending::Ok {
                registers.transaction(operation as u32, directs);
            }
        }
        registers.lost_updates(directs);
        registers
    }

    fn transaction(&mut self, operation: u32, directs: &mut Directs) {
        let parsed = self.parsed;
        let first = self.outside.len();
        // What the transaction knows of each key, and whether it wrote that itself.
        let mut views: BTreeMap<u32, (&Value, bool)> = BTreeMap::new();
        for step in parsed.steps(operation as usize) {
            match *step {
                Step::Write { key, value } => {
                    views.insert(key, (value, true));
                    let read = self.outside[first..].iter_mut().find(|read| read.key == key);
                    if let Some(read) = read {
                        read.writes = true;
                    }
                }
                Step::Read { key, value } => {
                    let value = value.unwrap_or(&Value::Null);
                    match views.insert(key, (value, false)) {
                        Some((known, _)) if known != value => {
                            directs.add(AnomalyClass::Internal, key, &[operation], || {
                                format!(
                                    "{} read {} as {}, though after what it had read and written itself it should \
                                     have been {}.",
                                    told_first(parsed, operation),
                                    parsed.keys[key as usize],
                                    shown(value),
                                    shown(known)
                                )
                            });
                        }
                        Some(_) => {}
                        None => {
                            let writer = self.outside_read(operation, key, value, directs);
                            self.outside.push(Outside {
                                operation,
                                key,
                                value,
                                writer,
                                writes: false,
                            });
                        }
                    }
                }
            }
        }
    }

    /// Who wrote what a transaction read of others, and what is wrong with that.
    fn outside_read(&mut self, operation: u32, key: u32, value: &Value, directs: &mut Directs) -> Option<u32> {
        let parsed = self.parsed;
        if value.is_null() {
            return None;
        }
        let name = parsed.keys[key as usize];
        let Some(Writer {
            operation: writer,
            is_final,
        }) = parsed.writer(key, value)
        else {
            directs.add(AnomalyClass::PhantomValue, key, &[operation], || {
                format!(
                    "{} read {name} as {}, which nobody ever wrote.",
                    told_first(parsed, operation),
                    shown(value)
                )
            });
            return None;
        };
        self.seen[writer as usize] = true;
        if writer == operation {
            directs.add(AnomalyClass::Internal, key, &[operation], || {
                format!(
                    "{} read {name} as {} before it wrote that itself.",
                    told_first(parsed, operation),
                    shown(value)
                )
            });
            return None;
        }
        let class = match parsed.operations[writer as usize].ending {
            Ending::Fail => AnomalyClass::G1a,
            _ if !is_final => AnomalyClass::G1b,
            _ => return Some(writer),
        };
        directs.add(class, key, &[writer, operation], || {
            let what = match class {
                AnomalyClass::G1a => "which had definitely failed",
                _ => "which overwrote that itself",
            };
            format!(
                "{} read {name} as {}, the value of {}, {what}.",
                told_first(parsed, operation),
                shown(value),
                told(parsed, writer)
            )
        });
        Some(writer)
    }

    /// Transactions that read the same value of a key, and each wrote to it.
    fn lost_updates(&self, directs: &mut Directs) {
        let parsed = self.parsed;
        let mut by_value: BTreeMap<(u32, &Value), Vec<u32>> = BTreeMap::new();
        for read in self.outside.iter().filter(|read| read.writes) {
            by_value.entry((read.key, read.value)).or_default().push(read.operation);
        }
        for ((key, value), operations) in by_value {
            let [one, other, ..] = operations.as_slice() else {
                continue;
            };
            directs.add(AnomalyClass::LostUpdate, key, &[*one, *other], || {
                let more = match operations.len() {
                    2 => String::new(),
                    more => format!(" So did {} more.", more - 2),
                };
                format!(
                    "{} and {} both read {} as {} and then wrote to it, as if the other did not exist.{more}",
                    told_first(parsed, *one),
                    told(parsed, *other),
                    parsed.keys[key as usize],
                    shown(value)
                )
            });
        }
    }

    /// The dependencies; those that real time tells too, if `times` are given.
    pub(super) fn depend(&self, nodes: &Nodes, times: Option<&Times>, builder: &mut Builder) {
        let mut keys: Vec<Key> = self.parsed.keys.iter().map(|_| Key::default()).collect();
        for operation in 0..self.parsed.operations.len() as u32 {
            let Some(node) = nodes.of(operation) else { continue };
            for step in self.parsed.steps(operation as usize) {
                if let Step::Write { key, .. } = *step {
                    let writers = &mut keys[key as usize].writers;
                    if writers.last() != Some(&node) {
                        writers.push(node);
                    }
                }
            }
        }
        for read in &self.outside {
            let Some(reader) = nodes.of(read.operation) else {
                continue;
            };
            let from = read.writer.and_then(|writer| nodes.of(writer));
            if let Some(from) = from {
                builder.edge(from, reader, kind::WR, read.key);
            }
            let key = &mut keys[read.key as usize];
            if read.value.is_null() {
                key.of_nil.push(reader);
            } else if let Some(from) = from {
                let readers = key.readers.entry(from).or_default();
                readers.all.push(reader);
                if read.writes {
                    readers.writing.push(reader);
                }
            }
        }
        for (number, key) in (0..).zip(&keys) {
            key.depend(number, builder);
            if let Some(times) = times {
                key.depend_by_time(number, times, builder);
            }
        }
    }

    /// How many reads of what others left there were.
    pub(super) fn reads(&self) -> usize {
        self.outside.len()
    }
}

/// Who read a value.
#[derive(Default)]
struct Readers {
    all: Vec<u32>,
    /// Those that then wrote to the key.
    writing: Vec<u32>,
}

/// Who wrote and read a key, as nodes.
#[derive(Default)]
struct Key {
    /// In the order in which they began.
    writers: Vec<u32>,
    of_nil: Vec<u32>,
    /// By who wrote what they read.
    readers: BTreeMap<u32, Readers>,
}

/// Most edges that are drawn one by one where no helper stands for them. There are no more in a history that is right,
/// since these transactions were open at the same time; where there are more, an edge that is left out accuses nobody.
const SINGLE_EDGES_MAX: usize = 64;

impl Key {
    /// What holds whatever the clocks say.
    fn depend(&self, number: u32, builder: &mut Builder) {
        if !self.of_nil.is_empty() && !self.writers.is_empty() {
            // A reader of nil comes before every writer but itself: before those that began earlier, and those that
            // began later.
            let up = Chain::up(&self.writers, kind::RW_ON, number, builder);
            let down = Chain::down(&self.writers, kind::RW_ON, number, builder);
            for &reader in &self.of_nil {
                let (before, after) = match self.writers.binary_search(&reader) {
                    Ok(own) => (own.checked_sub(1), own + 1),
                    Err(place) => (place.checked_sub(1), place),
                };
                if let Some(before) = before {
                    builder.edge(reader, down.from(before), kind::RW, number);
                }
                if after < self.writers.len() {
                    builder.edge(reader, up.from(after), kind::RW, number);
                }
            }
        }
        // Who read the same value as one that then wrote comes before that one. Of several that wrote, each lost the
        // others' update, which is told already.
        for readers in self.readers.values() {
            if let [one] = readers.writing.as_slice() {
                for &reader in &readers.all {
                    builder.edge(reader, *one, kind::RW, number);
                }
            }
        }
    }

    /// What real time tells of the order of versions.
    fn depend_by_time(&self, number: u32, times: &Times, builder: &mut Builder) {
        let began = |node: u32| times.began[node as usize];
        let ended = |node: u32| times.ended[node as usize];
        if self.writers.len() < 2 || self.readers.is_empty() {
            return;
        }
        let up = Chain::up(&self.writers, kind::RW_ON, number, builder);
        let mut by_end = self.writers.clone();
        by_end.sort_by_key(|writer| ended(*writer));
        let before = Chain::before(&by_end, kind::WW_ON, number, builder);
        for (&writer, readers) in &self.readers {
            // Writers that began after this one had ended overwrote it, so whoever read it missed them.
            let after = self.writers.partition_point(|other| began(*other) <= ended(writer));
            for &reader in &readers.all {
                if after == self.writers.len() {
                    break;
                }
                match self.writers[after..].binary_search(&reader) {
                    Ok(own) => {
                        for &other in self.writers[after..after + own].iter().take(SINGLE_EDGES_MAX) {
                            builder.edge(reader, other, kind::RW | kind::BY_TIME, number);
                        }
                        if after + own + 1 < self.writers.len() {
                            let rest = up.from(after + own + 1);
                            builder.edge(reader, rest, kind::RW | kind::BY_TIME, number);
                        }
                    }
                    Err(_) => builder.edge(reader, up.from(after), kind::RW | kind::BY_TIME, number),
                }
            }
            // Writers that had ended before somebody read this one began are overwritten by it.
            let Some(last) = readers.all.iter().map(|reader| began(*reader)).max() else {
                continue;
            };
            let until = by_end.partition_point(|other| ended(*other) < last);
            // No two ended at the same place, but for those whose end does not count, and they are behind `until`.
            let own = by_end[..until].binary_search_by_key(&ended(writer), |other| ended(*other));
            let Ok(own) = own else {
                if until > 0 {
                    before.join(until - 1, writer, builder);
                }
                continue;
            };
            if own > 0 {
                before.join(own - 1, writer, builder);
            }
            // One that began after this one had ended was missed by the reader, and that is said already.
            let together = by_end[own + 1..until]
                .iter()
                .filter(|other| began(**other) < ended(writer));
            for &other in together.take(SINGLE_EDGES_MAX) {
                builder.edge(other, writer, kind::WW | kind::BY_TIME, number);
            }
        }
    }
}

/// Helpers that stand for a part of a key's writers, each one for one writer more than the one before.
struct Chain {
    helpers: Vec<u32>,
    key: u32,
}

impl Chain {
    /// From a place on: each helper leads to its writer and to the next helper.
    fn up(writers: &[u32], on: u8, key: u32, builder: &mut Builder) -> Self {
        let helpers: Vec<u32> = writers.iter().map(|_| builder.helper()).collect();
        for at in 0..writers.len() {
            builder.edge(helpers[at], writers[at], on, key);
            if at + 1 < writers.len() {
                builder.edge(helpers[at], helpers[at + 1], on, key);
            }
        }
        Self { helpers, key }
    }

    /// Up to a place: each helper leads to its writer and to the helper before.
    fn down(writers: &[u32], on: u8, key: u32, builder: &mut Builder) -> Self {
        let helpers: Vec<u32> = writers.iter().map(|_| builder.helper()).collect();
        for at in 0..writers.len() {
            builder.edge(helpers[at], writers[at], on, key);
            if at > 0 {
                builder.edge(helpers[at], helpers[at - 1], on, key);
            }
        }
        Self { helpers, key }
    }

    /// Up to a place, the other way: each writer leads to its helper, and each helper to the next.
    fn before(writers: &[u32], on: u8, key: u32, builder: &mut Builder) -> Self {
        let helpers: Vec<u32> = writers.iter().map(|_| builder.helper()).collect();
        for at in 0..writers.len() {
            builder.edge(writers[at], helpers[at], kind::WW | kind::BY_TIME, key);
            if at + 1 < writers.len() {
                builder.edge(helpers[at], helpers[at + 1], on, key);
            }
        }
        Self { helpers, key }
    }

    fn from(&self, place: usize) -> u32 {
        self.helpers[place]
    }

    /// All writers up to `place` lead to `to`.
    fn join(&self, place: usize, to: u32, builder: &mut Builder) {
        builder.edge(self.helpers[place], to, kind::WW_ON, self.key);
    }
}
