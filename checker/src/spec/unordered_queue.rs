//! A queue without order: what was put in comes out once, sooner or later than the rest.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `enqueue` | `{"value":3}` | null |
//! | `dequeue` | null | what came out |
//!
//! Without order each value is an object of its own, with a number of copies in the queue, and is judged by itself. A
//! dequeue that found nothing concerns all values at once; it is to be recorded as a definite failure, as Jepsen does,
//! and says nothing. So does a dequeue in doubt: taking a copy away makes nothing possible that was not.
//!
//! ```
//! use tribunal_checker::spec::{Spec, UnorderedQueue, unordered_queue::{Op, Ret}};
//!
//! let mut copies = UnorderedQueue::default();
//! assert!(copies.is_valid_step(&Op::enqueue(3.into()), &Ret::Done));
//! assert!(copies.is_valid_step(&Op::dequeue(3.into()), &Ret::Done));
//! assert!(!copies.is_valid_step(&Op::dequeue(3.into()), &Ret::Done), "it came out once already");
//! ```

use std::sync::Arc;

use tribunal_history::{Operation, Value};

use super::fields::{label, name};
use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// How many copies of one value are in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnorderedQueue {
    copies: u64,
}

/// What can be asked, with the value that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// Name of the value; none where it is not known what came out.
    value: Option<Arc<str>>,
    goes_in: bool,
}

impl Op {
    /// Take this in.
    pub fn enqueue(value: Value) -> Self {
        Self {
            value: Some(name(&value).into()),
            goes_in: true,
        }
    }

    /// Give one out, which was this.
    pub fn dequeue(value: Value) -> Self {
        Self {
            value: Some(name(&value).into()),
            goes_in: false,
        }
    }
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// It was done.
    Done,
    /// There is no copy.
    Missing,
}

impl Spec for UnorderedQueue {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        if op.goes_in {
            self.copies += 1;
        } else if self.copies == 0 {
            return Ret::Missing;
        } else {
            self.copies -= 1;
        }
        Ret::Done
    }

    fn partition(op: &Op) -> Option<&str> {
        op.value.as_deref()
    }

    fn class(op: &Op, _: Option<&Ret>) -> Class {
        match op.value {
            Some(_) => Class::Opaque,
            None => Class::Read(None),
        }
    }

    fn value(&self) -> Value {
        i64::try_from(self.copies).unwrap_or(i64::MAX).into()
    }
}

impl Recorded for UnorderedQueue {
    const NAME: &'static str = "unordered-queue";
    const SUMMARY: &'static str = "a queue without order: enqueue, dequeue";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        let op = match operation.function.as_str() {
            "enqueue" => {
                fields.no_output()?;
                Op::enqueue(fields.value()?.clone())
            }
            "dequeue" if !fields.is_done() => Op {
                value: None,
                goes_in: false,
            },
            "dequeue" if operation.output.is_null() => {
                return Err(fields.wrong_output("a value as output (a dequeue that found nothing ends with fail)"));
            }
            "dequeue" => Op::dequeue(operation.output.clone()),
            _ => return Err(fields.wrong_function("enqueue or dequeue")),
        };
        Ok((op, fields.is_done().then_some(Ret::Done)))
    }

    fn observes(op: &Op, _: &Ret) -> bool {
        !op.goes_in
    }

    fn label(operation: &Operation) -> String {
        label(operation)
    }

    fn refusal(&self, op: &Op, _: &Ret) -> Option<String> {
        let value = op.value.as_deref().filter(|_| !op.goes_in && self.copies == 0)?;
        Some(format!("there is no {value} in the queue"))
    }
}
