//! Which faults come when: drawn up front from the seed.
//!
//! The run is cut into slots of one interval each, after a warm-up and before a tail in which the cluster is left
//! alone. Each slot holds one fault, which starts near the slot's beginning and ends well before its end, so that
//! faults do not overlap and the cluster recovers in between: a cluster that is always broken answers nothing, and
//! what answers nothing cannot be caught lying.
//!
//! Changes of members may have a plan of their own, in which they go up and down by turns (`climb.rs`), beside
//! that of the other faults.
//!
//! Where a world can bear several faults at a time, a plan has several tracks, each with slots of its own that begin
//! in between those of the others: faults of two tracks overlap, faults of one do not.
//!
//! Kinds come as a shuffled deck first, one card each, and at random afterwards. Shapes of kills come in fours.
//! Every draw has a labelled stream of its own (track, step and aspect), so that taking one step out of a schedule, or
//! adding a draw to one aspect, moves nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use tribunal_history::{Fault, FaultKind, Moment, Schedule, Select, Step};

use crate::aim::aim;
use crate::climb::Climb;
use crate::plan::{Aspect, Plan};

/// The cluster and its clients are left alone first, so that a leader is known and there are values to lose before
/// anything breaks.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// The cluster is left alone at the end of the safety phase, so that the last fault's aftermath is recorded too.
pub(crate) const TAIL: Duration = Duration::from_secs(1);

/// Most steps in a track: four days at the default interval.
const STEPS_MAX: u32 = 100_000;

/// A step's label is its number in its track and, above these bits, the track.
const TRACK_SHIFT: u32 = 20;

const _: () = assert!(STEPS_MAX < 1 << TRACK_SHIFT);

/// Share of the interval that one fault lasts, in percent.
const LASTS_PERCENT: RangeInclusive<u64> = 50..=75;

/// The same while no majority is up. Nothing can be acknowledged then, so the time is better spent elsewhere; what
/// was lost was lost at the first instant.
const OUTAGE_PERCENT: RangeInclusive<u64> = 25..=50;

/// Most of the interval that a fault may be stretched to; with the latest start this leaves a tenth for recovery.
const STRETCHED_PERCENT: u64 = 80;

/// Latest start of a fault in its slot, in percent of the interval: enough to vary its phase against heartbeats
/// and checkpoints.
const DELAY_PERCENT_MAX: u64 = 10;

/// Draws the schedule of `plan`: the same plan, the same schedule. Kinds that were asked for and have no step are
/// listed in `not_tried`.
pub fn draw(plan: &Plan) -> Schedule {
    assert!(plan.nodes > 0, "a cluster has nodes");
    let kinds = plan.applicable();
    let first_label = u32::from(plan.first_track) << TRACK_SHIFT;
    let mut deck: Vec<FaultKind> = kinds.iter().copied().collect();
    deck.shuffle(&mut plan.rng(first_label, Aspect::Deck));
    let mut climb = plan.climbs.then(|| Climb::new(plan));

    let interval = millis(plan.interval());
    let end = millis(plan.time_limit.saturating_sub(TAIL));
    let tracks = u32::from(plan.tracks.max(1));
    let mut open: BTreeSet<u32> = (0..tracks).collect();
    let mut steps: Vec<Step> = Vec::new();
    let mut counts: BTreeMap<FaultKind, u32> = BTreeMap::new();
    let mut members = plan.nodes;
    'slots: for number in 0..STEPS_MAX {
        for track in 0..tracks {
            let card = u64::from(number) * u64::from(tracks) + u64::from(track);
            let label = first_label + ((track << TRACK_SHIFT) | number);
            let drawn = match &mut climb {
                Some(climb) => climb.next(),
                None => usize::try_from(card)
                    .ok()
                    .and_then(|card| deck.get(card).copied())
                    .or_else(|| any_kind(plan, &kinds, label)),
            };
            let Some(drawn) = drawn else {
                break 'slots;
            };
            let offset = u64::from(track) * interval / u64::from(tracks);
            let slot = millis(WARM_UP)
                .saturating_add(u64::from(number).saturating_mul(interval))
                .saturating_add(offset);
            if slot > end {
                open.remove(&track);
            }
            let feasible = if climb.is_some() {
                Some(drawn)
            } else {
                feasible(plan, &kinds, drawn, &mut members)
            };
            let Some(kind) = feasible else {
                continue;
            };
            let earlier = counts.entry(kind).or_default();
            let fault = aim(plan, kind, label, *earlier);
            *earlier += 1;
            let (delay, duration_ms) = time(plan, &fault, label, interval);
            let at_ms = slot.saturating_add(delay);
            if at_ms.saturating_add(duration_ms) > end {
                open.remove(&track);
            }
            if open.contains(&track) {
                steps.push(Step {
                    at_ms,
                    duration_ms,
                    fault,
                });
            }
        }
        if open.is_empty() {
            break;
        }
    }
    // By track within one moment, as they were drawn.
    steps.sort_by_key(|step| step.at_ms);

    let tried: BTreeSet<FaultKind> = steps.iter().map(|step| step.fault.kind()).collect();
    Schedule {
        seed: plan.seed,
        steps,
        not_tried: plan.kinds.difference(&tried).copied().collect(),
    }
}

/// The faults of several schedules of one run in one: each keeps its own pace, so that faults of two of them overlap.
/// Draw their plans from tracks of their own ([`Plan::first_track`]).
pub fn together(schedules: impl IntoIterator<Item = Schedule>) -> Schedule {
    let mut all = Schedule::default();
    for schedule in schedules {
        all.seed = schedule.seed;
        all.steps.extend(schedule.steps);
        all.not_tried.extend(schedule.not_tried);
    }
    all.steps.sort_by_key(|step| step.at_ms);
    all
}

/// The kind itself, unless the members are too few to lose one or no node is left to add: then the other of the two,
/// or none if that was not asked for. `members` is how many there will be if every change succeeds.
fn feasible(plan: &Plan, kinds: &BTreeSet<FaultKind>, kind: FaultKind, members: &mut u16) -> Option<FaultKind> {
    let can = |kind| match kind {
        FaultKind::MemberGrow => *members < plan.nodes.saturating_add(plan.spares),
        FaultKind::MemberShrink => *members > plan.members_min(),
        _ => true,
    };
    let instead = match kind {
        FaultKind::MemberGrow => FaultKind::MemberShrink,
        FaultKind::MemberShrink => FaultKind::MemberGrow,
        other => other,
    };
    let kind = [kind, instead]
        .into_iter()
        .find(|kind| kinds.contains(kind) && can(*kind))?;
    match kind {
        FaultKind::MemberGrow => *members += 1,
        FaultKind::MemberShrink => *members -= 1,
        _ => {}
    }
    Some(kind)
}

/// A kind at random: first the group, then one of its kinds, so that the many ways to cut links do not crowd out
/// the kills, which alone lose un-synced data.
fn any_kind(plan: &Plan, kinds: &BTreeSet<FaultKind>, label: u32) -> Option<FaultKind> {
    let rng = &mut plan.rng(label, Aspect::Kind);
    let groups: BTreeSet<&str> = kinds.iter().map(|kind| kind.group()).collect();
    let group = *groups.into_iter().collect::<Vec<_>>().choose(rng)?;
    let in_group: Vec<FaultKind> = kinds.iter().copied().filter(|kind| kind.group() == group).collect();
    in_group.choose(rng).copied()
}

/// How long after its slot's beginning a fault starts, and how long it lasts, in milliseconds.
fn time(plan: &Plan, fault: &Fault, label: u32, interval: u64) -> (u64, u64) {
    let rng = &mut plan.rng(label, Aspect::Time);
    let share = |percent: u64| interval.saturating_mul(percent) / 100;
    let delay = rng.random_range(0..=share(DELAY_PERCENT_MAX));
    // What waits at a point waits while all are up.
    let is_death = match fault {
        Fault::Crash { moment, .. } => !matches!(moment, Moment::Point { .. }),
        other => matches!(other, Fault::Kill { .. }),
    };
    let no_majority = is_death && matches!(fault.select(), Select::Majority { .. } | Select::All);
    let lasts = if no_majority { OUTAGE_PERCENT } else { LASTS_PERCENT };
    let drawn = rng.random_range(share(*lasts.start())..=share(*lasts.end()));
    let duration = match fault {
        // A member that joins has to catch up and to get its vote.
        Fault::MemberReplace { .. } | Fault::MemberGrow { .. } | Fault::MemberShrink { .. } => share(STRETCHED_PERCENT),
        Fault::Isolate { .. } | Fault::Split { .. } | Fault::Bridge { .. } | Fault::Ring { .. } => {
            drawn.max(outlasting_elections(plan).min(share(STRETCHED_PERCENT)))
        }
        _ => drawn,
    };
    (delay, duration.max(1))
}

/// Two election timeouts and time to vote, in milliseconds.
fn outlasting_elections(plan: &Plan) -> u64 {
    millis(plan.election_timeout_max).saturating_mul(5) / 2
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
