//! The planted defects of the log: each changes what it says it changes, and a log without them does not do that.

mod support;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use support::{MemoryDisk, MemoryEnv};
use tribunal_env::AsyncRuntime as _;
use tribunal_history::{LogIndex, MemberId, Term};
use tribunal_store::Defect;
use tribunal_store::wal::{self, Ballot, Done, Entry, Image, Position, Settings, Wal, WalError};

const FIRST_SEGMENT: &str = "wal/0000000000000001.wal";

const BALLOT: Ballot = Ballot {
    term: Term(3),
    voted_for: MemberId(7),
    committed: false,
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    TokioRuntime::new(1).block_on(future)
}

fn settings(defect: Option<Defect>, segment_bytes: u64) -> Settings {
    Settings {
        segment_bytes,
        defects: defect.into_iter().collect(),
    }
}

async fn open(disk: MemoryDisk, defect: Option<Defect>) -> Result<(Wal<MemoryEnv>, Image), WalError> {
    Wal::open(&MemoryEnv::on(disk), settings(defect, 4096)).await
}

/// Makes a request and waits until it is answered.
async fn answered(ask: impl AsyncFnOnce(Done)) {
    let (told, answer) = tokio::sync::oneshot::channel::<Result<(), WalError>>();
    ask(Box::new(move |result| told.send(result).expect("the test waits"))).await;
    answer.await.expect("told").expect("durable, or so it says");
}

fn entry(last: Option<Position>, term: u64, payload: &[u8]) -> Entry {
    let index = LogIndex(last.map_or(0, |last| last.index.0 + 1));
    let before = last.map(|last| last.chain).unwrap_or_default();
    let chain = wal::chain(before, Term(term), index, payload);
    let position = Position {
        index,
        term: Term(term),
        chain,
    };
    Entry {
        position,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn entries(last: Option<Position>, term: u64, count: usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for number in 0..count {
        let last = entries.last().map(|entry| entry.position).or(last);
        entries.push(entry(last, term, format!("payload {number}").as_bytes()));
    }
    entries
}

/// What a node that lost power now would find.
async fn found(disk: &MemoryDisk, defect: Option<Defect>) -> Image {
    open(disk.after(|_, _| {}), defect).await.expect("recovers").1
}

/// An answered vote or entry is on the disk, but for the one that the defect is about.
#[test]
fn what_is_answered_is_durable_unless_a_defect_says_otherwise() {
    block_on(async {
        for (defect, has_vote, has_entry) in [
            (None, true, true),
            (Some(Defect::VoteNotSynced), false, true),
            (Some(Defect::AckBeforeSync), true, false),
        ] {
            let disk = MemoryDisk::default();
            let (wal, _) = open(disk.clone(), defect).await.expect("opens");
            answered(async |done| wal.vote(BALLOT, done).await).await;
            assert_eq!(found(&disk, None).await.vote.is_some(), has_vote, "{defect:?}");
            answered(async |done| wal.append(entries(None, 3, 1), done).await).await;
            assert_eq!(found(&disk, None).await.last.is_some(), has_entry, "{defect:?}");
            // The sync of an entry covers the vote before it.
            assert!(found(&disk, None).await.vote.is_some(), "{defect:?}");
            // What an honest request syncs covers all.
            answered(async |done| wal.flush(done).await).await;
            assert!(found(&disk, None).await.last.is_some(), "{defect:?}");
        }
    });
}

/// Four entries, the last three cut off, one in place of the second: what of the old tail is there after a restart?
#[test]
fn a_truncation_outlives_a_restart_unless_it_is_not_logged() {
    block_on(async {
        for (defect, payloads) in [
            (None, vec!["payload 0", "new"]),
            (
                Some(Defect::TruncationNotLogged),
                vec!["payload 0", "new", "payload 2", "payload 3"],
            ),
        ] {
            let disk = MemoryDisk::default();
            let (wal, _) = open(disk.clone(), defect).await.expect("opens");
            let old = entries(None, 1, 4);
            let kept = old[0].position;
            answered(async |done| wal.append(old, done).await).await;
            answered(async |done| wal.truncate(Some(kept), done).await).await;
            answered(async |done| wal.append(vec![entry(Some(kept), 2, b"new")], done).await).await;
            let image = found(&disk, defect).await;
            let found: Vec<_> = image.entries.iter().map(|entry| &entry.payload[..]).collect();
            assert_eq!(
                found,
                payloads.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(),
                "{defect:?}"
            );
        }
    });
}

/// The last batch lost its last bytes: it is dropped, or accepted with zeros in it. Either way the log goes on.
#[test]
fn a_torn_record_is_dropped_unless_it_is_accepted() {
    block_on(async {
        for (defect, payloads) in [
            (None, vec![&b"whole"[..]]),
            (Some(Defect::TornRecordAccepted), vec![b"whole", b"to\0\0"]),
        ] {
            let disk = MemoryDisk::default();
            let (wal, _) = open(disk.clone(), None).await.expect("opens");
            let first = entry(None, 1, b"whole");
            let second = entry(Some(first.position), 1, b"torn");
            answered(async |done| wal.append(vec![first], done).await).await;
            answered(async |done| wal.append(vec![second], done).await).await;
            let torn = disk.after(|_, bytes| {
                let end = bytes.iter().rposition(|&byte| byte != 0).expect("content") + 1;
                // The end mark and two bytes of the payload.
                bytes[end - 3..].fill(0);
            });
            let (wal, image) = open(torn.clone(), defect).await.expect("recovers");
            let found: Vec<_> = image.entries.iter().map(|entry| &entry.payload[..]).collect();
            assert_eq!(found, payloads, "{defect:?}");
            answered(async |done| wal.append(vec![entry(image.last, 2, b"next")], done).await).await;
        }
    });
}

/// One bit of the second of three batches is flipped.
#[test]
fn damage_is_an_error_unless_it_is_taken_for_the_end() {
    block_on(async {
        let disk = MemoryDisk::default();
        let (wal, _) = open(disk.clone(), None).await.expect("opens");
        for one in entries(None, 1, 3) {
            answered(async |done| wal.append(vec![one], done).await).await;
        }
        let bytes = disk.content(FIRST_SEGMENT);
        let text = b"payload 1";
        let at = bytes
            .windows(text.len())
            .position(|window| window == text)
            .expect("written");
        let damaged = || disk.after(|_, bytes| bytes[at] ^= 1);
        assert!(matches!(open(damaged(), None).await, Err(WalError::Corrupt { .. })));
        let (wal, image) = open(damaged(), Some(Defect::DamageTakenForTheEnd))
            .await
            .expect("recovers");
        assert_eq!(image.entries.len(), 1);
        answered(async |done| wal.append(vec![entry(image.last, 2, b"next")], done).await).await;
    });
}

/// Segments of one batch each.
#[test]
fn a_new_segment_syncs_its_folder_unless_that_is_lost() {
    block_on(async {
        let mut syncs = Vec::new();
        for defect in [None, Some(Defect::LostDirectorySync)] {
            let env = MemoryEnv::default();
            let (wal, _) = Wal::open(&env, settings(defect, 256)).await.expect("opens");
            for one in entries(None, 1, 5) {
                answered(async |done| wal.append(vec![one], done).await).await;
            }
            assert!(env.disk.paths().len() > 2, "{:?}", env.disk.paths());
            syncs.push((env.disk.paths().len(), env.disk.folder_syncs.load(Ordering::SeqCst)));
        }
        let [(segments, honest), (_, lost)] = syncs[..] else {
            unreachable!("two runs")
        };
        assert_eq!((honest, lost), (segments, 0));
    });
}
