//! From properties to one outcome and one exit code.
//!
//! A violation always wins, then a harness error, an interruption, too little coverage, a budget that ran out.
//! An unknown verdict is never a pass.

use std::collections::BTreeSet;
use std::str::FromStr;

use tribunal_history::report::RunOutcome;
use tribunal_history::{Outcome, Property, PropertyClass};

/// The exit code that scripts see, before `--fail-on` and `--expect-fail`.
pub fn exit_code(outcome: RunOutcome) -> u8 {
    match outcome {
        RunOutcome::Pass => 0,
        RunOutcome::Violation => 1,
        RunOutcome::Inconclusive => 2,
        RunOutcome::InsufficientCoverage => 3,
        RunOutcome::HarnessError => 4,
        RunOutcome::Interrupted => 130,
    }
}

/// Usage error or malformed input (`EX_USAGE` of sysexits).
pub const EXIT_USAGE: u8 = 64;

/// The worst outcome of the properties.
pub fn outcome(properties: &[Property], interrupted: bool) -> RunOutcome {
    let any = |wanted: &dyn Fn(&Property) -> bool| properties.iter().any(wanted);
    let lives = |class| matches!(class, PropertyClass::Safety | PropertyClass::Liveness);
    if any(&|property| property.verdict == Outcome::Fail && lives(property.class)) {
        RunOutcome::Violation
    } else if any(&|property| {
        property.verdict == Outcome::Error
            || property.verdict == Outcome::Fail && property.class == PropertyClass::Harness
    }) {
        RunOutcome::HarnessError
    } else if interrupted {
        RunOutcome::Interrupted
    } else if any(&|property| property.verdict == Outcome::Fail) {
        RunOutcome::InsufficientCoverage
    } else if any(&|property| property.verdict == Outcome::Unknown) {
        RunOutcome::Inconclusive
    } else {
        RunOutcome::Pass
    }
}

/// Which outcomes make a non-zero exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitPolicy {
    /// Outcomes that fail the command.
    pub fail_on: BTreeSet<FailOn>,
    /// A violation is what is wanted: 0 and 1 change places.
    pub expect_fail: bool,
}

impl Default for ExitPolicy {
    fn default() -> Self {
        Self {
            fail_on: FailOn::ALL.into(),
            expect_fail: false,
        }
    }
}

impl ExitPolicy {
    /// The code to exit with.
    pub fn code(&self, outcome: RunOutcome) -> u8 {
        let code = match FailOn::of(outcome) {
            Some(kind) if !self.fail_on.contains(&kind) => 0,
            _ => exit_code(outcome),
        };
        match code {
            0 if self.expect_fail => 1,
            1 if self.expect_fail => 0,
            code => code,
        }
    }
}

/// Names that `--fail-on` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailOn {
    /// Exit code 1.
    Violation,
    /// Exit code 4.
    Harness,
    /// Exit code 3.
    Coverage,
    /// Exit code 2.
    Inconclusive,
}

impl FailOn {
    /// Every name.
    pub const ALL: [Self; 4] = [Self::Violation, Self::Harness, Self::Coverage, Self::Inconclusive];

    fn name(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Harness => "harness",
            Self::Coverage => "coverage",
            Self::Inconclusive => "inconclusive",
        }
    }

    fn of(outcome: RunOutcome) -> Option<Self> {
        match outcome {
            RunOutcome::Violation => Some(Self::Violation),
            RunOutcome::HarnessError => Some(Self::Harness),
            RunOutcome::InsufficientCoverage => Some(Self::Coverage),
            RunOutcome::Inconclusive => Some(Self::Inconclusive),
            RunOutcome::Pass | RunOutcome::Interrupted => None,
        }
    }
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("{text:?} is none of violation, harness, coverage, inconclusive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(class: PropertyClass, verdict: Outcome) -> Property {
        Property {
            id: "x".to_owned(),
            title: "x".to_owned(),
            class,
            verdict,
            detail: "x".to_owned(),
        }
    }

    #[test]
    fn a_violation_wins_over_everything() {
        let all = [
            property(PropertyClass::Coverage, Outcome::Fail),
            property(PropertyClass::Safety, Outcome::Unknown),
            property(PropertyClass::Harness, Outcome::Error),
            property(PropertyClass::Safety, Outcome::Fail),
        ];
        assert_eq!(outcome(&all, true), RunOutcome::Violation);
        assert_eq!(outcome(&all[..3], true), RunOutcome::HarnessError);
        assert_eq!(outcome(&all[..2], true), RunOutcome::Interrupted);
        assert_eq!(outcome(&all[..2], false), RunOutcome::InsufficientCoverage);
        assert_eq!(outcome(&all[1..2], false), RunOutcome::Inconclusive);
        assert_eq!(
            outcome(&[property(PropertyClass::Safety, Outcome::Vacuous)], false),
            RunOutcome::Pass
        );
    }

    #[test]
    fn policy_changes_what_scripts_see_and_nothing_else() {
        let default = ExitPolicy::default();
        assert_eq!(
            [RunOutcome::Pass, RunOutcome::Violation, RunOutcome::Inconclusive].map(|outcome| default.code(outcome)),
            [0, 1, 2]
        );
        let lenient = ExitPolicy {
            fail_on: [FailOn::Violation].into(),
            ..default.clone()
        };
        assert_eq!(lenient.code(RunOutcome::Inconclusive), 0);
        assert_eq!(
            lenient.code(RunOutcome::Interrupted),
            130,
            "an interruption is never a pass"
        );
        let expecting = ExitPolicy {
            expect_fail: true,
            ..default
        };
        assert_eq!(
            [RunOutcome::Pass, RunOutcome::Violation, RunOutcome::HarnessError].map(|outcome| expecting.code(outcome)),
            [1, 0, 4]
        );
    }
}
