//! How the rounds of a repeated run ended.

use std::collections::BTreeMap;

use tribunal_history::report::RunOutcome;

/// Outcomes, counted, and the exit code that they make together.
#[derive(Default)]
pub struct Tally {
    outcomes: BTreeMap<&'static str, u32>,
    runs: u32,
    rank: u8,
    /// The exit code.
    pub code: u8,
}

impl Tally {
    /// A violation wins, then 4, 3, 2; an interruption only over a pass.
    pub fn count(&mut self, outcome: RunOutcome, code: u8) {
        let (name, rank) = match outcome {
            RunOutcome::Pass => ("passed", 0),
            RunOutcome::Interrupted => ("interrupted", 1),
            RunOutcome::Inconclusive => ("inconclusive", 2),
            RunOutcome::InsufficientCoverage => ("without enough coverage", 3),
            RunOutcome::HarnessError => ("not started", 4),
            RunOutcome::Violation => ("violated", 5),
        };
        *self.outcomes.entry(name).or_default() += 1;
        if self.runs == 0 || rank > self.rank {
            self.rank = rank;
            self.code = code;
        }
        self.runs += 1;
    }

    /// How often it was violated, in words.
    pub fn sentence(&self) -> String {
        let violated = self.outcomes.get("violated").copied().unwrap_or(0);
        let rest: Vec<String> = self
            .outcomes
            .iter()
            .filter(|(name, _)| **name != "violated")
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let rest = if rest.is_empty() {
            String::new()
        } else {
            format!(" ({})", rest.join(", "))
        };
        format!("reproduced {violated} of {}{rest}", self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_wins_in_a_tally() {
        let mut tally = Tally::default();
        for (outcome, code) in [
            (RunOutcome::Pass, 0),
            (RunOutcome::Violation, 1),
            (RunOutcome::HarnessError, 4),
        ] {
            tally.count(outcome, code);
        }
        assert_eq!(
            (tally.code, tally.sentence().as_str()),
            (1, "reproduced 1 of 3 (1 not started, 1 passed)")
        );
    }
}
