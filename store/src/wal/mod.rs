//! The write-ahead log: what a node must not forget.
//!
//! One ordered stream of records (votes, entries, commit points, truncations, purges) in numbered segment files.
//! The order of the stream is the order in which consensus asked; a vote is never reordered with an entry. One
//! task ([`writer`]) drains everything that is queued into one batch, writes it with one write, makes it durable
//! with one sync, and only then completes the callbacks: one sync covers as many requests as came meanwhile.
//!
//! Every record carries a crc32c, every batch a number and an end mark, every entry a hash chain over all entries
//! before it, so that recovery ([`recovery`]) can tell a write that was cut by a crash from damage. A cut write is
//! accepted only as the last batch of the last segment, which no one was told is durable; anything else is an
//! error that names file and offset. After a failed sync nothing is known of what is durable (the kernel may have
//! dropped the dirty pages and forgotten the error), so the log never tries again: it fails for good and the node
//! stops.
//!
//! A segment is extended to its full size with `set_len` when it is created, so that later syncs write no
//! metadata of length; what was not written reads as zeros, and zeros end the log. Each segment starts with a
//! copy of the state that earlier ones established; segments whose entries are all purged are removed.
//!
//! Left out: damage that makes whole sectors of the last batch zero cannot be told from a cut write; a removed
//! last segment cannot be told from one that was never made. Snapshots are files of their own ([`snapshot`]).

pub mod frame;
pub mod record;
pub mod recovery;
pub mod snapshot;
pub mod writer;

use std::io;

use tribunal_history::{LogIndex, Term};
use xxhash_rust::xxh3::Xxh3;

use crate::defect::Defects;

pub use record::{Ballot, Entry, Position, Record};
pub use recovery::Image;
pub use snapshot::SnapshotStore;
pub use tribunal_history::evidence::Chain;
pub use writer::{Done, Wal};

/// The folder of the segments inside the node's data folder.
pub const FOLDER: &str = "wal";

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Size of a segment file in bytes; a batch that is larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// Planted bugs; those of the log act here.
    pub defects: Defects,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            defects: Defects::new(),
        }
    }
}

/// Why the log cannot be opened or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// The disk refused.
    #[error("cannot {what} {path}: {message}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or folder, relative to the data folder.
        path: String,
        /// What the system said.
        message: String,
        /// Its kind, kept for those who want to tell a full disk from a broken one.
        kind: io::ErrorKind,
    },
    /// A file does not hold what was written to it.
    #[error("{path} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// Which file, relative to the data folder.
        path: String,
        /// Where the damaged part starts.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file was written by another version of this program.
    #[error("{path} has format version {found}; this program reads version {expected}")]
    Version {
        /// Which file.
        path: String,
        /// What it says.
        found: u8,
        /// What is read here.
        expected: u8,
    },
    /// The log failed before, or its writer is gone.
    #[error("the write-ahead log has stopped: {0}")]
    Stopped(String),
}

impl WalError {
    /// Wraps an error of the disk.
    pub fn io(what: &'static str, path: &str, error: &io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            message: error.to_string(),
            kind: error.kind(),
        }
    }
}

impl From<WalError> for io::Error {
    fn from(error: WalError) -> Self {
        let kind = match &error {
            WalError::Io { kind, .. } => *kind,
            WalError::Corrupt { .. } | WalError::Version { .. } => io::ErrorKind::InvalidData,
            WalError::Stopped(_) => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

/// The hash chain after an entry: `xxh3_128(previous, term, index, payload)`, numbers in little-endian. Two logs
/// with equal chains at an index hold the same entries up to it.
pub fn chain(previous: Chain, term: Term, index: LogIndex, payload: &[u8]) -> Chain {
    let mut hash = Xxh3::new();
    hash.update(&previous.0.to_le_bytes());
    hash.update(&term.0.to_le_bytes());
    hash.update(&index.0.to_le_bytes());
    hash.update(payload);
    Chain(hash.digest128())
}
