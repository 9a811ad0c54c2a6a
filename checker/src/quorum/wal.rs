//! A node's disk, read from outside: what its log would be if it lost its power now.
//!
//! The reader knows the formats of `docs/formats/wal.md` and shares no code with the store that writes them, so
//! that an error there is not repeated here. It is incremental: it goes on after the last whole batch, and starts
//! over only when the disk says that something else happened than a sync. A batch that is cut, damaged, or contradicts
//! what came before ends the reading: nothing behind it counts as durable.
//!
//! An entry is *held* if the log has it or a snapshot covers it. The log alone is not enough where its beginning was
//! purged: without a snapshot that covers what was purged the rest cannot be used.
//!
//! Approximation: that a snapshot covers an entry is believed from its place in the log; that it is a snapshot of the
//! right log is seen by comparing its chain where the entry at its end is known.

use std::collections::VecDeque;

use tribunal_history::evidence::{Ballot, Chain, Position};
use tribunal_history::{LogIndex, MemberId, Term};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// What has happened to a disk so far; a reader compares it with what it saw last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Syncs that made something durable.
    pub synced: u64,
    /// Syncs of folders.
    pub names: u64,
    /// Whatever else: what was read before need not be there any more.
    pub otherwise: u64,
}

/// The durable files of a node.
pub trait Files {
    /// What has happened to them so far.
    fn changes(&self) -> Changes;
    /// Paths that begin with `start`, sorted.
    fn paths(&self, start: &str) -> Vec<String>;
    /// Up to `length` bytes of a file at `offset`: fewer at its end, none if it is not there.
    fn read_at(&self, path: &str, offset: u64, length: usize) -> Vec<u8>;
}

/// How a disk holds an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the log; accepted under the leader of this term.
    Log(Term),
    /// In a snapshot that ends there.
    Snapshot(LogIndex),
}

/// What a node's disk amounts to.
#[derive(Debug, Default)]
pub struct DurableLog {
    seen: Option<Changes>,
    /// The segment being read, where its next batch is expected, and that batch's number.
    segment: Option<Segment>,
    vote: Option<Ballot>,
    last: Option<Position>,
    purged: Option<Position>,
    /// Entries without gaps; the last one is `last`.
    entries: VecDeque<Entry>,
    snapshot: Option<Position>,
    /// The file that it is in.
    snapshot_path: Option<String>,
    /// A further segment may be there.
    may_go_on: bool,
    /// Why reading ended before the end.
    ends_early: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    at: u64,
    next_batch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    position: Position,
    under: Term,
}

const SEGMENT_MAGIC: &[u8] = b"TRIBWAL\x01";
const SEGMENT_HEAD: u64 = 32;
const BATCH_MAGIC: &[u8] = b"WbAt";
const BATCH_HEAD: usize = 24;
const BATCH_END: u8 = 0xff;
const SNAPSHOT_MAGIC: &[u8] = b"TRIBSNP\x03";
/// Bytes read at once; most batches are smaller.
const CHUNK: usize = 4096;

impl DurableLog {
    /// Reads what is new.
    pub fn refresh(&mut self, files: &impl Files) {
        let changes = files.changes();
        let Some(seen) = self.seen else {
            *self = Self {
                seen: Some(changes),
                may_go_on: true,
                ..Self::default()
            };
            self.find_snapshot(files);
            self.read_on(files);
            return;
        };
        if seen == changes {
            return;
        }
        if seen.otherwise != changes.otherwise {
            self.seen = None;
            return self.refresh(files);
        }
        self.seen = Some(changes);
        if seen.names != changes.names {
            self.may_go_on = true;
            self.find_snapshot(files);
        }
        self.read_on(files);
    }

    /// The last vote.
    pub fn vote(&self) -> Option<Ballot> {
        self.vote
    }

    /// The last entry of the log, or where its snapshot ends if that is later.
    pub fn last(&self) -> Option<Position> {
        let end = |position: &Position| position.index;
        self.last.into_iter().chain(self.snapshot).max_by_key(end)
    }

    /// The last entry of the log, which may be the one that was purged last.
    pub fn end(&self) -> Option<Position> {
        self.last
    }

    /// Where the newest snapshot ends.
    pub fn snapshot(&self) -> Option<Position> {
        self.snapshot
    }

    /// Why reading ended before the end of the log, if it did.
    pub fn ends_early(&self) -> Option<&str> {
        self.ends_early.as_deref()
    }

    /// The entry at an index, if the disk says which one it is.
    pub fn position(&self, index: LogIndex) -> Option<Position> {
        if let Some(entry) = self.entry(index) {
            return Some(entry.position);
        }
        let ends = [self.snapshot, self.purged, self.last];
        ends.into_iter().flatten().find(|position| position.index == index)
    }

    /// How the disk holds the entry at `index` whose chain is `chain`.
    pub fn holds(&self, index: LogIndex, chain: Chain) -> Option<Held> {
        if let Some(snapshot) = self.snapshot
            && snapshot.index >= index
        {
            let same = snapshot.index > index || snapshot.chain == chain;
            return same.then_some(Held::Snapshot(snapshot.index));
        }
        let is_whole = self.purged.is_none_or(|purged| {
            let covered = self.snapshot.is_some_and(|snapshot| snapshot.index >= purged.index);
            covered
                && self
                    .entries
                    .front()
                    .is_none_or(|first| first.position.index.0 <= purged.index.0 + 1)
        });
        let entry = self.entry(index)?;
        (is_whole && entry.position.chain == chain).then_some(Held::Log(entry.under))
    }

    fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let first = self.entries.front()?.position.index.0;
        self.entries.get(usize::try_from(index.0.checked_sub(first)?).ok()?)
    }

    /// The newest snapshot that has a name; recovery looks at no other.
    fn find_snapshot(&mut self, files: &impl Files) {
        let mut paths = files.paths("snap/");
        paths.retain(|path| path.ends_with(".snap"));
        let newest = paths.pop();
        if newest == self.snapshot_path {
            return;
        }
        self.snapshot = newest.as_ref().and_then(|path| {
            let (index, term) = snapshot_name(path)?;
            let chain = snapshot_chain(&files.read_at(path, 0, usize::MAX))?;
            Some(Position { index, term, chain })
        });
        self.snapshot_path = newest;
    }

    fn read_on(&mut self, files: &impl Files) {
        self.ends_early = None;
        loop {
            if let Err(what) = self.read_segment(files) {
                self.ends_early = Some(what);
                return;
            }
            if !self.may_go_on {
                return;
            }
            let read = self.segment.map(|segment| segment.number);
            let number_of = |path: &String| {
                let name = path.strip_prefix("wal/")?.strip_suffix(".wal")?;
                u64::from_str_radix(name, 16).ok()
            };
            let paths = files.paths("wal/");
            let next = paths.iter().filter_map(number_of).find(|number| Some(*number) > read);
            let Some(number) = next else {
                self.may_go_on = false;
                return;
            };
            if read.is_some_and(|read| number != read + 1) {
                self.ends_early = Some(format!("segment {:x} is missing", number - 1));
                return;
            }
            let head = files.read_at(&path_of(number), 0, SEGMENT_HEAD as usize);
            let Some(first_batch) = segment_head(&head, number) else {
                // It is not finished, and nobody was told of it.
                return;
            };
            if self.segment.is_some_and(|segment| segment.next_batch != first_batch) {
                self.ends_early = Some(format!("segment {number:x} does not follow the one before"));
                return;
            }
            self.segment = Some(Segment {
                number,
                at: SEGMENT_HEAD,
                next_batch: first_batch,
            });
        }
    }

    /// Reads the whole batches that are left in the present segment; an error is damage behind which nothing counts.
    fn read_segment(&mut self, files: &impl Files) -> Result<(), String> {
        let Some(mut segment) = self.segment else { return Ok(()) };
        let path = path_of(segment.number);
        let mut wanted = CHUNK;
        loop {
            let bytes = files.read_at(&path, segment.at, wanted);
            let mut rest = &bytes[..];
            let mut cut = None;
            while let Some((number, length)) = rest.get(..BATCH_HEAD).and_then(batch_head) {
                if number != segment.next_batch {
                    return Ok(());
                }
                let whole = BATCH_HEAD + length;
                let Some(batch) = rest.get(BATCH_HEAD..whole) else {
                    cut = Some(whole);
                    break;
                };
                let Some(records) = whole_records(batch) else {
                    return Ok(());
                };
                for record in records {
                    self.apply(&record)?;
                }
                rest = &rest[whole..];
                segment.at += whole as u64;
                segment.next_batch += 1;
                self.segment = Some(segment);
            }
            // More can only be behind the bytes at hand, and only if the file does not end with them.
            let is_end = bytes.len() < wanted;
            match cut {
                _ if is_end => return Ok(()),
                Some(whole) => wanted = whole.max(CHUNK),
                None if rest.len() < BATCH_HEAD => wanted = CHUNK,
                None => return Ok(()),
            }
        }
    }

    fn apply(&mut self, record: &Record<'_>) -> Result<(), String> {
        match *record {
            Record::Entry(position, payload) => {
                if self.last.is_some_and(|last| last.index.0 + 1 != position.index.0) {
                    return Err(format!("entry {} does not follow the last one", position.index));
                }
                let before = self.last.map(|last| last.chain).unwrap_or_default();
                if chain_after(before, position, payload) != position.chain {
                    return Err(format!("the chain breaks at entry {}", position.index));
                }
                let under = self.vote.map(|vote| vote.term).unwrap_or_default();
                self.last = Some(position);
                self.entries.push_back(Entry { position, under });
            }
            Record::Vote(ballot) => self.vote = Some(ballot),
            Record::Committed => {}
            Record::Truncate(after) => {
                let goes = |entry: &Entry| after.is_none_or(|after| entry.position.index > after.index);
                while self.entries.back().is_some_and(goes) {
                    self.entries.pop_back();
                }
                self.last = after;
            }
            Record::Purge(upto) => self.purge(upto),
            Record::State { vote, purged, last } => {
                self.vote = vote;
                if self.last.is_none() {
                    self.last = last;
                }
                if let Some(upto) = purged {
                    self.purge(upto);
                }
                if self.last != last {
                    return Err("a segment starts from another state than the one before ended in".to_owned());
                }
            }
        }
        Ok(())
    }

    fn purge(&mut self, upto: Position) {
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
}

/// The chain after an entry: `xxh3_128(chain before, term, index, payload)`.
fn chain_after(before: Chain, position: Position, payload: &[u8]) -> Chain {
    let mut hash = Xxh3::new();
    hash.update(&before.0.to_le_bytes());
    hash.update(&position.term.0.to_le_bytes());
    hash.update(&position.index.0.to_le_bytes());
    hash.update(payload);
    Chain(hash.digest128())
}

fn path_of(segment: u64) -> String {
    format!("wal/{segment:016x}.wal")
}

/// Number of the first batch of a segment, if this is its head.
fn segment_head(bytes: &[u8], number: u64) -> Option<u64> {
    let mut rest = Reader(bytes);
    let is_right = rest.take(8)? == SEGMENT_MAGIC && rest.u64()? == number;
    let first_batch = rest.u64()?;
    rest.take(4)?;
    let checksum = rest.u32()?;
    (is_right && checksum == crc32c::crc32c(bytes.get(..28)?)).then_some(first_batch)
}

/// Number of a batch and length of what follows its head.
fn batch_head(head: &[u8]) -> Option<(u64, usize)> {
    let mut rest = Reader(head);
    let magic = rest.take(4)?;
    let length = rest.u32()?;
    let number = rest.u64()?;
    let checksum = rest.u32()?;
    let is_right = magic == BATCH_MAGIC && rest.take(4)? == [0xff; 4] && checksum == crc32c::crc32c(head.get(..16)?);
    is_right.then_some((number, length as usize))
}

/// The records of a batch, if all of them and the end mark are there.
fn whole_records(batch: &[u8]) -> Option<Vec<Record<'_>>> {
    let (&mark, content) = batch.split_last()?;
    let mut rest = Reader(content);
    let mut records = Vec::new();
    while !rest.0.is_empty() {
        let length = rest.u32()? as usize;
        let checksum = rest.u32()?;
        let body = rest.take(length)?;
        if crc32c::crc32c(body) != checksum {
            return None;
        }
        records.push(Record::read(body)?);
    }
    (mark == BATCH_END).then_some(records)
}

enum Record<'a> {
    Entry(Position, &'a [u8]),
    Vote(Ballot),
    Committed,
    Truncate(Option<Position>),
    Purge(Position),
    State {
        vote: Option<Ballot>,
        purged: Option<Position>,
        last: Option<Position>,
    },
}

impl<'a> Record<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = body.split_first()?;
        let mut rest = Reader(rest);
        let record = match kind {
            1 => Self::Entry(rest.position()?, std::mem::take(&mut rest.0)),
            2 => Self::Vote(rest.ballot()?),
            3 => {
                rest.take(16)?;
                Self::Committed
            }
            4 => Self::Truncate(rest.option(Reader::position)?),
            5 => Self::Purge(rest.position()?),
            6 => {
                let vote = rest.option(Reader::ballot)?;
                rest.option(|rest| rest.take(16).map(drop))?;
                Self::State {
                    vote,
                    purged: rest.option(Reader::position)?,
                    last: rest.option(Reader::position)?,
                }
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(record)
    }
}

/// Index and term in a snapshot's name.
fn snapshot_name(path: &str) -> Option<(LogIndex, Term)> {
    let name = path.strip_prefix("snap/")?.strip_suffix(".snap")?;
    let (index, term) = name.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    Some((LogIndex(number(index)?), Term(number(term)?)))
}

/// The chain at the end of a snapshot, if its hash is right. The first frame begins with it, seven bits a byte (LEB128).
fn snapshot_chain(bytes: &[u8]) -> Option<Chain> {
    let (content, hash) = bytes.split_last_chunk::<16>()?;
    if u128::from_le_bytes(*hash) != xxh3_128(content) {
        return None;
    }
    let mut rest = Reader(content);
    if rest.take(8)? != SNAPSHOT_MAGIC {
        return None;
    }
    let length = rest.u32()? as usize;
    rest.take(4)?;
    let mut about = Reader(rest.take(length)?);
    let mut chain = 0_u128;
    // 128 bits, seven at a time.
    for group in 0..19 {
        let byte = about.take(1)?[0];
        chain |= u128::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Some(Chain(chain));
        }
    }
    None
}

/// Takes numbers from the front of bytes; none where they end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.number().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.number().map(u128::from_le_bytes)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position {
            index: LogIndex(self.u64()?),
            term: Term(self.u64()?),
            chain: Chain(self.u128()?),
        })
    }

    fn ballot(&mut self) -> Option<Ballot> {
        Some(Ballot {
            term: Term(self.u64()?),
            voted_for: MemberId(self.u64()?),
            committed: self.take(1)? == [1],
        })
    }

    fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.take(1)? {
            [0] => Some(None),
            [1] => value(self).map(Some),
            _ => None,
        }
    }
}
