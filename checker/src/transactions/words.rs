//! Why one transaction comes before another, in words, from nothing but what was recorded.
//!
//! A reason that is found here was looked up in the operations themselves and not in the graph, so a circle all of
//! whose steps have one is proved a second time.

use tribunal_history::{Ending, Operation, Value};

use super::direct::shown;
use super::graph::kind;
use super::nodes::ended;
use super::parse::{Kind, Parsed, Step, elements};

/// What the words are drawn from.
pub(super) struct Records<'a, 'p> {
    /// What kind of objects there are.
    pub kind: Kind,
    /// What was recorded.
    pub parsed: &'p Parsed<'a>,
}

/// A reason, and another transaction that it rests upon if there is one.
pub(super) struct Reason {
    /// For people.
    pub words: String,
    /// Place of another transaction among the operations.
    pub witness: Option<u32>,
}

impl Reason {
    fn new(words: String) -> Self {
        Self { words, witness: None }
    }
}

impl<'a> Records<'a, '_> {
    fn operation(&self, place: u32) -> &'a Operation {
        &self.parsed.operations[place as usize]
    }

    fn reads(&self, place: u32, key: u32) -> impl Iterator<Item = &'a Value> {
        let is_ok = self.operation(place).ending == Ending::Ok;
        self.parsed
            .steps(place as usize)
            .iter()
            .filter_map(move |step| match *step {
                Step::Read { key: read, value } if read == key && is_ok => value,
                _ => None,
            })
    }

    /// The first read of a key, unless the transaction wrote to it before.
    fn reads_outside(&self, place: u32, key: u32) -> Option<&'a Value> {
        let steps = self.parsed.steps(place as usize).iter();
        let first = steps.filter(|step| match step {
            Step::Read { key: named, .. } | Step::Write { key: named, .. } => *named == key,
        });
        match first.copied().next() {
            Some(Step::Read { value, .. }) => value,
            _ => None,
        }
    }

    fn writes(&self, place: u32, key: u32) -> impl Iterator<Item = &'a Value> {
        self.parsed
            .steps(place as usize)
            .iter()
            .filter_map(move |step| match *step {
                Step::Write { key: written, value } if written == key => Some(value),
                _ => None,
            })
    }

    /// Why `from`, called `a`, comes before `to`, called `b`.
    pub(super) fn reason(&self, from: u32, to: u32, of: u8, key: u32, [a, b]: [&str; 2]) -> Option<Reason> {
        let (earlier, later) = (self.operation(from), self.operation(to));
        if of & kind::PROCESS != 0 {
            let holds = earlier.process == later.process && ended(earlier) < later.invoked.0;
            return holds.then(|| Reason::new(format!("client {} did {a} before {b}", earlier.process)));
        }
        if of & kind::TIME != 0 {
            let (end, begin) = (earlier.completed_ns?, later.invoked_ns);
            return (ended(earlier) < later.invoked.0).then(|| {
                Reason::new(format!(
                    "{a} had ended at {} when {b} began at {}",
                    crate::explain::seconds(end),
                    crate::explain::seconds(begin)
                ))
            });
        }
        let name = self.parsed.keys.get(key as usize)?;
        match (self.kind, of & !kind::BY_TIME) {
            (Kind::Lists, kind::WW) => self.list_overwrites(from, to, key, [a, b]),
            (Kind::Lists, kind::WR) => self.reads(to, key).find_map(|read| {
                let last = elements(read).last()?;
                self.writes(from, key).find(|value| *value == last)?;
                let read = shown(read);
                Some(Reason::new(format!(
                    "{b} read {name} as {read}, which ends with the {last} of {a}"
                )))
            }),
            (Kind::Lists, kind::RW) => self.reads(from, key).find_map(|read| {
                let missed = self.writes(to, key).find(|value| !elements(read).contains(value))?;
                let read = shown(read);
                Some(Reason::new(format!(
                    "{a} read {name} as {read}, without the {missed} of {b}"
                )))
            }),
            (Kind::Registers, kind::WR) => self.reads(to, key).find_map(|read| {
                let value = self.writes(from, key).find(|value| *value == read)?;
                Some(Reason::new(format!(
                    "{b} read {name} as {}, which {a} wrote",
                    shown(value)
                )))
            }),
            (Kind::Registers, kind::RW) => self.register_missed(from, to, key, [a, b]),
            (Kind::Registers, kind::WW) => self.register_overwrites(from, to, key, [a, b]),
            _ => None,
        }
    }

    /// A read shows an element of one before an element of the other, or the longest read shows none of the other.
    fn list_overwrites(&self, from: u32, to: u32, key: u32, [a, b]: [&str; 2]) -> Option<Reason> {
        let name = self.parsed.keys[key as usize];
        let places = 0..self.parsed.operations.len() as u32;
        let reads = places.flat_map(|place| self.reads(place, key).map(move |read| (place, elements(read))));
        let mut longest: Option<(u32, &[Value])> = None;
        for (place, read) in reads {
            let before = read
                .iter()
                .position(|element| self.writes(from, key).any(|value| value == element));
            if longest.is_none_or(|(_, longest)| longest.len() < read.len()) {
                longest = Some((place, read));
            }
            let Some(before) = before else { continue };
            let after = (before + 1..read.len()).find(|at| self.writes(to, key).any(|value| *value == read[*at]));
            if let Some(after) = after {
                let cut = shown(&Value::List(read[..=after].to_vec()));
                let more = if after + 1 < read.len() { " and more" } else { "" };
                return Some(Reason {
                    words: format!(
                        "{a} appended {} to {name} and then {b} appended {}, since it was read as {cut}{more}",
                        read[before], read[after]
                    ),
                    witness: Some(place),
                });
            }
        }
        let (place, longest) = longest?;
        let shown_of_a = longest
            .iter()
            .rfind(|element| self.writes(from, key).any(|value| value == *element))?;
        let missing = self.writes(to, key).find(|value| !longest.contains(value))?;
        Some(Reason {
            words: format!(
                "the longest read of {name}, {}, has the {shown_of_a} of {a} and not yet the {missing} of {b}",
                shown(&Value::List(longest.to_vec()))
            ),
            witness: Some(place),
        })
    }

    fn register_missed(&self, from: u32, to: u32, key: u32, [a, b]: [&str; 2]) -> Option<Reason> {
        let name = self.parsed.keys[key as usize];
        let read = self.reads_outside(from, key)?;
        let written = self.writes(to, key).last()?;
        if read.is_null() {
            return Some(Reason::new(format!(
                "{a} read {name} as nil, before {b} wrote {written}"
            )));
        }
        let value = shown(read);
        if self.reads_outside(to, key) == Some(read) {
            return Some(Reason::new(format!(
                "{a} read {name} as {value}, which {b} read too and overwrote with {written}"
            )));
        }
        let writer = self.parsed.writer(key, read)?.operation;
        let end = self.operation(writer).completed_ns?;
        (ended(self.operation(writer)) < self.operation(to).invoked.0).then(|| Reason {
            words: format!(
                "{a} read {name} as {value}, and {b} overwrote that with {written}, since the write of {value} had \
                 ended at {} before {b} began",
                crate::explain::seconds(end)
            ),
            witness: Some(writer),
        })
    }

    fn register_overwrites(&self, from: u32, to: u32, key: u32, [a, b]: [&str; 2]) -> Option<Reason> {
        let name = self.parsed.keys[key as usize];
        let over = ended(self.operation(from));
        let old = self.writes(from, key).last()?;
        let reader = (0..self.parsed.operations.len() as u32).find(|place| {
            let read = self.reads_outside(*place, key);
            let is_of_b = read.is_some_and(|read| self.writes(to, key).any(|value| value == read));
            is_of_b && over < self.operation(*place).invoked.0
        })?;
        let new = self.reads_outside(reader, key)?;
        Some(Reason {
            words: format!(
                "{b} overwrote the {old} of {a} in {name} with {new}, since {new} was read after {a} had ended"
            ),
            witness: Some(reader),
        })
    }
}
