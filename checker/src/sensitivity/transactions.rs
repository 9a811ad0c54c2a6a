//! The same for transactions over lists, judged as strictly serializable.
//!
//! - **stale read**: a transaction that only reads finds one list as it was before the last append that had ended when it began;
//! - **lost acknowledgement**: what a transaction appended is in no list that others read;
//! - **false failure**: a transaction that took effect was said to have failed, so that whoever reads it reads what was aborted.
//!
//! Left out: which lists nobody read after the heal. A workload leaves lists for fresh ones all the time.

use std::collections::HashMap;

use tribunal_history::operation::pair;
use tribunal_history::{Ending, Event, Operation, Outcome, Value};

use super::{Caught, LOOK_AHEAD, Mutation, Sensitivity};
use crate::budget::Budget;
use crate::judge::{JudgeError, Options};
use crate::transactions::judge_list_operations;

/// Puts in up to `each` defects of each kind.
pub(super) fn of_lists(events: &[Event], each: usize, options: &Options) -> Result<Option<Sensitivity>, JudgeError> {
    let mut operations = pair(events)?;
    let options = Options {
        // Only the outcome is of interest.
        findings_max: 1,
        minimise_steps: 1_000,
        consistency: None,
        ..options.clone()
    };
    let judged = judge_list_operations(events, &operations, &options)?;
    if !matches!(judged.outcome, Outcome::Pass | Outcome::Vacuous) {
        return Ok(None);
    }
    let writers = Writers::of(&operations);
    let mut budget = Budget::new(options.steps, options.time, options.memory_bytes);
    let mut caught = Vec::with_capacity(Mutation::OF_TRANSACTIONS.len());
    for mutation in Mutation::OF_TRANSACTIONS {
        let mut result = Caught::none(mutation);
        let mut unused = 0;
        for due in 0..each {
            let from = (due * operations.len() / each).max(unused);
            let Some((place, changed)) = next(&operations, &writers, mutation, from) else {
                continue;
            };
            unused = place + 1;
            if budget.reached(0).is_some() {
                break;
            }
            budget.spend(operations.len() as u64);
            result.tried += 1;
            // Put in, judged, and taken out again: a copy of a long history would cost more.
            let taken_out: Vec<(usize, Operation)> = changed
                .into_iter()
                .map(|(at, changed)| (at, std::mem::replace(&mut operations[at], changed)))
                .collect();
            let judged = judge_list_operations(events, &operations, &options)?;
            for (at, operation) in taken_out {
                operations[at] = operation;
            }
            match judged.outcome {
                Outcome::Fail => result.caught += 1,
                Outcome::Pass | Outcome::Vacuous => {}
                _ => result.undecided += 1,
            }
        }
        caught.push(result);
    }
    Ok(Some(Sensitivity {
        caught,
        keys: judged.partitions,
        unread_after_heal: None,
    }))
}

/// Operations as a defect would have left them, with their places.
type Changed = Vec<(usize, Operation)>;

/// The first place from `from` on where the defect can be.
fn next(operations: &[Operation], writers: &Writers, mutation: Mutation, from: usize) -> Option<(usize, Changed)> {
    (from..operations.len().min(from + LOOK_AHEAD)).find_map(|place| {
        let operation = &operations[place];
        if operation.ending != Ending::Ok {
            return None;
        }
        let changed = match mutation {
            Mutation::StaleRead => vec![(place, stale(operation, operations, writers)?)],
            Mutation::LostAcknowledgement => lost(place, operations)?,
            Mutation::FalseFailure => {
                steps(&operation.input).find(|step| step.appends)?;
                let failed = Operation {
                    ending: Ending::Fail,
                    output: Value::Null,
                    ..operation.clone()
                };
                vec![(place, failed)]
            }
            Mutation::DuplicatedEffect => return None,
        };
        Some((place, changed))
    })
}

/// One of the lists that a transaction read, cut before the last append that had ended when it began.
fn stale(operation: &Operation, operations: &[Operation], writers: &Writers) -> Option<Operation> {
    if steps(&operation.output).any(|step| step.appends) {
        return None;
    }
    let (key, length) = steps(&operation.output).find_map(|step| {
        let list = step.list();
        let writer = |at: usize| writers.writer(step.key, &list[at]);
        let last = (0..list.len()).rev().find(|&at| {
            let end = writer(at).and_then(|writer| operations[writer].completed);
            end.is_some_and(|end| end < operation.invoked)
        })?;
        // A transaction that appended several is missed whole.
        let first = (0..=last).rev().take_while(|&at| writer(at) == writer(last)).last()?;
        Some((step.key, first))
    })?;
    Some(with_lists(operation, |step| {
        (step.key == key).then(|| step.list()[..length.min(step.list().len())].to_vec())
    }))
}

/// All that read what the transaction at `place` appended, without it; none if it appended nothing.
fn lost(place: usize, operations: &[Operation]) -> Option<Changed> {
    let appended: Vec<Step<'_>> = steps(&operations[place].input).filter(|step| step.appends).collect();
    if appended.is_empty() {
        return None;
    }
    let is_lost = |key: &Value, element: &Value| appended.iter().any(|one| one.key == key && one.value == element);
    let shows = |step: Step<'_>| !step.appends && step.list().iter().any(|element| is_lost(step.key, element));
    let readers = operations.iter().enumerate().filter(|(at, operation)| {
        // What it read itself was told by its own transaction.
        *at != place && operation.ending == Ending::Ok && steps(&operation.output).any(shows)
    });
    let changed = readers.map(|(at, reader)| {
        let without = with_lists(reader, |step| {
            let kept = step.list().iter().filter(|element| !is_lost(step.key, element));
            Some(kept.cloned().collect())
        });
        (at, without)
    });
    Some(changed.collect())
}

/// The operation with other lists read, where `list` says so.
fn with_lists(operation: &Operation, list: impl Fn(Step<'_>) -> Option<Vec<Value>>) -> Operation {
    let changed = raw_steps(&operation.output).iter().map(|raw| {
        let read = Step::of(raw).filter(|step| !step.appends);
        match (read.and_then(&list), raw) {
            (Some(list), Value::List(parts)) => {
                Value::List(vec![parts[0].clone(), parts[1].clone(), Value::List(list)])
            }
            _ => raw.clone(),
        }
    });
    Operation {
        output: Value::List(changed.collect()),
        ..operation.clone()
    }
}

/// One step of a transaction.
#[derive(Clone, Copy)]
struct Step<'a> {
    appends: bool,
    key: &'a Value,
    value: &'a Value,
}

impl<'a> Step<'a> {
    fn of(raw: &'a Value) -> Option<Self> {
        let Value::List(parts) = raw else { return None };
        let [function, key, value] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            appends: !matches!(function.as_text(), Some("r" | ":r")),
            key,
            value,
        })
    }

    /// What was read.
    fn list(self) -> &'a [Value] {
        match self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }
}

fn raw_steps(transaction: &Value) -> &[Value] {
    match transaction.get("value").unwrap_or(transaction) {
        Value::List(steps) => steps,
        _ => &[],
    }
}

fn steps(transaction: &Value) -> impl Iterator<Item = Step<'_>> {
    raw_steps(transaction).iter().filter_map(Step::of)
}

/// Who appended which element: places of operations.
struct Writers(HashMap<Value, HashMap<Value, usize>>);

impl Writers {
    fn of(operations: &[Operation]) -> Self {
        let mut writers: HashMap<Value, HashMap<Value, usize>> = HashMap::new();
        for (place, operation) in operations.iter().enumerate() {
            for step in steps(&operation.input).filter(|step| step.appends) {
                let of_key = writers.entry(step.key.clone()).or_default();
                of_key.insert(step.value.clone(), place);
            }
        }
        Self(writers)
    }

    fn writer(&self, key: &Value, element: &Value) -> Option<usize> {
        self.0.get(key)?.get(element).copied()
    }
}
