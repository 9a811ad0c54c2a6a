//! The page: what it says, that it needs nothing from outside, and that nothing on it gets out of its place.

use sha2::{Digest as _, Sha256};
use tribunal_history::report::RunOutcome;
use tribunal_history::{Event, Report, Seq};
use tribunal_reports::html;

mod support;

/// Every run that a page has to cope with.
fn runs() -> Vec<(&'static str, (Report, Vec<Event>))> {
    let mut three = support::failing();
    three.0.findings.push(support::lost_write());
    three.0.findings.push(support::lost_write());
    let mut promise = support::failing();
    promise.0.findings = vec![support::broken_promise()];
    vec![
        ("failing", support::failing()),
        ("three findings", three),
        ("broken promise", promise),
        ("passing", support::passing()),
        ("hostile", support::hostile()),
        ("empty", support::empty()),
    ]
}

#[test]
fn a_page_needs_nothing_from_outside() {
    for (name, (report, events)) in runs() {
        let page = html(&report, &events);
        for outside in ["src=\"", "<link", "@import", "<img", "<iframe", "url(http", "href="] {
            assert!(!page.contains(outside), "{name}: {outside}");
        }
        let addresses = page.matches("://").count();
        let name_spaces = page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count();
        assert_eq!(
            addresses, name_spaces,
            "{name}: the only addresses are those of SVG's name space"
        );
        assert!(page.contains("default-src 'none'"), "{name}");
    }
}

#[test]
fn hostile_text_stays_text() {
    let (report, events) = support::hostile();
    let page = html(&report, &events);
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    assert_eq!(page.matches("</title>").count() - page.matches("<g><title>").count(), 1);
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
    assert!(page.contains("{{ 7*7 }}"), "no template runs within a text");
    let mut seen = 0;
    for (at, _) in page.match_indices("onerror") {
        seen += 1;
        assert!(page[..at].ends_with("&lt;img src=x "), "{}", &page[at - 60..at]);
    }
    assert!(seen > 30, "the text was put everywhere: {seen}");
}

/// The policy lets this one script run; whoever changes it has to say so here.
#[test]
fn the_policy_knows_the_script() {
    let script = include_str!("../src/html/script.js");
    let digest = base64(&Sha256::digest(script));
    let (report, events) = support::empty();
    let page = html(&report, &events);
    assert!(page.contains(&format!("script-src 'sha256-{digest}'")), "{digest}");
    assert!(
        page.contains(&format!("<script>{script}</script>")),
        "nothing is added to it"
    );
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(if place <= chunk.len() {
                char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[test]
fn a_failing_page_says_what_when_and_under_which_fault() {
    let (report, events) = support::failing();
    let page = html(&report, &events).replace("&#x2f;", "/");
    for said in [
        "<b>FAIL</b> · not linearizable · key k2: stale read",
        "header class=\"banner violation\"",
        "213 ms before the read began",
        "isolate n1 (leader) from 24.000 s to 29.000 s",
        "⋯ 2.4 s ⋯",
        "first violation 26.484 s",
        "proved again by another search",
        "k2 is 1131 here, and 1844 was read",
        "tribunal run --from runs/register/2026-11-22T06-20-01Z-11 --repeat 10",
        "Not tried in the time given: isolate-inbound, isolate-outbound.",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn the_first_of_three_findings_is_open_and_the_others_are_folded() {
    let (_, (report, events)) = runs().swap_remove(1);
    let page = html(&report, &events);
    assert_eq!(page.matches("<details>").count(), 2);
    assert_eq!(page.matches("id=\"finding-").count(), 3, "all are drawn");
    assert!(page.find("id=\"finding-1\"") < page.find("<details>"));
    assert!(page.contains("2 · lost write on k7"));
}

#[test]
fn the_colour_of_the_banner_is_that_of_the_outcome() {
    for (outcome, banner) in [
        (RunOutcome::Pass, "banner pass"),
        (RunOutcome::Violation, "banner violation"),
        (RunOutcome::Inconclusive, "banner doubt"),
        (RunOutcome::InsufficientCoverage, "banner doubt"),
        (RunOutcome::HarnessError, "banner doubt"),
        (RunOutcome::Interrupted, "banner doubt"),
    ] {
        let (mut report, events) = support::passing();
        report.verdict.outcome = outcome;
        assert!(html(&report, &events).contains(banner), "{outcome:?}");
    }
}

#[test]
fn an_empty_run_has_a_page() {
    let (report, events) = support::empty();
    let page = html(&report, &events);
    assert!(page.contains("n1 did not become ready within 20 s"));
    assert!(page.contains("Nothing was recorded that could be drawn."));
    assert!(!page.contains("<svg"));
}

#[test]
fn a_run_with_many_operations_is_drawn_in_cells_and_says_so() {
    let (report, events) = support::busy(60);
    let page = html(&report, &events);
    assert!(
        page.contains("ok operations are too many to draw one by one"),
        "it says so"
    );
    assert!(page.contains("class=\"cell many\"") && !page.contains("class=\"dot\""));
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}

#[test]
fn many_findings_and_long_texts_keep_the_page_bounded() {
    let (mut report, events) = support::failing();
    report.findings[0].sentence = "long ".repeat(50_000);
    report.findings[0].operations[0].label = "x".repeat(1_000_000);
    report.findings = vec![report.findings[0].clone(); 100];
    let page = html(&report, &events);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}

/// A history from elsewhere may have any times, and may be wrong.
#[test]
fn times_at_the_end_of_time_do_not_stop_a_page() {
    let (mut report, events) = support::failing();
    report.run.duration_ns = u64::MAX;
    report.faults[0].stop_ns = Some(0);
    report.findings[0].time_ns = u64::MAX;
    for operation in &mut report.findings[0].operations {
        operation.completed_ns = Some(0);
    }
    report.findings[0].operations[1].invoked_ns = u64::MAX;
    let page = html(&report, &events);
    assert!(page.contains("<svg") && !page.contains("NaN"));
}

#[test]
fn a_history_that_contradicts_itself_is_said_to() {
    let (report, mut events) = support::failing();
    let last = events.len() - 1;
    match &mut events[last] {
        Event::Phase(phase) => phase.seq = Seq(0),
        other => panic!("the sample ends with a phase, not {other:?}"),
    }
    assert!(html(&report, &events).contains("The history contradicts itself, so no operation is drawn"));
}

#[test]
fn the_same_run_has_the_same_page() {
    let (report, events) = support::failing();
    assert_eq!(html(&report, &events), html(&report, &events));
}

/// Who had what is a table, beside the sentence; there are no operations to draw.
#[test]
fn a_broken_promise_shows_who_had_what() {
    let (mut report, events) = support::failing();
    report.findings = vec![support::broken_promise()];
    let page = html(&report, &events);
    for text in [
        "Who had entry 41 of term 2, chain 27432252 at that instant",
        "leads term 2",
        "<td class=\"good\">yes, in the log</td>",
        "<td class=\"bad\">no</td>",
        "&lt;b&gt;its disk | lied",
        "the disk itself",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let summary = tribunal_reports::summary(&report);
    assert!(summary.contains("| n2 | voter | up |"), "{summary}");
    assert!(!summary.contains("| operation | client"), "{summary}");
}
