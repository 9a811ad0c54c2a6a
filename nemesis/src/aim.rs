//! Whom the fault of a step is aimed at, and how hard it hits.

use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tribunal_history::{
    ClockEffect, Direction, DiskEffect, Fault, FaultKind, LinkEffect, Moment, NodeId, Outage, Select,
};

use crate::plan::{Aspect, Plan};

/// The most polls that a crash waits for: a busy node of the bundled store is polled some thousand times a second,
/// so the crash comes within its fault's time.
const POLLS_MAX: u64 = 3_000;

/// The most passes of a point that are survived.
const PASSES_MAX: u64 = 3;

/// How many of the crashes at a point wait at one that is passed seldom.
const RARE_POINTS: f64 = 0.6;

/// The fault of `kind` for the step with this label; `earlier` faults of the kind come before it.
pub(crate) fn aim(plan: &Plan, kind: FaultKind, label: u32, earlier: u32) -> Fault {
    let rng = &mut plan.rng(label, Aspect::Target);
    let node = plan.any_node(rng);
    let one = Select::Nodes { nodes: vec![node] };
    let leader = Select::Leader { otherwise: node };
    let leader_or_one = if rng.random_bool(0.5) && plan.places() > 1 {
        leader.clone()
    } else {
        one.clone()
    };
    let shaped = |shape| match shape {
        Shape::One => one.clone(),
        Shape::Leader => leader.clone(),
        Shape::Majority => Select::Majority { first: node },
        Shape::All => Select::All,
    };
    let strength = &mut plan.rng(label, Aspect::Strength);
    match kind {
        FaultKind::Kill if plan.places() == 1 => Fault::Kill { select: one },
        FaultKind::Kill => Fault::Kill {
            select: shaped(shape(plan, earlier, Aspect::ShapesOfKills)),
        },
        FaultKind::Crash => Fault::Crash {
            select: if plan.nodes == 1 {
                one
            } else {
                shaped(shape(plan, earlier, Aspect::ShapesOfCrashes))
            },
            outage: *pick(strength, &[Outage::Machine, Outage::Machine, Outage::Reboot]),
            moment: Moment::Now,
        },
        FaultKind::CrashAfterPolls => Fault::Crash {
            outage: any_outage(strength),
            moment: Moment::Polls {
                polls: strength.random_range(0..=POLLS_MAX),
            },
            select: mostly(strength, leader_or_one, Select::All),
        },
        FaultKind::CrashAtPoint => {
            let is_rare = strength.random_bool(RARE_POINTS) && !plan.rare_points.is_empty();
            let points = if is_rare { &plan.rare_points } else { &plan.points };
            let point = points.choose(strength).cloned().unwrap_or_default();
            let passes = strength.random_range(0..=PASSES_MAX);
            Fault::Crash {
                outage: any_outage(strength),
                moment: Moment::Point {
                    point,
                    passes: if is_rare { 0 } else { passes },
                },
                select: if is_rare {
                    mostly(strength, Select::All, leader_or_one)
                } else {
                    mostly(strength, leader_or_one, Select::All)
                },
            }
        }
        FaultKind::Pause => Fault::Pause { select: leader_or_one },
        // The one fault that leaves an old leader believing while a new one is elected: where there is a single
        // isolation in a run, it is the leader's.
        FaultKind::Isolate if earlier == 0 => Fault::Isolate {
            select: leader,
            direction: Direction::Both,
        },
        FaultKind::Isolate => isolate(leader_or_one, Direction::Both),
        FaultKind::IsolateInbound => isolate(leader_or_one, Direction::Inbound),
        FaultKind::IsolateOutbound => isolate(leader_or_one, Direction::Outbound),
        FaultKind::Split => Fault::Split {
            select: mostly(strength, some_nodes(plan, rng), Select::Majority { first: node }),
        },
        FaultKind::Bridge => Fault::Bridge { select: leader_or_one },
        FaultKind::Ring => Fault::Ring { select: Select::All },
        FaultKind::LinkDelay
        | FaultKind::LinkLoss
        | FaultKind::LinkDuplicate
        | FaultKind::LinkReorder
        | FaultKind::LinkSlow
        | FaultKind::LinkHold
        | FaultKind::LinkRefuse => Fault::Link {
            direction: *pick(
                strength,
                &[
                    Direction::Both,
                    Direction::Both,
                    Direction::Inbound,
                    Direction::Outbound,
                ],
            ),
            effect: link_effect(kind, strength),
            select: leader_or_one,
        },
        FaultKind::SlowSync => Fault::Disk {
            effect: disk_effect(kind, strength),
            select: mostly(strength, leader_or_one, Select::All),
        },
        FaultKind::SyncError | FaultKind::WriteError | FaultKind::DiskFull => Fault::Disk {
            select: leader_or_one,
            effect: disk_effect(kind, strength),
        },
        // Promises are lost here, so only those may be hit who are not needed for a quorum that keeps them.
        FaultKind::BitRot | FaultKind::LatentSector | FaultKind::LyingSync => Fault::Disk {
            select: Select::Nodes {
                nodes: vec![plan.frail().choose(rng).copied().unwrap_or(node)],
            },
            effect: disk_effect(kind, strength),
        },
        FaultKind::ClockDrift | FaultKind::ClockJump | FaultKind::WallJump => Fault::Clock {
            select: leader_or_one,
            effect: clock_effect(kind, strength),
        },
        FaultKind::MemberReplace => Fault::MemberReplace { select: leader_or_one },
        FaultKind::MemberGrow => Fault::MemberGrow { select: Select::Spare },
        FaultKind::MemberShrink => Fault::MemberShrink { select: leader_or_one },
        FaultKind::TransferLeader => Fault::TransferLeader { select: one },
        FaultKind::Compact => Fault::Compact {
            select: one,
            keep: strength.random_range(0..=100),
        },
        FaultKind::Snapshot => Fault::Snapshot {
            select: mostly(strength, leader_or_one, Select::All),
        },
    }
}

fn isolate(select: Select, direction: Direction) -> Fault {
    Fault::Isolate { select, direction }
}

fn pick<'a, T>(rng: &mut ChaCha8Rng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}

/// The first three times of four, else the other.
fn mostly(rng: &mut ChaCha8Rng, first: Select, other: Select) -> Select {
    if rng.random_bool(0.75) { first } else { other }
}

fn any_outage(rng: &mut ChaCha8Rng) -> Outage {
    *pick(
        rng,
        &[Outage::Machine, Outage::Machine, Outage::Reboot, Outage::Process],
    )
}

/// Some nodes, at least one and at most half.
fn some_nodes(plan: &Plan, rng: &mut ChaCha8Rng) -> Select {
    let mut nodes: Vec<NodeId> = (1..=plan.nodes).map(NodeId).collect();
    nodes.shuffle(rng);
    nodes.truncate(rng.random_range(1..=usize::from(plan.nodes / 2).max(1)));
    nodes.sort_unstable();
    Select::Nodes { nodes }
}

/// From what a user would hardly notice to what stops a cluster with etcd's timeouts.
fn link_effect(kind: FaultKind, rng: &mut ChaCha8Rng) -> LinkEffect {
    match kind {
        FaultKind::LinkDelay => {
            let max_ms = *pick(rng, &[20, 100, 400, 1500]);
            LinkEffect::Delay {
                min_ms: rng.random_range(0..=max_ms / 2),
                max_ms,
            }
        }
        FaultKind::LinkLoss => LinkEffect::Loss {
            percent: *pick(rng, &[5, 20, 50, 90]),
        },
        FaultKind::LinkDuplicate => LinkEffect::Duplicate {
            percent: *pick(rng, &[10, 50, 100]),
        },
        FaultKind::LinkReorder => LinkEffect::Reorder {
            percent: *pick(rng, &[10, 50]),
            max_ms: *pick(rng, &[20, 200, 1000]),
        },
        FaultKind::LinkSlow => LinkEffect::Slow {
            bytes_per_second: *pick(rng, &[2_000, 20_000, 200_000]),
        },
        FaultKind::LinkHold => LinkEffect::Hold,
        _ => LinkEffect::Refuse,
    }
}

fn disk_effect(kind: FaultKind, rng: &mut ChaCha8Rng) -> DiskEffect {
    match kind {
        FaultKind::SlowSync => {
            let max_ms = *pick(rng, &[30, 200, 1000]);
            DiskEffect::SlowSync {
                min_ms: rng.random_range(0..=max_ms / 2),
                max_ms,
            }
        }
        FaultKind::SyncError => DiskEffect::SyncError {
            percent: *pick(rng, &[5, 100]),
        },
        FaultKind::WriteError => DiskEffect::WriteError {
            percent: *pick(rng, &[5, 100]),
        },
        FaultKind::BitRot => DiskEffect::BitRot {
            sectors: rng.random_range(1..=4),
        },
        FaultKind::LatentSector => DiskEffect::LatentSector {
            sectors: rng.random_range(1..=4),
        },
        FaultKind::LyingSync => DiskEffect::LyingSync {
            percent: *pick(rng, &[10, 100]),
        },
        _ => DiskEffect::Full,
    }
}

/// Drifts far beyond those of real clocks, jumps as of a machine that slept or a clock that somebody set.
fn clock_effect(kind: FaultKind, rng: &mut ChaCha8Rng) -> ClockEffect {
    match kind {
        FaultKind::ClockDrift => ClockEffect::Drift {
            ppm: rng.random_range(20_000..=300_000) * pick(rng, &[-1, 1]),
        },
        FaultKind::ClockJump => ClockEffect::Jump {
            by_ms: *pick(rng, &[50, 500, 3_000, 60_000]),
        },
        _ => ClockEffect::WallJump {
            by_ms: *pick(rng, &[500, 60_000, 86_400_000]) * pick(rng, &[-1, 1]),
        },
    }
}

/// Whom a kill or a crash hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One,
    Leader,
    Majority,
    All,
}

/// The shape of the kill before which there were `earlier` ones. Each four kills have the four shapes, and each
/// pair of them one that leaves a majority up and one that does not: data that was acknowledged without being
/// synced is lost for good only when a majority dies at once. All nodes are in the first pair: after a majority died,
/// the survivor may still lead the others to what it holds.
fn shape(plan: &Plan, earlier: u32, aspect: Aspect) -> Shape {
    let rng = &mut plan.rng(earlier / 4, aspect);
    let mut small = [Shape::One, Shape::Leader];
    small.shuffle(rng);
    let mut shapes = [[small[0], Shape::All], [small[1], Shape::Majority]];
    for pair in &mut shapes {
        pair.shuffle(rng);
    }
    shapes[(earlier % 4 / 2) as usize][(earlier % 2) as usize]
}
