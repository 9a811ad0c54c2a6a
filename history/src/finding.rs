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
    /// Transactions overwrote each other's writes in a circle.
    G0,
    /// A transaction read what a failed one wrote.
    G1a,
    /// A transaction read what another one overwrote itself before it ended.
    G1b,
    /// Transactions read from each other, or overwrote each other, in a circle.
    G1c,
    /// A circle with one transaction that missed what another one wrote.
    GSingle,
    /// A circle with several transactions that missed what others wrote, no two of them next to each other.
    GNonadjacent,
    /// A circle in which neighbours missed what the next one wrote.
    G2Item,
    /// The same as [`Self::G0`], with a step made by the order of a client's transactions.
    G0Process,
    /// The same as [`Self::G1c`], with a step made by the order of a client's transactions.
    G1cProcess,
    /// The same as [`Self::GSingle`], with a step made by the order of a client's transactions.
    GSingleProcess,
    /// The same as [`Self::GNonadjacent`], with a step made by the order of a client's transactions.
    GNonadjacentProcess,
    /// The same as [`Self::G2Item`], with a step made by the order of a client's transactions.
    G2ItemProcess,
    /// The same as [`Self::G0`], with a step made by what had ended before another began.
    G0Realtime,
    /// The same as [`Self::G1c`], with a step made by what had ended before another began.
    G1cRealtime,
    /// The same as [`Self::GSingle`], with a step made by what had ended before another began.
    GSingleRealtime,
    /// The same as [`Self::GNonadjacent`], with a step made by what had ended before another began.
    GNonadjacentRealtime,
    /// The same as [`Self::G2Item`], with a step made by what had ended before another began.
    G2ItemRealtime,
    /// A transaction contradicts itself: it does not read what it read or wrote before.
    Internal,
    /// A transaction built upon what a failed one wrote.
    DirtyUpdate,
    /// A list holds an element twice that was appended once.
    DuplicateElements,
    /// Two reads of a list of which neither begins with the other.
    IncompatibleOrder,
    /// A client saw versions of a key in an order that its session excludes.
    SessionGuarantee,
    /// No order that keeps each client's own explains the operations.
    NotSequential,
    /// No order explains the operations, and no narrower name fits.
    NotLinearizable,
}

impl AnomalyClass {
    /// Every class.
    pub const ALL: [Self; 32] = [
        Self::StaleRead,
        Self::LostWrite,
        Self::LostUpdate,
        Self::PhantomValue,
        Self::FailedTookEffect,
        Self::ExecutedTwice,
        Self::RevisionContract,
        Self::BrokenPromise,
        Self::G0,
        Self::G1a,
        Self::G1b,
        Self::G1c,
        Self::GSingle,
        Self::GNonadjacent,
        Self::G2Item,
        Self::G0Process,
        Self::G1cProcess,
        Self::GSingleProcess,
        Self::GNonadjacentProcess,
        Self::G2ItemProcess,
        Self::G0Realtime,
        Self::G1cRealtime,
        Self::GSingleRealtime,
        Self::GNonadjacentRealtime,
        Self::G2ItemRealtime,
        Self::Internal,
        Self::DirtyUpdate,
        Self::DuplicateElements,
        Self::IncompatibleOrder,
        Self::SessionGuarantee,
        Self::NotSequential,
        Self::NotLinearizable,
    ];

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
            Self::G0 => "g0",
            Self::G1a => "g1a",
            Self::G1b => "g1b",
            Self::G1c => "g1c",
            Self::GSingle => "g-single",
            Self::GNonadjacent => "g-nonadjacent",
            Self::G2Item => "g2-item",
            Self::G0Process => "g0-process",
            Self::G1cProcess => "g1c-process",
            Self::GSingleProcess => "g-single-process",
            Self::GNonadjacentProcess => "g-nonadjacent-process",
            Self::G2ItemProcess => "g2-item-process",
            Self::G0Realtime => "g0-realtime",
            Self::G1cRealtime => "g1c-realtime",
            Self::GSingleRealtime => "g-single-realtime",
            Self::GNonadjacentRealtime => "g-nonadjacent-realtime",
            Self::G2ItemRealtime => "g2-item-realtime",
            Self::Internal => "internal",
            Self::DirtyUpdate => "dirty-update",
            Self::DuplicateElements => "duplicate-elements",
            Self::IncompatibleOrder => "incompatible-order",
            Self::SessionGuarantee => "session-guarantee",
            Self::NotSequential => "not-sequential",
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
            Self::G0 => "write cycle (G0)",
            Self::G1a => "aborted read (G1a)",
            Self::G1b => "intermediate read (G1b)",
            Self::G1c => "circular information flow (G1c)",
            Self::GSingle => "read skew (G-single)",
            Self::GNonadjacent => "long fork (G-nonadjacent)",
            Self::G2Item => "write skew (G2-item)",
            Self::G0Process => "write cycle against a client's own order (G0-process)",
            Self::G1cProcess => "circular information flow against a client's own order (G1c-process)",
            Self::GSingleProcess => "read skew against a client's own order (G-single-process)",
            Self::GNonadjacentProcess => "long fork against a client's own order (G-nonadjacent-process)",
            Self::G2ItemProcess => "write skew against a client's own order (G2-item-process)",
            Self::G0Realtime => "write cycle against real time (G0-realtime)",
            Self::G1cRealtime => "circular information flow against real time (G1c-realtime)",
            Self::GSingleRealtime => "read skew against real time (G-single-realtime)",
            Self::GNonadjacentRealtime => "long fork against real time (G-nonadjacent-realtime)",
            Self::G2ItemRealtime => "write skew against real time (G2-item-realtime)",
            Self::Internal => "internal inconsistency",
            Self::DirtyUpdate => "dirty update",
            Self::DuplicateElements => "duplicate elements",
            Self::IncompatibleOrder => "incompatible orders",
            Self::SessionGuarantee => "session guarantee violated",
            Self::NotSequential => "not sequentially consistent",
            Self::NotLinearizable => "not linearizable",
        }
    }
}

impl fmt::Display for AnomalyClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
