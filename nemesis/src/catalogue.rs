//! Every fault for people: what it does, what proves it, what it needs (`docs/faults.md`, `tribunal list faults`).

use std::collections::BTreeSet;

use tribunal_history::FaultKind;

/// One kind of fault for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kind.
    pub kind: FaultKind,
    /// What it does, in one line.
    pub does: &'static str,
    /// What proves its effect, in one line.
    pub proof: &'static str,
    /// The worlds that have it: `process`, `simulation`; none of them for a kind that schedules know and no world does yet.
    pub worlds: &'static [&'static str],
    /// Whether it needs root.
    pub needs_root: bool,
}

/// Every kind of fault, in the order of [`FaultKind::ALL`].
pub fn catalogue() -> [Entry; FaultKind::ALL.len()] {
    FaultKind::ALL.map(|kind| {
        let (does, proof) = match kind {
            FaultKind::Kill => (
                "kills nodes at one instant (SIGKILL) and starts them again",
                "the process is gone",
            ),
            FaultKind::Pause => (
                "stops a node's process (SIGSTOP) and lets it go on (SIGCONT)",
                "the system reports the process as stopped",
            ),
            FaultKind::Isolate => (
                "cuts a node off from all others, in both directions",
                "bytes or connections were held on its links in both directions",
            ),
            FaultKind::IsolateInbound => (
                "a node hears nothing from the others; they still hear it",
                "bytes or connections towards it were held",
            ),
            FaultKind::IsolateOutbound => (
                "a node is not heard by the others; it still hears them",
                "bytes or connections from it were held",
            ),
            FaultKind::Split => (
                "cuts the nodes in two groups that hear nothing of each other",
                "messages between the groups were stopped",
            ),
            FaultKind::Bridge => (
                "cuts the nodes in two groups with one node that hears both",
                "messages between the groups were stopped",
            ),
            FaultKind::Ring => (
                "each node sees its neighbours in a ring only, a majority with itself",
                "messages between nodes that are no neighbours were stopped",
            ),
            FaultKind::Crash => (
                "machines lose their power at one instant, and un-synced writes with it",
                "the node is down",
            ),
            FaultKind::CrashAfterPolls => (
                "nodes crash after a number of polls of their tasks: at any point where they wait",
                "the node went down at that poll",
            ),
            FaultKind::CrashAtPoint => (
                "nodes crash where they pass a named point of their code",
                "the node went down at that point",
            ),
            FaultKind::LinkDelay => (
                "messages on a node's links take longer",
                "messages were sent on those links",
            ),
            FaultKind::LinkLoss => (
                "messages on a node's links are lost; streams send them again later",
                "messages were lost",
            ),
            FaultKind::LinkDuplicate => ("calls on a node's links arrive twice", "calls were doubled"),
            FaultKind::LinkReorder => (
                "calls on a node's links are overtaken by later ones",
                "calls were late on purpose",
            ),
            FaultKind::LinkSlow => (
                "a node's links carry few bytes a second",
                "messages were sent on those links",
            ),
            FaultKind::LinkHold => (
                "messages on a node's links wait and are sent on when the fault stops",
                "messages were held",
            ),
            FaultKind::LinkRefuse => ("calls on a node's links are refused at once", "calls were refused"),
            FaultKind::SlowSync => ("a node's syncs take longer", "syncs ended meanwhile"),
            FaultKind::SyncError => (
                "a node's syncs fail (EIO), so that it stops; its machine starts it again",
                "a sync failed",
            ),
            FaultKind::WriteError => (
                "a node's writes fail (EIO), so that it stops; it is started again",
                "a write failed",
            ),
            FaultKind::DiskFull => ("nothing more fits on a node's disk (ENOSPC)", "a write did not fit"),
            FaultKind::BitRot => ("bits flip on a node's disk while it is down", "bits were flipped"),
            FaultKind::LatentSector => (
                "sectors of a node's disk cannot be read (EIO) until they are written or mended",
                "a read failed",
            ),
            FaultKind::LyingSync => (
                "a node's syncs answer and do nothing; then its machine loses its power and it is replaced",
                "a sync lied",
            ),
            FaultKind::ClockDrift => ("a node's clocks run fast or slow", "its clock gained or lost"),
            FaultKind::ClockJump => ("a node's clocks leap ahead", "its monotonic clock leapt"),
            FaultKind::WallJump => (
                "a node's wall clock is set forward or back",
                "its wall clock moved and its monotonic one did not",
            ),
            FaultKind::MemberReplace => (
                "removes a member, wipes it and adds a new one in its place",
                "the members in force have the new one and not the old one",
            ),
            FaultKind::MemberGrow => ("adds a member", "the members in force have it"),
            FaultKind::MemberShrink => ("removes a member", "the members in force do not have it"),
            FaultKind::TransferLeader => ("hands leadership to a node", "that node leads"),
            FaultKind::Compact => (
                "a client compacts the history of revisions",
                "the compaction was answered",
            ),
            FaultKind::Snapshot => ("nodes take a snapshot now", "the node has a snapshot that it had not"),
        };
        Entry {
            kind,
            does,
            proof,
            worlds: worlds(kind),
            needs_root: false,
        }
    })
}

/// The kinds of faults that a world has; none for a world of another name.
pub fn kinds_in(world: &str) -> BTreeSet<FaultKind> {
    FaultKind::ALL
        .into_iter()
        .filter(|kind| worlds(*kind).contains(&world))
        .collect()
}

/// Processes are killed, stopped and cut off, and asked for what an operator asks for; everything else needs a machine, a
/// disk and a clock of our own making.
fn worlds(kind: FaultKind) -> &'static [&'static str] {
    match kind {
        FaultKind::Kill
        | FaultKind::Pause
        | FaultKind::Isolate
        | FaultKind::IsolateInbound
        | FaultKind::IsolateOutbound
        | FaultKind::MemberReplace
        | FaultKind::MemberGrow
        | FaultKind::MemberShrink
        | FaultKind::TransferLeader
        | FaultKind::Compact
        | FaultKind::Snapshot => &["process", "simulation"],
        _ => &["simulation"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row of each kind, and in it its group and the worlds that have it.
    #[test]
    fn the_manual_has_every_fault() {
        let manual = include_str!("../../docs/faults.md");
        for entry in catalogue() {
            let worlds = if entry.worlds.is_empty() {
                "none yet".to_owned()
            } else {
                entry.worlds.join(", ")
            };
            let start = format!("| `{}` | `{}` | {worlds} |", entry.kind, entry.kind.group());
            let row = manual.lines().find(|line| line.starts_with(&start));
            assert!(row.is_some(), "docs/faults.md has no row {start}");
        }
        let rows = manual.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, FaultKind::ALL.len(), "and no other rows");
    }

    #[test]
    fn the_simulation_has_every_kind_that_a_world_has_and_another_world_none() {
        let somewhere = catalogue().into_iter().filter(|entry| !entry.worlds.is_empty());
        assert_eq!(kinds_in("simulation"), somewhere.map(|entry| entry.kind).collect());
        assert!(kinds_in("process").is_subset(&kinds_in("simulation")));
        assert!(kinds_in("elsewhere").is_empty());
    }
}
