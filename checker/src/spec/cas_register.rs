//! A register with compare-and-set as Jepsen's tests record it: any values, nil among them, one register or one under
//! each key.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `read` | null, or `{"key":"r"}` | what it holds; nil at first |
//! | `write` | `{"value":3}` | null |
//! | `cas` | `{"expect":3,"value":4}` | `{"swapped":true}`, `{"swapped":false}` or `{"swapped":false,"actual":9}` |
//!
//! Each input may have a `key`. A compare that did not hold and did not say what it found still says something: the
//! register did not hold what was expected. Where a test records it as a definite failure, which Jepsen's do, it is left
//! out like any other.
//!
//! ```
//! use tribunal_checker::spec::{CasRegister, Spec, cas_register::{Action, Op, Ret}};
//! use tribunal_history::Value;
//!
//! let op = |action| Op { key: None, action };
//! let mut register = CasRegister::default();
//! assert_eq!(register.invoke(&op(Action::Read)), Ret::Value(Value::Null));
//! assert_eq!(register.invoke(&op(Action::Write(3.into()))), Ret::Written);
//! let cas = op(Action::Cas { expect: 1.into(), value: 4.into() });
//! assert!(register.is_valid_step(&cas, &Ret::Differs(None)), "it holds 3, not 1");
//! assert!(!register.is_valid_step(&cas, &Ret::Swapped));
//! ```

use std::sync::Arc;

use tribunal_history::{Ending, Operation, Value};

use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// The register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CasRegister(Value);

/// What can be asked of a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// Whose register, where there are several.
    pub key: Option<Arc<str>>,
    /// What is asked.
    pub action: Action,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// What does it hold?
    Read,
    /// Hold this.
    Write(Value),
    /// Hold `value` if you hold `expect`.
    Cas {
        /// What it must hold.
        expect: Value,
        /// What it is to hold.
        value: Value,
    },
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
    /// Of a compare-and-set whose compare did not hold, with what was found if that was said.
    Differs(Option<Value>),
}

impl Spec for CasRegister {
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
            Action::Cas { .. } => Ret::Differs(Some(self.0.clone())),
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        match (&op.action, ret) {
            (Action::Read, Ret::Value(value)) => self.0 == *value,
            (Action::Cas { expect, .. }, Ret::Differs(actual)) => {
                self.0 != *expect && actual.as_ref().is_none_or(|actual| self.0 == *actual)
            }
            _ => self.invoke(op) == *ret,
        }
    }

    fn partition(op: &Op) -> Option<&str> {
        op.key.as_deref()
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
            (Action::Cas { .. }, Some(Ret::Differs(Some(actual)))) => Class::Read(Some(actual.clone())),
            (Action::Cas { expect, .. }, Some(Ret::Differs(None))) => Class::Differs(expect.clone()),
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

impl Recorded for CasRegister {
    const NAME: &'static str = "cas-register";
    const SUMMARY: &'static str =
        "a register as Jepsen records it: read, write, compare-and-set, nil, with or without keys";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        let key = fields.key_if_any()?.map(Arc::from);
        let action = match operation.function.as_str() {
            "read" => Action::Read,
            "write" => {
                let value = operation.input.get("value");
                let value = value.ok_or_else(|| fields.wrong_input("an input with \"value\""))?;
                Action::Write(value.clone())
            }
            "cas" => {
                let (Some(expect), Some(value)) = (operation.input.get("expect"), operation.input.get("value")) else {
                    return Err(fields.wrong_input("an input with \"expect\" and \"value\""));
                };
                Action::Cas {
                    expect: expect.clone(),
                    value: value.clone(),
                }
            }
            _ => return Err(fields.wrong_function("read, write or cas")),
        };
        let op = Op { key, action };
        let ret = Self::answer(&op, operation)?;
        Ok((op, ret))
    }

    fn answer(op: &Op, operation: &Operation) -> Result<Option<Ret>, ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        if !fields.is_done() {
            return Ok(None);
        }
        let output = &operation.output;
        let ret = match &op.action {
            Action::Read => Ret::Value(output.clone()),
            Action::Write(_) => {
                fields.no_output()?;
                Ret::Written
            }
            Action::Cas { .. } => match (output.get("swapped"), output.get("actual")) {
                (Some(Value::Bool(true)), None) => Ret::Swapped,
                (Some(Value::Bool(false)), actual) => Ret::Differs(actual.cloned()),
                _ => return Err(fields.wrong_output("an output with \"swapped\", true or false")),
            },
        };
        Ok(Some(ret))
    }

    fn label(operation: &Operation) -> String {
        let field = |name: &str| operation.input.get(name).cloned().unwrap_or_default();
        let key = operation
            .input
            .get("key")
            .map_or_else(String::new, |key| format!(" {key}"));
        let done = operation.ending == Ending::Ok;
        match operation.function.as_str() {
            "read" if done => format!("read{key} → {}", operation.output),
            "write" if key.is_empty() => format!("write {}", field("value")),
            "write" => format!("write{key} = {}", field("value")),
            "cas" => {
                let asked = format!("cas{key} {} → {}", field("expect"), field("value"));
                match (operation.output.get("swapped"), operation.output.get("actual")) {
                    (Some(Value::Bool(false)), Some(actual)) => format!("{asked}, was {actual}"),
                    (Some(Value::Bool(false)), None) => format!("{asked}, was another"),
                    _ => asked,
                }
            }
            other => format!("{other}{key}"),
        }
    }

    fn refusal(&self, op: &Op, ret: &Ret) -> Option<String> {
        let name = op.key.as_deref().unwrap_or("the register");
        let now = &self.0;
        match (&op.action, ret) {
            (Action::Read, Ret::Value(value)) | (Action::Cas { .. }, Ret::Differs(Some(value))) if value != now => {
                Some(format!("{name} is {now}, not {value}"))
            }
            (Action::Cas { expect, .. }, Ret::Differs(_)) if expect == now => {
                Some(format!("{name} is {now} as it expects, yet its compare did not hold"))
            }
            (Action::Cas { expect, .. }, Ret::Swapped) if expect != now => {
                Some(format!("{name} is {now}, not {expect} as it expects"))
            }
            _ => None,
        }
    }
}
