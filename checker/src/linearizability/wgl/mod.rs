//! The depth-first engine.
//!
//! The search of Wing and Gong (1993) as refined by Lowe (2017) and by Horn and Kroening (2015): place one of the
//! operations that begin before the first end of what is not placed yet, go on, back up where nothing fits. A
//! configuration is (required operations placed, operations in doubt placed, state). On top of that:
//!
//! - **Failed configurations are remembered**, and only those: a history that is linearizable at low
//!   concurrency remembers next to nothing. The set of placed operations enters the key as the exclusive or of
//!   one random 128-bit number each, kept up to date step by step, so no set is ever copied or compared. Two
//!   configurations that differ share a key with a chance of about 2^-128 a pair.
//! - **A read that fits is placed at once**, without alternatives: wherever else it stands in an explanation, it
//!   can be moved here. This is for what leaves *every* state as it is ([`Class::Read`](crate::spec::Class)): a
//!   write of the value that is there already may be needed again later.
//! - **Of identical open operations the one that ends first goes first**; any explanation can be rewritten so.
//! - **Operations in doubt are placed last**, only when nothing else leads on, and by breadth-first closure
//!   over the states they lead to. A configuration that failed fails again wherever what it lacked is used up as well
//!   (`failures`), which keeps *n* of them from costing 2^n.
//! - **A value that is still to be observed and that nothing can make again is not overwritten.** This needs
//!   true classes ([`Spec::class`]) and is off where a class is opaque; it needs no unique values, since it
//!   counts who can still make the value.
//! - **A state from which what is still to be observed cannot grow is left at once** (`growth`), where operations add to
//!   what they find. Neither does this need unique values.
//! - **States that nothing will observe before they are overwritten are one state** (`window`), and no operation in doubt
//!   leads to one.
//! - **A write in doubt whose value nothing will observe is not placed.** Without it the same order explains
//!   the rest.
//!
//! Left out: lower bounds better than the first end; transactions, whose results concern several values.

use super::{Answer, Entry, HardSpot, Partition, Search};
use crate::spec::Spec;

mod closure;
mod failures;
mod growth;
mod opens;
mod window;

use super::prepare::{NONE, Prepared, Required};
use failures::{Failures, Lack};
use growth::Growth;
use opens::Opens;
use window::Window;

/// Stands for all states that nothing will observe, instead of their fingerprints.
const DEAD: u128 = 0x5bd1_e995_9e37_79b9_c2b2_ae3d_27d4_eb4f;

/// A depth-first search over one partition.
#[derive(Debug)]
pub struct Wgl<'a, S: Spec> {
    partition: &'a Partition<S>,
    prepared: Prepared,
    /// What is known of values that are reached by growing.
    growth: Option<Growth>,
    /// Which states can still be observed, where that is known.
    window: Option<Window>,
    opens: Opens,
    /// The path: configuration by configuration, the last one being explored.
    path: Vec<Frame<S>>,
    /// By class of operations in doubt: how many are placed.
    used: Vec<u32>,
    /// The classes of which some are placed, in the order in which the first of each was.
    used_classes: Vec<u32>,
    failures: Failures,
    answer: Option<Answer>,
    steps: u64,
    deepest: usize,
    hard_spot: HardSpot,
    /// A closure grew beyond all bounds; the search cannot go on, and says so as a lack of memory.
    overflowed: bool,
    // Reused, so that a step allocates nothing.
    open: Vec<u32>,
    twin_seen: Vec<u64>,
    look: u64,
}

/// One configuration on the path and what was tried from it.
#[derive(Debug)]
struct Frame<S> {
    state: S,
    /// Number of the value that the state holds, or `NONE` where values are not followed.
    value: u32,
    /// Exclusive or of the numbers of the required operations placed.
    placed: u128,
    tried: Tried,
    /// What was missed so far.
    lack: Lack,
    /// What led to the next configuration on the path.
    taken: Option<Taken>,
}

/// How far the alternatives of a configuration were tried. Required operations are numbered and tried in order of their
/// ends, so a number says which are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// Nothing.
    Nothing,
    /// Required operations below this one.
    Directly { below: u32 },
    /// After operations in doubt that lead to the `node`-th node of the closure: those below this one.
    InDoubt { node: usize, below: u32 },
    /// Everything, or the one thing that needs no alternative.
    All { forced: bool },
}

/// The operations placed in one step along the path.
#[derive(Debug)]
struct Taken {
    /// Classes of operations in doubt, placed first.
    in_doubt: Vec<u32>,
    /// Then this required one.
    required: u32,
}

impl<'a, S: Spec> Wgl<'a, S> {
    /// A search that has not begun.
    pub fn new(partition: &'a Partition<S>) -> Self {
        let prepared = Prepared::new(partition);
        let spans: Vec<(u64, u64)> = prepared
            .required
            .iter()
            .map(|operation| (partition.entries[operation.entry as usize].call, operation.end))
            .collect();
        let phantom = prepared.values.as_ref().and_then(|values| values.phantom());
        let hard_spot = HardSpot {
            blocked: phantom.and_then(|value| {
                let observer = prepared.required.iter().find(|operation| operation.observes == value);
                observer.map(|operation| operation.entry)
            }),
            ..HardSpot::default()
        };
        let opens = Opens::new(spans);
        Self {
            partition,
            window: Window::new(partition, &prepared.required, &opens),
            growth: Growth::new(&partition.entries),
            opens,
            path: vec![Frame {
                state: S::default(),
                value: prepared.values.as_ref().map_or(NONE, |values| values.initial),
                placed: 0,
                tried: Tried::Nothing,
                lack: Lack::default(),
                taken: None,
            }],
            used: vec![0; prepared.unknown.len()],
            used_classes: Vec::new(),
            failures: Failures::default(),
            answer: phantom.map(|_| Answer::NotLinearizable),
            steps: 0,
            deepest: 0,
            hard_spot,
            overflowed: false,
            open: Vec::new(),
            twin_seen: vec![0; prepared.required.len()],
            look: 0,
            prepared,
        }
    }

    fn entry(&self, r: u32) -> &'a Entry<S> {
        &self.partition.entries[self.required(r).entry as usize]
    }

    fn required(&self, r: u32) -> &Required {
        &self.prepared.required[r as usize]
    }

    /// Puts the required operations that may be placed next into `open`, in order of their ends, of identical
    /// ones only the first. Returns the moment before which a call must lie.
    fn look_around(&mut self) -> u64 {
        self.look += 1;
        self.open.clear();
        for &r in self.opens.last() {
            let seen = &mut self.twin_seen[self.prepared.required[r as usize].twin as usize];
            if std::mem::replace(seen, self.look) != self.look {
                self.open.push(r);
            }
        }
        self.opens.deadline()
    }

    /// Finds the next configuration to go to from the last one on the path, and goes there; false if there is
    /// none left. True as well if the search overflowed, since then nothing is known of this configuration.
    fn go_on(&mut self) -> bool {
        let top = self.path.len() - 1;
        match self.path[top].tried {
            Tried::All { .. } => return false,
            Tried::Nothing => {
                self.steps += 1;
                if let Some(&r) = self.opens.last().iter().find(|&&r| self.is_read_that_fits(r)) {
                    let frame = &mut self.path[top];
                    frame.tried = Tried::All { forced: true };
                    let (state, value) = (frame.state.clone(), frame.value);
                    self.go_to(Vec::new(), r, state, value);
                    return true;
                }
                self.path[top].tried = Tried::Directly { below: 0 };
            }
            Tried::Directly { .. } | Tried::InDoubt { .. } => {}
        }
        let deadline = self.look_around();
        let open = std::mem::take(&mut self.open);
        let went = self.go_on_with(&open, deadline);
        self.open = open;
        went
    }

    fn go_on_with(&mut self, open: &[u32], deadline: u64) -> bool {
        let top = self.path.len() - 1;
        if let Tried::Directly { below } = self.path[top].tried {
            let (base, value) = (self.path[top].state.clone(), self.path[top].value);
            for &r in open.iter().filter(|&&r| r >= below) {
                if let Some((state, value)) = self.try_next(&base, value, &[], r) {
                    self.path[top].tried = Tried::Directly { below: r + 1 };
                    self.go_to(Vec::new(), r, state, value);
                    return true;
                }
            }
            // Node 0 of the closure is the configuration itself.
            self.path[top].tried = Tried::InDoubt { node: 1, below: 0 };
        }
        if let Tried::InDoubt { node, below } = self.path[top].tried
            && !self.prepared.unknown.is_empty()
        {
            let Some(nodes) = self.closure(deadline) else {
                self.overflowed = true;
                return true;
            };
            for (place, from) in nodes.iter().enumerate().skip(node) {
                let below = if place == node { below } else { 0 };
                for &r in open.iter().filter(|&&r| r >= below) {
                    // What would be overwritten at once need not be placed.
                    if place > 0 && self.required(r).overwrites {
                        continue;
                    }
                    if let Some((state, value)) = self.try_next(&from.state, from.value, &from.classes, r) {
                        self.path[top].tried = Tried::InDoubt {
                            node: place,
                            below: r + 1,
                        };
                        self.go_to(from.classes.clone(), r, state, value);
                        return true;
                    }
                }
            }
        }
        self.path[top].tried = Tried::All { forced: false };
        false
    }

    /// Whether a required operation is a read that is legal here.
    fn is_read_that_fits(&self, r: u32) -> bool {
        self.required(r).reads && self.entry(r).step(&mut self.path[self.path.len() - 1].state.clone())
    }

    /// The state and value after placing a required operation in `state`, having placed operations of the
    /// classes `in_doubt`; none if that is illegal or known to lead nowhere.
    fn try_next(&mut self, state: &S, value: u32, in_doubt: &[u32], r: u32) -> Option<(S, u32)> {
        self.steps += 1;
        let mut next = state.clone();
        if !self.entry(r).step(&mut next) {
            return None;
        }
        let Required {
            entry, observes, makes, ..
        } = *self.required(r);
        if let Some(lost) = (self.growth.as_ref()).and_then(|growth| growth.lost_after(&next, entry)) {
            self.note_pinned(lost);
            return None;
        }
        let next_value = if makes == NONE { value } else { makes };
        if next_value != value && self.is_still_needed(value, u32::from(observes == value), in_doubt) {
            self.note_needed(value, in_doubt);
            return None;
        }
        if !self.failures.is_empty() {
            let top = self.path.len() - 1;
            let key = self.path[top].placed ^ self.required(r).number ^ self.number_of(&next, Some(r));
            if let Some(lack) = self.failures.condemns(key, &self.used, in_doubt) {
                self.path[top].lack.note_after(in_doubt, lack);
                return None;
            }
        }
        Some((next, next_value))
    }

    /// Stands for a state of the last configuration, or for one that it leads to by placing `placed`.
    fn number_of(&self, state: &S, placed: Option<u32>) -> u128 {
        match &self.window {
            Some(window) if window.is_dead(state, &self.opens, placed) => DEAD,
            _ => state.fingerprint(),
        }
    }

    /// Notes that the last configuration would go on if a write in doubt were left that may lead to a pinned value.
    fn note_pinned(&mut self, number: u32) {
        let Some(growth) = &self.growth else { return };
        let top = self.path.len() - 1;
        for &class in &self.used_classes {
            let unknown = &self.prepared.unknown[class as usize];
            if growth.leads(unknown.entries[0], number) {
                self.path[top].lack.note(class, unknown.entries.len() as u32);
            }
        }
    }

    /// Notes that the last configuration would go on if an operation in doubt were left that makes `value` again, once
    /// operations of the classes `in_doubt` are placed.
    fn note_needed(&mut self, value: u32, in_doubt: &[u32]) {
        let top = self.path.len() - 1;
        for (class, unknown) in (0u32..).zip(&self.prepared.unknown) {
            if unknown.makes == value {
                let on_the_way = in_doubt.iter().filter(|&&other| other == class).count();
                let used = unknown.entries.len() - on_the_way;
                self.path[top].lack.note(class, used as u32);
            }
        }
    }

    /// Whether required operations, beyond `observed` of them, are still to observe a value that nothing can make
    /// again once operations of the classes `in_doubt` are placed.
    fn is_still_needed(&self, value: u32, observed: u32, in_doubt: &[u32]) -> bool {
        self.prepared.values.as_ref().is_some_and(|values| {
            let made = || {
                let makes = |class: &&u32| self.prepared.unknown[**class as usize].makes == value;
                in_doubt.iter().filter(makes).count() as u32
            };
            values.observers[value as usize] > observed && values.makers[value as usize] == made()
        })
    }

    /// Places operations and makes the configuration after them the last one on the path.
    fn go_to(&mut self, in_doubt: Vec<u32>, r: u32, state: S, value: u32) {
        for &class in &in_doubt {
            let makes = self.prepared.unknown[class as usize].makes;
            if let Some(values) = self.prepared.values.as_mut().filter(|_| makes != NONE) {
                values.makers[makes as usize] -= 1;
            }
            let used = &mut self.used[class as usize];
            if *used == 0 {
                self.used_classes.push(class);
            }
            if let Some(growth) = &mut self.growth {
                growth.place(self.prepared.unknown[class as usize].entries[*used as usize]);
            }
            *used += 1;
        }
        let Required {
            entry, observes, makes, ..
        } = *self.required(r);
        if let Some(growth) = &mut self.growth {
            growth.place(entry);
        }
        if let Some(values) = &mut self.prepared.values {
            if observes != NONE {
                values.observers[observes as usize] -= 1;
            }
            if makes != NONE {
                values.makers[makes as usize] -= 1;
            }
        }
        let top = self.path.len() - 1;
        self.opens.place(r, matches!(self.path[top].tried, Tried::All { .. }));
        let placed = self.path[top].placed ^ self.required(r).number;
        self.path[top].taken = Some(Taken { in_doubt, required: r });
        self.path.push(Frame {
            state,
            value,
            placed,
            tried: Tried::Nothing,
            lack: Lack::default(),
            taken: None,
        });
    }

    /// Leaves the last configuration on the path, which failed; false if it was the first.
    fn back_up(&mut self) -> bool {
        self.note_dead_end();
        let Some(frame) = self.path.pop() else { return false };
        if frame.tried != (Tried::All { forced: true }) {
            let key = frame.placed ^ self.number_of(&frame.state, None);
            self.failures.remember(key, &frame.lack);
        }
        let Some(taken) = self.path.last_mut().and_then(|frame| frame.taken.take()) else {
            return false;
        };
        if let Some(before) = self.path.last_mut() {
            before.lack.note_after(&taken.in_doubt, frame.lack.as_slice());
        }
        let r = taken.required;
        self.opens.take_back();
        let Required {
            entry, observes, makes, ..
        } = *self.required(r);
        if let Some(growth) = &mut self.growth {
            growth.take_back(entry);
        }
        if let Some(values) = &mut self.prepared.values {
            if observes != NONE {
                values.observers[observes as usize] += 1;
            }
            if makes != NONE {
                values.makers[makes as usize] += 1;
            }
        }
        for &class in taken.in_doubt.iter().rev() {
            let makes = self.prepared.unknown[class as usize].makes;
            if let Some(values) = self.prepared.values.as_mut().filter(|_| makes != NONE) {
                values.makers[makes as usize] += 1;
            }
            let used = &mut self.used[class as usize];
            *used -= 1;
            if let Some(growth) = &mut self.growth {
                growth.take_back(self.prepared.unknown[class as usize].entries[*used as usize]);
            }
            if *used == 0 {
                let last = self.used_classes.pop();
                assert_eq!(last, Some(class), "classes are given back in the order they were taken");
            }
        }
        true
    }

    /// Whether placing an operation of this class can still make a difference: something not yet placed
    /// observes what it makes, or may compare with it.
    fn may_help(&self, class: u32) -> bool {
        let makes = self.prepared.unknown[class as usize].makes;
        match &self.prepared.values {
            Some(values) if makes != NONE => {
                values.observers[makes as usize] > 0 || values.compared_in_doubt[makes as usize] || values.any_but_one
            }
            _ => true,
        }
    }

    fn note_dead_end(&mut self) {
        if self.path.len() <= self.deepest {
            return;
        }
        self.deepest = self.path.len();
        let deadline = self.opens.deadline();
        self.hard_spot = HardSpot {
            blocked: self.opens.last().first().map(|&r| self.required(r).entry),
            open: self.opens.last().len(),
            in_doubt: (0..self.prepared.unknown.len())
                .map(|class| {
                    self.available(class, deadline)
                        .saturating_sub(self.used[class] as usize)
                })
                .sum(),
        };
    }

    /// Operations of a class that begin before `deadline`.
    fn available(&self, class: usize, deadline: u64) -> usize {
        self.prepared.unknown[class]
            .calls
            .partition_point(|&call| call < deadline)
    }

    /// The order along the path, as places in the partition's entries.
    fn order(&self) -> Vec<u32> {
        let mut used = vec![0usize; self.prepared.unknown.len()];
        let mut order = Vec::with_capacity(self.prepared.required.len());
        for taken in self.path.iter().filter_map(|frame| frame.taken.as_ref()) {
            for &class in &taken.in_doubt {
                order.push(self.prepared.unknown[class as usize].entries[used[class as usize]]);
                used[class as usize] += 1;
            }
            order.push(self.required(taken.required).entry);
        }
        order
    }
}

impl<S: Spec> Search for Wgl<'_, S> {
    fn advance(&mut self, steps: u64) -> Option<Answer> {
        let until = self.steps.saturating_add(steps);
        while self.answer.is_none() && !self.overflowed {
            // The first frame has nothing placed, each further one a required operation more.
            if self.path.len() > self.prepared.required.len() {
                self.answer = Some(Answer::Linearizable(self.order()));
            } else if !self.go_on() && !self.back_up() {
                self.answer = Some(Answer::NotLinearizable);
            } else if self.steps >= until {
                return None;
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
        let frames = self.path.capacity() * size_of::<Frame<S>>();
        let operations = self.prepared.required.len() * size_of::<Required>();
        self.failures.memory_bytes() + (frames + operations + self.opens.memory_bytes()) as u64
    }

    fn hard_spot(&self) -> HardSpot {
        self.hard_spot
    }
}
