//! Timers in true time, and sleeping until a place's own clock shows something.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Kernel;
use crate::place::Place;

/// Something of the simulator's own.
pub(crate) type Work = Box<dyn FnOnce(&Arc<Kernel>) + Send>;

/// What a timer does.
pub(crate) enum Event {
    /// Wakes a task.
    Wake(Waker),
    /// Does something of the simulator's own: a message arrives.
    Run(Work),
}

/// A timer's name: its time, and its number among all.
pub(crate) type TimerKey = (u64, u64);

struct Timer {
    /// Whose clock it hangs on; none for true time.
    clock: Option<Place>,
    event: Event,
}

/// All timers, in order of their time and then of their setting.
#[derive(Default)]
pub(crate) struct Timers {
    set: BTreeMap<TimerKey, Timer>,
    count: u64,
}

impl Timers {
    pub(crate) fn insert(&mut self, at: u64, clock: Option<Place>, event: Event) -> TimerKey {
        self.count += 1;
        let key = (at, self.count);
        self.set.insert(key, Timer { clock, event });
        key
    }

    /// Takes a timer back. What it held must be dropped without a lock.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Event> {
        self.set.remove(&key).map(|timer| timer.event)
    }

    /// Takes what all timers hold, in their order.
    pub(super) fn take_all(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.set)
            .into_values()
            .map(|timer| timer.event)
            .collect()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.set.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first timer, if it is due at this time.
    pub(super) fn pop_until(&mut self, now: u64) -> Option<(u64, Event)> {
        let entry = self.set.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, number), timer) = entry.remove_entry();
        Some((number, timer.event))
    }

    /// Makes every timer on this clock due now, since the clock has changed: each sleeper looks again.
    pub(super) fn recheck(&mut self, clock: Place, now: u64) {
        let keys: Vec<_> = self
            .set
            .iter()
            .filter(|(_, timer)| timer.clock == Some(clock))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Some(timer) = self.set.remove(&key) {
                self.set.insert((now, key.1), timer);
            }
        }
    }

    /// Whether the timer still waits; if so it wakes this task from now on.
    fn rearm(&mut self, key: TimerKey, waker: &Waker) -> bool {
        match self.set.get_mut(&key).map(|timer| &mut timer.event) {
            Some(Event::Wake(old)) => {
                if !old.will_wake(waker) {
                    old.clone_from(waker);
                }
                true
            }
            _ => false,
        }
    }
}

/// Waits until a place's monotonic clock shows a time, whatever happens to that clock.
#[must_use = "futures do nothing unless polled"]
pub struct SimSleep {
    kernel: Arc<Kernel>,
    place: Place,
    deadline: u64,
    timer: Option<TimerKey>,
}

impl SimSleep {
    /// Waits until the clock of `place` shows `deadline`, in nanoseconds.
    pub(crate) fn until(kernel: Arc<Kernel>, place: Place, deadline: u64) -> Self {
        Self {
            kernel,
            place,
            deadline,
            timer: None,
        }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.kernel.state();
        let dial = state.lives.get(&this.place).map(|life| life.dial).unwrap_or_default();
        if dial.monotonic(state.now) >= this.deadline {
            let event = this.timer.take().and_then(|key| state.timers.remove(key));
            drop(state);
            drop(event);
            return Poll::Ready(());
        }
        if let Some(key) = this.timer
            && state.timers.rearm(key, context.waker())
        {
            return Poll::Pending;
        }
        // A deadline that the clock never shows needs no timer: nothing can make it due but the clock itself,
        // which rechecks its sleepers.
        let at = dial.true_time(this.deadline);
        let event = Event::Wake(context.waker().clone());
        this.timer = Some(state.timers.insert(at, Some(this.place), event));
        Poll::Pending
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            let event = self.kernel.state().timers.remove(key);
            drop(event);
        }
    }
}
