//! What the nodes' own evidence says of a run on processes.

use std::fs::{self, File};
use std::path::Path;

use tribunal_history::evidence::{self, SnapshotOrigin};
use tribunal_history::{Evidence, Outcome, Property, PropertyClass};

/// How the logs of all nodes were kept short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// Snapshots that nodes made of their own state.
    pub made: u64,
    /// Snapshots that members got from a leader, since what they lacked was purged.
    pub received: u64,
    /// Times that the beginning of a log was purged.
    pub purges: u64,
}

impl Snapshots {
    /// Counts them in the evidence of a run directory. A file that cannot be read counts nothing.
    pub fn count(dir: &Path) -> Self {
        let mut counted = Self::default();
        let files = fs::read_dir(dir.join("evidence")).into_iter().flatten().flatten();
        for file in files {
            let events = File::open(file.path())
                .ok()
                .and_then(|file| evidence::decode(file).ok());
            for stamped in events.unwrap_or_default() {
                counted.add(&stamped.evidence);
            }
        }
        counted
    }

    fn add(&mut self, event: &Evidence) {
        match event {
            Evidence::Snapshot {
                origin: SnapshotOrigin::Built,
                ..
            } => self.made += 1,
            Evidence::Snapshot {
                origin: SnapshotOrigin::Received,
                ..
            } => self.received += 1,
            Evidence::Purge { .. } => self.purges += 1,
            _ => {}
        }
    }

    /// The property that members were brought up to date by a snapshot; vacuous if none had to be.
    pub fn property(self) -> Property {
        let Self { made, received, purges } = self;
        Property {
            id: "snapshots".to_owned(),
            title: "Snapshots brought members up to date".to_owned(),
            class: PropertyClass::Coverage,
            verdict: if received > 0 { Outcome::Pass } else { Outcome::Vacuous },
            detail: format!("{received} received, {made} made, {purges} purges of a log, by the nodes' evidence"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tribunal_history::evidence::{Stamped, encode};
    use tribunal_history::{LogIndex, Term};

    use super::*;

    #[test]
    fn evidence_of_all_lives_is_counted_and_what_cannot_be_read_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("evidence");
        assert_eq!(Snapshots::count(dir.path()), Snapshots::default());
        fs::create_dir(&folder).expect("made");
        let position = evidence::Position {
            index: LogIndex(7),
            term: Term(1),
            chain: evidence::Chain(0),
        };
        for name in ["n1-0.bin", "n1-1.bin"] {
            let mut bytes = evidence::MAGIC.to_vec();
            let stamped = Stamped {
                time_ns: 1,
                evidence: Evidence::Purge { upto: position },
            };
            encode(&stamped, &mut bytes);
            fs::write(folder.join(name), bytes).expect("written");
        }
        fs::write(folder.join("n2-0.bin"), "no evidence").expect("written");
        let counted = Snapshots::count(dir.path());
        assert_eq!((counted.purges, counted.property().verdict), (2, Outcome::Vacuous));
    }
}
