//! Named points of the store where a crash or a delay is interesting.
//!
//! Most of a node's life is dull: a crash between two heartbeats proves little. The moments that matter are short,
//! between a write and its sync, or between a fact and the answer that rests on it. Each has a name here and is
//! passed by the code at its place. In simulation a node can be told to crash at a point
//! (`tribunal_simulation::World::crash_at`), and a point that lingers makes its moment longer now and then
//! ([`Env::buggify`]), so that other nodes have time to do something meanwhile. Outside of simulation a point costs
//! one call that answers `false`.
//!
//! No point stands where a lock is held.

use std::time::Duration;

use rand_chacha::rand_core::Rng as _;
use tribunal_env::{AsyncRuntime, Clock as _, Env, Purpose, Stream};
use xxhash_rust::xxh3::xxh3_64;

/// A named point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its name: the part, what it does, and the moment.
    pub name: &'static str,
    /// Whether it may make its moment longer.
    pub lingers: bool,
    /// Whether a node passes it less than about once in a minute, so that whoever waits for that must look for it.
    pub is_rare: bool,
    /// Whether only a life that begins passes it. Who waits for that must end the life before.
    pub is_of_recovery: bool,
    /// What a crash there leaves.
    pub leaves: &'static str,
}

impl Point {
    const fn rare(self) -> Self {
        Self { is_rare: true, ..self }
    }

    const fn of_recovery(self) -> Self {
        Self {
            is_of_recovery: true,
            ..self
        }
    }
}

const fn point(name: &'static str, leaves: &'static str) -> Point {
    Point {
        name,
        lingers: false,
        is_rare: false,
        is_of_recovery: false,
        leaves,
    }
}

const fn lingering(name: &'static str, leaves: &'static str) -> Point {
    Point {
        name,
        lingers: true,
        is_rare: false,
        is_of_recovery: false,
        leaves,
    }
}

/// Entries are written and not synced, and nobody was told.
pub const APPEND_BEFORE_SYNC: Point = lingering(
    "wal.append.before-sync",
    "entries that may be lost, cut or whole; no one may have counted them",
);
/// Entries are durable, and consensus was not told.
pub const APPEND_AFTER_SYNC: Point = point(
    "wal.append.after-sync",
    "durable entries that no one knows of: they may come back after the leader has given others their place",
);
/// A vote is written and not synced.
pub const VOTE_BEFORE_SYNC: Point = lingering(
    "wal.vote.before-sync",
    "a vote that may be forgotten: had it been answered, the node could vote twice in a term",
);
/// A vote is durable and was not answered.
pub const VOTE_AFTER_SYNC: Point = point(
    "wal.vote.after-sync",
    "a vote that binds the node, although the candidate never hears of it",
);
/// A truncation is written and not synced.
pub const TRUNCATE_BEFORE_SYNC: Point = lingering(
    "log.truncate.before-sync",
    "a tail that contradicts the leader's log, still there or gone",
)
.rare();
/// A truncation is durable, and what takes the tail's place is not written.
pub const TRUNCATE_AFTER_SYNC: Point = point(
    "log.truncate.after-sync",
    "a log that is shorter than it ever was for others",
)
.rare();
/// A purge is written and not synced.
pub const PURGE_BEFORE_SYNC: Point = lingering(
    "wal.purge.before-sync",
    "entries that a snapshot replaces, still there or gone",
)
.rare();
/// A purge is durable, and the segments that it empties are all there.
pub const PURGE_BEFORE_REMOVE: Point = point("wal.purge.before-remove", "segments that nobody needs").rare();
/// A segment is removed, and its folder is not synced.
pub const PURGE_BEFORE_DIR_SYNC: Point = point(
    "wal.purge.before-dir-sync",
    "a segment that may come back in front of the log",
)
.rare();
/// A new segment is synced, and its folder is not: the file may vanish.
pub const SEGMENT_BEFORE_DIR_SYNC: Point = point(
    "wal.segment.before-dir-sync",
    "a segment that may vanish with all that is in it",
);
/// A segment is there and nothing but its head is in it.
pub const SEGMENT_AFTER_DIR_SYNC: Point = point("wal.segment.after-dir-sync", "an empty last segment");
/// Recovery has found a cut batch and is about to remove it.
pub const RECOVERY_BEFORE_REPAIR: Point = point(
    "wal.recovery.before-repair",
    "a cut batch that the next recovery must judge again",
)
.rare()
.of_recovery();
/// A snapshot's file is written and not synced.
pub const SNAPSHOT_SAVE_BEFORE_SYNC: Point = lingering("snapshot.save.before-sync", "an unfinished file");
/// A snapshot's file is durable under its provisional name.
pub const SNAPSHOT_SAVE_BEFORE_RENAME: Point = point("snapshot.save.before-rename", "an unfinished file that is whole");
/// A snapshot has its name, which is not durable.
pub const SNAPSHOT_SAVE_BEFORE_DIR_SYNC: Point = point(
    "snapshot.save.before-dir-sync",
    "a snapshot that may go back to its provisional name",
);
/// A snapshot is durable and older ones are still there.
pub const SNAPSHOT_SAVE_BEFORE_REMOVE: Point = point("snapshot.save.before-remove", "two snapshots");
/// The state is frozen for a snapshot; entries are applied on meanwhile.
pub const SNAPSHOT_BUILD_FROZEN: Point = lingering("snapshot.build.frozen", "nothing: it is made again").rare();
/// A snapshot has come from the leader and is not saved.
pub const SNAPSHOT_INSTALL_BEFORE_SAVE: Point =
    lingering("snapshot.install.before-save", "a member that still lags").rare();
/// A snapshot from the leader is saved; the log and the state are old.
pub const SNAPSHOT_INSTALL_AFTER_SAVE: Point =
    lingering("snapshot.install.after-save", "a snapshot that is ahead of the log").rare();
/// A snapshot from the leader is in force; what the log holds of before is not purged.
pub const SNAPSHOT_INSTALL_BEFORE_PURGE: Point = point(
    "snapshot.install.before-purge",
    "a log that ends before the snapshot, or contradicts it",
)
.rare();
/// A commit point is known and not yet on its way to the disk.
pub const COMMIT_BEFORE_WRITE: Point = point(
    "log.commit.before-write",
    "committed entries that this node does not remember as committed",
);
/// An entry is committed and not applied.
pub const APPLY_BEFORE: Point = lingering("machine.apply.before", "a state that is behind what is committed");
/// An entry is applied, and who proposed it was not answered.
pub const APPLY_BEFORE_REPLY: Point = point(
    "machine.apply.before-reply",
    "a write that took effect and whose client hears nothing",
);
/// A write is done, its evidence is written, and its client was not told.
pub const WRITE_BEFORE_REPLY: Point = lingering(
    "write.before-reply",
    "an acknowledgement in the evidence that no client got",
);
/// A follower is about to forward a write.
pub const WRITE_BEFORE_FORWARD: Point = lingering("write.before-forward", "a write that nobody has");
/// A quorum has confirmed the leader, and the read has not begun.
pub const READ_AFTER_CONFIRMATION: Point = lingering(
    "read.after-confirmation",
    "nothing: a read has no effect. A delay lets other writes and leaders pass",
);
/// A call of another member is done, and its answer has not left.
pub const PEER_BEFORE_ANSWER: Point = lingering(
    "peer.before-answer",
    "a member that did what it was asked and never says so",
);

/// All points.
pub const ALL: [Point; 27] = [
    APPEND_BEFORE_SYNC,
    APPEND_AFTER_SYNC,
    VOTE_BEFORE_SYNC,
    VOTE_AFTER_SYNC,
    TRUNCATE_BEFORE_SYNC,
    TRUNCATE_AFTER_SYNC,
    PURGE_BEFORE_SYNC,
    PURGE_BEFORE_REMOVE,
    PURGE_BEFORE_DIR_SYNC,
    SEGMENT_BEFORE_DIR_SYNC,
    SEGMENT_AFTER_DIR_SYNC,
    RECOVERY_BEFORE_REPAIR,
    SNAPSHOT_SAVE_BEFORE_SYNC,
    SNAPSHOT_SAVE_BEFORE_RENAME,
    SNAPSHOT_SAVE_BEFORE_DIR_SYNC,
    SNAPSHOT_SAVE_BEFORE_REMOVE,
    SNAPSHOT_BUILD_FROZEN,
    SNAPSHOT_INSTALL_BEFORE_SAVE,
    SNAPSHOT_INSTALL_AFTER_SAVE,
    SNAPSHOT_INSTALL_BEFORE_PURGE,
    COMMIT_BEFORE_WRITE,
    APPLY_BEFORE,
    APPLY_BEFORE_REPLY,
    WRITE_BEFORE_REPLY,
    WRITE_BEFORE_FORWARD,
    READ_AFTER_CONFIRMATION,
    PEER_BEFORE_ANSWER,
];

/// The point of this name.
pub fn named(name: &str) -> Option<Point> {
    ALL.into_iter().find(|point| point.name == name)
}

/// The longest that a point lingers. It is about the time between two heartbeats: long enough for another node to
/// act, short enough to depose nobody by itself.
pub const LINGERS_MAX: Duration = Duration::from_millis(100);

/// Passes a point at which a node may crash.
pub(crate) fn pass<E: Env>(env: &E, point: Point) {
    debug_assert!(!point.lingers, "{} lingers", point.name);
    // Where it does crash this does not return, and a point that does not linger has nothing else to do.
    let _ = env.buggify(point.name);
}

/// Passes a point at which a node may crash, or linger.
pub(crate) async fn linger<E: Env>(env: &E, point: Point) {
    debug_assert!(point.lingers, "{} does not linger", point.name);
    if env.buggify(point.name) {
        let now = env.clock().monotonic();
        let mut rng = env.rng(Stream {
            purpose: Purpose::Buggify,
            a: xxh3_64(point.name.as_bytes()),
            b: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        });
        // Of thousands, so that a bias matters to nobody.
        let thousandths = rng.next_u32() % 1_000 + 1;
        E::Runtime::sleep(LINGERS_MAX * thousandths / 1_000).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_differ_and_read_back() {
        let names: BTreeSet<_> = ALL.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), ALL.len());
        for point in ALL {
            assert_eq!(named(point.name), Some(point));
        }
        assert_eq!(named("wal.append.before-lunch"), None);
    }
}
