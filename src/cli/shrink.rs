//! `tribunal shrink`: a failing simulated run made small enough to be read.

#![expect(
    clippy::disallowed_methods,
    reason = "a person waits for the result, by the machine's clock; nothing under simulation is here"
)]

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use tribunal_history::SimulatedPlan;

use super::replay::plan_of;
use super::simulate::Quiet;
use super::values::positive_duration;
use super::{EXIT_HARNESS, complain, interrupt};
use crate::campaign::judge::counted;
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};
use crate::campaign::plan::shell_word;
use crate::campaign::shrink::{Shrunk, Size, Tried, chosen, shrink, ways};
use crate::campaign::simulated::Looked;
use crate::campaign::{Plan, record, simulated};

/// Flags of `tribunal shrink`.
#[derive(Clone, Debug, Args)]
pub struct ShrinkArgs {
    /// Run directory of a simulated run that fails
    dir: PathBuf,
    /// How long it may take
    #[arg(long, default_value = "60s", value_parser = positive_duration, value_name = "TIME")]
    budget: Duration,
    /// Folder of the run directories
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs_dir: PathBuf,
}

/// Runs the verb: 0 if there is a smaller run or none is smaller.
pub fn run(args: ShrinkArgs) -> u8 {
    let plan = match plan_of(&args.dir) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&error.context(format!("{} cannot be shrunk", args.dir.display())));
            return EXIT_USAGE;
        }
    };
    match make_small(&args, plan) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            EXIT_HARNESS
        }
    }
}

fn make_small(args: &ShrinkArgs, mut plan: Plan) -> anyhow::Result<u8> {
    let policy = ExitPolicy::default();
    let interrupted = interrupt::flag().context("signals cannot be watched")?;
    let deadline = Instant::now() + args.budget;
    let tried = |looked: Looked| Tried {
        report: looked.report,
        events: looked.events,
        clients: looked.clients,
    };
    let original = record::of(&plan, &plan.schedule()).context("it is a run on processes")?;
    let first = tried(simulated::look(&plan, &policy, &Quiet, &interrupted, false));
    let Some(way) = chosen(&first.report) else {
        eprintln!(
            "error: the run does not fail, so there is nothing to shrink: {}",
            first.report.verdict.headline
        );
        return Ok(EXIT_USAGE);
    };
    eprintln!("it fails: {}", first.report.verdict.headline);
    eprintln!("what is to stay is that {} is violated", way.property);
    let shrunk = shrink(&original, &first, |smaller: &SimulatedPlan, property: &str| {
        if Instant::now() >= deadline || interrupted.load(Ordering::SeqCst) {
            return None;
        }
        let mut candidate = plan.clone();
        record::apply(smaller, &mut candidate).ok()?;
        let looked = simulated::look_until_found(&candidate, property, &interrupted);
        // A run that was cut short shows nothing.
        (!interrupted.load(Ordering::SeqCst)).then(|| tried(looked))
    });
    let Shrunk {
        plan: smaller,
        before,
        after,
        runs,
        ..
    } = shrunk.context("the run does not fail")?;
    record::apply(&smaller, &mut plan)?;
    plan.runs_dir = args.runs_dir.clone();
    plan.name = "shrink".to_owned();
    plan.argv = std::env::args().collect();
    let (report, dir, _) = simulated::run(&plan, &policy, &Quiet, &interrupted, false)?;
    if ways(&report).iter().all(|other| other.property != way.property) {
        bail!(
            "the smaller run in {} does not fail in the same way; this is a bug of the tool",
            dir.display()
        );
    }
    println!(
        "from {} to {} in {}",
        words(before),
        words(after),
        counted(runs as usize, "run")
    );
    for (place, step) in smaller.schedule.steps.iter().enumerate() {
        println!(
            "  fault {}: {} at {:.1} s for {:.1} s",
            place + 1,
            step.fault,
            step.at_ms as f64 / 1e3,
            step.duration_ms as f64 / 1e3
        );
    }
    println!("{}", report.verdict.headline);
    println!("report: {}/report.html", dir.display());
    println!("replay: tribunal replay {}", shell_word(&dir.display().to_string()));
    Ok(0)
}

fn words(size: Size) -> String {
    format!(
        "{}, {} and {}",
        counted(size.faults, "fault"),
        counted(size.clients, "client"),
        counted(size.operations, "operation")
    )
}
