//! Operations as what they do to values that are all different, whatever specification they are of.

use std::collections::{BTreeMap, BTreeSet};

use tribunal_history::{Ending, Operation, ProcessId, Value};

use crate::linearizability::Partition;
use crate::spec::{Class, Recorded};

/// What an operation does to its key. Values are numbered by key; 0 is the initial one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It held this.
    Read(u32),
    /// It holds this from then on.
    Write(u32),
    /// It held the first and holds the second from then on.
    Update(u32, u32),
}

impl Action {
    /// The value that the key held before.
    pub(super) fn observed(self) -> Option<u32> {
        match self {
            Self::Read(value) | Self::Update(value, _) => Some(value),
            Self::Write(_) => None,
        }
    }

    /// The value that it holds after.
    pub(super) fn made(self) -> Option<u32> {
        match self {
            Self::Write(value) | Self::Update(_, value) => Some(value),
            Self::Read(_) => None,
        }
    }
}

/// An operation that happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// Its place among the recorded operations.
    pub id: usize,
    /// Who did it.
    pub process: ProcessId,
    /// Which key it is about.
    pub key: u32,
    /// What it does.
    pub action: Action,
    /// Whether its client knows that it happened.
    pub is_certain: bool,
}

/// All operations of a history that happened, in the order in which they began.
pub(super) struct Values {
    /// The operations.
    pub done: Vec<Done>,
    /// The keys, for people.
    pub keys: Vec<String>,
    /// The values of each key by their numbers.
    pub values: Vec<Vec<Value>>,
}

/// What stands against judging a history by its values, or was found on the way.
pub(super) enum Unfit {
    /// It cannot be judged so; why.
    Open(String),
    /// A value was read that nobody wrote, or that was written by an operation that failed.
    Unwritten {
        /// Who read it: its place among the recorded operations.
        reader: usize,
        /// Who wrote it and failed.
        failed: Option<usize>,
        /// The key.
        key: String,
        /// The value.
        value: Value,
    },
}

impl Values {
    /// Reads partitions of a specification. Operations in doubt that nobody saw are left out: they may be taken not to
    /// have happened.
    pub(super) fn read<S: Recorded>(operations: &[Operation], partitions: &[Partition<S>]) -> Result<Self, Unfit> {
        let mut all = Self {
            done: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
        };
        for partition in partitions {
            all.partition(operations, partition)?;
        }
        all.done.sort_by_key(|done| operations[done.id].invoked);
        Ok(all)
    }

    fn partition<S: Recorded>(&mut self, operations: &[Operation], partition: &Partition<S>) -> Result<(), Unfit> {
        let key = self.keys.len() as u32;
        let name = partition.key.clone().unwrap_or_else(|| "the object".to_owned());
        let initial = S::default().value();
        let mut numbers: BTreeMap<Value, u32> = [(initial.clone(), 0)].into();
        let mut values = vec![initial];
        let open = |why: &str| Err(Unfit::Open(format!("{name}: {why}")));
        let mut classes: Vec<(usize, Class)> = Vec::new();
        for entry in &partition.entries {
            match S::class(&entry.op, entry.ret.as_ref()) {
                Class::Opaque | Class::Grow(_) => {
                    return open("its operations hide the values that this model is judged by");
                }
                Class::Differs(_) if entry.is_required() => {
                    return open("a compare failed without telling what it found");
                }
                Class::Read(None) | Class::Differs(_) => {}
                class => classes.push((entry.id, class)),
            }
        }
        without_impossible(operations, &values[0], &mut classes);
        for (_, class) in &classes {
            let Some(made) = class.made() else { continue };
            let number = values.len() as u32;
            if numbers.insert(made.clone(), number).is_some() {
                return open("a value was written twice, so nobody can tell which write was read");
            }
            values.push(made.clone());
        }
        let mut done: Vec<Done> = Vec::new();
        for (id, class) in classes {
            let number = |value: &Value| numbers.get(value).copied();
            let operation = &operations[id];
            let is_certain = operation.ending == Ending::Ok;
            let observed = class.observed().cloned();
            let action = match &class {
                Class::Read(Some(value)) => number(value).map(Action::Read),
                Class::Write(value) => number(value).map(Action::Write),
                Class::Update { from, to } => number(from).zip(number(to)).map(|(from, to)| Action::Update(from, to)),
                _ => None,
            };
            match (action, observed) {
                (Some(action), _) => done.push(Done {
                    id,
                    process: operation.process,
                    key,
                    action,
                    is_certain,
                }),
                (None, Some(value)) if is_certain => {
                    return Err(Unfit::Unwritten {
                        reader: id,
                        failed: failed::<S>(operations, partition, &value),
                        key: name,
                        value,
                    });
                }
                // In doubt, and it cannot have happened.
                (None, _) => {}
            }
        }
        keep_seen(&mut done, values.len());
        self.keys.push(name);
        self.values.push(values);
        self.done.extend(done);
        Ok(())
    }
}

/// Leaves out compare-and-sets in doubt whose compare cannot have held, since nobody can have written what it compares
/// with, again and again.
fn without_impossible(operations: &[Operation], initial: &Value, classes: &mut Vec<(usize, Class)>) {
    loop {
        let before = classes.len();
        let made: BTreeSet<Value> = classes.iter().filter_map(|(_, class)| class.made().cloned()).collect();
        classes.retain(|(id, class)| match class {
            Class::Update { from, .. } => {
                operations[*id].ending == Ending::Ok || from == initial || made.contains(from)
            }
            _ => true,
        });
        if classes.len() == before {
            return;
        }
    }
}

/// Leaves out what is in doubt and was not seen, directly or by what it led to; reads in doubt tell nothing.
fn keep_seen(done: &mut Vec<Done>, values: usize) {
    let mut makers: Vec<Option<Action>> = vec![None; values];
    for operation in done.iter() {
        if let Some(made) = operation.action.made() {
            makers[made as usize] = Some(operation.action);
        }
    }
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    let certain = done.iter().filter(|operation| operation.is_certain);
    let mut look: Vec<u32> = certain.filter_map(|operation| operation.action.observed()).collect();
    while let Some(value) = look.pop() {
        if seen.insert(value) {
            look.extend(makers[value as usize].and_then(Action::observed));
        }
    }
    done.retain(|operation| {
        let is_seen = operation.action.made().is_some_and(|made| seen.contains(&made));
        operation.is_certain || is_seen
    });
}

/// The operation that wrote this value and failed.
fn failed<S: Recorded>(operations: &[Operation], partition: &Partition<S>, value: &Value) -> Option<usize> {
    operations.iter().position(|operation| {
        operation.ending == Ending::Fail
            && S::parse(operation).is_ok_and(|(op, _)| {
                S::partition(&op) == partition.key.as_deref() && S::class(&op, None).made() == Some(value)
            })
    })
}
