//! What is shown while a run goes on: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tribunal_checker::online::Violation;

use super::follow::sentence;
use crate::campaign::recorder::Counts;
use crate::campaign::{Progress, Stage};

/// Seconds between two plain lines: often enough that a watcher of a CI log sees it alive, seldom enough to be read.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
pub struct Shown {
    bar: Option<ProgressBar>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    stage: Option<Stage>,
    plain_at: Duration,
}

impl Shown {
    /// A display for a run whose phase under faults has this length.
    pub fn new(time_limit: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(
                Some(time_limit.as_millis() as u64),
                ProgressDrawTarget::stderr_with_hz(8),
            );
            let style = ProgressStyle::with_template("{prefix:>12.bold} {wide_bar:.green} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar
        });
        Self {
            bar,
            last: Mutex::new(Last::default()),
        }
    }

    /// Clears the display.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Shown {
    fn stage(&self, stage: Stage) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.stage == Some(stage) {
            return;
        }
        last.stage = Some(stage);
        match &self.bar {
            Some(bar) => bar.set_prefix(stage.to_string()),
            None => eprintln!("{stage}"),
        }
    }

    fn violated(&self, violation: &Violation) {
        let sentence = sentence(violation);
        match &self.bar {
            Some(bar) => bar.println(sentence),
            None => eprintln!("{sentence}"),
        }
    }

    fn counts(&self, elapsed: Duration, counts: &Counts) {
        let line = line(counts);
        if let Some(bar) = &self.bar {
            bar.set_position(elapsed.as_millis() as u64);
            bar.set_message(line);
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if elapsed >= last.plain_at + PLAIN_EVERY {
            last.plain_at = elapsed;
            eprintln!("  {:>5.1} s  {line}", elapsed.as_secs_f64());
        }
    }
}

fn line(counts: &Counts) -> String {
    let leader = counts.leader.map_or_else(
        || "no leader yet".to_owned(),
        |(node, term)| format!("{node} leads term {term}"),
    );
    let fault = counts.fault.as_deref().unwrap_or("no fault");
    format!(
        "{} ok, {} indeterminate, {} failed · {leader} · {fault}",
        counts.ok, counts.info, counts.fail
    )
}
