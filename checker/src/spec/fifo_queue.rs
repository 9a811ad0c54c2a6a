//! A queue: what was put in first comes out first.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `enqueue` | `{"value":3}` | null |
//! | `dequeue` | null | what came out; null if the queue was empty |
//!
//! ```
//! use tribunal_checker::spec::{FifoQueue, Spec, fifo_queue::{Op, Ret}};
//!
//! let mut queue = FifoQueue::default();
//! queue.invoke(&Op::Enqueue(1.into()));
//! queue.invoke(&Op::Enqueue(2.into()));
//! assert_eq!(queue.invoke(&Op::Dequeue), Ret::Out(Some(1.into())));
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use tribunal_history::{Operation, Value};

use super::fields::label;
use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// What is in it, the next one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FifoQueue(Arc<VecDeque<Value>>);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Take this in.
    Enqueue(Value),
    /// Give the next one out.
    Dequeue,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// Of an enqueue.
    In,
    /// Of a dequeue; none if there was nothing.
    Out(Option<Value>),
}

impl Spec for FifoQueue {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Enqueue(value) => {
                Arc::make_mut(&mut self.0).push_back(value.clone());
                Ret::In
            }
            Op::Dequeue if self.0.is_empty() => Ret::Out(None),
            Op::Dequeue => Ret::Out(Arc::make_mut(&mut self.0).pop_front()),
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        // Looking first spares a copy of the queue.
        match (op, ret) {
            (Op::Dequeue, Ret::Out(out)) if self.0.front() != out.as_ref() => false,
            _ => self.invoke(op) == *ret,
        }
    }

    fn class(op: &Op, ret: Option<&Ret>) -> Class {
        match (op, ret) {
            (Op::Dequeue, Some(Ret::Out(None))) => Class::Read(Some(Value::List(Vec::new()))),
            _ => Class::Opaque,
        }
    }

    fn value(&self) -> Value {
        Value::List(self.0.iter().cloned().collect())
    }
}

impl Recorded for FifoQueue {
    const NAME: &'static str = "fifo-queue";
    const SUMMARY: &'static str = "a queue, first in first out: enqueue, dequeue";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        let (op, ret) = match operation.function.as_str() {
            "enqueue" => {
                fields.no_output()?;
                (Op::Enqueue(fields.value()?.clone()), Ret::In)
            }
            "dequeue" => {
                let out = Some(&operation.output).filter(|value| !value.is_null());
                (Op::Dequeue, Ret::Out(out.cloned()))
            }
            _ => return Err(fields.wrong_function("enqueue or dequeue")),
        };
        Ok((op, fields.is_done().then_some(ret)))
    }

    fn observes(op: &Op, _: &Ret) -> bool {
        *op == Op::Dequeue
    }

    fn label(operation: &Operation) -> String {
        label(operation)
    }

    fn refusal(&self, op: &Op, ret: &Ret) -> Option<String> {
        let (Op::Dequeue, Ret::Out(out)) = (op, ret) else {
            return None;
        };
        match (self.0.front(), out) {
            (None, Some(out)) => Some(format!("the queue is empty, {out} cannot come out")),
            (Some(next), None) => Some(format!("the queue is not empty, {next} is next")),
            (Some(next), Some(out)) if next != out => Some(format!("{next} is next, not {out}")),
            _ => None,
        }
    }
}
