//! A run as JUnit (`junit.xml`): one suite, one case a property.
//!
//! A violation is a `failure` whose type is the class of the anomaly; what could not be decided, and what went
//! wrong with the tool, is an `error`; what was not exercised is `skipped`. A run that did not pass never looks
//! green: if no property says why, a case named `run` does.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use tribunal_history::report::RunOutcome;
use tribunal_history::{FaultKind, Finding, Outcome, Property, PropertyClass, Report};

use crate::{picture, words};

/// Characters shown of one text.
const TEXT_CHARS_MAX: usize = 10_000;

/// Operations listed of one finding.
const OPERATIONS_MAX: usize = 100;

/// The report could not be written as XML.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written as JUnit: {0}")]
pub struct JunitError(#[from] quick_junit::SerializeError);

/// The run as JUnit.
pub fn junit(report: &Report) -> Result<String, JunitError> {
    let mut suite = TestSuite::new(clean(&report.run.name));
    let time = Duration::from_nanos(report.run.duration_ns);
    suite.set_time(time);
    for (name, value) in suite_properties(report) {
        suite.add_property((name, clean(&value).as_str()));
    }
    let classname = format!("{}.{}", clean(&report.run.workload), nemesis(report));
    let mut told = false;
    for property in &report.properties {
        told |= !matches!(property.verdict, Outcome::Pass | Outcome::Vacuous);
        let mut case = TestCase::new(clean(&property.id), status(property, report));
        case.set_classname(&classname);
        suite.add_test_case(case);
    }
    if !told && report.verdict.outcome != RunOutcome::Pass {
        let mut status = TestCaseStatus::non_success(match report.verdict.outcome {
            RunOutcome::Violation | RunOutcome::InsufficientCoverage => NonSuccessKind::Failure,
            _ => NonSuccessKind::Error,
        });
        status
            .set_type(
                words::run_outcome(report.verdict.outcome)
                    .to_lowercase()
                    .replace(' ', "-"),
            )
            .set_message(clean(&report.verdict.headline));
        let mut case = TestCase::new("run", status);
        case.set_classname(&classname);
        suite.add_test_case(case);
    }
    let mut whole = quick_junit::Report::new("tribunal");
    whole.set_time(time);
    whole.add_test_suite(suite);
    Ok(whole.to_string()?)
}

fn suite_properties(report: &Report) -> Vec<(&'static str, String)> {
    let run = &report.run;
    let mut properties = vec![
        ("system", run.system.clone()),
        ("workload", run.workload.clone()),
        ("nodes", run.nodes.to_string()),
        ("clients", run.clients.to_string()),
        ("outcome", words::run_outcome(report.verdict.outcome).to_lowercase()),
        ("exit-code", report.verdict.exit_code.to_string()),
        ("headline", report.verdict.headline.clone()),
    ];
    properties.extend(run.seed.map(|seed| ("seed", seed.to_string())));
    properties.extend(run.started.clone().map(|started| ("started", started)));
    properties.extend(run.defect.clone().map(|defect| ("defect", defect)));
    properties.extend(run.disk.clone().map(|disk| ("disk", disk)));
    properties
}

/// The groups of faults of the run: `kill-partition`, or `none`.
fn nemesis(report: &Report) -> String {
    let mut groups: Vec<&str> = report.faults.iter().map(|fault| fault.kind.group()).collect();
    groups.sort_unstable_by_key(|group| FaultKind::ALL.iter().position(|kind| kind.group() == *group));
    groups.dedup();
    if groups.is_empty() {
        return "none".to_owned();
    }
    groups.join("-")
}

fn status(property: &Property, report: &Report) -> TestCaseStatus {
    let detail = clean(&property.detail);
    let (kind, of_type) = match property.verdict {
        Outcome::Pass => return TestCaseStatus::success(),
        Outcome::Vacuous => {
            let mut status = TestCaseStatus::skipped();
            status.set_type("not-exercised").set_message(detail);
            return status;
        }
        Outcome::Fail if property.class == PropertyClass::Harness => (NonSuccessKind::Error, "harness"),
        Outcome::Fail => (NonSuccessKind::Failure, words::property_class(property.class)),
        Outcome::Unknown => (NonSuccessKind::Error, "inconclusive"),
        Outcome::Error => (NonSuccessKind::Error, "harness"),
    };
    let mut status = TestCaseStatus::non_success(kind);
    let findings: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|finding| finding.property == property.id)
        .collect();
    let Some(first) = findings.first().filter(|_| property.verdict == Outcome::Fail) else {
        status.set_type(of_type).set_message(detail);
        return status;
    };
    let mut text = format!("{detail}\n");
    for finding in &findings {
        describe(&mut text, finding);
    }
    if !report.commands.is_empty() {
        text.push_str("\nRun it again:\n");
        for command in &report.commands {
            let _ = writeln!(text, "  {}", clean(command));
        }
    }
    status
        .set_type(first.class.name())
        .set_message(clean(&first.sentence))
        .set_description(words::clip(&text, TEXT_CHARS_MAX * 5));
    status
}

fn describe(text: &mut String, finding: &Finding) {
    let _ = write!(text, "\n{}\n", clean(&finding.sentence));
    if !finding.context.is_empty() {
        let _ = writeln!(text, "{}", clean(&finding.context));
    }
    if let Some(drawn) = &finding.picture {
        let _ = writeln!(text, "{}:", clean(&picture::caption(drawn)));
        for member in drawn.members.iter().take(picture::MEMBERS_MAX) {
            let _ = writeln!(text, "  {}", clean(&picture::row(member).join(" | ")));
        }
    }
    for (place, operation) in finding.operations.iter().enumerate().take(OPERATIONS_MAX) {
        let order = finding
            .longest_legal
            .iter()
            .position(|placed| placed.operation == place);
        let blocked = finding.blocked.iter().find(|blocked| blocked.operation == place);
        let sign = match (blocked, order) {
            (Some(_), _) => "✗".to_owned(),
            (None, Some(order)) => (order + 1).to_string(),
            (None, None) => "-".to_owned(),
        };
        let to = operation.completed_ns.map_or("no reply".to_owned(), words::moment);
        let _ = writeln!(
            text,
            "  {sign} client {} on {}: {} ({}, {} to {to})",
            operation.process,
            operation.node,
            clean(&operation.label),
            words::ending(operation.ending),
            words::moment(operation.invoked_ns),
        );
        if let Some(blocked) = blocked {
            let _ = writeln!(text, "    {}", clean(&blocked.why));
        }
    }
    if let Some(more) = words::left_out(finding.operations.len(), OPERATIONS_MAX) {
        let _ = writeln!(text, "  {more}");
    }
}

fn clean(text: &str) -> String {
    words::clip(&words::visible(text), TEXT_CHARS_MAX)
}
