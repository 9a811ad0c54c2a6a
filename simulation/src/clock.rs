//! Time: one true time of the simulation, and what each node's clock makes of it.

use std::sync::Arc;
use std::time::Duration;

use tribunal_env::Clock;

use crate::draw::nanos;
use crate::executor::Kernel;
use crate::place::Place;

/// A node's monotonic clock stands at this when the simulation starts, so that code may subtract from "now".
const MONOTONIC_START: u64 = 3_600_000_000_000;

/// The wall clock of a node without skew stands at this when the simulation starts: 2026-01-01 00:00:00 UTC.
const WALL_START: u64 = 1_767_225_600_000_000_000;

/// How slow or fast a clock may run, in parts per million of its speed.
pub const DRIFT_PPM_MAX: i32 = 900_000;

/// How one place's clock follows the true time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    /// At this true time …
    base_true: u64,
    /// … the monotonic clock showed this.
    base_local: u64,
    drift_ppm: i32,
    /// What the wall clock shows beyond the monotonic one.
    wall_offset: i128,
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            base_true: 0,
            base_local: MONOTONIC_START,
            drift_ppm: 0,
            wall_offset: i128::from(WALL_START) - i128::from(MONOTONIC_START),
        }
    }
}

impl Dial {
    /// What the monotonic clock shows at this true time.
    pub(crate) fn monotonic(&self, now: u64) -> u64 {
        let passed = now - self.base_true;
        if self.drift_ppm == 0 {
            return self.base_local.saturating_add(passed);
        }
        let local = u128::from(passed) * u128::from(self.speed()) / u128::from(MILLION);
        self.base_local.saturating_add(u64::try_from(local).unwrap_or(u64::MAX))
    }

    /// The first true time at which the monotonic clock shows at least this.
    pub(crate) fn true_time(&self, local: u64) -> u64 {
        let left = local.saturating_sub(self.base_local);
        if self.drift_ppm == 0 {
            return self.base_true.saturating_add(left);
        }
        let passed = (u128::from(left) * u128::from(MILLION)).div_ceil(u128::from(self.speed()));
        self.base_true.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    pub(crate) fn wall(&self, now: u64) -> u64 {
        let wall = i128::from(self.monotonic(now)) + self.wall_offset;
        u64::try_from(wall.max(0)).unwrap_or(u64::MAX)
    }

    /// Runs fast (positive) or slow from this true time on.
    pub(crate) fn set_drift(&mut self, now: u64, drift_ppm: i32) {
        self.base_local = self.monotonic(now);
        self.base_true = now;
        self.drift_ppm = drift_ppm.clamp(-DRIFT_PPM_MAX, DRIFT_PPM_MAX);
    }

    pub(crate) fn drift_ppm(&self) -> i32 {
        self.drift_ppm
    }

    /// The monotonic clock leaps ahead, as after a suspended machine wakes.
    pub(crate) fn leap(&mut self, by: Duration) {
        self.base_local = self.base_local.saturating_add(nanos(by));
    }

    /// The wall clock is set forward or, if negative, back.
    pub(crate) fn set_wall(&mut self, by_nanos: i64) {
        self.wall_offset += i128::from(by_nanos);
    }

    fn speed(&self) -> u64 {
        MILLION.saturating_add_signed(i64::from(self.drift_ppm))
    }
}

const MILLION: u64 = 1_000_000;

/// A place's clock.
#[derive(Clone)]
pub struct SimClock {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) place: Place,
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.kernel.with_dial(self.place, |dial, now| dial.monotonic(now)))
    }

    fn wall(&self) -> Duration {
        Duration::from_nanos(self.kernel.with_dial(self.place, |dial, now| dial.wall(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_drifting_clock_keeps_what_it_had_shown() {
        let mut dial = Dial::default();
        dial.set_drift(10 * SECOND, 100_000);
        assert_eq!(dial.monotonic(10 * SECOND), MONOTONIC_START + 10 * SECOND);
        assert_eq!(dial.monotonic(20 * SECOND), MONOTONIC_START + 21 * SECOND);
        dial.set_drift(20 * SECOND, -500_000);
        assert_eq!(dial.monotonic(22 * SECOND), MONOTONIC_START + 22 * SECOND);
    }

    #[test]
    fn a_deadline_is_the_first_moment_that_shows_it() {
        let mut dial = Dial::default();
        for drift in [-300_000, -1, 0, 7, 333_333] {
            dial.set_drift(0, drift);
            for local in (0..1000).map(|step| MONOTONIC_START + step * 12_345) {
                let at = dial.true_time(local);
                assert!(dial.monotonic(at) >= local, "drift {drift}");
                assert!(at == 0 || dial.monotonic(at - 1) < local, "drift {drift}");
            }
        }
    }

    #[test]
    fn leaps_move_both_clocks_and_settings_the_wall_only() {
        let mut dial = Dial::default();
        dial.leap(Duration::from_secs(5));
        assert_eq!(dial.monotonic(0), MONOTONIC_START + 5 * SECOND);
        assert_eq!(dial.wall(0), WALL_START + 5 * SECOND);
        dial.set_wall(-7_000_000_000);
        assert_eq!(dial.monotonic(0), MONOTONIC_START + 5 * SECOND);
        assert_eq!(dial.wall(0), WALL_START - 2 * SECOND);
    }
}
