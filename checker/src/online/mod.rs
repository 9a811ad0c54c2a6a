//! Judges a history while it is made: a violation is told with the event that completes it.
//!
//! What cannot be explained so far can never be explained by what comes later, so nothing is waited for. [`Zones`] follows
//! registers whose values are all different, key by key, in memory for what is open, what is live and what is in doubt for
//! good, however long the history is. Where values repeat, since keys are deleted, it follows a key in the order of the store's
//! revisions, if the answers carry them. Where neither explains a key it follows it no further and says so; such a key is a
//! matter of [`judge`](crate::judge()) at the end. It never says *violated* where the engines behind that say *holds*, nor the
//! other way round.
//!
//! ```
//! use tribunal_checker::online::{Follow, Zones};
//! use tribunal_checker::spec::Register;
//! use tribunal_history::Event;
//!
//! let history = r#"
//!     {"type":"invoke","seq":0,"time_ns":10,"process":0,"node":"n1","function":"write","input":{"key":"x","value":1}}
//!     {"type":"ok","seq":1,"time_ns":20,"process":0}
//!     {"type":"invoke","seq":2,"time_ns":30,"process":1,"node":"n2","function":"read","input":{"key":"x"}}
//!     {"type":"ok","seq":3,"time_ns":40,"process":1,"output":null}"#;
//! let mut zones = Zones::<Register>::default();
//! let mut found = None;
//! for line in history.lines().filter(|line| !line.is_empty()) {
//!     let mut event: Event = serde_json::from_str(line).expect("an event");
//!     found = found.or(zones.event(&mut event).expect("a history of registers"));
//! }
//! assert_eq!(found.expect("a stale read").seq.0, 3);
//! ```

use tribunal_history::{Event, Seq};

use crate::judge::JudgeError;
use crate::spec::{CasRegister, Recorded, Register};

mod key;
mod order;
mod zones;

pub use zones::Zones;

/// Something that follows a history.
pub trait Follow: Send {
    /// Takes the next event. A violation is told once, with the event that completes it. The contents of `event` may be
    /// exchanged for others, so that nothing has to be copied.
    fn event(&mut self, event: &mut Event) -> Result<Option<Violation>, JudgeError>;

    /// What has been followed so far.
    fn followed(&self) -> Followed;
}

/// What follows histories of the specification of that name; none if nothing does, so that a history is judged at its end.
pub fn follow(specification: &str) -> Option<Box<dyn Follow>> {
    match specification {
        Register::NAME => Some(Box::new(Zones::<Register>::default())),
        CasRegister::NAME => Some(Box::new(Zones::<CasRegister>::default())),
        _ => None,
    }
}

/// Why no order explains what has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The event that completed it.
    pub seq: Seq,
    /// Its time, nanoseconds since the start of the run.
    pub time_ns: u64,
    /// The key, if the objects have keys.
    pub key: Option<String>,
    /// The operation that ended with it.
    pub operation: String,
    /// Why there is no order.
    pub reason: Reason,
}

/// What is wrong, as it looks when it happens. The finding of the judgement afterwards says it with its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A value was seen that nobody had asked for, or that was overwritten before the operation began.
    NotCurrent,
    /// A value was current when another one must have been.
    Overlap,
    /// Two operations that both took effect replaced the same value, or values were each made of another in a circle.
    Replaced,
    /// An operation that definitely did not happen had been seen.
    DidNotHappen,
    /// The answer contradicts its own question.
    Contradiction,
}

impl Reason {
    /// In words, to stand behind the operation.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NotCurrent => "the value was never asked for, or was overwritten before the operation began",
            Self::Overlap => "the value was current at a time when another one must have been",
            Self::Replaced => "two operations replaced the same value, and both took effect",
            Self::DidNotHappen => "it definitely did not happen, but its value had been seen",
            Self::Contradiction => "the answer contradicts the question",
        }
    }
}

/// How far a history was followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Operations that began.
    pub operations: u64,
    /// Those that ended ok and observed a value.
    pub reads: u64,
    /// Objects.
    pub keys: usize,
    /// Objects that could not be followed to the end: values repeat, or what an operation does to a value is not known, and
    /// revisions do not tell the order either. Counted as if the history ended here, so that what is open is in doubt.
    pub given_up: usize,
    /// Values that are remembered now, and operations that wait for their place in the order of revisions or are in doubt.
    pub remembered: usize,
    /// The most that were remembered at one time of those that were looked at.
    pub remembered_max: usize,
}
