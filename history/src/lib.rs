//! The narrow waist: every type that Tribunal records, and the formats it is recorded in.
//!
//! Workload, nemesis and nodes write these types; checkers and reports read them. Nothing here runs
//! anything: no tokio, no clock, no randomness. What is serialized for others is defined here and nowhere
//! else, and carries a format version ([`record`]); a reader refuses a version that it does not know.
//!
//! An operation is recorded as two events, its invocation and its completion. Their order is [`Seq`], one
//! counter for the whole run; times are for display only.

pub mod binary;
pub mod event;
pub mod evidence;
pub mod export;
pub mod fault;
mod fields;
pub mod finding;
pub mod follow;
pub mod id;
pub mod import;
pub mod jsonl;
pub mod manifest;
pub mod operation;
pub mod picture;
pub mod record;
pub mod report;
pub mod simulated;
pub mod value;

pub use event::{
    Cause, CauseCode, Completion, Ending, Event, Invocation, LeaderEvent, NemesisAction, NemesisEvent, NodeEvent,
    NodeState, Phase, PhaseEvent,
};
pub use evidence::Evidence;
pub use fault::{
    ClockEffect, Direction, DiskEffect, Fault, FaultKind, LinkEffect, Moment, Outage, Schedule, Select, Step,
};
pub use fields::Fields;
pub use finding::{AnomalyClass, Blocked, DrawnOperation, Finding, Minimised};
pub use follow::{Declared, FollowedSummary};
pub use id::{Incarnation, LogIndex, MemberId, NodeId, ProcessId, Revision, Seq, Term};
pub use manifest::Manifest;
pub use operation::Operation;
pub use picture::Picture;
pub use record::{Record, RecordError};
pub use report::{Outcome, Property, PropertyClass, Report};
pub use simulated::{FailingSeed, SeedOutcome, SimulatedPlan, SweepSummary, TraceSummary, Weather};
pub use value::Value;
