//! A lock that its owner may acquire again: it is free once it was released as often as it was acquired.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `acquire` | null, or `{"value":"me"}` to say who acts | null |
//! | `release` | the same | null |
//!
//! Who acts is the client of the operation unless the input says otherwise: a test in which one owner goes on as another
//! process, as it does after an operation in doubt, has to name its owners. An acquire while another holds the lock is not
//! legal, nor is a release by one who does not hold it.
//!
//! ```
//! use tribunal_checker::spec::{ReentrantMutex, Spec, reentrant_mutex::{Op, Ret}};
//!
//! let mut mutex = ReentrantMutex::default();
//! assert!(mutex.is_valid_step(&Op::Acquire(1.into()), &Ret::Done));
//! assert!(mutex.is_valid_step(&Op::Acquire(1.into()), &Ret::Done), "its owner may acquire it again");
//! assert!(!mutex.clone().is_valid_step(&Op::Acquire(2.into()), &Ret::Done), "another one may not");
//! assert!(mutex.is_valid_step(&Op::Release(1.into()), &Ret::Done));
//! assert!(!mutex.is_valid_step(&Op::Acquire(2.into()), &Ret::Done), "it is held once more");
//! ```

use tribunal_history::{Operation, Value};

use super::{Fields, ParseOperation, Recorded, Spec, fields};

/// Who holds it, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReentrantMutex {
    owner: Value,
    /// 0 where nobody holds it.
    times: u64,
}

/// What can be asked, by whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Let this one hold it, once more.
    Acquire(Value),
    /// This one holds it once less.
    Release(Value),
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// It was done.
    Done,
    /// It cannot be done now.
    Refused,
}

impl Spec for ReentrantMutex {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Acquire(who) if self.times == 0 || self.owner == *who => {
                self.owner.clone_from(who);
                self.times += 1;
            }
            Op::Release(who) if self.times > 0 && self.owner == *who => {
                self.times -= 1;
                if self.times == 0 {
                    self.owner = Value::Null;
                }
            }
            Op::Acquire(_) | Op::Release(_) => return Ret::Refused,
        }
        Ret::Done
    }

    fn value(&self) -> Value {
        match self.times {
            0 => "free".into(),
            times => format!("held {times} times by {}", self.owner).into(),
        }
    }
}

impl Recorded for ReentrantMutex {
    const NAME: &'static str = "reentrant-mutex";
    const SUMMARY: &'static str = "a lock that its owner may acquire again: acquire, release";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        fields.no_output()?;
        let who = match operation.input.get("value") {
            None | Some(Value::Null) => Value::Int(i64::from(operation.process.0)),
            Some(who) => who.clone(),
        };
        let op = match operation.function.as_str() {
            "acquire" => Op::Acquire(who),
            "release" => Op::Release(who),
            _ => return Err(fields.wrong_function("acquire or release")),
        };
        Ok((op, fields.is_done().then_some(Ret::Done)))
    }

    fn observes(_: &Op, _: &Ret) -> bool {
        true
    }

    fn label(operation: &Operation) -> String {
        match operation.input.get("value") {
            None | Some(Value::Null) => format!("{} by client {}", operation.function, operation.process),
            Some(_) => fields::label(operation),
        }
    }

    fn refusal(&self, op: &Op, _: &Ret) -> Option<String> {
        match op {
            Op::Acquire(who) if self.times > 0 && self.owner != *who => {
                Some(format!("the lock is held by {}", self.owner))
            }
            Op::Release(_) if self.times == 0 => Some("the lock is free".to_owned()),
            Op::Release(who) if self.owner != *who => Some(format!("the lock is held by {}", self.owner)),
            _ => None,
        }
    }
}
