//! `tribunal check --follow -`: a history judged as it comes.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use tribunal_checker::online::{self, Followed, Violation};
use tribunal_history::import::{Format, Stream};
use tribunal_history::report::RunOutcome;
use tribunal_history::{Declared, FollowedSummary, Record as _};

use crate::campaign::judge::counted;
use crate::campaign::outcome::ExitPolicy;
use crate::campaign::plan::shell_word;

/// How a history is followed.
#[derive(Clone, Copy, Debug)]
pub struct Follow<'a> {
    /// The specification that was asked for.
    pub specification: Option<&'a str>,
    /// One JSON object a line instead of sentences.
    pub json: bool,
    /// What is said by exit codes.
    pub policy: &'a ExitPolicy,
}

impl Follow<'_> {
    /// Follows the history in the file, or on standard input, to its end, and returns the code to exit with. Each violation
    /// is printed when it is certain.
    pub fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let source: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).with_context(|| format!("{} cannot be read", path.display()))?)
        };
        let mut stream = Stream::new(path, source)?;
        let own = matches!(stream.format(), Format::JsonLines | Format::Binary).then_some("register");
        let specification = self.specification.or_else(|| stream.specification()).or(own);
        let specification = specification.unwrap_or("register");
        let mut follow = online::follow(specification).ok_or_else(|| {
            anyhow!(
                "histories of {specification:?} are judged at their end, not as they come: leave out --follow, or name \
                 register or cas-register with --spec"
            )
        })?;
        let mut violations = 0usize;
        while let Some(event) = stream.next_mut()? {
            let violation = follow
                .event(event)
                .with_context(|| format!("{} cannot be judged", path.display()))?;
            if let Some(violation) = violation {
                violations += 1;
                self.tell(&violation)?;
            }
        }
        if stream.truncated() {
            eprintln!(
                "{}: its end was being written when it was cut off; what is whole was judged",
                path.display()
            );
        }
        let followed = follow.followed();
        let outcome = if violations > 0 {
            RunOutcome::Violation
        } else if followed.given_up > 0 {
            RunOutcome::Inconclusive
        } else {
            RunOutcome::Pass
        };
        self.conclude(path, specification, violations, &followed)?;
        Ok(self.policy.code(outcome))
    }

    fn tell(&self, violation: &Violation) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let declared = Declared {
                seq: violation.seq,
                time_ns: violation.time_ns,
                key: violation.key.clone(),
                operation: violation.operation.clone(),
                reason: violation.reason.sentence().to_owned(),
            };
            writeln!(out, "{}", declared.to_json_line())?;
        } else {
            writeln!(out, "{}", sentence(violation))?;
        }
        out.flush()
    }

    fn conclude(&self, path: &Path, specification: &str, violations: usize, followed: &Followed) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let summary = FollowedSummary {
                specification: specification.to_owned(),
                operations: followed.operations,
                reads: followed.reads,
                keys: followed.keys as u64,
                violated: violations as u64,
                given_up: followed.given_up as u64,
                remembered_max: followed.remembered_max as u64,
            };
            return writeln!(out, "{}", summary.to_json_line());
        }
        let operations = counted(usize::try_from(followed.operations).unwrap_or(usize::MAX), "operation");
        let on = counted(followed.keys, "key");
        let verdict = match (violations, followed.given_up) {
            (0, 0) => "linearizable as far as it goes",
            (0, _) => "inconclusive",
            _ => "violated",
        };
        let reads = followed.reads;
        writeln!(out, "{verdict}: {operations} on {on}, {reads} of them observed a value")?;
        if followed.given_up > 0 {
            let keys = counted(followed.given_up, "key");
            writeln!(
                out,
                "{keys} could not be followed to the end, since values repeat or effects are not known: tribunal check \
                 --spec {specification} judges them"
            )?;
        }
        if violations > 0 && path != Path::new("-") {
            let path = shell_word(&path.display().to_string());
            writeln!(
                out,
                "counterexample and report: tribunal check --spec {specification} {path}"
            )?;
        }
        Ok(())
    }
}

/// What a person reads the moment that it happens.
pub fn sentence(violation: &Violation) -> String {
    format!(
        "VIOLATED at {:.3} s, event {}: {}: {}",
        violation.time_ns as f64 / 1e9,
        violation.seq,
        violation.operation,
        violation.reason.sentence()
    )
}
