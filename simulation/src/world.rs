//! What the harness does to the world: places, lives, clocks.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tribunal_env::Stream;
use tribunal_history::NodeId;

use crate::buggify::Buggify;
use crate::clock::Dial;
use crate::crash::Crash;
use crate::env::SimEnv;
use crate::executor::trace::Kind;
use crate::executor::{Finding, Kernel, Life, lock};
use crate::place::{Owner, Place};
use crate::runtime::{JoinHandle, sleep_true, spawn_for};

/// The simulated world, as the harness holds it; clones are the same world.
///
/// Everything takes effect at once, between two polls. A method that names a place answers `false` if there is no
/// such place, or if it is not in the state that the method needs.
#[derive(Clone)]
pub struct World {
    pub(crate) kernel: Arc<Kernel>,
}

impl World {
    /// The seed.
    pub fn seed(&self) -> u64 {
        self.kernel.seed
    }

    /// True time since the start, which no node's clock changes.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.kernel.now())
    }

    /// Waits by true time.
    pub async fn sleep(&self, duration: Duration) {
        sleep_true(&self.kernel, duration).await;
    }

    /// Makes a client known and alive, and gives its view of the world.
    pub fn client(&self, client: u32) -> SimEnv {
        let place = Place::Client(client);
        self.kernel.add_place(place, Life::begun());
        SimEnv::new(&self.kernel, Owner { place, incarnation: 0 })
    }

    /// A living place's view of the world, in the life that it has now.
    pub fn env(&self, place: Place) -> Option<SimEnv> {
        let owner = self.kernel.alive(place)?;
        Some(SimEnv::new(&self.kernel, owner))
    }

    /// Runs a task at a place, in the life that it has now; killed with it. A place that does not live runs none,
    /// and the handle says so.
    #[track_caller]
    pub fn spawn<T>(&self, place: Place, future: T) -> JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        match self.kernel.alive(place) {
            Some(owner) => spawn_for(&self.kernel, owner, future),
            None => JoinHandle::killed(),
        }
    }

    /// Starts a node's first life. The program is kept: each later life runs it again, over the disk that the last
    /// one left. When what it returns is ready, the process exits and its tasks end with it.
    #[track_caller]
    pub fn boot<P, F>(&self, node: NodeId, program: P) -> bool
    where
        P: Fn(SimEnv) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let place = Place::Node(node);
        self.kernel.add_place(place, Life::unborn());
        let kernel = Arc::downgrade(&self.kernel);
        let program = move |incarnation| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            match kernel.upgrade() {
                Some(kernel) => Box::pin(program(SimEnv::new(&kernel, Owner { place, incarnation }))),
                None => Box::pin(std::future::ready(())),
            }
        };
        self.kernel.begin(place, Arc::new(program))
    }

    /// Ends a node's life now. If it is the node itself that calls this, or a listener to its evidence, it does not
    /// return: nothing more of that task runs.
    pub fn crash(&self, node: NodeId, crash: Crash) -> bool {
        self.kernel.end_now(Place::Node(node), crash)
    }

    /// Ends a node's life before the poll after so many more polls of its tasks: at any await point.
    pub fn crash_after_polls(&self, node: NodeId, polls: u64, crash: Crash) -> bool {
        self.kernel.arm_polls(Place::Node(node), polls, crash)
    }

    /// Ends a node's life inside `Env::buggify` with this point, after so many passes of it: 0 for the next one. If the
    /// node dies before that, it waits for a later life: some points are passed by recovery only.
    pub fn crash_at(&self, node: NodeId, point: &'static str, passes: u64, crash: Crash) -> bool {
        // One that has not lived yet may do so before it is disarmed.
        self.kernel.add_place(Place::Node(node), Life::unborn());
        self.kernel.arm_point(Place::Node(node), point, passes, crash)
    }

    /// Undoes [`World::crash_after_polls`] and [`World::crash_at`]; `false` if nothing was waiting to happen.
    pub fn disarm(&self, node: NodeId) -> bool {
        self.kernel.disarm(Place::Node(node))
    }

    /// Starts the program of a node that has died again.
    #[track_caller]
    pub fn restart(&self, node: NodeId) -> bool {
        self.kernel.begin_again(Place::Node(node))
    }

    /// Polls none of a node's tasks until [`World::resume`] (SIGSTOP). Its clock and the network go on.
    pub fn pause(&self, node: NodeId) -> bool {
        self.kernel.set_stopped(Place::Node(node), true)
    }

    /// Undoes [`World::pause`] (SIGCONT).
    pub fn resume(&self, node: NodeId) -> bool {
        self.kernel.set_stopped(Place::Node(node), false)
    }

    /// Whether a node lives, paused or not.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.kernel.alive(Place::Node(node)).is_some()
    }

    /// Waits until a node does not live.
    pub async fn ended(&self, node: NodeId) {
        std::future::poll_fn(|context| self.kernel.poll_end(Place::Node(node), context.waker())).await;
    }

    /// Lets a place's clocks run fast (positive) or slow from now on, in parts per million, at most 900,000.
    pub fn set_drift(&self, place: Place, drift_ppm: i32) -> bool {
        self.kernel.turn_dial(place, |dial, now| dial.set_drift(now, drift_ppm))
    }

    /// Lets a place's monotonic clock, and with it its wall clock, leap ahead. Before anything has run this is skew.
    pub fn leap(&self, place: Place, by: Duration) -> bool {
        self.kernel.turn_dial(place, |dial, _| dial.leap(by))
    }

    /// Sets a place's wall clock forward or, if negative, back, in nanoseconds. The monotonic clock does not care.
    pub fn set_wall(&self, place: Place, by_nanos: i64) -> bool {
        self.kernel.turn_dial(place, |dial, _| dial.set_wall(by_nanos))
    }

    /// How fast (positive) or slow a place's clocks run, in parts per million.
    pub fn drift(&self, place: Place) -> i32 {
        self.kernel.with_dial(place, |dial, _| dial.drift_ppm())
    }

    /// What a place's clocks show now, the monotonic and the wall one, whether it lives or not.
    pub fn clocks(&self, place: Place) -> (Duration, Duration) {
        let shown = |dial: &Dial, now| (dial.monotonic(now), dial.wall(now));
        let (monotonic, wall) = self.kernel.with_dial(place, shown);
        (Duration::from_nanos(monotonic), Duration::from_nanos(wall))
    }

    /// How often named points act from now on.
    pub fn set_buggify(&self, buggify: Buggify) {
        lock(&self.kernel.points).set(buggify);
    }

    /// How often each named point has acted; those that never did are left out.
    pub fn buggified(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.kernel.points).acted().clone()
    }

    /// A stream of the harness's own.
    pub fn rng(&self, stream: Stream) -> rand_chacha::ChaCha8Rng {
        tribunal_env::seeded(self.kernel.seed, 0, stream)
    }

    /// Adds bytes of the harness's own to the trace, so that they count when runs are compared.
    pub fn note(&self, bytes: &[u8]) {
        self.kernel.trace(Kind::Note, 0, 0, bytes);
    }

    /// What was found so far (the first hundred are kept), and how many findings there were in all.
    pub fn findings(&self) -> (Vec<Finding>, u64) {
        self.kernel.findings()
    }

    /// How many polls were made.
    pub fn polls(&self) -> u64 {
        self.kernel.polls()
    }
}
