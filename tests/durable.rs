//! The auditor's reader of durable disks against the store's own recovery, which shares no code with it.
//!
//! A node writes a log at random: entries, votes, truncations, purges behind snapshots, small segments. The power is
//! cut again and again, with every kind of loss. At each look a reader that goes on from where it stood must say the
//! same as one that starts from nothing, and after each loss the same as the store recovers.
#![expect(clippy::tests_outside_test_module, reason = "this file is a test")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use tribunal::world::simulation::audit::DurableFiles;
use tribunal_checker::quorum::{DurableLog, Held};
use tribunal_env::{AsyncRuntime as _, Env as _, Purpose, Stream};
use tribunal_history::evidence::{Ballot, Chain, Position};
use tribunal_history::{LogIndex, MemberId, NodeId, Term};
use tribunal_simulation::{Crash, Settings, SimEnv, SimRuntime, Simulation, Unsynced, World};
use tribunal_store::wal::{self, Entry, Image, SnapshotStore, Wal};

const N1: NodeId = NodeId(1);

/// What each life recovered, and how much of a life's work there was.
#[derive(Default)]
struct Told {
    recovered: Vec<Image>,
    purges: u32,
    truncations: u32,
}

/// One life: it asks for this and that until its power is cut.
async fn write_at_random(env: SimEnv, told: Arc<Mutex<Told>>) {
    let settings = wal::Settings {
        segment_bytes: 4096,
        ..wal::Settings::default()
    };
    let (wal, image) = Wal::open(&env, settings).await.expect("recovers");
    let snapshots = SnapshotStore::open(&env).await.expect("opens");
    let mut last = image.last;
    let mut purged = image.purged;
    let mut kept: VecDeque<Position> = image.entries.iter().map(|entry| entry.position).collect();
    // What a snapshot covers is never cut off again: the log is purged up to there, if that was lost.
    if let Some(snapshot) = snapshots.current() {
        let index = snapshot.meta().last_chunk::<8>().expect("it ends with the index");
        let index = LogIndex(u64::from_le_bytes(*index));
        if let Some(place) = kept.iter().position(|position| position.index == index) {
            let upto = kept[place];
            drop(kept.drain(..=place));
            purged = Some(upto);
            wal.purge(upto, Box::new(|_| {})).await;
        }
    }
    let mut term = image.vote.map_or(Term(1), |vote| Term(vote.term.0 + 1));
    told.lock().expect("unpoisoned").recovered.push(image);
    let mut rng = env.rng(Stream {
        purpose: Purpose::Workload,
        a: 1,
        b: 0,
    });
    loop {
        match rng.random_range(0..12) {
            0..=6 => {
                let mut entries = Vec::new();
                for _ in 0..rng.random_range(1..4) {
                    let bytes = if rng.random_ratio(1, 20) { 9_000 } else { 300 };
                    let payload = Bytes::from(vec![rng.random::<u8>(); rng.random_range(0..bytes)]);
                    let index = last.map_or(LogIndex(0), |last| LogIndex(last.index.0 + 1));
                    let before = last.map(|last| last.chain).unwrap_or_default();
                    let chain = wal::chain(before, term, index, &payload);
                    let position = Position { index, term, chain };
                    last = Some(position);
                    kept.push_back(position);
                    entries.push(Entry { position, payload });
                }
                wal.append(entries, Box::new(|_| {})).await;
            }
            7 => {
                term = Term(term.0 + 1);
                let ballot = Ballot {
                    term,
                    voted_for: MemberId(7),
                    committed: rng.random(),
                };
                wal.vote(ballot, Box::new(|_| {})).await;
            }
            8 => {
                if let Some(last) = last {
                    wal.committed(last.index, last.term).await;
                }
            }
            9 | 10 if !kept.is_empty() => {
                let cut = rng.random_range(0..kept.len());
                kept.truncate(cut);
                last = kept.back().copied().or(purged);
                wal.truncate(last, Box::new(|_| {})).await;
                told.lock().expect("unpoisoned").truncations += 1;
            }
            11 if kept.len() > 3 => {
                let place = rng.random_range(0..kept.len());
                let upto = kept[place];
                // A snapshot is of what was applied, so of what is durable.
                let is_durable = Arc::new(AtomicBool::new(false));
                wal.flush({
                    let is_durable = Arc::clone(&is_durable);
                    Box::new(move |result| is_durable.store(result.is_ok(), Ordering::Relaxed))
                })
                .await;
                while !is_durable.load(Ordering::Relaxed) {
                    SimRuntime::sleep(Duration::from_micros(100)).await;
                }
                let mut about = Vec::new();
                put_leb128(upto.chain, &mut about);
                about.extend_from_slice(&upto.index.0.to_le_bytes());
                let stored = snapshots
                    .write(&about, [Bytes::from_static(b"state")])
                    .await
                    .expect("written");
                snapshots.keep(upto.term, upto.index, stored).await.expect("kept");
                drop(kept.drain(..=place));
                purged = Some(upto);
                wal.purge(upto, Box::new(|_| {})).await;
                told.lock().expect("unpoisoned").purges += 1;
            }
            _ => {}
        }
        SimRuntime::sleep(Duration::from_micros(rng.random_range(0..800))).await;
    }
}

fn put_leb128(chain: Chain, out: &mut Vec<u8>) {
    let mut rest = chain.0;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn look(world: &World, log: &mut DurableLog) {
    world.with_durable(N1, |durable| log.refresh(&DurableFiles(durable)));
}

/// The reader that went on says what one that starts now says.
fn same_as_from_nothing(world: &World, log: &DurableLog, case: &str) {
    let mut fresh = DurableLog::default();
    look(world, &mut fresh);
    assert_eq!(log.last(), fresh.last(), "{case}");
    assert_eq!(log.vote(), fresh.vote(), "{case}");
    assert_eq!(log.snapshot(), fresh.snapshot(), "{case}");
    assert_eq!(log.ends_early(), fresh.ends_early(), "{case}");
    for index in 0..=fresh.last().map_or(0, |last| last.index.0 + 1) {
        assert_eq!(log.position(LogIndex(index)), fresh.position(LogIndex(index)), "{case}");
    }
}

/// The reader says what the store recovers.
fn same_as_recovered(log: &DurableLog, image: &Image, case: &str) {
    assert_eq!(log.ends_early(), None, "{case}");
    assert_eq!(log.vote(), image.vote, "{case}");
    assert_eq!(log.last(), image.last, "{case}");
    for entry in &image.entries {
        let Position { index, chain, .. } = entry.position;
        assert_eq!(log.position(index), Some(entry.position), "{case}");
        // The purge of what a snapshot covers may not have reached the disk.
        if log.snapshot().is_some_and(|snapshot| snapshot.index >= index) {
            assert!(
                matches!(log.holds(index, chain), Some(Held::Snapshot(_))),
                "{case}: entry {index}"
            );
            continue;
        }
        assert!(
            matches!(log.holds(index, chain), Some(Held::Log(_))),
            "{case}: entry {index}"
        );
        assert_eq!(log.holds(index, Chain(chain.0 ^ 1)), None, "{case}: entry {index}");
    }
    let next = LogIndex(image.last.map_or(0, |last| last.index.0 + 1));
    assert_eq!(log.holds(next, Chain(0)), None, "{case}");
    if let Some(purged) = image.purged {
        assert!(
            matches!(log.holds(purged.index, purged.chain), Some(Held::Snapshot(_))),
            "{case}"
        );
    }
}

#[test]
fn the_reader_agrees_with_the_stores_own_recovery() {
    let mut work = (0, 0, 0);
    for seed in 1..=20 {
        let mut simulation = Simulation::new(Settings {
            seed,
            ..Settings::default()
        });
        let world = simulation.world();
        let mut disk = world.disk(N1);
        disk.unsynced = Unsynced {
            lost: 1,
            prefix: 3,
            reordered: 0,
            kept: 1,
        };
        world.set_disk(N1, disk);
        let told = Arc::new(Mutex::new(Told::default()));
        assert!(world.boot(N1, {
            let told = Arc::clone(&told);
            move |env| write_at_random(env, Arc::clone(&told))
        }));
        let mut log = DurableLog::default();
        for life in 0..8 {
            for step in 0..20 {
                simulation.run_for(Duration::from_millis(5)).expect("runs");
                look(&world, &mut log);
                if step % 5 == 0 {
                    same_as_from_nothing(&world, &log, &format!("seed {seed}, life {life}, step {step}"));
                }
            }
            assert_eq!(world.findings().1, 0, "{:?}", world.findings());
            assert!(world.crash(N1, Crash::MACHINE));
            look(&world, &mut log);
            let case = format!("seed {seed}, after life {life}");
            same_as_from_nothing(&world, &log, &case);
            let lives = told.lock().expect("unpoisoned").recovered.len();
            assert!(world.restart(N1));
            // Until it has recovered, and not much longer.
            let mut before = DurableLog::default();
            look(&world, &mut before);
            while told.lock().expect("unpoisoned").recovered.len() == lives {
                simulation.run_for(Duration::from_micros(50)).expect("runs");
            }
            let told = told.lock().expect("unpoisoned");
            same_as_recovered(&before, &told.recovered[lives], &case);
        }
        let told = told.lock().expect("unpoisoned");
        work.0 += told.recovered.iter().map(|image| image.entries.len()).sum::<usize>();
        work.1 += told.purges;
        work.2 += told.truncations;
    }
    assert!(work.0 > 1_000 && work.1 > 100 && work.2 > 100, "{work:?}");
}
