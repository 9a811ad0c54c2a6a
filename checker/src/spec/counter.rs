//! A counter: add to it, read it.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `add` | `{"value":-2}` | null |
//! | `read` | null | the sum; 0 at first |
//!
//! ```
//! use tribunal_checker::spec::{Counter, Spec, counter::{Op, Ret}};
//!
//! let mut counter = Counter::default();
//! counter.invoke(&Op::Add(5));
//! counter.invoke(&Op::Add(-2));
//! assert_eq!(counter.invoke(&Op::Read), Ret::Sum(3));
//! ```

use tribunal_history::{Operation, Value};

use super::fields::label;
use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// The sum. Wider than what is added, so that no history overflows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counter(i128);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Be more by this.
    Add(i64),
    /// How much is it?
    Read,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// Of an add.
    Added,
    /// Of a read.
    Sum(i128),
}

fn value_of(sum: i128) -> Value {
    i64::try_from(sum).map_or_else(|_| sum.to_string().into(), Value::Int)
}

impl Spec for Counter {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Add(more) => {
                self.0 += i128::from(*more);
                Ret::Added
            }
            Op::Read => Ret::Sum(self.0),
        }
    }

    fn class(op: &Op, ret: Option<&Ret>) -> Class {
        match (op, ret) {
            (Op::Read, Some(Ret::Sum(sum))) => Class::Read(Some(value_of(*sum))),
            (Op::Read, _) => Class::Read(None),
            (Op::Add(_), _) => Class::Opaque,
        }
    }

    fn value(&self) -> Value {
        value_of(self.0)
    }
}

impl Recorded for Counter {
    const NAME: &'static str = "counter";
    const SUMMARY: &'static str = "a counter: add to it, read it";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        match operation.function.as_str() {
            "add" => {
                fields.no_output()?;
                let wrong = || fields.wrong_input("an input with \"value\", a whole number");
                let more = fields.value()?.as_int().ok_or_else(wrong)?;
                Ok((Op::Add(more), fields.is_done().then_some(Ret::Added)))
            }
            "read" if fields.is_done() => {
                let wrong = || fields.wrong_output("a whole number as output");
                let sum = operation.output.as_int().ok_or_else(wrong)?;
                Ok((Op::Read, Some(Ret::Sum(sum.into()))))
            }
            "read" => Ok((Op::Read, None)),
            _ => Err(fields.wrong_function("add or read")),
        }
    }

    fn label(operation: &Operation) -> String {
        label(operation)
    }

    fn refusal(&self, op: &Op, ret: &Ret) -> Option<String> {
        match (op, ret) {
            (Op::Read, Ret::Sum(sum)) if *sum != self.0 => Some(format!("the counter is {}, not {sum}", self.0)),
            _ => None,
        }
    }
}
