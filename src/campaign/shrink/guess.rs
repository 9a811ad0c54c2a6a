//! Guesses at what a small run that fails in the same way may look like: small ones before large ones.

use std::collections::BTreeSet;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use tribunal_history::{Fault, Moment, Outage, Seq, SimulatedPlan, Weather};
use tribunal_store::points;

use super::issued::{Issued, issued, kept};
use super::{FAULTS_GOAL, Shrinker, Tried, first_finding};
use crate::world::simulation::swarm::calm;

/// How close to the begin or end of a fault an operation is that may matter, in milliseconds.
const AROUND_FAULT_MS: [u64; 6] = [25, 60, 150, 400, 1_000, 2_500];

/// A pause between faults is made so short, in milliseconds: long enough for an election.
const PAUSE_MS: u64 = 1_500;

/// Operations that are left out by chance are a half of all, a third, … at least this part.
const THINNED_BY_MAX: usize = 12;

/// It is given up when it has failed so often.
const THINNED_IN_VAIN: u32 = 24;

/// Chosen subsets of one size.
const CHOICES: u32 = 3;

/// How long before the finding its cause may lie: one after the other is tried, in milliseconds.
const BEFORE_FINDING_MS: [u64; 4] = [2_000, 4_000, 8_000, 16_000];

/// Entries between snapshots that are tried where a run has more: what needs a snapshot needs so many operations.
const SNAPSHOT_COUNTS: [u64; 4] = [2, 5, 12, 30];

/// Deaths that are tried at another moment: the last ones.
const DEATHS_MAX: usize = 6;

/// A death is tried at one of so many passes of a point.
const PASSES_MAX: u64 = 2;

impl<R: Fn(&SimulatedPlan, &str) -> Option<Tried> + Sync> Shrinker<R> {
    /// A death that comes when something is being written, where it came at a moment of the clock: what else is left out
    /// does not move it away from there.
    pub(super) fn guess_moments(&mut self) {
        let steps = self.plan.schedule.steps.iter().enumerate();
        let deaths: Vec<(usize, Fault)> = steps
            .filter_map(|(place, step)| Some((place, while_it_writes(&step.fault)?)))
            .collect();
        for (place, fault) in deaths.into_iter().rev().take(DEATHS_MAX) {
            let mut candidate = self.plan.clone();
            candidate.schedule.steps[place].fault = fault;
            if self.take_under_some_seed(&candidate) {
                return;
            }
        }
    }

    /// Snapshots after fewer entries, and a log that is purged up to them.
    pub(super) fn guess_snapshots(&mut self) {
        let weather = self.plan.weather.clone();
        if weather.snapshot_count >= calm().snapshot_count {
            return;
        }
        for snapshot_count in SNAPSHOT_COUNTS {
            if snapshot_count >= weather.snapshot_count {
                return;
            }
            for entries_kept in [0, snapshot_count] {
                let weather = Weather {
                    snapshot_count,
                    entries_kept,
                    ..weather.clone()
                };
                let candidate = SimulatedPlan {
                    weather,
                    ..self.plan.clone()
                };
                if self.take_under_some_seed(&candidate) {
                    self.trim();
                    return;
                }
            }
        }
    }

    /// Nothing that came long before the finding: a run in which nothing happens at first is a quick one.
    pub(super) fn guess_beginning(&mut self) {
        let Some(found_ms) = self.found_ms() else { return };
        let issued = issued(&self.plan, &self.tried);
        let safety_ns = self.safety_ns();
        for before_ms in BEFORE_FINDING_MS {
            let from_ms = found_ms.saturating_sub(before_ms);
            let is_late = |operation: &&Issued| operation.time_ns.saturating_sub(safety_ns) / 1_000_000 >= from_ms;
            let mut candidate = self.with_operations(issued.iter().filter(is_late));
            candidate
                .schedule
                .steps
                .retain(|step| step.at_ms + step.duration_ms >= from_ms);
            if self.take_under_some_seed(&candidate) {
                return;
            }
        }
    }

    /// Few operations: none, those of the finding, then ever more of the last ones and by chance.
    pub(super) fn guess_operations(&mut self) {
        let issued = issued(&self.plan, &self.tried);
        if issued.is_empty() {
            return;
        }
        let finding = first_finding(&self.tried.report, &self.property).cloned();
        let needed: BTreeSet<Seq> = finding
            .iter()
            .flat_map(|finding| finding.operations.iter().map(|operation| operation.invoked))
            .collect();
        let found_ns = finding.as_ref().map_or(u64::MAX, |finding| finding.time_ns);
        let before: Vec<&Issued> = issued
            .iter()
            .filter(|operation| operation.time_ns <= found_ns || needed.contains(&operation.seq))
            .collect();
        let own: Vec<&Issued> = before
            .iter()
            .filter(|operation| needed.contains(&operation.seq))
            .copied()
            .collect();
        if issued.len() > own.len() {
            let candidate = self.with_operations(own.iter().copied());
            if self.take_under_some_seed(&candidate) {
                return;
            }
        }
        if self.guess_around_faults(&before, &own) {
            return;
        }
        let mut count = 3;
        while own.len() + count < issued.len() && !self.is_over {
            for choice in 0..CHOICES {
                let last = &before[before.len().saturating_sub(count)..];
                let mut chosen: Vec<&Issued> = match choice {
                    0 => last.to_vec(),
                    _ => before.sample(&mut self.dice, count).copied().collect(),
                };
                chosen.extend(&own);
                let candidate = self.with_operations(chosen.into_iter());
                if self.take_under_some_seed(&candidate) {
                    return;
                }
            }
            count *= 2;
        }
    }

    /// Less time between faults in which nothing happens. A client asks for something else then, since what it asks for
    /// follows from how often it has asked.
    pub(super) fn guess_pauses(&mut self) {
        let steps = self.plan.schedule.steps.clone();
        let mut quiet_from_ms = 0;
        // From the last to the first, so that what is taken moves nothing that is still to be tried.
        let mut pauses = Vec::new();
        for (place, step) in steps.iter().enumerate() {
            if step.at_ms > quiet_from_ms + PAUSE_MS {
                pauses.push((place, step.at_ms, step.at_ms - quiet_from_ms - PAUSE_MS));
            }
            quiet_from_ms = quiet_from_ms.max(step.at_ms + step.duration_ms);
        }
        let safety_ms = self.safety_ns() / 1_000_000;
        for (place, at_ms, by_ms) in pauses.into_iter().rev() {
            let mut candidate = self.plan.clone();
            for step in &mut candidate.schedule.steps[place..] {
                step.at_ms -= by_ms;
            }
            candidate.time_limit_ms = candidate.time_limit_ms.saturating_sub(by_ms).max(1);
            // So many operations of a client fill the pause.
            let each = by_ms * self.plan.rate_milli / u64::from(self.plan.clients.max(1)) / 1_000_000;
            let earlier = u32::try_from(each).unwrap_or(u32::MAX);
            let issued = issued(&self.plan, &self.tried).into_iter().map(|operation| Issued {
                place: if operation.time_ns / 1_000_000 + PAUSE_MS < safety_ms + at_ms {
                    operation.place
                } else {
                    operation.place.saturating_sub(earlier)
                },
                ..operation
            });
            let issued: Vec<Issued> = issued.collect();
            candidate.kept = Some(kept(issued.iter()));
            self.take_under_some_seed(&candidate);
        }
    }

    /// The operations that were asked for when a fault began or ended, or just before the finding.
    fn guess_around_faults(&mut self, before: &[&Issued], own: &[&Issued]) -> bool {
        let safety_ms = self.safety_ns() / 1_000_000;
        let steps = self.plan.schedule.steps.iter();
        let mut moments: Vec<u64> = steps
            .flat_map(|step| [step.at_ms, step.at_ms + step.duration_ms])
            .map(|moment| moment + safety_ms)
            .collect();
        moments.extend(self.found_ms().map(|found| found + safety_ms));
        for around_ms in AROUND_FAULT_MS {
            let is_near = |operation: &&&Issued| {
                let asked_ms = operation.time_ns / 1_000_000;
                moments.iter().any(|moment| moment.abs_diff(asked_ms) <= around_ms)
            };
            let near: Vec<&Issued> = before.iter().filter(is_near).copied().collect();
            if near.len() * 10 > before.len() * 9 {
                return false;
            }
            let candidate = self.with_operations(near.into_iter().chain(own.iter().copied()));
            if self.take_under_some_seed(&candidate) {
                return true;
            }
        }
        false
    }

    /// Fewer operations by chance, a half of them or fewer at a time, and a fault now and then, until that has failed
    /// often: what cannot be left out one after the other may still be left out together, under another seed.
    pub(super) fn thin(&mut self) {
        let mut failures = 0;
        while failures < THINNED_IN_VAIN && !self.is_over {
            let all = issued(&self.plan, &self.tried);
            if all.len() < 2 {
                return;
            }
            let share = self.dice.random_range(2..=THINNED_BY_MAX);
            let left_out = (all.len() / share).max(1);
            let rest: Vec<&Issued> = all.sample(&mut self.dice, all.len() - left_out).collect();
            let mut candidate = self.with_operations(rest.into_iter());
            let steps = &mut candidate.schedule.steps;
            if !steps.is_empty() && self.dice.random_bool(0.5) {
                steps.remove(self.dice.random_range(0..steps.len()));
            }
            if self.take_under_some_seed(&candidate) {
                self.trim();
                failures = 0;
            } else {
                failures += 1;
            }
        }
    }

    /// Few faults: none, then ever more of the last ones.
    pub(super) fn guess_steps(&mut self) {
        let steps = self.plan.schedule.steps.clone();
        let mut count = 0;
        while count <= FAULTS_GOAL && count < steps.len() && !self.is_over {
            let candidate = self.with_steps(&steps[steps.len() - count..]);
            if self.take_under_some_seed(&candidate) {
                return;
            }
            count += 1;
        }
    }
}

/// The death that a fault is, at an entry that is written and not synced; none if it is no death at a moment of the clock.
fn while_it_writes(fault: &Fault) -> Option<Fault> {
    let (select, outage) = match fault {
        Fault::Kill { select } => (select, Outage::Machine),
        Fault::Crash {
            moment: Moment::Point { .. },
            ..
        } => return None,
        Fault::Crash { select, outage, .. } => (select, *outage),
        _ => return None,
    };
    Some(Fault::Crash {
        select: select.clone(),
        outage,
        moment: Moment::Point {
            point: points::APPEND_BEFORE_SYNC.name.to_owned(),
            passes: PASSES_MAX,
        },
    })
}
