//! A failing simulated run made small: fewer faults, fewer operations, less time, calmer weather, the same failure.
//!
//! Every draw of a run has a labelled stream of its own, so what is left out moves little else, and a candidate is one
//! more run of the simulator. A candidate counts only if it fails in the same way: the same property.
//!
//! Whatever comes after the finding goes first. Then small guesses are tried before large ones, since a small run is a
//! quick one: no operations at all, those of the finding, those around the faults, a few of the last ones, a few by
//! chance, twice as many; the faults just before the finding. What is left is thinned out by delta debugging (Zeller and
//! Hildebrandt 2002).
//!
//! A message that is left out gives its delay to the next one on its link, so a smaller run may fail to fail for a
//! matter of milliseconds. So a candidate is tried under a few other seeds too: the same plan with other delays, and
//! with crashes that count less before they come.
//!
//! Where little more can be left out at a time and much is left, it begins again and goes another way, as chance has it;
//! the smallest of what it came to is the result. What depends on a moment is hard to make small, since whatever is left out moves
//! the moment: so at first, and every other time, a death is tried while an entry is being written, whenever that is.
//!
//! Left out: fewer nodes, and faults at other times, but for pauses between them that are made shorter. The result is small
//! and not the smallest there is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tribunal_history::{
    AnomalyClass, Event, Fault, Finding, Moment, Outcome, PropertyClass, Report, Schedule, SimulatedPlan, Step, Weather,
};

use self::issued::{Issued, explicit, issued, kept, size};
use crate::world::simulation::swarm::calm;

mod guess;
mod issued;

/// Everything is gone through so often at most, as long as there is time.
const ROUNDS_MAX: u32 = 40;

/// So few operations and faults can be read; more than that are worth many runs.
const OPERATIONS_GOAL: usize = 10;
const FAULTS_GOAL: usize = 5;

/// Seeds under which a small guess is tried, the run's own among them: more for few operations, which take less time.
const SEEDS: u32 = 3;
const SEEDS_OF_FEW: u32 = 8;

/// Parts of a list that are left out one instead of the other, at a time.
const CANDIDATES: usize = 8;

/// Stack of a thread that runs a simulation, in bytes: as much as the main one has.
const STACK_BYTES: usize = 8 << 20;

/// Of a long list so many parts are left out one after the other, and no smaller ones.
const PARTS_OF_MANY: usize = 24;

/// A run goes on for so long after the finding, in milliseconds: another delay may bring it a little later.
const AFTER_FINDING_MS: u64 = 500;

/// A run, as far as shrinking looks at it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// How it came out.
    pub report: Report,
    /// Its history.
    pub events: Vec<Event>,
    /// Which client each process was, by its number.
    pub clients: Vec<u32>,
}

/// How a run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way<'a> {
    /// The property.
    pub property: &'a str,
    /// The class of a finding; none for a property without findings.
    pub class: Option<AnomalyClass>,
}

/// What a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Clients that issue operations.
    pub clients: usize,
    /// Operations that were issued.
    pub operations: usize,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smaller plan.
    pub plan: SimulatedPlan,
    /// How it fails: the property that is violated.
    pub property: String,
    /// What the run was made of.
    pub before: Size,
    /// What is left.
    pub after: Size,
    /// How many runs it took.
    pub runs: u32,
}

/// Every way in which a run fails, worst first.
pub fn ways(report: &Report) -> Vec<Way<'_>> {
    let failed = |class| {
        let properties = report.properties.iter();
        properties.filter(move |property| property.verdict == Outcome::Fail && property.class == class)
    };
    let mut ways = Vec::new();
    for property in failed(PropertyClass::Safety).chain(failed(PropertyClass::Liveness)) {
        let findings = report.findings.iter().filter(|finding| finding.property == property.id);
        let before = ways.len();
        ways.extend(findings.map(|finding| Way {
            property: &property.id,
            class: Some(finding.class),
        }));
        if ways.len() == before {
            ways.push(Way {
                property: &property.id,
                class: None,
            });
        }
    }
    ways.dedup();
    ways
}

/// How a run is shrunk: the way in which it fails whose finding comes first, since what comes later may follow from that;
/// a failure without a finding only if there is no other.
pub fn chosen(report: &Report) -> Option<Way<'_>> {
    let found = |way: &Way<'_>| first_finding(report, way.property).map(|finding| finding.time_ns);
    let ways = ways(report);
    let with_finding = ways
        .iter()
        .filter(|way| found(way).is_some())
        .min_by_key(|way| found(way));
    with_finding.or(ways.first()).copied()
}

fn first_finding<'a>(report: &'a Report, property: &str) -> Option<&'a Finding> {
    let findings = report.findings.iter().filter(|finding| finding.property == property);
    findings.min_by_key(|finding| finding.time_ns)
}

/// Shrinks `plan`, of which `first` is a run that fails. `run` runs a plan, and may stop where this property has been
/// found violated; or it answers none when there is no more time. It is called by several threads at a time, and what is
/// taken does not depend on which of them is first. None if the run does not fail.
pub fn shrink(
    plan: &SimulatedPlan,
    first: &Tried,
    run: impl Fn(&SimulatedPlan, &str) -> Option<Tried> + Sync,
) -> Option<Shrunk> {
    let property = chosen(&first.report)?.property.to_owned();
    let before = size(plan, first);
    let mut shrinker = Shrinker {
        run,
        property,
        runs: 0,
        is_over: false,
        lanes: std::thread::available_parallelism().map_or(1, usize::from),
        dice: ChaCha8Rng::seed_from_u64(plan.seed),
        plan: explicit(plan, first),
        tried: first.clone(),
    };
    shrinker.trim();
    shrinker.guess_snapshots();
    shrinker.guess_beginning();
    let beginning = (shrinker.plan.clone(), shrinker.tried.clone());
    let mut smallest: Option<(SimulatedPlan, Tried)> = None;
    let mut by_moments = true;
    for _ in 0..ROUNDS_MAX {
        let left = shrinker.size();
        if by_moments && !is_small(left) {
            shrinker.guess_moments();
        }
        shrinker.guess_snapshots();
        shrinker.guess_operations();
        shrinker.guess_steps();
        shrinker.steps();
        shrinker.trim();
        shrinker.guess_pauses();
        shrinker.guess_operations();
        shrinker.operations();
        shrinker.thin();
        let now = shrinker.size();
        if shrinker.is_over || (now == left && is_small(now)) {
            break;
        }
        // Where little more can be left out at a time, another way down may lead further.
        if !is_small(now) && is_little(left, now) {
            shrinker.keep_smallest(&mut smallest);
            (shrinker.plan, shrinker.tried) = beginning.clone();
            by_moments = !by_moments;
        }
    }
    shrinker.keep_smallest(&mut smallest);
    if let Some(smallest) = smallest {
        (shrinker.plan, shrinker.tried) = smallest;
    }
    shrinker.trim();
    shrinker.weather();
    shrinker.forget();
    let after = shrinker.size();
    let Shrinker {
        plan, property, runs, ..
    } = shrinker;
    Some(Shrunk {
        after,
        plan,
        property,
        before,
        runs,
    })
}

/// Whether nothing more needs to be left out.
fn is_small(size: Size) -> bool {
    size.operations <= OPERATIONS_GOAL && size.faults <= FAULTS_GOAL
}

/// What came of some candidates.
enum First {
    /// This one fails in the same way, and none before it does.
    Fails(usize, Box<Tried>),
    /// None does.
    None,
    /// There was no more time.
    Over,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether less than a quarter was left out between the two.
fn is_little(before: Size, after: Size) -> bool {
    4 * (after.faults + after.operations) > 3 * (before.faults + before.operations)
}

struct Shrinker<R> {
    run: R,
    property: String,
    runs: u32,
    is_over: bool,
    /// How many runs are made at a time.
    lanes: usize,
    dice: ChaCha8Rng,
    /// The smallest so far that fails in the same way, and its run.
    plan: SimulatedPlan,
    tried: Tried,
}

impl<R: Fn(&SimulatedPlan, &str) -> Option<Tried> + Sync> Shrinker<R> {
    /// Takes a candidate if it fails in the same way.
    fn take(&mut self, candidate: SimulatedPlan) -> bool {
        self.take_first([candidate]).is_some()
    }

    /// Takes the first of some candidates that fails in the same way, and says which one.
    fn take_first(&mut self, candidates: impl IntoIterator<Item = SimulatedPlan>) -> Option<usize> {
        let candidates = candidates.into_iter().enumerate();
        let mut others: Vec<(usize, SimulatedPlan)> = candidates.filter(|(_, other)| *other != self.plan).collect();
        if others.is_empty() || self.is_over {
            return None;
        }
        match self.first_failing(&others) {
            First::Fails(nth, tried) => {
                self.runs += u32::try_from(nth + 1).unwrap_or(u32::MAX);
                let (place, plan) = others.swap_remove(nth);
                (self.plan, self.tried) = (plan, *tried);
                Some(place)
            }
            First::None => {
                self.runs += u32::try_from(others.len()).unwrap_or(u32::MAX);
                None
            }
            First::Over => {
                self.is_over = true;
                None
            }
        }
    }

    /// The first of these that fails in the same way. As many run at a time as there are lanes, and none begins behind one
    /// that fails, so that it is the same one whichever ends first.
    fn first_failing(&self, plans: &[(usize, SimulatedPlan)]) -> First {
        let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let found: Mutex<Option<(usize, Tried)>> = Mutex::new(None);
        let lane = || {
            while !ended.load(Ordering::Relaxed) {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                let is_behind = locked(&found).as_ref().is_some_and(|(first, _)| *first < nth);
                let Some((_, plan)) = plans.get(nth).filter(|_| !is_behind) else {
                    return;
                };
                let Some(tried) = (self.run)(plan, &self.property) else {
                    ended.store(true, Ordering::Relaxed);
                    return;
                };
                if ways(&tried.report).iter().any(|way| way.property == self.property) {
                    let mut found = locked(&found);
                    if found.as_ref().is_none_or(|(first, _)| nth < *first) {
                        *found = Some((nth, tried));
                    }
                }
            }
        };
        let lanes = self.lanes.min(plans.len());
        let is_whole = std::thread::scope(|scope| {
            // Where no thread can be had this one does it all.
            let others = (1..lanes).filter_map(|_| {
                let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, lane).ok()
            });
            let others: Vec<_> = others.collect();
            lane();
            let joined: Vec<_> = others.into_iter().map(|other| other.join()).collect();
            joined.iter().all(Result::is_ok)
        });
        match locked(&found).take() {
            Some((nth, tried)) => First::Fails(nth, Box::new(tried)),
            // Where one panicked nobody knows what it would have come to.
            None if ended.into_inner() || !is_whole => First::Over,
            None => First::None,
        }
    }

    /// Takes a candidate if it fails in the same way under one of some seeds.
    fn take_under_some_seed(&mut self, candidate: &SimulatedPlan) -> bool {
        if *candidate == self.plan {
            return false;
        }
        let operations = candidate.kept.iter().flat_map(BTreeMap::values).map(Vec::len);
        let seeds = if operations.sum::<usize>() <= OPERATIONS_GOAL * 2 {
            SEEDS_OF_FEW
        } else {
            SEEDS
        };
        let others = (1..seeds).map(|_| {
            let mut other = candidate.clone();
            // Short enough to be read.
            other.seed = self.dice.random_range(0..1_000_000_000);
            self.redraw_moments(&mut other.schedule);
            other
        });
        let all: Vec<SimulatedPlan> = std::iter::once(candidate.clone()).chain(others).collect();
        self.take_first(all).is_some()
    }

    /// Where a crash is counted in what a node does, fewer operations make it late: each comes as early as before, or
    /// earlier.
    fn redraw_moments(&mut self, schedule: &mut Schedule) {
        for step in &mut schedule.steps {
            let Fault::Crash { moment, .. } = &mut step.fault else {
                continue;
            };
            match moment {
                Moment::Polls { polls: count } | Moment::Point { passes: count, .. } => {
                    *count = self.dice.random_range(0..=*count);
                }
                Moment::Now => {}
            }
        }
    }

    fn size(&self) -> Size {
        size(&self.plan, &self.tried)
    }

    /// Keeps the run that it came to, if that is smaller than what was kept.
    fn keep_smallest(&self, smallest: &mut Option<(SimulatedPlan, Tried)>) {
        let cost = |plan: &SimulatedPlan, tried: &Tried| {
            let Size { faults, operations, .. } = size(plan, tried);
            let over = faults.saturating_sub(FAULTS_GOAL) + operations.saturating_sub(OPERATIONS_GOAL);
            (over, faults + operations)
        };
        let is_smaller = smallest
            .as_ref()
            .is_none_or(|(plan, tried)| cost(&self.plan, &self.tried) < cost(plan, tried));
        if is_smaller {
            *smallest = Some((self.plan.clone(), self.tried.clone()));
        }
    }

    fn with_operations<'a>(&self, operations: impl Iterator<Item = &'a Issued>) -> SimulatedPlan {
        SimulatedPlan {
            kept: Some(kept(operations)),
            ..self.plan.clone()
        }
    }

    fn with_steps(&self, steps: &[Step]) -> SimulatedPlan {
        let schedule = Schedule {
            steps: steps.to_vec(),
            ..self.plan.schedule.clone()
        };
        SimulatedPlan {
            schedule,
            ..self.plan.clone()
        }
    }

    /// When it was found, in milliseconds of the phase under faults; none if nobody knows.
    fn found_ms(&self) -> Option<u64> {
        let found_ns = first_finding(&self.tried.report, &self.property)?.time_ns;
        Some(found_ns.saturating_sub(self.safety_ns()) / 1_000_000)
    }

    /// When the phase under faults began.
    fn safety_ns(&self) -> u64 {
        let began = self.tried.events.iter().find_map(|event| match event {
            Event::Phase(phase) => Some(phase.time_ns),
            _ => None,
        });
        began.unwrap_or(0)
    }

    /// Nothing that comes after the finding; and an end soon after it, or else after the last fault and operation.
    fn trim(&mut self) {
        let limit_ms = self.plan.time_limit_ms;
        let mut candidate = self.plan.clone();
        let issued = issued(&self.plan, &self.tried);
        let safety_ns = self.safety_ns();
        let found_ms = self.found_ms().filter(|found| *found < limit_ms);
        let end_ms = match found_ms {
            Some(found_ms) => {
                candidate.schedule.steps.retain(|step| step.at_ms <= found_ms);
                let found_ns = first_finding(&self.tried.report, &self.property).map(|finding| finding.time_ns);
                let before = issued.iter().filter(|operation| Some(operation.time_ns) <= found_ns);
                candidate.kept = Some(kept(before));
                found_ms
            }
            None => {
                let steps = candidate.schedule.steps.iter();
                let last = steps.map(|step| step.at_ms + step.duration_ms).max();
                let asked = issued
                    .iter()
                    .map(|operation| operation.time_ns.saturating_sub(safety_ns) / 1_000_000);
                let within = asked.filter(|ms| *ms < limit_ms).max();
                candidate.kept = Some(kept(issued.iter()));
                last.max(within).unwrap_or(0)
            }
        };
        candidate.time_limit_ms = limit_ms.min(end_ms + AFTER_FINDING_MS);
        if !self.take(candidate) {
            // What is under way when the time is over matters to some.
            let candidate = SimulatedPlan {
                time_limit_ms: limit_ms.min(end_ms + AFTER_FINDING_MS * 8),
                ..self.plan.clone()
            };
            self.take(candidate);
        }
    }

    /// Fewer faults.
    fn steps(&mut self) {
        let steps = self.plan.schedule.steps.clone();
        self.minimise(steps, Self::with_steps);
    }

    /// Fewer operations.
    fn operations(&mut self) {
        let issued = issued(&self.plan, &self.tried);
        self.minimise(issued, |shrinker, issued| shrinker.with_operations(issued.iter()));
    }

    /// Takes out of `whole` what can be taken out: ever smaller parts.
    fn minimise<T: Clone>(&mut self, mut whole: Vec<T>, with: impl Fn(&Self, &[T]) -> SimulatedPlan) {
        if whole.is_empty() {
            return;
        }
        let candidate = with(self, &[]);
        if self.take(candidate) {
            return;
        }
        let mut length = whole.len().div_ceil(2);
        while whole.len() > 1 && !self.is_over {
            let mut is_less = false;
            // From the start: what came early is rarely the cause.
            let mut start = 0;
            while start < whole.len() && !self.is_over {
                // Of a few each one is worth more than one run.
                let is_precious = length == 1 && whole.len() <= OPERATIONS_GOAL * 2;
                let starts = (start..whole.len()).step_by(length);
                let starts: Vec<usize> = starts.take(if is_precious { 1 } else { CANDIDATES }).collect();
                let rests = starts.iter().map(|start| {
                    let end = (start + length).min(whole.len());
                    whole[..*start].iter().chain(&whole[end..]).cloned().collect()
                });
                let mut rests: Vec<Vec<T>> = rests.collect();
                let candidates: Vec<SimulatedPlan> = rests.iter().map(|rest| with(self, rest)).collect();
                let taken = if rests[0].is_empty() {
                    None
                } else if is_precious {
                    self.take_under_some_seed(&candidates[0]).then_some(0)
                } else {
                    self.take_first(candidates)
                };
                match taken {
                    Some(place) => {
                        whole = rests.swap_remove(place);
                        start = starts[place];
                        is_less = true;
                    }
                    None => start += length * starts.len(),
                }
            }
            let is_long = whole.len() > OPERATIONS_GOAL * 4;
            if is_long && !is_less && whole.len() / length >= PARTS_OF_MANY {
                break;
            }
            // Single ones are gone through again as long as that helps.
            if length == 1 && !is_less {
                break;
            }
            length = length.div_ceil(2);
        }
    }

    /// Short values and calmer weather, one part at a time: what is as in calm weather has nothing to do with it.
    fn weather(&mut self) {
        let calm = calm();
        let short = SimulatedPlan {
            value_bytes: 0,
            ..self.plan.clone()
        };
        self.take(short);
        let all = SimulatedPlan {
            weather: calm.clone(),
            ..self.plan.clone()
        };
        if self.take(all) {
            return;
        }
        for part in PARTS {
            let mut candidate = self.plan.clone();
            part(&mut candidate.weather, &calm);
            self.take(candidate);
        }
    }

    /// What was not tried and how much was to be done are matters of the whole run.
    fn forget(&mut self) {
        self.plan.schedule.not_tried.clear();
        self.plan.ok_min = 0;
    }
}

/// Parts of the weather that are made calm at a time.
const PARTS: [fn(&mut Weather, &Weather); 8] = [
    |weather, calm| {
        weather.delay_min_us = calm.delay_min_us;
        weather.delay_max_us = calm.delay_max_us;
        weather.delay_tail_ppm = calm.delay_tail_ppm;
        weather.delay_tail_max_us = calm.delay_tail_max_us;
    },
    |weather, calm| weather.loss_ppm = calm.loss_ppm,
    |weather, calm| weather.duplication_ppm = calm.duplication_ppm,
    |weather, calm| weather.reordering_ppm = calm.reordering_ppm,
    |weather, calm| {
        weather.sync_min_us = calm.sync_min_us;
        weather.sync_max_us = calm.sync_max_us;
        weather.sync_tail_ppm = calm.sync_tail_ppm;
        weather.sync_tail_max_us = calm.sync_tail_max_us;
    },
    |weather, calm| {
        weather.points_enabled_ppm = calm.points_enabled_ppm;
        weather.points_act_ppm = calm.points_act_ppm;
        weather.points_seldom_ppm = calm.points_seldom_ppm;
    },
    |weather, calm| weather.drift_max_ppm = calm.drift_max_ppm,
    |weather, calm| weather.skew_max_ms = calm.skew_max_ms,
];
