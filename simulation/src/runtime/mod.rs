//! openraft's runtime in virtual time.
//!
//! Its functions are static, so they act for whoever runs: tasks that a node spawns are that node's, and sleep by
//! that node's clock. Channels but for [`watch`] are tokio's, which need no tokio runtime and draw nothing.

mod join;
pub(crate) mod watch;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot};
use rand_chacha::ChaCha8Rng;
use tribunal_env::{Purpose, Stream, seeded};

use crate::draw::nanos;
use crate::executor::timer::SimSleep;
use crate::executor::{Kernel, Limits, current, with_current};
use crate::place::{Owner, Place};

pub use join::{JoinError, JoinHandle};
pub use watch::{SimWatch, SimWatchReceiver, SimWatchSender};

/// The runtime. A value of it is a simulation of its own without nodes, for tests of the runtime itself; as a type
/// it acts in the simulation that runs.
pub struct SimRuntime {
    kernel: Arc<Kernel>,
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime").finish_non_exhaustive()
    }
}

impl Drop for SimRuntime {
    fn drop(&mut self) {
        self.kernel.tear_down();
    }
}

impl AsyncRuntime for SimRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = SimSleep;
    type Instant = SimInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = ChaCha8Rng;

    #[track_caller]
    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (kernel, owner) = current();
        join::spawn(&kernel, owner, Location::caller(), future)
    }

    fn sleep(duration: Duration) -> SimSleep {
        let (kernel, owner) = current();
        let now = kernel.with_dial(owner.place, |dial, now| dial.monotonic(now));
        SimSleep::until(kernel, owner.place, now.saturating_add(nanos(duration)))
    }

    fn sleep_until(deadline: SimInstant) -> SimSleep {
        let (kernel, owner) = current();
        SimSleep::until(kernel, owner.place, deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            sleep: Self::sleep(duration),
        }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: SimInstant, future: F) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            sleep: Self::sleep_until(deadline),
        }
    }

    fn is_panic(error: &JoinError) -> bool {
        matches!(error, JoinError::Panicked)
    }

    /// A stream of its own for each call, by place, incarnation and number of the call.
    fn thread_rng() -> ChaCha8Rng {
        let (kernel, owner) = current();
        let mut state = kernel.state();
        let life = state
            .lives
            .get_mut(&owner.place)
            .expect("a running task's place is known");
        life.streams += 1;
        let stream = Stream {
            purpose: Purpose::Election,
            a: owner.place.number(),
            b: life.streams,
        };
        seeded(kernel.seed, owner.incarnation, stream)
    }

    type Mpsc = TokioMpsc;
    type Watch = SimWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn new(_threads: usize) -> Self {
        Self {
            kernel: Kernel::new(0, Limits::default(), false),
        }
    }

    /// Panics if the future can never be ready, since nobody else could make it so.
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        match self.kernel.run(Some(pin!(future)), u64::MAX) {
            Ok(Some(value)) => value,
            Ok(None) => unreachable!("time has no end"),
            Err(stopped) => panic!("{stopped}"),
        }
    }

    /// Runs it in a task: no other thread exists here.
    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let handle = Self::spawn(async move { work() });
        async move { handle.await.map_err(io::Error::other) }
    }
}

/// Lets other ready tasks run first.
pub async fn yield_now() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A time on the monotonic clock of the node that runs, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimInstant(u64);

impl Instant for SimInstant {
    fn now() -> Self {
        Self(with_current(|kernel, owner| {
            kernel.with_dial(owner.place, |dial, now| dial.monotonic(now))
        }))
    }
}

impl Add<Duration> for SimInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for SimInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A future with an end to its patience.
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: SimSleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time was over")]
pub struct Elapsed;

/// Sleeps by true time, which no node's clock changes; for the harness.
pub(crate) fn sleep_true(kernel: &Arc<Kernel>, duration: Duration) -> SimSleep {
    let now = kernel.with_dial(Place::Harness, |dial, now| dial.monotonic(now));
    SimSleep::until(Arc::clone(kernel), Place::Harness, now.saturating_add(nanos(duration)))
}

/// Waits at most this long by a place's clock.
pub(crate) fn timeout_for<F>(kernel: &Arc<Kernel>, place: Place, duration: Duration, future: F) -> Timeout<F> {
    let now = kernel.with_dial(place, |dial, now| dial.monotonic(now));
    Timeout {
        future: Box::pin(future),
        sleep: SimSleep::until(Arc::clone(kernel), place, now.saturating_add(nanos(duration))),
    }
}

/// Spawns for somebody else than who runs.
#[track_caller]
pub(crate) fn spawn_for<T>(kernel: &Arc<Kernel>, owner: Owner, future: T) -> JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    join::spawn(kernel, owner, Location::caller(), future)
}

#[cfg(test)]
mod tests {
    use openraft_rt::testing::Suite;

    use super::*;

    #[test]
    fn it_passes_the_suite_for_runtimes() {
        Suite::<SimRuntime>::test_all();
    }
}
