//! `tribunal simulate`: seed after seed in virtual time.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tribunal_history::report::RunOutcome;

use super::run::{RunArgs, execute};
use super::values::{Seeds, positive_duration, seeds};
use super::{EXIT_HARNESS, complain, interrupt};
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};
use crate::campaign::recorder::Counts;
use crate::campaign::{Progress, Stage, simulated};

/// Flags of `tribunal simulate`.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Seeds from A to B, both included, such as 1..1000; or a single one
    #[arg(long, visible_alias = "seed", value_parser = seeds, value_name = "A..B")]
    seeds: Seeds,
    /// Simulated time under faults, for each seed
    #[arg(long, default_value = "60s", value_parser = positive_duration, value_name = "TIME")]
    time_limit: Duration,
    /// Plant a bug in the bundled store; see `tribunal list defects --world simulation`
    #[arg(long, value_name = "NAME")]
    defect: Option<String>,
    /// Stop at the first seed that fails
    #[arg(long)]
    fail_fast: bool,
    /// Folder of the run directories; each failing seed gets one
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs_dir: PathBuf,
}

/// Runs the verb.
pub fn run(args: SimulateArgs) -> u8 {
    match sweep(&args) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}

fn sweep(args: &SimulateArgs) -> anyhow::Result<u8> {
    let limit = format!("--time-limit={}ms", args.time_limit.as_millis());
    let mut run = RunArgs::from_words(&["--name=simulate", "--world=simulation", &limit]);
    run.plant(args.defect.as_deref(), args.runs_dir.clone());
    let interrupted = interrupt::flag().context("signals cannot be watched")?;
    let policy = ExitPolicy::default();
    let (mut looked_at, mut failing, mut harness) = (0_u64, Vec::new(), 0_u64);
    for seed in args.seeds.first..=args.seeds.last {
        let plan = run.with_seed(seed).plan()?;
        let report = simulated::look(&plan, &policy, &Quiet, &interrupted, false).report;
        if interrupted.load(Ordering::SeqCst) {
            break;
        }
        looked_at += 1;
        match report.verdict.outcome {
            // Whether one seed alone felt every kind of fault says nothing of a sweep.
            RunOutcome::Pass | RunOutcome::InsufficientCoverage => continue,
            RunOutcome::Violation => failing.push(seed),
            RunOutcome::HarnessError | RunOutcome::Inconclusive | RunOutcome::Interrupted => harness += 1,
        }
        if let Err(error) = execute(&plan, &policy, false, None) {
            complain(&error);
            return Ok(EXIT_HARNESS);
        }
        if args.fail_fast {
            break;
        }
    }
    let names: Vec<String> = failing.iter().map(ToString::to_string).collect();
    println!(
        "{looked_at} seeds, {} failing{}{}",
        failing.len(),
        if names.is_empty() { "" } else { ": " },
        names.join(" ")
    );
    Ok(
        match (failing.is_empty(), harness, interrupted.load(Ordering::SeqCst)) {
            (false, _, _) => 1,
            (true, 1.., _) => EXIT_HARNESS,
            (true, 0, true) => 130,
            (true, 0, false) => 0,
        },
    )
}

/// Shows nothing.
struct Quiet;

impl Progress for Quiet {
    fn stage(&self, _: Stage) {}

    fn counts(&self, _: Duration, _: &Counts) {}
}
