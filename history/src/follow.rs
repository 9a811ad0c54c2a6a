//! What is told of a history while it is judged as it comes: one line for each violation, and one at the end.

use serde::{Deserialize, Serialize};

use crate::id::Seq;
use crate::record::Record;

/// A violation, at the moment when it is certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// The event that completed it.
    pub seq: Seq,
    /// Its time, nanoseconds since the start of the run.
    pub time_ns: u64,
    /// The key, if the objects have keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The operation that ended with it, for people.
    pub operation: String,
    /// Why there is no order, for people.
    pub reason: String,
}

impl Record for Declared {
    const FORMAT: &'static str = "tribunal-declared";
    const VERSION: u32 = 1;
}

/// What was followed, at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowedSummary {
    /// What was judged by.
    pub specification: String,
    /// Operations that began.
    pub operations: u64,
    /// Those that ended ok and observed a value.
    pub reads: u64,
    /// Objects.
    pub keys: u64,
    /// Objects that are violated.
    pub violated: u64,
    /// Objects that could not be followed to the end, and are not decided.
    pub given_up: u64,
    /// The most values that were remembered at one time.
    pub remembered_max: u64,
}

impl Record for FollowedSummary {
    const FORMAT: &'static str = "tribunal-followed";
    const VERSION: u32 = 1;
}
