//! What a run was: enough to run it again (`run.json`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// Everything that decides a run, and what it ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The command line, word by word.
    pub argv: Vec<String>,
    /// Every setting by its flag's name, defaults included.
    pub config: BTreeMap<String, String>,
    /// The seed.
    pub seed: u64,
    /// When it began, UTC, ISO 8601.
    pub started: String,
    /// Version of Tribunal.
    pub tribunal_version: String,
    /// SHA-256 of Tribunal's binary, hexadecimal.
    pub tribunal_sha256: String,
    /// The system under test, as `--system` has it.
    pub system: String,
    /// What it calls itself.
    pub system_version: String,
    /// SHA-256 of its binary, hexadecimal; none if there is no binary to read.
    pub system_sha256: Option<String>,
    /// Operating system and machine, such as `linux x86_64`.
    pub host: String,
}

impl Record for Manifest {
    const FORMAT: &'static str = "tribunal-run";
    const VERSION: u32 = 1;
}
