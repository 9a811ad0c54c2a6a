//! Simulated runs as data: everything that decides one, what became of it, and what a sweep over many found.
//!
//! A simulated run is a function of its [`SimulatedPlan`]. The plan is drawn from a seed, and is itself enough: parts
//! of it (steps of the schedule, operations of clients, the weather) can be taken out and the rest stays what it was,
//! since every draw of a run has a labelled stream of its own. So a plan can be replayed, and shrunk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::{FaultKind, Schedule};
use crate::record::Record;
use crate::report::RunOutcome;

/// Everything that decides a simulated run (`simulation.json`). Times are in milliseconds of virtual time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedPlan {
    /// Name and version of the program; another one makes another run of the same plan.
    pub program: String,
    /// Every stream of random numbers derives from it.
    pub seed: u64,
    /// Planted bugs, by name, sorted.
    pub defects: Vec<String>,
    /// What the clients do.
    pub workload: String,
    /// How many nodes.
    pub nodes: u16,
    /// How many clients work at a time.
    pub clients: u32,
    /// How many keys they use.
    pub keys: u32,
    /// How long their longest values are, in bytes.
    pub value_bytes: u32,
    /// Operations in a thousand seconds, all clients together.
    pub rate_milli: u64,
    /// Length of the phase under faults.
    pub time_limit_ms: u64,
    /// After this a client gives an operation up.
    pub op_timeout_ms: u64,
    /// Between heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Without a heartbeat until a follower stands for election.
    pub election_ms: u64,
    /// After the heal each node must serve within this time.
    pub liveness_bound_ms: u64,
    /// Fewer operations that ended ok are too few.
    pub ok_min: u64,
    /// How the world behaves without any fault.
    pub weather: Weather,
    /// The operations that each client may issue, by its number: places in the sequence that it would issue, from 0.
    /// A client that is not named issues none. None if every client issues all.
    pub kept: Option<BTreeMap<u32, Vec<u32>>>,
    /// The faults.
    pub schedule: Schedule,
}

impl Record for SimulatedPlan {
    const FORMAT: &'static str = "tribunal-simulation";
    const VERSION: u32 = 3;
}

/// How the simulated world behaves without any fault, and how the store is set up in it. Times are in microseconds,
/// probabilities in parts per million.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weather {
    /// Bytes in a segment of the log.
    pub segment_bytes: u64,
    /// Entries between snapshots.
    pub snapshot_count: u64,
    /// Entries that stay in the log after a snapshot.
    pub entries_kept: u64,
    /// The shortest time that a message takes.
    pub delay_min_us: u64,
    /// The longest usual time.
    pub delay_max_us: u64,
    /// Messages that take longer than usual.
    pub delay_tail_ppm: u32,
    /// The longest that those take.
    pub delay_tail_max_us: u64,
    /// Messages that are lost.
    pub loss_ppm: u32,
    /// Calls between nodes that arrive twice.
    pub duplication_ppm: u32,
    /// Calls that are overtaken by later ones.
    pub reordering_ppm: u32,
    /// The shortest time that a sync takes.
    pub sync_min_us: u64,
    /// The longest usual time.
    pub sync_max_us: u64,
    /// Syncs that take longer than usual.
    pub sync_tail_ppm: u32,
    /// The longest that those take.
    pub sync_tail_max_us: u64,
    /// Named points that are switched on.
    pub points_enabled_ppm: u32,
    /// How often one that is on acts when it is passed.
    pub points_act_ppm: u32,
    /// How often one that is on and is passed seldom acts.
    pub points_seldom_ppm: u32,
    /// The most that a node's clocks run fast or slow; each node draws its own rate.
    pub drift_max_ppm: u32,
    /// The most that a node's clocks are ahead when it begins, in milliseconds; each node draws its own.
    pub skew_max_ms: u32,
}

/// What became of a simulated run beside its history (`trace.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSummary {
    /// Hash of everything that happened, hexadecimal. Equal hashes mean equal runs.
    pub hash: String,
    /// How many things happened.
    pub records: u64,
    /// Virtual time in all, in nanoseconds.
    pub lasted_ns: u64,
    /// How often rare things happened, by name.
    pub counters: BTreeMap<String, u64>,
}

impl Record for TraceSummary {
    const FORMAT: &'static str = "tribunal-trace-summary";
    const VERSION: u32 = 1;
}

/// What became of one seed of a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedOutcome {
    /// The seed.
    pub seed: u64,
    /// How it came out.
    pub outcome: RunOutcome,
    /// One line for people.
    pub headline: String,
    /// Hash of everything that happened, hexadecimal.
    pub hash: String,
    /// Operations that ended ok.
    pub ok: u64,
    /// Virtual time in nanoseconds.
    pub lasted_ns: u64,
    /// Faults that were tried, and of these how many took effect.
    pub faults: BTreeMap<FaultKind, [u64; 2]>,
    /// How often rare things happened, by name.
    pub counters: BTreeMap<String, u64>,
    /// Its run directory; none if it was not written.
    pub dir: Option<String>,
}

impl Record for SeedOutcome {
    const FORMAT: &'static str = "tribunal-seed";
    const VERSION: u32 = 1;
}

/// What a sweep over seeds found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepSummary {
    /// How it came out: the worst of its seeds, where too little coverage of a single seed counts for nothing.
    pub outcome: RunOutcome,
    /// The code that it ends with.
    pub exit_code: u8,
    /// Seeds that were run to their end.
    pub seeds: u64,
    /// Virtual time of them all, in nanoseconds.
    pub lasted_ns: u64,
    /// Operations that ended ok.
    pub ok: u64,
    /// Seeds that failed, in their order.
    pub failing: Vec<FailingSeed>,
    /// Seeds that could not be run or decided, in their order.
    pub undecided: Vec<FailingSeed>,
    /// Faults that were tried, and of these how many took effect.
    pub faults: BTreeMap<FaultKind, [u64; 2]>,
    /// How often rare things happened, by name.
    pub counters: BTreeMap<String, u64>,
}

impl Record for SweepSummary {
    const FORMAT: &'static str = "tribunal-sweep";
    const VERSION: u32 = 1;
}

/// A seed that did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailingSeed {
    /// The seed.
    pub seed: u64,
    /// One line for people.
    pub headline: String,
    /// Its run directory; none if it was not written.
    pub dir: Option<String>,
    /// Whether a process of its own came to the same end; none if there was none.
    pub confirmed: Option<bool>,
}
