//! A failing simulated run made small: fewer faults, fewer operations, calmer weather, the same failure.
//!
//! Delta debugging (Zeller and Hildebrandt 2002) over the parts of a plan. Every draw of a run has a labelled stream of
//! its own, so what is left out moves nothing else, and a candidate is one more run of the simulator. A candidate counts
//! only if it fails in the same way: the same property, and of findings the same class.
//!
//! First guesses come from the findings: the operations that contradict each other are mostly all that it takes.
//!
//! Left out: fewer nodes, and moving faults in time. The result is small and not the smallest there is.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tribunal_history::{
    AnomalyClass, Event, Outcome, PropertyClass, Report, Schedule, Seq, SimulatedPlan, Step, Weather,
};

/// Faults, clients and operations are gone through so often at most: what is left rarely changes after the second
/// time.
const ROUNDS_MAX: u32 = 3;

/// So few operations can be read; chance is not tried on fewer.
const OPERATIONS_GOAL: usize = 10;

/// So many drawn subsets that do not fail in a row are enough.
const MISSES_MAX: u32 = 150;

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
    /// How it fails: the property, and the class of its finding.
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

/// Shrinks `plan`, of which `first` is a run that fails. `run` runs a plan, or answers none when there is no more time.
/// None if the run does not fail.
pub fn shrink(plan: &SimulatedPlan, first: &Tried, run: impl FnMut(&SimulatedPlan) -> Option<Tried>) -> Option<Shrunk> {
    let way = *ways(&first.report).first()?;
    let before = size(plan, first);
    let mut shrinker = Shrinker {
        run,
        property: way.property.to_owned(),
        class: way.class,
        runs: 0,
        is_over: false,
        plan: explicit(plan, first),
        tried: first.clone(),
    };
    shrinker.by_findings(way);
    for _ in 0..ROUNDS_MAX {
        let left = size(&shrinker.plan, &shrinker.tried);
        // What makes each further run cheaper comes first.
        shrinker.steps();
        shrinker.time();
        shrinker.clients();
        shrinker.operations();
        shrinker.at_random();
        if shrinker.is_over || size(&shrinker.plan, &shrinker.tried) == left {
            break;
        }
    }
    shrinker.weather();
    shrinker.forget();
    let Shrinker {
        plan,
        tried,
        property,
        runs,
        ..
    } = shrinker;
    Some(Shrunk {
        after: size(&plan, &tried),
        plan,
        property,
        before,
        runs,
    })
}

struct Shrinker<R> {
    run: R,
    property: String,
    class: Option<AnomalyClass>,
    runs: u32,
    is_over: bool,
    /// The smallest so far that fails in the same way, and its run.
    plan: SimulatedPlan,
    tried: Tried,
}

impl<R: FnMut(&SimulatedPlan) -> Option<Tried>> Shrinker<R> {
    /// Takes a candidate if it fails in the same way.
    fn take(&mut self, candidate: SimulatedPlan) -> bool {
        if self.is_over || candidate == self.plan {
            return false;
        }
        let Some(tried) = (self.run)(&candidate) else {
            self.is_over = true;
            return false;
        };
        self.runs += 1;
        let is_same = ways(&tried.report)
            .iter()
            .any(|way| way.property == self.property && way.class == self.class);
        if is_same {
            self.plan = candidate;
            self.tried = tried;
        }
        is_same
    }

    /// The operations of the findings alone; those of their keys up to the last of them; none at all.
    fn by_findings(&mut self, way: Way<'_>) {
        let findings = self.tried.report.findings.iter();
        let findings: Vec<_> = findings
            .filter(|finding| finding.property == way.property && Some(finding.class) == way.class)
            .collect();
        let seqs: BTreeSet<Seq> = findings
            .iter()
            .flat_map(|finding| finding.operations.iter().map(|operation| operation.invoked))
            .collect();
        let keys: BTreeSet<&str> = findings.iter().filter_map(|finding| finding.key.as_deref()).collect();
        let issued = issued(&self.plan, &self.tried);
        let only = |wanted: &dyn Fn(&Issued) -> bool| kept(issued.iter().filter(|operation| wanted(operation)));
        let last = seqs.last().copied().unwrap_or(Seq(u64::MAX));
        let guesses = [
            only(&|operation| seqs.contains(&operation.seq)),
            only(&|operation| operation.seq <= last && operation.key.as_deref().is_some_and(|key| keys.contains(key))),
            only(&|operation| operation.seq <= last),
        ];
        for guess in guesses {
            let candidate = SimulatedPlan {
                kept: Some(guess),
                ..self.plan.clone()
            };
            if self.take(candidate) {
                return;
            }
        }
    }

    /// Fewer faults.
    fn steps(&mut self) {
        let steps = self.plan.schedule.steps.clone();
        self.minimise(steps, |plan, steps: &[Step]| {
            let schedule = Schedule {
                steps: steps.to_vec(),
                ..plan.schedule.clone()
            };
            SimulatedPlan {
                schedule,
                ..plan.clone()
            }
        });
    }

    /// Fewer clients.
    fn clients(&mut self) {
        let Some(kept) = self.plan.kept.clone() else { return };
        let clients: Vec<(u32, Vec<u32>)> = kept.into_iter().collect();
        self.minimise(clients, |plan, clients: &[(u32, Vec<u32>)]| SimulatedPlan {
            kept: Some(clients.iter().cloned().collect()),
            ..plan.clone()
        });
    }

    /// Fewer operations.
    fn operations(&mut self) {
        let issued = issued(&self.plan, &self.tried);
        self.minimise(issued, |plan, issued: &[Issued]| SimulatedPlan {
            kept: Some(kept(issued.iter())),
            ..plan.clone()
        });
    }

    /// Fewer operations, by chance. A message that is left out moves later ones on its link, so a run may need each of
    /// many operations only for its timing; then another half of them may do as well.
    fn at_random(&mut self) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.plan.seed);
        let mut misses = 0;
        while misses < MISSES_MAX && !self.is_over {
            let issued = issued(&self.plan, &self.tried);
            if issued.len() <= OPERATIONS_GOAL {
                return;
            }
            let findings = self.tried.report.findings.iter();
            let needed: BTreeSet<Seq> = findings
                .filter(|finding| finding.property == self.property)
                .flat_map(|finding| finding.operations.iter().map(|operation| operation.invoked))
                .collect();
            let share = [0.2, 0.5, 0.8][misses as usize % 3];
            let chosen: Vec<&Issued> = issued
                .iter()
                .filter(|operation| {
                    // As much is drawn for each of them.
                    let is_lucky = rng.random_bool(share);
                    is_lucky || needed.contains(&operation.seq)
                })
                .collect();
            let candidate = SimulatedPlan {
                kept: Some(kept(chosen.into_iter())),
                ..self.plan.clone()
            };
            misses = if self.take(candidate) { 0 } else { misses + 1 };
        }
    }

    /// Takes out of `whole` what can be taken out: all of it, then ever smaller parts.
    fn minimise<T: Clone>(&mut self, mut whole: Vec<T>, with: impl Fn(&SimulatedPlan, &[T]) -> SimulatedPlan) {
        if whole.is_empty() || self.take(with(&self.plan, &[])) {
            return;
        }
        let mut length = whole.len().div_ceil(2);
        while whole.len() > 1 && !self.is_over {
            let mut is_less = false;
            // From the end: what came late is rarely the cause.
            let mut end = whole.len();
            while end > 0 && !self.is_over {
                let start = end.saturating_sub(length);
                let rest: Vec<T> = whole[..start].iter().chain(&whole[end..]).cloned().collect();
                if !rest.is_empty() && self.take(with(&self.plan, &rest)) {
                    whole = rest;
                    is_less = true;
                }
                end = start;
            }
            // Single ones are gone through again as long as that helps.
            if length == 1 && !is_less {
                break;
            }
            length = length.div_ceil(2);
        }
    }

    /// An end soon after the last fault.
    fn time(&mut self) {
        let last = self
            .plan
            .schedule
            .steps
            .iter()
            .map(|step| step.at_ms + step.duration_ms)
            .max();
        let safety = self.tried.events.iter().find_map(|event| match event {
            Event::Phase(phase) => Some(phase.time_ns),
            _ => None,
        });
        let issued = issued(&self.plan, &self.tried);
        let asked = issued
            .iter()
            .map(|operation| operation.time_ns.saturating_sub(safety.unwrap_or(0)) / 1_000_000);
        let within = asked.filter(|ms| *ms < self.plan.time_limit_ms).max();
        let limit = last.max(within).unwrap_or(0) + 500;
        if limit < self.plan.time_limit_ms {
            let candidate = SimulatedPlan {
                time_limit_ms: limit,
                ..self.plan.clone()
            };
            self.take(candidate);
        }
    }

    /// Calmer weather, one part at a time: what is as in calm weather has nothing to do with it.
    fn weather(&mut self) {
        let calm = crate::world::simulation::swarm::calm();
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
const PARTS: [fn(&mut Weather, &Weather); 6] = [
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
    },
];

/// An operation that a client issued.
#[derive(Clone, Debug)]
struct Issued {
    client: u32,
    /// Its place in the sequence that the client would issue.
    place: u32,
    seq: Seq,
    time_ns: u64,
    key: Option<String>,
}

/// The operations of a run, in order.
fn issued(plan: &SimulatedPlan, tried: &Tried) -> Vec<Issued> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    let invoked = tried.events.iter().filter_map(|event| match event {
        Event::Invoke(invoked) => Some(invoked),
        _ => None,
    });
    let mut issued = Vec::new();
    for invoked in invoked {
        let Some(client) = tried.clients.get(invoked.process.0 as usize).copied() else {
            continue;
        };
        let count = counts.entry(client).or_default();
        let nth = *count;
        *count += 1;
        let place = match &plan.kept {
            Some(kept) => kept.get(&client).and_then(|places| places.get(nth)).copied(),
            None => u32::try_from(nth).ok(),
        };
        let key = invoked
            .input
            .get("key")
            .and_then(|key| key.as_text())
            .map(str::to_owned);
        issued.extend(place.map(|place| Issued {
            client,
            place,
            seq: invoked.seq,
            time_ns: invoked.time_ns,
            key,
        }));
    }
    issued
}

fn kept<'a>(issued: impl Iterator<Item = &'a Issued>) -> BTreeMap<u32, Vec<u32>> {
    let mut kept: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for operation in issued {
        kept.entry(operation.client).or_default().insert(operation.place);
    }
    let lists = kept.into_iter();
    lists
        .map(|(client, places)| (client, places.into_iter().collect()))
        .collect()
}

/// The same plan, with every operation that was issued named.
fn explicit(plan: &SimulatedPlan, tried: &Tried) -> SimulatedPlan {
    let issued = issued(plan, tried);
    SimulatedPlan {
        kept: Some(kept(issued.iter())),
        ..plan.clone()
    }
}

fn size(plan: &SimulatedPlan, tried: &Tried) -> Size {
    let issued = issued(plan, tried);
    let clients: BTreeSet<u32> = issued.iter().map(|operation| operation.client).collect();
    Size {
        faults: plan.schedule.steps.len(),
        clients: clients.len(),
        operations: issued.len(),
    }
}
