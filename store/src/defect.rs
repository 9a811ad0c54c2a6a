//! Bugs that are planted in the bundled store on purpose, so that Tribunal can be tried on them.
//!
//! A node has none unless it was started with `--defect NAME`. Each acts at one point, named below; where it is off
//! that point is one comparison, and what it does stands in a function beside it. They are bugs that stores have
//! had, or could well have: most do no harm until a fault meets them at the right moment.

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
    /// A follower answers the leader when the entries are on their way to its disk, instead of when they are
    /// durable; the leader itself is honest. A follower that loses power within its sync forgets what the leader
    /// has counted it for. Acts in `consensus::log`, where entries are appended.
    CountUnsyncedFollower,
    /// A vote is written to the log and not synced: the next sync of something else covers it, at the latest after
    /// 250 ms. A node that loses power in between has forgotten its vote, and may give another one in the same
    /// term. Acts in the writer of the log (`wal::writer`).
    VoteNotSynced,
    /// A follower that knows a leader answers linearizable reads from its own state, as if they were serializable.
    /// Acts in `consensus::read`, in place of asking the leader.
    FollowerServesLinearizableRead,
    /// A read waits for the leader's confirmation, but not until what it must see is applied here. Acts in
    /// `consensus::read`, after the confirmation.
    ReadBeforeApply,
    /// The leader answers linearizable reads without a quorum for as long as, by its own clock, no follower can
    /// have stood for election since a quorum last answered it: one and a half election timeouts, with no margin
    /// for clocks that run at different speeds. Acts in `consensus::read`, before ReadIndex.
    LeaseRead,
    /// openraft's option `enable_leader_restore` is on (its default): a leader that restarts before anybody stood
    /// for election leads on in its old term, with a state that lags behind what it had acknowledged, and answers
    /// linearizable reads from it. Acts where openraft is configured (`consensus::node`).
    LeaderRestore,
    /// A follower whose forwarded write is not answered within an election timeout sends it again, although the
    /// first one may yet take effect. Acts in `consensus::write`, where writes are forwarded.
    ForwardTwice,
    /// A follower that loses the leader's answer to a forwarded write, because the leader died or time was over, tells
    /// the client that the write was refused (`too many requests`), although it may take effect. Acts in
    /// `consensus::write`, where writes are forwarded.
    LostAnswerTakenForRefusal,
    /// A transaction's conditions are decided when it is proposed, by the state of the leader at that moment, and
    /// only the branch that was chosen goes through the log: what other writes do in between is not seen. Acts in
    /// `consensus::write`, before the proposal.
    TxnNotAtomic,
    /// The metadata of a snapshot are taken when it is saved, its state when it is begun: entries that were applied
    /// meanwhile are named by the one and missing in the other. Who starts from the snapshot never gets them. Acts
    /// in `consensus::machine`, where snapshots are built.
    SnapshotWithoutLogTail,
    /// A snapshot is labelled with the entry before the last one that its state has. Who starts from it, after a
    /// restart or because it lagged, applies that entry a second time. Acts in `consensus::machine`, where the
    /// state is frozen.
    ApplyTwiceAfterRestart,
    /// A snapshot that another member asks to install is installed even if the own state is newer: a message that
    /// came twice, or late, takes the state back, and what follows is applied to that. Acts in `consensus::handler`,
    /// where snapshots arrive.
    StaleSnapshotInstalled,
    /// A state that is loaded from a snapshot leaves deleted keys out, and takes its revision from the keys that are
    /// left. If the last change before the snapshot was a delete, revisions are given a second time. Acts in
    /// `consensus::machine`, where a snapshot is loaded.
    ReusedRevision,
    /// The folder is not synced when the log starts a new segment: a node that loses power loses the whole segment,
    /// however often it was synced itself. Acts in the writer of the log (`wal::writer`), where segments are made.
    LostDirectorySync,
    /// Recovery takes the records of the last batch without looking at their checksums, so that a batch which was
    /// cut by a crash is accepted with whatever is in it. Acts in `wal::recovery`, at the end of the last segment.
    TornRecordAccepted,
    /// Recovery takes damage in the last segment for the end of the log: what follows is forgotten, although it was
    /// durable and others count on it. Acts in `wal::recovery`.
    DamageTakenForTheEnd,
    /// A truncation is done in memory and not written; what is appended afterwards takes the place of what was cut
    /// by its index, and the rest of the old tail comes back after a restart. Acts in the writer of the log
    /// (`wal::writer`) and, in the same way, in recovery.
    TruncationNotLogged,
    /// The leader counts members that were removed as if they had acknowledged every entry: where they and itself are as
    /// many as a majority of the voters, it answers a put or a delete once its own log holds it. Without a removal
    /// nothing is wrong. Acts in `consensus::write`, in place of waiting for the commit.
    RemovedNodeStillCounted,
}

/// Defects of a node.
pub type Defects = BTreeSet<Defect>;

/// Runs with real processes.
const PROCESS: &str = "process";
/// Runs in virtual time.
const SIMULATION: &str = "simulation";

/// What is said of a defect.
struct Entry {
    name: &'static str,
    summary: &'static str,
    worlds: &'static [&'static str],
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::ReadWithoutQuorum,
        Self::AckBeforeQuorum,
        Self::AckBeforeSync,
        Self::CountUnsyncedFollower,
        Self::VoteNotSynced,
        Self::FollowerServesLinearizableRead,
        Self::ReadBeforeApply,
        Self::LeaseRead,
        Self::LeaderRestore,
        Self::ForwardTwice,
        Self::LostAnswerTakenForRefusal,
        Self::TxnNotAtomic,
        Self::SnapshotWithoutLogTail,
        Self::ApplyTwiceAfterRestart,
        Self::StaleSnapshotInstalled,
        Self::ReusedRevision,
        Self::LostDirectorySync,
        Self::TornRecordAccepted,
        Self::DamageTakenForTheEnd,
        Self::TruncationNotLogged,
        Self::RemovedNodeStillCounted,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// What it does wrong, in one sentence.
    pub fn summary(self) -> &'static str {
        self.entry().summary
    }

    /// The worlds in which it can show, by their names (`docs/ARCHITECTURE.md`).
    pub fn worlds(self) -> &'static [&'static str] {
        self.entry().worlds
    }

    #[expect(clippy::too_many_lines, reason = "one arm per defect, read as a table")]
    fn entry(self) -> Entry {
        let (name, summary, worlds): (_, _, &[&str]) = match self {
            Self::ReadWithoutQuorum => (
                "read-without-quorum",
                "a deposed leader that has not noticed answers linearizable reads",
                &[PROCESS, SIMULATION],
            ),
            Self::AckBeforeQuorum => (
                "ack-before-quorum",
                "the leader acknowledges a put before a quorum has it",
                &[PROCESS, SIMULATION],
            ),
            Self::AckBeforeSync => (
                "ack-before-sync",
                "log entries are acknowledged up to 250 ms before they are durable",
                &[PROCESS, SIMULATION],
            ),
            Self::CountUnsyncedFollower => (
                "count-unsynced-follower",
                "a follower's answer to the leader leaves before its sync",
                &[SIMULATION],
            ),
            Self::VoteNotSynced => (
                "vote-not-synced",
                "a vote is answered up to 250 ms before it is durable",
                &[SIMULATION],
            ),
            Self::FollowerServesLinearizableRead => (
                "follower-serves-linearizable-read",
                "a follower answers linearizable reads from its own state",
                &[PROCESS, SIMULATION],
            ),
            Self::ReadBeforeApply => (
                "read-before-apply",
                "a confirmed read does not wait until what it must see is applied",
                &[SIMULATION],
            ),
            Self::LeaseRead => (
                "lease-read",
                "the leader reads by a lease that has no margin for clocks of different speed",
                &[SIMULATION],
            ),
            Self::LeaderRestore => (
                "leader-restore",
                "a leader that restarts leads on in its term, with a state that is behind",
                &[SIMULATION],
            ),
            Self::ForwardTwice => (
                "forward-twice",
                "a follower sends an unanswered write to the leader again",
                &[SIMULATION],
            ),
            Self::LostAnswerTakenForRefusal => (
                "lost-answer-taken-for-refusal",
                "a forwarded write whose answer is lost is called refused",
                &[SIMULATION],
            ),
            Self::TxnNotAtomic => (
                "txn-not-atomic",
                "a transaction's conditions are decided before it has its place among other writes",
                &[SIMULATION],
            ),
            Self::SnapshotWithoutLogTail => (
                "snapshot-without-log-tail",
                "a snapshot names a later entry than its state has",
                &[SIMULATION],
            ),
            Self::ApplyTwiceAfterRestart => (
                "apply-twice-after-restart",
                "a snapshot names an earlier entry than its state has, which is then applied again",
                &[SIMULATION],
            ),
            Self::StaleSnapshotInstalled => (
                "stale-snapshot-installed",
                "a late snapshot takes a newer state back",
                &[SIMULATION],
            ),
            Self::ReusedRevision => (
                "reused-revision",
                "after loading a snapshot a revision is given a second time",
                &[SIMULATION],
            ),
            Self::LostDirectorySync => (
                "lost-directory-sync",
                "a new segment's entry in its folder is not synced",
                &[SIMULATION],
            ),
            Self::TornRecordAccepted => (
                "torn-record-accepted",
                "recovery accepts the last batch of the log although it was cut",
                &[SIMULATION],
            ),
            Self::DamageTakenForTheEnd => (
                "damage-taken-for-the-end",
                "recovery forgets what comes after a damaged batch",
                &[SIMULATION],
            ),
            Self::TruncationNotLogged => (
                "truncation-not-logged",
                "a tail that was cut off the log comes back after a restart",
                &[SIMULATION],
            ),
            Self::RemovedNodeStillCounted => (
                "removed-node-still-counted",
                "a member that was removed still counts toward the quorum of a write",
                &[SIMULATION],
            ),
        };
        Entry { name, summary, worlds }
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

    #[test]
    fn each_is_listed_once_with_a_sentence_and_a_world() {
        let names: BTreeSet<_> = Defect::ALL.map(Defect::name).into();
        assert_eq!(names.len(), Defect::ALL.len());
        for defect in Defect::ALL {
            assert!(!defect.summary().is_empty(), "{defect}");
            let worlds = defect.worlds();
            assert!(worlds.contains(&SIMULATION), "{defect}: simulation reaches every one");
            assert!(worlds.iter().all(|world| [PROCESS, SIMULATION].contains(world)));
        }
    }
}
