//! The report of a history that is already there.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tribunal_checker::Judgement;
use tribunal_history::report::{RunSummary, RunVerdict};
use tribunal_history::{Event, Manifest, Report};

use super::judge::{consistent, counted, grouped, headline};
use super::outcome::{ExitPolicy, outcome};
use super::plan::shell_word;
use super::run_dir::RunDir;
use super::sensitivity;

/// Where a history came from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its file.
    pub history: &'a Path,
    /// What it is judged by.
    pub specification: &'a str,
    /// The run that made it, if it is one of ours.
    pub manifest: Option<&'a Manifest>,
    /// The time now, for the folder's name.
    pub stamp: &'a str,
}

/// Writes the report of `judgement` into a folder of its own, `check/<UTC>-<file>`, and returns both.
pub fn write(
    runs_dir: &Path,
    source: &Source<'_>,
    events: &[Event],
    judgement: Judgement,
    policy: &ExitPolicy,
) -> anyhow::Result<(Report, PathBuf)> {
    let seed = source.manifest.map(|manifest| manifest.seed);
    let dir = RunDir::create(runs_dir, "check", source.stamp, seed.unwrap_or(0))?;
    let partitions = judgement.partitions;
    let mut findings = Vec::new();
    let model = judgement.consistency;
    let is_asked = !tribunal_checker::specifications()
        .iter()
        .any(|known| known.name == source.specification && known.consistency == model);
    let seen = sensitivity::property(&judgement, events);
    let mut properties = vec![consistent(model, Ok(judgement), &mut findings)];
    properties.extend(seen);
    let end_ns = events.last().map_or(0, Event::time_ns);
    let operations = tribunal_history::operation::pair(events).unwrap_or_default();
    let verdict = outcome(&properties, false);
    let headline = headline(verdict, &properties, &findings, || {
        format!(
            "{} {} on {}",
            counted(operations.len(), "operation"),
            model.adjective(),
            counted(partitions, "key")
        )
    });
    let config = |name: &str| source.manifest.and_then(|manifest| manifest.config.get(name).cloned());
    let clients = operations
        .iter()
        .map(|operation| operation.process)
        .max()
        .map_or(0, |process| process.0 as usize + 1);
    let nodes = operations
        .iter()
        .map(|operation| operation.node)
        .max()
        .map_or(0, |node| usize::from(node.0));
    let mut report = Report {
        run: RunSummary {
            name: source.history.display().to_string(),
            seed,
            workload: source.specification.to_owned(),
            system: source.manifest.map_or_else(
                || "a recorded history".to_owned(),
                |manifest| manifest.system_version.clone(),
            ),
            nodes,
            clients,
            defect: config("defect"),
            started: source.manifest.map(|manifest| manifest.started.clone()),
            duration_ns: end_ns,
            disk: None,
        },
        verdict: RunVerdict {
            outcome: verdict,
            exit_code: policy.code(verdict),
            headline,
        },
        properties,
        findings,
        operations: tribunal_reports::function_counts(&operations),
        faults: tribunal_reports::fault_summaries(events, end_ns),
        leaders: tribunal_reports::leader_spans(events, end_ns),
        not_tried: Vec::new(),
        commands: vec![format!(
            "tribunal check --spec {}{} {}",
            source.specification,
            if is_asked {
                format!(" --consistency {model}")
            } else {
                String::new()
            },
            shell_word(&source.history.display().to_string())
        )],
        files: Vec::new(),
    };
    super::write_report(&mut report, &dir, events).with_context(|| {
        format!(
            "the report of {} operations cannot be written",
            grouped(operations.len() as u64)
        )
    })?;
    Ok((report, dir.path().to_owned()))
}
