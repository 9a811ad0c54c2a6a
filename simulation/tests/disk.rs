//! What a disk keeps, and what it does wrong when it is told to.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tribunal_env::{Disk as _, DiskFile as _, Env as _, OpenMode};
use tribunal_history::NodeId;
use tribunal_simulation::{
    Crash, Delay, DiskImage, DiskSettings, Place, Settings, SimDisk, Simulation, Unsynced, World,
};

const N1: NodeId = NodeId(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A node that lives and does nothing, and what its disk is asked to do.
struct Bench {
    simulation: Simulation,
    world: World,
}

impl Bench {
    fn new(seed: u64, unsynced: Unsynced) -> Self {
        let simulation = Simulation::new(Settings {
            seed,
            ..Settings::default()
        });
        let world = simulation.world();
        assert!(world.boot(N1, |_| std::future::pending()));
        let bench = Self { simulation, world };
        bench.set(|disk| disk.unsynced = unsynced);
        bench
    }

    fn set(&self, change: impl FnOnce(&mut DiskSettings)) {
        let mut settings = self.world.disk(N1);
        change(&mut settings);
        self.world.set_disk(N1, settings);
    }

    /// Does something with the node's disk.
    fn act<F, T>(&mut self, act: impl FnOnce(SimDisk) -> F) -> T
    where
        F: Future<Output = T>,
    {
        let env = self.world.env(Place::Node(N1)).expect("it lives");
        let value = self.simulation.run_until(MINUTE, act(env.disk().clone()));
        assert_eq!(self.world.findings().1, 0, "{:?}", self.world.findings());
        value.expect("it is done within a minute")
    }

    fn lose_power(&self) -> DiskImage {
        assert!(self.world.crash(N1, Crash::MACHINE));
        self.world.durable_image(N1)
    }
}

async fn create(disk: &SimDisk, path: &str, bytes: &'static [u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Create).await?;
    file.write_at(0, Bytes::from_static(bytes)).await?;
    file.sync_data().await
}

fn os_error(result: &io::Result<impl Sized>) -> Option<i32> {
    result.as_ref().err().and_then(io::Error::raw_os_error)
}

#[test]
fn only_what_was_synced_survives_a_loss_of_power() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move {
        disk.create_dir("wal").await.expect("a folder");
        create(&disk, "wal/a", b"one").await.expect("written");
        disk.sync_dir("wal").await.expect("synced");
        create(&disk, "wal/b", b"two").await.expect("written");
        let file = disk.open("wal/a", OpenMode::Write).await.expect("opened");
        file.write_at(3, Bytes::from_static(b" more")).await.expect("written");
        assert_eq!(file.read_at(0, 100).await.expect("read"), "one more");
        assert_eq!(disk.list("wal").await.expect("listed"), ["a", "b"]);
    });
    assert_eq!(bench.world.seen_image(N1).read("wal/a").expect("there"), b"one more");
    assert_eq!(bench.world.durable_image(N1).paths().collect::<Vec<_>>(), ["wal/a"]);
    let left = bench.lose_power();
    assert_eq!(
        left.paths().collect::<Vec<_>>(),
        ["wal/a"],
        "the folder was not synced after b"
    );
    assert_eq!(left.read("wal/a").expect("there"), b"one");
    assert_eq!(bench.world.seen_image(N1), left);
}

#[test]
fn a_killed_process_loses_nothing() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("made");
        file.write_at(0, Bytes::from_static(b"never synced"))
            .await
            .expect("written");
    });
    assert!(bench.world.crash(N1, Crash::PROCESS));
    assert_eq!(bench.world.seen_image(N1).read("log").expect("there"), b"never synced");
    assert!(bench.world.durable_image(N1).is_empty());
}

#[test]
fn renames_and_removals_that_were_not_synced_are_undone() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move {
        create(&disk, "old", b"old").await.expect("written");
        create(&disk, "gone", b"gone").await.expect("written");
        disk.sync_dir("").await.expect("synced");
        create(&disk, "new.tmp", b"new").await.expect("written");
        disk.rename("new.tmp", "old").await.expect("renamed");
        disk.remove("gone").await.expect("removed");
        assert_eq!(disk.list("").await.expect("listed"), ["old"]);
        let missing = disk.open("gone", OpenMode::Read).await;
        assert_eq!(missing.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    });
    let left = bench.lose_power();
    assert_eq!(left.paths().collect::<Vec<_>>(), ["gone", "old"]);
    assert_eq!(left.read("old").expect("there"), b"old");
    assert_eq!(bench.world.disk_counters(N1).names_lost, 3);
}

#[test]
fn names_survive_in_the_order_of_their_making() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let unsynced = Unsynced {
            lost: 0,
            prefix: 1,
            reordered: 0,
            kept: 0,
        };
        let mut bench = Bench::new(seed, unsynced);
        bench.act(|disk| async move {
            create(&disk, "a", b"a").await.expect("written");
            disk.rename("a", "b").await.expect("renamed");
            disk.rename("b", "c").await.expect("renamed");
        });
        let left = bench.lose_power();
        assert!(left.paths().count() <= 1);
        seen.insert(left.paths().next().map(str::to_owned));
    }
    let all = [None, Some("a"), Some("b"), Some("c")].map(|name| name.map(str::to_owned));
    assert_eq!(seen, BTreeSet::from(all));
}

/// Two writes of three sectors each behind one that is synced, none of them at the edge of a sector.
fn crash_with_two_writes(seed: u64, unsynced: Unsynced) -> Vec<u8> {
    let mut bench = Bench::new(seed, unsynced);
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("made");
        disk.sync_dir("").await.expect("synced");
        file.write_at(0, Bytes::from(vec![b'0'; 100])).await.expect("written");
        file.sync_data().await.expect("synced");
        file.write_at(100, Bytes::from(vec![b'1'; 1200]))
            .await
            .expect("written");
        file.write_at(1300, Bytes::from(vec![b'2'; 1000]))
            .await
            .expect("written");
    });
    bench.lose_power().read("log").expect("there")
}

#[test]
fn a_prefix_is_torn_only_between_sectors() {
    let whole: Vec<u8> = [(b'0', 100), (b'1', 1200), (b'2', 1000)]
        .iter()
        .flat_map(|(byte, count)| vec![*byte; *count])
        .collect();
    let unsynced = Unsynced {
        lost: 0,
        prefix: 1,
        reordered: 0,
        kept: 0,
    };
    let lengths: BTreeSet<usize> = (0..60)
        .map(|seed| {
            let left = crash_with_two_writes(seed, unsynced);
            assert_eq!(left, whole[..left.len()], "seed {seed}");
            left.len()
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([100, 512, 1024, 1300, 1536, 2048, 2300]));
}

#[test]
fn reordered_sectors_survive_one_by_one() {
    let unsynced = Unsynced {
        lost: 0,
        prefix: 0,
        reordered: 1,
        kept: 0,
    };
    let mut has_gap = false;
    for seed in 0..60 {
        let left = crash_with_two_writes(seed, unsynced);
        assert_eq!(left[..100], vec![b'0'; 100], "what was synced is untouched");
        // Each piece between two edges is all there or all zeros (or beyond the end).
        for (from, to, byte) in [
            (100, 512, b'1'),
            (512, 1024, b'1'),
            (1024, 1300, b'1'),
            (1300, 1536, b'2'),
            (1536, 2048, b'2'),
            (2048, 2300, b'2'),
        ] {
            let piece = &left[from.min(left.len())..to.min(left.len())];
            let is_kept = piece.len() == to - from && piece.iter().all(|found| *found == byte);
            let is_lost = piece.iter().all(|found| *found == 0);
            assert!(is_kept || is_lost, "seed {seed} {from}");
            has_gap |= is_lost && left.len() > to && left[to..].iter().any(|found| *found != 0);
        }
    }
    assert!(has_gap, "no later sector ever survived an earlier one");
}

#[test]
fn a_lying_sync_answers_and_keeps_nothing() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move {
        create(&disk, "log", b"").await.expect("written");
        disk.sync_dir("").await.expect("synced");
    });
    bench.set(|disk| disk.lying_syncs = 1.0);
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Write).await.expect("opened");
        file.write_at(0, Bytes::from_static(b"acknowledged"))
            .await
            .expect("written");
        file.sync_data().await.expect("a lie");
    });
    assert_eq!(bench.world.disk_counters(N1).lying_syncs, 1);
    assert_eq!(bench.lose_power().read("log").expect("there"), b"");
}

#[test]
fn what_a_failed_sync_left_out_is_never_durable() {
    let mut lengths = BTreeSet::new();
    for seed in 0..20 {
        let mut bench = Bench::new(seed, Unsynced::LOST);
        bench.act(|disk| async move {
            create(&disk, "log", b"").await.expect("written");
            disk.sync_dir("").await.expect("synced");
        });
        bench.set(|disk| disk.sync_errors = 1.0);
        bench.act(|disk| async move {
            let file = disk.open("log", OpenMode::Write).await.expect("opened");
            file.write_at(0, Bytes::from_static(b"a")).await.expect("written");
            file.write_at(1, Bytes::from_static(b"b")).await.expect("written");
            assert_eq!(os_error(&file.sync_data().await), Some(5));
        });
        bench.set(|disk| disk.sync_errors = 0.0);
        bench.act(|disk| async move {
            let file = disk.open("log", OpenMode::Write).await.expect("opened");
            file.sync_data().await.expect("it has nothing left to do");
            assert_eq!(
                file.read_at(0, 9).await.expect("read"),
                "ab",
                "the page cache has it still"
            );
        });
        lengths.insert(bench.lose_power().read("log").expect("there"));
    }
    let all: [&[u8]; 4] = [b"", b"a", b"\0b", b"ab"];
    assert_eq!(lengths, all.map(<[u8]>::to_vec).into());
}

#[test]
fn a_sync_speaks_only_for_what_was_written_before_it() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.set(|disk| disk.sync = Delay::uniform(Duration::from_secs(1), Duration::from_secs(1)));
    let world = bench.world.clone();
    bench.act(|disk| async move {
        create(&disk, "log", b"1").await.expect("written");
        disk.sync_dir("").await.expect("synced");
        let file = disk.open("log", OpenMode::Write).await.expect("opened");
        file.write_at(1, Bytes::from_static(b"2")).await.expect("written");
        let before = world.now();
        let late = async {
            world.sleep(Duration::from_millis(500)).await;
            file.write_at(2, Bytes::from_static(b"3")).await.expect("written");
        };
        let (synced, ()) = futures_util::future::join(file.sync_data(), late).await;
        synced.expect("synced");
        assert_eq!(
            world.now() - before,
            Duration::from_secs(1),
            "it is as slow as it was told"
        );
    });
    assert_eq!(bench.lose_power().read("log").expect("there"), b"12");
}

#[test]
fn a_full_disk_says_so_and_takes_rewrites() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.set(|disk| disk.capacity = Some(8192));
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("made");
        file.write_at(0, Bytes::from(vec![1; 8192])).await.expect("it fits");
        let full = file.write_at(8192, Bytes::from_static(b"x")).await;
        assert_eq!(full.err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        file.write_at(0, Bytes::from(vec![2; 8192]))
            .await
            .expect("it needs no more room");
    });
    assert_eq!(bench.world.disk_counters(N1).full, 1);
}

#[test]
fn reads_and_writes_fail_when_they_are_told_to() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move { create(&disk, "log", b"x").await.expect("written") });
    bench.set(|disk| (disk.read_errors, disk.write_errors) = (1.0, 1.0));
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Write).await.expect("opened");
        assert_eq!(os_error(&file.read_at(0, 1).await), Some(5));
        assert_eq!(os_error(&file.write_at(0, Bytes::from_static(b"y")).await), Some(5));
        assert_eq!(os_error(&disk.remove("log").await), Some(5));
        assert_eq!(os_error(&disk.open("other", OpenMode::Create).await.map(drop)), Some(5));
    });
    bench.set(|disk| (disk.read_errors, disk.write_errors) = (0.0, 0.0));
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Read).await.expect("opened");
        assert_eq!(
            file.read_at(0, 9).await.expect("read"),
            "x",
            "the failed write did nothing"
        );
        let refused = file.write_at(0, Bytes::from_static(b"y")).await;
        assert_eq!(
            refused.err().map(|error| error.kind()),
            Some(io::ErrorKind::PermissionDenied)
        );
    });
    let counters = bench.world.disk_counters(N1);
    assert_eq!((counters.read_errors, counters.write_errors), (1, 3));
}

#[test]
fn a_broken_sector_is_unreadable_until_it_is_written() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("made");
        file.write_at(0, Bytes::from(vec![7; 2048])).await.expect("written");
    });
    assert_eq!(bench.world.break_sectors(N1, "snapshot", 1), 0, "no such file");
    assert_eq!(bench.world.break_sectors(N1, "log", 1), 4);
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Write).await.expect("opened");
        let mut broken = Vec::new();
        for sector in 0..4 {
            if file.read_at(sector * 512, 512).await.is_err() {
                broken.push(sector * 512);
            }
        }
        let [offset] = broken[..] else { panic!("{broken:?}") };
        assert_eq!(os_error(&file.read_at(0, 2048).await), Some(5));
        file.write_at(offset, Bytes::from(vec![8; 512])).await.expect("written");
        assert_eq!(file.read_at(0, 2048).await.expect("read").len(), 2048);
    });
}

#[test]
fn rot_flips_one_bit_a_sector_on_the_medium_too() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("made");
        disk.sync_dir("").await.expect("synced");
        file.write_at(0, Bytes::from(vec![0; 4096])).await.expect("written");
        file.sync_data().await.expect("synced");
    });
    assert_eq!(bench.world.rot(N1, "", 3), 8);
    let left = bench.lose_power().read("log").expect("there");
    let ones: u32 = left.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones, 3);
}

#[test]
fn a_removed_file_is_read_by_who_has_it_open_and_then_forgotten() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.set(|disk| disk.capacity = Some(4096));
    bench.act(|disk| async move {
        create(&disk, "log", b"x").await.expect("written");
        let file = disk.open("log", OpenMode::Read).await.expect("opened");
        disk.remove("log").await.expect("removed");
        disk.sync_dir("").await.expect("synced");
        assert_eq!(file.read_at(0, 9).await.expect("read"), "x");
        let full = create(&disk, "next", b"y").await;
        assert_eq!(full.err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        drop(file);
        let next = disk.open("next", OpenMode::Write).await.expect("opened");
        next.write_at(0, Bytes::from_static(b"y"))
            .await
            .expect("there is room now");
    });
}

#[test]
fn an_image_boots_another_life() {
    let mut bench = Bench::new(1, Unsynced::LOST);
    bench.act(|disk| async move {
        disk.create_dir("wal").await.expect("a folder");
        create(&disk, "wal/a", b"image").await.expect("written");
        disk.sync_dir("wal").await.expect("synced");
    });
    let image = bench.world.durable_image(N1);
    assert!(!bench.world.replace_disk(N1, image.clone()), "it is up");
    bench.act(|disk| async move { disk.remove("wal/a").await.expect("removed") });
    bench.world.crash(N1, Crash::MACHINE);
    assert!(bench.world.replace_disk(N1, image));
    assert!(bench.world.restart(N1));
    bench.act(|disk| async move {
        let file = disk.open("wal/a", OpenMode::Read).await.expect("opened");
        assert_eq!(file.read_at(0, 9).await.expect("read"), "image");
    });
}

/// The view in place shows what the image shows, and every change of the durable side is counted in its kind.
#[test]
fn the_durable_side_is_read_in_place_and_its_changes_are_counted() {
    let mut bench = Bench::new(7, Unsynced::LOST);
    let look = |bench: &Bench| {
        let image = bench.world.durable_image(N1);
        bench.world.with_durable(N1, |durable| {
            assert_eq!(durable.paths().collect::<Vec<_>>(), image.paths().collect::<Vec<_>>());
            for path in image.paths() {
                assert_eq!(durable.len(path), image.len(path), "{path}");
                assert_eq!(durable.read_at(path, 1, 100), image.read_at(path, 1, 100), "{path}");
            }
            durable.changed()
        })
    };
    let before = look(&bench);
    bench
        .act(async |disk| {
            create(&disk, "a", b"hello").await?;
            disk.sync_dir("").await
        })
        .expect("created");
    let synced = look(&bench);
    assert!(synced.synced > before.synced, "{synced:?}");
    assert!(synced.names > before.names, "{synced:?}");
    assert_eq!(synced.otherwise, before.otherwise);
    assert_eq!(bench.world.rot(N1, "", 1), 1);
    let rotten = look(&bench);
    assert!(rotten.otherwise > synced.otherwise, "{rotten:?}");
    bench.lose_power();
    assert!(look(&bench).otherwise > rotten.otherwise);
}
