//! The world of the tool's own tasks: clients and nemesis in real time, on tokio.
//!
//! They use neither a disk nor other nodes, so both refuse.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{CallError, Clock, Disk, DiskFile, Env, Method, OpenMode, PeerStream, Stream, Transport, seeded};
use tribunal_history::{Evidence, MemberId};

/// Tasks, timers and channels of the tool.
pub type ToolRuntime = openraft_rt_tokio::TokioRuntime;

/// The tool's own environment; everything random in it derives from the run's seed.
#[derive(Clone, Debug)]
pub struct ToolEnv {
    seed: u64,
    clock: ToolClock,
}

impl ToolEnv {
    /// The environment of a run with this seed. Its clock begins now.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            clock: ToolClock { began: Instant::now() },
        }
    }
}

impl Env for ToolEnv {
    type Runtime = ToolRuntime;
    type Disk = Nowhere;
    type Transport = Nowhere;
    type Clock = ToolClock;

    fn disk(&self) -> &Nowhere {
        &Nowhere
    }

    fn transport(&self) -> &Nowhere {
        &Nowhere
    }

    fn clock(&self) -> &ToolClock {
        &self.clock
    }

    fn rng(&self, stream: Stream) -> ChaCha8Rng {
        seeded(self.seed, 0, stream)
    }

    fn buggify(&self, _: &'static str) -> bool {
        false
    }

    /// The tool's own tasks give no evidence; nodes do.
    fn record(&self, _: Evidence) {}

    async fn settle(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct ToolClock {
    began: Instant,
}

impl Clock for ToolClock {
    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A disk without files, and a network without nodes.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

/// A file or stream that cannot exist.
#[derive(Debug)]
pub enum Never {}

fn no_disk<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the tool's own tasks have no disk",
    ))
}

fn no_peers<T>() -> Result<T, CallError> {
    Err(CallError::Refused("the tool's own tasks have no peers".to_owned()))
}

impl Disk for Nowhere {
    type File = Never;

    async fn open(&self, _: &str, _: OpenMode) -> io::Result<Never> {
        no_disk()
    }

    async fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        no_disk()
    }

    async fn remove(&self, _: &str) -> io::Result<()> {
        no_disk()
    }

    async fn create_dir(&self, _: &str) -> io::Result<()> {
        no_disk()
    }

    async fn list(&self, _: &str) -> io::Result<Vec<String>> {
        no_disk()
    }

    async fn sync_dir(&self, _: &str) -> io::Result<()> {
        no_disk()
    }
}

impl DiskFile for Never {
    async fn read_at(&self, _: u64, _: usize) -> io::Result<Bytes> {
        match *self {}
    }

    async fn write_at(&self, _: u64, _: Bytes) -> io::Result<()> {
        match *self {}
    }

    async fn sync_data(&self) -> io::Result<()> {
        match *self {}
    }

    async fn set_len(&self, _: u64) -> io::Result<()> {
        match *self {}
    }

    async fn len(&self) -> io::Result<u64> {
        match *self {}
    }
}

impl Transport for Nowhere {
    type Stream = Never;

    async fn call(&self, _: MemberId, _: Method, _: Bytes, _: Duration) -> Result<Bytes, CallError> {
        no_peers()
    }

    async fn stream(&self, _: MemberId, _: Method) -> Result<Never, CallError> {
        no_peers()
    }
}

impl PeerStream for Never {
    fn send(&mut self, _: Bytes) -> impl Future<Output = Result<(), CallError>> + Send {
        match *self {}
        #[expect(unreachable_code, reason = "names the type of a future that cannot exist")]
        std::future::ready(no_peers())
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, CallError> {
        match *self {}
    }
}
