//! From segment files back to the state that they describe.
//!
//! Recovery is a fold: [`Image::apply`] is called with each record in the order in which it was written, and the
//! result is what the node knew at its last sync. The same fold runs in the writer, so that a segment's opening
//! state is what recovery would find.

use std::collections::VecDeque;

use tribunal_env::{Disk, DiskFile, Env, OpenMode};
use tribunal_history::{LogIndex, Term};

use super::frame::{self, Damage, Head, SEGMENT_HEAD_BYTES, Scan};
use super::record::State;
use super::{Ballot, Entry, FOLDER, Position, Record, WalError, chain};
use crate::defect::{Defect, Defects};
use crate::points;

/// What a log amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The last vote.
    pub vote: Option<Ballot>,
    /// The last commit point that was written; a hint, true but perhaps old.
    pub committed: Option<(LogIndex, Term)>,
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// The last entry, which may be the one that was purged last.
    pub last: Option<Position>,
    /// The entries that are left, without gaps.
    pub entries: VecDeque<Entry>,
}

impl Image {
    /// State without the entries.
    pub fn state(&self) -> State {
        State {
            vote: self.vote,
            committed: self.committed,
            purged: self.purged,
            last: self.last,
        }
    }

    /// Applies the next record of the stream; an error says how it contradicts what came before.
    pub fn apply(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Entry(entry) => {
                let Position {
                    index,
                    term,
                    chain: found,
                } = entry.position;
                if let Some(last) = self.last
                    && index.0 != last.index.0 + 1
                {
                    return Err(format!("entry {index} follows entry {}", last.index));
                }
                let before = self.last.map(|last| last.chain).unwrap_or_default();
                if chain(before, term, index, &entry.payload) != found {
                    return Err(format!("the hash chain breaks at entry {index}"));
                }
                self.last = Some(entry.position);
                self.entries.push_back(entry);
            }
            Record::Vote(ballot) => self.vote = Some(ballot),
            Record::Committed { index, term } => self.committed = Some((index, term)),
            Record::Truncate(after) => {
                while self
                    .entries
                    .back()
                    .is_some_and(|entry| after.is_none_or(|after| entry.position.index > after.index))
                {
                    self.entries.pop_back();
                }
                let kept = self.entries.back().map(|entry| entry.position);
                if kept.is_some() && kept != after {
                    return Err(format!("truncation to {after:?} leaves {kept:?}"));
                }
                self.last = after;
            }
            Record::Purge(upto) => {
                while self
                    .entries
                    .front()
                    .is_some_and(|entry| entry.position.index <= upto.index)
                {
                    self.entries.pop_front();
                }
                self.purged = Some(upto);
                if self.last.is_none_or(|last| last.index < upto.index) {
                    self.last = Some(upto);
                }
            }
            Record::State(state) => {
                // The commit point may be newer than the records before it, which it did not wait for.
                let State {
                    vote,
                    committed,
                    purged,
                    last,
                } = state;
                if *self != Self::default() && (self.vote, self.purged, self.last) != (vote, purged, last) {
                    return Err(format!(
                        "the segment starts from {state:?}, but {:?} came before",
                        self.state()
                    ));
                }
                (self.vote, self.committed, self.purged, self.last) = (vote, committed, purged, last);
            }
        }
        Ok(())
    }
}

impl Image {
    /// [`Image::apply`] of a node that has planted defects.
    fn apply_with(&mut self, record: Record, defects: &Defects) -> Result<(), String> {
        match record {
            Record::Entry(entry) if defects.contains(&Defect::TruncationNotLogged) => self.place(entry),
            Record::Entry(entry) if defects.contains(&Defect::TornRecordAccepted) => self.append_unproved(entry),
            Record::State(state) if defects.contains(&Defect::TruncationNotLogged) && self.last.is_some() => {
                (self.vote, self.committed, self.purged) = (state.vote, state.committed, state.purged);
                Ok(())
            }
            record => self.apply(record),
        }
    }

    /// Planted defect `truncation-not-logged`: an entry takes the place of the one that has its index, and leaves
    /// those behind it where they are.
    fn place(&mut self, entry: Entry) -> Result<(), String> {
        let index = entry.position.index;
        let taken = self.entries.iter_mut().find(|other| other.position.index == index);
        match taken {
            Some(place) => *place = entry,
            None => return self.apply(Record::Entry(entry)),
        }
        self.last = self.entries.back().map(|entry| entry.position);
        Ok(())
    }

    /// Planted defect `torn-record-accepted`: an entry is appended although its hash chain proves nothing.
    fn append_unproved(&mut self, entry: Entry) -> Result<(), String> {
        let Position { index, .. } = entry.position;
        if let Some(last) = self.last
            && index.0 != last.index.0 + 1
        {
            return Err(format!("entry {index} follows entry {}", last.index));
        }
        self.last = Some(entry.position);
        self.entries.push_back(entry);
        Ok(())
    }

    /// What is missing between what was purged and the first entry; it was in segments that are gone.
    fn hole(&self) -> Option<String> {
        let next = self.purged.map_or(0, |purged| purged.index.0 + 1);
        let first = match self.entries.front() {
            Some(entry) => entry.position.index.0,
            None => self.last.map_or(0, |last| last.index.0 + 1),
        };
        (first != next)
            .then(|| format!("entry {next} is missing: the log starts with {first}, a segment before it is gone"))
    }
}

/// A segment on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Its number.
    pub number: u64,
    /// The highest entry in it.
    pub index_max: Option<LogIndex>,
    /// Bytes of its file.
    pub size: u64,
}

/// Where the writer goes on.
pub(super) struct Recovered<F> {
    /// What the log amounts to.
    pub image: Image,
    /// All segments, the active one last; none in an empty log.
    pub segments: Vec<Segment>,
    /// The active segment: file, size, and where the next batch goes.
    pub active: Option<(F, u64, u64)>,
    /// Number of the next batch.
    pub next_batch: u64,
}

/// Name of a segment's file.
pub(super) fn path_of(segment: u64) -> String {
    format!("{FOLDER}/{segment:016x}.wal")
}

/// Reads all segments and removes what a crash left half-made.
pub(super) async fn recover<E: Env>(
    env: &E,
    defects: &Defects,
) -> Result<Recovered<<E::Disk as Disk>::File>, WalError> {
    let disk = env.disk();
    disk.create_dir(FOLDER)
        .await
        .map_err(|e| WalError::io("create", FOLDER, &e))?;
    let mut numbers = segment_numbers(disk).await?;
    let mut recovered = Recovered {
        image: Image::default(),
        segments: Vec::new(),
        active: None,
        next_batch: 1,
    };
    drop_unfinished(disk, &mut numbers).await?;
    let last = numbers.last().copied();
    for (place, &number) in numbers.iter().enumerate() {
        let path = path_of(number);
        let corrupt = |offset: usize, what: String| WalError::Corrupt {
            path: path.clone(),
            offset: offset as u64,
            what,
        };
        if place > 0 && number != numbers[place - 1] + 1 {
            return Err(corrupt(0, format!("segment {:x} before it is missing", number - 1)));
        }
        let is_last = last == Some(number);
        let file = disk
            .open(&path, OpenMode::Write)
            .await
            .map_err(|e| WalError::io("open", &path, &e))?;
        let bytes = read_all(&file, &path).await?;
        match frame::read_segment_head(&bytes) {
            Head::Valid { segment, first_batch } => {
                if segment != number {
                    return Err(corrupt(8, format!("the head is that of segment {segment:x}")));
                }
                if place > 0 && first_batch != recovered.next_batch {
                    let expected = recovered.next_batch;
                    return Err(corrupt(
                        16,
                        format!("it starts with batch {first_batch}, expected {expected}"),
                    ));
                }
                recovered.next_batch = first_batch;
            }
            Head::Version(found) => {
                let expected = frame::MAGIC[7];
                return Err(WalError::Version { path, found, expected });
            }
            Head::Invalid => return Err(corrupt(0, "the head of the segment is wrong".to_owned())),
        }
        let mut scan = frame::scan(&bytes, recovered.next_batch, is_last);
        if is_last && !defects.is_empty() {
            scan = misread(scan, &bytes, recovered.next_batch, defects);
        }
        let scan = scan.map_err(|damage| corrupt(damage.offset, damage.what.to_owned()))?;
        recovered.next_batch = scan.next_batch;
        let mut segment = Segment {
            number,
            index_max: None,
            size: bytes.len() as u64,
        };
        for (offset, record) in scan.records {
            if let Record::Entry(entry) = &record {
                segment.index_max = segment.index_max.max(Some(entry.position.index));
            }
            let applied = if defects.is_empty() {
                recovered.image.apply(record)
            } else {
                recovered.image.apply_with(record, defects)
            };
            applied.map_err(|what| corrupt(offset, what))?;
        }
        recovered.segments.push(segment);
        if is_last {
            let size = bytes.len() as u64;
            let end = scan.end as u64;
            if scan.torn {
                points::pass(env, points::RECOVERY_BEFORE_REPAIR);
                let tidy = async {
                    file.set_len(end).await?;
                    file.set_len(size.max(end)).await?;
                    file.sync_data().await
                };
                tidy.await.map_err(|e| WalError::io("cut the torn end of", &path, &e))?;
            }
            // Whoever wrote this may have died before its sync, and the system still shows it. What this life goes on
            // from must be durable, or it would tell others of entries that the next loss of power takes.
            if !scan.torn {
                file.sync_data().await.map_err(|e| WalError::io("sync", &path, &e))?;
            }
            disk.sync_dir(FOLDER)
                .await
                .map_err(|e| WalError::io("sync", FOLDER, &e))?;
            recovered.active = Some((file, size.max(end), end));
        }
    }
    if let Some(what) = recovered.image.hole() {
        let first = numbers.first().copied().unwrap_or_default();
        let path = path_of(first);
        return Err(WalError::Corrupt { path, offset: 0, what });
    }
    Ok(recovered)
}

/// Planted defects `torn-record-accepted` and `damage-taken-for-the-end`: what they make of the last segment.
fn misread(scan: Result<Scan, Damage>, bytes: &[u8], first_batch: u64, defects: &Defects) -> Result<Scan, Damage> {
    match scan {
        Ok(mut scan) if scan.torn && defects.contains(&Defect::TornRecordAccepted) => {
            frame::accept_torn(bytes, &mut scan);
            Ok(scan)
        }
        Err(_) if defects.contains(&Defect::DamageTakenForTheEnd) => Ok(frame::scan_up_to_damage(bytes, first_batch)),
        scan => scan,
    }
}

async fn segment_numbers<D: Disk>(disk: &D) -> Result<Vec<u64>, WalError> {
    let names = disk.list(FOLDER).await.map_err(|e| WalError::io("list", FOLDER, &e))?;
    names
        .iter()
        .map(|name| {
            name.strip_suffix(".wal")
                .filter(|digits| digits.len() == 16)
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| WalError::Corrupt {
                    path: format!("{FOLDER}/{name}"),
                    offset: 0,
                    what: "a file that is no segment is in the log's folder".to_owned(),
                })
        })
        .collect()
}

/// Removes a last segment that was never finished: its head is cut and nothing follows it. No one was told of it,
/// since the first sync of a segment covers its head.
async fn drop_unfinished<D: Disk>(disk: &D, numbers: &mut Vec<u64>) -> Result<(), WalError> {
    let Some(&number) = numbers.last() else {
        return Ok(());
    };
    let path = path_of(number);
    let file = disk
        .open(&path, OpenMode::Read)
        .await
        .map_err(|e| WalError::io("open", &path, &e))?;
    let bytes = read_all(&file, &path).await?;
    let empty = bytes.iter().skip(SEGMENT_HEAD_BYTES).all(|&byte| byte == 0);
    if empty && frame::read_segment_head(&bytes) == Head::Invalid {
        disk.remove(&path)
            .await
            .map_err(|e| WalError::io("remove the unfinished", &path, &e))?;
        disk.sync_dir(FOLDER)
            .await
            .map_err(|e| WalError::io("sync", FOLDER, &e))?;
        numbers.pop();
    }
    Ok(())
}

async fn read_all<F: DiskFile>(file: &F, path: &str) -> Result<bytes::Bytes, WalError> {
    let length = file.len().await.map_err(|e| WalError::io("measure", path, &e))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    file.read_at(0, length)
        .await
        .map_err(|e| WalError::io("read", path, &e))
}

/// The term of an image's vote; 0 before the first one.
pub(super) fn term_of(vote: Option<Ballot>) -> Term {
    vote.map(|ballot| ballot.term).unwrap_or_default()
}
