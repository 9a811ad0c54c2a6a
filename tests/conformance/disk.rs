//! Disks: the system's, the one that forgets with its process, and the simulated one.
//!
//! A restart takes from the member what this world can take: everything that was not synced, but on the system's
//! own disk, whose cache outlives a process. So what is durable is tested on all, and what is lost on two.

use std::io::{self, ErrorKind};

use bytes::Bytes;
use tribunal_env::{Disk, DiskFile, Env, OpenMode};

use crate::in_every_world;
use crate::real::{Real, Volatile};
use crate::simulated::Simulated;
use crate::world::World;

in_every_world! {
    real: crate::disk::Real, volatile: crate::disk::Volatile, simulated: crate::disk::Simulated => [
        a_mode_says_whether_the_file_is_there,
        a_file_opened_to_read_is_not_written,
        reads_are_short_only_at_the_end,
        writes_extend_and_leave_zeros_between,
        a_file_is_a_vector_of_bytes,
        a_cut_file_grows_with_zeros,
        everybody_sees_what_is_written,
        names_are_listed_sorted_and_without_folders,
        a_rename_replaces,
        what_is_not_there_is_not_found,
        a_removed_file_is_there_for_who_has_it_open,
        folders_are_made_with_those_above_them,
        what_is_synced_survives,
        any_handle_syncs_what_all_have_written,
        a_rename_and_its_successor_survive_together,
        files_that_swap_their_names_survive,
        a_removed_name_stays_gone,
    ]
}

mod losing {
    use crate::disk::{
        names_are_lost_until_their_folder_is_synced, only_synced_bytes_of_one_file_survive,
        the_old_file_is_back_if_its_replacement_was_not_synced,
    };
    use crate::in_every_world;

    in_every_world! {
        volatile: crate::real::Volatile, simulated: crate::simulated::Simulated => [
            only_synced_bytes_of_one_file_survive,
            names_are_lost_until_their_folder_is_synced,
            the_old_file_is_back_if_its_replacement_was_not_synced,
        ]
    }
}

/// More than any file here has.
const ALL: usize = 1 << 20;

async fn create(disk: &impl Disk, path: &str, bytes: &'static [u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Create).await?;
    file.write_at(0, Bytes::from_static(bytes)).await?;
    file.sync_data().await
}

async fn read(disk: &impl Disk, path: &str) -> io::Result<Bytes> {
    disk.open(path, OpenMode::Read).await?.read_at(0, ALL).await
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn a_mode_says_whether_the_file_is_there<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        for mode in [OpenMode::Read, OpenMode::Write] {
            assert_eq!(kind(disk.open("a", mode).await), Some(ErrorKind::NotFound));
        }
        drop(disk.open("a", OpenMode::Create).await.expect("made"));
        let again = disk.open("a", OpenMode::Create).await;
        assert_eq!(kind(again), Some(ErrorKind::AlreadyExists));
        for mode in [OpenMode::Read, OpenMode::Write] {
            let file = disk.open("a", mode).await.expect("opened");
            assert_eq!(file.len().await.expect("a length"), 0);
        }
        let nowhere = disk.open("no/such", OpenMode::Create).await;
        assert_eq!(kind(nowhere), Some(ErrorKind::NotFound), "its folder is missing");
    });
}

fn a_file_opened_to_read_is_not_written<W: World>() {
    W::run(async |world| {
        let env = world.here();
        create(env.disk(), "a", b"as it was").await.expect("made");
        let file = env.disk().open("a", OpenMode::Read).await.expect("opened");
        file.write_at(0, Bytes::from_static(b"x"))
            .await
            .expect_err("it is for reading");
        file.set_len(1).await.expect_err("it is for reading");
        assert_eq!(file.read_at(0, ALL).await.expect("read"), "as it was");
    });
}

fn reads_are_short_only_at_the_end<W: World>() {
    W::run(async |world| {
        let env = world.here();
        create(env.disk(), "a", b"0123456789").await.expect("made");
        let file = env.disk().open("a", OpenMode::Read).await.expect("opened");
        for (offset, length, expected) in [
            (0, 10, "0123456789"),
            (0, 0, ""),
            (3, 4, "3456"),
            (8, 9, "89"),
            (10, 1, ""),
            (1 << 40, 1, ""),
        ] {
            let bytes = file.read_at(offset, length).await.expect("read");
            assert_eq!(bytes, expected, "{length} at {offset}");
        }
    });
}

fn writes_extend_and_leave_zeros_between<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let file = env.disk().open("a", OpenMode::Create).await.expect("made");
        file.write_at(5, Bytes::from_static(b"xy")).await.expect("written");
        assert_eq!(file.read_at(0, ALL).await.expect("read"), "\0\0\0\0\0xy");
        file.write_at(1, Bytes::from_static(b"ab")).await.expect("written");
        assert_eq!(file.read_at(0, ALL).await.expect("read"), "\0ab\0\0xy");
        file.write_at(100, Bytes::new()).await.expect("nothing is written");
        assert_eq!(file.len().await.expect("a length"), 7, "nothing extends nothing");
    });
}

/// Against a plain vector, with writes and cuts around the edges of pages and sectors, synced now and then.
fn a_file_is_a_vector_of_bytes<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let file = env.disk().open("a", OpenMode::Create).await.expect("made");
        let mut twin: Vec<u8> = Vec::new();
        for step in 0..200_usize {
            let offset = step * 2_741 % 20_000;
            match step % 10 {
                4 | 9 => {
                    file.set_len(offset as u64).await.expect("cut");
                    twin.resize(offset, 0);
                }
                7 => file.sync_data().await.expect("synced"),
                _ => {
                    let bytes: Vec<u8> = (1..step * 37 % 9_000).map(|byte| (byte + step) as u8).collect();
                    let end = offset + bytes.len();
                    if !bytes.is_empty() {
                        twin.resize(twin.len().max(end), 0);
                        twin[offset..end].copy_from_slice(&bytes);
                    }
                    file.write_at(offset as u64, bytes.into()).await.expect("written");
                }
            }
            assert_eq!(file.len().await.expect("a length"), twin.len() as u64, "step {step}");
            assert!(file.read_at(0, ALL).await.expect("read") == twin, "step {step}");
        }
    });
}

fn a_cut_file_grows_with_zeros<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let file = env.disk().open("a", OpenMode::Create).await.expect("made");
        file.write_at(0, Bytes::from_static(b"012345")).await.expect("written");
        file.sync_data().await.expect("synced");
        file.set_len(2).await.expect("cut");
        file.set_len(4).await.expect("extended");
        assert_eq!(file.read_at(0, ALL).await.expect("read"), "01\0\0");
        file.sync_data().await.expect("synced");
        assert_eq!(file.read_at(0, ALL).await.expect("read"), "01\0\0");
        file.set_len(64 << 20).await.expect("extended");
        assert_eq!(file.len().await.expect("a length"), 64 << 20);
        assert_eq!(file.read_at((64 << 20) - 3, 9).await.expect("read"), "\0\0\0");
    });
}

fn everybody_sees_what_is_written<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        let one = disk.open("a", OpenMode::Create).await.expect("made");
        let two = disk.open("a", OpenMode::Write).await.expect("opened");
        one.write_at(0, Bytes::from_static(b"one")).await.expect("written");
        assert_eq!(two.read_at(0, ALL).await.expect("read"), "one");
        two.write_at(3, Bytes::from_static(b"two")).await.expect("written");
        assert_eq!(one.len().await.expect("a length"), 6);
        drop((one, two));
        assert_eq!(read(disk, "a").await.expect("closing loses nothing"), "onetwo");
    });
}

fn names_are_listed_sorted_and_without_folders<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        disk.create_dir("d/inner").await.expect("made");
        for path in ["d/b", "d/a10", "d/a9", "d/Z", "d/inner/deep"] {
            create(disk, path, b"").await.expect("made");
        }
        assert_eq!(disk.list("d").await.expect("listed"), ["Z", "a10", "a9", "b"]);
        assert_eq!(disk.list("d/inner").await.expect("listed"), ["deep"]);
        assert_eq!(kind(disk.list("none").await), Some(ErrorKind::NotFound));
    });
}

fn a_rename_replaces<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        create(disk, "a", b"new").await.expect("made");
        create(disk, "b", b"old").await.expect("made");
        let old = disk.open("b", OpenMode::Read).await.expect("opened");
        let new = disk.open("a", OpenMode::Write).await.expect("opened");
        disk.rename("a", "b").await.expect("renamed");
        assert_eq!(disk.list("").await.expect("listed"), ["b"]);
        assert_eq!(read(disk, "b").await.expect("read"), "new");
        assert_eq!(
            old.read_at(0, ALL).await.expect("read"),
            "old",
            "who had it open keeps it"
        );
        new.write_at(3, Bytes::from_static(b"er")).await.expect("written");
        assert_eq!(
            read(disk, "b").await.expect("read"),
            "newer",
            "a handle follows its file"
        );
        disk.rename("b", "b").await.expect("to its own name");
        assert_eq!(read(disk, "b").await.expect("read"), "newer");
    });
}

fn what_is_not_there_is_not_found<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        assert_eq!(kind(disk.remove("a").await), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.rename("a", "b").await), Some(ErrorKind::NotFound));
        create(disk, "a", b"").await.expect("made");
        disk.remove("a").await.expect("removed");
        assert_eq!(kind(disk.remove("a").await), Some(ErrorKind::NotFound));
        assert_eq!(kind(read(disk, "a").await), Some(ErrorKind::NotFound));
    });
}

fn a_removed_file_is_there_for_who_has_it_open<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        create(disk, "a", b"old").await.expect("made");
        disk.sync_dir("").await.expect("synced");
        let old = disk.open("a", OpenMode::Write).await.expect("opened");
        disk.remove("a").await.expect("removed");
        create(disk, "a", b"new").await.expect("made again");
        disk.sync_dir("").await.expect("synced");
        old.write_at(3, Bytes::from_static(b"er")).await.expect("written");
        old.sync_data().await.expect("synced");
        assert_eq!(old.read_at(0, ALL).await.expect("read"), "older");
        assert_eq!(read(disk, "a").await.expect("read"), "new");
    });
}

fn folders_are_made_with_those_above_them<W: World>() {
    W::run(async |world| {
        let env = world.here();
        env.disk().create_dir("x/y/z").await.expect("made");
        env.disk().create_dir("x/y/z").await.expect("it is there");
        create(env.disk(), "x/y/a", b"deep").await.expect("made");
        env.disk().sync_dir("x/y").await.expect("synced");
        drop(env);
        world.restart_here();
        let env = world.here();
        assert_eq!(env.disk().list("x/y/z").await.expect("listed"), [] as [&str; 0]);
        assert_eq!(read(env.disk(), "x/y/a").await.expect("read"), "deep");
    });
}

fn what_is_synced_survives<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        let file = disk.open("a", OpenMode::Create).await.expect("made");
        disk.sync_dir("").await.expect("synced");
        file.set_len(10_000).await.expect("extended");
        file.write_at(4_090, Bytes::from_static(b"across a page"))
            .await
            .expect("written");
        file.sync_data().await.expect("synced");
        // Synced before its folder is.
        create(disk, "b", b"other").await.expect("made");
        disk.sync_dir("").await.expect("synced");
        drop((file, env));
        world.restart_here();
        let env = world.here();
        assert_eq!(env.disk().list("").await.expect("listed"), ["a", "b"]);
        let bytes = read(env.disk(), "a").await.expect("read");
        assert_eq!(bytes.len(), 10_000);
        assert_eq!(&bytes[4_090..4_103], b"across a page");
        assert!(bytes[..4_090].iter().chain(&bytes[4_103..]).all(|byte| *byte == 0));
        assert_eq!(read(env.disk(), "b").await.expect("read"), "other");
    });
}

fn any_handle_syncs_what_all_have_written<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let one = env.disk().open("a", OpenMode::Create).await.expect("made");
        env.disk().sync_dir("").await.expect("synced");
        one.write_at(0, Bytes::from_static(b"one")).await.expect("written");
        drop(one);
        let two = env.disk().open("a", OpenMode::Write).await.expect("opened");
        two.write_at(3, Bytes::from_static(b"two")).await.expect("written");
        two.sync_data().await.expect("synced");
        drop((two, env));
        world.restart_here();
        assert_eq!(read(world.here().disk(), "a").await.expect("read"), "onetwo");
    });
}

/// The way of a log that is kept once: `log` becomes `log.old` and a new one takes its place, with one sync.
fn a_rename_and_its_successor_survive_together<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        create(disk, "log", b"second").await.expect("made");
        create(disk, "log.old", b"first").await.expect("made");
        disk.sync_dir("").await.expect("synced");
        disk.rename("log", "log.old").await.expect("renamed");
        create(disk, "log", b"third").await.expect("made");
        disk.sync_dir("").await.expect("synced");
        drop(env);
        world.restart_here();
        let env = world.here();
        assert_eq!(env.disk().list("").await.expect("listed"), ["log", "log.old"]);
        assert_eq!(read(env.disk(), "log").await.expect("read"), "third");
        assert_eq!(read(env.disk(), "log.old").await.expect("read"), "second");
    });
}

fn files_that_swap_their_names_survive<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        for (path, bytes) in [("a", b"1"), ("b", b"2"), ("c", b"3")] {
            create(disk, path, bytes).await.expect("made");
        }
        disk.sync_dir("").await.expect("synced");
        for (from, to) in [("a", "t"), ("b", "a"), ("c", "b"), ("t", "c")] {
            disk.rename(from, to).await.expect("renamed");
        }
        disk.sync_dir("").await.expect("synced");
        drop(env);
        world.restart_here();
        let env = world.here();
        assert_eq!(env.disk().list("").await.expect("listed"), ["a", "b", "c"]);
        for (path, bytes) in [("a", "2"), ("b", "3"), ("c", "1")] {
            assert_eq!(read(env.disk(), path).await.expect("read"), bytes, "{path}");
        }
    });
}

fn a_removed_name_stays_gone<W: World>() {
    W::run(async |world| {
        let env = world.here();
        create(env.disk(), "a", b"a").await.expect("made");
        create(env.disk(), "b", b"b").await.expect("made");
        env.disk().sync_dir("").await.expect("synced");
        env.disk().remove("a").await.expect("removed");
        env.disk().sync_dir("").await.expect("synced");
        drop(env);
        world.restart_here();
        assert_eq!(world.here().disk().list("").await.expect("listed"), ["b"]);
    });
}

fn only_synced_bytes_of_one_file_survive<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let one = env.disk().open("a", OpenMode::Create).await.expect("made");
        let two = env.disk().open("b", OpenMode::Create).await.expect("made");
        env.disk().sync_dir("").await.expect("synced");
        one.write_at(0, Bytes::from_static(b"kept")).await.expect("written");
        two.write_at(0, Bytes::from_static(b"lost")).await.expect("written");
        one.sync_data().await.expect("synced");
        one.write_at(2, Bytes::from_static(b"lost")).await.expect("written");
        one.set_len(1).await.expect("cut");
        drop((one, two, env));
        world.restart_here();
        let env = world.here();
        assert_eq!(read(env.disk(), "a").await.expect("read"), "kept");
        assert_eq!(
            read(env.disk(), "b").await.expect("read"),
            "",
            "a sync of its folder syncs no bytes"
        );
    });
}

fn names_are_lost_until_their_folder_is_synced<W: World>() {
    W::run(async |world| {
        let env = world.here();
        let disk = env.disk();
        for path in ["kept", "moved", "removed"] {
            create(disk, path, b"x").await.expect("made");
        }
        disk.create_dir("d").await.expect("made");
        disk.sync_dir("").await.expect("synced");
        create(disk, "new", b"x").await.expect("made");
        disk.rename("moved", "away").await.expect("renamed");
        disk.remove("removed").await.expect("removed");
        assert_eq!(disk.list("").await.expect("listed"), ["away", "kept", "new"]);
        disk.sync_dir("d").await.expect("another folder");
        drop(env);
        world.restart_here();
        let names = world.here().disk().list("").await.expect("listed");
        assert_eq!(names, ["kept", "moved", "removed"]);
    });
}

fn the_old_file_is_back_if_its_replacement_was_not_synced<W: World>() {
    W::run(async |world| {
        let env = world.here();
        create(env.disk(), "a", b"old").await.expect("made");
        env.disk().sync_dir("").await.expect("synced");
        create(env.disk(), "t", b"new").await.expect("made");
        env.disk().rename("t", "a").await.expect("renamed");
        assert_eq!(read(env.disk(), "a").await.expect("read"), "new");
        drop(env);
        world.restart_here();
        assert_eq!(read(world.here().disk(), "a").await.expect("read"), "old");
    });
}
