//! A cluster: what is wrong with it at the start, and real etcd under each fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tribunal::world::process::{Cluster, ClusterConfig, ClusterTarget, Etcd, System, WorldError};
use tribunal::world::{ClusterRecorder, NoRecorder};
use tribunal_history::{Direction, Fault, FaultKind, Incarnation, NodeId, NodeState, Select, Term};
use tribunal_nemesis::{Effect, Target};

use crate::{BOUND, tribunal};

/// What was recorded, as text.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Lines {
    fn all(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    fn count(&self, text: &str) -> usize {
        self.all().iter().filter(|line| line.contains(text)).count()
    }
}

impl ClusterRecorder for Lines {
    fn node(&self, node: NodeId, incarnation: Incarnation, state: NodeState, detail: &str) {
        let line = format!("{node} {incarnation} {state:?} {detail}");
        self.0.lock().expect("nobody panics with it").push(line);
    }

    fn leader(&self, node: NodeId, term: Term) {
        self.0
            .lock()
            .expect("nobody panics with it")
            .push(format!("{node} leads {term}"));
    }
}

fn config(system: System, nodes: u16, directory: &Path) -> ClusterConfig {
    ClusterConfig {
        trampoline: tribunal(),
        ..ClusterConfig::new(system, nodes, directory)
    }
}

/// A program that passes for etcd when asked for its version, and otherwise does what `script` says.
fn impostor(directory: &Path, script: &str) -> System {
    let file = directory.join("etcd");
    fs::write(
        &file,
        format!("#!/bin/sh\n[ \"$1\" = --version ] && echo etcd Version: 0 && exit\n{script}\n"),
    )
    .expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("executable");
    let etcd = Etcd::at(&file).expect("it says that it is one");
    System::Etcd(etcd)
}

#[tokio::test]
async fn a_node_that_dies_at_the_start_is_an_error_with_its_last_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = impostor(directory.path(), "echo the disk is on fire >&2; exit 3");
    let error = Cluster::start(config(system, 3, directory.path()), Arc::new(NoRecorder))
        .await
        .expect_err("it died");
    let WorldError::DiedAtStart { status, tail, log, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(status, "exit status 3");
    assert_eq!(tail, "the disk is on fire");
    assert!(log.starts_with(directory.path()));
}

#[tokio::test]
async fn a_node_that_never_answers_is_an_error_after_the_timeout_and_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let recorder = Arc::new(Lines::default());
    let mut config = config(
        impostor(directory.path(), "echo $$; exec sleep 1000"),
        2,
        directory.path(),
    );
    config.start_timeout = Duration::from_millis(200);
    let error = Cluster::start(config, recorder).await.expect_err("it does nothing");
    assert!(matches!(error, WorldError::NotReady { .. }), "{error}");
    for node in ["n1", "n2"] {
        let pid = fs::read_to_string(directory.path().join("nodes").join(node).join("log")).expect("a log");
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "{node} is process {pid}");
        assert!(!directory.path().join("nodes").join(node).join("data").exists());
    }
}

#[tokio::test]
async fn a_run_directory_that_cannot_be_made_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = impostor(directory.path(), "exit 3");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    let error = Cluster::start(config(system, 1, &file), Arc::new(NoRecorder))
        .await
        .expect_err("it is a file");
    assert!(
        matches!(&error, WorldError::File { path, .. } if path.starts_with(&file)),
        "{error}"
    );
}

#[tokio::test]
async fn a_cluster_has_nodes() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = impostor(directory.path(), "exit 3");
    let error = Cluster::start(config(system, 0, directory.path()), Arc::new(NoRecorder))
        .await
        .expect_err("none");
    assert!(matches!(error, WorldError::NodeCount { asked: 0, .. }), "{error}");
}

/// Real etcd, or none with a reason; an error if it must be there.
fn etcd() -> Option<System> {
    match System::parse("etcd", "volatile", &[]) {
        Ok(system) => Some(system),
        Err(error) if std::env::var_os("TRIBUNAL_REQUIRE_PEERS").is_some_and(|value| value == "1") => {
            panic!("TRIBUNAL_REQUIRE_PEERS is set: {error}")
        }
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

struct Running {
    cluster: Cluster,
    target: ClusterTarget,
    recorder: Arc<Lines>,
    directory: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Running {
    async fn start(system: System, nodes: u16) -> Self {
        let temporary = tempfile::tempdir().expect("a directory");
        let recorder = Arc::new(Lines::default());
        let config = config(system, nodes, temporary.path());
        let cluster = Cluster::start(config, recorder.clone()).await.expect("etcd starts");
        Self {
            target: cluster.target(),
            cluster,
            recorder,
            directory: temporary.path().to_owned(),
            _temporary: temporary,
        }
    }

    async fn leader(&mut self) -> NodeId {
        self.target.leader().await.expect("somebody leads")
    }

    async fn term(&self, node: NodeId) -> Term {
        self.target.status(node).await.expect("it answers").term
    }

    async fn start_and_prove(&mut self, fault: &Fault, nodes: &[NodeId]) -> String {
        self.target.start(fault, nodes).await.expect("it starts");
        let mut reason = String::new();
        let proved = async {
            loop {
                match self.target.effect(fault, nodes).await {
                    Effect::Proved(proof) => return proof,
                    Effect::NotYet(why) => reason = why,
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let proof = tokio::time::timeout(BOUND, proved).await;
        proof.unwrap_or_else(|_| panic!("{fault} of {nodes:?} has no effect: {reason}"))
    }

    async fn stop(&mut self, fault: &Fault, nodes: &[NodeId]) {
        self.target.stop(fault, nodes).await.expect("it stops");
        self.target.wait_until_ready(BOUND).await.expect("they recover");
    }

    /// Takes it down, and looks for what is left.
    async fn end(self) {
        self.cluster.shutdown().await.expect("it is taken down");
        for line in self.recorder.all() {
            let Some((_, rest)) = line.split_once("Started process ") else {
                continue;
            };
            let pid = rest.split(' ').next().expect("a pid");
            assert!(!Path::new("/proc").join(pid).exists(), "left behind: {line}");
        }
        for node in fs::read_dir(self.directory.join("nodes")).expect("logs are kept") {
            let left: Vec<_> = fs::read_dir(node.expect("listed").path())
                .expect("a directory")
                .flatten()
                .collect();
            assert_eq!(left.iter().map(|file| file.file_name()).collect::<Vec<_>>(), ["log"]);
        }
    }
}

fn select(nodes: &[NodeId]) -> Select {
    Select::Nodes { nodes: nodes.to_vec() }
}

fn isolate(nodes: &[NodeId], direction: Direction) -> Fault {
    Fault::Isolate {
        select: select(nodes),
        direction,
    }
}

/// Goal: an isolated leader is left alone by the others, who elect another one of a higher term, and follows it
/// after the heal.
#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_leader_is_replaced_and_comes_back() {
    let Some(system) = etcd() else { return };
    let mut run = Running::start(system, 3).await;
    let mut possible = tribunal_nemesis::kinds_in("process");
    possible.retain(|kind| ["kill", "pause", "partition"].contains(&kind.group()));
    assert_eq!(run.target.abilities(), possible);
    assert_eq!(run.recorder.count("Ready"), 3);

    let old = run.leader().await;
    let old_term = run.term(old).await;
    assert_eq!(run.recorder.count(&format!("{old} leads {old_term}")), 1);

    let fault = isolate(&[old], Direction::Both);
    let proof = run.start_and_prove(&fault, &[old]).await;
    assert!(
        proof.contains(&format!("to {old}")) && proof.contains(&format!("from {old}")),
        "{proof}"
    );
    let replaced = async {
        loop {
            let now = run.target.leader().await;
            // etcd shows the term of an election once the first entry of that term is applied.
            if let Some(new) = now.filter(|new| *new != old)
                && run.term(new).await > old_term
            {
                return;
            }
        }
    };
    tokio::time::timeout(BOUND, replaced)
        .await
        .expect("the others elect a leader of a higher term");
    let alone = run.target.status(old).await.expect("clients still reach it");
    assert_eq!(alone.term, old_term, "it has heard of nothing");

    run.stop(&fault, &[old]).await;
    let heard = async { while run.term(old).await <= old_term {} };
    tokio::time::timeout(BOUND, heard)
        .await
        .expect("it hears of the new term");
    assert_eq!(run.cluster.unexpected_exits(), []);
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolation_in_one_direction_is_felt_in_that_direction_only() {
    let Some(system) = etcd() else { return };
    let mut run = Running::start(system, 3).await;
    for direction in [Direction::Inbound, Direction::Outbound] {
        let leader = run.leader().await;
        let fault = isolate(&[leader], direction);
        let proof = run.start_and_prove(&fault, &[leader]).await;
        assert_eq!(
            proof.contains(&format!("to {leader}")),
            direction == Direction::Inbound,
            "{proof}"
        );
        assert_eq!(
            proof.contains(&format!("from {leader}")),
            direction == Direction::Outbound,
            "{proof}"
        );
        run.stop(&fault, &[leader]).await;
    }
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_can_be_killed_at_one_instant_and_live_again() {
    let Some(system) = etcd() else { return };
    let mut run = Running::start(system, 3).await;
    let nodes = run.target.nodes();
    let fault = Fault::Kill { select: Select::All };
    let proof = run.start_and_prove(&fault, &nodes).await;
    assert_eq!(proof.matches("killed by signal 9").count(), 3, "{proof}");
    assert_eq!(run.target.leader().await, None);
    assert!(
        run.target.start(&fault, &nodes).await.is_err(),
        "nobody is left to kill"
    );

    run.stop(&fault, &nodes).await;
    for node in nodes {
        for life in ["0 Started", "0 Ready", "0 Killed", "1 Started", "1 Ready"] {
            assert_eq!(run.recorder.count(&format!("{node} {life}")), 1, "{node} {life}");
        }
    }
    assert_eq!(run.cluster.unexpected_exits(), []);
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_is_stopped_in_all_its_threads_and_goes_on() {
    let Some(system) = etcd() else { return };
    let mut run = Running::start(system, 3).await;
    let leader = run.leader().await;
    let fault = Fault::Pause {
        select: select(&[leader]),
    };
    let proof = run.start_and_prove(&fault, &[leader]).await;
    assert!(proof.contains("threads stopped"), "{proof}");
    assert!(run.target.status(leader).await.is_err(), "a paused node answers");
    run.stop(&fault, &[leader]).await;
    assert_eq!(run.recorder.count(&format!("{leader} 0 Paused")), 1);
    assert_eq!(run.recorder.count(&format!("{leader} 0 Resumed")), 1);

    // A paused node can be killed and a cluster with one taken down.
    run.start_and_prove(&fault, &[leader]).await;
    run.end().await;
}

/// Goal: what a fault began is undone by `heal` whatever happened in between, and a node that ended by itself is
/// reported and started again.
#[tokio::test(flavor = "multi_thread")]
async fn heal_undoes_everything() {
    let Some(system) = etcd() else { return };
    let mut run = Running::start(system, 3).await;
    let [n1, n2, n3] = [1, 2, 3].map(NodeId);
    let started = run
        .recorder
        .all()
        .into_iter()
        .find_map(|line| Some(line.split_once("n1 0 Started process ")?.1.to_owned()));
    let pid = started
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .expect("n1's pid");
    // Somebody else's SIGKILL, such as the kernel's when memory runs out.
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("sent");
    let exited = async {
        while run.cluster.unexpected_exits().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, exited).await.expect("it is noticed");
    let exits = run.cluster.unexpected_exits();
    assert_eq!(exits.len(), 1);
    assert_eq!((exits[0].node, exits[0].ending.signal()), (n1, Some(9)));
    assert_eq!(run.recorder.count("n1 0 Exited"), 1);
    run.target
        .stop(&Fault::Kill { select: select(&[n1]) }, &[n1])
        .await
        .expect("nothing to do");
    assert_eq!(run.recorder.count("n1 1 Started"), 0, "it stays down until the heal");

    run.target
        .start(&Fault::Pause { select: select(&[n2]) }, &[n2])
        .await
        .expect("it starts");
    run.target
        .start(&isolate(&[n3], Direction::Both), &[n3])
        .await
        .expect("it starts");
    run.target
        .start(&Fault::Kill { select: select(&[n3]) }, &[n3])
        .await
        .expect("it starts");
    run.target.heal().await.expect("healed");
    run.target.wait_until_ready(BOUND).await.expect("they recover");
    assert_eq!(run.recorder.count("n1 1 Ready"), 1);
    assert_eq!(run.recorder.count("n3 1 Ready"), 1);
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_links_cannot_be_isolated() {
    let Some(system) = etcd() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(system, 3, directory.path());
    config.bypass_links = true;
    let cluster = Cluster::start(config, Arc::new(NoRecorder)).await.expect("etcd starts");
    let mut target = cluster.target();
    assert_eq!(target.abilities(), [FaultKind::Kill, FaultKind::Pause].into());
    let nodes = [NodeId(1)];
    assert!(target.start(&isolate(&nodes, Direction::Both), &nodes).await.is_err());
    cluster.shutdown().await.expect("it is taken down");
    assert!(target.heal().await.is_err(), "nothing is started after the end");
}
