//! A lock that one client holds at a time: acquire, release.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `acquire` | null | null |
//! | `release` | null | null |
//!
//! Who holds it is not looked at, as in Knossos' model of the same name: a release by another client frees it.
//!
//! ```
//! use tribunal_checker::spec::{Mutex, Spec, mutex::{Op, Ret}};
//!
//! let mut mutex = Mutex::default();
//! assert!(mutex.is_valid_step(&Op::Acquire, &Ret::Done));
//! assert!(!mutex.is_valid_step(&Op::Acquire, &Ret::Done), "it is held");
//! ```

use tribunal_history::{Operation, Value};

use super::{Fields, ParseOperation, Recorded, Spec};

/// Whether it is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mutex {
    is_held: bool,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Let me hold it.
    Acquire,
    /// I hold it no longer.
    Release,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// It was done.
    Done,
    /// It cannot be done now.
    Refused,
}

impl Spec for Mutex {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        let acquires = *op == Op::Acquire;
        if self.is_held == acquires {
            return Ret::Refused;
        }
        self.is_held = acquires;
        Ret::Done
    }

    fn value(&self) -> Value {
        if self.is_held { "held" } else { "free" }.into()
    }
}

impl Recorded for Mutex {
    const NAME: &'static str = "mutex";
    const SUMMARY: &'static str = "a lock that one client holds at a time: acquire, release";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        fields.no_output()?;
        let op = match operation.function.as_str() {
            "acquire" => Op::Acquire,
            "release" => Op::Release,
            _ => return Err(fields.wrong_function("acquire or release")),
        };
        Ok((op, fields.is_done().then_some(Ret::Done)))
    }

    fn observes(_: &Op, _: &Ret) -> bool {
        true
    }

    fn label(operation: &Operation) -> String {
        operation.function.clone()
    }

    fn refusal(&self, op: &Op, _: &Ret) -> Option<String> {
        match op {
            Op::Acquire if self.is_held => Some("the lock is held".to_owned()),
            Op::Release if !self.is_held => Some("the lock is free".to_owned()),
            _ => None,
        }
    }
}
