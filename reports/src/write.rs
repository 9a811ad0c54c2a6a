//! Writes the files of a report into a run directory, and makes them again from what is there.
//!
//! Each file is replaced as a whole, so that a reader never sees half of one. The report itself (`report.json`)
//! is written last of those that matter to scripts: once it is there, the rest is.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tribunal_history::event::{Completion, Invocation};
use tribunal_history::record::replace;
use tribunal_history::{
    DrawnOperation, Ending, Event, Finding, ProcessId, Record as _, RecordError, Report, Seq, jsonl,
};

use crate::{JunitError, html, junit, summary, svg};

/// Writes `report.html`, `junit.xml`, `summary.md`, `findings/<n>/…` (n from 1) and `report.json` into the run
/// directory `dir`, and returns their names in it. What is not yet among the report's `files` is added to them.
/// Findings of an earlier judgement that this one does not have are removed.
///
/// Errors: what the file system says, with the file's name, or JUnit's writer.
pub fn write(dir: &Path, report: &Report, events: &[Event]) -> io::Result<Vec<String>> {
    let mut report = report.clone();
    let mut names: Vec<String> = ["report.json", "report.html", "junit.xml", "summary.md"]
        .map(str::to_owned)
        .to_vec();
    for n in 1..=report.findings.len() {
        names.extend(FINDING_FILES.map(|name| format!("findings/{n}/{name}")));
    }
    for name in &names {
        if !report.files.contains(name) {
            report.files.push(name.clone());
        }
    }
    for (place, finding) in report.findings.iter().enumerate() {
        write_finding(&finding_dir(dir, place + 1), finding, &report)?;
    }
    remove_findings_from(dir, report.findings.len() + 1)?;
    write_pages(dir, &report, events).map_err(|error| match error {
        RebuildError::Write(error) => error,
        error => io::Error::other(error),
    })?;
    put(&dir.join("report.json"), report.to_json().as_bytes())?;
    Ok(names)
}

/// Makes `report.html`, `junit.xml` and `summary.md` again from the `report.json` and the history that are in
/// the run directory `dir`, and returns their names.
pub fn rebuild(dir: &Path) -> Result<Vec<String>, RebuildError> {
    let report = Report::load(&dir.join("report.json"))?;
    let plain = dir.join("history.jsonl");
    let packed = dir.join("history.jsonl.gz");
    let history = if !plain.exists() && packed.exists() {
        packed
    } else {
        plain
    };
    let events = jsonl::read(&history)?;
    write_pages(dir, &report, &events)?;
    Ok(["report.html", "junit.xml", "summary.md"].map(str::to_owned).to_vec())
}

/// Why a report cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no report to start from, or it cannot be read.
    #[error("the run directory has no usable report.json; judge its history with `tribunal check`: {}", causes(.0))]
    Report(#[from] RecordError),
    /// There is no history to draw, or it cannot be read.
    #[error(transparent)]
    History(#[from] jsonl::ReadError),
    /// The report cannot be written as JUnit.
    #[error(transparent)]
    Junit(#[from] JunitError),
    /// A file cannot be written; the error names it.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// An error with what caused it, in one line.
fn causes(error: &RecordError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn write_pages(dir: &Path, report: &Report, events: &[Event]) -> Result<(), RebuildError> {
    put(&dir.join("report.html"), html(report, events).as_bytes())?;
    put(&dir.join("junit.xml"), junit(report)?.as_bytes())?;
    put(&dir.join("summary.md"), summary(report).as_bytes())?;
    Ok(())
}

/// Replaces a file; an error names it.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    named(path, replace(path, bytes))
}

fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{} cannot be written: {error}", path.display())))
}

/// What a finding's folder holds.
const FINDING_FILES: [&str; 4] = ["finding.json", "minimal.jsonl", "timeline.svg", "repro.sh"];

fn finding_dir(dir: &Path, n: usize) -> PathBuf {
    dir.join("findings").join(n.to_string())
}

fn write_finding(dir: &Path, finding: &Finding, report: &Report) -> io::Result<()> {
    named(dir, fs::create_dir_all(dir))?;
    put(&dir.join("finding.json"), finding.to_json().as_bytes())?;
    put(&dir.join("minimal.jsonl"), &minimal(finding)?)?;
    let drawing = svg::timeline::timeline_svg(finding, &report.faults);
    put(&dir.join("timeline.svg"), drawing.as_bytes())?;
    let script = dir.join("repro.sh");
    put(&script, repro(report).as_bytes())?;
    named(&script, fs::set_permissions(&script, Permissions::from_mode(0o755)))
}

/// Removes the folders of findings from number `n` on, as far as they hold nothing but our own files.
fn remove_findings_from(dir: &Path, n: usize) -> io::Result<()> {
    for n in n.. {
        let dir = finding_dir(dir, n);
        if !dir.join("finding.json").exists() {
            break;
        }
        for name in FINDING_FILES {
            match fs::remove_file(dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // A folder that somebody else put something into stays.
        let _ = fs::remove_dir(&dir);
    }
    // Succeeds only if nothing is in it.
    let _ = fs::remove_dir(dir.join("findings"));
    Ok(())
}

/// The commands as a script.
fn repro(report: &Report) -> String {
    let mut text = "#!/bin/sh\n# Runs and judges it again. To be started where the run was started.\n".to_owned();
    for command in &report.commands {
        text.push_str(command);
        text.push('\n');
    }
    text
}

/// The operations of a finding as a history that can be judged again.
fn minimal(finding: &Finding) -> io::Result<Vec<u8>> {
    let mut writer = jsonl::Writer::new(Vec::new())?;
    for event in events_of(&finding.operations) {
        writer.write(&event)?;
    }
    writer.into_inner()
}

/// The operations as events, in their order. A process has one operation open at most; where an operation lost
/// its completion on the way to the smallest explanation, a new process takes over, as it does in a run.
fn events_of(operations: &[DrawnOperation]) -> Vec<Event> {
    let mut in_order: Vec<&DrawnOperation> = operations.iter().collect();
    in_order.sort_by_key(|operation| operation.invoked);
    let mut fresh = operations
        .iter()
        .map(|operation| operation.process.0)
        .max()
        .unwrap_or(0);
    // For each process of the finding: who stands for it now, and until when that one is busy.
    let mut now: BTreeMap<ProcessId, (ProcessId, Option<Seq>)> = BTreeMap::new();
    let mut events = Vec::with_capacity(2 * operations.len());
    for operation in in_order {
        let process = match now.get(&operation.process) {
            None => operation.process,
            Some((process, Some(until))) if *until < operation.invoked => *process,
            Some(_) => {
                fresh += 1;
                ProcessId(fresh)
            }
        };
        now.insert(operation.process, (process, operation.completed));
        events.push(Event::Invoke(Invocation {
            seq: operation.invoked,
            time_ns: operation.invoked_ns,
            process,
            node: operation.node,
            function: operation.function.clone(),
            input: operation.input.clone(),
        }));
        events.extend(completion(operation, process));
    }
    events.sort_by_key(Event::seq);
    events
}

fn completion(operation: &DrawnOperation, process: ProcessId) -> Option<Event> {
    let completion = Completion {
        seq: operation.completed?,
        time_ns: operation.completed_ns.unwrap_or(operation.invoked_ns),
        process,
        output: operation.output.clone(),
        revision: operation.revision,
        term: operation.term,
        member: None,
        cause: operation.cause.clone(),
    };
    Some(match operation.ending {
        Ending::Ok => Event::Ok(completion),
        Ending::Fail => Event::Fail(completion),
        Ending::Info => Event::Info(completion),
    })
}
