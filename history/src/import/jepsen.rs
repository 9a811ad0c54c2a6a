//! Rows of Jepsen's operations as events.
//!
//! A row is a map with `:process`, `:type` (`:invoke`, `:ok`, `:fail`, `:info`), `:f` and `:value`; `:key`, `:time` in
//! nanoseconds, `:node` and `:error` are read where they are there, anything else is passed over. A row whose process is
//! not a number is the nemesis' or the test's own, and is passed over too. Events are numbered in the order of the
//! file.
//!
//! What a row says becomes an input and an output that the specifications read:
//!
//! | `:f` | input | output when ok |
//! |---|---|---|
//! | `:cas` with `[a b]` | `{"expect":a,"value":b}` | `{"swapped":true}` |
//! | `:read`, `:get`, `:dequeue`, `:generate` and others | null | the value |
//! | `:write`, `:put`, `:append`, `:add`, `:enqueue`, `:acquire`, `:release`, `:delete` | `{"value":v}`, null where there is none | null |
//!
//! with `"key"` in the input where there is one: from `:key`, or from values that are all `[key value]` tuples, as
//! Jepsen's independent tests have them.

//!
//! A history of transactions may have ends only, as in Elle's documents and tests: `{:type :ok, :value [[:append :x 1]]}`.
//! The order of such rows says when transactions ended, and nothing says when they began. So a row without a `:process`
//! is a process of its own that began before everything else, and where no row begins anything, one with a `:process`
//! began when that process was done with the row before. An order in real time is never claimed where none was given.
//! Without `:f` a transaction is a `:txn`.

use std::collections::BTreeMap;

use super::edn::{Edn, Position};
use crate::event::{Cause, CauseCode, Completion, Ending, Event, Invocation};
use crate::fields::Fields;
use crate::id::{NodeId, ProcessId, Seq};
use crate::value::Value;

/// Time between two events of a history that tells none, so that they can be drawn.
const STEP_NS: u64 = 1_000_000;

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RowError {
    /// Where the row begins.
    pub at: Position,
    /// What was expected and what is there.
    pub what: String,
}

fn wrong<T>(at: Position, what: impl Into<String>) -> Result<T, RowError> {
    Err(RowError { at, what: what.into() })
}

/// One row of a client.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it begins.
    pub at: Position,
    /// Whose operation; none for a transaction's end of which nobody says it.
    pub process: Option<ProcessId>,
    /// Its end; none for its beginning.
    pub ending: Option<Ending>,
    /// `:f` without the colon.
    pub function: String,
    /// `:value`.
    pub value: Edn,
    /// `:key`.
    pub key: Option<Edn>,
    /// `:time`.
    pub time_ns: Option<u64>,
    /// `:node`.
    pub node: Option<NodeId>,
    /// `:error`.
    pub error: Option<Edn>,
}

impl Row {
    /// Reads a row; none if it is no client's.
    pub fn read(at: Position, row: &Edn) -> Result<Option<Self>, RowError> {
        if !matches!(row, Edn::Map(_)) {
            let found = shortened(row);
            return wrong(
                at,
                format!(
                    "expected an operation such as {{:process 0, :type :invoke, :f :read, :value nil}}, found {found}"
                ),
            );
        }
        let is_transaction = row.get("value").is_some_and(is_transaction);
        let process = match row.get("process") {
            Some(process) => match process_of(at, process)? {
                Some(process) => Some(process),
                None => return Ok(None),
            },
            None if is_transaction && row.get("type") != Some(&Edn::Keyword("invoke".to_owned())) => None,
            None => return wrong(at, "an operation without :process"),
        };
        let ending = match row.get("type") {
            Some(Edn::Keyword(name)) => ending_of(name),
            _ => None,
        };
        let Some(ending) = ending else {
            let found = row.get("type").map_or_else(|| "none".to_owned(), shortened);
            return wrong(
                at,
                format!("expected :invoke, :ok, :fail or :info as :type, found {found}"),
            );
        };
        let function = match row.get("f") {
            Some(Edn::Keyword(name) | Edn::Text(name) | Edn::Other(name)) => name.clone(),
            None if is_transaction => "txn".to_owned(),
            found => {
                let found = found.map_or_else(|| "none".to_owned(), shortened);
                return wrong(at, format!("expected a keyword as :f, found {found}"));
            }
        };
        let present = |name: &str| row.get(name).filter(|value| **value != Edn::Nil).cloned();
        Ok(Some(Self {
            at,
            process,
            ending,
            function,
            value: row.get("value").cloned().unwrap_or(Edn::Nil),
            key: present("key"),
            time_ns: match row.get("time") {
                Some(Edn::Int(time)) => u64::try_from(*time).ok(),
                _ => None,
            },
            node: match row.get("node") {
                Some(Edn::Text(name)) => name.parse().ok(),
                _ => None,
            },
            error: present("error"),
        }))
    }
}

/// Whether a value is a list of steps such as `[:append :x 1]` and `[:r :y nil]`.
fn is_transaction(value: &Edn) -> bool {
    let is_step = |step: &Edn| matches!(step, Edn::List(parts) if matches!(parts.as_slice(), [Edn::Keyword(_), _, _]));
    matches!(value, Edn::List(steps) if !steps.is_empty() && steps.iter().all(is_step))
}

/// What a transaction asked for, given what it ended with: the same, without what was read.
fn asked(value: &Edn) -> Edn {
    let Edn::List(steps) = value else {
        return value.clone();
    };
    let asked = steps.iter().map(|step| match step {
        Edn::List(parts) if parts.first() == Some(&Edn::Keyword("r".to_owned())) => {
            Edn::List(parts.iter().take(2).cloned().chain([Edn::Nil]).collect())
        }
        other => other.clone(),
    });
    Edn::List(asked.collect())
}

/// A process, or none if it is the nemesis or the like.
pub fn process_of(at: Position, process: &Edn) -> Result<Option<ProcessId>, RowError> {
    match process {
        Edn::Int(number) => match u32::try_from(*number) {
            Ok(number) => Ok(Some(ProcessId(number))),
            Err(_) => wrong(
                at,
                format!("expected a number from 0 to {} as :process, found {number}", u32::MAX),
            ),
        },
        _ => Ok(None),
    }
}

/// The ending that a `:type` names, none in it for an invocation; none at all if it names nothing.
pub fn ending_of(name: &str) -> Option<Option<Ending>> {
    match name {
        "invoke" => Some(None),
        "ok" => Some(Some(Ending::Ok)),
        "fail" => Some(Some(Ending::Fail)),
        "info" => Some(Some(Ending::Info)),
        _ => None,
    }
}

/// How a source means what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// A compare-and-set that failed is one whose compare did not hold. Otherwise it did not happen, whatever for.
    pub failed_cas_compared: bool,
}

/// Rows with a beginning for each end that has none, where [the rule above](self) says when that was.
fn with_beginnings(rows: Vec<Row>) -> Vec<Row> {
    let has_ends_only = rows
        .iter()
        .all(|row| row.ending.is_some() && is_transaction(&row.value));
    if !has_ends_only && rows.iter().all(|row| row.process.is_some()) {
        return rows;
    }
    let last = rows.iter().filter_map(|row| row.process).max();
    let mut free = last.map_or(0, |last| last.0.saturating_add(1));
    let mut first = Vec::new();
    // The row before of each process, where each needs a beginning.
    let mut before: BTreeMap<ProcessId, usize> = BTreeMap::new();
    let mut behind: BTreeMap<usize, Row> = BTreeMap::new();
    let mut ends = Vec::with_capacity(rows.len());
    for (place, mut row) in rows.into_iter().enumerate() {
        let beginning = |process, row: &Row| Row {
            process: Some(process),
            ending: None,
            value: asked(&row.value),
            error: None,
            ..row.clone()
        };
        match row.process {
            None => {
                let process = ProcessId(free);
                free = free.saturating_add(1);
                row.process = Some(process);
                first.push(beginning(process, &row));
            }
            Some(process) if has_ends_only => match before.insert(process, place) {
                None => first.push(beginning(process, &row)),
                Some(before) => {
                    behind.insert(before, beginning(process, &row));
                }
            },
            Some(_) => {}
        }
        ends.push(row);
    }
    let mut all = first;
    // What began earlier than its row cannot have its time.
    for row in &mut all {
        row.time_ns = row.time_ns.map(|_| 0);
    }
    for (place, row) in ends.into_iter().enumerate() {
        let time_ns = row.time_ns;
        all.push(row);
        all.extend(behind.remove(&place).map(|begins| Row { time_ns, ..begins }));
    }
    all
}

/// The events of all rows.
pub fn events(rows: Vec<Row>, meaning: Meaning) -> Result<Vec<Event>, RowError> {
    let mut rows = with_beginnings(rows);
    if is_independent(&rows) {
        for row in &mut rows {
            if let Edn::List(tuple) = &mut row.value
                && tuple.len() == 2
            {
                let value = tuple.pop().unwrap_or(Edn::Nil);
                row.key = tuple.pop();
                row.value = value;
            }
        }
    }
    let has_times = rows.iter().all(|row| row.time_ns.is_some());
    // The row that began what each process has open.
    let mut open: BTreeMap<ProcessId, usize> = BTreeMap::new();
    let mut events = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        let seq = Seq(place as u64);
        let time_ns = row.time_ns.filter(|_| has_times).unwrap_or(place as u64 * STEP_NS);
        let process = row.process.expect("whose operation it is was settled above");
        let Some(ending) = row.ending else {
            if let Some(before) = open.insert(process, place) {
                let line = rows[before].at.line;
                return wrong(
                    row.at,
                    format!("process {process} invokes while its operation of line {line} is open"),
                );
            }
            events.push(Event::Invoke(Invocation {
                seq,
                time_ns,
                process,
                // Node 0 stands for one that nobody recorded.
                node: row.node.unwrap_or(NodeId(0)),
                function: row.function.clone(),
                input: input(row)?,
            }));
            continue;
        };
        let Some(begun) = open.remove(&process) else {
            return wrong(
                row.at,
                format!("process {process} completes an operation that it never invoked"),
            );
        };
        let begun = &rows[begun];
        if begun.function != row.function {
            return wrong(
                row.at,
                format!(
                    "process {process} completes :{}, but what it invoked at line {} was :{}",
                    row.function, begun.at.line, begun.function
                ),
            );
        }
        let compared = meaning.failed_cas_compared && ending == Ending::Fail && row.function == "cas";
        let ending = if compared { Ending::Ok } else { ending };
        let mut completion = Completion {
            seq,
            time_ns,
            process,
            output: Value::Null,
            revision: None,
            term: None,
            member: None,
            cause: None,
        };
        if ending == Ending::Ok {
            completion.output = output(begun, row, !compared)?;
        } else {
            completion.cause = Some(Cause {
                code: CauseCode::Unknown,
                text: row.error.as_ref().map_or_else(|| "not said".to_owned(), shortened),
            });
        }
        events.push(match ending {
            Ending::Ok => Event::Ok(completion),
            Ending::Fail => Event::Fail(completion),
            Ending::Info => Event::Info(completion),
        });
    }
    Ok(events)
}

/// Whether every value is a tuple of a key and a value: all beginnings carry pairs, and one of them would make no sense
/// otherwise, a read of `[k nil]` or a compare-and-set of `[k [a b]]`.
fn is_independent(rows: &[Row]) -> bool {
    let mut certain = false;
    for row in rows.iter().filter(|row| row.ending.is_none()) {
        let Edn::List(pair) = &row.value else {
            return false;
        };
        let [key, value] = pair.as_slice() else {
            return false;
        };
        if row.key.is_some() || matches!(key, Edn::Nil | Edn::List(_) | Edn::Map(_)) {
            return false;
        }
        let is_pair = matches!(value, Edn::List(pair) if pair.len() == 2);
        if row.function == "cas" && !is_pair {
            return false;
        }
        certain |= is_pair && row.function == "cas" || *value == Edn::Nil;
    }
    certain
}

/// Functions that carry a value and return none.
const GIVES: [&str; 8] = [
    "write", "put", "append", "add", "enqueue", "acquire", "release", "delete",
];

fn input(row: &Row) -> Result<Value, RowError> {
    let mut fields = Fields::new();
    if let Some(key) = &row.key {
        fields.insert("key", Value::Text(plain(key)));
    }
    match row.function.as_str() {
        "cas" => {
            let Edn::List(pair) = &row.value else {
                return wrong(
                    row.at,
                    format!("expected [expected new] as :value of :cas, found {}", row.value),
                );
            };
            let [expect, value] = pair.as_slice() else {
                return wrong(
                    row.at,
                    format!("expected [expected new] as :value of :cas, found {}", row.value),
                );
            };
            fields.insert("expect", value_of(expect));
            fields.insert("value", value_of(value));
        }
        "write" => {
            fields.insert("value", value_of(&row.value));
        }
        // What a read expects to find is not asked of the store.
        "read" | "get" | "dequeue" | "generate" => {}
        _ if row.value == Edn::Nil => {}
        _ => {
            fields.insert("value", value_of(&row.value));
        }
    }
    Ok(if fields.is_empty() {
        Value::Null
    } else {
        Value::Map(fields)
    })
}

fn output(begun: &Row, row: &Row, swapped: bool) -> Result<Value, RowError> {
    let function = row.function.as_str();
    let gives = GIVES.contains(&function) || function == "cas";
    if gives && row.value != Edn::Nil && begun.value != Edn::Nil && row.value != begun.value {
        return wrong(
            row.at,
            format!(
                "the operation ends with {}, but what was invoked at line {} carried {}",
                shortened(&row.value),
                begun.at.line,
                shortened(&begun.value)
            ),
        );
    }
    Ok(match function {
        "cas" => Value::map([("swapped", swapped.into())]),
        _ if gives => Value::Null,
        _ => value_of(&row.value),
    })
}

/// A value as histories have it. Keywords keep their colon, so that they are not texts; numbers that are no whole
/// numbers stay as they are written.
pub fn value_of(value: &Edn) -> Value {
    match value {
        Edn::Nil => Value::Null,
        Edn::Bool(truth) => Value::Bool(*truth),
        Edn::Int(number) => Value::Int(*number),
        Edn::Text(text) => Value::Text(text.clone()),
        Edn::Keyword(_) | Edn::Other(_) => Value::Text(value.to_string()),
        Edn::List(list) => Value::List(list.iter().map(value_of).collect()),
        Edn::Map(pairs) => Value::Map(pairs.iter().map(|(key, value)| (plain(key), value_of(value))).collect()),
    }
}

/// A key: a text as it is, anything else as it is written.
fn plain(value: &Edn) -> String {
    match value {
        Edn::Text(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value for a message.
fn shortened(value: &Edn) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The specification that histories of these functions are usually meant for; none if several are.
pub fn specification(events: &[Event]) -> Option<&'static str> {
    let mut functions: Vec<&str> = Vec::new();
    let mut reads_list = false;
    for event in events {
        match event {
            Event::Invoke(invocation) if !functions.contains(&invocation.function.as_str()) => {
                // More functions than any specification has.
                if functions.len() == 8 {
                    return None;
                }
                functions.push(&invocation.function);
            }
            Event::Ok(completion) => reads_list |= matches!(completion.output, Value::List(_)),
            _ => {}
        }
    }
    let all_in = |known: &[&str]| !functions.is_empty() && functions.iter().all(|function| known.contains(function));
    if all_in(&["read", "write", "cas"]) {
        Some("cas-register")
    } else if all_in(&["get", "put", "append", "delete"]) {
        Some("kv")
    } else if all_in(&["acquire", "release"]) {
        Some("mutex")
    } else if all_in(&["generate"]) {
        Some("unique-ids")
    } else if all_in(&["add", "read"]) {
        Some(if reads_list { "set" } else { "counter" })
    } else {
        None
    }
}
