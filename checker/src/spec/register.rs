//! Registers under many keys: read, write, compare-and-set, delete.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `read` | `{"key":"k3"}` | the value, or null where there is none |
//! | `write` | `{"key":"k3","value":17}` | null |
//! | `cas` | `{"key":"k3","expect":5,"value":17}`, `expect` null for *absent* | `{"swapped":true}`, or `{"swapped":false,"actual":9}` |
//! | `delete` | `{"key":"k3"}` | `{"deleted":true}`, or `{"deleted":false}` where there was none |
//!
//! A value is a whole number or a text; a register holds null until it is written, and after it was deleted. A compare
//! that does not hold is an operation that ended ok and read `actual`.
//!
//! ```
//! use tribunal_checker::spec::{Register, Spec, register::{Action, Op, Ret}};
//! use tribunal_history::Value;
//!
//! let mut register = Register::default();
//! assert_eq!(register.invoke(&Op::write("k3", 17)), Ret::Written);
//! assert_eq!(register.invoke(&Op::cas("k3", 5, 18)), Ret::Differs(Value::Int(17)));
//! assert!(register.is_valid_step(&Op::read("k3"), &Ret::Value(Value::Int(17))));
//! ```

use std::sync::Arc;

use tribunal_history::{Ending, Operation, Value};

use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// The register under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Register(Value);

/// What can be asked of a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// Whose register.
    pub key: Arc<str>,
    /// What is asked.
    pub action: Action,
}

impl Op {
    /// A read.
    pub fn read(key: &str) -> Self {
        Self {
            key: key.into(),
            action: Action::Read,
        }
    }

    /// A write.
    pub fn write(key: &str, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            action: Action::Write(value.into()),
        }
    }

    /// A compare-and-set.
    pub fn cas(key: &str, expect: impl Into<Value>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            action: Action::Cas {
                expect: expect.into(),
                value: value.into(),
            },
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// What does it hold?
    Read,
    /// Hold this.
    Write(Value),
    /// Hold `value` if you hold `expect`, otherwise say what you hold.
    Cas {
        /// What it must hold; null for nothing.
        expect: Value,
        /// What it is to hold.
        value: Value,
    },
    /// Hold nothing.
    Delete,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// Of a read: this is what it holds.
    Value(Value),
    /// Of a write.
    Written,
    /// Of a compare-and-set whose compare held.
    Swapped,
    /// Of a compare-and-set whose compare did not hold: this is what it holds.
    Differs(Value),
    /// Of a delete: whether there was something.
    Deleted(bool),
}

impl Spec for Register {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match &op.action {
            Action::Read => Ret::Value(self.0.clone()),
            Action::Write(value) => {
                self.0.clone_from(value);
                Ret::Written
            }
            Action::Cas { expect, value } if self.0 == *expect => {
                self.0.clone_from(value);
                Ret::Swapped
            }
            Action::Cas { .. } => Ret::Differs(self.0.clone()),
            Action::Delete => Ret::Deleted(!std::mem::take(&mut self.0).is_null()),
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        match (&op.action, ret) {
            (Action::Read, Ret::Value(value)) => self.0 == *value,
            (Action::Cas { expect, .. }, Ret::Differs(actual)) => self.0 == *actual && expect != actual,
            _ => self.invoke(op) == *ret,
        }
    }

    fn partition(op: &Op) -> Option<&str> {
        Some(&op.key)
    }

    fn class(op: &Op, ret: Option<&Ret>) -> Class {
        match (&op.action, ret) {
            (Action::Read, Some(Ret::Value(value))) => Class::Read(Some(value.clone())),
            (Action::Read, None) => Class::Read(None),
            (Action::Write(value), None | Some(Ret::Written)) => Class::Write(value.clone()),
            (Action::Cas { expect, value }, None | Some(Ret::Swapped)) => Class::Update {
                from: expect.clone(),
                to: value.clone(),
            },
            (Action::Cas { .. }, Some(Ret::Differs(actual))) => Class::Read(Some(actual.clone())),
            (Action::Delete, None) => Class::Write(Value::Null),
            // It has seen that there was something, not what: no class says so much.
            (Action::Delete, Some(Ret::Deleted(true))) => Class::Opaque,
            (Action::Delete, Some(Ret::Deleted(false))) => Class::Read(Some(Value::Null)),
            _ => Class::Opaque,
        }
    }

    fn weaken(op: &Op, ret: Option<&Ret>) -> Option<(Op, Option<Ret>)> {
        match (&op.action, ret) {
            (Action::Cas { value, .. }, None | Some(Ret::Swapped)) => Some((
                Op {
                    key: op.key.clone(),
                    action: Action::Write(value.clone()),
                },
                ret.map(|_| Ret::Written),
            )),
            _ => None,
        }
    }

    fn value(&self) -> Value {
        self.0.clone()
    }
}

impl Recorded for Register {
    const NAME: &'static str = "register";
    const SUMMARY: &'static str = "a register under each key: read, write, compare-and-set, delete";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let reader = Fields::of::<Self>(operation);
        let key: Arc<str> = reader.key()?.into();
        let action = match operation.function.as_str() {
            "read" => Action::Read,
            "write" => Action::Write(new_value(&reader)?),
            "cas" => {
                let Some(expect) = operation.input.get("expect") else {
                    return Err(reader.wrong_input("an input with \"expect\", a value or null"));
                };
                let expect = value_or_null(expect, || reader.wrong_input("a value or null as \"expect\""))?;
                let value = new_value(&reader)?;
                Action::Cas { expect, value }
            }
            "delete" => Action::Delete,
            _ => return Err(reader.wrong_function("read, write, cas or delete")),
        };
        let op = Op { key, action };
        let ret = Self::answer(&op, operation)?;
        Ok((op, ret))
    }

    fn answer(op: &Op, operation: &Operation) -> Result<Option<Ret>, ParseOperation> {
        let reader = Fields::of::<Self>(operation);
        if !reader.is_done() {
            return Ok(None);
        }
        let ret = match &op.action {
            Action::Read => {
                let value = value_or_null(&operation.output, || reader.wrong_output("a value or null as output"))?;
                Ret::Value(value)
            }
            Action::Write(_) => {
                reader.no_output()?;
                Ret::Written
            }
            Action::Cas { .. } => swapped(&reader)?,
            Action::Delete => deleted(&reader)?,
        };
        Ok(Some(ret))
    }

    fn label(operation: &Operation) -> String {
        let field = |name: &str| operation.input.get(name).cloned().unwrap_or_default();
        let (key, value) = (field("key"), field("value"));
        let done = operation.ending == Ending::Ok;
        match operation.function.as_str() {
            "read" if done => format!("read {key} → {}", operation.output),
            "read" => format!("read {key}"),
            "write" => format!("write {key} = {value}"),
            "cas" => {
                let expect = field("expect");
                match operation.output.get("actual").filter(|_| done) {
                    Some(actual) => format!("cas {key} {expect} → {value}, was {actual}"),
                    None => format!("cas {key} {expect} → {value}"),
                }
            }
            "delete" if done && operation.output.get("deleted").and_then(Value::as_bool) == Some(false) => {
                format!("delete {key}, there was none")
            }
            other => format!("{other} {key}"),
        }
    }

    fn refusal(&self, op: &Op, ret: &Ret) -> Option<String> {
        let (key, now) = (&op.key, &self.0);
        match (&op.action, ret) {
            (Action::Read, Ret::Value(value)) | (Action::Cas { .. }, Ret::Differs(value)) if value != now => {
                Some(format!("{key} is {now}, not {value}"))
            }
            (Action::Cas { expect, .. }, Ret::Differs(_)) if expect == now => {
                Some(format!("{key} is {now} as it expects, yet its compare did not hold"))
            }
            (Action::Cas { expect, .. }, Ret::Swapped) if expect != now => {
                Some(format!("{key} is {now}, not {expect} as it expects"))
            }
            (Action::Delete, Ret::Deleted(true)) if now.is_null() => {
                Some(format!("{key} is {now}, and there is nothing to delete"))
            }
            (Action::Delete, Ret::Deleted(false)) if !now.is_null() => {
                Some(format!("{key} is {now}, and the delete found nothing"))
            }
            _ => None,
        }
    }
}

fn deleted(reader: &Fields<'_>) -> Result<Ret, ParseOperation> {
    match reader.operation.output.get("deleted").and_then(Value::as_bool) {
        Some(was_there) => Ok(Ret::Deleted(was_there)),
        None => Err(reader.wrong_output("{\"deleted\":true} or {\"deleted\":false} as output")),
    }
}

fn new_value(reader: &Fields<'_>) -> Result<Value, ParseOperation> {
    match reader.operation.input.get("value") {
        Some(value @ (Value::Int(_) | Value::Text(_))) => Ok(value.clone()),
        _ => Err(reader.wrong_input("an input with \"value\", a whole number or a text")),
    }
}

fn value_or_null(value: &Value, wrong: impl FnOnce() -> ParseOperation) -> Result<Value, ParseOperation> {
    match value {
        Value::Null | Value::Int(_) | Value::Text(_) => Ok(value.clone()),
        _ => Err(wrong()),
    }
}

fn swapped(reader: &Fields<'_>) -> Result<Ret, ParseOperation> {
    const EXPECTED: &str = "{\"swapped\":true} or {\"swapped\":false,\"actual\":VALUE} as output";
    let output = &reader.operation.output;
    match (output.get("swapped").and_then(Value::as_bool), output.get("actual")) {
        (Some(true), None) => Ok(Ret::Swapped),
        (Some(false), Some(actual)) => value_or_null(actual, || reader.wrong_output(EXPECTED)).map(Ret::Differs),
        _ => Err(reader.wrong_output(EXPECTED)),
    }
}
