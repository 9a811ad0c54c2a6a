//! One life's view of the simulated world.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{CallError, Clock as _, Env, Method, Stream, seeded};
use tribunal_history::Evidence;
use tribunal_history::evidence::Stamped;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::executor::Kernel;
use crate::network::{Answering, SimStream, SimTransport, Streaming};
use crate::place::{Owner, Place};
use crate::runtime::SimRuntime;

/// The world of one place in one of its lives; clones share it.
#[derive(Clone)]
pub struct SimEnv {
    kernel: Arc<Kernel>,
    owner: Owner,
    clock: SimClock,
    disk: SimDisk,
    transport: SimTransport,
}

impl SimEnv {
    pub(crate) fn new(kernel: &Arc<Kernel>, owner: Owner) -> Self {
        Self {
            kernel: Arc::clone(kernel),
            owner,
            clock: SimClock {
                kernel: Arc::clone(kernel),
                place: owner.place,
            },
            disk: SimDisk {
                kernel: Arc::clone(kernel),
                owner,
            },
            transport: SimTransport {
                kernel: Arc::clone(kernel),
                owner,
            },
        }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.owner.place
    }

    /// How many lives the place had before.
    pub fn incarnation(&self) -> u32 {
        self.owner.incarnation
    }

    /// Answers calls to this node from now on: who asks, the method, and the encoded request. Each call runs in a task
    /// of its own on this node, so that a caller who hangs up leaves none half done. A node that serves nothing
    /// refuses. The harness's clients arrive here as the other nodes do.
    pub fn serve<H, F>(&self, handler: H)
    where
        H: Fn(Place, Method, Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Bytes, CallError>> + Send + 'static,
    {
        let handler = move |from, method, body| -> Answering { Box::pin(handler(from, method, body)) };
        self.kernel.serve(self.owner, Arc::new(handler));
    }

    /// Accepts ordered streams from now on; each runs in a task of its own on this node.
    pub fn serve_streams<H, F>(&self, handler: H)
    where
        H: Fn(Place, Method, SimStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let handler = move |from, method, stream| -> Streaming { Box::pin(handler(from, method, stream)) };
        self.kernel.serve_streams(self.owner, Arc::new(handler));
    }
}

impl Env for SimEnv {
    type Runtime = SimRuntime;
    type Disk = SimDisk;
    type Transport = SimTransport;
    type Clock = SimClock;

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn transport(&self) -> &SimTransport {
        &self.transport
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// The place enters the stream as well: two nodes that ask with one label draw different numbers.
    fn rng(&self, stream: Stream) -> ChaCha8Rng {
        let mut label = [0; 16];
        label[..8].copy_from_slice(&self.kernel.seed.to_le_bytes());
        label[8..].copy_from_slice(&self.owner.place.number().to_le_bytes());
        seeded(xxh3_64(&label), self.owner.incarnation, stream)
    }

    /// Where the place was told to crash at this point, this never returns.
    fn buggify(&self, point: &'static str) -> bool {
        self.kernel.buggify(self.owner, point)
    }

    fn record(&self, evidence: Evidence) {
        let now = self.clock.monotonic();
        let stamped = Stamped {
            time_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            evidence,
        };
        self.kernel.record(self.owner, stamped);
    }

    async fn settle(&self) -> io::Result<()> {
        self.kernel.settle(self.owner);
        Ok(())
    }
}
