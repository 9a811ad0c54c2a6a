//! The one task that writes the log.
//!
//! Requests come through a queue in the order in which consensus made them. The task takes everything that is
//! queued, up to a bound, encodes it into one batch, writes it, syncs once, records evidence of what became
//! durable, and completes the callbacks in order. A truncation is a batch of its own: what it cuts is durable, and
//! evidence of it recorded, before it; and it is durable before the next entry is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft_rt::{
    Instant as _, Mpsc, MpscReceiver as _, MpscSender as _, TryRecvError, Watch, WatchReceiver as _, WatchSender as _,
};
use tribunal_env::{AsyncRuntime, Disk, DiskFile, Env, OpenMode};
use tribunal_history::{Evidence, LogIndex, Term};

use super::frame::{self, SEGMENT_HEAD_BYTES};
use super::recovery::{self, Image, Segment, path_of, term_of};
use super::{Ballot, Entry, FOLDER, Position, Record, Settings, WalError};
use crate::defect::Defect;
use crate::points::{self, Point};

/// Called once what it was given with is durable, or cannot become so.
pub type Done = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// Largest batch in bytes, unless one request alone is larger: about what a disk writes within one heartbeat.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Requests that may wait; consensus itself keeps fewer in flight.
const QUEUE_LENGTH: usize = 65_536;

type Sender<E, T> = <<<E as Env>::Runtime as AsyncRuntime>::Mpsc as Mpsc>::Sender<T>;
type Receiver<E, T> = <<<E as Env>::Runtime as AsyncRuntime>::Mpsc as Mpsc>::Receiver<T>;
type WatchSender<E, T> = <<<E as Env>::Runtime as AsyncRuntime>::Watch as Watch>::Sender<T>;
type WatchReceiver<E, T> = <<<E as Env>::Runtime as AsyncRuntime>::Watch as Watch>::Receiver<T>;

enum Job {
    Append(Vec<Entry>, Done),
    Vote(Ballot, Done),
    Committed(LogIndex, Term),
    Truncate(Option<Position>, Done),
    Purge(Position, Done),
    Flush(Done),
}

/// A handle to an open log; cheap to clone. Requests take effect in the order in which they are made.
#[derive(Clone)]
pub struct Wal<E: Env> {
    queue: Sender<E, Job>,
    failure: WatchReceiver<E, Option<WalError>>,
    size_bytes: Arc<AtomicU64>,
}

impl<E: Env> Wal<E> {
    /// Recovers the log from the disk and starts its writer.
    pub async fn open(env: &E, settings: Settings) -> Result<(Self, Image), WalError> {
        let recovered = recovery::recover(env, &settings.defects).await?;
        let image = recovered.image.clone();
        let (queue, requests) = <E::Runtime as AsyncRuntime>::Mpsc::channel(QUEUE_LENGTH);
        let (failed, failure) = <E::Runtime as AsyncRuntime>::Watch::channel(None);
        let size_bytes = Arc::new(AtomicU64::new(0));
        let mut state = recovered.image;
        // The writer needs the state that opens a segment, not the entries.
        state.entries = VecDeque::new();
        let mut writer = Writer {
            env: env.clone(),
            settings,
            state,
            segments: recovered.segments,
            active: recovered.active,
            next_batch: recovered.next_batch,
            put_off: Vec::new(),
            failed,
            unsynced: Vec::new(),
            size_bytes: Arc::clone(&size_bytes),
        };
        if writer.active.is_none() {
            writer.add_segment(0).await?;
        }
        writer.publish_size();
        drop(E::Runtime::spawn(writer.run(requests)));
        Ok((
            Self {
                queue,
                failure,
                size_bytes,
            },
            image,
        ))
    }

    /// Appends entries whose positions follow the log's last one.
    pub async fn append(&self, entries: Vec<Entry>, done: Done) {
        self.submit(Job::Append(entries, done)).await;
    }

    /// Saves a vote.
    pub async fn vote(&self, ballot: Ballot, done: Done) {
        self.submit(Job::Vote(ballot, done)).await;
    }

    /// Notes that entries up to `index` are committed; written with the next batch, no sync is made for it.
    pub async fn committed(&self, index: LogIndex, term: Term) {
        self.submit(Job::Committed(index, term)).await;
    }

    /// Removes everything after an entry.
    pub async fn truncate(&self, after: Option<Position>, done: Done) {
        self.submit(Job::Truncate(after, done)).await;
    }

    /// Removes everything up to an entry, and the segments that hold nothing else.
    pub async fn purge(&self, upto: Position, done: Done) {
        self.submit(Job::Purge(upto, done)).await;
    }

    /// Writes what waits (commit points too) and syncs.
    pub async fn flush(&self, done: Done) {
        self.submit(Job::Flush(done)).await;
    }

    /// Bytes of all segments, written or not.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// The error that stopped the log, if one did.
    pub fn failure(&self) -> Option<WalError> {
        self.failure.borrow_watched().clone()
    }

    /// Waits until the log fails; for ever while it does not.
    pub async fn failed(&self) -> WalError {
        let mut failure = self.failure.clone();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if failure.changed().await.is_err() {
                return WalError::Stopped("its writer is gone".to_owned());
            }
        }
    }

    async fn submit(&self, job: Job) {
        if let Err(back) = self.queue.send(job).await {
            let error = self
                .failure()
                .unwrap_or_else(|| WalError::Stopped("its writer is gone".to_owned()));
            fail(back.0, &error);
        }
    }
}

fn fail(job: Job, error: &WalError) {
    match job {
        Job::Append(_, done) | Job::Vote(_, done) | Job::Truncate(_, done) | Job::Purge(_, done) | Job::Flush(done) => {
            done(Err(error.clone()));
        }
        Job::Committed(..) => {}
    }
}

struct Writer<E: Env> {
    env: E,
    settings: Settings,
    /// The fold of all records so far, without entries.
    state: Image,
    segments: Vec<Segment>,
    /// File, size, and where the next batch goes.
    active: Option<(<E::Disk as Disk>::File, u64, u64)>,
    next_batch: u64,
    /// Commit points that wait for the next batch.
    put_off: Vec<u8>,
    failed: WatchSender<E, Option<WalError>>,
    /// With a planted defect: evidence of what is written and not yet synced.
    unsynced: Vec<Evidence>,
    size_bytes: Arc<AtomicU64>,
}

/// What a batch did, to be told once it is durable.
#[derive(Default)]
struct Outcome {
    evidence: Vec<Evidence>,
    callbacks: Vec<Done>,
    purged: bool,
    weight: Weight,
}

/// The weightiest request of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// It holds nothing but entries and commit points.
    #[default]
    Entries,
    Flush,
    Purge,
    Vote,
    Truncate,
}

impl Weight {
    /// The points before and after the sync.
    fn points(self) -> (Point, Option<Point>) {
        match self {
            Self::Entries | Self::Flush => (points::APPEND_BEFORE_SYNC, Some(points::APPEND_AFTER_SYNC)),
            Self::Purge => (points::PURGE_BEFORE_SYNC, None),
            Self::Vote => (points::VOTE_BEFORE_SYNC, Some(points::VOTE_AFTER_SYNC)),
            Self::Truncate => (points::TRUNCATE_BEFORE_SYNC, Some(points::TRUNCATE_AFTER_SYNC)),
        }
    }
}

impl Outcome {
    fn fail(self, error: &WalError) {
        for done in self.callbacks {
            done(Err(error.clone()));
        }
    }
}

impl<E: Env> Writer<E> {
    async fn run(mut self, mut requests: Receiver<E, Job>) {
        let mut sync_due = None;
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                let next = match sync_due {
                    None => requests.recv().await.ok_or(TryRecvError::Disconnected),
                    Some(due) => E::Runtime::mpsc_recv_deadline(&mut requests, due).await,
                };
                match next {
                    Ok(job) => waiting.push_back(job),
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            while let Ok(job) = requests.try_recv() {
                waiting.push_back(job);
            }
            let (outcome, written) = self.take_batch(&mut waiting).await;
            let result = match written {
                Err(error) => {
                    outcome.fail(&error);
                    Err(error)
                }
                // Two planted defects act here: the batch is answered although it is not durable yet.
                Ok(()) if self.is_answered_early(&outcome) => {
                    self.unsynced.extend(outcome.evidence);
                    for done in outcome.callbacks {
                        done(Ok(()));
                    }
                    let now = <E::Runtime as AsyncRuntime>::Instant::now();
                    if !self.unsynced.is_empty() && now < *sync_due.get_or_insert(now + LATE_SYNC) {
                        continue;
                    }
                    sync_due = None;
                    self.sync(Outcome::default()).await
                }
                Ok(()) => {
                    sync_due = None;
                    self.sync(outcome).await
                }
            };
            if let Err(error) = result {
                self.stop(error, waiting, requests).await;
                return;
            }
        }
    }

    /// Takes jobs up to the bound or a truncation, or one truncation, and writes them as one batch.
    async fn take_batch(&mut self, waiting: &mut VecDeque<Job>) -> (Outcome, Result<(), WalError>) {
        let mut outcome = Outcome::default();
        let before = self.state.state();
        let mut records = Vec::new();
        let mut index_max = None;
        while records.len() < BATCH_BYTES_MAX {
            let cuts = matches!(waiting.front(), Some(Job::Truncate(..)));
            if cuts && !outcome.callbacks.is_empty() {
                break;
            }
            let Some(job) = waiting.pop_front() else { break };
            match job {
                Job::Append(entries, done) => {
                    self.append(entries, &mut records, &mut index_max, &mut outcome.evidence);
                    outcome.callbacks.push(done);
                }
                Job::Vote(ballot, done) => {
                    self.put(Record::Vote(ballot), &mut records);
                    outcome.weight = outcome.weight.max(Weight::Vote);
                    outcome.evidence.push(Evidence::Vote {
                        term: ballot.term,
                        voted_for: ballot.voted_for,
                        committed: ballot.committed,
                    });
                    outcome.callbacks.push(done);
                }
                Job::Committed(index, term) => self.put(Record::Committed { index, term }, &mut records),
                Job::Truncate(after, done) => {
                    // Evidence of what is cut comes before that of the cut.
                    if let Err(error) = self.sync(Outcome::default()).await {
                        done(Err(error.clone()));
                        return (outcome, Err(error));
                    }
                    let record = Record::Truncate(after);
                    if self.has(Defect::TruncationNotLogged) {
                        self.fold(record);
                    } else {
                        self.put(record, &mut records);
                    }
                    outcome.weight = Weight::Truncate;
                    outcome.callbacks.push(done);
                    let after = after.map(|position| position.index);
                    // The intent: a crash between the sync and its evidence would otherwise look like a loss.
                    self.env.record(Evidence::Truncate { after });
                    if let Err(error) = self.env.settle().await {
                        return (outcome, Err(WalError::io("write", "the evidence", &error)));
                    }
                }
                Job::Purge(upto, done) => {
                    self.put(Record::Purge(upto), &mut records);
                    outcome.weight = outcome.weight.max(Weight::Purge);
                    outcome.purged = true;
                    outcome.evidence.push(Evidence::Purge { upto });
                    outcome.callbacks.push(done);
                }
                Job::Flush(done) => {
                    outcome.weight = outcome.weight.max(Weight::Flush);
                    outcome.callbacks.push(done);
                }
            }
            if cuts {
                break;
            }
        }
        if outcome.callbacks.is_empty() {
            // Only commit points: they wait for the next batch, so that no sync is made for them alone. A newer one
            // replaces an older one.
            if !records.is_empty() {
                self.put_off = records;
            }
            return (outcome, Ok(()));
        }
        let written = self.write(records, before, index_max).await;
        (outcome, written)
    }

    fn append(
        &mut self,
        entries: Vec<Entry>,
        records: &mut Vec<u8>,
        index_max: &mut Option<LogIndex>,
        evidence: &mut Vec<Evidence>,
    ) {
        let Some(last) = entries.last() else { return };
        *index_max = (*index_max).max(Some(last.position.index));
        let under = term_of(self.state.vote);
        for entry in entries {
            tell(evidence, entry.position, under);
            self.put(Record::Entry(entry), records);
        }
    }

    fn put(&mut self, record: Record, records: &mut Vec<u8>) {
        record.encode(records);
        self.fold(record);
    }

    /// Keeps the state up with the records.
    fn fold(&mut self, record: Record) {
        let folded = self.state.apply(record);
        assert_eq!(folded, Ok(()), "consensus asked for a log that cannot be");
        self.state.entries.clear();
    }

    /// Writes `records` as one batch, in a new segment if they do not fit; `before` is the state ahead of them.
    async fn write(
        &mut self,
        records: Vec<u8>,
        before: super::record::State,
        index_max: Option<LogIndex>,
    ) -> Result<(), WalError> {
        let put_off = std::mem::take(&mut self.put_off);
        let bytes = frame::BATCH_HEAD_BYTES + put_off.len() + records.len() + 1;
        let room = self.active.as_ref().map_or(0, |(_, size, at)| size - at);
        if bytes as u64 > room {
            let after = std::mem::replace(
                &mut self.state,
                Image {
                    vote: before.vote,
                    committed: before.committed,
                    purged: before.purged,
                    last: before.last,
                    entries: VecDeque::new(),
                },
            );
            self.sync(Outcome::default()).await?;
            let added = self.add_segment(bytes as u64).await;
            self.state = after;
            added?;
        }
        let mut batch = Vec::with_capacity(bytes);
        let start = frame::begin_batch(&mut batch);
        batch.extend_from_slice(&put_off);
        batch.extend_from_slice(&records);
        frame::end_batch(&mut batch, start, self.next_batch);
        let path = self.active_path();
        let (file, _, at) = self.active.as_mut().unwrap_or_else(|| panic!("no active segment"));
        let length = batch.len() as u64;
        file.write_at(*at, batch.into())
            .await
            .map_err(|e| WalError::io("write", &path, &e))?;
        *at += length;
        self.next_batch += 1;
        if let Some(segment) = self.segments.last_mut() {
            segment.index_max = segment.index_max.max(index_max);
        }
        Ok(())
    }

    /// Makes what was written durable, then tells of it.
    async fn sync(&mut self, outcome: Outcome) -> Result<(), WalError> {
        if outcome.callbacks.is_empty() && self.unsynced.is_empty() {
            return Ok(());
        }
        let (before, after) = outcome.weight.points();
        points::linger(&self.env, before).await;
        let path = self.active_path();
        if let Some((file, _, _)) = &self.active
            && let Err(error) = file.sync_data().await
        {
            let error = WalError::io("sync", &path, &error);
            outcome.fail(&error);
            return Err(error);
        }
        if let Some(after) = after {
            points::pass(&self.env, after);
        }
        for evidence in std::mem::take(&mut self.unsynced).into_iter().chain(outcome.evidence) {
            self.env.record(evidence);
        }
        for done in outcome.callbacks {
            done(Ok(()));
        }
        if outcome.purged {
            self.remove_purged().await?;
        }
        Ok(())
    }

    /// Starts a segment that has room for a batch of `bytes`, and opens it with the present state.
    async fn add_segment(&mut self, bytes: u64) -> Result<(), WalError> {
        let number = self.segments.last().map_or(1, |segment| segment.number + 1);
        let path = path_of(number);
        let mut content = frame::segment_head(number, self.next_batch).to_vec();
        let start = frame::begin_batch(&mut content);
        Record::State(self.state.state()).encode(&mut content);
        frame::end_batch(&mut content, start, self.next_batch);
        let at = content.len() as u64;
        let size = self.settings.segment_bytes.max(at + bytes);
        let syncs_folder = !self.has(Defect::LostDirectorySync);
        let disk = self.env.disk();
        let create = async {
            let file = disk.open(&path, OpenMode::Create).await?;
            file.set_len(size).await?;
            file.write_at(0, content.into()).await?;
            file.sync_data().await?;
            points::pass(&self.env, points::SEGMENT_BEFORE_DIR_SYNC);
            if syncs_folder {
                disk.sync_dir(FOLDER).await?;
            }
            points::pass(&self.env, points::SEGMENT_AFTER_DIR_SYNC);
            Ok(file)
        };
        let file = create.await.map_err(|e| WalError::io("create", &path, &e))?;
        debug_assert!(at > SEGMENT_HEAD_BYTES as u64, "a segment opens with a batch");
        self.active = Some((file, size, at));
        self.next_batch += 1;
        self.segments.push(Segment {
            number,
            index_max: None,
            size,
        });
        self.publish_size();
        Ok(())
    }

    fn publish_size(&self) {
        let size = self.segments.iter().map(|segment| segment.size).sum();
        self.size_bytes.store(size, Ordering::Relaxed);
    }

    /// Removes segments, oldest first, whose entries are all purged; each removal is durable before the next, so
    /// that no gap can appear.
    async fn remove_purged(&mut self) -> Result<(), WalError> {
        let Some(upto) = self.state.purged.map(|position| position.index) else {
            return Ok(());
        };
        while self.segments.len() > 1 && self.segments[0].index_max.is_none_or(|index| index <= upto) {
            let path = path_of(self.segments.remove(0).number);
            let disk = self.env.disk();
            points::pass(&self.env, points::PURGE_BEFORE_REMOVE);
            disk.remove(&path)
                .await
                .map_err(|e| WalError::io("remove", &path, &e))?;
            points::pass(&self.env, points::PURGE_BEFORE_DIR_SYNC);
            disk.sync_dir(FOLDER)
                .await
                .map_err(|e| WalError::io("sync", FOLDER, &e))?;
        }
        self.publish_size();
        Ok(())
    }

    /// Fails for good: what waits and what will come is answered with the error.
    async fn stop(self, error: WalError, waiting: VecDeque<Job>, mut requests: Receiver<E, Job>) {
        self.env.record(Evidence::SyncFailed {
            error: error.to_string(),
        });
        // The node is about to end; an error here would hide the one that ends it.
        let _ = self.env.settle().await;
        let _ = self.failed.send(Some(error.clone()));
        for job in waiting {
            fail(job, &error);
        }
        while let Some(job) = requests.recv().await {
            fail(job, &error);
        }
    }

    fn has(&self, defect: Defect) -> bool {
        self.settings.defects.contains(&defect)
    }

    /// Planted defects `ack-before-sync`, of entries, and `vote-not-synced`, of votes.
    fn is_answered_early(&self, outcome: &Outcome) -> bool {
        let only_votes = || {
            let mut events = outcome.evidence.iter();
            events.all(|event| matches!(event, Evidence::Vote { .. }))
        };
        !self.settings.defects.is_empty()
            && match outcome.weight {
                Weight::Entries => self.has(Defect::AckBeforeSync),
                Weight::Vote => self.has(Defect::VoteNotSynced) && only_votes(),
                Weight::Flush | Weight::Purge | Weight::Truncate => false,
            }
    }

    fn active_path(&self) -> String {
        path_of(self.segments.last().map_or(0, |segment| segment.number))
    }
}

/// Adds an entry to the evidence of a batch. Successive entries of one term under one vote are one event, so that
/// the term of every entry is known.
fn tell(evidence: &mut Vec<Evidence>, position: Position, under: Term) {
    let Position { index, term, chain } = position;
    if let Some(Evidence::Persist {
        to,
        term: last_term,
        chain: last_chain,
        under: before,
        ..
    }) = evidence.last_mut()
        && (*before, *last_term) == (under, term)
        && to.0 + 1 == index.0
    {
        (*to, *last_chain) = (index, chain);
        return;
    }
    evidence.push(Evidence::Persist {
        from: index,
        to: index,
        term,
        chain,
        under,
    });
}

/// How long the planted defects `ack-before-sync` and `vote-not-synced` wait, at the most, before they sync.
const LATE_SYNC: Duration = Duration::from_millis(250);
