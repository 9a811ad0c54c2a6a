//! What a run leaves in its directory, whatever its world: the plan at its beginning, history and report at its end.

use std::io;

use tribunal_checker::Judgement;
use tribunal_history::jsonl::{self, ReadError};
use tribunal_history::report::{FunctionCounts, RunOutcome};
use tribunal_history::{Event, Manifest, Phase, Record as _, Report, Schedule};

use super::judge::{self, Observed, Told};
use super::outcome::ExitPolicy;
use super::recorder::{Closed, Recorder};
use super::run_dir::RunDir;
use super::streamed::{self, EVENTS_HELD_MAX};
use super::{Plan, Progress, RunError, Stage, record, write_report};
use crate::world::process::{own_executable, sha256_file};

/// Makes the run directory, and writes down what is to be run before anything is started.
pub(super) fn begin(plan: &Plan) -> Result<(RunDir, Schedule), RunError> {
    let dir = RunDir::create(&plan.runs_dir, &plan.name, &plan.started, plan.seed)?;
    let schedule = plan.schedule();
    let manifest = Manifest {
        argv: plan.argv.clone(),
        config: plan.config.clone(),
        seed: plan.seed,
        started: plan.started.clone(),
        tribunal_version: env!("CARGO_PKG_VERSION").to_owned(),
        // A binary that can be executed and not read has no hash that we could know.
        tribunal_sha256: sha256_file(&own_executable()).unwrap_or_default(),
        system: plan.config.get("system").cloned().unwrap_or_default(),
        system_version: plan.defendant.title(),
        system_sha256: plan.defendant.sha256(),
        host: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    };
    let path = dir.path().join("run.json");
    manifest.save(&path).map_err(RunError::write(path))?;
    let path = dir.path().join("schedule.json");
    schedule.save(&path).map_err(RunError::write(path))?;
    if let Some(record) = record::of(plan, &schedule) {
        let path = dir.path().join(record::PLAN_FILE);
        record.save(&path).map_err(RunError::write(path))?;
    }
    Ok((dir, schedule))
}

/// Judges what was recorded and writes the report.
pub(super) fn end(
    plan: &Plan,
    dir: &RunDir,
    schedule: &Schedule,
    recorder: &Recorder,
    seen: &Observed,
    policy: &ExitPolicy,
    shown: &(impl Progress + ?Sized),
) -> Result<Report, RunError> {
    shown.stage(Stage::Check);
    recorder.phase(Phase::End);
    let history = dir.path().join("history.jsonl");
    let closed = recorder.close().map_err(RunError::write(&history))?;
    let unreadable = |error| RunError::write(&history)(io::Error::other::<ReadError>(error));
    // Long ones take seconds to compress, and to read.
    let (read, compressed) = std::thread::scope(|scope| {
        let compressing = scope.spawn(|| jsonl::compress(&history));
        (read(plan, closed), compressing.join())
    });
    let (events, streamed) = read.map_err(unreadable)?;
    let told = match streamed {
        Some((counts, judgement)) => Told {
            events: &events,
            is_whole: false,
            counts,
            judgement: Ok(judgement),
        },
        None => Told::whole(plan, &events),
    };

    shown.stage(Stage::Report);
    compressed
        .unwrap_or_else(|_| Err(io::Error::other("its compression panicked")))
        .and_then(|_| std::fs::remove_file(&history))
        .map_err(RunError::write(&history))?;
    let mut report = judge::report(plan, dir.path(), schedule, told, seen, policy);
    if !plan.keep_data && report.verdict.outcome == RunOutcome::Pass {
        remove_data(dir);
    }
    write_panics(dir, seen)?;
    write_report(&mut report, dir, &events)?;
    Ok(report)
}

/// What was counted and judged while a history was read.
type Summed = (Vec<FunctionCounts>, Judgement);

/// The events of a history; of a long one that holds those that are no part of operations, and what the others came to.
fn read(plan: &Plan, closed: Closed) -> Result<(Vec<Event>, Option<Summed>), ReadError> {
    let (path, count) = match closed {
        Closed::Memory(events) => return Ok((events, None)),
        Closed::File { path, count } => (path, count),
    };
    if count > EVENTS_HELD_MAX
        && let Some(streamed) = streamed::judge(plan.workload.specification(), plan.check.consistency, &path)?
    {
        return Ok((streamed.marks, Some((streamed.counts, streamed.judgement))));
    }
    Ok((jsonl::read(&path)?, None))
}

/// The stacks of what panicked; no file if nothing did.
fn write_panics(dir: &RunDir, seen: &Observed) -> Result<(), RunError> {
    let found = seen.faulty_code.as_deref().unwrap_or_default();
    if found.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = found
        .iter()
        .map(|code| format!("{}\n{}\n", code.title, code.backtrace.as_deref().unwrap_or_default()))
        .collect();
    let path = dir.path().join("panics.txt");
    std::fs::write(&path, texts.join("\n")).map_err(RunError::write(path))
}

/// After a pass nobody needs the nodes' data; what cannot be removed stays, and is listed with the files.
fn remove_data(dir: &RunDir) {
    for name in dir.files() {
        if name.ends_with("/data/") {
            let _ = std::fs::remove_dir_all(dir.path().join(name));
        }
    }
}
