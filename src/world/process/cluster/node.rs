//! One node's life: up as a child, or down.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tribunal_history::{Incarnation, NodeId};

use crate::world::process::children::{Child, Ending, Process};

/// A node of the cluster and what it is now.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    /// Of the life that goes on, or of the last one.
    pub(super) incarnation: Incarnation,
    pub(super) life: Life,
    /// Its member was added to a cluster that ran; the others founded theirs.
    pub(super) joined: bool,
    /// Its member is being removed, and may end by itself.
    pub(super) leaving: bool,
}

/// Up or down.
#[derive(Debug)]
pub(super) enum Life {
    /// Not started in this cluster yet.
    Unborn,
    /// Its member was removed. Its data are of no use to anybody; it may live again as another member, without them.
    Gone,
    /// Its child has not been reaped.
    Up(Up),
    /// It has.
    Down {
        process: Process,
        ending: Ending,
        /// Whether we ended it.
        by_us: bool,
    },
}

/// A child that has not been reaped.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) child: Child,
    /// It answered once.
    pub(super) ready: bool,
    /// We sent SIGSTOP.
    pub(super) paused: bool,
    /// We sent SIGKILL; it ends any moment.
    pub(super) killed: bool,
}

impl Node {
    pub(super) fn up(&self) -> Option<&Up> {
        match &self.life {
            Life::Up(up) => Some(up),
            _ => None,
        }
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.life {
            Life::Up(up) => Some(up),
            _ => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up().is_some()
    }
}

/// A node ended that nobody had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnexpectedExit {
    /// Which.
    pub node: NodeId,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// How.
    pub ending: Ending,
    /// The last line of its log, which often says why.
    pub last_line: String,
    /// Its log.
    pub log: PathBuf,
}

impl std::fmt::Display for UnexpectedExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ended by itself: {}", self.node, self.ending)?;
        if !self.last_line.is_empty() {
            write!(f, "; its last words: {}", self.last_line)?;
        }
        Ok(())
    }
}

/// How much of the end of a log is read: more than 20 lines of any length that a person would read.
const TAIL_BYTES: u64 = 16 << 10;

/// The last `lines` lines of a log; empty if there is none. What a system under test prints need not be text.
pub(super) fn log_tail(log: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines_whatever_they_hold() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert_eq!(log_tail(file.path(), 2), "");
        std::fs::write(file.path(), b"one\ntwo\nthr\xffee\n").expect("written");
        assert_eq!(log_tail(file.path(), 2), "two\nthr\u{fffd}ee");
        assert_eq!(log_tail(Path::new("/no/such/log"), 2), "");
        std::fs::write(file.path(), "x".repeat(100_000)).expect("written");
        assert_eq!(log_tail(file.path(), 1).len(), 16 << 10);
    }
}
