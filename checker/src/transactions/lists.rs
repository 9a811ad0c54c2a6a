//! Lists: what their reads say of the order of transactions.
//!
//! Every element is appended once, so a read of a list names all transactions that wrote it, in their order. The
//! longest read of a key is its version order, as far as it was seen; what was appended and is not in it came later,
//! in an order that nothing tells and that nothing depends on. So nothing is guessed, and a history whose graph has no
//! circle has an order that explains it.
//!
//! A key of which two reads contradict each other has no order. Of it, only who read from whom is used.

use std::collections::BTreeMap;

use tribunal_history::{AnomalyClass, Ending, Value};

use super::direct::{Directs, shown, told, told_first};
use super::graph::{Builder, kind};
use super::nodes::Nodes;
use super::parse::{Parsed, Step, elements};

/// What is known of one key.
struct Key<'a> {
    /// The longest list that was read.
    longest: &'a [Value],
    /// Who read it.
    read_by: u32,
    /// Who wrote each element; none for one that nobody wrote.
    writers: Vec<Option<u32>>,
    /// Whether its reads contradict each other.
    is_broken: bool,
    /// The first element by a failed transaction, and the first by nobody.
    first_aborted: Option<usize>,
    first_phantom: Option<usize>,
}

/// A read of what others left: before the transaction wrote to the key itself.
struct Outside {
    operation: u32,
    key: u32,
    /// How long the list was.
    length: usize,
}

/// The lists of a history.
pub(super) struct Lists<'a, 'p> {
    parsed: &'p Parsed<'a>,
    keys: Vec<Key<'a>>,
    outside: Vec<Outside>,
    /// Operations of unknown outcome that were seen to have happened.
    pub seen: Vec<bool>,
}

impl<'a, 'p> Lists<'a, 'p> {
    /// Looks at all reads.
    pub(super) fn read(parsed: &'p Parsed<'a>, directs: &mut Directs) -> Self {
        let mut lists = Self {
            parsed,
            keys: longest(parsed),
            outside: Vec::new(),
            seen: vec![false; parsed.operations.len()],
        };
        for number in 0..lists.keys.len() {
            lists.look_up(number, directs);
        }
        for operation in 0..parsed.operations.len() {
            if parsed.operations[operation].ending == Ending::Ok {
                lists.transaction(operation as u32, directs);
            }
        }
        lists.lost_updates(directs);
        lists
    }

    /// Finds the writers of a key's longest read.
    fn look_up(&mut self, number: usize, directs: &mut Directs) {
        let parsed = self.parsed;
        let key = &mut self.keys[number];
        for (at, element) in key.longest.iter().enumerate() {
            if parsed.note(number as u32, element, at).is_some() && !key.is_broken {
                key.is_broken = true;
                directs.add(AnomalyClass::DuplicateElements, number as u32, &[key.read_by], || {
                    duplicate(parsed, number, key.read_by, element)
                });
            }
            let writer = parsed.writer(number as u32, element);
            key.writers.push(writer.map(|writer| writer.operation));
            match writer.map(|writer| parsed.ending(writer)) {
                None => {
                    key.first_phantom.get_or_insert(at);
                }
                Some(Ending::Fail) => {
                    key.first_aborted.get_or_insert(at);
                }
                _ => {}
            }
        }
        for writer in key.writers.iter().flatten() {
            self.seen[*writer as usize] = true;
        }
        let Some(at) = key.first_aborted else { return };
        let built = (at + 1..key.writers.len()).find_map(|later| {
            let writer = key.writers[later]?;
            (parsed.operations[writer as usize].ending != Ending::Fail).then_some((later, writer))
        });
        if let (Some((later, writer)), Some(aborted)) = (built, key.writers[at]) {
            let operations = [aborted, writer, key.read_by];
            directs.add(AnomalyClass::DirtyUpdate, number as u32, &operations, || {
                format!(
                    "{} failed, and yet {} appended {} to {} behind its {}: {} read {}.",
                    told_first(parsed, aborted),
                    told(parsed, writer),
                    key.longest[later],
                    parsed.keys[number],
                    key.longest[at],
                    told(parsed, key.read_by),
                    cut(key.longest, later + 1)
                )
            });
        }
    }

    /// Looks at the reads of one transaction.
    fn transaction(&mut self, operation: u32, directs: &mut Directs) {
        let parsed = self.parsed;
        let mut views: BTreeMap<u32, View<'a>> = BTreeMap::new();
        for step in parsed.steps(operation as usize) {
            match *step {
                Step::Write { key, value } => views.entry(key).or_default().appended.push(value),
                Step::Read { key, value } => {
                    let list = value.map_or(&[][..], elements);
                    let view = views.entry(key).or_default();
                    let is_outside = view.known.is_none() && view.appended.is_empty();
                    if view.disagrees(list) {
                        directs.add(AnomalyClass::Internal, key, &[operation], || {
                            format!(
                                "{} read {} as {}, though after what it had read and appended itself it should have \
                                 been {}.",
                                told_first(parsed, operation),
                                parsed.keys[key as usize],
                                cut(list, list.len()),
                                view.expected()
                            )
                        });
                    }
                    view.known = Some(list);
                    view.appended.clear();
                    self.compare(operation, key, list, is_outside, directs);
                }
            }
        }
    }

    /// Compares a read with the longest one of its key.
    fn compare(&mut self, operation: u32, number: u32, list: &'a [Value], is_outside: bool, directs: &mut Directs) {
        let parsed = self.parsed;
        let name = parsed.keys[number as usize];
        let key = &mut self.keys[number as usize];
        let is_prefix = key.longest.starts_with(list);
        let (mut aborted, mut phantom) = (
            key.first_aborted.filter(|at| *at < list.len()),
            key.first_phantom.filter(|at| *at < list.len()),
        );
        if is_prefix {
            // Told once for each key, by the first that read it.
            if aborted.is_some() {
                key.first_aborted = None;
            }
            if phantom.is_some() {
                key.first_phantom = None;
            }
        } else {
            (aborted, phantom) = (None, None);
            if !key.is_broken {
                let longest = key.longest;
                directs.add(
                    AnomalyClass::IncompatibleOrder,
                    number,
                    &[key.read_by, operation],
                    || {
                        let differs = (0..list.len())
                            .find(|at| longest[*at] != list[*at])
                            .unwrap_or(list.len());
                        format!(
                            "{} read {name} as {}, {} read it as {}: no order of appends leads to both.",
                            told_first(parsed, key.read_by),
                            cut(longest, differs + 1),
                            told(parsed, operation),
                            cut(list, differs + 1)
                        )
                    },
                );
            }
            key.is_broken = true;
            let mut sorted: Vec<&Value> = list.iter().collect();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) {
                directs.add(AnomalyClass::DuplicateElements, number, &[operation], || {
                    duplicate(parsed, number as usize, operation, twice)
                });
            }
            for (at, element) in list.iter().enumerate() {
                match parsed.writer(number, element) {
                    None => phantom = phantom.or(Some(at)),
                    Some(writer) => {
                        self.seen[writer.operation as usize] = true;
                        if parsed.ending(writer) == Ending::Fail {
                            aborted = aborted.or(Some(at));
                        }
                    }
                }
            }
        }
        if let Some(at) = phantom {
            directs.add(AnomalyClass::PhantomValue, number, &[operation], || {
                format!(
                    "{} read {name} as {}, and nobody ever appended {} to it.",
                    told_first(parsed, operation),
                    cut(list, at + 1),
                    list[at]
                )
            });
        }
        if let Some((at, writer)) = aborted.and_then(|at| Some((at, parsed.writer(number, &list[at])?))) {
            let operations = [writer.operation, operation];
            directs.add(AnomalyClass::G1a, number, &operations, || {
                format!(
                    "{} read {name} as {}, with the {} of {}, which had definitely failed.",
                    told_first(parsed, operation),
                    cut(list, at + 1),
                    list[at],
                    told(parsed, writer.operation)
                )
            });
        }
        if !is_outside {
            return;
        }
        self.outside.push(Outside {
            operation,
            key: number,
            length: list.len(),
        });
        let Some(last) = list.last() else { return };
        let Some(writer) = parsed.writer(number, last) else {
            return;
        };
        let is_own = writer.operation == operation;
        if !is_own && !writer.is_final && parsed.ending(writer) != Ending::Fail {
            let operations = [writer.operation, operation];
            directs.add(AnomalyClass::G1b, number, &operations, || {
                format!(
                    "{} read {name} as {}, in the middle of {}, which appended more to it.",
                    told_first(parsed, operation),
                    cut(list, list.len()),
                    told(parsed, writer.operation)
                )
            });
        }
    }

    /// Transactions that read the same state of a key, and each appended to it; those that saw what they were yet to
    /// append.
    fn lost_updates(&self, directs: &mut Directs) {
        let parsed = self.parsed;
        let mut by_state: BTreeMap<(u32, usize), Vec<u32>> = BTreeMap::new();
        for read in &self.outside {
            let steps = parsed.steps(read.operation as usize);
            let key = &self.keys[read.key as usize];
            let mut appends = false;
            let mut ahead = None;
            for step in steps {
                if let Step::Write { key: written, value } = step
                    && *written == read.key
                {
                    appends = true;
                    if parsed.position(*written, value).is_some_and(|at| at < read.length) {
                        ahead = Some(*value);
                    }
                }
            }
            if let (Some(value), false) = (ahead, key.is_broken) {
                directs.add(AnomalyClass::Internal, read.key, &[read.operation], || {
                    format!(
                        "{} read {} as {} before it appended {} to it, which is in there already.",
                        told_first(parsed, read.operation),
                        parsed.keys[read.key as usize],
                        cut(key.longest, read.length),
                        value
                    )
                });
            } else if appends && !key.is_broken {
                by_state
                    .entry((read.key, read.length))
                    .or_default()
                    .push(read.operation);
            }
        }
        for ((number, length), operations) in by_state {
            let [one, other, ..] = operations.as_slice() else {
                continue;
            };
            let key = &self.keys[number as usize];
            directs.add(AnomalyClass::LostUpdate, number, &[*one, *other], || {
                let more = match operations.len() {
                    2 => String::new(),
                    more => format!(" So did {} more.", more - 2),
                };
                format!(
                    "{} and {} both read {} as {} and then appended to it, as if the other did not exist.{more}",
                    told_first(parsed, *one),
                    told(parsed, *other),
                    parsed.keys[number as usize],
                    cut(key.longest, length)
                )
            });
        }
    }

    /// The dependencies.
    pub(super) fn depend(&self, nodes: &Nodes, builder: &mut Builder) {
        let mut readers: Vec<Vec<(usize, u32)>> = vec![Vec::new(); self.keys.len()];
        for read in &self.outside {
            if let Some(node) = nodes.of(read.operation) {
                readers[read.key as usize].push((read.length, node));
            }
        }
        let later = self.appended_later(nodes);
        for (number, key) in self.keys.iter().enumerate() {
            let writers: Vec<Option<u32>> = key
                .writers
                .iter()
                .map(|writer| writer.and_then(|writer| nodes.of(writer)))
                .collect();
            if key.is_broken {
                continue;
            }
            let number = number as u32;
            // The next writer from each place on, and the one before it.
            let mut next: Vec<Option<u32>> = vec![None; writers.len() + 1];
            for at in (0..writers.len()).rev() {
                next[at] = writers[at].or(next[at + 1]);
            }
            let mut before: Vec<Option<u32>> = vec![None; writers.len() + 1];
            for at in 0..writers.len() {
                before[at + 1] = writers[at].or(before[at]);
            }
            for at in 0..writers.len() {
                if let (Some(earlier), Some(writer)) = (before[at], writers[at]) {
                    builder.edge(earlier, writer, kind::WW, number);
                }
            }
            let mut of_whole: Vec<u32> = Vec::new();
            for &(length, reader) in &readers[number as usize] {
                let from = before[length];
                if let Some(from) = from {
                    builder.edge(from, reader, kind::WR, number);
                }
                // What the one that was read appended later itself is another anomaly.
                let missed = (length..writers.len())
                    .find(|at| writers[*at].is_some() && writers[*at] != from)
                    .and_then(|at| writers[at]);
                match missed {
                    Some(missed) => builder.edge(reader, missed, kind::RW, number),
                    None if next[length].is_none() => of_whole.push(reader),
                    None => {}
                }
            }
            self.depend_later(
                builder,
                number,
                before[writers.len()],
                of_whole,
                &later[number as usize],
            );
        }
        self.depend_broken(nodes, builder);
    }

    /// For each key, who appended to it what no read shows.
    fn appended_later(&self, nodes: &Nodes) -> Vec<Vec<u32>> {
        let parsed = self.parsed;
        let mut later: Vec<Vec<u32>> = vec![Vec::new(); self.keys.len()];
        for operation in 0..parsed.operations.len() as u32 {
            let Some(node) = nodes.of(operation) else { continue };
            for step in parsed.steps(operation as usize) {
                if let Step::Write { key, value } = *step {
                    let is_shown = parsed.position(key, value).is_some();
                    let later = &mut later[key as usize];
                    if !is_shown && later.last() != Some(&node) {
                        later.push(node);
                    }
                }
            }
        }
        later
    }

    /// What no read shows came after everything that one shows.
    fn depend_later(&self, builder: &mut Builder, key: u32, last: Option<u32>, mut readers: Vec<u32>, later: &[u32]) {
        if later.is_empty() {
            return;
        }
        if let Some(last) = last {
            for &writer in later {
                builder.edge(last, writer, kind::WW, key);
            }
        }
        readers.sort_unstable();
        readers.dedup();
        let both: Vec<u32> = later
            .iter()
            .copied()
            .filter(|writer| readers.binary_search(writer).is_ok())
            .collect();
        let helper = builder.helper();
        for &reader in readers.iter().filter(|reader| both.binary_search(reader).is_err()) {
            builder.edge(reader, helper, kind::RW, key);
        }
        for &writer in later {
            builder.edge(helper, writer, kind::RW_ON, key);
        }
        // Several that did both lost each other's update, which is told already.
        if let [one] = both.as_slice() {
            for &writer in later {
                builder.edge(*one, writer, kind::RW, key);
            }
        }
    }

    /// Of keys whose reads contradict each other: who read whose element.
    fn depend_broken(&self, nodes: &Nodes, builder: &mut Builder) {
        let parsed = self.parsed;
        for read in &self.outside {
            if !self.keys[read.key as usize].is_broken {
                continue;
            }
            let steps = parsed.steps(read.operation as usize);
            let list = steps.iter().find_map(|step| match *step {
                Step::Read { key, value } if key == read.key => value,
                _ => None,
            });
            let last = list.and_then(|list| elements(list).last());
            let writer = last.and_then(|last| parsed.writer(read.key, last));
            let from = writer.and_then(|writer| nodes.of(writer.operation));
            if let (Some(from), Some(reader)) = (from, nodes.of(read.operation)) {
                builder.edge(from, reader, kind::WR, read.key);
            }
        }
    }

    /// How many reads of what others left there were.
    pub(super) fn reads(&self) -> usize {
        self.outside.len()
    }
}

/// The longest read of each key.
fn longest<'a>(parsed: &Parsed<'a>) -> Vec<Key<'a>> {
    let mut keys: Vec<Key<'a>> = parsed
        .keys
        .iter()
        .map(|_| Key {
            longest: &[],
            read_by: 0,
            writers: Vec::new(),
            is_broken: false,
            first_aborted: None,
            first_phantom: None,
        })
        .collect();
    for operation in 0..parsed.operations.len() {
        for step in parsed.steps(operation) {
            if let Step::Read {
                key,
                value: Some(value),
            } = *step
            {
                let list = elements(value);
                let key = &mut keys[key as usize];
                if list.len() > key.longest.len() {
                    key.longest = list;
                    key.read_by = operation as u32;
                }
            }
        }
    }
    keys
}

fn duplicate(parsed: &Parsed<'_>, key: usize, reader: u32, element: &Value) -> String {
    format!(
        "{} read {} with {element} in it more than once, which was appended at most once.",
        told_first(parsed, reader),
        parsed.keys[key]
    )
}

/// The first `length` elements for people.
fn cut(list: &[Value], length: usize) -> String {
    let length = length.min(list.len());
    let cut = shown(&Value::List(list[..length].to_vec()));
    match list.len() - length {
        0 => cut,
        more => format!("{} and {more} more", cut.trim_end_matches(']').to_owned() + " …]"),
    }
}

/// What a transaction knows of a key.
#[derive(Default)]
struct View<'a> {
    /// What it read last.
    known: Option<&'a [Value]>,
    /// What it appended since, or at all.
    appended: Vec<&'a Value>,
}

impl View<'_> {
    fn disagrees(&self, list: &[Value]) -> bool {
        match self.known {
            Some(known) => {
                list.len() != known.len() + self.appended.len()
                    || !list.starts_with(known)
                    || !self.appended.iter().copied().eq(&list[known.len()..])
            }
            None => {
                list.len() < self.appended.len()
                    || !self
                        .appended
                        .iter()
                        .copied()
                        .eq(&list[list.len() - self.appended.len()..])
            }
        }
    }

    fn expected(&self) -> String {
        let appended: Vec<String> = self.appended.iter().map(|value| value.to_string()).collect();
        match self.known {
            Some(known) => {
                let mut whole = known.to_vec();
                whole.extend(self.appended.iter().map(|value| (*value).clone()));
                shown(&Value::List(whole))
            }
            None => format!("[… {}]", appended.join(" ")),
        }
    }
}
