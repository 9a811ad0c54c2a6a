//! A run in Markdown (`summary.md`), made for the step summary of a CI service.
//!
//! It stays under [`SUMMARY_BYTES_MAX`], with what matters most first: what does not fit is left out block by
//! block, and the summary says so. Text from a system under test is escaped, so that it can neither mark up nor
//! mention anybody.

use std::fmt::Write as _;

use tribunal_history::report::{FaultSummary, FunctionCounts, RunOutcome, RunSummary};
use tribunal_history::{Finding, Outcome, Property, Report};

use crate::{picture, words};

/// A summary is shorter than this. GitHub shows a step's summary up to 1 MiB, and 64 kB of it are still read.
pub const SUMMARY_BYTES_MAX: usize = 64_000;

/// Rows shown of a table.
const ROWS_MAX: usize = 50;

/// Findings told in full.
const FINDINGS_MAX: usize = 10;

/// Characters shown of one text.
const TEXT_CHARS_MAX: usize = 2_000;

/// The run in Markdown.
pub fn summary(report: &Report) -> String {
    let mut blocks = vec![heading(report), run(&report.run, report)];
    blocks.extend(
        report
            .findings
            .iter()
            .take(FINDINGS_MAX)
            .enumerate()
            .map(|(place, one)| finding(place, one)),
    );
    blocks.extend(words::left_out(report.findings.len(), FINDINGS_MAX).map(|more| format!("{more} in report.html\n")));
    blocks.push(properties(&report.properties));
    blocks.push(operations(&report.operations));
    blocks.push(faults(report));
    blocks.push(commands(&report.commands));
    join(blocks.into_iter().filter(|block| !block.is_empty()))
}

/// Puts the blocks together as long as they fit.
fn join(blocks: impl Iterator<Item = String>) -> String {
    const LEFT_OUT: &str = "*What did not fit here is in report.html.*\n";
    let mut text = String::new();
    let mut left_out = false;
    for block in blocks {
        if text.len() + block.len() + 1 + LEFT_OUT.len() >= SUMMARY_BYTES_MAX {
            left_out = true;
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&block);
    }
    if left_out {
        text.push('\n');
        text.push_str(LEFT_OUT);
    }
    text
}

fn heading(report: &Report) -> String {
    let sign = match report.verdict.outcome {
        RunOutcome::Pass => "✅",
        RunOutcome::Violation => "❌",
        RunOutcome::Inconclusive
        | RunOutcome::InsufficientCoverage
        | RunOutcome::HarnessError
        | RunOutcome::Interrupted => "⚠️",
    };
    format!(
        "## {sign} {}: {}\n",
        words::run_outcome(report.verdict.outcome),
        escape(&report.verdict.headline)
    )
}

fn run(run: &RunSummary, report: &Report) -> String {
    let mut parts = vec![
        format!("{}, {}", escape(&run.system), words::things(run.nodes as u64, "node")),
        format!(
            "workload {}, {}",
            escape(&run.workload),
            words::things(run.clients as u64, "client")
        ),
        words::duration(run.duration_ns),
        words::things(report.operations.iter().map(FunctionCounts::total).sum(), "operation"),
    ];
    parts.extend(run.seed.map(|seed| format!("seed {seed}")));
    parts.extend(
        run.defect
            .as_ref()
            .map(|defect| format!("planted defect {}", escape(defect))),
    );
    parts.extend(run.disk.as_ref().map(|disk| format!("disk {}", escape(disk))));
    parts.join(" · ") + "\n"
}

fn finding(place: usize, finding: &Finding) -> String {
    let mut text = format!("### {}. {}", place + 1, capitalised(finding.class.title()));
    if let Some(key) = &finding.key {
        let _ = write!(text, " on {}", escape(key));
    }
    let _ = write!(text, "\n\n{}\n", escape(&finding.sentence));
    if !finding.context.is_empty() {
        let _ = write!(text, "\n{}\n", escape(&finding.context));
    }
    if let Some(drawn) = &finding.picture {
        let _ = write!(
            text,
            "\n{}\n\n| {} |\n|",
            escape(&picture::caption(drawn)),
            picture::HEADS.join(" | ")
        );
        text.push_str(&"---|".repeat(picture::HEADS.len()));
        text.push('\n');
        for member in drawn.members.iter().take(picture::MEMBERS_MAX) {
            let cells = picture::row(member).map(|cell| escape(&cell).to_string());
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    if finding.operations.is_empty() {
        return text;
    }
    text.push_str("\n| | operation | client | node | from | to | |\n|---|---|---|---|---|---|---|\n");
    for (operation, drawn) in finding.operations.iter().enumerate().take(ROWS_MAX) {
        let order = finding
            .longest_legal
            .iter()
            .position(|placed| placed.operation == operation);
        let blocked = finding.blocked.iter().find(|blocked| blocked.operation == operation);
        let (sign, remark) = match (order, blocked) {
            (_, Some(blocked)) => ("✗".to_owned(), escape(&blocked.why)),
            (Some(order), None) => (
                (order + 1).to_string(),
                format!("then {}", escape(&finding.longest_legal[order].state.to_string())),
            ),
            (None, None) => (String::new(), words::ending(drawn.ending).to_owned()),
        };
        let to = drawn.completed_ns.map_or("no reply".to_owned(), words::moment);
        let _ = writeln!(
            text,
            "| {sign} | {} | {} | {} | {} | {to} | {remark} |",
            escape(&drawn.label),
            drawn.process,
            drawn.node,
            words::moment(drawn.invoked_ns),
        );
    }
    more_rows(&mut text, finding.operations.len());
    text
}

fn properties(properties: &[Property]) -> String {
    if properties.is_empty() {
        return String::new();
    }
    let mut text = "### Properties\n\n| property | verdict | what was counted |\n|---|---|---|\n".to_owned();
    for property in properties.iter().take(ROWS_MAX) {
        let verdict = words::outcome(property.verdict);
        let verdict = match property.verdict {
            Outcome::Pass | Outcome::Vacuous => verdict.to_owned(),
            Outcome::Fail | Outcome::Unknown | Outcome::Error => format!("**{verdict}**"),
        };
        let _ = writeln!(
            text,
            "| {} | {verdict} | {} |",
            escape(&property.title),
            escape(&property.detail)
        );
    }
    more_rows(&mut text, properties.len());
    text
}

fn operations(counts: &[FunctionCounts]) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let mut text = "### Operations\n\n| function | ok | failed | indeterminate | median | 99 % | max |\n\
         |---|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for one in counts.iter().take(ROWS_MAX) {
        let latency = match one.latency_us {
            Some(latency) => latency.map(|us| words::duration(us.saturating_mul(1_000))).join(" | "),
            None => "– | – | –".to_owned(),
        };
        let [ok, fail, info] = [one.ok, one.fail, one.info].map(words::count);
        let _ = writeln!(
            text,
            "| {} | {ok} | {fail} | {info} | {latency} |",
            escape(&one.function)
        );
    }
    more_rows(&mut text, counts.len());
    text
}

fn faults(report: &Report) -> String {
    let mut text = String::new();
    if !report.faults.is_empty() {
        text.push_str("### Faults\n\n| fault | from | to | effect | ok meanwhile |\n|---|---|---|---|--:|\n");
        for fault in report.faults.iter().take(ROWS_MAX) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {}: {} | {} |",
                escape(&words::fault(fault)),
                words::moment(fault.start_ns),
                end(fault),
                if fault.effective { "proved" } else { "**not proved**" },
                escape(&fault.detail),
                words::count(fault.ok_meanwhile),
            );
        }
        more_rows(&mut text, report.faults.len());
    }
    if !report.not_tried.is_empty() {
        let kinds: Vec<&str> = report.not_tried.iter().map(|kind| kind.name()).collect();
        let _ = writeln!(text, "\nNot tried in the time given: {}.", kinds.join(", "));
    }
    text
}

fn end(fault: &FaultSummary) -> String {
    fault.stop_ns.map_or("end of the run".to_owned(), words::moment)
}

fn commands(commands: &[String]) -> String {
    if commands.is_empty() {
        return String::new();
    }
    let text: Vec<String> = commands
        .iter()
        .map(|command| words::clip(&words::visible(command), TEXT_CHARS_MAX))
        .collect();
    let text = text.join("\n");
    // A fence ends at a row of backticks as long as its own.
    let fence = "`".repeat(longest_row(&text, '`').max(2) + 1);
    format!("### Run it again\n\n{fence}sh\n{text}\n{fence}\n")
}

fn more_rows(text: &mut String, rows: usize) {
    if let Some(more) = words::left_out(rows, ROWS_MAX) {
        let _ = writeln!(text, "\n{more}");
    }
}

/// The longest row of one character in a text.
fn longest_row(text: &str, c: char) -> usize {
    text.split(|other| other != c).map(str::len).max().unwrap_or(0)
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The text so that Markdown shows it as it is, on one line, in a table too.
fn escape(text: &str) -> String {
    let text = words::clip(&words::visible(text), TEXT_CHARS_MAX);
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            // An address would become a link.
            ':' => escaped.push_str(if escaped.ends_with("http") || escaped.ends_with("https") {
                "&#58;"
            } else {
                ":"
            }),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_mark_up() {
        assert_eq!(
            escape("</td> | **x** `y` [z](http://a) @you\n# t"),
            "&lt;/td&gt; \\| \\*\\*x\\*\\* \\`y\\` \\[z\\](http&#58;//a) &#64;you \\# t"
        );
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let text = commands(&["echo ````".to_owned()]);
        assert!(text.contains("\n`````sh\necho ````\n`````\n"), "{text}");
    }
}
