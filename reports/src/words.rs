//! How numbers, times and outcomes are said to people.

use std::fmt::Write as _;

use tribunal_history::report::{FaultSummary, RunOutcome};
use tribunal_history::{Ending, NodeId, Outcome, PropertyClass, Select};

/// A point in time, from nanoseconds since the start of the run: `36.481 s`.
pub fn moment(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// A length of time, from nanoseconds: `350 µs`, `2.4 ms`, `213 ms`, `5 min 3 s`.
pub fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000 => tenths(ns, 1e6, "ms"),
        10_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..100_000_000_000 => tenths(ns, 1e9, "s"),
        _ if seconds < 3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// One decimal place, unless it is zero.
fn tenths(ns: u64, unit_ns: f64, unit: &str) -> String {
    let text = format!("{:.1}", ns as f64 / unit_ns);
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A number with its thousands apart: `12,345`.
pub fn count(number: u64) -> String {
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

/// A number of things: `1 fault`, `3 faults`. The thing takes a plain `s`.
pub fn things(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// How many are left out of a list of which `shown` are shown; nothing if none are.
pub fn left_out(all: usize, shown: usize) -> Option<String> {
    let more = all.saturating_sub(shown);
    (more > 0).then(|| format!("and {} more", count(more as u64)))
}

/// Names in a row: `n1 n2`.
pub fn nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// A fault and whom it hit: `kill n2`, `isolate n1 (leader)`.
pub fn fault(fault: &FaultSummary) -> String {
    let mut text = fault.kind.name().to_owned();
    if !fault.nodes.is_empty() {
        let _ = write!(text, " {}", nodes(&fault.nodes));
    }
    match fault.fault.select() {
        Select::Nodes { .. } => {}
        select @ (Select::Leader { .. } | Select::Majority { .. } | Select::All | Select::Spare) => {
            let _ = write!(text, " ({select})");
        }
    }
    text
}

/// The first word of a verdict.
pub fn run_outcome(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Pass => "PASS",
        RunOutcome::Violation => "FAIL",
        RunOutcome::Inconclusive => "INCONCLUSIVE",
        RunOutcome::InsufficientCoverage => "INSUFFICIENT COVERAGE",
        RunOutcome::HarnessError => "HARNESS ERROR",
        RunOutcome::Interrupted => "INTERRUPTED",
    }
}

/// How a property came out.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "holds",
        Outcome::Fail => "violated",
        Outcome::Unknown => "inconclusive",
        Outcome::Vacuous => "not exercised",
        Outcome::Error => "error",
    }
}

/// What a property is about.
pub fn property_class(class: PropertyClass) -> &'static str {
    match class {
        PropertyClass::Safety => "safety",
        PropertyClass::Liveness => "liveness",
        PropertyClass::Coverage => "coverage",
        PropertyClass::Harness => "harness",
    }
}

/// How an operation ended.
pub fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Ok => "ok",
        Ending::Fail => "failed",
        Ending::Info => "indeterminate",
    }
}

/// The text with control characters, and characters that turn the direction of writing, made visible. A system
/// under test may say anything; it must not drive a terminal, break a line, or make a value look like another.
pub fn visible(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => clean.push(' '),
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(clean, "\\u{{{:x}}}", u32::from(c));
            }
            // XML knows no such characters, not even escaped.
            '\u{fffe}' | '\u{ffff}' => clean.push('\u{fffd}'),
            c if c.is_control() => {
                let _ = write!(clean, "\\u{{{:x}}}", u32::from(c));
            }
            c => clean.push(c),
        }
    }
    clean
}

/// At most `chars_max` characters of the text, the last of them `…` if some are left out.
pub fn clip(text: &str, chars_max: usize) -> String {
    assert!(chars_max > 0, "room for the ellipsis");
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(chars_max - 1).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_well() {
        let said = [
            0,
            950,
            350_000,
            2_400_000,
            3_000_000,
            213_999_999,
            2_400_000_000,
            60_000_000_000,
            303_000_000_000,
            7_500_000_000_000,
        ]
        .map(duration);
        assert_eq!(
            said,
            [
                "0 ns",
                "950 ns",
                "350 µs",
                "2.4 ms",
                "3 ms",
                "213 ms",
                "2.4 s",
                "60 s",
                "5 min 3 s",
                "2 h 5 min"
            ]
        );
        assert_eq!(moment(36_481_499_999), "36.481 s");
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            (things(1, "fault"), things(0, "fault")),
            ("1 fault".into(), "0 faults".into())
        );
    }

    #[test]
    fn nothing_can_drive_a_terminal_or_turn_a_line_around() {
        assert_eq!(
            visible("a\u{1b}[31mb\u{202e}c\nd\0\u{85}"),
            "a\\u{1b}[31mb\\u{202e}c d\\u{0}\\u{85}"
        );
        assert_eq!(visible("größe → k2"), "größe → k2");
    }

    #[test]
    fn clipping_counts_characters_and_says_so() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöü!", 3), "äö…");
    }
}
