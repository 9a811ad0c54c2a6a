//! Findings: what was proved to be wrong, small enough to understand.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Cause, Ending};
use crate::id::{NodeId, ProcessId, Revision, Seq, Term};
use crate::picture::Picture;
use crate::record::Record;
use crate::value::Value;

/// One violation with its smallest explanation (`findings/<n>/finding.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The property that it violates, the id in the report's list.
    pub property: String,
    /// What kind of wrong it is.
    pub class: AnomalyClass,
    /// The key it concerns, if it concerns one.
    pub key: Option<String>,
    /// What happened, in a sentence or two for people: keys, clients, nodes, times.
    pub sentence: String,
    /// The circumstances in a sentence: the faults active then, and who led.
    pub context: String,
    /// The operations that cannot be explained together, in order of their invocations.
    pub operations: Vec<DrawnOperation>,
    /// State of the object before the first of them, as the rest of the history leaves it.
    pub state_before: Value,
    /// The longest legal order that was found, by place in `operations`, with the state after each.
    pub longest_legal: Vec<Placed>,
    /// The operations that fit nowhere after it, each with the reason.
    pub blocked: Vec<Blocked>,
    /// How much was left out to get here.
    pub minimised: Minimised,
    /// When it was complete: nanoseconds since the start of the run at which the last of its operations ended.
    pub time_ns: u64,
    /// The cluster at that instant, where a promise of the protocol was broken.
    pub picture: Option<Picture>,
}

impl Record for Finding {
    const FORMAT: &'static str = "tribunal-finding";
    /// 2: a picture. What version 1 has is unchanged.
    const VERSION: u32 = 2;
    const VERSION_MIN: u32 = 1;
}

impl Finding {
    /// Property, class and shape: equal for findings that look like the same defect, so that a script can tell
    /// new from known.
    pub fn fingerprint(&self) -> String {
        let shape: Vec<&str> = self
            .operations
            .iter()
            .map(|operation| operation.function.as_str())
            .collect();
        format!("{}/{}/{}", self.property, self.class, shape.join("-"))
    }
}

/// An operation as a drawing needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawnOperation {
    /// Who asked.
    pub process: ProcessId,
    /// Whom it asked.
    pub node: NodeId,
    /// What was asked.
    pub function: String,
    /// With which arguments.
    pub input: Value,
    /// What came back.
    pub output: Value,
    /// For people, such as `write k2 = 17` or `read k2 → 17`.
    pub label: String,
    /// How it ended.
    pub ending: Ending,
    /// Why it did not end ok.
    pub cause: Option<Cause>,
    /// Place of its invocation.
    pub invoked: Seq,
    /// Time of its invocation, nanoseconds since the start of the run.
    pub invoked_ns: u64,
    /// Place of its completion.
    pub completed: Option<Seq>,
    /// Time of its completion, nanoseconds since the start of the run.
    pub completed_ns: Option<u64>,
    /// The revision in the reply.
    pub revision: Option<Revision>,
    /// The term in the reply.
    pub term: Option<Term>,
}

/// One step of a legal order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Place in the finding's `operations`.
    pub operation: usize,
    /// State of the object after it.
    pub state: Value,
}

/// An operation that fits nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// Place in the finding's `operations`.
    pub operation: usize,
    /// Why not, for people.
    pub why: String,
}

/// How far a counterexample was reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minimised {
    /// Operations on the object in the whole history.
    pub from: usize,
    /// Operations left.
    pub to: usize,
    /// Whether a search of another kind proved the rest illegal again.
    pub proved_again: bool,
}

/// Classes of anomalies, by their usual names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyClass {
    /// A read returned a value that an acknowledged write had already replaced.
    StaleRead,
    /// An acknowledged write left no trace.
    LostWrite,
    /// Two updates were made on one state, and one of them is gone.
    LostUpdate,
    /// A value was read that nobody wrote.
    PhantomValue,
    /// An operation that definitely failed took effect.
    FailedTookEffect,
    /// An operation took effect, and was then done again and answered by its own effect.
    ExecutedTwice,
    /// The values can be explained, the revisions that came with them cannot: one stands for two changes, goes back in
    /// time, was made by nobody, or does not show what it should.
    RevisionContract,
    /// The protocol broke a promise among the nodes, whatever clients saw of it.
    BrokenPromise,
    /// No order explains the operations, and no narrower name fits.
    NotLinearizable,
}

impl AnomalyClass {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::StaleRead => "stale-read",
            Self::LostWrite => "lost-write",
            Self::LostUpdate => "lost-update",
            Self::PhantomValue => "phantom-value",
            Self::FailedTookEffect => "failed-took-effect",
            Self::ExecutedTwice => "executed-twice",
            Self::RevisionContract => "revision-contract",
            Self::BrokenPromise => "broken-promise",
            Self::NotLinearizable => "not-linearizable",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::StaleRead => "stale read",
            Self::LostWrite => "lost write",
            Self::LostUpdate => "lost update",
            Self::PhantomValue => "value that nobody wrote",
            Self::FailedTookEffect => "failed operation took effect",
            Self::ExecutedTwice => "operation executed twice",
            Self::RevisionContract => "revision contract violated",
            Self::BrokenPromise => "broken promise of the protocol",
            Self::NotLinearizable => "not linearizable",
        }
    }
}

impl fmt::Display for AnomalyClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
