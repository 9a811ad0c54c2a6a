//! What scripts and CI services read: JUnit, the Markdown summary, the closing lines on a terminal.

use tribunal_history::report::{RunOutcome, RunVerdict};
use tribunal_history::{Outcome, PropertyClass};
use tribunal_reports::{SUMMARY_BYTES_MAX, junit, last_lines, summary};

mod support;

#[test]
fn junit_of_a_failing_run() {
    let (report, _) = support::failing();
    insta::assert_snapshot!(junit(&report).expect("it is XML"));
}

#[test]
fn summary_of_a_failing_run() {
    let (report, _) = support::failing();
    insta::assert_snapshot!(summary(&report));
}

#[test]
fn summary_of_a_passing_run() {
    let (report, _) = support::passing();
    insta::assert_snapshot!(summary(&report));
}

#[test]
fn last_lines_of_a_passing_run() {
    let (report, _) = support::passing();
    insta::assert_snapshot!(last_lines(&report, "runs/register/2026-11-22T06-25-44Z-12"));
}

/// Scripts cut these five off with `tail -5`.
#[test]
fn a_failing_run_ends_in_five_lines() {
    let (mut report, _) = support::failing();
    report.findings[0].sentence = "first line\nsecond line\r\u{1b}[2J".to_owned();
    let text = last_lines(&report, "runs/my register/2026-11-22T06-20-01Z-11");
    assert!(text.ends_with('\n'));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), report.properties.len() + 5);
    assert_eq!(
        lines[lines.len() - 5..],
        [
            "FAIL  not linearizable · key k2: stale read",
            "first line second line \\u{1b}[2J",
            "report: runs/my register/2026-11-22T06-20-01Z-11/report.html",
            "repeat: tribunal run --from runs/register/2026-11-22T06-20-01Z-11 --repeat 10",
            "bundle: tar czf ./2026-11-22T06-20-01Z-11.tar.gz -- 'runs/my register/2026-11-22T06-20-01Z-11'",
        ]
    );
}

#[test]
fn a_run_that_never_started_ends_in_five_lines_too() {
    let (report, _) = support::empty();
    insta::assert_snapshot!(last_lines(&report, "runs/empty"));
}

/// A suite in which every case passed must not come out of a run that did not.
#[test]
fn junit_is_never_green_without_a_pass() {
    for (outcome, exit_code, sign) in [
        (RunOutcome::Violation, 1, "<failure"),
        (RunOutcome::InsufficientCoverage, 3, "<failure"),
        (RunOutcome::Inconclusive, 2, "<error"),
        (RunOutcome::HarnessError, 4, "<error"),
        (RunOutcome::Interrupted, 130, "<error"),
    ] {
        let (mut report, _) = support::passing();
        report.verdict = RunVerdict {
            outcome,
            exit_code,
            headline: "why".to_owned(),
        };
        let text = junit(&report).expect("it is XML");
        assert!(
            text.contains(sign) && text.contains("name=\"run\""),
            "{outcome:?}: {text}"
        );
    }
    let (report, _) = support::passing();
    let text = junit(&report).expect("it is XML");
    assert!(!text.contains("<failure") && !text.contains("<error"), "{text}");
}

#[test]
fn junit_tells_kinds_of_trouble_apart() {
    let (mut report, _) = support::passing();
    report.properties.truncate(1);
    let property = report.properties[0].clone();
    report.properties = [
        (PropertyClass::Coverage, Outcome::Fail),
        (PropertyClass::Harness, Outcome::Fail),
        (PropertyClass::Safety, Outcome::Unknown),
        (PropertyClass::Safety, Outcome::Error),
        (PropertyClass::Liveness, Outcome::Vacuous),
    ]
    .map(|(class, verdict)| {
        let mut property = property.clone();
        (property.class, property.verdict) = (class, verdict);
        property
    })
    .to_vec();
    let text = junit(&report).expect("it is XML");
    let told: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            ["<failure", "<error", "<skipped"]
                .iter()
                .any(|sign| line.starts_with(sign))
        })
        .collect();
    let types = ["coverage", "harness", "inconclusive", "harness", "not-exercised"];
    assert_eq!(told.len(), types.len(), "{text}");
    for ((line, of_type), sign) in told
        .iter()
        .zip(types)
        .zip(["<failure", "<error", "<error", "<error", "<skipped"])
    {
        assert!(
            line.starts_with(sign) && line.contains(&format!("type=\"{of_type}\"")),
            "{line}"
        );
    }
}

/// However much there is to say, and however long each text.
#[test]
fn a_summary_stays_small_and_says_what_it_left_out() {
    let (mut report, _) = support::failing();
    report.findings = vec![report.findings[0].clone(); 60];
    for finding in &mut report.findings {
        finding.sentence = "ä|".repeat(50_000);
    }
    report.properties = vec![report.properties[1].clone(); 5_000];
    report.faults = vec![report.faults[0].clone(); 5_000];
    report.commands = vec!["x".repeat(100_000); 100];
    let text = summary(&report);
    assert!(text.len() < SUMMARY_BYTES_MAX, "{} bytes", text.len());
    assert!(text.starts_with("## ❌ FAIL"), "what matters most comes first");
    assert!(text.contains("and 50 more in report.html"));
    assert!(text.ends_with("*What did not fit here is in report.html.*\n"));
}

#[test]
fn hostile_text_stays_text() {
    let (report, _) = support::hostile();
    let summary = summary(&report);
    // In a fence everything is shown as it is.
    let (prose, fence) = summary.split_once("### Run it again").expect("it has commands");
    assert!(
        fence.starts_with("\n\n```sh\n") && fence.ends_with("\n```\n"),
        "{fence}"
    );
    let texts = [
        prose.to_owned(),
        junit(&report).expect("it is XML"),
        last_lines(&report, "runs/x"),
    ];
    for text in &texts {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }
    for text in &texts[..2] {
        assert!(!text.contains("<img") && !text.contains("</script"), "{text}");
    }
}
