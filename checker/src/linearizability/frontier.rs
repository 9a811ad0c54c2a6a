//! The breadth-first engine.
//!
//! Lowe's just-in-time search ("Testing for linearizability", 2017): walk through the events in their order and keep every
//! configuration that may be real. A configuration is (which of the open operations are placed, which operations in doubt
//! are, state). Nothing is placed before something has to be: when an operation ends, each configuration that has not
//! placed it yet goes on by open operations and operations in doubt, in all ways, until it is placed. When no configuration
//! is left, nothing explains the events so far, and nothing that follows can change that.
//!
//! Three things keep the configurations few:
//! - **A read that fits is placed at once**, as in [`Wgl`](super::Wgl), and of identical open operations the one that
//!   ends first goes first.
//! - **Antichains**: of two configurations that differ only in the operations in doubt, one that has used a part of the
//!   other's makes the other superfluous.
//! - **A value that is still to be observed and that nothing can make again is not overwritten**, and a write in doubt that
//!   nothing will observe is not placed.
//!
//! Where the depth-first engine has to come back from the end of a long wrong way, this one is stopped by the event that is
//! wrong, so it is the better one for violations at low concurrency. It holds all alternatives at once, so it is capped:
//! beyond [`CONFIGURATIONS_MAX`] or [`OPEN_MAX`] it gives up and never guesses.

use std::collections::HashMap;
use std::rc::Rc;

use super::prepare::{NONE, Prepared, Required};
use super::{Answer, Entry, HardSpot, Partition, Search};
use crate::spec::{Class, Spec};

/// Most operations that are open at one moment.
pub const OPEN_MAX: usize = 128;

/// Most configurations at one moment.
pub const CONFIGURATIONS_MAX: usize = 1 << 20;

/// Sets of operations in doubt that are compared in the time of a step, so that a race is fair where that is most of what
/// there is to do.
const COMPARED_IN_A_STEP: u64 = 4;

/// Stands for the beginning in the record of how configurations were reached.
const ROOT: u32 = u32::MAX;

/// A breadth-first search over one partition.
#[derive(Debug)]
pub struct Frontier<'a, S: Spec> {
    partition: &'a Partition<S>,
    prepared: Prepared,
    /// Calls (even) and ends (odd) of required operations, in order of time.
    events: Vec<u32>,
    /// The next of them.
    at: usize,
    /// The required operation in each slot; a slot is a bit of [`Configuration::placed`].
    slots: Vec<Option<u32>>,
    /// The slot of each required operation that is open.
    slot_of: Vec<u8>,
    /// Open operations in order of their ends.
    open: Vec<u32>,
    frontier: Vec<Configuration<S>>,
    ending: Option<Closure<S>>,
    /// How configurations were reached: from which, and by which entry.
    trace: Vec<(u32, u32)>,
    trace_bytes_max: usize,
    answer: Option<Answer>,
    steps: u64,
    hard_spot: HardSpot,
    overflowed: bool,
    most: usize,
}

/// One thing that may be real.
#[derive(Clone, Debug)]
struct Configuration<S> {
    state: S,
    /// Number of the value that the state holds, or `NONE` where values are not followed.
    value: u32,
    /// By slot: whether the open operation there is placed.
    placed: u128,
    /// How many operations in doubt are placed, by class, sorted; no zeros.
    used: Used,
    trace: u32,
}

type Used = Rc<[(u32, u32)]>;

/// What goes on while one operation is to be placed by all.
#[derive(Debug)]
struct Closure<S> {
    required: u32,
    /// Configurations that have not placed it, still to be looked at.
    work: Vec<Configuration<S>>,
    waiting: Antichains,
    /// Those that have.
    done: Vec<Configuration<S>>,
    finished: Antichains,
}

/// Which configurations were met, up to those that make others superfluous.
#[derive(Debug, Default)]
struct Antichains {
    met: HashMap<(u128, u128), Vec<Used>>,
    /// How many sets of operations in doubt were compared.
    compared: u64,
}

impl Antichains {
    /// Whether the configuration is new and not superfluous; it is noted then.
    fn admit<S: Spec>(&mut self, configuration: &Configuration<S>) -> bool {
        let key = (configuration.placed, configuration.state.fingerprint());
        let met = self.met.entry(key).or_default();
        self.compared += met.len() as u64;
        if met.iter().any(|used| is_part(used, &configuration.used)) {
            return false;
        }
        met.retain(|used| !is_part(&configuration.used, used));
        met.push(configuration.used.clone());
        true
    }

    /// Whether it has not become superfluous since it was admitted.
    fn holds<S: Spec>(&self, configuration: &Configuration<S>) -> bool {
        let key = (configuration.placed, configuration.state.fingerprint());
        self.met.get(&key).is_some_and(|met| met.contains(&configuration.used))
    }
}

/// Whether `fewer` has used no more of any class than `more`.
fn is_part(fewer: &[(u32, u32)], more: &[(u32, u32)]) -> bool {
    let mut more = more.iter();
    fewer
        .iter()
        .all(|(class, count)| more.by_ref().any(|(other, most)| other == class && count <= most))
}

impl<'a, S: Spec> Frontier<'a, S> {
    /// A search that has not begun.
    pub fn new(partition: &'a Partition<S>) -> Self {
        let prepared = Prepared::new(partition);
        let mut events: Vec<(u64, u32)> = Vec::with_capacity(2 * prepared.required.len());
        for (r, operation) in (0u32..).zip(&prepared.required) {
            events.push((partition.entries[operation.entry as usize].call, 2 * r));
            events.push((operation.end, 2 * r + 1));
        }
        events.sort_unstable();
        let value = prepared.values.as_ref().map_or(NONE, |values| values.initial);
        let phantom = prepared.values.as_ref().and_then(|values| values.phantom());
        Self {
            partition,
            events: events.into_iter().map(|(_, event)| event).collect(),
            at: 0,
            slots: Vec::new(),
            slot_of: vec![0; prepared.required.len()],
            open: Vec::new(),
            frontier: vec![Configuration {
                state: S::default(),
                value,
                placed: 0,
                used: Rc::from([]),
                trace: ROOT,
            }],
            ending: None,
            trace: Vec::new(),
            trace_bytes_max: 1 << 22,
            answer: phantom.map(|_| Answer::NotLinearizable),
            steps: 0,
            hard_spot: HardSpot::default(),
            overflowed: false,
            most: 1,
            prepared,
        }
    }

    /// Whether it is worth beginning. Where objects grow and operations are in doubt it is not: there are as many states
    /// within reach as texts that can be put together of what is in doubt, and each of them is a configuration.
    pub fn suits(partition: &Partition<S>) -> bool {
        let class = |entry: &Entry<S>| S::class(&entry.op, entry.ret.as_ref());
        let is_in_doubt = |entry: &Entry<S>| !entry.is_required() && !class(entry).is_read();
        let grows = |entry: &Entry<S>| matches!(class(entry), Class::Grow(_));
        !(partition.entries.iter().any(grows) && partition.entries.iter().any(is_in_doubt))
    }

    /// The most configurations that were held at one moment.
    pub fn configurations_max(&self) -> usize {
        self.most
    }

    fn required(&self, r: u32) -> &Required {
        &self.prepared.required[r as usize]
    }

    fn entry(&self, r: u32) -> &'a Entry<S> {
        &self.partition.entries[self.required(r).entry as usize]
    }

    fn bit(&self, r: u32) -> u128 {
        1 << self.slot_of[r as usize]
    }

    /// An operation begins.
    fn begin(&mut self, r: u32) {
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None if self.slots.len() < OPEN_MAX => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => {
                self.overflowed = true;
                return;
            }
        };
        self.slots[slot] = Some(r);
        self.slot_of[r as usize] = slot as u8;
        let place = self.open.partition_point(|&other| other < r);
        self.open.insert(place, r);
        // It may fit as it is.
        if self.required(r).reads {
            let (entry, bit, place) = (self.entry(r), self.bit(r), self.required(r).entry);
            for configuration in &mut self.frontier {
                self.steps += 1;
                if entry.step(&mut configuration.state.clone()) {
                    configuration.placed |= bit;
                    configuration.trace = note(&mut self.trace, configuration.trace, place);
                }
            }
        }
    }

    /// An operation ends: what has placed it is done, the rest is work.
    fn end(&mut self, r: u32) {
        let bit = self.bit(r);
        let mut closure = Closure {
            required: r,
            work: Vec::new(),
            waiting: Antichains::default(),
            done: Vec::new(),
            finished: Antichains::default(),
        };
        let (done, work): (Vec<_>, Vec<_>) = std::mem::take(&mut self.frontier)
            .into_iter()
            .partition(|configuration| configuration.placed & bit != 0);
        closure.work = work;
        if closure.work.is_empty() {
            // Nothing changes but that its slot is free.
            closure.done = done;
            for configuration in &mut closure.done {
                configuration.placed &= !bit;
            }
            self.close(closure, false);
            return;
        }
        for configuration in done {
            self.finish(&mut closure, configuration);
        }
        for configuration in &closure.work {
            closure.waiting.admit(configuration);
        }
        self.ending = Some(closure);
    }

    /// Takes a configuration that has placed the ending operation over it.
    fn finish(&mut self, closure: &mut Closure<S>, mut configuration: Configuration<S>) {
        configuration.placed &= !self.bit(closure.required);
        if closure.finished.admit(&configuration) {
            closure.done.push(configuration);
        }
    }

    /// The operation is placed by all that are left.
    fn close(&mut self, closure: Closure<S>, may_shrink: bool) {
        let r = closure.required;
        let slot = self.slot_of[r as usize] as usize;
        self.frontier = closure.done;
        if may_shrink {
            self.frontier
                .retain(|configuration| closure.finished.holds(configuration));
        }
        self.most = self.most.max(self.frontier.len());
        if self.frontier.is_empty() {
            self.hard_spot = HardSpot {
                blocked: Some(self.required(r).entry),
                open: self.open.len(),
                in_doubt: (0..self.prepared.unknown.len())
                    .map(|class| self.available(class, self.required(r).end))
                    .sum(),
            };
            self.answer = Some(Answer::NotLinearizable);
            return;
        }
        self.slots[slot] = None;
        self.open.retain(|&other| other != r);
        let Required { observes, makes, .. } = *self.required(r);
        if let Some(values) = &mut self.prepared.values {
            if observes != NONE {
                values.observers[observes as usize] -= 1;
            }
            if makes != NONE {
                values.makers[makes as usize] -= 1;
            }
        }
        if self.trace.len() > self.trace_bytes_max {
            self.forget();
        }
    }

    /// Goes on from one configuration in all ways by one operation.
    fn expand(&mut self, closure: &mut Closure<S>, from: &Configuration<S>) {
        let ending = closure.required;
        let deadline = self.required(ending).end;
        let open = std::mem::take(&mut self.open);
        let mut tried: Vec<u32> = Vec::new();
        for &r in &open {
            let twin = self.required(r).twin;
            if from.placed & self.bit(r) != 0 || tried.contains(&twin) {
                continue;
            }
            tried.push(twin);
            self.steps += 1;
            let mut state = from.state.clone();
            if !self.entry(r).step(&mut state) {
                continue;
            }
            let Required {
                entry, observes, makes, ..
            } = *self.required(r);
            let value = if makes == NONE { from.value } else { makes };
            if value != from.value && self.is_still_needed(from, u32::from(observes == from.value)) {
                continue;
            }
            let next = Configuration {
                state,
                value,
                placed: from.placed | self.bit(r),
                used: from.used.clone(),
                trace: note(&mut self.trace, from.trace, entry),
            };
            let next = self.place_reads(&open, next);
            self.admit(closure, next);
        }
        for class in 0..self.prepared.unknown.len() {
            let used = from
                .used
                .iter()
                .find(|(other, _)| *other == class as u32)
                .map_or(0, |(_, used)| *used);
            if self.available(class, deadline) <= used as usize || !self.may_help(class) {
                continue;
            }
            self.steps += 1;
            let unknown = &self.prepared.unknown[class];
            let entry = unknown.entries[used as usize];
            let mut state = from.state.clone();
            state.invoke(&self.partition.entries[entry as usize].op);
            let value = if unknown.makes == NONE {
                from.value
            } else {
                unknown.makes
            };
            if state == from.state || value != from.value && self.is_still_needed(from, 0) {
                continue;
            }
            let next = Configuration {
                state,
                value,
                placed: from.placed,
                used: one_more(&from.used, class as u32),
                trace: note(&mut self.trace, from.trace, entry),
            };
            let next = self.place_reads(&open, next);
            self.admit(closure, next);
        }
        self.open = open;
    }

    fn admit(&mut self, closure: &mut Closure<S>, next: Configuration<S>) {
        if next.placed & self.bit(closure.required) != 0 {
            self.finish(closure, next);
        } else if closure.waiting.admit(&next) {
            closure.work.push(next);
        }
    }

    /// Places all open reads that fit.
    fn place_reads(&mut self, open: &[u32], mut configuration: Configuration<S>) -> Configuration<S> {
        for &r in open {
            if !self.required(r).reads || configuration.placed & self.bit(r) != 0 {
                continue;
            }
            self.steps += 1;
            if self.entry(r).step(&mut configuration.state.clone()) {
                let entry = self.required(r).entry;
                configuration.placed |= self.bit(r);
                configuration.trace = note(&mut self.trace, configuration.trace, entry);
            }
        }
        configuration
    }

    /// Whether required operations, beyond `observed` of them, are still to observe the value that `from` holds, which
    /// nothing can make again.
    fn is_still_needed(&self, from: &Configuration<S>, observed: u32) -> bool {
        let Some(values) = &self.prepared.values else {
            return false;
        };
        let value = from.value;
        let (mut observers, mut makers) = (values.observers[value as usize], values.makers[value as usize]);
        // What has ended is out of the counts; what is open and placed here is not.
        for r in self.slots.iter().flatten().filter(|&&r| from.placed & self.bit(r) != 0) {
            observers -= u32::from(self.required(*r).observes == value);
            makers -= u32::from(self.required(*r).makes == value);
        }
        for (class, used) in from.used.iter() {
            if self.prepared.unknown[*class as usize].makes == value {
                makers -= used;
            }
        }
        observers > observed && makers == 0
    }

    /// Whether something that has not ended yet observes what operations of the class make, or may compare with it.
    fn may_help(&self, class: usize) -> bool {
        let makes = self.prepared.unknown[class].makes;
        match &self.prepared.values {
            Some(values) if makes != NONE => {
                values.observers[makes as usize] > 0 || values.compared_in_doubt[makes as usize] || values.any_but_one
            }
            _ => true,
        }
    }

    /// Operations of a class that begin before `deadline`.
    fn available(&self, class: usize, deadline: u64) -> usize {
        self.prepared.unknown[class]
            .calls
            .partition_point(|&call| call < deadline)
    }

    /// Forgets how configurations were reached that are no longer there.
    fn forget(&mut self) {
        let mut moved: Vec<u32> = vec![ROOT; self.trace.len()];
        for configuration in &self.frontier {
            let mut at = configuration.trace;
            while at != ROOT && moved[at as usize] == ROOT {
                moved[at as usize] = 0;
                at = self.trace[at as usize].0;
            }
        }
        let mut kept = 0;
        for at in 0..self.trace.len() {
            if moved[at] == ROOT {
                continue;
            }
            let (from, entry) = self.trace[at];
            // What it came from stands before it.
            let from = if from == ROOT { ROOT } else { moved[from as usize] };
            self.trace[kept] = (from, entry);
            moved[at] = kept as u32;
            kept += 1;
        }
        self.trace.truncate(kept);
        for configuration in &mut self.frontier {
            if configuration.trace != ROOT {
                configuration.trace = moved[configuration.trace as usize];
            }
        }
        self.trace_bytes_max = (2 * kept).max(1 << 22);
    }

    fn order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.prepared.required.len());
        let mut at = self.frontier[0].trace;
        while at != ROOT {
            let (from, entry) = self.trace[at as usize];
            order.push(entry);
            at = from;
        }
        order.reverse();
        order
    }
}

/// Notes that `entry` was placed after `from`.
fn note(trace: &mut Vec<(u32, u32)>, from: u32, entry: u32) -> u32 {
    trace.push((from, entry));
    trace.len() as u32 - 1
}

fn one_more(used: &Used, class: u32) -> Used {
    let mut more = used.to_vec();
    match more.binary_search_by_key(&class, |(class, _)| *class) {
        Ok(place) => more[place].1 += 1,
        Err(place) => more.insert(place, (class, 1)),
    }
    more.into()
}

impl<S: Spec> Search for Frontier<'_, S> {
    fn advance(&mut self, steps: u64) -> Option<Answer> {
        let until = self.steps.saturating_add(steps);
        while self.answer.is_none() && !self.overflowed {
            if let Some(mut closure) = self.ending.take() {
                match closure.work.pop() {
                    Some(from) => {
                        if closure.waiting.holds(&from) {
                            let before = closure.waiting.compared + closure.finished.compared;
                            self.expand(&mut closure, &from);
                            let compared = closure.waiting.compared + closure.finished.compared - before;
                            self.steps += compared / COMPARED_IN_A_STEP;
                        }
                        let held = closure.work.len() + closure.done.len();
                        self.overflowed |= held > CONFIGURATIONS_MAX || self.trace.len() > u32::MAX as usize / 2;
                        self.ending = Some(closure);
                    }
                    None => self.close(closure, true),
                }
            } else if let Some(&event) = self.events.get(self.at) {
                self.at += 1;
                self.steps += 1;
                match event % 2 {
                    0 => self.begin(event / 2),
                    _ => self.end(event / 2),
                }
            } else {
                self.answer = Some(Answer::Linearizable(self.order()));
            }
            if self.steps >= until {
                break;
            }
        }
        self.answer.clone()
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn memory_bytes(&self) -> u64 {
        if self.overflowed {
            return u64::MAX;
        }
        let ending = self.ending.as_ref();
        let held = ending.map_or(0, |closure| {
            closure.waiting.met.len() + closure.finished.met.len() + closure.work.len()
        });
        let configurations = (self.frontier.len() + held) * (size_of::<Configuration<S>>() + 64);
        let operations = self.prepared.required.len() * (size_of::<Required>() + 9);
        (configurations + operations + 8 * self.trace.capacity()) as u64
    }

    fn hard_spot(&self) -> HardSpot {
        let Some(closure) = &self.ending else {
            return self.hard_spot;
        };
        let deadline = self.required(closure.required).end;
        HardSpot {
            blocked: Some(self.required(closure.required).entry),
            open: self.open.len(),
            in_doubt: (0..self.prepared.unknown.len())
                .map(|class| self.available(class, deadline))
                .sum(),
        }
    }
}
