//! What a disk can do wrong, and how long it takes.

use std::time::Duration;

use crate::draw::Delay;

/// How a node's disk behaves from now on. Each probability has a random stream of its own: switching one off moves
/// no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskSettings {
    /// How long `sync_data` and `sync_dir` take.
    pub sync: Delay,
    /// How long a read takes; without a delay it is done where it is asked for.
    pub read: Delay,
    /// How long a write or a change of names takes; without a delay it is done where it is asked for.
    pub write: Delay,
    /// Probability that a read fails (EIO).
    pub read_errors: f64,
    /// Probability that a write, a cut, a rename, a removal or a creation fails (EIO) and does nothing.
    pub write_errors: f64,
    /// Probability that a sync fails (EIO). What it should have made durable then is so in part, and the rest never
    /// will be unless it is written again, as in Linux.
    pub sync_errors: f64,
    /// Probability that a sync answers and does nothing.
    pub lying_syncs: f64,
    /// Probability that a read finds a bit flipped, for good.
    pub bit_rot: f64,
    /// Probability that a read finds a sector which cannot be read (EIO) until it is written again.
    pub latent_sector_errors: f64,
    /// Bytes that fit on the disk; a write beyond that fails (ENOSPC). None for no bound.
    pub capacity: Option<u64>,
    /// What happens to writes that were not synced when the machine loses its power.
    pub unsynced: Unsynced,
}

impl Default for DiskSettings {
    /// A healthy disk with some slow syncs; a crash leaves anything that it may.
    fn default() -> Self {
        Self {
            sync: Delay {
                min: Duration::from_micros(200),
                max: Duration::from_millis(4),
                tail_chance: 0.02,
                tail_max: Duration::from_millis(100),
            },
            read: Delay::NONE,
            write: Delay::NONE,
            read_errors: 0.0,
            write_errors: 0.0,
            sync_errors: 0.0,
            lying_syncs: 0.0,
            bit_rot: 0.0,
            latent_sector_errors: 0.0,
            capacity: None,
            unsynced: Unsynced::default(),
        }
    }
}

/// How often each fate comes to a file's un-synced writes, as weights. All 0 means that they are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// All are lost.
    pub lost: u32,
    /// The first ones survive, the next one up to some sector.
    pub prefix: u32,
    /// Any sectors of any of them survive: the disk wrote them in an order of its own.
    pub reordered: u32,
    /// All survive.
    pub kept: u32,
}

impl Default for Unsynced {
    fn default() -> Self {
        Self {
            lost: 3,
            prefix: 3,
            reordered: 3,
            kept: 1,
        }
    }
}

impl Unsynced {
    /// They are always lost.
    pub const LOST: Self = Self {
        lost: 1,
        prefix: 0,
        reordered: 0,
        kept: 0,
    };
}

/// How often a node's disk did each thing, for coverage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Syncs that did what they said.
    pub syncs: u64,
    /// Syncs that lied.
    pub lying_syncs: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
    /// Reads that failed, for any reason.
    pub read_errors: u64,
    /// Writes and changes of names that failed with EIO.
    pub write_errors: u64,
    /// Writes that did not fit.
    pub full: u64,
    /// Bits flipped.
    pub bits_flipped: u64,
    /// Crashes that found writes which were not synced.
    pub crashes_with_unsynced: u64,
    /// Un-synced writes that a crash left only in part.
    pub torn_writes: u64,
    /// Creations, renames and removals that a crash undid.
    pub names_lost: u64,
}
