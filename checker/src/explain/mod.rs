//! Turns a counterexample into a finding that a person understands: its name, a sentence, the circumstances, and
//! why each operation that does not fit does not fit.
//!
//! The verdict is made by now. The names given here are the usual ones for what is seen; they describe the
//! counterexample and change nothing about it.

use tribunal_history::{AnomalyClass, Blocked, DrawnOperation, Ending, Event, Finding, Minimised, Operation, Value};

use tribunal_history::finding::Placed;

use crate::consistency::Consistency;
use crate::linearizability::{Entry, Partition, brute};
use crate::minimise::Minimal;
use crate::spec::{Class, Recorded};

mod before;
pub(crate) mod circumstances;
mod lineage;
mod sentence;
mod story;

use story::{Fate, Story};

/// Everything that an explanation draws on.
#[derive(Debug)]
pub struct Case<'a, S: Recorded> {
    /// The whole history.
    pub events: &'a [Event],
    /// Its operations; the entries' ids are places in it.
    pub operations: &'a [Operation],
    /// The partition that nothing explains.
    pub partition: &'a Partition<S>,
    /// What is left of it.
    pub minimal: &'a Minimal<S>,
}

/// A finding about a model that is no object's, such as isolation: what it is, under which key, and the sentence that says
/// so are known already; the circumstances and the times follow from what is drawn.
pub(crate) fn told(
    events: &[Event],
    model: Consistency,
    (class, key, sentence): (AnomalyClass, Option<String>, String),
    drawn: Vec<DrawnOperation>,
    minimised: Minimised,
) -> Finding {
    let begins = drawn.iter().map(|operation| operation.invoked_ns);
    let begun_ns = begins.clone().min().unwrap_or_default();
    let last_ns = begins.max().unwrap_or_default();
    let ends = drawn.iter().filter_map(|operation| operation.completed_ns);
    Finding {
        property: model.name().to_owned(),
        class,
        key,
        sentence,
        context: circumstances::context(events, begun_ns, begun_ns, last_ns),
        minimised,
        time_ns: ends.max().unwrap_or(last_ns),
        operations: drawn,
        state_before: Value::Null,
        longest_legal: Vec::new(),
        blocked: Vec::new(),
        picture: None,
    }
}

impl<'a, S: Recorded> Case<'a, S> {
    /// The recorded operation of an entry.
    fn recorded(&self, entry: &Entry<S>) -> &'a Operation {
        &self.operations[entry.id]
    }

    /// The key for people.
    fn key(&self) -> &str {
        self.partition.key.as_deref().unwrap_or("the object")
    }
}

fn class<S: Recorded>(entry: &Entry<S>) -> Class {
    S::class(&entry.op, entry.ret.as_ref())
}

/// The value that the object held when the operation took effect, or from then on.
fn shown<S: Recorded>(entry: &Entry<S>) -> Option<Value> {
    let class = class(entry);
    class.made().or(class.observed()).cloned()
}

/// Most configurations walked for the longest legal order.
const WALK_MAX: usize = 1 << 16;

/// Most operations for which the longest legal order is worked out; more than that nobody reads.
const WALK_OPERATIONS_MAX: usize = 16;

/// The finding of a case.
pub fn finding<S: Recorded>(case: &Case<'_, S>) -> Finding {
    let story = story::tell(case);
    let mut ids: Vec<usize> = case.minimal.entries.iter().map(|entry| entry.id).collect();
    if let Story::FailedTookEffect { failed, .. } = story {
        // It is no part of the proof, since a definite failure is left out of every search, but it is the point.
        ids.push(failed);
    }
    ids.sort_by_key(|&id| case.operations[id].invoked);
    let (longest_legal, blocked) = order_and_refusals(case, &ids);
    let drawn: Vec<&Operation> = ids.iter().map(|&id| &case.operations[id]).collect();
    let time_ns = case
        .minimal
        .entries
        .iter()
        .filter(|entry| entry.is_required())
        .filter_map(|entry| case.recorded(entry).completed_ns)
        .max()
        .unwrap_or_default();
    let begun_ns = drawn
        .iter()
        .map(|operation| operation.invoked_ns)
        .min()
        .unwrap_or(time_ns);
    Finding {
        property: "linearizable".to_owned(),
        class: story.class(case),
        key: case.partition.key.clone(),
        sentence: sentence::sentence(case, &story),
        context: circumstances::context(
            case.events,
            begun_ns,
            story.since_ns(case).unwrap_or(begun_ns),
            story.moment_ns(case).unwrap_or(time_ns),
        ),
        operations: drawn.into_iter().map(draw::<S>).collect(),
        state_before: before::state_before(case, &ids),
        longest_legal,
        blocked,
        minimised: Minimised {
            from: case.partition.entries.len(),
            to: ids.len(),
            proved_again: case.minimal.proved_again == Some(true),
        },
        time_ns,
        picture: None,
    }
}

/// An operation as a finding has it.
pub(crate) fn draw<S: Recorded>(operation: &Operation) -> DrawnOperation {
    DrawnOperation {
        process: operation.process,
        node: operation.node,
        function: operation.function.clone(),
        input: operation.input.clone(),
        output: operation.output.clone(),
        label: S::label(operation),
        ending: operation.ending,
        cause: operation.cause.clone(),
        invoked: operation.invoked,
        invoked_ns: operation.invoked_ns,
        completed: operation.completed,
        completed_ns: operation.completed_ns,
        revision: operation.revision,
        term: operation.term,
    }
}

/// The longest legal order by place in `ids`, and why the required operations that are not in it do not fit at
/// its end.
fn order_and_refusals<S: Recorded>(case: &Case<'_, S>, ids: &[usize]) -> (Vec<Placed>, Vec<Blocked>) {
    let entries = &case.minimal.entries;
    if entries.len() > WALK_OPERATIONS_MAX {
        return (Vec::new(), Vec::new());
    }
    let Some(order) = brute::longest_legal_order(entries, WALK_MAX) else {
        return (Vec::new(), Vec::new());
    };
    let place = |entry: &Entry<S>| {
        ids.iter()
            .position(|&id| id == entry.id)
            .expect("every entry of the counterexample is drawn")
    };
    let mut state = S::default();
    let placed: Vec<Placed> = order
        .iter()
        .map(|&at| {
            let legal = entries[at].step(&mut state);
            assert!(legal, "the longest legal order is legal");
            Placed {
                operation: place(&entries[at]),
                state: state.value(),
            }
        })
        .collect();
    let left: Vec<&Entry<S>> = (0..entries.len())
        .filter(|at| !order.contains(at))
        .map(|at| &entries[at])
        .filter(|entry| entry.is_required())
        .collect();
    let mut blocked: Vec<Blocked> = left
        .iter()
        .filter_map(|entry| {
            let first = left.iter().find(|other| other.precedes(entry));
            let why = match (first, &entry.ret) {
                (Some(first), _) => {
                    let first = S::label(case.recorded(first));
                    format!("it began after {first} had ended, which does not fit")
                }
                (None, Some(ret)) => state.refusal(&entry.op, ret)?,
                (None, None) => return None,
            };
            Some(Blocked {
                operation: place(entry),
                why,
            })
        })
        .collect();
    blocked.sort_by_key(|blocked| blocked.operation);
    (placed, blocked)
}

/// Nanoseconds since the start of the run as people read them.
pub fn seconds(time_ns: u64) -> String {
    format!("{:.3} s", time_ns as f64 / 1e9)
}

impl Story {
    /// The usual name.
    fn class<S: Recorded>(&self, case: &Case<'_, S>) -> AnomalyClass {
        match self {
            Self::Phantom { .. } => AnomalyClass::PhantomValue,
            Self::FailedTookEffect { .. } => AnomalyClass::FailedTookEffect,
            Self::ExecutedTwice { .. } => AnomalyClass::ExecutedTwice,
            Self::Replaced { fate, .. } => match fate {
                Fate::Lost => AnomalyClass::LostWrite,
                Fate::Overwritten => AnomalyClass::LostUpdate,
                Fate::Hidden => AnomalyClass::StaleRead,
            },
            Self::LostUpdate { .. } => AnomalyClass::LostUpdate,
            Self::Crossed { one, other } => {
                let is_read = |id: usize| {
                    let mut entries = case.minimal.entries.iter();
                    entries.any(|entry| entry.id == id && matches!(class(entry), Class::Read(_)))
                };
                if is_read(one.late) || is_read(other.late) {
                    AnomalyClass::StaleRead
                } else {
                    AnomalyClass::LostUpdate
                }
            }
            Self::Other => AnomalyClass::NotLinearizable,
        }
    }

    /// When it happened: the beginning of the operation that does not fit.
    fn moment_ns<S: Recorded>(&self, case: &Case<'_, S>) -> Option<u64> {
        let id = match self {
            Self::Phantom { observer, .. }
            | Self::FailedTookEffect { observer, .. }
            | Self::Replaced { observer, .. } => *observer,
            Self::ExecutedTwice { operation, .. } => *operation,
            // The effect of one in doubt was seen later.
            Self::LostUpdate { second, .. } if case.operations[*second].ending == Ending::Info => return None,
            Self::LostUpdate { second, .. } => *second,
            Self::Crossed { other, .. } => other.late,
            Self::Other => return None,
        };
        Some(case.operations[id].invoked_ns)
    }

    /// Since when a fault may have had a part in it: the beginning of what was lost, where that is known.
    fn since_ns<S: Recorded>(&self, case: &Case<'_, S>) -> Option<u64> {
        let id = match self {
            Self::Replaced { newer, .. } => *newer,
            Self::LostUpdate { first, .. } => *first,
            _ => return None,
        };
        Some(case.operations[id].invoked_ns)
    }
}
