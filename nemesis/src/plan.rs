//! From what a schedule is drawn.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{Purpose, Stream, seeded};
use tribunal_history::{FaultKind, NodeId};

use crate::schedule::{TAIL, WARM_UP};

/// Longest default interval: more faults find more, as long as the cluster is healthy in between. With faults of
/// half an interval or more this leaves room for an isolation that outlasts two elections.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(4);

/// Shortest default interval: below this a cluster with etcd's election timeouts does not recover between faults,
/// and it is better to try fewer kinds (the others are listed as not tried).
const INTERVAL_DEFAULT_MIN: Duration = Duration::from_secs(2);

/// Shortest interval that can be asked for; bounds the number of steps.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// Fewest members that shrinking leaves, unless there were fewer at the start: with three, one may still fail.
const MEMBERS_MIN: u16 = 3;

/// From what a schedule is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed of the run.
    pub seed: u64,
    /// How many nodes there are at the start: n1 to this one. At least 1.
    pub nodes: u16,
    /// How many more may be added as members.
    pub spares: u16,
    /// The kinds that are asked for, and that the target allows.
    pub kinds: BTreeSet<FaultKind>,
    /// The names of the points in the nodes' code at which they may crash.
    pub points: Vec<String>,
    /// Those of them that a node passes seldom: more crashes wait there, for whoever passes first.
    pub rare_points: Vec<String>,
    /// How long the safety phase is.
    pub time_limit: Duration,
    /// Mean time between the starts of two faults of one track; none takes the default ([`Plan::interval`]).
    pub interval: Option<Duration>,
    /// How many faults may be in force at a time. Faults of one track never overlap.
    pub tracks: u16,
    /// The number of the first track: plans of one run that are drawn apart have tracks of their own.
    pub first_track: u16,
    /// Members become more, up to the most that there can be, then fewer, and so on, in this order rather than at
    /// random; the plan has no kinds but those that change members.
    pub climbs: bool,
    /// Whether the number of members changes so much that faults are aimed at all nodes, those that may become members
    /// later among them.
    pub aims_at_spares: bool,
    /// The system's longest election timeout. An isolated leader must stay isolated for longer than two of them,
    /// so that another one leads while it still believes.
    pub election_timeout_max: Duration,
}

impl Plan {
    /// A plan with one track, the default interval, no spares and no points, and the election timeouts of the
    /// bundled store and of etcd (1 s).
    pub fn new(seed: u64, nodes: u16, kinds: BTreeSet<FaultKind>, time_limit: Duration) -> Self {
        Self {
            seed,
            nodes,
            spares: 0,
            kinds,
            points: Vec::new(),
            rare_points: Vec::new(),
            time_limit,
            interval: None,
            tracks: 1,
            first_track: 0,
            climbs: false,
            aims_at_spares: false,
            election_timeout_max: Duration::from_secs(1),
        }
    }

    /// The kinds that mean something here: a single node has no links to cut, and where no minority exists nobody's
    /// disk may lose what was promised.
    pub fn applicable(&self) -> BTreeSet<FaultKind> {
        let can_grow = self.spares > 0 && self.kinds.contains(&FaultKind::MemberGrow);
        self.kinds
            .iter()
            .copied()
            .filter(|kind| match kind {
                FaultKind::CrashAtPoint => !self.points.is_empty(),
                FaultKind::Isolate
                | FaultKind::IsolateInbound
                | FaultKind::IsolateOutbound
                | FaultKind::LinkDelay
                | FaultKind::LinkLoss
                | FaultKind::LinkDuplicate
                | FaultKind::LinkReorder
                | FaultKind::LinkSlow
                | FaultKind::LinkHold
                | FaultKind::LinkRefuse
                | FaultKind::MemberReplace
                | FaultKind::TransferLeader => self.places() > 1,
                FaultKind::Split | FaultKind::Bridge => self.nodes > 2,
                FaultKind::Ring => self.nodes > 3,
                FaultKind::BitRot | FaultKind::LatentSector | FaultKind::LyingSync => !self.frail().is_empty(),
                FaultKind::MemberGrow => self.spares > 0,
                FaultKind::MemberShrink => can_grow || self.nodes > self.members_min(),
                FaultKind::Kill
                | FaultKind::Crash
                | FaultKind::CrashAfterPolls
                | FaultKind::Pause
                | FaultKind::SlowSync
                | FaultKind::SyncError
                | FaultKind::WriteError
                | FaultKind::DiskFull
                | FaultKind::ClockDrift
                | FaultKind::ClockJump
                | FaultKind::WallJump
                | FaultKind::Compact
                | FaultKind::Snapshot => true,
            })
            .collect()
    }

    /// The nodes whose disks may lose what they promised to keep: always the same ones in a run, and fewer than half,
    /// so that a quorum holds everything that was acknowledged.
    pub fn frail(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = (1..=self.nodes).map(NodeId).collect();
        nodes.shuffle(&mut self.rng(0, Aspect::Frail));
        nodes.truncate(usize::from(self.nodes.saturating_sub(1) / 2));
        nodes.sort_unstable();
        nodes
    }

    /// Mean time between the starts of two faults of a track: as asked for (at least 0.2 s), or so that every
    /// applicable kind has its turn in the time given, between 2 s and 4 s.
    pub fn interval(&self) -> Duration {
        if let Some(interval) = self.interval {
            return interval.max(INTERVAL_MIN);
        }
        let cards = self.applicable().len().div_ceil(usize::from(self.tracks.max(1)));
        let cards = u32::try_from(cards).unwrap_or(u32::MAX).max(1);
        let room = self.time_limit.saturating_sub(WARM_UP + TAIL);
        (room / cards).clamp(INTERVAL_DEFAULT_MIN, INTERVAL_DEFAULT)
    }

    /// Fewest members that shrinking leaves.
    pub(crate) fn members_min(&self) -> u16 {
        self.nodes.min(MEMBERS_MIN)
    }

    pub(crate) fn rng(&self, label: u32, aspect: Aspect) -> ChaCha8Rng {
        seeded(
            self.seed,
            0,
            Stream {
                purpose: Purpose::Nemesis,
                a: u64::from(label),
                b: aspect as u64,
            },
        )
    }

    /// How many nodes faults are aimed at: n1 to this one.
    pub(crate) fn places(&self) -> u16 {
        if self.aims_at_spares {
            self.nodes.saturating_add(self.spares)
        } else {
            self.nodes
        }
    }

    pub(crate) fn any_node(&self, rng: &mut ChaCha8Rng) -> NodeId {
        NodeId(rng.random_range(1..=self.places()))
    }
}

/// What a draw is for, beside the step that it belongs to. The numbers are part of what a seed means.
#[derive(Clone, Copy)]
pub(crate) enum Aspect {
    Deck = 0,
    Kind = 1,
    Target = 2,
    Time = 3,
    ShapesOfKills = 4,
    ShapesOfCrashes = 5,
    Strength = 6,
    Frail = 7,
}
