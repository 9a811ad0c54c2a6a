//! Which faults come when: drawn up front from the seed.
//!
//! The run is cut into slots of one interval each, after a warm-up and before a tail in which the cluster is left
//! alone. Each slot holds one fault, which starts near the slot's beginning and ends well before its end, so that
//! faults never overlap and the cluster recovers in between: a cluster that is always broken answers nothing, and
//! what answers nothing cannot be caught lying.
//!
//! Kinds come as a shuffled deck first, one card each, and at random afterwards. Shapes of kills come in fours.
//! Every draw has a labelled stream of its own (step and aspect), so that taking one step out of a schedule, or
//! adding a draw to one aspect, moves nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tribunal_env::{Purpose, Stream, seeded};
use tribunal_history::{Direction, Fault, FaultKind, NodeId, Schedule, Select, Step};

/// The cluster and its clients are left alone first, so that a leader is known and there are values to lose before
/// anything breaks.
const WARM_UP: Duration = Duration::from_secs(1);

/// The cluster is left alone at the end of the safety phase, so that the last fault's aftermath is recorded too.
const TAIL: Duration = Duration::from_secs(1);

/// Longest default interval: more faults find more, as long as the cluster is healthy in between. With faults of
/// half an interval or more this leaves room for an isolation that outlasts two elections.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(4);

/// Shortest default interval: below this a cluster with etcd's election timeouts does not recover between faults,
/// and it is better to try fewer kinds (the others are listed as not tried).
const INTERVAL_DEFAULT_MIN: Duration = Duration::from_secs(2);

/// Shortest interval that can be asked for; bounds the number of steps.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// Most steps in a schedule: four days at the default interval.
const STEPS_MAX: u32 = 100_000;

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

/// From what a schedule is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed of the run.
    pub seed: u64,
    /// How many nodes there are: n1 to this one. At least 1.
    pub nodes: u16,
    /// The kinds that are asked for, and that the target allows.
    pub kinds: BTreeSet<FaultKind>,
    /// How long the safety phase is.
    pub time_limit: Duration,
    /// Mean time between the starts of two faults; none takes the default ([`Plan::interval`]).
    pub interval: Option<Duration>,
    /// The system's longest election timeout. An isolated leader must stay isolated for longer than two of them,
    /// so that another one leads while it still believes.
    pub election_timeout_max: Duration,
}

impl Plan {
    /// A plan with the default interval and the election timeouts of the bundled store and of etcd (1 s).
    pub fn new(seed: u64, nodes: u16, kinds: BTreeSet<FaultKind>, time_limit: Duration) -> Self {
        Self {
            seed,
            nodes,
            kinds,
            time_limit,
            interval: None,
            election_timeout_max: Duration::from_secs(1),
        }
    }

    /// The kinds that mean something here: a single node has no links to cut.
    pub fn applicable(&self) -> BTreeSet<FaultKind> {
        let has_links = self.nodes > 1;
        self.kinds
            .iter()
            .copied()
            .filter(|kind| match kind {
                FaultKind::Kill | FaultKind::Pause => true,
                FaultKind::Isolate | FaultKind::IsolateInbound | FaultKind::IsolateOutbound => has_links,
            })
            .collect()
    }

    /// Mean time between the starts of two faults: as asked for (at least 0.2 s), or so that every applicable kind
    /// has its turn in the time given, between 2 s and 4 s.
    pub fn interval(&self) -> Duration {
        if let Some(interval) = self.interval {
            return interval.max(INTERVAL_MIN);
        }
        let cards = u32::try_from(self.applicable().len()).unwrap_or(u32::MAX).max(1);
        let room = self.time_limit.saturating_sub(WARM_UP + TAIL);
        (room / cards).clamp(INTERVAL_DEFAULT_MIN, INTERVAL_DEFAULT)
    }

    fn rng(&self, label: u32, aspect: Aspect) -> ChaCha8Rng {
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

    fn any_node(&self, rng: &mut ChaCha8Rng) -> NodeId {
        NodeId(rng.random_range(1..=self.nodes))
    }
}

/// What a draw is for, beside the step that it belongs to.
#[derive(Clone, Copy)]
enum Aspect {
    Deck = 0,
    Kind = 1,
    Target = 2,
    Time = 3,
    Shapes = 4,
}

/// Draws the schedule of `plan`: the same plan, the same schedule. Kinds that were asked for and have no step are
/// listed in `not_tried`.
pub fn draw(plan: &Plan) -> Schedule {
    assert!(plan.nodes > 0, "a cluster has nodes");
    let kinds = plan.applicable();
    let mut deck: Vec<FaultKind> = kinds.iter().copied().collect();
    deck.shuffle(&mut plan.rng(0, Aspect::Deck));

    let interval = millis(plan.interval());
    let end = millis(plan.time_limit.saturating_sub(TAIL));
    let mut steps: Vec<Step> = Vec::new();
    let mut counts: BTreeMap<FaultKind, u32> = BTreeMap::new();
    for number in 0..STEPS_MAX {
        let slot = millis(WARM_UP).saturating_add(u64::from(number).saturating_mul(interval));
        let Some(kind) = deck
            .get(number as usize)
            .copied()
            .or_else(|| any_kind(plan, &kinds, number))
        else {
            break;
        };
        let earlier = counts.entry(kind).or_default();
        let fault = aim(plan, kind, number, *earlier);
        *earlier += 1;
        let (delay, duration_ms) = time(plan, &fault, number, interval);
        let at_ms = slot.saturating_add(delay);
        if at_ms.saturating_add(duration_ms) > end {
            break;
        }
        steps.push(Step {
            at_ms,
            duration_ms,
            fault,
        });
    }

    let tried: BTreeSet<FaultKind> = steps.iter().map(|step| step.fault.kind()).collect();
    Schedule {
        seed: plan.seed,
        steps,
        not_tried: plan.kinds.difference(&tried).copied().collect(),
    }
}

/// A kind at random: first the group, then one of its kinds, so that the many ways to cut links do not crowd out
/// the kills, which alone lose un-synced data.
fn any_kind(plan: &Plan, kinds: &BTreeSet<FaultKind>, step: u32) -> Option<FaultKind> {
    let rng = &mut plan.rng(step, Aspect::Kind);
    let groups: BTreeSet<&str> = kinds.iter().map(|kind| kind.group()).collect();
    let group = *groups.into_iter().collect::<Vec<_>>().choose(rng)?;
    let in_group: Vec<FaultKind> = kinds.iter().copied().filter(|kind| kind.group() == group).collect();
    in_group.choose(rng).copied()
}

/// The fault of `kind` for this step; `earlier` faults of the kind come before it.
fn aim(plan: &Plan, kind: FaultKind, step: u32, earlier: u32) -> Fault {
    let rng = &mut plan.rng(step, Aspect::Target);
    let node = plan.any_node(rng);
    let one = Select::Nodes { nodes: vec![node] };
    let leader = Select::Leader { otherwise: node };
    let leader_or_one = if rng.random_bool(0.5) {
        leader.clone()
    } else {
        one.clone()
    };
    let isolate = |select, direction| Fault::Isolate { select, direction };
    match kind {
        FaultKind::Kill if plan.nodes == 1 => Fault::Kill { select: one },
        FaultKind::Kill => Fault::Kill {
            select: match shape_of_kill(plan, earlier) {
                KillShape::One => one,
                KillShape::Leader => leader,
                KillShape::Majority => Select::Majority { first: node },
                KillShape::All => Select::All,
            },
        },
        FaultKind::Pause if plan.nodes == 1 => Fault::Pause { select: one },
        FaultKind::Pause => Fault::Pause { select: leader_or_one },
        // The one fault that leaves an old leader believing while a new one is elected: where there is a single
        // isolation in a run, it is the leader's.
        FaultKind::Isolate if earlier == 0 => isolate(leader, Direction::Both),
        FaultKind::Isolate => isolate(leader_or_one, Direction::Both),
        FaultKind::IsolateInbound => isolate(leader_or_one, Direction::Inbound),
        FaultKind::IsolateOutbound => isolate(leader_or_one, Direction::Outbound),
    }
}

/// Whom a kill hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KillShape {
    One,
    Leader,
    Majority,
    All,
}

/// The shape of the kill before which there were `earlier` ones. Each four kills have the four shapes, and each
/// pair of them one that leaves a majority up and one that does not: data that was acknowledged without being
/// synced is lost for good only when a majority dies at once. All nodes are in the first pair: after a majority died,
/// the survivor may still lead the others to what it holds.
fn shape_of_kill(plan: &Plan, earlier: u32) -> KillShape {
    let rng = &mut plan.rng(earlier / 4, Aspect::Shapes);
    let mut small = [KillShape::One, KillShape::Leader];
    small.shuffle(rng);
    let mut shapes = [[small[0], KillShape::All], [small[1], KillShape::Majority]];
    for pair in &mut shapes {
        pair.shuffle(rng);
    }
    shapes[(earlier % 4 / 2) as usize][(earlier % 2) as usize]
}

/// How long after its slot's beginning a fault starts, and how long it lasts, in milliseconds.
fn time(plan: &Plan, fault: &Fault, step: u32, interval: u64) -> (u64, u64) {
    let rng = &mut plan.rng(step, Aspect::Time);
    let share = |percent: u64| interval.saturating_mul(percent) / 100;
    let delay = rng.random_range(0..=share(DELAY_PERCENT_MAX));
    let no_majority = matches!(fault.select(), Select::Majority { .. } | Select::All);
    let lasts = if no_majority { OUTAGE_PERCENT } else { LASTS_PERCENT };
    let drawn = rng.random_range(share(*lasts.start())..=share(*lasts.end()));
    let duration = match fault {
        Fault::Isolate { .. } => drawn.max(outlasting_elections(plan).min(share(STRETCHED_PERCENT))),
        Fault::Kill { .. } | Fault::Pause { .. } => drawn,
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
