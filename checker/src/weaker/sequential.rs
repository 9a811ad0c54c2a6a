//! Sequential consistency (Lamport, 1979): one order of all operations on all keys, in which each client's come in
//! their order.
//!
//! It is not local, so nothing is taken apart by key, and in general hard; the search has a budget. It goes depth first
//! over how far each client has come. What makes it quick on most histories: a read that fits is done at once, since it
//! changes nothing, and a value is not overwritten while somebody is yet to read it, since no value comes back.

use std::collections::{BTreeMap, HashSet};

use tribunal_history::ProcessId;
use xxhash_rust::xxh3::xxh3_128;

use super::values::{Action, Values};
use crate::budget::{Budget, Limit};

/// What the search came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This order of places in [`Values::done`] explains everything.
    Order(Vec<usize>),
    /// None does; the operations that could not be placed where the search came furthest.
    None(Vec<usize>),
    /// The budget ran out.
    Open(Limit),
}

/// Operations of one client that wait for each other.
struct Lane {
    operations: Vec<usize>,
    /// It waits until this lane has come so far.
    after: Option<(usize, usize)>,
}

struct Frame {
    /// Lanes whose next operation writes and may be done.
    choices: Vec<usize>,
    next: usize,
    /// What was done since the frame before: the lane, and the value that its key held.
    log: Vec<(usize, u32)>,
}

struct Search<'a> {
    values: &'a Values,
    lanes: Vec<Lane>,
    positions: Vec<usize>,
    held: Vec<u32>,
    /// By key and value: how many are yet to observe it.
    readers: Vec<Vec<u32>>,
    placed: usize,
    known: HashSet<u128>,
}

/// Steps between two looks at the clock.
const STEPS_AT_ONCE: u64 = 1 << 12;

/// Looks for an order.
pub(super) fn search(values: &Values, budget: &mut Budget) -> Answer {
    let mut search = Search::new(values);
    let mut furthest = (0, Vec::new());
    let first = search.read_all();
    let mut frames = vec![Frame {
        choices: search.choices(),
        next: 0,
        log: first,
    }];
    let mut steps = 0u64;
    loop {
        if search.placed == values.done.len() {
            return Answer::Order(search.order(&frames));
        }
        if search.placed >= furthest.0 {
            furthest = (search.placed, search.heads());
        }
        steps += 1;
        if steps.is_multiple_of(STEPS_AT_ONCE) {
            let memory = search.known.len() as u64 * 40 + frames.len() as u64 * 64;
            budget.spend(STEPS_AT_ONCE);
            if let Some(limit) = budget.reached(memory) {
                return Answer::Open(limit);
            }
        }
        let Some(frame) = frames.last_mut() else {
            return Answer::None(furthest.1);
        };
        let Some(&lane) = frame.choices.get(frame.next) else {
            let log = std::mem::take(&mut frame.log);
            frames.pop();
            search.undo(&log);
            continue;
        };
        frame.next += 1;
        let mut log = vec![search.place(lane)];
        log.extend(search.read_all());
        if search.is_new() {
            let choices = search.choices();
            frames.push(Frame { choices, next: 0, log });
        } else {
            search.undo(&log);
        }
    }
}

impl<'a> Search<'a> {
    fn new(values: &'a Values) -> Self {
        let mut lanes: Vec<Lane> = Vec::new();
        let mut of_process: BTreeMap<ProcessId, usize> = BTreeMap::new();
        let mut readers: Vec<Vec<u32>> = values.values.iter().map(|all| vec![0; all.len()]).collect();
        for (place, done) in values.done.iter().enumerate() {
            if let Some(value) = done.action.observed() {
                readers[done.key as usize][value as usize] += 1;
            }
            let lane = *of_process.entry(done.process).or_insert_with(|| {
                lanes.push(Lane {
                    operations: Vec::new(),
                    after: None,
                });
                lanes.len() - 1
            });
            if done.is_certain {
                lanes[lane].operations.push(place);
            } else {
                // What its client does next does not wait for what is in doubt.
                let after = Some((lane, lanes[lane].operations.len()));
                lanes.push(Lane {
                    operations: vec![place],
                    after,
                });
            }
        }
        Self {
            positions: vec![0; lanes.len()],
            held: vec![0; values.keys.len()],
            values,
            lanes,
            readers,
            placed: 0,
            known: HashSet::new(),
        }
    }

    /// The next operation of a lane, if there is one that waits for no other lane.
    fn head(&self, lane: usize) -> Option<usize> {
        let of = &self.lanes[lane];
        let waits = of.after.is_some_and(|(other, until)| self.positions[other] < until);
        of.operations.get(self.positions[lane]).copied().filter(|_| !waits)
    }

    fn heads(&self) -> Vec<usize> {
        (0..self.lanes.len()).filter_map(|lane| self.head(lane)).collect()
    }

    fn fits(&self, place: usize) -> bool {
        let done = &self.values.done[place];
        let held = self.held[done.key as usize];
        if done.action.observed().is_some_and(|value| value != held) {
            return false;
        }
        let left = self.readers[done.key as usize][held as usize];
        match done.action {
            Action::Read(_) => true,
            Action::Write(_) => left == 0,
            Action::Update(..) => left == 1,
        }
    }

    /// Does the next operation of a lane; what is needed to take it back.
    fn place(&mut self, lane: usize) -> (usize, u32) {
        let done = self.values.done[self.lanes[lane].operations[self.positions[lane]]];
        let key = done.key as usize;
        let before = self.held[key];
        if let Some(value) = done.action.observed() {
            self.readers[key][value as usize] -= 1;
        }
        if let Some(value) = done.action.made() {
            self.held[key] = value;
        }
        self.positions[lane] += 1;
        self.placed += 1;
        (lane, before)
    }

    fn undo(&mut self, log: &[(usize, u32)]) {
        for &(lane, before) in log.iter().rev() {
            self.positions[lane] -= 1;
            self.placed -= 1;
            let done = self.values.done[self.lanes[lane].operations[self.positions[lane]]];
            let key = done.key as usize;
            self.held[key] = before;
            if let Some(value) = done.action.observed() {
                self.readers[key][value as usize] += 1;
            }
        }
    }

    /// Does every read that fits, as long as there is one.
    fn read_all(&mut self) -> Vec<(usize, u32)> {
        let mut log = Vec::new();
        loop {
            let before = log.len();
            for lane in 0..self.lanes.len() {
                while let Some(place) = self.head(lane) {
                    let is_read = matches!(self.values.done[place].action, Action::Read(_));
                    if !is_read || !self.fits(place) {
                        break;
                    }
                    log.push(self.place(lane));
                }
            }
            if log.len() == before {
                return log;
            }
        }
    }

    /// The lanes whose next operation may be done, what began first before the others.
    fn choices(&self) -> Vec<usize> {
        let mut choices: Vec<(usize, usize)> = (0..self.lanes.len())
            .filter_map(|lane| Some((self.head(lane)?, lane)))
            .filter(|(place, _)| self.fits(*place))
            .collect();
        choices.sort_unstable();
        choices.into_iter().map(|(_, lane)| lane).collect()
    }

    /// Whether nobody has been here before.
    fn is_new(&mut self) -> bool {
        let positions = self
            .positions
            .iter()
            .flat_map(|position| (*position as u32).to_le_bytes());
        let bytes: Vec<u8> = positions
            .chain(self.held.iter().flat_map(|held| held.to_le_bytes()))
            .collect();
        self.known.insert(xxh3_128(&bytes))
    }

    fn order(&self, frames: &[Frame]) -> Vec<usize> {
        let mut positions = vec![0; self.lanes.len()];
        let all = frames.iter().flat_map(|frame| &frame.log);
        all.map(|(lane, _)| {
            let place = self.lanes[*lane].operations[positions[*lane]];
            positions[*lane] += 1;
            place
        })
        .collect()
    }
}

/// Replays an order: everything that happened is in it once, each client's operations in their order, and every key
/// holds what was observed.
pub(super) fn replay(values: &Values, order: &[usize]) -> Result<(), String> {
    let mut placed = vec![false; values.done.len()];
    let mut held: BTreeMap<u32, u32> = BTreeMap::new();
    let mut last: BTreeMap<ProcessId, usize> = BTreeMap::new();
    let before: Vec<Option<usize>> = (0..)
        .zip(&values.done)
        .map(|(place, done)| match done.is_certain {
            true => last.insert(done.process, place),
            false => last.get(&done.process).copied(),
        })
        .collect();
    for &place in order {
        let done = values.done.get(place).ok_or("the order names what does not exist")?;
        if std::mem::replace(&mut placed[place], true) {
            return Err(format!("the order places operation {place} twice"));
        }
        if let Some(before) = before[place].filter(|before| !placed[*before]) {
            return Err(format!(
                "the order turns operations {before} and {place} of one client around"
            ));
        }
        let held = held.entry(done.key).or_insert(0);
        if done.action.observed().is_some_and(|value| value != *held) {
            return Err(format!("operation {place} does not find what it found"));
        }
        if let Some(value) = done.action.made() {
            *held = value;
        }
    }
    match placed.iter().position(|placed| !placed) {
        Some(missing) => Err(format!("the order leaves out operation {missing}")),
        None => Ok(()),
    }
}
