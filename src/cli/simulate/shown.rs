//! What is shown while a sweep goes on: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tribunal_history::FailingSeed;

use super::summary::Totals;
use crate::campaign::judge::grouped;

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// So many failing seeds are shown as they come; the summary has them all.
const FAILING_MAX: u32 = 10;

/// Shows progress on standard error.
pub(super) struct Shown {
    bar: Option<ProgressBar>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    plain_at: Duration,
    failing: u32,
}

impl Shown {
    /// A display for so many seeds; none if there is no end to them.
    pub(super) fn new(total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(8));
            let template = match total {
                Some(_) => "{pos}/{len} seeds {wide_bar:.green} {msg}",
                None => "{pos} seeds {spinner} {msg}",
            };
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            last: Mutex::default(),
        }
    }

    /// A seed did not pass.
    pub(super) fn failing(&self, failing: &FailingSeed) {
        let mut last = self.lock();
        last.failing += 1;
        if last.failing > FAILING_MAX {
            return;
        }
        let line = format!("seed {}: {}", failing.seed, failing.headline);
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// How far it is.
    pub(super) fn counts(&self, elapsed: Duration, totals: &Totals) {
        let text = || {
            let hours = totals.lasted_ns as f64 / 3.6e12;
            let per_second = totals.seeds as f64 / elapsed.as_secs_f64().max(1e-3);
            let counted = |name: &str| grouped(totals.counters.get(name).copied().unwrap_or(0));
            format!(
                "{per_second:.1} seeds/s, {hours:.2} simulated hours, {} elections, {} failing",
                counted("elections"),
                totals.failing.len()
            )
        };
        if let Some(bar) = &self.bar {
            bar.set_position(totals.seeds);
            bar.set_message(text());
            return;
        }
        let mut last = self.lock();
        if elapsed >= last.plain_at + PLAIN_EVERY {
            last.plain_at = elapsed;
            eprintln!("  {:>5.0} s  {} seeds, {}", elapsed.as_secs_f64(), totals.seeds, text());
        }
    }

    /// Clears the display.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
