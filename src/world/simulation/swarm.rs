//! Each seed draws its own configuration (swarm testing, Groce et al. 2012): what is always on hides what needs it off.
//!
//! A seed that draws three nodes over a perfect network is as useful as one that draws five over a bad one. Each
//! aspect has a stream of random numbers of its own, so that what is given by hand moves nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{Env as _, Purpose, Stream, seeded};
use tribunal_history::{Fault, FaultKind, NodeId, Schedule, Select, Step, Weather};
use tribunal_simulation::{Buggify, Delay, DiskSettings, LinkSettings, Place, SimEnv, World as Simulator};
use tribunal_store::wal;
use tribunal_workload::Mix;

use super::ABILITIES;

/// Entries between snapshots where a seed draws no fewer, and how many of them a snapshot leaves in the log: more than most
/// runs of a minute make, and few enough that an hour's log does not stay in memory.
const SNAPSHOT_COUNT: u64 = 1_500;
const ENTRIES_KEPT: u64 = 200;

/// Between two compactions of a long run. Kubernetes compacts its etcd every five minutes, of a load that is far smaller.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(90);

/// Revisions that such a compaction keeps.
const UPKEEP_KEEPS: u64 = 100;

/// What a seed draws of the cluster and its clients, where nothing is given by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many nodes.
    pub nodes: u16,
    /// How many keys.
    pub keys: u32,
    /// How long the longest values are, in bytes.
    pub value_bytes: u32,
    /// Between heartbeats of a leader.
    pub heartbeat: Duration,
    /// Without a heartbeat until a follower stands for election.
    pub election: Duration,
}

/// The faults that a seed draws from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Which kinds.
    pub kinds: BTreeSet<FaultKind>,
    /// How many at a time.
    pub tracks: u16,
    /// Mean time between the starts of two, in each track.
    pub interval: Duration,
}

/// What is drawn.
#[derive(Clone, Copy)]
enum Aspect {
    Nodes = 0,
    Keys = 1,
    Timers = 2,
    Delays = 3,
    Losses = 4,
    Disks = 5,
    Points = 6,
    Log = 7,
    Groups = 8,
    Tracks = 9,
    Interval = 10,
    Clocks = 11,
    Drift = 12,
    Roles = 13,
    Deletes = 14,
    Spares = 15,
    Values = 16,
    Skew = 17,
}

fn rng(seed: u64, aspect: Aspect) -> ChaCha8Rng {
    let stream = Stream {
        purpose: Purpose::Weather,
        a: aspect as u64,
        b: 0,
    };
    seeded(seed, 0, stream)
}

/// The cluster and the load of a seed.
pub fn shape(seed: u64) -> Shape {
    // Five nodes cost twice as much as three, and seven twice as much again; they find little more. A single one has
    // nobody to learn from what it forgot.
    let nodes = match rng(seed, Aspect::Nodes).random_range(0..100) {
        0..5 => 1,
        5..83 => 3,
        83..98 => 5,
        _ => 7,
    };
    let keys = rng(seed, Aspect::Keys).random_range(3..=12);
    // Values of several sectors in every third seed: what is within one sector is never torn.
    let values = &mut rng(seed, Aspect::Values);
    let (are_long, long) = (values.random_ratio(1, 3), values.random_range(512..=8_192));
    let value_bytes = if are_long { long } else { 0 };
    let timers = &mut rng(seed, Aspect::Timers);
    // The shortest are still longer than the longest usual delay and sync together; the longest leave a fault of
    // the default schedule time for an election.
    let election_ms: u64 = timers.random_range(3..=10) * 100;
    let heartbeat_ms = election_ms / timers.random_range(5..=10);
    Shape {
        nodes,
        keys,
        value_bytes,
        heartbeat: Duration::from_millis(heartbeat_ms),
        election: Duration::from_millis(election_ms),
    }
}

/// How many nodes beside the first ones can become members: enough for a single one to become three or five.
pub fn spares(seed: u64, nodes: u16) -> u16 {
    let drawn = rng(seed, Aspect::Spares).random_range(1..=2);
    if nodes == 1 { 2 * drawn } else { drawn }
}

/// The faults of a seed, of those that are `possible`. If these are all that there are, a seed has some groups of them
/// only: a node that is killed all the time never lags, and a cluster that is always cut never fills a disk.
pub fn faults(seed: u64, possible: &BTreeSet<FaultKind>) -> Faults {
    let groups: BTreeSet<&str> = possible.iter().map(|kind| kind.group()).collect();
    let is_all = ABILITIES.iter().all(|kind| possible.contains(kind));
    let draws = &mut rng(seed, Aspect::Groups);
    // Three of four groups, and all of them where that would leave none.
    let on: BTreeSet<&str> = groups.into_iter().filter(|_| draws.random_ratio(3, 4)).collect();
    let is_on = |kind: &FaultKind| !is_all || on.is_empty() || on.contains(kind.group());
    Faults {
        kinds: possible.iter().copied().filter(is_on).collect(),
        tracks: rng(seed, Aspect::Tracks).random_range(1..=3),
        interval: Duration::from_millis(rng(seed, Aspect::Interval).random_range(1_500..=5_000)),
    }
}

/// What is done for a cluster that runs for long, whatever faults its seed draws: its revisions are compacted, or those
/// of an hour would all stay in memory. A run of a minute has none of it.
pub fn upkeep(seed: u64, time_limit: Duration) -> Schedule {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let compaction = |number: u32| Step {
        at_ms: millis(UPKEEP_INTERVAL.saturating_mul(number)),
        duration_ms: 1_000,
        fault: Fault::Compact {
            select: Select::Leader { otherwise: NodeId(1) },
            keep: UPKEEP_KEEPS,
        },
    };
    let is_within = |step: &Step| step.at_ms.saturating_add(2 * step.duration_ms) < millis(time_limit);
    Schedule {
        seed,
        steps: (1..).map(compaction).take_while(is_within).collect(),
        not_tried: Vec::new(),
    }
}

/// What client `number` of a seed does. Some only read: one that writes to a leader which is cut off waits, and sees
/// nothing of what that leader answers. Some only write, and in half of the seeds some delete.
pub fn role(seed: u64, number: u32) -> Mix {
    let usual = Mix::default();
    let stream = Stream {
        purpose: Purpose::Weather,
        a: Aspect::Roles as u64,
        b: u64::from(number),
    };
    match seeded(seed, 0, stream).random_range(0..8) {
        0..2 => Mix {
            writes: 0,
            swaps: 0,
            ..usual
        },
        2 => Mix { reads: 0, ..usual },
        3 if rng(seed, Aspect::Deletes).random_bool(0.5) => Mix { deletes: 40, ..usual },
        _ => usual,
    }
}

/// The weather of a seed.
pub fn weather(seed: u64) -> Weather {
    let calm = calm();
    let delays = &mut rng(seed, Aspect::Delays);
    let delay_max_us = delays.random_range(500..=10_000);
    let delay_tail_ppm = delays.random_range(0..=20_000);
    let losses = &mut rng(seed, Aspect::Losses);
    // Each trouble is off in half of the seeds.
    let mut ppm = |max: u32| {
        let (is_on, ppm) = (losses.random_bool(0.5), losses.random_range(0..=max));
        if is_on { ppm } else { 0 }
    };
    let (loss_ppm, duplication_ppm, reordering_ppm) = (ppm(20_000), ppm(50_000), ppm(50_000));
    let disks = &mut rng(seed, Aspect::Disks);
    let sync_max_us = disks.random_range(300..=8_000);
    let sync_tail_ppm = disks.random_range(0..=40_000);
    let points = &mut rng(seed, Aspect::Points);
    let (is_on, points_act_ppm) = (points.random_bool(0.5), points.random_range(1_000..=50_000));
    let clocks = &mut rng(seed, Aspect::Clocks);
    // Far more than real clocks do; heartbeats bear it.
    let (is_skewed, drift_max_ppm) = (clocks.random_bool(0.5), clocks.random_range(1_000..=200_000));
    let (is_ahead, ahead_max_ms) = (clocks.random_bool(0.5), clocks.random_range(1..=600_000));
    let log = &mut rng(seed, Aspect::Log);
    // Small segments make the log turn to new ones all the time.
    let segment_bytes = 1 << log.random_range(14..=24_u32);
    // A snapshot after every few entries, and a log that is purged behind it, make those who lag need one.
    let (is_short, short_count, short_kept) = (
        log.random_bool(0.6),
        log.random_range(20..=600),
        log.random_range(0..=200),
    );
    let (snapshot_count, entries_kept) = if is_short {
        (short_count, short_kept)
    } else {
        (calm.snapshot_count, calm.entries_kept)
    };
    Weather {
        segment_bytes,
        snapshot_count,
        entries_kept,
        delay_max_us,
        delay_tail_ppm,
        loss_ppm,
        duplication_ppm,
        reordering_ppm,
        sync_max_us,
        sync_tail_ppm,
        points_enabled_ppm: if is_on { 250_000 } else { 0 },
        points_act_ppm,
        points_seldom_ppm: if is_on { 250_000 } else { 0 },
        drift_max_ppm: if is_skewed { drift_max_ppm } else { 0 },
        skew_max_ms: if is_ahead { ahead_max_ms } else { 0 },
        ..calm
    }
}

/// The weather in which nothing goes wrong but what the schedule says.
pub fn calm() -> Weather {
    let (links, disk) = (LinkSettings::default(), DiskSettings::default());
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let ppm = |probability: f64| (probability * 1e6).round() as u32;
    Weather {
        segment_bytes: wal::Settings::default().segment_bytes,
        snapshot_count: SNAPSHOT_COUNT,
        entries_kept: ENTRIES_KEPT,
        delay_min_us: us(links.delay.min),
        delay_max_us: us(links.delay.max),
        delay_tail_ppm: ppm(links.delay.tail_chance),
        delay_tail_max_us: us(links.delay.tail_max),
        loss_ppm: ppm(links.loss),
        duplication_ppm: ppm(links.duplication),
        reordering_ppm: ppm(links.reordering),
        sync_min_us: us(disk.sync.min),
        sync_max_us: us(disk.sync.max),
        sync_tail_ppm: ppm(disk.sync.tail_chance),
        sync_tail_max_us: us(disk.sync.tail_max),
        points_enabled_ppm: 0,
        points_act_ppm: 0,
        points_seldom_ppm: 0,
        drift_max_ppm: 0,
        skew_max_ms: 0,
    }
}

/// How links behave in this weather.
pub fn links(weather: &Weather) -> LinkSettings {
    LinkSettings {
        delay: delay(
            (weather.delay_min_us, weather.delay_max_us),
            (weather.delay_tail_ppm, weather.delay_tail_max_us),
        ),
        loss: probability(weather.loss_ppm),
        duplication: probability(weather.duplication_ppm),
        reordering: probability(weather.reordering_ppm),
        ..LinkSettings::default()
    }
}

/// How disks behave in this weather.
pub fn disk(weather: &Weather) -> DiskSettings {
    DiskSettings {
        sync: delay(
            (weather.sync_min_us, weather.sync_max_us),
            (weather.sync_tail_ppm, weather.sync_tail_max_us),
        ),
        ..DiskSettings::default()
    }
}

/// Lets this weather begin.
pub(super) fn begin(simulator: &Simulator, env: &SimEnv, weather: &Weather, nodes: impl IntoIterator<Item = NodeId>) {
    simulator.set_links(links(weather));
    for node in nodes {
        simulator.set_disk(node, disk(weather));
        simulator.set_drift(Place::Node(node), drift(env, node, weather.drift_max_ppm));
        simulator.leap(Place::Node(node), skew(env, node, weather.skew_max_ms));
    }
    simulator.set_buggify(Buggify {
        enabled: probability(weather.points_enabled_ppm),
        acts: probability(weather.points_act_ppm),
        acts_seldom: probability(weather.points_seldom_ppm),
    });
}

/// How fast or slow the clocks of a node run.
fn drift(env: &SimEnv, node: NodeId, max_ppm: u32) -> i32 {
    let stream = Stream {
        purpose: Purpose::Weather,
        a: Aspect::Drift as u64,
        b: u64::from(node.0),
    };
    // In thousandths of the most, so that another most draws the same share of it.
    let share = i64::from(env.rng(stream).random_range(-1_000..=1_000_i32));
    i32::try_from(share * i64::from(max_ppm) / 1_000).unwrap_or(0)
}

/// How far the clocks of a node are ahead of the others' when it begins.
fn skew(env: &SimEnv, node: NodeId, max_ms: u32) -> Duration {
    let stream = Stream {
        purpose: Purpose::Weather,
        a: Aspect::Skew as u64,
        b: u64::from(node.0),
    };
    let share = env.rng(stream).random_range(0..=1_000_u64);
    Duration::from_millis(share * u64::from(max_ms) / 1_000)
}

fn delay((min_us, max_us): (u64, u64), (tail_ppm, tail_max_us): (u32, u64)) -> Delay {
    let min = Duration::from_micros(min_us);
    let max = Duration::from_micros(max_us).max(min);
    Delay {
        min,
        max,
        tail_chance: probability(tail_ppm),
        tail_max: Duration::from_micros(tail_max_us).max(max),
    }
}

fn probability(ppm: u32) -> f64 {
    f64::from(ppm.min(1_000_000)) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_draw_different_worlds_and_each_one_its_own_again() {
        let all: Vec<(Shape, Weather)> = (0..50).map(|seed| (shape(seed), weather(seed))).collect();
        assert!(all.iter().any(|(shape, _)| shape.nodes == 5) && all.iter().any(|(shape, _)| shape.nodes == 3));
        assert!(all.iter().any(|(_, weather)| weather.loss_ppm == 0));
        assert!(
            all.iter()
                .any(|(_, weather)| weather.loss_ppm > 0 && weather.points_enabled_ppm > 0)
        );
        for (seed, (shape_before, weather_before)) in (0..).zip(&all) {
            assert_eq!((shape(seed), &weather(seed)), (*shape_before, weather_before));
            assert!(shape_before.election >= shape_before.heartbeat * 5);
        }
    }

    #[test]
    fn seeds_draw_different_faults_and_keep_to_what_is_asked_for() {
        let all: BTreeSet<FaultKind> = ABILITIES.into();
        let drawn: Vec<Faults> = (0..200).map(|seed| faults(seed, &all)).collect();
        for kind in &all {
            let with = drawn.iter().filter(|mix| mix.kinds.contains(kind)).count();
            assert!((100..200).contains(&with), "{kind} in {with} of 200 seeds");
        }
        assert!(
            drawn
                .iter()
                .all(|mix| !mix.kinds.is_empty() && mix.kinds.is_subset(&all))
        );
        let asked: BTreeSet<FaultKind> = [FaultKind::Kill, FaultKind::Pause].into();
        assert!((0..50).all(|seed| faults(seed, &asked).kinds == asked));
        assert!((0..200).all(|seed| faults(seed, &asked).tracks == drawn[seed as usize].tracks));
    }

    #[test]
    fn calm_weather_is_the_simulators_default() {
        assert_eq!(links(&calm()), LinkSettings::default());
        assert_eq!(disk(&calm()), DiskSettings::default());
    }
}
