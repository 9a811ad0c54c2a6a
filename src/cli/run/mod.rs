//! `tribunal run`: one campaign, from the plan to the report.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tribunal_history::report::RunOutcome;
use tribunal_history::{Record as _, Report};

use self::args::repeated;
use self::tally::Tally;
use super::{complain, interrupt, progress};
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};
use crate::campaign::{Defendant, Plan, RunError};

mod args;
mod plan;
mod tally;

pub use self::args::RunArgs;
pub(super) use self::plan::draw_seed;

/// Runs the verb.
pub fn run(args: RunArgs) -> u8 {
    let args = match args.from.clone().map(|from| repeated(&args, &from)).transpose() {
        Ok(repeated) => repeated.unwrap_or(args),
        Err(error) => {
            complain(&error);
            return EXIT_USAGE;
        }
    };
    let policy = ExitPolicy {
        fail_on: args.fail_on.iter().copied().collect(),
        expect_fail: args.expect_fail,
    };
    let mut tally = Tally::default();
    for round in 1..=args.repeat {
        let plan = match args.plan() {
            Ok(plan) => plan,
            Err(error) => {
                complain(&error);
                return EXIT_USAGE;
            }
        };
        match execute(&plan, &policy, args.json, args.trace.as_deref()) {
            Ok(report) => {
                tally.count(report.verdict.outcome, policy.code(report.verdict.outcome));
                if report.verdict.outcome == RunOutcome::Interrupted {
                    break;
                }
            }
            Err(error) => {
                complain(&error);
                tally.count(RunOutcome::HarnessError, policy.code(RunOutcome::HarnessError));
            }
        }
        if args.repeat > 1 {
            eprintln!("{} after {round} of {} runs", tally.sentence(), args.repeat);
        }
    }
    if args.repeat > 1 && !args.json {
        println!("{}", tally.sentence());
    }
    tally.code
}

/// Runs one plan with its progress shown, and prints how it ended. The trace of a simulated run goes into `trace`.
pub fn execute(plan: &Plan, policy: &ExitPolicy, json: bool, trace: Option<&Path>) -> anyhow::Result<Report> {
    eprintln!("seed {}", plan.seed);
    eprintln!("run again: {}", plan.command());
    let shown = progress::Shown::new(plan.time_limit);
    let result = match &plan.defendant {
        Defendant::Process(system) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("the runtime does not start")?;
            let result = runtime.block_on(crate::campaign::run::run(plan, system, policy, &shown, interrupted()));
            runtime.shutdown_timeout(Duration::from_secs(2));
            result
        }
        Defendant::Simulation(_) => {
            let interrupt = interrupt::flag().context("signals cannot be watched")?;
            let result = crate::campaign::simulated::run(plan, policy, &shown, &interrupt, trace.is_some());
            result.and_then(|(report, dir, ended)| {
                if let (Some(path), Some(bytes)) = (trace, &ended.trace) {
                    std::fs::write(path, bytes).map_err(RunError::write(path))?;
                }
                Ok((report, dir))
            })
        }
    };
    shown.finish();
    let (report, dir) = result.map_err(|error: RunError| anyhow::Error::new(error))?;
    if json {
        println!("{}", report.to_json_line());
    } else {
        print!("{}", tribunal_reports::last_lines(&report, &dir.display().to_string()));
    }
    Ok(report)
}

/// Ends when somebody presses Ctrl-C or asks the tool to terminate.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut waits = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        if let Ok(mut signal) = signal(kind) {
            waits.push(Box::pin(async move { signal.recv().await }));
        }
    }
    if waits.is_empty() {
        return std::future::pending().await;
    }
    std::future::poll_fn(|context| {
        let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}
