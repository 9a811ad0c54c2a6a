//! A simulation from start to end.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::draw::nanos;
use crate::executor::trace::Digest;
use crate::executor::{Kernel, Limits, Stopped, lock};
use crate::world::World;

/// How a simulation is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Everything random follows from it.
    pub seed: u64,
    /// Bounds of the run.
    pub limits: Limits,
    /// Keeps the whole trace in memory and not only its hash, to compare runs byte for byte; tens of megabytes for a
    /// minute of a busy cluster.
    pub keep_trace: bool,
    /// Keeps no evidence for [`World::take_evidence`]: who listens has heard it, and memory does not grow with time.
    pub forget_evidence: bool,
}

/// Owns a world and lets time pass in it. It belongs to the thread that made it. Not for use inside a tokio runtime,
/// whose tasks tokio's channels would interrupt now and then.
pub struct Simulation {
    world: World,
    /// Keeps it from leaving its thread, by whose name foreign wakes are told.
    _thread: PhantomData<Rc<()>>,
}

impl Simulation {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        let kernel = Kernel::new(settings.seed, settings.limits, settings.keep_trace);
        lock(&kernel.evidence).forget(settings.forget_evidence);
        Self {
            world: World { kernel },
            _thread: PhantomData,
        }
    }

    /// The world, to hold and change.
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// Lets this much true time pass.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Stopped> {
        let until = self.world.kernel.now().saturating_add(nanos(duration));
        self.world.kernel.run::<()>(None, until).map(drop)
    }

    /// Lets time pass until the future is ready, but no longer than this.
    pub fn run_until<T>(&mut self, within: Duration, future: impl Future<Output = T>) -> Result<T, Stopped> {
        let until = self.world.kernel.now().saturating_add(nanos(within));
        let value = self.world.kernel.run(Some(pin!(future)), until)?;
        value.ok_or(Stopped::NotInTime { within })
    }

    /// Hash of everything that happened so far.
    pub fn digest(&self) -> Digest {
        self.world.kernel.state().trace.digest()
    }

    /// Everything that happened so far, if it is kept. See [`lines`](crate::trace::lines).
    pub fn trace(&self) -> Option<Vec<u8>> {
        self.world.kernel.state().trace.bytes().map(<[u8]>::to_vec)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.world.kernel.tear_down();
    }
}
