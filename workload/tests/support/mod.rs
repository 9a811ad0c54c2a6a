//! A world in which time passes only when everybody waits: tokio's paused clock behind the seams. There is no disk
//! and no other node in it.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{CallError, Clock, Disk, DiskFile, Env, Method, OpenMode, PeerStream, Stream, Transport, seeded};
use tribunal_history::{Evidence, MemberId};

/// Runs `future` in virtual time, from 0.
pub fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// The world; made inside [`run`].
#[derive(Clone)]
pub struct World {
    seed: u64,
    clock: PausedClock,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            clock: PausedClock(tokio::time::Instant::now()),
        }
    }

    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl Env for World {
    type Runtime = TokioRuntime;
    type Disk = Nothing;
    type Transport = Nothing;
    type Clock = PausedClock;

    fn disk(&self) -> &Nothing {
        &Nothing
    }

    fn transport(&self) -> &Nothing {
        &Nothing
    }

    fn clock(&self) -> &PausedClock {
        &self.clock
    }

    fn rng(&self, stream: Stream) -> ChaCha8Rng {
        seeded(self.seed, 0, stream)
    }

    fn buggify(&self, _point: &'static str) -> bool {
        false
    }

    fn record(&self, _evidence: Evidence) {}

    async fn settle(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
pub struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A disk that refuses and a network that reaches nobody.
#[derive(Clone)]
pub struct Nothing;

fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Disk for Nothing {
    type File = Self;

    async fn open(&self, _path: &str, _mode: OpenMode) -> io::Result<Self> {
        refuse()
    }
    async fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refuse()
    }
    async fn remove(&self, _path: &str) -> io::Result<()> {
        refuse()
    }
    async fn create_dir(&self, _path: &str) -> io::Result<()> {
        refuse()
    }
    async fn list(&self, _folder: &str) -> io::Result<Vec<String>> {
        refuse()
    }
    async fn sync_dir(&self, _folder: &str) -> io::Result<()> {
        refuse()
    }
}

impl DiskFile for Nothing {
    async fn read_at(&self, _offset: u64, _length: usize) -> io::Result<Bytes> {
        refuse()
    }
    async fn write_at(&self, _offset: u64, _bytes: Bytes) -> io::Result<()> {
        refuse()
    }
    async fn sync_data(&self) -> io::Result<()> {
        refuse()
    }
    async fn set_len(&self, _length: u64) -> io::Result<()> {
        refuse()
    }
    async fn len(&self) -> io::Result<u64> {
        refuse()
    }
}

impl Transport for Nothing {
    type Stream = Self;

    async fn call(&self, _to: MemberId, _method: Method, _body: Bytes, _within: Duration) -> Result<Bytes, CallError> {
        Err(CallError::Refused("nobody is there".to_owned()))
    }
    async fn stream(&self, _to: MemberId, _method: Method) -> Result<Self, CallError> {
        Err(CallError::Refused("nobody is there".to_owned()))
    }
}

impl PeerStream for Nothing {
    async fn send(&mut self, _body: Bytes) -> Result<(), CallError> {
        Err(CallError::Refused("nobody is there".to_owned()))
    }
    async fn receive(&mut self) -> Result<Option<Bytes>, CallError> {
        Ok(None)
    }
}
