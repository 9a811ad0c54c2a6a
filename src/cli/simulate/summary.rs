//! What a sweep found, added up, and in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tribunal_history::report::RunOutcome;
use tribunal_history::{FailingSeed, FaultKind, SeedOutcome, SweepSummary};

use crate::campaign::judge::{counted, grouped};
use crate::campaign::outcome::ExitPolicy;
use crate::campaign::plan::shell_word;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Totals {
    pub seeds: u64,
    pub lasted_ns: u64,
    pub ok: u64,
    pub failing: Vec<FailingSeed>,
    undecided: Vec<FailingSeed>,
    is_inconclusive_only: Option<bool>,
    pub faults: BTreeMap<FaultKind, [u64; 2]>,
    pub counters: BTreeMap<String, u64>,
}

impl Totals {
    /// A seed that was run to its end, and what is said of it if it did not pass.
    pub(super) fn add(&mut self, outcome: SeedOutcome, failing: Option<FailingSeed>) {
        self.seeds += 1;
        self.lasted_ns = self.lasted_ns.saturating_add(outcome.lasted_ns);
        self.ok += outcome.ok;
        for (kind, [tried, effective]) in outcome.faults {
            let sums = self.faults.entry(kind).or_default();
            sums[0] += tried;
            sums[1] += effective;
        }
        for (name, count) in outcome.counters {
            *self.counters.entry(name).or_default() += count;
        }
        let Some(failing) = failing else { return };
        // A violation that another process did not come to is our own trouble as well.
        let is_harness = outcome.outcome == RunOutcome::HarnessError || failing.confirmed == Some(false);
        if outcome.outcome == RunOutcome::Violation {
            if is_harness {
                self.undecided.push(FailingSeed {
                    headline: "a process of its own did not come to the same end".to_owned(),
                    ..failing.clone()
                });
                self.is_inconclusive_only = Some(false);
            }
            self.failing.push(failing);
        } else {
            self.undecided.push(failing);
            let only = self.is_inconclusive_only.unwrap_or(true);
            self.is_inconclusive_only = Some(only && !is_harness);
        }
    }

    /// A seed that could not be run.
    pub(super) fn add_broken(&mut self, broken: FailingSeed) {
        self.undecided.push(broken);
        self.is_inconclusive_only = Some(false);
    }

    /// The end of it.
    pub(super) fn summary(mut self, is_interrupted: bool, policy: &ExitPolicy) -> SweepSummary {
        self.failing.sort_by_key(|failing| failing.seed);
        self.undecided.sort_by_key(|undecided| undecided.seed);
        let has_dead_fault = self
            .faults
            .iter()
            .any(|(kind, [tried, effective])| *tried > 0 && *effective == 0 && tribunal_nemesis::is_certain(*kind));
        let outcome = if !self.failing.is_empty() {
            RunOutcome::Violation
        } else if self.is_inconclusive_only == Some(false) {
            RunOutcome::HarnessError
        } else if is_interrupted {
            RunOutcome::Interrupted
        } else if has_dead_fault {
            RunOutcome::InsufficientCoverage
        } else if self.is_inconclusive_only == Some(true) {
            RunOutcome::Inconclusive
        } else {
            RunOutcome::Pass
        };
        SweepSummary {
            outcome,
            exit_code: policy.code(outcome),
            seeds: self.seeds,
            lasted_ns: self.lasted_ns,
            ok: self.ok,
            failing: self.failing,
            undecided: self.undecided,
            faults: self.faults,
            counters: self.counters,
        }
    }
}

/// The summary for people; `words` are the flags of each run.
pub(super) fn text(summary: &SweepSummary, took: Duration, words: &[String]) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{words}");
    };
    let hours = summary.lasted_ns as f64 / 3.6e12;
    let per_second = summary.seeds as f64 / took.as_secs_f64().max(1e-3);
    line(format_args!(
        "{}, {hours:.2} simulated hours, {} operations ok, in {:.1} s ({per_second:.1} seeds/s)",
        counted(usize::try_from(summary.seeds).unwrap_or(usize::MAX), "seed"),
        grouped(summary.ok),
        took.as_secs_f64()
    ));
    let faults: Vec<String> = summary
        .faults
        .iter()
        .map(|(kind, [tried, effective])| format!("{kind} {} of {}", grouped(*effective), grouped(*tried)))
        .collect();
    if !faults.is_empty() {
        line(format_args!("  effective  {}", faults.join(", ")));
    }
    let happened = summary.counters.iter().filter(|(_, count)| **count > 0);
    let happened: Vec<String> = happened
        .map(|(name, count)| format!("{name} {}", grouped(*count)))
        .collect();
    if !happened.is_empty() {
        line(format_args!("  counted    {}", happened.join(", ")));
    }
    let never = summary.counters.iter().filter(|(_, count)| **count == 0);
    let never: Vec<&str> = never.map(|(name, _)| name.as_str()).collect();
    if !never.is_empty() && summary.seeds > 0 {
        line(format_args!("  never      {}", never.join(", ")));
    }
    for (what, seeds) in [("violated", &summary.failing), ("undecided", &summary.undecided)] {
        for FailingSeed {
            seed,
            headline,
            dir,
            confirmed,
        } in seeds
        {
            let doubt = if *confirmed == Some(false) {
                " (not confirmed)"
            } else {
                ""
            };
            line(format_args!("  {what:<10} seed {seed}{doubt}: {headline}"));
            match dir {
                Some(dir) => line(format_args!("             tribunal replay {}", shell_word(dir))),
                None => line(format_args!(
                    "             tribunal run --world simulation --seed {seed} {}",
                    words.join(" ")
                )),
            }
        }
    }
    line(format_args!("{}", sentence(summary)));
    let seeds: Vec<String> = summary.failing.iter().map(|failing| failing.seed.to_string()).collect();
    let colon = if seeds.is_empty() { "" } else { ": " };
    line(format_args!(
        "{} seeds, {} failing{colon}{}",
        summary.seeds,
        seeds.len(),
        seeds.join(" ")
    ));
    text
}

fn sentence(summary: &SweepSummary) -> String {
    let undecided = summary.undecided.len();
    match summary.outcome {
        RunOutcome::Pass => "PASS  no seed failed".to_owned(),
        RunOutcome::Violation => format!("FAIL  {} failed", counted(summary.failing.len(), "seed")),
        RunOutcome::Inconclusive => format!("UNKNOWN  {} could not be decided", counted(undecided, "seed")),
        RunOutcome::InsufficientCoverage => "TOO LITTLE  a kind of fault never took effect".to_owned(),
        RunOutcome::HarnessError => format!("ERROR  {} could not be run", counted(undecided, "seed")),
        RunOutcome::Interrupted => "INTERRUPTED  no seed failed so far".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, outcome: RunOutcome) -> SeedOutcome {
        SeedOutcome {
            seed,
            outcome,
            headline: "x".to_owned(),
            hash: String::new(),
            ok: 1,
            lasted_ns: 1,
            faults: BTreeMap::from([(FaultKind::Kill, [1, 1])]),
            counters: BTreeMap::new(),
            dir: None,
        }
    }

    fn failing(seed: u64, confirmed: Option<bool>) -> FailingSeed {
        FailingSeed {
            seed,
            headline: "x".to_owned(),
            dir: None,
            confirmed,
        }
    }

    #[test]
    fn a_violation_wins_and_one_seed_with_too_little_coverage_is_nothing() {
        let policy = ExitPolicy::default();
        let mut totals = Totals::default();
        totals.add(outcome(1, RunOutcome::InsufficientCoverage), None);
        assert_eq!(totals.summary(false, &policy).outcome, RunOutcome::Pass);

        let mut totals = Totals::default();
        totals.add(outcome(2, RunOutcome::Violation), Some(failing(2, Some(true))));
        totals.add_broken(failing(1, None));
        let summary = totals.summary(true, &policy);
        assert_eq!((summary.outcome, summary.exit_code), (RunOutcome::Violation, 1));

        let mut totals = Totals::default();
        totals.add(outcome(2, RunOutcome::Inconclusive), Some(failing(2, Some(true))));
        assert_eq!(totals.summary(false, &policy).outcome, RunOutcome::Inconclusive);
    }

    #[test]
    fn what_another_process_does_not_come_to_is_said_and_fails() {
        let mut totals = Totals::default();
        totals.add(outcome(2, RunOutcome::Violation), Some(failing(2, Some(false))));
        let summary = totals.summary(false, &ExitPolicy::default());
        assert_eq!((summary.failing.len(), summary.undecided.len()), (1, 1));
        assert!(text(&summary, Duration::from_secs(1), &[]).contains("not confirmed"));
    }

    #[test]
    fn a_fault_that_never_took_effect_is_too_little() {
        let mut totals = Totals::default();
        let mut seed = outcome(1, RunOutcome::InsufficientCoverage);
        seed.faults.insert(FaultKind::Pause, [2, 0]);
        totals.add(seed, None);
        let summary = totals.summary(false, &ExitPolicy::default());
        assert_eq!(summary.outcome, RunOutcome::InsufficientCoverage);
    }
}
