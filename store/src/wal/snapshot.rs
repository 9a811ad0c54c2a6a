//! Snapshots: a state machine as of one entry, in a file of its own.
//!
//! A file is a magic with the format's version (8 bytes), xxh3_128 of everything after it (16 bytes), length of the
//! metadata (u64), metadata, data; numbers are little-endian. It is written beside, synced, renamed and the folder
//! synced, so that a name ending in `.snap` always belongs to a whole file; what the hash contradicts is damage
//! and an error. Only the newest is kept.

use bytes::{BufMut as _, Bytes, BytesMut};
use tribunal_env::{Disk, DiskFile, Env, OpenMode};
use tribunal_history::{LogIndex, Term};
use xxhash_rust::xxh3::xxh3_128;

use super::WalError;
use crate::points;

const FOLDER: &str = "snap";
const UNFINISHED: &str = "snap/unfinished";
const MAGIC: [u8; 8] = *b"TRIBSNP\x01";
const HEAD_BYTES: usize = 32;

/// A snapshot as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What the owner wrote about it.
    pub meta: Bytes,
    /// Its content.
    pub data: Bytes,
}

/// The snapshots of a node.
#[derive(Clone)]
pub struct SnapshotStore<E: Env> {
    env: E,
}

impl<E: Env> SnapshotStore<E> {
    /// Opens the folder and removes what a crash left unfinished.
    pub async fn open(env: &E) -> Result<Self, WalError> {
        let disk = env.disk();
        disk.create_dir(FOLDER)
            .await
            .map_err(|e| WalError::io("create", FOLDER, &e))?;
        let store = Self { env: env.clone() };
        if store.names().await?.iter().any(|name| name == "unfinished") {
            disk.remove(UNFINISHED)
                .await
                .map_err(|e| WalError::io("remove", UNFINISHED, &e))?;
        }
        Ok(store)
    }

    /// Saves a snapshot as of an entry and removes older ones; durable when it returns.
    pub async fn save(&self, term: Term, index: LogIndex, snapshot: &Stored) -> Result<(), WalError> {
        let mut body = BytesMut::with_capacity(HEAD_BYTES + snapshot.meta.len() + snapshot.data.len());
        body.put_slice(&MAGIC);
        body.put_bytes(0, 16);
        body.put_u64_le(snapshot.meta.len() as u64);
        body.put_slice(&snapshot.meta);
        body.put_slice(&snapshot.data);
        let hash = xxh3_128(&body[24..]);
        body[8..24].copy_from_slice(&hash.to_le_bytes());
        let disk = self.env.disk();
        let name = format!("{:016x}-{:016x}.snap", index.0, term.0);
        let path = format!("{FOLDER}/{name}");
        let write = async {
            if self
                .names()
                .await
                .is_ok_and(|names| names.iter().any(|name| name == "unfinished"))
            {
                disk.remove(UNFINISHED).await?;
            }
            let file = disk.open(UNFINISHED, OpenMode::Create).await?;
            file.write_at(0, body.freeze()).await?;
            points::linger(&self.env, points::SNAPSHOT_SAVE_BEFORE_SYNC).await;
            file.sync_data().await?;
            points::pass(&self.env, points::SNAPSHOT_SAVE_BEFORE_RENAME);
            disk.rename(UNFINISHED, &path).await?;
            points::pass(&self.env, points::SNAPSHOT_SAVE_BEFORE_DIR_SYNC);
            disk.sync_dir(FOLDER).await
        };
        write.await.map_err(|e| WalError::io("write", &path, &e))?;
        points::pass(&self.env, points::SNAPSHOT_SAVE_BEFORE_REMOVE);
        for old in self.names().await?.iter().filter(|other| **other < name) {
            let path = format!("{FOLDER}/{old}");
            disk.remove(&path)
                .await
                .map_err(|e| WalError::io("remove", &path, &e))?;
        }
        disk.sync_dir(FOLDER)
            .await
            .map_err(|e| WalError::io("sync", FOLDER, &e))
    }

    /// Loads the newest snapshot; none if there never was one.
    pub async fn load(&self) -> Result<Option<Stored>, WalError> {
        let names = self.names().await?;
        let Some(name) = names.iter().rev().find(|name| name.ends_with(".snap")) else {
            return Ok(None);
        };
        let path = format!("{FOLDER}/{name}");
        let read = async {
            let file = self.env.disk().open(&path, OpenMode::Read).await?;
            let length = usize::try_from(file.len().await?).unwrap_or(usize::MAX);
            file.read_at(0, length).await
        };
        let bytes = read.await.map_err(|e| WalError::io("read", &path, &e))?;
        decode(&path, &bytes).map(Some)
    }

    async fn names(&self) -> Result<Vec<String>, WalError> {
        let names = self.env.disk().list(FOLDER).await;
        names.map_err(|e| WalError::io("list", FOLDER, &e))
    }
}

fn decode(path: &str, bytes: &Bytes) -> Result<Stored, WalError> {
    let corrupt = |offset: u64, what: &str| WalError::Corrupt {
        path: path.to_owned(),
        offset,
        what: what.to_owned(),
    };
    if bytes.len() < HEAD_BYTES || bytes[..7] != MAGIC[..7] {
        return Err(corrupt(0, "it is not a snapshot"));
    }
    if bytes[7] != MAGIC[7] {
        return Err(WalError::Version {
            path: path.to_owned(),
            found: bytes[7],
            expected: MAGIC[7],
        });
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range]
            .iter()
            .rev()
            .fold(0_u128, |number, &byte| number << 8 | u128::from(byte))
    };
    if xxh3_128(&bytes[24..]) != number(8..24) {
        return Err(corrupt(8, "its hash is wrong"));
    }
    let meta = usize::try_from(number(24..32)).unwrap_or(usize::MAX);
    if meta > bytes.len() - HEAD_BYTES {
        return Err(corrupt(24, "its metadata are longer than the file"));
    }
    Ok(Stored {
        meta: bytes.slice(HEAD_BYTES..HEAD_BYTES + meta),
        data: bytes.slice(HEAD_BYTES + meta..),
    })
}
