//! A real consensus library in the simulator: what a seed means, and what is found and what is not.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tribunal_env::{CallError, Env as _, Transport as _};
use tribunal_history::{MemberId, NodeId};
use tribunal_simulation::{Crash, DiskCounters, DiskSettings, Place, Settings, Simulation, World};

#[path = "../examples/toy.rs"]
#[expect(dead_code, reason = "its main is for the command line")]
mod toy;

use toy::store;

const SECONDS: u64 = 3;

/// Asks every node in turn until one puts; gives the one that did.
async fn put(world: &World, key: &str) -> u64 {
    let env = world.client(0);
    let body = store::encode(&store::Put {
        key: key.to_owned(),
        value: 1,
    });
    for node in (1..=3).cycle() {
        let within = Duration::from_millis(500);
        let answer = env.transport().call(MemberId(node), "put", body.clone(), within).await;
        if let Ok(Ok(_index)) = answer.and_then(|bytes| store::decode::<store::PutAnswer>(&bytes)) {
            return node;
        }
        world.sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the cycle has no end")
}

#[test]
fn a_cluster_elects_and_survives_the_crash_of_its_leader() {
    let mut simulation = Simulation::new(Settings {
        seed: 3,
        ..Settings::default()
    });
    let world = simulation.world();
    for node in toy::NODES {
        world.add_member(MemberId(node.into()), NodeId(node));
        world.boot(NodeId(node), move |env| {
            store::run(env, node.into(), vec![1, 2, 3], false)
        });
    }
    let story = async {
        let leader = put(&world, "before").await;
        let node = NodeId(u16::try_from(leader).expect("1, 2 or 3"));
        assert!(world.crash(node, Crash::MACHINE));
        let next = put(&world, "after").await;
        assert_ne!(leader, next);
        assert!(world.restart(node));
        assert!(world.crash(NodeId(u16::try_from(next).expect("1, 2 or 3")), Crash::MACHINE));
        put(&world, "with the first one again").await;
        let env = world.client(0);
        for node in (1..=3).cycle() {
            let call = env
                .transport()
                .call(MemberId(node), "map", Default::default(), Duration::from_secs(1));
            let map: Result<std::collections::BTreeMap<String, u64>, CallError> =
                call.await.and_then(|bytes| store::decode(&bytes));
            if let Ok(map) = map {
                return map.into_keys().collect::<Vec<_>>();
            }
        }
        unreachable!("the cycle has no end")
    };
    let keys = simulation.run_until(Duration::from_secs(60), story).expect("it ends");
    assert_eq!(keys, ["after", "before", "with the first one again"]);
    let (findings, count) = world.findings();
    assert_eq!(count, 0, "{findings:?}");
}

#[test]
fn a_seed_is_a_run_and_another_one_another() {
    let first = toy::run(11, SECONDS, false, true);
    assert!(first.acknowledged > 100, "{}", first.acknowledged);
    assert!(first.trace.as_ref().is_some_and(|trace| trace.len() > 100_000));
    assert_eq!(first, toy::run(11, SECONDS, false, true));
    let other = toy::run(12, SECONDS, false, true);
    assert_ne!(first.digest, other.digest);
    assert_ne!(first.trace, other.trace);
}

const TRACE_FILE: &str = "TRIBUNAL_TOY_TRACE";

/// Run by itself it shows that a run ends; run by the next test it writes what happened.
#[test]
fn a_run_leaves_its_trace() {
    let outcome = toy::run(11, SECONDS, false, true);
    let trace = outcome.trace.expect("it was kept");
    let lines = tribunal_simulation::trace::lines(&trace).count() as u64;
    assert_eq!(lines, outcome.digest.records);
    if let Some(path) = std::env::var_os(TRACE_FILE) {
        std::fs::write(path, trace).expect("writes");
    }
}

#[test]
fn a_seed_is_the_same_run_in_every_process() {
    let traces: Vec<Vec<u8>> = (0..2)
        .map(|child| {
            let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("toy-{}-{child}", std::process::id()));
            let program = std::env::current_exe().expect("this program");
            let mut command = Command::new(program);
            command
                .args(["--exact", "a_run_leaves_its_trace"])
                .env(TRACE_FILE, &path);
            let output = command.output().expect("it starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            let trace = std::fs::read(&path).expect("its trace");
            std::fs::remove_file(&path).expect("removes");
            trace
        })
        .collect();
    let own = toy::run(11, SECONDS, false, true).trace.expect("it was kept");
    for trace in traces {
        let lines = tribunal_simulation::trace::lines;
        let first = lines(&own).zip(lines(&trace)).position(|(a, b)| a != b);
        assert!(trace == own, "the first record that differs: {first:?}");
    }
}

/// A run with failing disks on top of everything else. Data may be lost: the disks lie.
fn run_on_bad_disks(seed: u64) -> (Vec<u8>, DiskCounters) {
    let mut simulation = Simulation::new(Settings {
        seed,
        keep_trace: true,
        ..Settings::default()
    });
    let world = simulation.world();
    for node in toy::NODES {
        world.add_member(MemberId(node.into()), NodeId(node));
        world.boot(NodeId(node), move |env| {
            store::run(env, node.into(), vec![1, 2, 3], false)
        });
        world.set_disk(
            NodeId(node),
            DiskSettings {
                read_errors: 0.05,
                write_errors: 0.002,
                sync_errors: 0.002,
                lying_syncs: 0.1,
                bit_rot: 0.05,
                latent_sector_errors: 0.05,
                capacity: Some(20 << 10),
                ..DiskSettings::default()
            },
        );
    }
    let end = Duration::from_secs(6);
    drop(world.spawn(Place::Harness, toy::load::trouble(world.clone(), end)));
    for client in 0..3 {
        drop(world.spawn(Place::Harness, toy::load::write(world.clone(), client, end)));
    }
    simulation.run_for(end).expect("runs");
    let (findings, count) = world.findings();
    for finding in &findings {
        println!("{finding}");
    }
    world.note(&count.to_le_bytes());
    let counters = world.disk_counters(NodeId(1));
    (simulation.trace().expect("kept"), counters)
}

#[test]
fn a_seed_is_the_same_run_on_bad_disks_too() {
    let (trace, counters) = run_on_bad_disks(1);
    assert!(trace.len() > 100_000);
    assert!(counters.lying_syncs > 0, "{counters:?}");
    assert!(run_on_bad_disks(1) == (trace, counters), "the runs differ");
}

#[test]
fn what_was_synced_before_it_was_acknowledged_is_kept() {
    for seed in 0..3 {
        let outcome = toy::run(seed, SECONDS, false, false);
        assert_eq!(
            (outcome.lost.len(), outcome.findings),
            (0, 0),
            "seed {seed}: {outcome:?}"
        );
    }
}

#[test]
fn what_was_acknowledged_before_it_was_synced_is_lost_by_some_seed() {
    // Begins near a seed that is known to lose something, so that the test is quick.
    let first = (8..28).find(|seed| !toy::run(*seed, SECONDS, true, false).lost.is_empty());
    assert!(first.is_some(), "none of 20 seeds lost anything");
}
