//! The write-ahead log at its boundary: what a crash or damage leaves of a disk, and what recovery makes of it.

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use support::{MemoryDisk, MemoryEnv};
use tribunal_env::{AsyncRuntime as _, Disk as _};
use tribunal_history::{Evidence, LogIndex, MemberId, Term};
use tribunal_store::wal::snapshot::Stored;
use tribunal_store::wal::{self, Ballot, Done, Entry, Image, Position, Record, Settings, SnapshotStore, Wal, WalError};

const FIRST_SEGMENT: &str = "wal/0000000000000001.wal";

fn settings(segment_bytes: u64) -> Settings {
    Settings {
        segment_bytes,
        ..Settings::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    TokioRuntime::new(1).block_on(future)
}

/// A callback and the way to wait for it.
fn told() -> (Done, tokio::sync::oneshot::Receiver<Result<(), WalError>>) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done: Done = Box::new(move |result| sender.send(result).expect("the test waits"));
    (done, receiver)
}

/// Makes entries that follow `last`.
fn entries(mut last: Option<Position>, term: u64, payloads: &[&str]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for payload in payloads {
        let index = LogIndex(last.map_or(0, |last| last.index.0 + 1));
        let before = last.map(|last| last.chain).unwrap_or_default();
        let chain = wal::chain(before, Term(term), index, payload.as_bytes());
        let position = Position {
            index,
            term: Term(term),
            chain,
        };
        last = Some(position);
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        entries.push(Entry { position, payload });
    }
    entries
}

fn ballot(term: u64) -> Ballot {
    Ballot {
        term: Term(term),
        voted_for: MemberId(7),
        committed: true,
    }
}

/// A request to the log.
#[derive(Clone)]
enum Ask {
    Append(Vec<Entry>),
    Vote(Ballot),
    Truncate(Option<Position>),
    Purge(Position),
}

impl Ask {
    async fn make(&self, wal: &Wal<MemoryEnv>) {
        let (done, answer) = told();
        match self.clone() {
            Self::Append(entries) => wal.append(entries, done).await,
            Self::Vote(ballot) => wal.vote(ballot, done).await,
            Self::Truncate(after) => wal.truncate(after, done).await,
            Self::Purge(upto) => wal.purge(upto, done).await,
        }
        answer.await.expect("told").expect("durable");
    }

    fn fold(&self, image: &mut Image) {
        let records = match self.clone() {
            Self::Append(entries) => entries.into_iter().map(Record::Entry).collect(),
            Self::Vote(ballot) => vec![Record::Vote(ballot)],
            Self::Truncate(after) => vec![Record::Truncate(after)],
            Self::Purge(upto) => vec![Record::Purge(upto)],
        };
        for record in records {
            image.apply(record).expect("a possible stream");
        }
    }
}

/// A life with every kind of record.
fn story() -> Vec<Ask> {
    let first = entries(None, 1, &["alpha", "beta", "gamma", "delta"]);
    let kept = first[2].position;
    let second = entries(Some(kept), 2, &["epsilon", "zeta"]);
    let third = entries(Some(second[1].position), 2, &["eta"]);
    vec![
        Ask::Vote(ballot(1)),
        Ask::Append(first.clone()),
        Ask::Vote(ballot(2)),
        Ask::Truncate(Some(kept)),
        Ask::Append(second),
        Ask::Purge(first[0].position),
        Ask::Append(third),
    ]
}

/// Does all of `asks` in one life; gives the disk after each and what the log must be then.
async fn live(asks: &[Ask], segment_bytes: u64) -> Vec<(MemoryDisk, Image)> {
    let env = MemoryEnv::default();
    let (wal, mut image) = Wal::open(&env, settings(segment_bytes)).await.expect("opens");
    let mut states = vec![(env.disk.after(|_, _| {}), image.clone())];
    for ask in asks {
        ask.make(&wal).await;
        ask.fold(&mut image);
        states.push((env.disk.after(|_, _| {}), image.clone()));
    }
    states
}

async fn recover(disk: MemoryDisk, segment_bytes: u64) -> Result<Image, WalError> {
    let env = MemoryEnv::on(disk);
    Wal::open(&env, settings(segment_bytes)).await.map(|(_, image)| image)
}

#[test]
fn recovery_is_the_fold_of_what_was_asked() {
    block_on(async {
        // Small segments hold one batch each, so that the state which opens a segment is used too.
        for segment_bytes in [4096, 256] {
            for (disk, image) in live(&story(), segment_bytes).await {
                assert_eq!(recover(disk, segment_bytes).await.expect("recovers"), image);
            }
        }
    });
}

#[test]
fn a_log_goes_on_after_any_restart() {
    block_on(async {
        for segment_bytes in [4096, 256] {
            let mut disk = MemoryDisk::default();
            let mut expected = Image::default();
            for ask in story() {
                let env = MemoryEnv::on(disk.after(|_, _| {}));
                let (wal, image) = Wal::open(&env, settings(segment_bytes)).await.expect("opens");
                assert_eq!(image, expected);
                ask.make(&wal).await;
                ask.fold(&mut expected);
                disk = env.disk;
            }
            assert_eq!(
                recover(disk.after(|_, _| {}), segment_bytes).await.expect("recovers"),
                expected
            );
        }
    });
}

/// The last batch is cut at each of its bytes, once with zeros behind the cut and once with the file ending there:
/// recovery gives the state before it, and the log can be written again.
#[test]
fn a_batch_cut_by_a_crash_is_dropped_as_a_whole() {
    block_on(async {
        let states = live(&story(), 4096).await;
        for pair in states.windows(2) {
            let [(before, image), (after, _)] = pair else {
                unreachable!("windows of two")
            };
            let (old, new) = (before.content(FIRST_SEGMENT), after.content(FIRST_SEGMENT));
            let start = (0..new.len())
                .find(|&at| old[at] != new[at])
                .expect("it was written to");
            let end = (0..new.len())
                .rfind(|&at| old[at] != new[at])
                .expect("it was written to")
                + 1;
            for cut in start..end {
                let zeros = after.after(|_, bytes| bytes[cut..].fill(0));
                let short = after.after(|_, bytes| bytes.truncate(cut));
                for disk in [zeros, short] {
                    let env = MemoryEnv::on(disk);
                    let (wal, recovered) = Wal::open(&env, settings(4096)).await.expect("a cut is no damage");
                    assert_eq!(&recovered, image, "cut at {cut}");
                    Ask::Vote(ballot(9)).make(&wal).await;
                    let again = recover(env.disk.after(|_, _| {}), 4096).await.expect("recovers");
                    assert_eq!(again.vote, Some(ballot(9)));
                }
            }
        }
    });
}

#[test]
fn every_flipped_bit_is_an_error_that_names_the_place() {
    block_on(async {
        for segment_bytes in [4096, 256] {
            let (disk, _) = live(&story(), segment_bytes).await.pop().expect("states");
            for path in disk.paths() {
                let bytes = disk.content(&path);
                let end = bytes.iter().rposition(|&byte| byte != 0).expect("content") + 1;
                for at in 0..end {
                    for bit in 0..8 {
                        let damaged = disk.after(|other, bytes| {
                            if other == path {
                                bytes[at] ^= 1 << bit;
                            }
                        });
                        let error = recover(damaged, segment_bytes).await.expect_err("damage");
                        match error {
                            WalError::Corrupt { path: named, .. } => assert_eq!(named, path, "byte {at}, bit {bit}"),
                            other => panic!("byte {at}, bit {bit}: {other}"),
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn a_cut_anywhere_but_at_the_very_end_is_an_error() {
    block_on(async {
        let (disk, _) = live(&story(), 256).await.pop().expect("states");
        let paths = disk.paths();
        assert!(paths.len() > 2, "several segments: {paths:?}");
        for path in &paths[..paths.len() - 1] {
            let damaged = disk.after(|other, bytes| {
                if other == path {
                    let end = bytes.iter().rposition(|&byte| byte != 0).expect("content");
                    bytes[end] = 0;
                }
            });
            assert!(recover(damaged, 256).await.is_err(), "{path}");
            let missing = disk.after(|other, bytes| {
                if other == path {
                    bytes.fill(0);
                }
            });
            assert!(recover(missing, 256).await.is_err(), "{path}");
        }
    });
}

#[test]
fn requests_that_wait_together_share_one_sync() {
    block_on(async {
        let env = MemoryEnv::default();
        let (wal, _) = Wal::open(&env, settings(1 << 20)).await.expect("opens");
        let all = entries(None, 1, &["x"; 100]);
        let before = env.disk.syncs.load(Ordering::SeqCst);
        let mut answers = Vec::new();
        for entry in all {
            let (done, answer) = told();
            wal.append(vec![entry], done).await;
            answers.push(answer);
        }
        for answer in answers {
            answer.await.expect("told").expect("durable");
        }
        let syncs = env.disk.syncs.load(Ordering::SeqCst) - before;
        // The writer may have taken the first requests before the others came; it never syncs for each.
        assert!(syncs < 50, "{syncs} syncs for 100 requests");
        let persisted: Vec<_> = env
            .recorded()
            .into_iter()
            .filter_map(|evidence| match evidence {
                Evidence::Persist { from, to, .. } => Some((from.0, to.0)),
                _ => None,
            })
            .collect();
        assert_eq!(persisted.len(), syncs, "one event for each sync");
        assert_eq!(persisted.last().map(|(_, to)| *to), Some(99));
    });
}

/// What is appended and truncated before the first sync: the events, read in their order, must end where the log
/// does, or its boot would look as if entries had been lost.
#[test]
fn evidence_of_a_truncation_comes_after_that_of_what_it_cuts() {
    // One thread, so that both requests wait when the writer looks.
    tokio_test::block_on(async {
        let env = MemoryEnv::default();
        let (wal, _) = Wal::open(&env, settings(1 << 20)).await.expect("opens");
        let all = entries(None, 1, &["a", "b", "c"]);
        let kept = all[0].position;
        let (appended, first) = told();
        wal.append(all, appended).await;
        let (truncated, second) = told();
        wal.truncate(Some(kept), truncated).await;
        first.await.expect("told").expect("durable");
        second.await.expect("told").expect("durable");
        let last = env.recorded().into_iter().fold(None, |last, evidence| match evidence {
            Evidence::Persist { to, .. } => Some(to),
            Evidence::Truncate { after } => after,
            _ => last,
        });
        assert_eq!(last, Some(kept.index), "{:?}", env.recorded());
    });
}

/// Without its first segment a log has a hole before its first entry, unless what was in it is purged.
#[test]
fn a_lost_first_segment_is_an_error() {
    block_on(async {
        let payload = "x".repeat(300);
        let all = entries(None, 1, &[payload.as_str(); 4]);
        let asks: Vec<_> = all.iter().map(|entry| Ask::Append(vec![entry.clone()])).collect();
        let (disk, image) = live(&asks, 512).await.pop().expect("a state");
        assert_eq!(image.entries.len(), 4);
        disk.remove(FIRST_SEGMENT).await.expect("is there");
        let second = "wal/0000000000000002.wal";
        disk.remove(second).await.expect("is there");
        match recover(disk, 512).await {
            Err(WalError::Corrupt { what, .. }) => assert!(what.contains("before it"), "{what}"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    block_on(async {
        let env = MemoryEnv::default();
        let (wal, _) = Wal::open(&env, settings(4096)).await.expect("opens");
        env.disk.broken.store(true, Ordering::SeqCst);
        let (done, answer) = told();
        wal.vote(ballot(1), done).await;
        assert!(answer.await.expect("told").is_err());
        env.disk.broken.store(false, Ordering::SeqCst);
        let (done, answer) = told();
        wal.vote(ballot(2), done).await;
        assert!(answer.await.expect("told").is_err(), "it is never tried again");
        assert!(wal.failed().await.to_string().contains("the device is gone"));
        assert!(
            env.recorded()
                .iter()
                .any(|evidence| matches!(evidence, Evidence::SyncFailed { .. }))
        );
        assert!(
            env.recorded()
                .iter()
                .all(|evidence| !matches!(evidence, Evidence::Vote { .. }))
        );
    });
}

/// Callbacks are told in the order of the requests, whatever batches they fell into.
#[test]
fn callbacks_come_in_order() {
    block_on(async {
        let env = MemoryEnv::default();
        let (wal, _) = Wal::open(&env, settings(300)).await.expect("opens");
        let order = Arc::new(Mutex::new(Vec::new()));
        for (number, entry) in entries(None, 1, &["payload"; 40]).into_iter().enumerate() {
            let order = Arc::clone(&order);
            let done: Done = Box::new(move |result| {
                result.expect("durable");
                order.lock().expect("unpoisoned").push(number);
            });
            wal.append(vec![entry], done).await;
        }
        let (done, answer) = told();
        wal.flush(done).await;
        answer.await.expect("told").expect("durable");
        assert_eq!(*order.lock().expect("unpoisoned"), (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn purged_segments_are_removed_and_the_rest_recovers() {
    block_on(async {
        let env = MemoryEnv::default();
        let (wal, mut image) = Wal::open(&env, settings(256)).await.expect("opens");
        let all = entries(None, 1, &["0123456789"; 50]);
        let mut asks = vec![Ask::Vote(ballot(1))];
        asks.extend(all.iter().map(|entry| Ask::Append(vec![entry.clone()])));
        asks.push(Ask::Purge(all[40].position));
        for ask in &asks[..asks.len() - 1] {
            ask.make(&wal).await;
            ask.fold(&mut image);
        }
        let before = env.disk.paths().len();
        let purge = asks.last().expect("the purge");
        purge.make(&wal).await;
        purge.fold(&mut image);
        // Removal follows the answer; what comes next waits for it.
        Ask::Vote(ballot(2)).make(&wal).await;
        Ask::Vote(ballot(2)).fold(&mut image);
        let after = env.disk.paths().len();
        assert!(after < before / 2, "{before} segments became {after}");
        assert_eq!(recover(env.disk.after(|_, _| {}), 256).await.expect("recovers"), image);
    });
}

async fn content_of(stored: &Stored<MemoryEnv>) -> Vec<Bytes> {
    let (mut chunks, mut all) = (stored.chunks(), Vec::new());
    while let Some(chunk) = chunks.next().await.expect("reads") {
        all.push(chunk);
    }
    all
}

#[test]
fn a_snapshot_reads_back_and_damage_is_an_error() {
    block_on(async {
        let env = MemoryEnv::default();
        let store = SnapshotStore::open(&env).await.expect("opens");
        assert!(store.current().is_none());
        let chunks = |text: &'static str| text.split(' ').map(|word| Bytes::from_static(word.as_bytes()));
        for (index, text) in [(5, "old"), (16, "new and longer")] {
            let stored = store.write(b"meta", chunks(text)).await.expect("writes");
            store.keep(Term(1), LogIndex(index), stored).await.expect("keeps");
        }
        let late = store.write(b"late", chunks("late")).await.expect("writes");
        store.keep(Term(1), LogIndex(7), late).await.expect("is removed");
        let paths = env.disk.paths();
        assert_eq!(paths.len(), 1, "only the newest is kept: {paths:?}");
        for env in [env.clone(), MemoryEnv::on(env.disk.after(|_, _| {}))] {
            let store = SnapshotStore::open(&env).await.expect("opens");
            let current = store.current().expect("is there");
            assert_eq!(current.meta(), &Bytes::from_static(b"meta"));
            assert_eq!(content_of(&current).await, chunks("new and longer").collect::<Vec<_>>());
        }
        let length = env.disk.content(&paths[0]).len();
        for at in 0..length {
            let damaged = MemoryEnv::on(env.disk.after(|_, bytes| bytes[at] ^= 4));
            assert!(SnapshotStore::open(&damaged).await.is_err(), "byte {at}");
            let cut = MemoryEnv::on(env.disk.after(|_, bytes| bytes.truncate(at)));
            assert!(SnapshotStore::open(&cut).await.is_err(), "cut at {at}");
        }
    });
}

/// A snapshot that comes in pieces is what was sent; one that lacks a piece or was changed on the way is refused, and
/// what is unfinished is gone after a restart.
#[test]
fn a_snapshot_that_comes_in_pieces_is_whole_or_refused() {
    block_on(async {
        let env = MemoryEnv::default();
        let from = SnapshotStore::open(&env).await.expect("opens");
        let chunks = (0..50_u8).map(|n| Bytes::from(vec![n; 1000 + usize::from(n)]));
        let sent = from.write(b"meta", chunks.clone()).await.expect("writes");
        let mut pieces = Vec::new();
        let mut offset = 0;
        while offset < sent.length() {
            pieces.push(sent.piece(offset, 777).await.expect("reads"));
            offset += pieces.last().map_or(0, Bytes::len) as u64;
        }
        let other = MemoryEnv::default();
        let store = SnapshotStore::open(&other).await.expect("opens");
        for lacking in [None, Some(0), Some(7), Some(pieces.len() - 1)] {
            let mut incoming = store.receive().await.expect("begins");
            let rest = pieces.iter().enumerate().filter(|(place, _)| Some(*place) != lacking);
            for (_, piece) in rest {
                incoming.write(piece.clone()).await.expect("writes");
            }
            let whole = incoming.finish().await;
            assert_eq!(whole.is_ok(), lacking.is_none(), "without piece {lacking:?}");
            if let Ok(received) = whole {
                assert_eq!((received.id(), received.meta()), (sent.id(), sent.meta()));
                assert_eq!(content_of(&received).await, chunks.clone().collect::<Vec<_>>());
            }
        }
        assert!(store.current().is_none(), "nothing was kept");
        let store = SnapshotStore::open(&other).await.expect("opens");
        assert!(store.current().is_none());
        assert_eq!(other.disk.paths(), [""; 0]);
    });
}
