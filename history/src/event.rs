//! What happens in a run, one event at a time: operations, faults, nodes, leaders, phases.
//!
//! The lanes of a report are made of these. Each event has its place ([`Seq`]) and a time in nanoseconds
//! since the start of the run, by one clock, for display.

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind};
use crate::id::{Incarnation, MemberId, NodeId, ProcessId, Revision, Seq, Term};
use crate::value::Value;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// A process asks something of a node.
    Invoke(Invocation),
    /// It took effect once, after its invocation and before this moment.
    Ok(Completion),
    /// It took no effect and never will.
    Fail(Completion),
    /// Nobody knows: it may take effect later, or never. People read *indeterminate*.
    Info(Completion),
    /// The nemesis did something, or tried to.
    Nemesis(NemesisEvent),
    /// A node changed its state.
    Node(NodeEvent),
    /// A node was seen to lead a term.
    Leader(LeaderEvent),
    /// The run enters its next phase.
    Phase(PhaseEvent),
}

impl Event {
    /// Its place in the run.
    pub fn seq(&self) -> Seq {
        match self {
            Self::Invoke(e) => e.seq,
            Self::Ok(e) | Self::Fail(e) | Self::Info(e) => e.seq,
            Self::Nemesis(e) => e.seq,
            Self::Node(e) => e.seq,
            Self::Leader(e) => e.seq,
            Self::Phase(e) => e.seq,
        }
    }

    /// Nanoseconds since the start of the run.
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Invoke(e) => e.time_ns,
            Self::Ok(e) | Self::Fail(e) | Self::Info(e) => e.time_ns,
            Self::Nemesis(e) => e.time_ns,
            Self::Node(e) => e.time_ns,
            Self::Leader(e) => e.time_ns,
            Self::Phase(e) => e.time_ns,
        }
    }
}

/// The start of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invocation {
    /// Taken before the first byte was sent.
    pub seq: Seq,
    /// Nanoseconds since the start of the run.
    pub time_ns: u64,
    /// Who asks. A process has one operation open at most.
    pub process: ProcessId,
    /// Whom it asks.
    pub node: NodeId,
    /// What is asked, in the words of the workload: `read`, `write`, `cas`, …
    pub function: String,
    /// With which arguments; the specification knows their form.
    pub input: Value,
}

/// The end of an operation; whether it is ok, fail or info is said by the [`Event`] around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Taken after the reply was decoded.
    pub seq: Seq,
    /// Nanoseconds since the start of the run.
    pub time_ns: u64,
    /// Who asked.
    pub process: ProcessId,
    /// What came back; null unless ok.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// The store's revision in the reply's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The Raft term in the reply's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
    /// The member that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// Why it is not ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// The three ways in which an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It happened.
    Ok,
    /// It did not happen and never will.
    Fail,
    /// Nobody knows (*indeterminate*).
    Info,
}

/// Why an operation did not end ok.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// The class that `classify` judged by.
    pub code: CauseCode,
    /// What the store or the network said, word for word.
    pub text: String,
}

/// Classes of causes; which of them make `fail` and which `info` is the workload's `classify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseCode {
    /// No connection was there to send on; nothing was sent.
    NotConnected,
    /// The client's deadline passed.
    Timeout,
    /// The connection broke after something may have been sent.
    ConnectionLost,
    /// The node said that it timed out, stopped, was cancelled, or changed leader.
    Interrupted,
    /// The node has no leader.
    NoLeader,
    /// The node refused before proposing: too many requests.
    Overloaded,
    /// The store is full.
    NoSpace,
    /// The request is malformed or asks for what cannot be.
    InvalidRequest,
    /// The revision asked for is compacted or in the future.
    BadRevision,
    /// The request was not allowed.
    Unauthorized,
    /// Somebody else was faster: what the operation rests upon had changed, so it was not done.
    Conflict,
    /// The reply could not be understood.
    BadReply,
    /// The run ended before a reply came.
    Abandoned,
    /// Anything else: always in doubt.
    Unknown,
}

/// Something on the nemesis lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NemesisEvent {
    /// Its place.
    pub seq: Seq,
    /// Nanoseconds since the start of the run.
    pub time_ns: u64,
    /// The step of the schedule that it belongs to, from 0.
    pub step: u32,
    /// What was done.
    pub action: NemesisAction,
    /// Which kind of fault.
    pub kind: FaultKind,
    /// The fault as the schedule has it.
    pub fault: Fault,
    /// The nodes that it was aimed at, resolved (a leader has a name by now).
    pub nodes: Vec<NodeId>,
    /// What proves the effect, or why there was none.
    pub detail: String,
}

/// Stages of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NemesisAction {
    /// The fault begins; from here it may be felt.
    Start,
    /// Its effect was proved.
    Effective,
    /// It had no effect, for a reason that `detail` gives.
    NoEffect,
    /// It could not be applied at all.
    Error,
    /// It ends; the nodes may still be recovering.
    Stop,
}

/// A node's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEvent {
    /// Its place.
    pub seq: Seq,
    /// Nanoseconds since the start of the run.
    pub time_ns: u64,
    /// Which node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// What it is now.
    pub state: NodeState,
    /// More, for people: an exit status, a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Its process was started.
    Started,
    /// It answers.
    Ready,
    /// The nemesis stopped it (SIGSTOP).
    Paused,
    /// The nemesis let it go on.
    Resumed,
    /// Its process ended because we ended it.
    Killed,
    /// Its process ended by itself.
    Exited,
}

/// A change of leader, as some member reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderEvent {
    /// Its place.
    pub seq: Seq,
    /// Nanoseconds since the start of the run; when it was seen, later than when it began.
    pub time_ns: u64,
    /// Who leads.
    pub node: NodeId,
    /// The term it leads.
    pub term: Term,
}

/// A run's next phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseEvent {
    /// Its place.
    pub seq: Seq,
    /// Nanoseconds since the start of the run.
    pub time_ns: u64,
    /// The phase that begins.
    pub phase: Phase,
}

/// Phases of a run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Clients work while faults come and go.
    Safety,
    /// Every fault is undone.
    Heal,
    /// Progress must come within a bound.
    Liveness,
    /// Each key is read once more.
    FinalReads,
    /// Nothing more is recorded.
    End,
}
