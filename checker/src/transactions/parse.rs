//! Reads recorded transactions.
//!
//! The input is a list of steps, alone or under `"value"`, each `[function, key, value]`: `append`, `w` or `r`, with or
//! without the colon that Jepsen's keywords have. The output of one that ended ok is the same list with what each `r`
//! came back with.

use std::cell::Cell;
use std::collections::HashMap;

use tribunal_history::{Ending, Event, Operation, Seq, Value};

use crate::spec::ParseOperation;

/// What is done to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lists: append and read.
    Lists,
    /// Registers: write and read.
    Registers,
}

impl Kind {
    /// The specification's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lists => "list-append",
            Self::Registers => "rw-register",
        }
    }

    fn writes(self) -> &'static str {
        match self {
            Self::Lists => "append",
            Self::Registers => "w",
        }
    }
}

/// What a transaction was asked and what it answered, where it was recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    /// What was asked.
    pub input: &'a Value,
    /// What came back; null unless ok.
    pub output: &'a Value,
}

impl<'a> Values<'a> {
    /// Those of operations that have them.
    pub(super) fn of(operations: &'a [Operation]) -> Vec<Self> {
        let of = |operation: &'a Operation| Self {
            input: &operation.input,
            output: &operation.output,
        };
        operations.iter().map(of).collect()
    }

    /// Those of operations that were paired from `events`, as they stand there.
    pub(super) fn in_events(events: &'a [Event], operations: &[Operation]) -> Vec<Self> {
        // Pairing has seen that events stand in their order.
        let at = |seq: Seq| {
            let place = events.binary_search_by_key(&seq, Event::seq);
            &events[place.expect("operations are made of these events")]
        };
        let of = |operation: &Operation| Self {
            input: match at(operation.invoked) {
                Event::Invoke(invocation) => &invocation.input,
                _ => &Value::Null,
            },
            output: match operation.completed.map(at) {
                Some(Event::Ok(completion) | Event::Fail(completion) | Event::Info(completion)) => &completion.output,
                _ => &Value::Null,
            },
        };
        operations.iter().map(of).collect()
    }
}

/// One step of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// The key is written, or the value appended to it.
    Write {
        /// Place of the key in [`Parsed::keys`].
        key: u32,
        /// The value.
        value: &'a Value,
    },
    /// The key is read.
    Read {
        /// Place of the key in [`Parsed::keys`].
        key: u32,
        /// What came back; none if that is not known.
        value: Option<&'a Value>,
    },
}

/// Who wrote a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    /// Place of the transaction among the operations.
    pub operation: u32,
    /// Whether it is what the transaction leaves: the last that it wrote to the key.
    pub is_final: bool,
}

/// All transactions of a history, and who wrote what.
pub(super) struct Parsed<'a> {
    /// What was recorded.
    pub operations: &'a [Operation],
    /// The keys, in the order of their first use.
    pub keys: Vec<&'a Value>,
    steps: Vec<Step<'a>>,
    /// Where the steps of each operation begin, and the end of all.
    begins: Vec<u32>,
    writers: HashMap<(u32, &'a Value), Known>,
}

/// What is known of a value.
struct Known {
    writer: Writer,
    /// Where it stands in what was read of its key; [`NOWHERE`] if it was not seen.
    position: Cell<u32>,
}

const NOWHERE: u32 = u32::MAX;

impl<'a> Parsed<'a> {
    /// Reads all operations.
    pub(super) fn read(kind: Kind, operations: &'a [Operation], values: &[Values<'a>]) -> Result<Self, ParseOperation> {
        let mut parsed = Self {
            operations,
            keys: Vec::new(),
            steps: Vec::new(),
            begins: vec![0],
            writers: HashMap::new(),
        };
        let mut numbers: HashMap<&Value, u32> = HashMap::new();
        for (place, (operation, values)) in operations.iter().zip(values).enumerate() {
            let reader = Reader { kind, operation };
            let asked = reader.steps(values.input, operation.invoked, "input")?;
            let answered = match operation.ending {
                Ending::Ok => Some(reader.steps(
                    values.output,
                    operation.completed.unwrap_or(operation.invoked),
                    "output",
                )?),
                Ending::Fail | Ending::Info => None,
            };
            if answered.is_some_and(|answered| answered.len() != asked.len()) {
                return Err(reader.wrong(true, "as many steps as were asked for", values.output));
            }
            for (number, step) in asked.iter().enumerate() {
                let asked = reader.step(step, false)?;
                let answered = match answered {
                    Some(answered) => Some(reader.step(&answered[number], true)?),
                    None => None,
                };
                let key = *numbers.entry(asked.key).or_insert_with(|| {
                    parsed.keys.push(asked.key);
                    parsed.keys.len() as u32 - 1
                });
                let is_same = answered.is_none_or(|answered| {
                    answered.writes == asked.writes
                        && answered.key == asked.key
                        && (!asked.writes || answered.value == asked.value)
                });
                if !is_same {
                    return Err(reader.wrong(true, "the steps that were asked for", values.output));
                }
                if asked.writes {
                    let known = Known {
                        writer: Writer {
                            operation: place as u32,
                            is_final: true,
                        },
                        position: Cell::new(NOWHERE),
                    };
                    if parsed.writers.insert((key, asked.value), known).is_some() {
                        return Err(reader.wrong(false, "a value that nothing else writes to this key", step));
                    }
                    parsed.steps.push(Step::Write {
                        key,
                        value: asked.value,
                    });
                } else {
                    let value = answered.map(|answered| answered.value);
                    let is_list = value.is_none_or(|value| matches!(value, Value::List(_) | Value::Null));
                    if kind == Kind::Lists && !is_list {
                        return Err(reader.wrong(true, "a list, or null for an empty one", values.output));
                    }
                    parsed.steps.push(Step::Read { key, value });
                }
            }
            parsed.begins.push(parsed.steps.len() as u32);
            parsed.mark_overwritten(place);
        }
        Ok(parsed)
    }

    /// Of several writes of a transaction to one key, only the last is what it leaves.
    fn mark_overwritten(&mut self, operation: usize) {
        let begin = self.begins[operation] as usize;
        let mut last: HashMap<u32, &'a Value> = HashMap::new();
        for step in &self.steps[begin..] {
            if let Step::Write { key, value } = *step
                && let Some(before) = last.insert(key, value)
                && let Some(known) = self.writers.get_mut(&(key, before))
            {
                known.writer.is_final = false;
            }
        }
    }

    /// The steps of an operation.
    pub(super) fn steps(&self, operation: usize) -> &[Step<'a>] {
        &self.steps[self.begins[operation] as usize..self.begins[operation + 1] as usize]
    }

    /// Who wrote `value` to `key`.
    pub(super) fn writer(&self, key: u32, value: &Value) -> Option<Writer> {
        self.writers.get(&(key, value)).map(|known| known.writer)
    }

    /// Notes where a value stands in what was read of its key; the place noted before, if there is one.
    pub(super) fn note(&self, key: u32, value: &Value, position: usize) -> Option<usize> {
        let known = self.writers.get(&(key, value))?;
        let before = known.position.replace(position as u32);
        (before != NOWHERE).then_some(before as usize)
    }

    /// Where a value stands in what was read of its key.
    pub(super) fn position(&self, key: u32, value: &Value) -> Option<usize> {
        let position = self.writers.get(&(key, value))?.position.get();
        (position != NOWHERE).then_some(position as usize)
    }

    /// How the writer's transaction ended.
    pub(super) fn ending(&self, writer: Writer) -> Ending {
        self.operations[writer.operation as usize].ending
    }
}

/// The elements of what was read of a list.
pub(super) fn elements(value: &Value) -> &[Value] {
    match value {
        Value::List(list) => list,
        _ => &[],
    }
}

/// A step as it is written.
#[derive(Clone, Copy)]
struct Written<'a> {
    writes: bool,
    key: &'a Value,
    value: &'a Value,
}

struct Reader<'a> {
    kind: Kind,
    operation: &'a Operation,
}

impl<'a> Reader<'a> {
    fn wrong(&self, is_output: bool, expected: &'static str, found: &Value) -> ParseOperation {
        let operation = self.operation;
        let end = operation.completed.filter(|_| is_output);
        ParseOperation {
            seq: end.unwrap_or(operation.invoked),
            specification: self.kind.name(),
            function: operation.function.clone(),
            expected,
            found: shortened(found),
        }
    }

    fn steps(&self, value: &'a Value, seq: Seq, what: &'static str) -> Result<&'a [Value], ParseOperation> {
        let inner = value.get("value").unwrap_or(value);
        match inner {
            Value::List(steps) => Ok(steps),
            other => Err(ParseOperation {
                seq,
                specification: self.kind.name(),
                function: self.operation.function.clone(),
                expected: match what {
                    "input" => "a list of steps such as [\"r\", \"x\", null] as input",
                    _ => "the list of steps with what was read as output",
                },
                found: shortened(other),
            }),
        }
    }

    fn step(&self, value: &'a Value, is_output: bool) -> Result<Written<'a>, ParseOperation> {
        let expected = match self.kind {
            Kind::Lists => "a step [\"append\", key, value] or [\"r\", key, list]",
            Kind::Registers => "a step [\"w\", key, value] or [\"r\", key, value]",
        };
        let Value::List(parts) = value else {
            return Err(self.wrong(is_output, expected, value));
        };
        let [Value::Text(function), key, value_of] = parts.as_slice() else {
            return Err(self.wrong(is_output, expected, value));
        };
        let function = function.strip_prefix(':').unwrap_or(function);
        let writes = if function == self.kind.writes() {
            true
        } else if function == "r" {
            false
        } else {
            return Err(self.wrong(is_output, expected, value));
        };
        if writes && value_of.is_null() {
            return Err(self.wrong(is_output, "a value other than null to write", value));
        }
        Ok(Written {
            writes,
            key,
            value: value_of,
        })
    }
}

fn shortened(value: &Value) -> String {
    const SHOWN: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
