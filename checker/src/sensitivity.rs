//! What a history that holds could have shown: the same history with a defect put in, judged again.
//!
//! After a pass, the order that explains the history is changed as three defects would have changed it, and the answers that
//! clients would have got then are put in place of theirs:
//!
//! - **stale read**: a read answers from before a change that had ended when it began;
//! - **lost acknowledgement**: a change that was acknowledged never took effect, and whoever looked later did not find it;
//! - **duplicated effect**: a change takes effect again, after a later one.
//!
//! Each history made so is judged by an engine. It was *caught* if nothing explains it. One that is not caught shows where nobody looked: a
//! defect there would have gone unnoticed. This says how much a pass is worth, and changes nothing of it.
//!
//! An etcd is judged again by its revisions, and answers as much as its clients had recorded. Transactions have defects of
//! their own: see [`Mutation::OF_TRANSACTIONS`].

use std::collections::BTreeSet;

use tribunal_history::operation::pair;
use tribunal_history::{Ending, Event, Phase, Seq};

use crate::budget::Budget;
use crate::judge::{JudgeError, Options, partitions};
use crate::linearizability::rounds::{Decision, decide};
use crate::linearizability::{Entry, Partition};
use crate::revisions;
use crate::spec::{
    CasRegister, Counter, EtcdKv, FifoQueue, Kv, MultiRegister, Mutex, Recorded, ReentrantMutex, Register, Set,
    UniqueIds, UnorderedQueue,
};
use crate::transactions::LIST_APPEND;

mod transactions;

/// A defect that is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// A read answers from the past.
    StaleRead,
    /// An acknowledged change never took effect.
    LostAcknowledgement,
    /// A change takes effect twice.
    DuplicatedEffect,
    /// A change that took effect was said to have failed.
    FalseFailure,
}

impl Mutation {
    /// Those that are put into histories of objects.
    pub const OF_OBJECTS: [Self; 3] = [Self::StaleRead, Self::LostAcknowledgement, Self::DuplicatedEffect];

    /// Those that are put into histories of transactions, where every element is appended once anyway.
    pub const OF_TRANSACTIONS: [Self; 3] = [Self::StaleRead, Self::LostAcknowledgement, Self::FalseFailure];

    /// In words, of several.
    pub fn title(self) -> &'static str {
        match self {
            Self::StaleRead => "stale reads",
            Self::LostAcknowledgement => "lost acknowledgements",
            Self::DuplicatedEffect => "duplicated effects",
            Self::FalseFailure => "false failures",
        }
    }
}

/// How many defects of one kind were put in, and what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught {
    /// The kind.
    pub mutation: Mutation,
    /// Histories that were made.
    pub tried: usize,
    /// Those that nothing explains.
    pub caught: usize,
    /// Those that were too hard to judge in the time.
    pub undecided: usize,
}

impl Caught {
    fn none(mutation: Mutation) -> Self {
        Self {
            mutation,
            tried: 0,
            caught: 0,
            undecided: 0,
        }
    }
}

/// What a history could have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensitivity {
    /// By kind of defect.
    pub caught: Vec<Caught>,
    /// Objects; lists, where transactions are on several.
    pub keys: usize,
    /// Keys that nobody read after the faults were healed; none if the history has no such moment, and where keys are not
    /// objects of their own.
    pub unread_after_heal: Option<Vec<String>>,
}

/// Puts in up to `each` defects of each kind, as far as the options allow. None if the history does not hold, or cannot be decided
/// within them, or if there is nothing of the kind for the specification.
pub fn sensitivity(
    specification: &str,
    events: &[Event],
    each: usize,
    options: &Options,
) -> Result<Option<Sensitivity>, JudgeError> {
    match specification {
        CasRegister::NAME => of::<CasRegister>(events, each, options),
        Counter::NAME => of::<Counter>(events, each, options),
        EtcdKv::NAME => of_decided::<EtcdKv>(events, each, options, &|partitions, budget| {
            revisions::decisions(partitions, options.owns_store, budget)
        }),
        FifoQueue::NAME => of::<FifoQueue>(events, each, options),
        Kv::NAME => of::<Kv>(events, each, options),
        LIST_APPEND => transactions::of_lists(events, each, options),
        MultiRegister::NAME => of::<MultiRegister>(events, each, options),
        Mutex::NAME => of::<Mutex>(events, each, options),
        ReentrantMutex::NAME => of::<ReentrantMutex>(events, each, options),
        Register::NAME => of::<Register>(events, each, options),
        Set::NAME => of::<Set>(events, each, options),
        UniqueIds::NAME => of::<UniqueIds>(events, each, options),
        UnorderedQueue::NAME => of::<UnorderedQueue>(events, each, options),
        _ => Ok(None),
    }
}

/// The same for a specification of your own.
pub fn of<S: Recorded>(events: &[Event], each: usize, options: &Options) -> Result<Option<Sensitivity>, JudgeError> {
    of_decided::<S>(events, each, options, &|partitions, budget| {
        decide(partitions, budget).decisions
    })
}

/// Decides partitions within a budget.
type Decide<'a, S> = dyn Fn(&[Partition<S>], &mut Budget) -> Vec<Decision> + 'a;

fn of_decided<S: Recorded>(
    events: &[Event],
    each: usize,
    options: &Options,
    decide: &Decide<'_, S>,
) -> Result<Option<Sensitivity>, JudgeError> {
    let operations = pair(events)?;
    let partitions = partitions::<S>(&operations)?;
    let mut budget = Budget::new(options.steps, options.time, options.memory_bytes);
    let mut explained: Vec<Explained<'_, S>> = Vec::with_capacity(partitions.len());
    let decisions = decide(&partitions, &mut budget);
    for (partition, decision) in partitions.iter().zip(decisions) {
        match decision {
            Decision::Linearizable(order) => explained.push(Explained { partition, order }),
            _ => return Ok(None),
        }
    }
    let caught = Mutation::OF_OBJECTS.map(|mutation| tried(&explained, mutation, each, decide, &mut budget));
    let healed = events.iter().find_map(|event| match event {
        Event::Phase(phase) if phase.phase == Phase::Heal => Some(phase.seq),
        _ => None,
    });
    let read_after = |healed: Seq| -> BTreeSet<&str> {
        let reads = partitions.iter().filter(|partition| {
            partition.entries.iter().any(|entry| {
                entry.call > healed.0
                    && operations[entry.id].ending == Ending::Ok
                    && entry.ret.as_ref().is_some_and(|ret| S::observes(&entry.op, ret))
            })
        });
        reads.filter_map(|partition| partition.key.as_deref()).collect()
    };
    let has_keys = partitions.iter().any(|partition| partition.key.is_some());
    let unread_after_heal = healed.filter(|_| has_keys).map(|healed| {
        let read = read_after(healed);
        let keys = partitions.iter().filter_map(|partition| partition.key.clone());
        keys.filter(|key| !read.contains(key.as_str())).collect()
    });
    Ok(Some(Sensitivity {
        caught: caught.to_vec(),
        keys: partitions.len(),
        unread_after_heal,
    }))
}

/// A partition with an order that explains it.
struct Explained<'a, S: Recorded> {
    partition: &'a Partition<S>,
    order: Vec<u32>,
}

/// Steps for one history that was made: a few seconds of search at most.
const STEPS_EACH: u64 = 5_000_000;

fn tried<S: Recorded>(
    explained: &[Explained<'_, S>],
    mutation: Mutation,
    each: usize,
    decide: &Decide<'_, S>,
    budget: &mut Budget,
) -> Caught {
    let mut result = Caught::none(mutation);
    let total: usize = explained.iter().map(|one| one.order.len()).sum();
    if total == 0 || each == 0 {
        return result;
    }
    // Evenly over the whole history, and from each of these places on to the first where the defect can be.
    let mut begin = 0;
    let mut due = 0;
    for one in explained {
        let end = begin + one.order.len();
        // The same defect is put in once, however short the history is.
        let mut unused = 0;
        while due < each && due * total / each < end {
            let from = (due * total / each).saturating_sub(begin).max(unused);
            due += 1;
            let Some((place, entries)) = one.mutated(mutation, from) else {
                continue;
            };
            unused = place + 1;
            if budget.reached(0).is_some() {
                return result;
            }
            result.tried += 1;
            let partition = [Partition {
                key: one.partition.key.clone(),
                entries,
            }];
            let mut share = budget.share(STEPS_EACH);
            match decide(&partition, &mut share).first() {
                Some(Decision::NotLinearizable) => result.caught += 1,
                Some(Decision::Linearizable(_)) => {}
                Some(Decision::Unknown { .. }) | None => result.undecided += 1,
            }
            budget.spend(share.steps_used());
        }
        begin = end;
    }
    result
}

impl<S: Recorded> Explained<'_, S> {
    fn entry(&self, place: usize) -> &Entry<S> {
        &self.partition.entries[self.order[place] as usize]
    }

    /// The entries with a defect at the first place from `from` on where it can be, and the place.
    fn mutated(&self, mutation: Mutation, from: usize) -> Option<(usize, Vec<Entry<S>>)> {
        // What the object held before each place; kept from a little before on only, since a history may be long.
        let mut state = S::default();
        let mut past: Vec<S> = Vec::new();
        let begin = from.saturating_sub(LOOK_BACK);
        for place in 0..self.order.len().min(from + LOOK_AHEAD) {
            if place >= begin {
                past.push(state.clone());
            }
            if !self.entry(place).step(&mut state) {
                return None;
            }
            if place < from {
                continue;
            }
            let before = past.last()?;
            let found = match mutation {
                Mutation::StaleRead => self.stale(place, before, &state, &past, begin),
                Mutation::LostAcknowledgement if state != *before && self.entry(place).is_required() => {
                    Some(self.replayed(place + 1, before.clone(), state.clone()))
                }
                Mutation::DuplicatedEffect if state != *before && self.entry(place).is_required() => {
                    self.duplicated(place, state.clone())
                }
                Mutation::LostAcknowledgement | Mutation::DuplicatedEffect | Mutation::FalseFailure => None,
            };
            if let Some(entries) = found {
                return Some((place, entries));
            }
        }
        None
    }

    /// A read at `place` answers from before the last change that had ended when it began and makes a difference to it.
    fn stale(&self, place: usize, before: &S, after: &S, past: &[S], begin: usize) -> Option<Vec<Entry<S>>> {
        let read = self.entry(place);
        let ret = read.ret.as_ref()?;
        if before != after || !read.is_required() || !S::observes(&read.op, ret) {
            return None;
        }
        // Where keys are one object, the last change may have been to another key.
        let told = (begin..place).rev().find_map(|earlier| {
            let old = &past[earlier - begin];
            if *old == past[earlier + 1 - begin] || !self.entry(earlier).precedes(read) {
                return None;
            }
            let mut state = old.clone();
            let told = state.answer_as_told(&read.op, ret);
            (told != *ret && state == *old).then_some(told)
        })?;
        let mut entries = self.partition.entries.clone();
        entries[self.order[place] as usize].ret = Some(told);
        Some(entries)
    }

    /// What was done at `place` is done again, behind the next change after which that makes a difference.
    fn duplicated(&self, place: usize, mut state: S) -> Option<Vec<Entry<S>>> {
        let again = &self.entry(place).op;
        for later in place + 1..self.order.len().min(place + LOOK_AHEAD) {
            let before = state.clone();
            if !self.entry(later).step(&mut state) {
                return None;
            }
            if state == before {
                continue;
            }
            let mut twice = state.clone();
            twice.invoke(again);
            if twice != state {
                return Some(self.replayed(later + 1, twice, state));
            }
        }
        None
    }

    /// The entries with the answers that clients would have got from `place` on, had the object held `other` instead of
    /// `state`, until there is no difference any more.
    fn replayed(&self, place: usize, mut other: S, mut state: S) -> Vec<Entry<S>> {
        let mut entries = self.partition.entries.clone();
        for &at in &self.order[place.min(self.order.len())..] {
            if other == state {
                break;
            }
            let entry = &self.partition.entries[at as usize];
            entry.step(&mut state);
            let mut as_told = other.clone();
            match &entry.ret {
                Some(ret) if !entry.step(&mut as_told) => {
                    entries[at as usize].ret = Some(other.answer_as_told(&entry.op, ret));
                }
                Some(_) => other = as_told,
                None => {
                    other.invoke(&entry.op);
                }
            }
        }
        entries
    }
}

/// How far back a change is looked for that a stale read could be from before.
const LOOK_BACK: usize = 64;

/// How far on a place is looked for where a defect could be.
const LOOK_AHEAD: usize = 64;
