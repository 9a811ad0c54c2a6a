//! `tribunal __seeds`: a job of a sweep. Reads seeds from standard input, a line each, and answers each with a line.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tribunal_checker::online::Violation;
use tribunal_history::{FaultKind, Record as _, Report, SeedOutcome};

use super::Passed;
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};
use crate::campaign::recorder::Counts;
use crate::campaign::{Progress, Stage, simulated};
use crate::cli::{EXIT_HARNESS, complain, interrupt};

/// Flags of `tribunal __seeds`.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// Write the run directory of each seed into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    #[command(flatten)]
    passed: Passed,
}

/// Runs the verb.
pub fn run(args: WorkerArgs) -> u8 {
    match serve(&args) {
        Ok(()) => 0,
        Err(error) => {
            complain(&error);
            if error.is::<std::io::Error>() {
                EXIT_HARNESS
            } else {
                EXIT_USAGE
            }
        }
    }
}

fn serve(args: &WorkerArgs) -> anyhow::Result<()> {
    let mut run = args.passed.run()?;
    if let Some(dir) = &args.write {
        run.write_into(dir.clone());
    }
    let policy = ExitPolicy::default();
    // Ctrl-C reaches the whole group; the sweep decides what becomes of its jobs.
    let interrupted = interrupt::flag()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let seed = line.trim().parse().with_context(|| format!("{line:?} is not a seed"))?;
        let plan = run.with_seed(seed).plan()?;
        let outcome = if args.write.is_some() {
            let (report, dir, ended) = simulated::run(&plan, &policy, &Quiet, &interrupted, false)?;
            outcome(seed, &report, ended.summary, Some(dir.display().to_string()))
        } else {
            let looked = simulated::look(&plan, &policy, &Quiet, &interrupted, false);
            outcome(seed, &looked.report, looked.ended.summary, None)
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", outcome.to_json_line())?;
        out.flush()?;
    }
    Ok(())
}

fn outcome(seed: u64, report: &Report, summary: tribunal_history::TraceSummary, dir: Option<String>) -> SeedOutcome {
    let mut faults: std::collections::BTreeMap<FaultKind, [u64; 2]> = std::collections::BTreeMap::new();
    for fault in &report.faults {
        let [tried, effective] = faults.entry(fault.kind).or_default();
        *tried += 1;
        *effective += u64::from(fault.effective);
    }
    SeedOutcome {
        seed,
        outcome: report.verdict.outcome,
        headline: report.verdict.headline.clone(),
        hash: summary.hash,
        ok: report.operations.iter().map(|count| count.ok).sum(),
        lasted_ns: summary.lasted_ns,
        faults,
        counters: summary.counters,
        dir,
    }
}

/// Shows nothing.
pub(in crate::cli) struct Quiet;

impl Progress for Quiet {
    fn stage(&self, _: Stage) {}

    fn counts(&self, _: Duration, _: &Counts) {}

    fn violated(&self, _: &Violation) {}
}
