//! [`Env`] for a process.

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::sync::Arc;

use openraft_rt_tokio::TokioRuntime;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{Clock as _, Env, Stream, seeded};
use tribunal_history::Evidence;
use tribunal_history::evidence::Stamped;

use super::clock::RealClock;
use super::disk::AnyDisk;
use super::evidence::EvidenceFile;
use super::transport::GrpcTransport;

/// The real world for one member; clones share it.
#[derive(Clone)]
pub struct RealEnv {
    inner: Arc<Inner>,
}

struct Inner {
    disk: AnyDisk,
    transport: GrpcTransport,
    clock: RealClock,
    evidence: Option<EvidenceFile>,
    seed: u64,
    incarnation: u32,
}

impl RealEnv {
    /// A world of these parts. Without a seed one is drawn from the system.
    pub fn new(
        disk: AnyDisk,
        transport: GrpcTransport,
        evidence: Option<EvidenceFile>,
        seed: Option<u64>,
        incarnation: u32,
    ) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self {
            inner: Arc::new(Inner {
                disk,
                transport,
                clock: RealClock::new(),
                evidence,
                seed,
                incarnation,
            }),
        }
    }

    /// Writes evidence that no reply waits for.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.inner.evidence.as_ref().map_or(Ok(()), EvidenceFile::flush)
    }
}

impl Env for RealEnv {
    type Runtime = TokioRuntime;
    type Disk = AnyDisk;
    type Transport = GrpcTransport;
    type Clock = RealClock;

    fn disk(&self) -> &AnyDisk {
        &self.inner.disk
    }

    fn transport(&self) -> &GrpcTransport {
        &self.inner.transport
    }

    fn clock(&self) -> &RealClock {
        &self.inner.clock
    }

    fn rng(&self, stream: Stream) -> ChaCha8Rng {
        seeded(self.inner.seed, self.inner.incarnation, stream)
    }

    fn buggify(&self, _point: &'static str) -> bool {
        false
    }

    fn record(&self, evidence: Evidence) {
        if let Some(file) = &self.inner.evidence {
            let time_ns = u64::try_from(self.inner.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
            file.record(&Stamped { time_ns, evidence });
        }
    }

    fn settle(&self) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(self.flush())
    }
}
