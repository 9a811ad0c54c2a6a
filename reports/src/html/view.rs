//! The words of the page: a report said so that a person understands it.

use minijinja::Value as Page;
use serde::Serialize;
use tribunal_history::report::{FaultSummary, FunctionCounts, RunOutcome};
use tribunal_history::{Event, FaultKind, Finding, Outcome, Picture, Property, Report};

use crate::svg::{strip, timeline};
use crate::{picture, words};

/// Findings that are drawn; further ones are told in a sentence.
const FINDINGS_DRAWN_MAX: usize = 20;

/// Findings that are told.
const FINDINGS_MAX: usize = 200;

/// Rows of a table.
const ROWS_MAX: usize = 400;

/// Characters of one text.
const TEXT_CHARS_MAX: usize = 4_000;

/// All that the template needs.
#[derive(Serialize)]
pub struct View {
    title: String,
    /// Class of the banner: pass, violation or doubt.
    tone: &'static str,
    outcome: &'static str,
    headline: String,
    chips: Vec<Chip>,
    /// Heading and lines in place of findings.
    explained: Option<Explained>,
    findings: Vec<FindingView>,
    findings_more: usize,
    strip: strip::Strip,
    properties: Vec<PropertyView>,
    operations: Vec<FunctionView>,
    faults: Vec<FaultView>,
    faults_more: usize,
    not_tried: Vec<&'static str>,
    commands: Vec<String>,
    files: Vec<String>,
    started: Option<String>,
    name: String,
}

#[derive(Serialize)]
struct Chip {
    text: String,
    /// What it is, for those who point at it.
    title: &'static str,
}

#[derive(Serialize)]
struct Explained {
    heading: &'static str,
    /// Whether the table of all properties is the explanation.
    everything: bool,
    lines: Vec<PropertyView>,
}

#[derive(Serialize)]
struct FindingView {
    heading: String,
    sentence: String,
    context: String,
    drawing: Option<Page>,
    table: Option<TableView>,
    footnote: String,
}

/// Who had what.
#[derive(Serialize)]
struct TableView {
    caption: String,
    heads: Vec<&'static str>,
    rows: Vec<RowView>,
}

#[derive(Serialize)]
struct RowView {
    cells: Vec<String>,
    tone: &'static str,
}

#[derive(Clone, Serialize)]
struct PropertyView {
    title: String,
    class: &'static str,
    verdict: &'static str,
    tone: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct FunctionView {
    function: String,
    ok: String,
    fail: String,
    info: String,
    latency: Option<[String; 3]>,
}

#[derive(Serialize)]
struct FaultView {
    name: String,
    group: &'static str,
    from: String,
    to: String,
    effective: bool,
    detail: String,
    ok_meanwhile: String,
}

/// The view of a report.
pub fn view(report: &Report, events: &[Event]) -> View {
    let outcome = words::run_outcome(report.verdict.outcome);
    let headline = words::clip(&clean(&report.verdict.headline), 160);
    View {
        title: format!(
            "{outcome} · {} · {}",
            clean(&report.run.name),
            clean(&report.run.system)
        ),
        tone: match report.verdict.outcome {
            RunOutcome::Pass => "pass",
            RunOutcome::Violation => "violation",
            RunOutcome::Inconclusive
            | RunOutcome::InsufficientCoverage
            | RunOutcome::HarnessError
            | RunOutcome::Interrupted => "doubt",
        },
        outcome,
        headline,
        chips: chips(report),
        explained: report.findings.is_empty().then(|| explained(report)),
        findings: report
            .findings
            .iter()
            .take(FINDINGS_MAX)
            .enumerate()
            .map(|(place, one)| finding(place, one, report))
            .collect(),
        findings_more: report.findings.len().saturating_sub(FINDINGS_MAX),
        strip: strip::draw(report, events),
        properties: report.properties.iter().take(ROWS_MAX).map(property).collect(),
        operations: report.operations.iter().take(ROWS_MAX).map(function).collect(),
        faults: report.faults.iter().take(ROWS_MAX).map(fault).collect(),
        faults_more: report.faults.len().saturating_sub(ROWS_MAX),
        not_tried: report.not_tried.iter().map(|kind| kind.name()).collect(),
        commands: report.commands.iter().map(|command| clean(command)).collect(),
        files: report.files.iter().take(ROWS_MAX).map(|file| clean(file)).collect(),
        started: report.run.started.as_deref().map(clean),
        name: clean(&report.run.name),
    }
}

fn chips(report: &Report) -> Vec<Chip> {
    let run = &report.run;
    let mut chips = Vec::new();
    let mut add = |title, text: String| {
        chips.push(Chip {
            text: words::clip(&clean(&text), 120),
            title,
        });
    };
    let some = |number: usize, thing| (number > 0).then(|| words::things(number as u64, thing));
    let length = (run.duration_ns > 0).then(|| words::duration(run.duration_ns));
    add(
        "system under test",
        joined([Some(run.system.clone()), some(run.nodes, "node"), None]),
    );
    add(
        "workload",
        joined([Some(run.workload.clone()), some(run.clients, "client"), length]),
    );
    let kinds: Vec<&str> = FaultKind::ALL
        .into_iter()
        .filter(|kind| report.faults.iter().any(|fault| fault.kind == *kind))
        .map(FaultKind::name)
        .collect();
    add(
        "faults of this run",
        match report.faults.len() {
            0 => "no faults".to_owned(),
            n => format!("{}: {}", words::things(n as u64, "fault"), kinds.join(", ")),
        },
    );
    if let Some(seed) = run.seed {
        add("everything random comes from it", format!("seed {seed}"));
    }
    let total = report.operations.iter().map(FunctionCounts::total).sum();
    add("operations recorded", words::things(total, "operation"));
    let judged = report
        .properties
        .iter()
        .filter(|property| matches!(property.verdict, Outcome::Pass | Outcome::Fail))
        .count();
    if !report.properties.is_empty() {
        add(
            "how many properties could be decided",
            format!("{judged} of {} properties decided", report.properties.len()),
        );
    }
    if report.findings.len() > 1 {
        add(
            "violations found",
            words::things(report.findings.len() as u64, "finding"),
        );
    }
    if let Some(defect) = &run.defect {
        add(
            "a bug that was put there to be found",
            format!("planted defect {defect}"),
        );
    }
    if let Some(disk) = &run.disk {
        add("which image of the disks was judged", format!("disk {disk}"));
    }
    chips
}

fn joined(parts: [Option<String>; 3]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// Without a finding: what the run showed, or what stood in the way.
fn explained(report: &Report) -> Explained {
    let heading = match report.verdict.outcome {
        RunOutcome::Pass => "What was shown",
        RunOutcome::Violation => "What went wrong",
        _ => "Why this is no pass",
    };
    let doubtful = |property: &&Property| !matches!(property.verdict, Outcome::Pass | Outcome::Vacuous);
    let lines: Vec<PropertyView> = report.properties.iter().filter(doubtful).map(property).collect();
    Explained {
        heading,
        everything: report.verdict.outcome == RunOutcome::Pass && lines.is_empty(),
        lines,
    }
}

fn finding(place: usize, finding: &Finding, report: &Report) -> FindingView {
    let n = place + 1;
    let on = finding
        .key
        .as_ref()
        .map_or_else(String::new, |key| format!(" on {}", words::clip(key, 60)));
    FindingView {
        heading: clean(&format!("{n} · {}{on}", finding.class.title())),
        sentence: clean(&finding.sentence),
        context: clean(&finding.context),
        drawing: (place < FINDINGS_DRAWN_MAX && !finding.operations.is_empty()).then(|| {
            let name = format!("finding-{n}");
            Page::from_safe_string(timeline::inline(&name, finding, &report.faults))
        }),
        table: finding.picture.as_ref().map(table),
        footnote: footnote(finding),
    }
}

fn table(drawn: &Picture) -> TableView {
    let rows = drawn.members.iter().take(picture::MEMBERS_MAX).map(|member| RowView {
        cells: picture::row(member).iter().map(|cell| clean(cell)).collect(),
        tone: picture::tone(member.holds),
    });
    TableView {
        caption: clean(&picture::caption(drawn)),
        heads: picture::HEADS.to_vec(),
        rows: rows.collect(),
    }
}

fn footnote(finding: &Finding) -> String {
    if finding.operations.is_empty() {
        return format!("Seen at {}, at the step that broke it.", words::moment(finding.time_ns));
    }
    let on = finding
        .key
        .as_ref()
        .map_or_else(String::new, |key| format!(" on {}", words::clip(key, 60)));
    let minimised = &finding.minimised;
    let proved = if minimised.proved_again {
        "; proved again by another search"
    } else {
        "; not proved again by another search"
    };
    let dashed = if finding
        .operations
        .iter()
        .any(|operation| operation.ending == tribunal_history::Ending::Info)
    {
        " Dashed: nobody knows whether it took effect."
    } else {
        ""
    };
    clean(&format!(
        "Smallest explanation: {} of {}{on}{proved}. Numbers: the longest legal order. ✗: fits nowhere after it.{dashed}",
        words::count(minimised.to as u64),
        words::things(minimised.from as u64, "operation"),
    ))
}

fn property(property: &Property) -> PropertyView {
    PropertyView {
        title: clean(&property.title),
        class: words::property_class(property.class),
        verdict: words::outcome(property.verdict),
        tone: match property.verdict {
            Outcome::Pass => "good",
            Outcome::Fail => "bad",
            Outcome::Unknown | Outcome::Error => "unsure",
            Outcome::Vacuous => "none",
        },
        detail: clean(&property.detail),
    }
}

fn function(counts: &FunctionCounts) -> FunctionView {
    FunctionView {
        function: clean(&counts.function),
        ok: words::count(counts.ok),
        fail: words::count(counts.fail),
        info: words::count(counts.info),
        latency: counts
            .latency_us
            .map(|latency| latency.map(|us| words::duration(us.saturating_mul(1_000)))),
    }
}

fn fault(fault: &FaultSummary) -> FaultView {
    FaultView {
        name: words::fault(fault),
        group: fault.kind.group(),
        from: words::moment(fault.start_ns),
        to: fault.stop_ns.map_or("end of the run".to_owned(), words::moment),
        effective: fault.effective,
        detail: clean(&fault.detail),
        ok_meanwhile: words::count(fault.ok_meanwhile),
    }
}

/// Text from outside, bounded and with nothing hidden in it. The template escapes it.
fn clean(text: &str) -> String {
    words::visible(&words::clip(text, TEXT_CHARS_MAX))
}
