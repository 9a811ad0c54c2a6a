//! Several registers that are read and written together.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `txn` | `{"value":[["read","x",null],["write","y",2]]}` | the same list, with what was read in the place of null |
//!
//! A transaction takes effect at one moment, its parts in order. `r` and `w` are `read` and `write`, and so are Jepsen's
//! keywords. As in Knossos' model of the same name, a read whose output is null says nothing. What the registers hold at
//! first is not recorded: a register that was not written yet holds whatever it is first read to hold.
//!
//! ```
//! use tribunal_checker::spec::{MultiRegister, Spec, multi_register::{Op, Part}};
//!
//! let mut registers = MultiRegister::default();
//! registers.invoke(&Op(vec![Part::write("x", 1), Part::write("y", 2)]));
//! let both = Op(vec![Part::read("x"), Part::read("y")]);
//! assert!(registers.clone().is_valid_step(&both, &vec![Some(1.into()), Some(2.into())]));
//! assert!(!registers.is_valid_step(&both, &vec![Some(1.into()), Some(3.into())]));
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use tribunal_history::{Operation, Value};

use super::fields::{label, name};
use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// What the registers hold, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MultiRegister(BTreeMap<Arc<str>, Value>);

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op(pub Vec<Part>);

/// One part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Which register.
    pub key: Arc<str>,
    /// What it is to hold; none to read it.
    pub write: Option<Value>,
}

impl Part {
    /// A read.
    pub fn read(key: &str) -> Self {
        Self {
            key: key.into(),
            write: None,
        }
    }

    /// A write.
    pub fn write(key: &str, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            write: Some(value.into()),
        }
    }
}

impl Spec for MultiRegister {
    type Op = Op;
    /// By part, what was read; none of a write and where it is not known.
    type Ret = Vec<Option<Value>>;

    fn invoke(&mut self, op: &Op) -> Self::Ret {
        op.0.iter()
            .map(|part| match &part.write {
                Some(value) => {
                    self.0.insert(part.key.clone(), value.clone());
                    None
                }
                None => self.0.get(&part.key).cloned(),
            })
            .collect()
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Self::Ret) -> bool {
        ret.len() == op.0.len()
            && op.0.iter().zip(ret).all(|(part, seen)| match (&part.write, seen) {
                (Some(value), _) => {
                    self.0.insert(part.key.clone(), value.clone());
                    true
                }
                (None, Some(seen)) => self.0.entry(part.key.clone()).or_insert_with(|| seen.clone()) == seen,
                (None, None) => true,
            })
    }

    fn class(op: &Op, ret: Option<&Self::Ret>) -> Class {
        let says_nothing = ret.is_none_or(|ret| ret.iter().all(Option::is_none));
        if says_nothing && op.0.iter().all(|part| part.write.is_none()) {
            Class::Read(None)
        } else {
            Class::Opaque
        }
    }

    fn value(&self) -> Value {
        Value::Map(
            self.0
                .iter()
                .map(|(key, value)| (key.to_string(), value.clone()))
                .collect(),
        )
    }
}

impl Recorded for MultiRegister {
    const NAME: &'static str = "multi-register";
    const SUMMARY: &'static str = "several registers, read and written together: txn";

    fn parse(operation: &Operation) -> Result<(Op, Option<Self::Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        if operation.function != "txn" {
            return Err(fields.wrong_function("txn"));
        }
        let wrong = || {
            fields.wrong_input("an input with \"value\", a list of [\"read\", KEY, null] and [\"write\", KEY, VALUE]")
        };
        let parts = parts(fields.value()?).ok_or_else(wrong)?;
        let ret = fields
            .is_done()
            .then(|| {
                let wrong = || fields.wrong_output("the input's list with what was read as output");
                seen(&parts, &operation.output).ok_or_else(wrong)
            })
            .transpose()?;
        let op = parts.into_iter().map(|(part, _)| part).collect();
        Ok((Op(op), ret))
    }

    fn observes(_: &Op, ret: &Self::Ret) -> bool {
        ret.iter().any(Option::is_some)
    }

    fn label(operation: &Operation) -> String {
        label(operation)
    }

    fn refusal(&self, op: &Op, ret: &Self::Ret) -> Option<String> {
        let mut now = self.clone();
        op.0.iter().zip(ret).find_map(|(part, seen)| {
            let held = match &part.write {
                Some(value) => return now.0.insert(part.key.clone(), value.clone()).and(None),
                None => now.0.get(&part.key)?,
            };
            let seen = seen.as_ref().filter(|seen| *seen != held)?;
            Some(format!("{} is {held}, not {seen}", part.key))
        })
    }
}

/// The parts of a transaction, each with the value that stands in it.
fn parts(list: &Value) -> Option<Vec<(Part, &Value)>> {
    let Value::List(list) = list else {
        return None;
    };
    list.iter()
        .map(|part| {
            let Value::List(part) = part else {
                return None;
            };
            let [Value::Text(function), key, value] = part.as_slice() else {
                return None;
            };
            let write = match function.trim_start_matches(':') {
                "read" | "r" => None,
                "write" | "w" => Some(value.clone()),
                _ => return None,
            };
            let key = match key {
                Value::Text(key) => key.as_str().into(),
                key => name(key).into(),
            };
            Some((Part { key, write }, value))
        })
        .collect()
}

/// What was read, if the output has the same parts as the input.
fn seen(asked: &[(Part, &Value)], output: &Value) -> Option<Vec<Option<Value>>> {
    let told = parts(output)?;
    let same = told.len() == asked.len() && told.iter().zip(asked).all(|((told, _), (asked, _))| told == asked);
    same.then(|| {
        told.iter()
            .map(|(part, value)| (part.write.is_none() && !value.is_null()).then(|| (*value).clone()))
            .collect()
    })
}
