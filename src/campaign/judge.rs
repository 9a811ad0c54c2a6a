//! What a run showed: each property with what was counted, and the verdict over all of them.

use std::path::Path;
use std::time::Duration;

use tribunal_checker::quorum::Judged;
use tribunal_checker::{Consistency, JudgeError, Judgement};
use tribunal_history::report::{FunctionCounts, RunOutcome, RunSummary, RunVerdict};
use tribunal_history::{Event, FaultKind, Finding, Outcome, Property, PropertyClass, Report, Schedule, Select, Step};
use tribunal_nemesis::Coverage;
use tribunal_workload::{NodeProgress, NodeReads, progress_property};

use super::evidence::Snapshots;
use super::outcome::{ExitPolicy, outcome};
use super::plan::{Plan, shell_word};
use super::sensitivity;
use crate::world::simulation::Audited;

/// What the runner saw beside the history.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Whether the cluster was up at all.
    pub started: bool,
    /// What the liveness phase found, node by node; none if the run did not get there.
    pub progress: Option<Vec<NodeProgress>>,
    /// What was read at the end, node by node; none if the run did not get there.
    pub final_reads: Option<Vec<NodeReads>>,
    /// Longest time that the tool itself was not scheduled.
    pub stall_max: Duration,
    /// Nodes that stopped by themselves, for people.
    pub unexpected_exits: Vec<String>,
    /// What the simulator found wrong with the code that ran in it; none in other worlds.
    pub faulty_code: Option<Vec<FaultyCode>>,
    /// What the auditor of a simulation came to; none in other worlds.
    pub audited: Option<Audited>,
    /// How the nodes kept their logs short, where that is a part of the run.
    pub snapshots: Option<Snapshots>,
    /// What went wrong with the tool or with starting the system, for people.
    pub harness_errors: Vec<String>,
    /// Whether somebody interrupted it.
    pub interrupted: bool,
}

/// A task of the system under test panicked, or acted after its death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultyCode {
    /// What, when and where, in one line.
    pub title: String,
    /// The stack of a panic.
    pub backtrace: Option<String>,
}

/// What is known of a history.
pub struct Told<'a> {
    /// Its events: all of them, or those that are no part of operations.
    pub events: &'a [Event],
    /// Whether that is all of them.
    pub is_whole: bool,
    /// Its operations by function.
    pub counts: Vec<FunctionCounts>,
    /// What the checker came to.
    pub judgement: Result<Judgement, JudgeError>,
}

impl<'a> Told<'a> {
    /// Judges a history that is held.
    pub fn whole(plan: &Plan, events: &'a [Event]) -> Self {
        let judgement = tribunal_checker::judge(plan.workload.specification(), events, &plan.check);
        let operations = tribunal_history::operation::pair(events).unwrap_or_default();
        Self {
            events,
            is_whole: true,
            counts: tribunal_reports::function_counts(&operations),
            judgement,
        }
    }
}

/// Puts everything together.
pub fn report(
    plan: &Plan,
    dir: &Path,
    schedule: &Schedule,
    told: Told<'_>,
    seen: &Observed,
    policy: &ExitPolicy,
) -> Report {
    let Told {
        events,
        is_whole,
        counts,
        judgement,
    } = told;
    let end_ns = events.last().map_or(0, Event::time_ns);
    let leaders = tribunal_reports::leader_spans(events, end_ns);
    let faults = tribunal_reports::fault_summaries(events, end_ns);
    let ok: u64 = counts.iter().map(|count| count.ok).sum();

    let mut findings = Vec::new();
    let asked = plan.check.consistency;
    let model = asked.unwrap_or_else(|| strongest(plan.workload.specification()));
    // A simulated run's report depends on its plan alone, and on no clock.
    let shown = judgement
        .as_ref()
        .ok()
        .filter(|_| !plan.defendant.is_simulated() && is_whole);
    let shown = shown.and_then(|judgement| sensitivity::property(judgement, events));
    let mut properties = vec![consistent(model, judgement, &mut findings)];
    if let Some(audited) = &seen.audited {
        properties.extend(audited.judged.iter().map(promise));
        findings.extend(audited.findings.iter().cloned());
        findings.sort_by_key(|finding| finding.time_ns);
    }
    properties.push(progress(plan, seen));
    properties.push(no_crash(seen));
    properties.extend(seen.faulty_code.as_deref().map(no_panic));
    properties.push(final_reads(seen));
    let coverage = Coverage::of(schedule, events);
    properties.push(coverage.property());
    properties.extend(seen.snapshots.map(Snapshots::property));
    properties.push(leader_change(plan, schedule, leaders.len()));
    properties.push(enough_operations(plan, ok));
    properties.extend(shown);
    properties.push(harness(seen));

    let verdict = outcome(&properties, seen.interrupted);
    properties.sort_by_key(|property| severity(property.verdict));
    let total: u64 = counts.iter().map(|count| count.total()).sum();
    let effective = faults.iter().filter(|fault| fault.effective).count();
    let changes = leaders.len().saturating_sub(1);
    let headline = headline(verdict, &properties, &findings, || {
        format!(
            "{} operations {} on {} keys, under {} and {}",
            grouped(total),
            model.adjective(),
            plan.keys,
            counted(effective, "fault"),
            counted(changes, "leader change")
        )
    });
    let (name, commands) = naming(plan, dir);
    Report {
        run: RunSummary {
            name,
            seed: Some(plan.seed),
            workload: plan.workload.to_string(),
            system: plan.defendant.title(),
            nodes: usize::from(plan.nodes),
            clients: plan.clients as usize,
            defect: plan.config.get("defect").cloned(),
            started: (!plan.defendant.is_simulated()).then(|| plan.started.clone()),
            duration_ns: end_ns,
            disk: Some(plan.defendant.disk().to_owned()),
        },
        verdict: RunVerdict {
            outcome: verdict,
            exit_code: policy.code(verdict),
            headline,
        },
        properties,
        findings,
        operations: counts,
        faults,
        leaders,
        not_tried: coverage.not_tried,
        commands,
        files: Vec::new(),
    }
}

/// What a run is called, and the commands that repeat it. What a simulated run writes depends on nothing but its plan:
/// neither on where it is written nor when. One whose plan is more than a seed can only be found by its directory.
fn naming(plan: &Plan, dir: &Path) -> (String, Vec<String>) {
    let word = shell_word(&dir.display().to_string());
    match plan.simulated() {
        Some(simulated) if simulated.is_drawn => (format!("seed {}", plan.seed), vec![plan.command()]),
        Some(_) => {
            let commands = ["replay", "check"].map(|verb| format!("tribunal {verb} {word}"));
            (format!("seed {}, in part", plan.seed), commands.into())
        }
        None => {
            let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
            let commands = vec![
                format!("tribunal run --from {word} --repeat 10"),
                format!("tribunal check {word}"),
                plan.command(),
            ];
            (name.unwrap_or_default(), commands)
        }
    }
}

/// The model that a specification is judged by if no other is asked for.
pub fn strongest(specification: &str) -> Consistency {
    tribunal_checker::specifications()
        .iter()
        .find(|known| known.name == specification)
        .map_or(Consistency::Linearizable, |known| known.consistency)
}

/// The property of the checker, and its findings. A history that could not be judged was to be judged by `model`.
pub fn consistent(
    model: Consistency,
    judgement: Result<Judgement, JudgeError>,
    findings: &mut Vec<Finding>,
) -> Property {
    let (model, verdict, detail) = match judgement {
        Ok(judgement) => {
            findings.extend(judgement.findings);
            (judgement.consistency, judgement.outcome, judgement.detail)
        }
        Err(error) => (
            model,
            Outcome::Error,
            format!("the history could not be judged: {error}"),
        ),
    };
    property(model.name(), model.title(), PropertyClass::Safety, verdict, detail)
}

/// A promise of the protocol as a property.
fn promise(judged: &Judged) -> Property {
    let times = counted(usize::try_from(judged.judged).unwrap_or(usize::MAX), "time");
    let detail = match judged.outcome {
        Outcome::Vacuous => "nothing happened that it is about".to_owned(),
        Outcome::Fail => format!("broken {} of {times}; the first is a finding", grouped(judged.broken)),
        _ => format!("judged {times}, against the durable bytes of the disks at each step"),
    };
    let title = format!("Protocol: {}", judged.title);
    property(judged.id, &title, PropertyClass::Safety, judged.outcome, detail)
}

fn progress(plan: &Plan, seen: &Observed) -> Property {
    let mut property = progress_property(seen.progress.as_deref().unwrap_or_default(), plan.liveness_bound);
    if seen.progress.is_none() {
        property.detail = "the run ended before its liveness phase".to_owned();
    }
    property
}

/// Each key through each node at the end: what the checker needs to see a write that was lost late.
fn final_reads(seen: &Observed) -> Property {
    let reads = seen.final_reads.as_deref().unwrap_or_default();
    let read: usize = reads.iter().map(|node| node.read.len()).sum();
    let unread: Vec<String> = reads
        .iter()
        .filter(|node| !node.unread.is_empty())
        .map(|node| format!("{} of {}", counted(node.unread.len(), "key"), node.node))
        .collect();
    let (verdict, detail) = if reads.is_empty() {
        (Outcome::Vacuous, "the run ended before its final reads".to_owned())
    } else if read == 0 && unread.is_empty() {
        (Outcome::Vacuous, "no key was used, so none was read".to_owned())
    } else if unread.is_empty() {
        (
            Outcome::Pass,
            format!("{} through {}", counted(read, "read"), counted(reads.len(), "node")),
        )
    } else {
        (
            Outcome::Fail,
            format!("not read within the bound: {}", unread.join(", ")),
        )
    };
    property(
        "final-reads",
        "Each key was read through each node at the end",
        PropertyClass::Coverage,
        verdict,
        detail,
    )
}

fn no_crash(seen: &Observed) -> Property {
    let exits = seen.unexpected_exits.join("; ");
    let (verdict, detail) = if !seen.started {
        (Outcome::Vacuous, "the cluster was never up".to_owned())
    } else if exits.is_empty() {
        (Outcome::Pass, "every exit of a node was ours".to_owned())
    } else if !seen.harness_errors.is_empty() {
        // A full disk of this machine, for instance, is felt by tool and nodes alike.
        (
            Outcome::Unknown,
            format!("{exits}; but the tool was in trouble too, so this proves nothing"),
        )
    } else {
        (Outcome::Fail, exits)
    };
    property(
        "no-crash",
        "No node stops by itself",
        PropertyClass::Safety,
        verdict,
        detail,
    )
}

/// A panic is a finding about the store whatever became of its node; so is a task that outlives it, which no real
/// process has.
fn no_panic(found: &[FaultyCode]) -> Property {
    let (verdict, detail) = match found {
        [] => (Outcome::Pass, "none did".to_owned()),
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!("; and {} more", grouped(more as u64)),
            };
            (
                Outcome::Fail,
                format!("{}{more}; the stacks are in panics.txt", first.title),
            )
        }
    };
    property(
        "no-panic",
        "No task of the store panics",
        PropertyClass::Safety,
        verdict,
        detail,
    )
}

/// Elections were tested: demanded where a fault was long enough to depose a leader. A leader that only hears
/// nothing may go on leading, since its followers still hear it.
fn leader_change(plan: &Plan, schedule: &Schedule, leaders: usize) -> Property {
    let changes = leaders.saturating_sub(1);
    let deposing = |step: &Step| {
        let aimed = !matches!(step.fault.select(), Select::Nodes { .. });
        let long = Duration::from_millis(step.duration_ms) > plan.election * 4;
        let deposes = matches!(
            step.fault.kind(),
            FaultKind::Kill | FaultKind::Crash | FaultKind::Pause | FaultKind::Isolate | FaultKind::IsolateOutbound
        );
        aimed && long && deposes && plan.nodes > 1
    };
    let (verdict, detail) = match changes {
        0 if !schedule.steps.iter().any(deposing) => (
            Outcome::Vacuous,
            "no fault was long enough and aimed at the leader".to_owned(),
        ),
        0 => (
            Outcome::Fail,
            "no leader ever changed, so elections were not tested".to_owned(),
        ),
        changes => (Outcome::Pass, format!("{} seen", counted(changes, "change"))),
    };
    property(
        "leader-change",
        "Leadership changed",
        PropertyClass::Coverage,
        verdict,
        detail,
    )
}

fn enough_operations(plan: &Plan, ok: u64) -> Property {
    let verdict = if ok >= plan.ok_min {
        Outcome::Pass
    } else {
        Outcome::Fail
    };
    let detail = format!(
        "{} operations ended ok; at least {} make a test of this length",
        grouped(ok),
        grouped(plan.ok_min)
    );
    property(
        "enough-operations",
        "Enough operations",
        PropertyClass::Coverage,
        verdict,
        detail,
    )
}

fn harness(seen: &Observed) -> Property {
    let (verdict, detail) = if seen.harness_errors.is_empty() {
        (
            Outcome::Pass,
            format!(
                "longest time without being scheduled: {} ms",
                seen.stall_max.as_millis()
            ),
        )
    } else {
        (Outcome::Error, seen.harness_errors.join("; "))
    };
    property("harness", "The tool itself", PropertyClass::Harness, verdict, detail)
}

fn property(id: &str, title: &str, class: PropertyClass, verdict: Outcome, detail: String) -> Property {
    Property {
        id: id.to_owned(),
        title: title.to_owned(),
        class,
        verdict,
        detail,
    }
}

fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Fail => 0,
        Outcome::Error => 1,
        Outcome::Unknown => 2,
        Outcome::Vacuous => 3,
        Outcome::Pass => 4,
    }
}

/// One line that says what failed, or what was shown.
pub fn headline(
    outcome: RunOutcome,
    properties: &[Property],
    findings: &[Finding],
    shown: impl FnOnce() -> String,
) -> String {
    let first = |wanted: &dyn Fn(&Property) -> bool| properties.iter().find(|property| wanted(property));
    match outcome {
        RunOutcome::Pass => shown(),
        RunOutcome::Violation => match findings.first() {
            Some(finding) => {
                let key = finding
                    .key
                    .as_ref()
                    .map_or_else(String::new, |key| format!("key {key}: "));
                let model = Consistency::named(&finding.property);
                let what = model.map_or_else(|| finding.property.clone(), Consistency::violated);
                format!("{what} · {key}{}", finding.class.title())
            }
            None => first(&|property| property.verdict == Outcome::Fail).map_or_else(String::new, |property| {
                format!("{}: {}", property.title, property.detail)
            }),
        },
        RunOutcome::Inconclusive => first(&|property| property.verdict == Outcome::Unknown)
            .map_or_else(String::new, |property| format!("inconclusive · {}", property.detail)),
        RunOutcome::InsufficientCoverage => {
            first(&|property| property.verdict == Outcome::Fail && property.class == PropertyClass::Coverage)
                .map_or_else(String::new, |property| {
                    format!("not enough was tested · {}", property.detail)
                })
        }
        RunOutcome::HarnessError => first(&|property| property.verdict == Outcome::Error)
            .map_or_else(String::new, |property| property.detail.clone()),
        RunOutcome::Interrupted => "interrupted; no violation in what was recorded".to_owned(),
    }
}

/// `1 fault`, `2 faults`.
pub fn counted(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{} {noun}s", grouped(number as u64))
    }
}

/// A number with a comma before each three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tribunal_history::NodeId;
    use tribunal_workload::Counts;

    use super::*;

    #[test]
    fn final_reads_of_nothing_show_nothing() {
        let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let verdict = |read: &[&str], unread: &[&str]| {
            let reads = NodeReads {
                node: NodeId(1),
                read: keys(read),
                unread: keys(unread),
                counts: Counts::default(),
            };
            final_reads(&Observed {
                final_reads: Some(vec![reads]),
                ..Observed::default()
            })
            .verdict
        };
        assert_eq!(verdict(&["k0"], &[]), Outcome::Pass);
        assert_eq!(verdict(&["k0"], &["k1"]), Outcome::Fail);
        assert_eq!(verdict(&[], &[]), Outcome::Vacuous, "no key was ever used");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([counted(1, "fault"), counted(0, "fault")], ["1 fault", "0 faults"]);
    }
}
