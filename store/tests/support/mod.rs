//! A world in memory for tests of the log: a disk that can be copied as a crash would leave it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{CallError, Clock, Disk, DiskFile, Env, Method, OpenMode, PeerStream, Stream, Transport, seeded};
use tribunal_history::{Evidence, MemberId};

/// Files by path: content that was written, and content that was synced.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    /// Counts syncs of files.
    pub syncs: Arc<AtomicUsize>,
    /// Counts syncs of folders.
    pub folder_syncs: Arc<AtomicUsize>,
    /// Makes every further sync fail.
    pub broken: Arc<AtomicBool>,
}

#[derive(Default)]
pub struct MemoryFile {
    written: Mutex<Vec<u8>>,
    synced: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

impl MemoryDisk {
    /// The disk as `edit` makes it of the synced contents, with nothing un-synced.
    pub fn after(&self, edit: impl Fn(&str, &mut Vec<u8>)) -> Self {
        let copy = Self::default();
        for (path, file) in lock(&self.files).iter() {
            let mut bytes = lock(&file.synced).clone();
            edit(path, &mut bytes);
            let file = MemoryFile {
                written: Mutex::new(bytes.clone()),
                synced: Mutex::new(bytes),
            };
            lock(&copy.files).insert(path.clone(), Arc::new(file));
        }
        copy
    }

    /// Synced content of a file.
    pub fn content(&self, path: &str) -> Vec<u8> {
        lock(&lock(&self.files)[path].synced).clone()
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        lock(&self.files).keys().cloned().collect()
    }
}

pub struct Handle {
    file: Arc<MemoryFile>,
    disk: MemoryDisk,
}

impl Disk for MemoryDisk {
    type File = Handle;

    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Handle> {
        let mut files = lock(&self.files);
        let file = match (files.get(path), mode) {
            (Some(file), OpenMode::Read | OpenMode::Write) => Arc::clone(file),
            (Some(_), OpenMode::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Create) => Arc::clone(files.entry(path.to_owned()).or_default()),
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        let disk = self.clone();
        Ok(Handle { file, disk })
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        let removed = lock(&self.files).remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    async fn create_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{folder}/");
        let files = lock(&self.files);
        Ok(files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned))
            .collect())
    }

    async fn sync_dir(&self, _folder: &str) -> io::Result<()> {
        self.folder_syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl DiskFile for Handle {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let written = lock(&self.file.written);
        let from = usize::try_from(offset).expect("small").min(written.len());
        let to = from.saturating_add(length).min(written.len());
        Ok(Bytes::copy_from_slice(&written[from..to]))
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> io::Result<()> {
        let mut written = lock(&self.file.written);
        let from = usize::try_from(offset).expect("small");
        let to = from + bytes.len();
        if written.len() < to {
            written.resize(to, 0);
        }
        written[from..to].copy_from_slice(&bytes);
        Ok(())
    }

    async fn sync_data(&self) -> io::Result<()> {
        // Waits a turn, as a device would, so that requests can queue up meanwhile.
        tokio::task::yield_now().await;
        if self.disk.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the device is gone"));
        }
        *lock(&self.file.synced) = lock(&self.file.written).clone();
        self.disk.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        lock(&self.file.written).resize(usize::try_from(length).expect("small"), 0);
        Ok(())
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.file.written).len() as u64)
    }
}

/// Nobody else is there.
#[derive(Clone)]
pub struct NoPeers;

impl Transport for NoPeers {
    type Stream = NoPeers;

    async fn call(&self, _: MemberId, _: Method, _: Bytes, _: Duration) -> Result<Bytes, CallError> {
        Err(CallError::Refused("there are no peers".to_owned()))
    }

    async fn stream(&self, _: MemberId, _: Method) -> Result<NoPeers, CallError> {
        Err(CallError::Refused("there are no peers".to_owned()))
    }
}

impl PeerStream for NoPeers {
    async fn send(&mut self, _: Bytes) -> Result<(), CallError> {
        Err(CallError::Refused("there are no peers".to_owned()))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, CallError> {
        Ok(None)
    }
}

/// Time stands still.
pub struct Still;

impl Clock for Still {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }
}

/// The world of one node in a test.
#[derive(Clone, Default)]
pub struct MemoryEnv {
    pub disk: MemoryDisk,
    pub evidence: Arc<Mutex<Vec<Evidence>>>,
}

impl MemoryEnv {
    pub fn on(disk: MemoryDisk) -> Self {
        let evidence = Arc::default();
        Self { disk, evidence }
    }

    pub fn recorded(&self) -> Vec<Evidence> {
        lock(&self.evidence).clone()
    }
}

impl Env for MemoryEnv {
    type Runtime = TokioRuntime;
    type Disk = MemoryDisk;
    type Transport = NoPeers;
    type Clock = Still;

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn transport(&self) -> &NoPeers {
        &NoPeers
    }

    fn clock(&self) -> &Still {
        &Still
    }

    fn rng(&self, stream: Stream) -> ChaCha8Rng {
        seeded(1, 0, stream)
    }

    fn buggify(&self, _point: &'static str) -> bool {
        false
    }

    fn record(&self, evidence: Evidence) {
        lock(&self.evidence).push(evidence);
    }

    fn settle(&self) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}
