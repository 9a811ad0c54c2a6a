//! Histories as EDN, one map a line, as Jepsen's tools read them.
//!
//! ```text
//! {:index 0, :type :invoke, :process 0, :f :write, :value ["k1" 3], :time 70, :node "n1"}
//! {:index 1, :type :ok, :process 0, :f :write, :value ["k1" 3], :time 90, :node "n1"}
//! ```
//!
//! This is [`crate::import::jepsen`] turned around. Operations with a key become `[key value]`, as Jepsen's independent tests
//! have them. Knossos judges one object and knows no keys: [`write()`] given a key writes the operations under it alone, and
//! their values without it.
//!
//! A compare-and-set that did not hold and says what was found is written as the read that it is, since `:fail` means *did not happen* and would say
//! nothing; one that does not say it is written as `:fail`. What others have no word for, faults and phases and revisions among it, is left out.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::event::{Ending, Event};
use crate::operation::{Operation, PairError, pair};
use crate::value::Value;

/// Why a history cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The events contradict each other.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// Some operations have a key and others have none, or no operation has the key that was asked for.
    #[error("{0}")]
    Keys(String),
    /// The sink failed.
    #[error("cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes the operations of `events`, all of them or those of one key, and returns how many they are.
pub fn write(events: &[Event], key: Option<&str>, out: &mut impl Write) -> Result<usize, ExportError> {
    let mut operations = pair(events)?;
    if let Some(wanted) = key {
        operations.retain(|operation| key_of(operation).and_then(Value::as_text) == Some(wanted));
        if operations.is_empty() {
            return Err(ExportError::Keys(format!("no operation is on key {wanted:?}")));
        }
    }
    let keyed = operations
        .iter()
        .filter(|operation| key_of(operation).is_some())
        .count();
    if keyed != 0 && keyed != operations.len() {
        let (all, bare) = (operations.len(), operations.len() - keyed);
        return Err(ExportError::Keys(format!(
            "{bare} of {all} operations have no key, which EDN cannot tell from the others"
        )));
    }
    let is_tuple = keyed > 0 && key.is_none();
    // Both ends of each operation, in the order of the run.
    let mut rows: BTreeMap<u64, (&Operation, bool)> = BTreeMap::new();
    for operation in &operations {
        rows.insert(operation.invoked.0, (operation, false));
        if let Some(seq) = operation.completed {
            rows.insert(seq.0, (operation, true));
        }
    }
    for (index, (operation, is_end)) in rows.into_values().enumerate() {
        row(index, operation, is_end, is_tuple, out)?;
    }
    Ok(operations.len())
}

fn key_of(operation: &Operation) -> Option<&Value> {
    operation.input.get("key")
}

/// What was found by a compare-and-set that did not hold.
fn found(operation: &Operation) -> Option<&Value> {
    let is_read = operation.function == "cas"
        && operation.ending == Ending::Ok
        && operation.output.get("swapped").and_then(Value::as_bool) == Some(false);
    operation.output.get("actual").filter(|_| is_read)
}

fn row(index: usize, operation: &Operation, is_end: bool, is_tuple: bool, out: &mut impl Write) -> io::Result<()> {
    let did_not_hold =
        operation.function == "cas" && operation.output.get("swapped").and_then(Value::as_bool) == Some(false);
    let kind = match (is_end, operation.ending) {
        (false, _) => "invoke",
        (true, Ending::Ok) if did_not_hold && found(operation).is_none() => "fail",
        (true, Ending::Ok) => "ok",
        (true, Ending::Fail) => "fail",
        (true, Ending::Info) => "info",
    };
    let (function, value) = match found(operation) {
        Some(actual) => ("read", if is_end { actual.clone() } else { Value::Null }),
        None => (operation.function.as_str(), value(operation, is_end)),
    };
    let mut text = format!(
        "{{:index {index}, :type :{kind}, :process {}, :f {}, :value ",
        operation.process,
        name(function)
    );
    match key_of(operation).filter(|_| is_tuple) {
        Some(key) => {
            text.push('[');
            put(key, &mut text);
            text.push(' ');
            put(&value, &mut text);
            text.push(']');
        }
        None => put(&value, &mut text),
    }
    let time_ns = if is_end {
        operation.completed_ns.unwrap_or(operation.invoked_ns)
    } else {
        operation.invoked_ns
    };
    text.push_str(&format!(", :time {time_ns}"));
    // Node 0 stands for one that nobody recorded.
    if operation.node.0 > 0 {
        text.push_str(&format!(", :node \"{}\"", operation.node));
    }
    if let Some(cause) = operation.cause.as_ref().filter(|_| is_end) {
        text.push_str(", :error ");
        put(&Value::Text(cause.text.clone()), &mut text);
    }
    text.push_str("}\n");
    out.write_all(text.as_bytes())
}

/// `:value` of one end of an operation: what it carries, or what came back.
fn value(operation: &Operation, is_end: bool) -> Value {
    let input = &operation.input;
    if operation.function == "cas" {
        let field = |name: &str| input.get(name).cloned().unwrap_or_default();
        return Value::List(vec![field("expect"), field("value")]);
    }
    let carried = match input {
        Value::Map(fields) => {
            let mut others = fields.clone();
            others.remove("key");
            match others.remove("value") {
                Some(value) if others.is_empty() => value,
                None if others.is_empty() => Value::Null,
                // More than Jepsen has a place for.
                value => {
                    others.extend(value.map(|value| ("value", value)));
                    Value::Map(others)
                }
            }
        }
        other => other.clone(),
    };
    if is_end && operation.ending == Ending::Ok && !operation.output.is_null() {
        operation.output.clone()
    } else if is_end && operation.ending == Ending::Ok && reads(&operation.function) {
        Value::Null
    } else {
        carried
    }
}

/// Functions whose result is what they return, even if that is nothing.
fn reads(function: &str) -> bool {
    matches!(function, "read" | "get" | "dequeue" | "generate")
}

/// A function as a keyword, or as a text where it cannot be one.
fn name(function: &str) -> String {
    if is_name(function) {
        return format!(":{function}");
    }
    let mut text = String::new();
    put_text(function, &mut text);
    text
}

fn put(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("nil"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        // What was a keyword when it was imported is one again.
        Value::Text(text) if text.strip_prefix(':').is_some_and(is_name) => out.push_str(text),
        Value::Text(text) => put_text(text, out),
        Value::List(list) => {
            out.push('[');
            for (place, value) in list.iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                put(value, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (place, (name, value)) in map.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                put(&Value::from(name), out);
                out.push(' ');
                put(value, out);
            }
            out.push('}');
        }
    }
}

/// Whether a text can stand behind a colon.
fn is_name(text: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || "-_.?!*+<>=/".contains(char);
    text.starts_with(|char: char| char.is_ascii_alphabetic())
        && text.chars().all(is_part)
        && !text.ends_with('/')
        && text.matches('/').count() < 2
}

fn put_text(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            control if u32::from(control) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import;

    fn lines(jsonl: &str, key: Option<&str>) -> Result<String, String> {
        let events: Vec<Event> = jsonl
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect();
        let mut out = Vec::new();
        write(&events, key, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).expect("a text"))
    }

    const KEYED: &str = r#"{"type":"invoke","seq":0,"time_ns":7,"process":0,"node":"n1","function":"write","input":{"key":"k","value":3}}
{"type":"invoke","seq":1,"time_ns":8,"process":1,"node":"n2","function":"cas","input":{"key":"k","expect":2,"value":4}}
{"type":"invoke","seq":2,"time_ns":8,"process":2,"node":"n2","function":"cas","input":{"key":"q","expect":null,"value":"a\"b"}}
{"type":"ok","seq":3,"time_ns":9,"process":0}
{"type":"ok","seq":4,"time_ns":9,"process":1,"output":{"swapped":false,"actual":3}}
{"type":"info","seq":5,"time_ns":9,"process":2,"cause":{"code":"timeout","text":"no answer"}}
{"type":"invoke","seq":6,"time_ns":9,"process":0,"node":"n1","function":"read","input":{"key":"q"}}
{"type":"ok","seq":7,"time_ns":9,"process":0}"#;

    #[test]
    fn operations_with_keys_become_tuples() {
        assert_eq!(
            lines(KEYED, None).expect("writes"),
            r#"{:index 0, :type :invoke, :process 0, :f :write, :value ["k" 3], :time 7, :node "n1"}
{:index 1, :type :invoke, :process 1, :f :read, :value ["k" nil], :time 8, :node "n2"}
{:index 2, :type :invoke, :process 2, :f :cas, :value ["q" [nil "a\"b"]], :time 8, :node "n2"}
{:index 3, :type :ok, :process 0, :f :write, :value ["k" 3], :time 9, :node "n1"}
{:index 4, :type :ok, :process 1, :f :read, :value ["k" 3], :time 9, :node "n2"}
{:index 5, :type :info, :process 2, :f :cas, :value ["q" [nil "a\"b"]], :time 9, :node "n2", :error "no answer"}
{:index 6, :type :invoke, :process 0, :f :read, :value ["q" nil], :time 9, :node "n1"}
{:index 7, :type :ok, :process 0, :f :read, :value ["q" nil], :time 9, :node "n1"}
"#
        );
    }

    #[test]
    fn one_key_is_written_without_it() {
        assert_eq!(
            lines(KEYED, Some("k")).expect("writes"),
            r#"{:index 0, :type :invoke, :process 0, :f :write, :value 3, :time 7, :node "n1"}
{:index 1, :type :invoke, :process 1, :f :read, :value nil, :time 8, :node "n2"}
{:index 2, :type :ok, :process 0, :f :write, :value 3, :time 9, :node "n1"}
{:index 3, :type :ok, :process 1, :f :read, :value 3, :time 9, :node "n2"}
"#
        );
        assert_eq!(lines(KEYED, Some("z")), Err("no operation is on key \"z\"".to_owned()));
    }

    #[test]
    fn what_is_written_is_imported_as_it_was() {
        let text = "{:process 0, :type :invoke, :f :txn, :value [[:append :x 1] [:r \"y\" nil]]}
            {:process 1, :type :invoke, :f :cas, :value [1 2]}
            {:process 0, :type :ok, :f :txn, :value [[:append :x 1] [:r \"y\" [3 4]]]}
            {:process 1, :type :fail, :f :cas, :value [1 2]}
            {:process 2, :type :invoke, :f :add, :value nil}
            {:process 2, :type :info, :f :add, :value nil, :error [:timeout \"\\u0001\"]}";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.edn");
        std::fs::write(&path, text).expect("writes");
        let first = import::read_any(&path).expect("reads").events;
        let mut out = Vec::new();
        write(&first, None, &mut out).expect("writes");
        std::fs::write(&path, &out).expect("writes");
        let second = import::read_any(&path).expect("reads").events;
        let told = |events: &[Event]| -> Vec<(String, Value, Ending, Value)> {
            pair(events)
                .expect("pairs")
                .into_iter()
                .map(|operation| (operation.function, operation.input, operation.ending, operation.output))
                .collect()
        };
        assert_eq!(told(&first), told(&second), "{}", String::from_utf8_lossy(&out));
    }
}
