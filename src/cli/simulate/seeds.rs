//! Which seeds are still to be run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cli::values::Seeds;

/// Hands out seeds, to several jobs at once, in their order.
pub(super) struct Supply {
    state: Mutex<State>,
}

struct State {
    next: Option<u64>,
    /// No seed after this one.
    last: u64,
    fail_fast: bool,
    /// How many more may fail.
    failures_left: Option<u64>,
    is_over: bool,
}

impl Supply {
    pub(super) fn new(seeds: Seeds, fail_fast: bool, stop_after: Option<u64>) -> Self {
        Self {
            state: Mutex::new(State {
                next: Some(seeds.first),
                last: seeds.last,
                fail_fast,
                failures_left: stop_after,
                is_over: false,
            }),
        }
    }

    /// The next seed; none if there is none.
    pub(super) fn take(&self) -> Option<u64> {
        let mut state = self.lock();
        let seed = state.next.filter(|seed| *seed <= state.last && !state.is_over)?;
        state.next = seed.checked_add(1);
        Some(seed)
    }

    /// A seed has failed. Where the first one is asked for, those before it are run all the same, so that the first is
    /// the first whatever the jobs did.
    pub(super) fn failed(&self, seed: u64) {
        let mut state = self.lock();
        if state.fail_fast {
            state.last = state.last.min(seed);
        }
        if let Some(left) = &mut state.failures_left {
            *left = left.saturating_sub(1);
            state.is_over |= *left == 0;
        }
    }

    /// Hands out nothing more.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
    }

    /// How many seeds there are in all; none if there is no end to them.
    pub(super) fn total(&self) -> Option<u64> {
        let state = self.lock();
        let first = state.next?;
        (state.last < u64::MAX).then(|| (state.last - first).saturating_add(1))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_leaves_the_seeds_before_it() {
        let supply = Supply::new(Seeds { first: 1, last: 9 }, true, None);
        assert_eq!(supply.total(), Some(9));
        assert_eq!(
            [supply.take(), supply.take(), supply.take()],
            [Some(1), Some(2), Some(3)]
        );
        supply.failed(5);
        assert_eq!([supply.take(), supply.take(), supply.take()], [Some(4), Some(5), None]);
    }

    #[test]
    fn enough_failures_end_it_and_so_does_the_last_number() {
        let supply = Supply::new(Seeds { first: 1, last: 9 }, false, Some(2));
        supply.failed(1);
        assert_eq!(supply.take(), Some(1));
        supply.failed(2);
        assert_eq!(supply.take(), None);
        let supply = Supply::new(
            Seeds {
                first: u64::MAX,
                last: u64::MAX,
            },
            false,
            None,
        );
        assert_eq!([supply.take(), supply.take()], [Some(u64::MAX), None]);
    }
}
