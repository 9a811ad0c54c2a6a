//! The toy's log: one file of frames, each with a length, a checksum and a record.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{AsyncRuntime as _, OptionalSend};
use serde::{Deserialize, Serialize};
use tribunal_env::{Disk as _, DiskFile as _, Env as _, OpenMode};
use tribunal_simulation::{SimEnv, SimFile, SimRuntime};

use super::Types;

const PATH: &str = "log";

#[derive(Serialize, Deserialize)]
enum Record {
    Vote(VoteOf<Types>),
    Entry(EntryOf<Types>),
    /// Entries from this index on are gone.
    Cut(u64),
}

#[derive(Default)]
struct Known {
    vote: Option<VoteOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
    /// Where the next frame goes.
    end: u64,
}

impl Known {
    fn take(&mut self, record: Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Entry(entry) => drop(self.entries.insert(entry.log_id.index, entry)),
            Record::Cut(from) => drop(self.entries.split_off(&from)),
        }
    }
}

#[derive(Clone)]
pub(super) struct Log {
    file: Arc<SimFile>,
    known: Arc<Mutex<Known>>,
    acks_before_sync: bool,
}

impl Log {
    /// Reads what is whole, and cuts off what a crash left of the rest.
    pub(super) async fn open(env: &SimEnv, acks_before_sync: bool) -> io::Result<Self> {
        let file = match env.disk().open(PATH, OpenMode::Write).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = env.disk().open(PATH, OpenMode::Create).await?;
                env.disk().sync_dir("").await?;
                file
            }
            opened => opened?,
        };
        let length = file.len().await?;
        let bytes = file
            .read_at(0, usize::try_from(length).map_err(io::Error::other)?)
            .await?;
        let mut known = Known::default();
        while let Some((record, size)) = unframe(&bytes[usize::try_from(known.end).map_err(io::Error::other)?..]) {
            known.take(record);
            known.end += size;
        }
        file.set_len(known.end).await?;
        file.sync_data().await?;
        Ok(Self {
            file: Arc::new(file),
            known: Arc::new(Mutex::new(known)),
            acks_before_sync,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        let known = self.known();
        known.vote.is_none() && known.entries.is_empty()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, records: impl IntoIterator<Item = Record>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let offset = {
            let mut known = self.known();
            let offset = known.end;
            for record in records {
                frame(&record, &mut bytes);
                known.take(record);
            }
            known.end += bytes.len() as u64;
            offset
        };
        self.file.write_at(offset, Bytes::from(bytes)).await
    }
}

fn frame(record: &Record, bytes: &mut Vec<u8>) {
    let body = postcard::to_allocvec(record).expect("a record that can be encoded");
    let length = u32::try_from(body.len()).expect("a record of less than 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
}

fn unframe(bytes: &[u8]) -> Option<(Record, u64)> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().map(u32::from_le_bytes).ok();
    let (length, checksum) = (word(0)? as usize, word(4)?);
    let body = bytes.get(8..8 + length)?;
    if crc32c::crc32c(body) != checksum {
        return None;
    }
    Some((postcard::from_bytes(body).ok()?, 8 + length as u64))
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        Ok(self
            .known()
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.known().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let last_log_id = self.known().entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState {
            last_purged_log_id: None,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.write([Record::Vote(*vote)]).await?;
        self.file.sync_data().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.write(entries.into_iter().map(Record::Entry).collect::<Vec<_>>())
            .await?;
        let file = Arc::clone(&self.file);
        if self.acks_before_sync {
            callback.io_completed(Ok(()));
            drop(SimRuntime::spawn(async move {
                SimRuntime::sleep(Duration::from_millis(250)).await;
                file.sync_data().await
            }));
        } else {
            // Syncs may end in any order: each speaks for all that was written before it.
            drop(SimRuntime::spawn(async move {
                callback.io_completed(file.sync_data().await)
            }));
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        self.write([Record::Cut(last.map_or(0, |last| last.index + 1))]).await?;
        self.file.sync_data().await
    }

    async fn purge(&mut self, _upto: LogIdOf<Types>) -> io::Result<()> {
        Err(super::no_snapshots())
    }
}
