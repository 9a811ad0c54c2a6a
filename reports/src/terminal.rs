//! The closing lines of a run on a terminal.
//!
//! Scripts rely on the last five lines of a run that does not pass: verdict, sentence, report, how to repeat,
//! bundle. Each is one line, whatever the system under test said.

use tribunal_history::report::RunOutcome;
use tribunal_history::{Outcome, Property, Report};

use crate::words::{outcome, run_outcome, visible};

/// What a run ends with on a terminal; `dir` is its run directory as the user would name it. Every line ends
/// with a newline.
pub fn last_lines(report: &Report, dir: &str) -> String {
    let mut lines = properties(report);
    let verdict = format!(
        "{}  {}",
        run_outcome(report.verdict.outcome),
        visible(&report.verdict.headline)
    );
    let page = format!("report: {}/report.html", visible(dir.trim_end_matches('/')));
    if report.verdict.outcome == RunOutcome::Pass {
        lines.insert(0, verdict);
        lines.push(page);
    } else {
        lines.extend([verdict, sentence(report), page, repeat(report, dir), bundle(dir)]);
    }
    lines.join("\n") + "\n"
}

/// One line for each property, the verdicts in a column.
fn properties(report: &Report) -> Vec<String> {
    let line = |property: &Property| {
        format!(
            "  {:<13} {}: {}",
            outcome(property.verdict),
            visible(&property.title),
            visible(&property.detail)
        )
    };
    report.properties.iter().map(line).collect()
}

/// What went wrong: the first finding, or else the first property that does not hold.
fn sentence(report: &Report) -> String {
    let wrong = |property: &&Property| !matches!(property.verdict, Outcome::Pass | Outcome::Vacuous);
    let said = match report.findings.first() {
        Some(finding) => finding.sentence.clone(),
        None => match report.properties.iter().find(wrong) {
            Some(property) => format!("{}: {}", property.title, property.detail),
            None => report.verdict.headline.clone(),
        },
    };
    visible(&said)
}

/// How to do it again: the report's first command, or else judging the history that is there.
fn repeat(report: &Report, dir: &str) -> String {
    let history = |name: &&String| matches!(name.as_str(), "history.jsonl" | "history.jsonl.gz");
    match (report.commands.first(), report.files.iter().find(history)) {
        (Some(command), _) => format!("repeat: {}", visible(command)),
        (None, Some(name)) => format!("repeat: tribunal check {}", quoted(&format!("{dir}/{name}"))),
        (None, None) => "repeat: no command was recorded".to_owned(),
    }
}

/// A command that packs the run directory, to hand it to somebody.
fn bundle(dir: &str) -> String {
    let name = dir.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let archive = match name {
        "" | "." | ".." => "run.tar.gz".to_owned(),
        name => format!("./{name}.tar.gz"),
    };
    format!("bundle: tar czf {} -- {}", quoted(&archive), quoted(dir))
}

/// The word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(
            quoted("runs/a-1/2026-11-22T06-20-01Z-7"),
            "runs/a-1/2026-11-22T06-20-01Z-7"
        );
        assert_eq!(quoted("my runs/it's"), r"'my runs/it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_bundle_is_named_after_the_run() {
        assert_eq!(bundle("runs/demo/x-7"), "bundle: tar czf ./x-7.tar.gz -- runs/demo/x-7");
        assert_eq!(
            bundle("runs/latest/"),
            "bundle: tar czf ./latest.tar.gz -- runs/latest/"
        );
        assert_eq!(bundle("."), "bundle: tar czf run.tar.gz -- .");
    }
}
