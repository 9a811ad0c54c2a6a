//! Snapshots: a state machine as of one entry, in a file of its own.
//!
//! A file is a magic with the format's version (8 bytes) and frames of length (u32), crc32c (u32) and content;
//! numbers are little-endian. The first frame is what the owner wrote about the snapshot, the others are its chunks.
//! The last frame is empty, and after it comes xxh3_128 of everything before (16 bytes), which also names the content.
//! So a file that is cut, or that lacks a frame, is never taken for a whole one.
//!
//! A file is written beside, whether it is made here or comes in pieces from elsewhere; it is synced, checked,
//! renamed and the folder synced. A name ending in `.snap` therefore always belongs to a whole file, and the one
//! before is removed only then. Only the newest is kept. Memory holds a chunk or a piece at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use tribunal_env::{Disk, DiskFile, Env, OpenMode};
use tribunal_history::{LogIndex, Term};
use xxhash_rust::xxh3::Xxh3;

use super::WalError;
use crate::points;

const FOLDER: &str = "snap";
const MAGIC: [u8; 8] = *b"TRIBSNP\x03";
const FRAME_HEAD_BYTES: u64 = 8;
const HASH_BYTES: u64 = 16;

/// Longest frame that is read: the owner's chunks are far smaller, unless a length is damaged.
const FRAME_BYTES_MAX: u32 = 1 << 30;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Names the content of a snapshot: the hash at its end.
pub type ContentId = u128;

/// A whole snapshot, open for reading; it can be read as long as this lives, even after a newer one replaced it.
pub struct Stored<E: Env> {
    file: Arc<<E::Disk as Disk>::File>,
    name: Arc<str>,
    meta: Bytes,
    id: ContentId,
    length: u64,
    /// The counter of the store that it belongs to.
    home: Arc<AtomicU64>,
}

/// The snapshots of a node; clones share them.
pub struct SnapshotStore<E: Env> {
    env: E,
    current: Arc<Mutex<Option<Stored<E>>>>,
    /// Counts the files that were begun, so that no two have the same name.
    begun: Arc<AtomicU64>,
}

impl<E: Env> SnapshotStore<E> {
    /// Opens the folder, removes what a crash left unfinished or did not remove, and checks the newest snapshot.
    pub async fn open(env: &E) -> Result<Self, WalError> {
        let disk = env.disk();
        disk.create_dir(FOLDER)
            .await
            .map_err(|e| WalError::io("create", FOLDER, &e))?;
        let names = disk.list(FOLDER).await.map_err(|e| WalError::io("list", FOLDER, &e))?;
        let newest = names.iter().rev().find(|name| name.ends_with(".snap"));
        let begun = Arc::new(AtomicU64::new(0));
        let current = match newest {
            None => None,
            Some(name) => Some(check(env, name, &begun).await?),
        };
        // A name that the last life gave and did not sync is shown until the power fails. The log may be purged for it
        // soon, so it must be durable.
        disk.sync_dir(FOLDER)
            .await
            .map_err(|e| WalError::io("sync", FOLDER, &e))?;
        for name in names.iter().filter(|name| Some(*name) != newest) {
            remove(disk, name).await?;
        }
        Ok(Self {
            env: env.clone(),
            current: Arc::new(Mutex::new(current)),
            begun,
        })
    }

    /// The newest snapshot; none if there never was one.
    pub fn current(&self) -> Option<Stored<E>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a snapshot beside; durable when it returns, and nobody's until [`SnapshotStore::keep`].
    pub async fn write(&self, meta: &[u8], chunks: impl IntoIterator<Item = Bytes>) -> Result<Stored<E>, WalError> {
        let mut incoming = self.receive().await?;
        let mut hash = Xxh3::new();
        let mut put = BytesMut::from(&MAGIC[..]);
        put_frame(&mut put, meta);
        let mut chunks = chunks.into_iter();
        loop {
            let chunk = chunks.next();
            let is_last = chunk.is_none();
            put_frame(&mut put, chunk.as_deref().unwrap_or_default());
            hash.update(&put);
            if is_last {
                put.put_u128_le(hash.digest128());
            }
            incoming.write(put.split().freeze()).await?;
            if is_last {
                return incoming.finish().await;
            }
        }
    }

    /// Begins a file that comes in pieces.
    pub async fn receive(&self) -> Result<Incoming<E>, WalError> {
        let name = format!("unfinished-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        let path = path_of(&name);
        let file = self.env.disk().open(&path, OpenMode::Create).await;
        Ok(Incoming {
            env: self.env.clone(),
            file: file.map_err(|e| WalError::io("create", &path, &e))?,
            name,
            length: 0,
            home: Arc::clone(&self.begun),
        })
    }

    /// Makes a snapshot as of an entry the current one and removes the one before; durable when it returns. One
    /// that is not newer than the current one is removed instead; whether it is kept.
    pub async fn keep(&self, term: Term, index: LogIndex, mut stored: Stored<E>) -> Result<bool, WalError> {
        if !Arc::ptr_eq(&self.begun, &stored.home) {
            stored = self.copy(&stored).await?;
        }
        let name = format!("{:016x}-{:016x}.snap", index.0, term.0);
        let disk = self.env.disk();
        let current = self.current().map(|current| current.name);
        if current.as_ref() == Some(&stored.name) {
            return Ok(true);
        }
        if current.is_some_and(|current| *current >= *name) {
            remove(disk, &stored.name).await?;
            return Ok(false);
        }
        let path = path_of(&name);
        let rename = async {
            points::pass(&self.env, points::SNAPSHOT_SAVE_BEFORE_RENAME);
            disk.rename(&path_of(&stored.name), &path).await?;
            points::pass(&self.env, points::SNAPSHOT_SAVE_BEFORE_DIR_SYNC);
            disk.sync_dir(FOLDER).await
        };
        rename.await.map_err(|e| WalError::io("rename to", &path, &e))?;
        stored.name = name.as_str().into();
        let before = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            // Another one may have been kept meanwhile.
            if current.as_ref().is_some_and(|current| current.name > stored.name) {
                Some(stored)
            } else {
                current.replace(stored)
            }
        };
        points::pass(&self.env, points::SNAPSHOT_SAVE_BEFORE_REMOVE);
        match before {
            None => Ok(true),
            Some(before) => {
                remove(disk, &before.name).await?;
                Ok(*before.name < *name)
            }
        }
    }

    /// A snapshot of another node, which is on another disk.
    async fn copy(&self, stored: &Stored<E>) -> Result<Stored<E>, WalError> {
        let mut incoming = self.receive().await?;
        while incoming.length < stored.length {
            incoming.write(stored.piece(incoming.length, COPY_BYTES).await?).await?;
        }
        incoming.finish().await
    }

    /// Removes a snapshot that was written or received and is not to be kept; nothing if it was kept after all.
    pub async fn discard(&self, name: &str) -> Result<(), WalError> {
        if name.ends_with(".snap") {
            return Ok(());
        }
        remove(self.env.disk(), name).await
    }
}

impl<E: Env> Stored<E> {
    /// What the owner wrote about it.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// Names its content.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Bytes of its file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Name of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of its file from `offset`, at most so many.
    pub async fn piece(&self, offset: u64, bytes_max: usize) -> Result<Bytes, WalError> {
        let path = path_of(&self.name);
        let piece = self.file.read_at(offset, bytes_max).await;
        let piece = piece.map_err(|e| WalError::io("read", &path, &e))?;
        if piece.is_empty() && offset < self.length {
            return Err(corrupt(&path, offset, "it has become shorter"));
        }
        Ok(piece)
    }

    /// Its chunks, one after the other.
    pub fn chunks(&self) -> Chunks<E> {
        Chunks {
            stored: self.clone(),
            at: MAGIC.len() as u64 + FRAME_HEAD_BYTES + self.meta.len() as u64,
        }
    }
}

/// The chunks of a snapshot that were not read yet.
pub struct Chunks<E: Env> {
    stored: Stored<E>,
    at: u64,
}

impl<E: Env> Chunks<E> {
    /// The next chunk; none after the last one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WalError> {
        let (_, content) = read_frame(&*self.stored.file, &path_of(&self.stored.name), self.at).await?;
        self.at += FRAME_HEAD_BYTES + content.len() as u64;
        Ok((!content.is_empty()).then_some(content))
    }
}

/// A file that comes in pieces.
pub struct Incoming<E: Env> {
    env: E,
    file: <E::Disk as Disk>::File,
    name: String,
    length: u64,
    home: Arc<AtomicU64>,
}

impl<E: Env> Incoming<E> {
    /// Bytes that came so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Name of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds the next piece.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), WalError> {
        let length = piece.len() as u64;
        let written = self.file.write_at(self.length, piece).await;
        written.map_err(|e| WalError::io("write", &path_of(&self.name), &e))?;
        self.length += length;
        Ok(())
    }

    /// Makes it durable and checks that it is whole.
    pub async fn finish(self) -> Result<Stored<E>, WalError> {
        let path = path_of(&self.name);
        points::linger(&self.env, points::SNAPSHOT_SAVE_BEFORE_SYNC).await;
        self.file
            .sync_data()
            .await
            .map_err(|e| WalError::io("sync", &path, &e))?;
        check(&self.env, &self.name, &self.home).await
    }
}

impl<E: Env> Clone for SnapshotStore<E> {
    fn clone(&self) -> Self {
        Self {
            env: self.env.clone(),
            current: Arc::clone(&self.current),
            begun: Arc::clone(&self.begun),
        }
    }
}

impl<E: Env> Clone for Stored<E> {
    fn clone(&self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            name: Arc::clone(&self.name),
            meta: self.meta.clone(),
            id: self.id,
            length: self.length,
            home: Arc::clone(&self.home),
        }
    }
}

/// Reads a whole file and checks it.
async fn check<E: Env>(env: &E, name: &str, home: &Arc<AtomicU64>) -> Result<Stored<E>, WalError> {
    let path = path_of(name);
    let file = env.disk().open(&path, OpenMode::Read).await;
    let file = file.map_err(|e| WalError::io("open", &path, &e))?;
    let length = file.len().await.map_err(|e| WalError::io("measure", &path, &e))?;
    let head = read(&file, &path, 0, MAGIC.len()).await?;
    if head[..7] != MAGIC[..7] {
        return Err(corrupt(&path, 0, "it is not a snapshot"));
    }
    if head[7] != MAGIC[7] {
        let (found, expected) = (head[7], MAGIC[7]);
        return Err(WalError::Version { path, found, expected });
    }
    let mut hash = Xxh3::new();
    hash.update(&head);
    let mut at = head.len() as u64;
    let mut meta = None;
    loop {
        let (frame_head, content) = read_frame(&file, &path, at).await?;
        hash.update(&frame_head);
        hash.update(&content);
        at += FRAME_HEAD_BYTES + content.len() as u64;
        if meta.is_some() && content.is_empty() {
            break;
        }
        meta.get_or_insert(content);
    }
    let end = read(&file, &path, at, HASH_BYTES as usize).await?;
    let id = u128::from_le_bytes(end[..].try_into().unwrap_or_default());
    if id != hash.digest128() {
        return Err(corrupt(&path, at, "its hash is wrong"));
    }
    if at + HASH_BYTES != length {
        return Err(corrupt(&path, at + HASH_BYTES, "something follows its end"));
    }
    Ok(Stored {
        file: Arc::new(file),
        name: name.into(),
        meta: meta.unwrap_or_default(),
        id,
        length,
        home: Arc::clone(home),
    })
}

fn put_frame(out: &mut BytesMut, content: &[u8]) {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    assert!(length <= FRAME_BYTES_MAX, "a frame of {} bytes", content.len());
    out.reserve(content.len() + FRAME_HEAD_BYTES as usize);
    out.put_u32_le(length);
    out.put_u32_le(crc32c::crc32c(content));
    out.put_slice(content);
}

/// The head and the content of the frame at an offset.
async fn read_frame(file: &impl DiskFile, path: &str, at: u64) -> Result<(Bytes, Bytes), WalError> {
    let head = read(file, path, at, FRAME_HEAD_BYTES as usize).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length > FRAME_BYTES_MAX {
        return Err(corrupt(path, at, "the length of a frame is out of range"));
    }
    let content = read(file, path, at + FRAME_HEAD_BYTES, length as usize).await?;
    if crc32c::crc32c(&content) != checksum {
        return Err(corrupt(path, at, "the checksum of a frame is wrong"));
    }
    Ok((head, content))
}

async fn read(file: &impl DiskFile, path: &str, at: u64, length: usize) -> Result<Bytes, WalError> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    let bytes = file.read_at(at, length).await;
    let bytes = bytes.map_err(|e| WalError::io("read", path, &e))?;
    if bytes.len() != length {
        return Err(corrupt(path, at, "it is cut"));
    }
    Ok(bytes)
}

/// Removes a file; one that is gone is as good. A removal that a crash undoes is repeated when the node starts.
async fn remove<D: Disk>(disk: &D, name: &str) -> Result<(), WalError> {
    let path = path_of(name);
    match disk.remove(&path).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(WalError::io("remove", &path, &error)),
    }
}

fn corrupt(path: &str, offset: u64, what: &str) -> WalError {
    WalError::Corrupt {
        path: path.to_owned(),
        offset,
        what: what.to_owned(),
    }
}

fn path_of(name: &str) -> String {
    format!("{FOLDER}/{name}")
}
