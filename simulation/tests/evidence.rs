//! What nodes record is heard at once, kept when it is settled, and lost with the node before that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft_rt::AsyncRuntime;
use tribunal_env::{Disk as _, DiskFile as _, Env as _, OpenMode};
use tribunal_history::{Evidence, LogIndex, NodeId, Term};
use tribunal_simulation::{Crash, Settings, SimRuntime, Simulation};

const N1: NodeId = NodeId(1);
const SECOND: Duration = Duration::from_secs(1);

fn commit(index: u64) -> Evidence {
    Evidence::Commit {
        index: LogIndex(index),
        term: Term(1),
        chain: None,
    }
}

#[test]
fn unsettled_evidence_dies_with_the_process() {
    let mut simulation = Simulation::new(Settings::default());
    let world = simulation.world();
    world.boot(N1, |env| async move {
        env.record(commit(1));
        env.settle().await.expect("settled");
        env.record(commit(2));
        std::future::pending().await
    });
    simulation.run_for(SECOND).expect("runs");
    world.crash(N1, Crash::PROCESS);
    let kept: Vec<_> = world.take_evidence();
    assert_eq!(
        kept.iter().map(|event| &event.stamped.evidence).collect::<Vec<_>>(),
        [&commit(1)]
    );
    assert!(world.take_evidence().is_empty(), "it was taken");
}

#[test]
fn a_listener_sees_the_durable_disk_at_the_instant_of_the_event() {
    let mut simulation = Simulation::new(Settings::default());
    let world = simulation.world();
    world.boot(N1, |env| async move {
        let file = env.disk().open("log", OpenMode::Create).await.expect("made");
        env.disk().sync_dir("").await.expect("synced");
        for index in 1..=3 {
            file.write_at(index - 1, Bytes::from_static(b"e"))
                .await
                .expect("written");
            if index != 2 {
                file.sync_data().await.expect("synced");
            }
            env.record(commit(index));
            SimRuntime::sleep(SECOND).await;
        }
        std::future::pending().await
    });
    let durable = Arc::new(Mutex::new(Vec::new()));
    let (heard, looked) = (Arc::clone(&durable), world.clone());
    world.listen(move |event| {
        let length = looked.durable_image(N1).len("log");
        heard
            .lock()
            .expect("not poisoned")
            .push((event.stamped.evidence.clone(), length));
    });
    simulation.run_for(SECOND * 10).expect("runs");
    let durable = durable.lock().expect("not poisoned").clone();
    let expected = [(commit(1), Some(1)), (commit(2), Some(1)), (commit(3), Some(3))];
    assert_eq!(durable, expected, "the second commit stands on nothing");
}

#[test]
fn a_listener_may_crash_the_node_at_that_very_event() {
    let mut simulation = Simulation::new(Settings::default());
    let world = simulation.world();
    let reached = Arc::new(Mutex::new(Vec::new()));
    let in_node = Arc::clone(&reached);
    world.boot(N1, move |env| {
        let reached = Arc::clone(&in_node);
        async move {
            for index in 1..=3 {
                env.record(commit(index));
                reached.lock().expect("not poisoned").push((env.incarnation(), index));
            }
            std::future::pending().await
        }
    });
    let other = world.clone();
    world.listen(move |event| {
        if event.incarnation == 0 && event.stamped.evidence == commit(2) {
            other.crash(N1, Crash::MACHINE);
        }
    });
    simulation.run_for(SECOND).expect("runs");
    assert!(!world.is_up(N1));
    assert!(world.restart(N1));
    simulation.run_for(SECOND).expect("runs");
    let reached = reached.lock().expect("not poisoned").clone();
    assert_eq!(reached, [(0, 1), (1, 1), (1, 2), (1, 3)]);
    assert_eq!(world.findings().1, 0, "a crash is no finding");
}
