//! A set that grows: add an element, read them all.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `add` | `{"value":3}` | null |
//! | `read` | null | the elements as a list, in any order, each once |
//!
//! ```
//! use tribunal_checker::spec::{Set, Spec, set::{Op, Ret}};
//!
//! let mut set = Set::default();
//! set.invoke(&Op::Add(3.into()));
//! assert!(set.is_valid_step(&Op::Read, &Ret::elements([3.into()])));
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use tribunal_history::{Operation, Value};

use super::fields::label;
use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// The elements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Set(Arc<BTreeSet<Value>>);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Be a set with this element.
    Add(Value),
    /// What is in it?
    Read,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// Of an add.
    Added,
    /// Of a read.
    Elements(Arc<BTreeSet<Value>>),
}

impl Ret {
    /// These elements were read.
    pub fn elements(elements: impl IntoIterator<Item = Value>) -> Self {
        Self::Elements(Arc::new(elements.into_iter().collect()))
    }
}

impl Spec for Set {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Add(element) => {
                if !self.0.contains(element) {
                    Arc::make_mut(&mut self.0).insert(element.clone());
                }
                Ret::Added
            }
            Op::Read => Ret::Elements(self.0.clone()),
        }
    }

    fn class(op: &Op, ret: Option<&Ret>) -> Class {
        match (op, ret) {
            (Op::Read, Some(Ret::Elements(elements))) => {
                Class::Read(Some(Value::List(elements.iter().cloned().collect())))
            }
            (Op::Read, _) => Class::Read(None),
            (Op::Add(_), _) => Class::Grow(Value::Null),
        }
    }

    fn grows(from: &Value, to: &Value) -> bool {
        match (from, to) {
            // Both are in order.
            (Value::List(from), Value::List(to)) => from.iter().all(|element| to.binary_search(element).is_ok()),
            _ => true,
        }
    }

    fn may_grow_to(&self, to: &Value) -> bool {
        match to {
            Value::List(to) => self.0.len() <= to.len() && self.0.iter().all(|one| to.binary_search(one).is_ok()),
            _ => true,
        }
    }

    fn value(&self) -> Value {
        Value::List(self.0.iter().cloned().collect())
    }
}

impl Recorded for Set {
    const NAME: &'static str = "set";
    const SUMMARY: &'static str = "a set that grows: add an element, read them all";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        match operation.function.as_str() {
            "add" => {
                fields.no_output()?;
                Ok((Op::Add(fields.value()?.clone()), fields.is_done().then_some(Ret::Added)))
            }
            "read" if fields.is_done() => {
                let wrong = || fields.wrong_output("a list without repeats as output");
                let Value::List(list) = &operation.output else {
                    return Err(wrong());
                };
                let elements: BTreeSet<Value> = list.iter().cloned().collect();
                if elements.len() < list.len() {
                    return Err(wrong());
                }
                Ok((Op::Read, Some(Ret::Elements(Arc::new(elements)))))
            }
            "read" => Ok((Op::Read, None)),
            _ => Err(fields.wrong_function("add or read")),
        }
    }

    fn label(operation: &Operation) -> String {
        label(operation)
    }

    fn refusal(&self, op: &Op, ret: &Ret) -> Option<String> {
        let (Op::Read, Ret::Elements(seen)) = (op, ret) else {
            return None;
        };
        if let Some(missing) = self.0.difference(seen).next() {
            return Some(format!("{missing} is in it and was not read"));
        }
        let extra = seen.difference(&self.0).next()?;
        Some(format!("{extra} was read and is not in it"))
    }
}
