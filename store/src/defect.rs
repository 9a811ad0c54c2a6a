//! Bugs that are planted in the bundled store on purpose, so that Tribunal can be tried on them.
//!
//! A node has none unless it was started with `--defect NAME`. Each acts at one point, named below; where it is
//! off that point is one comparison.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// A node that believes that it leads answers linearizable reads, its own and those that followers forward,
    /// without confirming with a quorum that it still does. Acts in `consensus::read`, before ReadIndex.
    ReadWithoutQuorum,
    /// The leader answers a put or a delete once its own log holds it durably, before a quorum does, as if that
    /// alone committed it; a transaction waits for its commit, and a read for all that the leader acknowledged. So
    /// nothing is wrong until a leader is deposed, killed or cut off while only it has an entry: what it
    /// acknowledged is lost. Acts in `consensus::write`, in place of waiting for the commit.
    AckBeforeQuorum,
    /// Every node reports log entries as durable before they are; the sync follows within 250 ms. Votes and
    /// truncations stay honest. Acts in the writer of the log (`wal::writer`). A kill shows it only with
    /// `--disk volatile`, since the page cache outlives a process.
    AckBeforeSync,
}

/// Defects of a node.
pub type Defects = BTreeSet<Defect>;

impl Defect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ReadWithoutQuorum, Self::AckBeforeQuorum, Self::AckBeforeSync];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWithoutQuorum => "read-without-quorum",
            Self::AckBeforeQuorum => "ack-before-quorum",
            Self::AckBeforeSync => "ack-before-sync",
        }
    }

    /// What it does wrong, in one sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::ReadWithoutQuorum => "a deposed leader that has not noticed answers linearizable reads",
            Self::AckBeforeQuorum => "the leader acknowledges a put before a quorum has it",
            Self::AckBeforeSync => "log entries are acknowledged up to 250 ms before they are durable",
        }
    }

    /// The worlds in which it can show, by their names (`docs/ARCHITECTURE.md`).
    pub fn worlds(self) -> &'static [&'static str] {
        &["process"]
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no defect of this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no defect {0:?}; known are: {known}", known = Defect::ALL.map(Defect::name).join(", "))]
pub struct UnknownDefect(String);

impl FromStr for Defect {
    type Err = UnknownDefect;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|defect| defect.name() == text)
            .ok_or_else(|| UnknownDefect(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for defect in Defect::ALL {
            assert_eq!(defect.name().parse(), Ok(defect));
        }
        let error = "ack-never".parse::<Defect>().expect_err("unknown").to_string();
        assert!(error.contains("ack-before-sync"), "{error}");
    }
}
