//! openraft's log on ours: entries are kept in memory for readers and written through [`Wal`].

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use openraft_rt::{AsyncRuntime, Oneshot, OneshotSender as _};
use tribunal_env::Env;
use tribunal_history::{Evidence, LogIndex, MemberId, Term};

use super::progress::Progress;
use super::types::{CommittedLeaderId, Entry, LeaderId, LogId, Payload, Proposal, Types, Vote, configuration};
use crate::defect::{Defect, Defects};
use crate::points;
use crate::wal::{self, Ballot, Done, Image, Position, Wal, WalError};

/// Bytes of entries that one replication message carries, unless a single entry is larger.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log as openraft uses it; clones share it.
pub struct LogStore<E: Env> {
    env: E,
    wal: Wal<E>,
    memory: Arc<Mutex<Memory>>,
    /// Last index that is durable here, plus one.
    durable: Progress<E>,
    /// With the planted defect `count-unsynced-follower`: who this member is.
    answers_unsynced: Option<MemberId>,
}

struct Memory {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<Position>,
    last: Option<Position>,
    entries: VecDeque<(Entry, Position)>,
    /// Where the newest snapshot ends, which may be after the log's end.
    snapshot: Option<Position>,
}

impl<E: Env> LogStore<E> {
    /// The log over an open [`Wal`] and what was recovered from it.
    ///
    /// # Errors
    /// An entry's payload is not what this program writes.
    pub fn new(env: E, wal: Wal<E>, image: Image) -> Result<Self, WalError> {
        let mut entries = VecDeque::with_capacity(image.entries.len());
        for entry in image.entries {
            let payload = decode_payload(&entry.payload).ok_or_else(|| WalError::Corrupt {
                path: wal::FOLDER.to_owned(),
                offset: 0,
                what: format!("entry {} has an unknown payload", entry.position.index),
            })?;
            record_configuration(&env, entry.position, &payload);
            let log_id = log_id_of(entry.position);
            entries.push_back((Entry { log_id, payload }, entry.position));
        }
        let memory = Memory {
            vote: image.vote.map(vote_of),
            committed: image.committed.map(|(index, term)| log_id(term, index)),
            purged: image.purged,
            last: image.last,
            entries,
            snapshot: None,
        };
        let durable = Progress::new(memory.next_index());
        Ok(Self {
            env,
            wal,
            memory: Arc::new(Mutex::new(memory)),
            durable,
            answers_unsynced: None,
        })
    }

    /// Plants those of the defects that act here.
    pub(super) fn plant(mut self, defects: &Defects, own: MemberId) -> Self {
        self.answers_unsynced = defects.contains(&Defect::CountUnsyncedFollower).then_some(own);
        self
    }

    /// Hash chain up to an entry, if the log or the snapshot still knows it.
    pub(super) fn position(&self, index: u64) -> Option<Position> {
        self.lock().position(index)
    }

    /// Notes where a snapshot ends, so that the log may be purged up to there although it never held the entry.
    pub(super) fn note_snapshot(&self, position: Position) {
        let mut memory = self.lock();
        if memory.snapshot.is_none_or(|before| before.index <= position.index) {
            memory.snapshot = Some(position);
        }
    }

    /// Index of the next entry.
    pub(super) fn next_index(&self) -> u64 {
        self.lock().next_index()
    }

    /// Changes whenever entries became durable here; holds the index after the last of them.
    pub(super) fn durable(&self) -> &Progress<E> {
        &self.durable
    }

    /// Where this very proposal stands, at `from` or later: not one that is equal, but one that shares its bytes.
    pub(super) fn position_of(&self, proposal: &Proposal, from: u64) -> Option<Position> {
        let memory = self.lock();
        let is_it = |entry: &Entry| match &entry.payload {
            Payload::Normal(other) => std::ptr::eq(other.0.as_ptr(), proposal.0.as_ptr()),
            Payload::Blank | Payload::Membership(_) => false,
        };
        let newest_first = memory.entries.iter().rev();
        newest_first
            .take_while(|(_, position)| position.index.0 >= from)
            .find_map(|(entry, position)| is_it(entry).then_some(*position))
    }

    /// The payloads from index `from` up to `last`; none if the log does not hold them all, or holds others.
    pub(super) fn payloads(&self, from: u64, last: Position) -> Option<Vec<Payload>> {
        let memory = self.lock();
        let holds = memory.position(from).is_some() && memory.position(last.index.0) == Some(last);
        let entries = holds.then(|| memory.read(from..=last.index.0, usize::MAX))?;
        Some(entries.into_iter().map(|entry| entry.payload).collect())
    }

    /// Planted defect `count-unsynced-follower`: whether this member follows, and so answers before its sync.
    fn is_answered_unsynced(&self) -> bool {
        let leads = |own: MemberId| self.lock().vote.is_some_and(|vote| vote.leader_id.voted_for == own.0);
        self.answers_unsynced.is_some_and(|own| !leads(own))
    }

    /// The log underneath.
    pub(super) fn wal(&self) -> &Wal<E> {
        &self.wal
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request to the log and waits until it is durable.
    async fn durably<F: Future<Output = ()>>(&self, ask: impl FnOnce(Done) -> F) -> Result<(), io::Error> {
        let (told, answer) = <E::Runtime as AsyncRuntime>::Oneshot::channel::<Result<(), WalError>>();
        let done: Done = Box::new(move |result| {
            // Nobody waits any more if the node is stopping.
            let _ = told.send(result);
        });
        ask(done).await;
        match answer.await {
            Ok(result) => result.map_err(io::Error::from),
            Err(_) => Err(WalError::Stopped("its writer is gone".to_owned()).into()),
        }
    }
}

impl Memory {
    fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index.0 + 1)
    }

    fn position(&self, index: u64) -> Option<Position> {
        let at = |position: Option<Position>| position.filter(|position| position.index.0 == index);
        if let Some((_, first)) = self.entries.front()
            && index >= first.index.0
            && let Some((_, position)) = self.entries.get(usize::try_from(index - first.index.0).ok()?)
        {
            return Some(*position);
        }
        at(self.last).or(at(self.purged)).or(at(self.snapshot))
    }

    /// Entries in `range`, at least one if there is one, up to about `bytes_max`.
    fn read(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Vec<Entry> {
        let Some((_, first)) = self.entries.front() else {
            return Vec::new();
        };
        let first = first.index.0;
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        let skipped = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(start.max(first))).unwrap_or(usize::MAX);
        let mut bytes = 0;
        self.entries
            .iter()
            .skip(skipped)
            .take(count)
            .take_while(|(entry, _)| {
                let fits = bytes < bytes_max;
                if let Payload::Normal(proposal) = &entry.payload {
                    bytes += proposal.0.len();
                }
                fits
            })
            .map(|(entry, _)| entry.clone())
            .collect()
    }
}

impl<E: Env> RaftLogReader<Types<E>> for LogStore<E> {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.lock().read(range, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.lock().read(start..end, READ_BYTES_MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl<E: Env> RaftLogStorage<Types<E>> for LogStore<E> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types<E>>, io::Error> {
        let memory = self.lock();
        Ok(LogState {
            last_purged_log_id: memory.purged.map(log_id_of),
            last_log_id: memory.last.map(log_id_of),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let ballot = Ballot {
            term: Term(vote.leader_id.term),
            voted_for: MemberId(vote.leader_id.voted_for),
            committed: vote.committed,
        };
        self.durably(|done| self.wal.vote(ballot, done)).await?;
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let (before, chain) = {
            let mut memory = self.lock();
            let position = committed.and_then(|log_id| memory.position(log_id.index));
            let before = std::mem::replace(&mut memory.committed, committed);
            (before, position.map(|position| position.chain))
        };
        if let Some(log_id) = committed
            && before != committed
        {
            let (index, term) = (LogIndex(log_id.index), Term(log_id.leader_id.term));
            self.env.record(Evidence::Commit { index, term, chain });
            points::pass(&self.env, points::COMMIT_BEFORE_WRITE);
            self.wal.committed(index, term).await;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<E>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut written = Vec::new();
        let mut configured = Vec::new();
        let next = {
            let mut memory = self.lock();
            for entry in entries {
                let payload = encode_payload(&entry.payload);
                let index = LogIndex(entry.log_id.index);
                let term = Term(entry.log_id.leader_id.term);
                let before = memory.last.map(|last| last.chain).unwrap_or_default();
                let chain = wal::chain(before, term, index, &payload);
                let position = Position { index, term, chain };
                memory.last = Some(position);
                if let Payload::Membership(_) = &entry.payload {
                    configured.push((position, entry.payload.clone()));
                }
                memory.entries.push_back((entry, position));
                written.push(wal::Entry { position, payload });
            }
            memory.next_index()
        };
        for (position, payload) in &configured {
            record_configuration(&self.env, *position, payload);
        }
        let durable = self.durable.clone();
        let mut callback = Some(callback);
        if self.is_answered_unsynced()
            && let Some(callback) = callback.take()
        {
            callback.io_completed(Ok(()));
        }
        let done = Box::new(move |result: Result<(), WalError>| {
            if result.is_ok() {
                durable.set(next);
            }
            if let Some(callback) = callback {
                callback.io_completed(result.map_err(io::Error::from));
            }
        });
        self.wal.append(written, done).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let after = {
            let mut memory = self.lock();
            let after = last.and_then(|last| memory.position(last.index));
            if memory.last.map(|end| end.index.0) <= last.map(|last| last.index) {
                // There is nothing behind it.
                return Ok(());
            }
            assert_eq!(
                after.map(log_id_of),
                last,
                "truncation to an entry that the log does not hold"
            );
            let keeps = |position: &Position| last.is_some_and(|last| position.index.0 <= last.index);
            while memory.entries.back().is_some_and(|(_, position)| !keeps(position)) {
                memory.entries.pop_back();
            }
            memory.last = after;
            after
        };
        self.durably(|done| self.wal.truncate(after, done)).await?;
        self.durable.set(after.map_or(0, |after| after.index.0 + 1));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let upto = {
            let mut memory = self.lock();
            // Only a snapshot from elsewhere lets the log be purged beyond its end, and its end was noted.
            let upto = memory.position(upto.index).unwrap_or(Position {
                index: LogIndex(upto.index),
                term: Term(upto.leader_id.term),
                chain: wal::Chain::default(),
            });
            while memory
                .entries
                .front()
                .is_some_and(|(_, position)| position.index <= upto.index)
            {
                memory.entries.pop_front();
            }
            memory.purged = Some(upto);
            if memory.last.is_none_or(|last| last.index < upto.index) {
                memory.last = Some(upto);
            }
            upto
        };
        self.durably(|done| self.wal.purge(upto, done)).await
    }
}

impl<E: Env> Clone for LogStore<E> {
    fn clone(&self) -> Self {
        Self {
            env: self.env.clone(),
            wal: self.wal.clone(),
            memory: Arc::clone(&self.memory),
            durable: self.durable.clone(),
            answers_unsynced: self.answers_unsynced,
        }
    }
}

/// Tells of an entry that makes a configuration; others are none.
fn record_configuration<E: Env>(env: &E, position: Position, payload: &Payload) {
    if let Payload::Membership(membership) = payload {
        env.record(Evidence::Configured {
            index: position.index,
            term: position.term,
            configuration: configuration(membership),
        });
    }
}

pub(super) fn log_id(term: Term, index: LogIndex) -> LogId {
    LogId {
        leader_id: CommittedLeaderId { term: term.0 },
        index: index.0,
    }
}

fn log_id_of(position: Position) -> LogId {
    log_id(position.term, position.index)
}

fn vote_of(ballot: Ballot) -> Vote {
    Vote {
        leader_id: LeaderId {
            term: ballot.term.0,
            voted_for: ballot.voted_for.0,
        },
        committed: ballot.committed,
    }
}

/// One byte for the kind, then the content.
fn encode_payload(payload: &Payload) -> Bytes {
    match payload {
        Payload::Blank => Bytes::from_static(&[0]),
        Payload::Normal(proposal) => {
            let mut bytes = BytesMut::with_capacity(1 + proposal.0.len());
            bytes.put_u8(1);
            bytes.put_slice(&proposal.0);
            bytes.freeze()
        }
        Payload::Membership(membership) => {
            let encoded =
                postcard::to_allocvec(membership).unwrap_or_else(|error| panic!("a membership serializes: {error}"));
            let mut bytes = BytesMut::with_capacity(1 + encoded.len());
            bytes.put_u8(2);
            bytes.put_slice(&encoded);
            bytes.freeze()
        }
    }
}

fn decode_payload(bytes: &Bytes) -> Option<Payload> {
    match bytes.first()? {
        0 if bytes.len() == 1 => Some(Payload::Blank),
        1 => Some(Payload::Normal(Proposal(bytes.slice(1..)))),
        2 => postcard::from_bytes(&bytes[1..]).ok().map(Payload::Membership),
        _ => None,
    }
}
