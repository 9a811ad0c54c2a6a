//! Faults and their schedules, as data.
//!
//! A schedule is drawn up front from the seed, so it can be read before the run, repeated and shrunk. What
//! depends on the moment (who leads) is a [`Select`] and is resolved when the fault starts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::record::Record;

/// A fault that can be applied to a cluster. Most are undone when their time is over; what cannot be undone (a member
/// that was replaced, a clock that was set) says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// SIGKILL at one instant; started again when the fault stops.
    Kill {
        /// Whom.
        select: Select,
    },
    /// A crash that says what goes down and when; started again when the fault stops.
    Crash {
        /// Whom.
        select: Select,
        /// What goes down with the node.
        outage: Outage,
        /// At which moment after the start of the fault.
        moment: Moment,
    },
    /// SIGSTOP; SIGCONT when the fault stops.
    Pause {
        /// Whom.
        select: Select,
    },
    /// A node's links to all other nodes are cut. Clients still reach it.
    Isolate {
        /// Whom.
        select: Select,
        /// Which of its bytes are held.
        direction: Direction,
    },
    /// The nodes are cut in two groups that hear nothing of each other; within a group all links are whole.
    Split {
        /// One of the groups; the other nodes are the other.
        select: Select,
    },
    /// The nodes are cut in two groups, and one node hears and is heard by both: no group is alone.
    Bridge {
        /// The node between; the others are halved in their order.
        select: Select,
    },
    /// Each node keeps its links to a majority of the nodes, itself among them, and no two keep the same one: the
    /// nodes stand in a ring and see their neighbours only.
    Ring {
        /// All.
        select: Select,
    },
    /// A node's links to the other nodes misbehave.
    Link {
        /// Whom.
        select: Select,
        /// Which links, seen from that node.
        direction: Direction,
        /// In what way.
        effect: LinkEffect,
    },
    /// A node's disk misbehaves.
    Disk {
        /// Whom.
        select: Select,
        /// In what way.
        effect: DiskEffect,
    },
    /// A node's clock misbehaves.
    Clock {
        /// Whom.
        select: Select,
        /// In what way.
        effect: ClockEffect,
    },
    /// A member is removed, its data is wiped, and a new member with a new identifier is added in its place.
    MemberReplace {
        /// Whom.
        select: Select,
    },
    /// One more member is added.
    MemberGrow {
        /// A node that is no member yet.
        select: Select,
    },
    /// A member is removed.
    MemberShrink {
        /// Whom.
        select: Select,
    },
    /// Leadership is handed to a node; to the next one in order if that leads already.
    TransferLeader {
        /// To whom.
        select: Select,
    },
    /// A client compacts the history of revisions.
    Compact {
        /// The node that is asked.
        select: Select,
        /// How many revisions before the current one are kept.
        keep: u64,
    },
    /// A snapshot is taken, whatever the settings say, and the log before it may be purged.
    Snapshot {
        /// Whom.
        select: Select,
    },
}

impl Fault {
    /// Its kind, the name that flags and coverage use.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Kill { .. } => FaultKind::Kill,
            Self::Crash { moment, .. } => match moment {
                Moment::Now => FaultKind::Crash,
                Moment::Polls { .. } => FaultKind::CrashAfterPolls,
                Moment::Point { .. } => FaultKind::CrashAtPoint,
            },
            Self::Pause { .. } => FaultKind::Pause,
            Self::Isolate { direction, .. } => match direction {
                Direction::Both => FaultKind::Isolate,
                Direction::Inbound => FaultKind::IsolateInbound,
                Direction::Outbound => FaultKind::IsolateOutbound,
            },
            Self::Split { .. } => FaultKind::Split,
            Self::Bridge { .. } => FaultKind::Bridge,
            Self::Ring { .. } => FaultKind::Ring,
            Self::Link { effect, .. } => effect.kind(),
            Self::Disk { effect, .. } => effect.kind(),
            Self::Clock { effect, .. } => effect.kind(),
            Self::MemberReplace { .. } => FaultKind::MemberReplace,
            Self::MemberGrow { .. } => FaultKind::MemberGrow,
            Self::MemberShrink { .. } => FaultKind::MemberShrink,
            Self::TransferLeader { .. } => FaultKind::TransferLeader,
            Self::Compact { .. } => FaultKind::Compact,
            Self::Snapshot { .. } => FaultKind::Snapshot,
        }
    }

    /// Whom it is aimed at.
    pub fn select(&self) -> &Select {
        match self {
            Self::Kill { select }
            | Self::Crash { select, .. }
            | Self::Pause { select }
            | Self::Isolate { select, .. }
            | Self::Split { select }
            | Self::Bridge { select }
            | Self::Ring { select }
            | Self::Link { select, .. }
            | Self::Disk { select, .. }
            | Self::Clock { select, .. }
            | Self::MemberReplace { select }
            | Self::MemberGrow { select }
            | Self::MemberShrink { select }
            | Self::TransferLeader { select }
            | Self::Compact { select, .. }
            | Self::Snapshot { select } => select,
        }
    }

    /// How hard it hits, for people; none if its kind says all.
    pub fn parameters(&self) -> Option<String> {
        match self {
            Self::Crash { outage, moment, .. } => Some(match moment {
                Moment::Now => outage.name().to_owned(),
                Moment::Polls { polls } => format!("{}, after {polls} polls", outage.name()),
                Moment::Point { point, passes } => format!("{}, at {point} after {passes} passes", outage.name()),
            }),
            Self::Link { direction, effect, .. } => {
                let ways = match direction {
                    Direction::Both => "both ways",
                    Direction::Inbound => "inbound",
                    Direction::Outbound => "outbound",
                };
                Some(match effect.parameters() {
                    Some(parameters) => format!("{ways}, {parameters}"),
                    None => ways.to_owned(),
                })
            }
            Self::Disk { effect, .. } => effect.parameters(),
            Self::Clock { effect, .. } => Some(effect.parameters()),
            Self::Compact { keep, .. } => Some(format!("all but {keep} revisions")),
            Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Isolate { .. }
            | Self::Split { .. }
            | Self::Bridge { .. }
            | Self::Ring { .. }
            | Self::MemberReplace { .. }
            | Self::MemberGrow { .. }
            | Self::MemberShrink { .. }
            | Self::TransferLeader { .. }
            | Self::Snapshot { .. } => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.select())?;
        match self.parameters() {
            Some(parameters) => write!(f, " ({parameters})"),
            None => Ok(()),
        }
    }
}

/// What goes down in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// The process. Its system keeps what was written, and refuses calls in its place.
    Process,
    /// The machine loses its power. What was written and not synced may be lost, torn or reordered, and nobody there
    /// answers any more, not even with a refusal.
    Machine,
    /// As `machine`, but its system is back at once and refuses calls.
    Reboot,
}

impl Outage {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Machine => "machine",
            Self::Reboot => "reboot",
        }
    }
}

/// When a crash comes, counted from the start of its fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "when", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Moment {
    /// At once, on all nodes that it hits in the same instant.
    Now,
    /// Before the poll of one of the node's tasks that comes after so many others: at any point where it waits.
    Polls {
        /// So many.
        polls: u64,
    },
    /// Where the node passes a point that has a name in its code.
    Point {
        /// The name.
        point: String,
        /// How many passes of it are survived.
        passes: u64,
    },
}

/// How links misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LinkEffect {
    /// Messages take longer.
    Delay {
        /// At least so long, in milliseconds.
        min_ms: u64,
        /// At most so long, in milliseconds.
        max_ms: u64,
    },
    /// Messages are lost.
    Loss {
        /// So many of a hundred.
        percent: u32,
    },
    /// Calls between nodes arrive twice.
    Duplicate {
        /// So many of a hundred.
        percent: u32,
    },
    /// Calls are overtaken by later ones.
    Reorder {
        /// So many of a hundred.
        percent: u32,
        /// How late they are at most, in milliseconds.
        max_ms: u64,
    },
    /// The links carry little.
    Slow {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// Messages wait, and are sent on in their order when the fault stops.
    Hold,
    /// Calls are refused at once, and answers are lost.
    Refuse,
}

impl LinkEffect {
    fn kind(self) -> FaultKind {
        match self {
            Self::Delay { .. } => FaultKind::LinkDelay,
            Self::Loss { .. } => FaultKind::LinkLoss,
            Self::Duplicate { .. } => FaultKind::LinkDuplicate,
            Self::Reorder { .. } => FaultKind::LinkReorder,
            Self::Slow { .. } => FaultKind::LinkSlow,
            Self::Hold => FaultKind::LinkHold,
            Self::Refuse => FaultKind::LinkRefuse,
        }
    }

    fn parameters(self) -> Option<String> {
        match self {
            Self::Delay { min_ms, max_ms } => Some(format!("{min_ms} to {max_ms} ms")),
            Self::Loss { percent } | Self::Duplicate { percent } => Some(format!("{percent} %")),
            Self::Reorder { percent, max_ms } => Some(format!("{percent} %, up to {max_ms} ms")),
            Self::Slow { bytes_per_second } => Some(format!("{bytes_per_second} B/s")),
            Self::Hold | Self::Refuse => None,
        }
    }
}

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiskEffect {
    /// Syncs take longer.
    SlowSync {
        /// At least so long, in milliseconds.
        min_ms: u64,
        /// At most so long, in milliseconds.
        max_ms: u64,
    },
    /// Syncs fail (EIO). A node that keeps its promises stops; it is started again when the fault stops.
    SyncError {
        /// So many of a hundred.
        percent: u32,
    },
    /// Writes and changes of names fail (EIO).
    WriteError {
        /// So many of a hundred.
        percent: u32,
    },
    /// Nothing more fits (ENOSPC).
    Full,
    /// One bit is flipped in each of some sectors while the node is down.
    BitRot {
        /// So many sectors.
        sectors: u32,
    },
    /// Some sectors cannot be read (EIO) until they are written again.
    LatentSector {
        /// So many.
        sectors: u32,
    },
    /// Syncs answer and do nothing; at the end the machine loses its power, and with it what was promised.
    LyingSync {
        /// So many of a hundred.
        percent: u32,
    },
}

impl DiskEffect {
    fn kind(self) -> FaultKind {
        match self {
            Self::SlowSync { .. } => FaultKind::SlowSync,
            Self::SyncError { .. } => FaultKind::SyncError,
            Self::WriteError { .. } => FaultKind::WriteError,
            Self::Full => FaultKind::DiskFull,
            Self::BitRot { .. } => FaultKind::BitRot,
            Self::LatentSector { .. } => FaultKind::LatentSector,
            Self::LyingSync { .. } => FaultKind::LyingSync,
        }
    }

    fn parameters(self) -> Option<String> {
        match self {
            Self::SlowSync { min_ms, max_ms } => Some(format!("{min_ms} to {max_ms} ms")),
            Self::SyncError { percent } | Self::WriteError { percent } | Self::LyingSync { percent } => {
                Some(format!("{percent} %"))
            }
            Self::BitRot { sectors } | Self::LatentSector { sectors } => Some(format!("{sectors} sectors")),
            Self::Full => None,
        }
    }
}

/// How a clock misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClockEffect {
    /// It runs fast (positive) or slow until the fault stops; what it gained it keeps.
    Drift {
        /// In parts per million.
        ppm: i32,
    },
    /// The monotonic clock leaps ahead, and with it the wall clock, as after a machine slept. It is not undone.
    Jump {
        /// In milliseconds.
        by_ms: u64,
    },
    /// The wall clock is set forward or, if negative, back; it is set right when the fault stops.
    WallJump {
        /// In milliseconds.
        by_ms: i64,
    },
}

impl ClockEffect {
    fn kind(self) -> FaultKind {
        match self {
            Self::Drift { .. } => FaultKind::ClockDrift,
            Self::Jump { .. } => FaultKind::ClockJump,
            Self::WallJump { .. } => FaultKind::WallJump,
        }
    }

    fn parameters(self) -> String {
        match self {
            Self::Drift { ppm } => format!("{ppm:+} ppm"),
            Self::Jump { by_ms } => format!("+{by_ms} ms"),
            Self::WallJump { by_ms } => format!("{by_ms:+} ms"),
        }
    }
}

/// Kinds of faults. A kind is what a deck holds one card of and what coverage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL and restart.
    Kill,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// Cut off from the other nodes in both directions.
    Isolate,
    /// Hears nothing from the other nodes; they still hear it.
    IsolateInbound,
    /// Not heard by the other nodes; it still hears them.
    IsolateOutbound,
    /// Two groups that hear nothing of each other.
    Split,
    /// Two groups with one node that hears both.
    Bridge,
    /// Each node sees its neighbours only.
    Ring,
    /// A machine loses its power.
    Crash,
    /// A crash at any point where a node waits.
    CrashAfterPolls,
    /// A crash at a named point of the code.
    CrashAtPoint,
    /// Messages take longer.
    LinkDelay,
    /// Messages are lost.
    LinkLoss,
    /// Calls arrive twice.
    LinkDuplicate,
    /// Calls are overtaken.
    LinkReorder,
    /// Links carry little.
    LinkSlow,
    /// Messages wait and come later.
    LinkHold,
    /// Calls are refused.
    LinkRefuse,
    /// Syncs take longer.
    SlowSync,
    /// Syncs fail.
    SyncError,
    /// Writes fail.
    WriteError,
    /// Nothing more fits.
    DiskFull,
    /// Bits flip while a node is down.
    BitRot,
    /// Sectors cannot be read.
    LatentSector,
    /// Syncs lie until the machine loses its power.
    LyingSync,
    /// A clock runs fast or slow.
    ClockDrift,
    /// The monotonic clock leaps ahead.
    ClockJump,
    /// The wall clock is set.
    WallJump,
    /// A member is removed and a new one added in its place.
    MemberReplace,
    /// A member is added.
    MemberGrow,
    /// A member is removed.
    MemberShrink,
    /// Leadership is handed over.
    TransferLeader,
    /// The history of revisions is compacted.
    Compact,
    /// A snapshot is taken.
    Snapshot,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 34] = [
        Self::Kill,
        Self::Pause,
        Self::Isolate,
        Self::IsolateInbound,
        Self::IsolateOutbound,
        Self::Split,
        Self::Bridge,
        Self::Ring,
        Self::Crash,
        Self::CrashAfterPolls,
        Self::CrashAtPoint,
        Self::LinkDelay,
        Self::LinkLoss,
        Self::LinkDuplicate,
        Self::LinkReorder,
        Self::LinkSlow,
        Self::LinkHold,
        Self::LinkRefuse,
        Self::SlowSync,
        Self::SyncError,
        Self::WriteError,
        Self::DiskFull,
        Self::BitRot,
        Self::LatentSector,
        Self::LyingSync,
        Self::ClockDrift,
        Self::ClockJump,
        Self::WallJump,
        Self::MemberReplace,
        Self::MemberGrow,
        Self::MemberShrink,
        Self::TransferLeader,
        Self::Compact,
        Self::Snapshot,
    ];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Isolate => "isolate",
            Self::IsolateInbound => "isolate-inbound",
            Self::IsolateOutbound => "isolate-outbound",
            Self::Split => "split",
            Self::Bridge => "bridge",
            Self::Ring => "ring",
            Self::Crash => "crash",
            Self::CrashAfterPolls => "crash-after-polls",
            Self::CrashAtPoint => "crash-at-point",
            Self::LinkDelay => "link-delay",
            Self::LinkLoss => "link-loss",
            Self::LinkDuplicate => "link-duplicate",
            Self::LinkReorder => "link-reorder",
            Self::LinkSlow => "link-slow",
            Self::LinkHold => "link-hold",
            Self::LinkRefuse => "link-refuse",
            Self::SlowSync => "slow-sync",
            Self::SyncError => "sync-error",
            Self::WriteError => "write-error",
            Self::DiskFull => "disk-full",
            Self::BitRot => "bit-rot",
            Self::LatentSector => "latent-sector",
            Self::LyingSync => "lying-sync",
            Self::ClockDrift => "clock-drift",
            Self::ClockJump => "clock-jump",
            Self::WallJump => "wall-jump",
            Self::MemberReplace => "member-replace",
            Self::MemberGrow => "member-grow",
            Self::MemberShrink => "member-shrink",
            Self::TransferLeader => "transfer-leader",
            Self::Compact => "compact",
            Self::Snapshot => "snapshot",
        }
    }

    /// The group that `--nemesis` knows it by as well: every cut is a `partition`.
    pub fn group(self) -> &'static str {
        match self {
            Self::Kill | Self::Crash | Self::CrashAfterPolls | Self::CrashAtPoint => "kill",
            Self::Pause => "pause",
            Self::Isolate | Self::IsolateInbound | Self::IsolateOutbound | Self::Split | Self::Bridge | Self::Ring => {
                "partition"
            }
            Self::LinkDelay
            | Self::LinkLoss
            | Self::LinkDuplicate
            | Self::LinkReorder
            | Self::LinkSlow
            | Self::LinkHold
            | Self::LinkRefuse => "link",
            Self::SlowSync
            | Self::SyncError
            | Self::WriteError
            | Self::DiskFull
            | Self::BitRot
            | Self::LatentSector
            | Self::LyingSync => "disk",
            Self::ClockDrift | Self::ClockJump | Self::WallJump => "clock",
            Self::MemberReplace | Self::MemberGrow | Self::MemberShrink => "membership",
            Self::TransferLeader | Self::Compact | Self::Snapshot => "maintenance",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No fault has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no fault is called {0:?}")]
pub struct ParseFaultKind(String);

impl FromStr for FaultKind {
    type Err = ParseFaultKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| ParseFaultKind(text.to_owned()))
    }
}

/// Whom a fault is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Select {
    /// These nodes.
    Nodes {
        /// Sorted, without repeats.
        nodes: Vec<NodeId>,
    },
    /// Whoever leads when the fault starts; `otherwise` if nobody is known to.
    Leader {
        /// The node that stands in.
        otherwise: NodeId,
    },
    /// The leader and as many others, in order from `first`, as make a majority.
    Majority {
        /// Where the count of the others begins.
        first: NodeId,
    },
    /// Every node.
    All,
    /// The first node that is no member yet.
    Spare,
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes { nodes } => {
                for (place, node) in nodes.iter().enumerate() {
                    if place > 0 {
                        f.write_str(" ")?;
                    }
                    node.fmt(f)?;
                }
                Ok(())
            }
            Self::Leader { .. } => f.write_str("leader"),
            Self::Majority { .. } => f.write_str("majority"),
            Self::All => f.write_str("all"),
            Self::Spare => f.write_str("a new node"),
        }
    }
}

/// Which bytes of a node's links are held, seen from that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What it sends and what is sent to it.
    Both,
    /// What is sent to it.
    Inbound,
    /// What it sends.
    Outbound,
}

/// One fault with its time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When it starts, in milliseconds after the safety phase began.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds.
    pub duration_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// The faults of a run, in order of their start (`schedule.json`). They may overlap where the world can bear it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// In order of `at_ms`.
    pub steps: Vec<Step>,
    /// Kinds that were asked for and have no step in the time given.
    pub not_tried: Vec<FaultKind>,
}

impl Record for Schedule {
    const FORMAT: &'static str = "tribunal-schedule";
    /// 2: links, disks, clocks, crashes at a moment, members; steps may overlap.
    const VERSION: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_name_that_reads_back() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("a string"), kind.name());
        }
        assert!("partition".parse::<FaultKind>().is_err(), "a group is not a kind");
    }

    #[test]
    fn an_isolation_is_told_by_its_direction() {
        let select = Select::Leader { otherwise: NodeId(1) };
        let kinds = [Direction::Both, Direction::Inbound, Direction::Outbound].map(|direction| {
            Fault::Isolate {
                select: select.clone(),
                direction,
            }
            .kind()
        });
        assert_eq!(
            kinds,
            [
                FaultKind::Isolate,
                FaultKind::IsolateInbound,
                FaultKind::IsolateOutbound
            ]
        );
    }
}
