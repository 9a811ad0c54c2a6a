//! `tribunal replay`: a simulated run once more, exactly.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgAction, Args};
use tribunal_history::{Event, Record as _, TraceSummary, jsonl};

use super::run::RunArgs;
use super::simulate::Quiet;
use super::{EXIT_HARNESS, complain, interrupt};
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};
use crate::campaign::simulated::{self, Looked};
use crate::campaign::{Plan, RunError, record};

/// Flags of `tribunal replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Run directory of a simulated run
    dir: PathBuf,
    /// Print the timeline; twice: everything that happened
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Write everything that happened into this file, to compare runs byte for byte
    #[arg(long, value_name = "FILE", hide = true)]
    trace: Option<PathBuf>,
    /// A violation is what is wanted: swaps exit codes 0 and 1
    #[arg(long)]
    expect_fail: bool,
}

/// Runs the verb.
pub fn run(args: ReplayArgs) -> u8 {
    let plan = match plan_of(&args.dir) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&error.context(format!("{} cannot be replayed", args.dir.display())));
            return EXIT_USAGE;
        }
    };
    match replay(&args, &plan) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            EXIT_HARNESS
        }
    }
}

/// The plan of the simulated run in `dir`.
pub(super) fn plan_of(dir: &Path) -> anyhow::Result<Plan> {
    let saved = record::load(dir)?;
    let words = ["--world=simulation".to_owned(), format!("--seed={}", saved.seed)];
    let mut plan = RunArgs::parse_words(words)?.plan()?;
    record::apply(&saved, &mut plan)?;
    Ok(plan)
}

fn replay(args: &ReplayArgs, plan: &Plan) -> anyhow::Result<u8> {
    let policy = ExitPolicy {
        expect_fail: args.expect_fail,
        ..ExitPolicy::default()
    };
    let interrupted = interrupt::flag().context("signals cannot be watched")?;
    let keep_trace = args.verbose > 1 || args.trace.is_some();
    let looked = simulated::look(plan, &policy, &Quiet, &interrupted, keep_trace);
    let trace = looked.ended.trace.as_deref().unwrap_or_default();
    if let Some(path) = &args.trace {
        std::fs::write(path, trace).map_err(RunError::write(path))?;
    }
    // Whoever reads this may stop reading.
    let _ = print(args.verbose, &looked, trace);
    let is_same = compare(&args.dir, &looked)?;
    println!("{}", looked.report.verdict.headline);
    Ok(if is_same {
        looked.report.verdict.exit_code
    } else {
        EXIT_HARNESS
    })
}

/// Says whether this is the run that was recorded.
fn compare(dir: &Path, looked: &Looked) -> anyhow::Result<bool> {
    let again = encoded(&looked.events)?;
    let recorded = ["history.jsonl.gz", "history.jsonl"].map(|name| dir.join(name));
    let history = match recorded.iter().find(|path| path.exists()) {
        Some(path) => {
            let before = jsonl::bytes(path).with_context(|| format!("{} cannot be read", path.display()))?;
            println!(
                "history: {} ({} bytes recorded, {} now)",
                if before == again { "identical" } else { "DIFFERENT" },
                before.len(),
                again.len()
            );
            before == again
        }
        None => {
            println!("history: there is none to compare with");
            true
        }
    };
    let path = dir.join(record::TRACE_FILE);
    let trace = if path.exists() {
        let before = TraceSummary::load(&path)?;
        let is_same = before == looked.ended.summary;
        println!(
            "everything that happened: {} ({} records, hash {})",
            if is_same { "identical" } else { "DIFFERENT" },
            looked.ended.summary.records,
            looked.ended.summary.hash
        );
        is_same
    } else {
        true
    };
    if !(history && trace) {
        eprintln!("This build of the program is not the one that made the run, or the run was changed.");
    }
    Ok(history && trace)
}

/// A history as its file has it.
fn encoded(events: &[Event]) -> io::Result<Vec<u8>> {
    let mut writer = jsonl::Writer::new(Vec::new())?;
    for event in events {
        writer.write(event)?;
    }
    writer.into_inner()
}

fn print(verbose: u8, looked: &Looked, trace: &[u8]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if verbose > 1 {
        for line in tribunal_simulation::trace::lines(trace) {
            writeln!(out, "{line}")?;
        }
    }
    if verbose > 0 {
        for event in &looked.events {
            writeln!(out, "{}", line(event))?;
        }
    }
    out.flush()
}

/// An event for people: virtual seconds, and what.
fn line(event: &Event) -> String {
    let what = match event {
        Event::Invoke(invoked) => format!(
            "client {} asks {}: {} {}",
            invoked.process, invoked.node, invoked.function, invoked.input
        ),
        Event::Ok(completion) => format!("client {} ok: {}", completion.process, completion.output),
        Event::Fail(completion) => format!("client {} failed: {}", completion.process, cause(completion)),
        Event::Info(completion) => format!("client {} in doubt: {}", completion.process, cause(completion)),
        Event::Nemesis(nemesis) => {
            let action = format!("{:?}", nemesis.action).to_lowercase();
            format!("nemesis {action} {} {}", nemesis.fault, nemesis.detail)
        }
        Event::Node(node) => {
            let state = format!("{:?}", node.state).to_lowercase();
            format!("{}.{} {state} {}", node.node, node.incarnation, node.detail)
        }
        Event::Leader(leader) => format!("{} leads term {}", leader.node, leader.term),
        Event::Phase(phase) => format!("phase {:?}", phase.phase).to_lowercase(),
    };
    format!("{:>12.6}  {}", event.time_ns() as f64 / 1e9, what.trim_end())
}

fn cause(completion: &tribunal_history::Completion) -> &str {
    completion.cause.as_ref().map_or("", |cause| cause.text.as_str())
}
