//! The system's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tribunal_env::Clock;

/// Monotonic time since the machine started (to 10 ms, so that nodes on one machine can be shown on one axis) and
/// exact from then on; wall time for logs.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    started: Instant,
    uptime: Duration,
}

impl RealClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        let uptime = std::fs::read_to_string("/proc/uptime")
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            started: Instant::now(),
            uptime: uptime.unwrap_or_default(),
        }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn monotonic(&self) -> Duration {
        self.uptime + self.started.elapsed()
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
