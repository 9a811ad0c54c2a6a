//! The judgement of a run (`report.json`): properties, findings, what was counted.

use serde::{Deserialize, Serialize};

use crate::event::Ending;
use crate::fault::{Fault, FaultKind};
use crate::finding::Finding;
use crate::id::NodeId;
use crate::record::Record;

/// Everything that a report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The run that it judges.
    pub run: RunSummary,
    /// The worst outcome of the properties, as the exit code has it.
    pub verdict: RunVerdict,
    /// Each property that was looked at, worst first.
    pub properties: Vec<Property>,
    /// What was proved to be wrong.
    pub findings: Vec<Finding>,
    /// Operations by function.
    pub operations: Vec<FunctionCounts>,
    /// Faults of the run, in order of their start.
    pub faults: Vec<FaultSummary>,
    /// Leaders that were seen, in order.
    pub leaders: Vec<LeaderSpan>,
    /// Kinds of faults that were asked for and not reached in time.
    pub not_tried: Vec<FaultKind>,
    /// How to run and judge it again, each a command that can be pasted.
    pub commands: Vec<String>,
    /// The files of the run directory, by their names in it.
    pub files: Vec<String>,
}

impl Record for Report {
    const FORMAT: &'static str = "tribunal-report";
    /// 2: more kinds of faults; findings may have a picture. What version 1 has is unchanged.
    const VERSION: u32 = 2;
    const VERSION_MIN: u32 = 1;
}

/// A run in a few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSummary {
    /// Name of the run directory.
    pub name: String,
    /// The seed; none for a history from elsewhere.
    pub seed: Option<u64>,
    /// The workload, or the specification for a history from elsewhere.
    pub workload: String,
    /// The system under test, for people.
    pub system: String,
    /// How many nodes.
    pub nodes: usize,
    /// How many clients worked at a time.
    pub clients: usize,
    /// The planted defect, if there is one.
    pub defect: Option<String>,
    /// When it began, UTC, ISO 8601; none for a history from elsewhere.
    pub started: Option<String>,
    /// How long it was, in nanoseconds.
    pub duration_ns: u64,
    /// Which image of the disks was judged, such as "volatile: un-synced writes are lost with the process".
    pub disk: Option<String>,
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunVerdict {
    /// pass, or the worst outcome.
    pub outcome: RunOutcome,
    /// The exit code that goes with it.
    pub exit_code: u8,
    /// One line: what failed, or what was shown.
    pub headline: String,
}

/// Outcomes of a run; the exit codes of `docs/ci.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Every property holds: exit code 0.
    Pass,
    /// A property is violated: 1.
    Violation,
    /// A checker's budget ran out: 2.
    Inconclusive,
    /// A fault had no effect, or too little was done: 3.
    InsufficientCoverage,
    /// The harness or the system could not start: 4.
    HarnessError,
    /// Interrupted without a violation: 130.
    Interrupted,
}

/// One property and how it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// A name for scripts, such as `linearizable`.
    pub id: String,
    /// A name for people.
    pub title: String,
    /// What it is about.
    pub class: PropertyClass,
    /// How it came out.
    pub verdict: Outcome,
    /// What was counted, or why it came out so: for people, never empty.
    pub detail: String,
}

/// What a property is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PropertyClass {
    /// Nothing bad happens.
    Safety,
    /// Something good happens in time.
    Liveness,
    /// The run tried what it should have tried.
    Coverage,
    /// The tool itself worked.
    Harness,
}

/// How a property came out; shown as *holds, violated, inconclusive, not exercised, error*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It is violated.
    Fail,
    /// It could not be decided within the budget.
    Unknown,
    /// Nothing happened that it speaks of.
    Vacuous,
    /// Looking at it went wrong.
    Error,
}

/// Operations of one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCounts {
    /// The function.
    pub function: String,
    /// How many ended ok.
    pub ok: u64,
    /// How many definitely did not happen.
    pub fail: u64,
    /// How many are in doubt.
    pub info: u64,
    /// Latency of the ok ones in microseconds: median, 99th percentile, maximum; none if there are none.
    pub latency_us: Option<[u64; 3]>,
}

impl FunctionCounts {
    /// How many in all.
    pub fn total(&self) -> u64 {
        self.ok + self.fail + self.info
    }

    /// Counts one more.
    pub fn count(&mut self, ending: Ending) {
        match ending {
            Ending::Ok => self.ok += 1,
            Ending::Fail => self.fail += 1,
            Ending::Info => self.info += 1,
        }
    }
}

/// A fault and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSummary {
    /// Step of the schedule.
    pub step: u32,
    /// Its kind.
    pub kind: FaultKind,
    /// The fault as scheduled.
    pub fault: Fault,
    /// Whom it hit.
    pub nodes: Vec<NodeId>,
    /// Nanoseconds since the start of the run.
    pub start_ns: u64,
    /// Nanoseconds since the start of the run; none if the run ended first.
    pub stop_ns: Option<u64>,
    /// Whether its effect was proved.
    pub effective: bool,
    /// The proof, or why there is none.
    pub detail: String,
    /// Operations that ended ok while it was active.
    pub ok_meanwhile: u64,
}

/// A node leading for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderSpan {
    /// Who.
    pub node: NodeId,
    /// Which term.
    pub term: u64,
    /// When it was first seen, nanoseconds since the start of the run.
    pub start_ns: u64,
    /// When another was seen or its process ended, nanoseconds since the start of the run.
    pub end_ns: u64,
}
