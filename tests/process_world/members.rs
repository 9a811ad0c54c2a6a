//! Members of the bundled store that come and go, as its operator changes them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tribunal::world::process::{Builtin, Cluster, ClusterConfig, ClusterTarget, DiskMode, ProcessWorld, Snapshots};
use tribunal::world::process::{System, ToolEnv};
use tribunal::world::{NoRecorder, World as _};
use tribunal_history::evidence::{self, SnapshotOrigin};
use tribunal_history::{Evidence, Fault, NodeId, Select};
use tribunal_nemesis::{Effect, Target as _};
use tribunal_proto::etcdserverpb::PutRequest;
use tribunal_workload::{Call, Client as _};

use crate::{BOUND, tribunal};

fn config(nodes: u16, spares: u16, directory: &Path) -> ClusterConfig {
    let system = System::Builtin(Builtin {
        executable: tribunal(),
        disk: DiskMode::Real,
        defects: Vec::new(),
    });
    ClusterConfig {
        trampoline: tribunal(),
        spares,
        election: Duration::from_millis(500),
        snapshots: Snapshots {
            count: Some(20),
            catchup_entries: Some(0),
        },
        ..ClusterConfig::new(system, nodes, directory)
    }
}

fn nodes(numbers: &[u16]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// Starts the fault, waits until it is proved, and ends it.
async fn change(target: &mut ClusterTarget, fault: Fault, node: NodeId) -> String {
    target.start(&fault, &[node]).await.expect("it starts");
    let mut reason = String::new();
    let proved = async {
        loop {
            match target.effect(&fault, &[node]).await {
                Effect::Proved(proof) => return proof,
                Effect::NotYet(why) => reason = why,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let proof = tokio::time::timeout(BOUND, proved).await;
    let proof = proof.unwrap_or_else(|_| panic!("{fault} of {node} does not come about: {reason}"));
    target.stop(&fault, &[node]).await.expect("it stops");
    proof
}

fn grow() -> Fault {
    Fault::MemberGrow { select: Select::Spare }
}

/// Goal: one member becomes three, one of them is replaced, and three become one again; the new members get what was
/// purged as a snapshot, a client follows, and nobody who was removed is left with data or a process.
#[tokio::test(flavor = "multi_thread")]
async fn members_are_added_replaced_and_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(config(1, 2, directory.path()), Arc::new(NoRecorder))
        .await
        .expect("it starts");
    let world = ProcessWorld::new(ToolEnv::new(1), &cluster);
    let mut target = cluster.target();
    assert_eq!(target.spares(), nodes(&[2, 3]));

    // The client is at home on a node that is no member yet.
    let (_, mut client) = world.client(0, NodeId(2));
    client.connect(BOUND).await.expect("the next member answers");
    assert_eq!(client.node(), NodeId(1));
    for number in 0..100 {
        let put = PutRequest {
            key: "k".into(),
            value: number.to_string().into(),
            ..PutRequest::default()
        };
        client.call(Call::Put(put), BOUND).await.expect("it is written");
    }

    for node in nodes(&[2, 3]) {
        let proof = change(&mut target, grow(), node).await;
        assert!(proof.contains(&format!("{node} is member")), "{proof}");
    }
    assert_eq!(cluster.nodes(), nodes(&[1, 2, 3]));
    client.connect(BOUND).await.expect("it goes home");
    assert_eq!(client.node(), NodeId(2));

    let before = cluster.roster().member(NodeId(3));
    let select = Select::Nodes { nodes: nodes(&[3]) };
    change(&mut target, Fault::MemberReplace { select }, NodeId(3)).await;
    assert_ne!(cluster.roster().member(NodeId(3)), before, "it has a new id");

    for node in nodes(&[2, 1]) {
        let select = Select::Nodes { nodes: vec![node] };
        change(&mut target, Fault::MemberShrink { select }, node).await;
        let data = directory.path().join("nodes").join(node.to_string()).join("data");
        assert!(!data.exists(), "{node} left its data");
    }
    assert_eq!((cluster.nodes(), target.spares()), (nodes(&[3]), nodes(&[1, 2])));
    target.heal().await.expect("nothing is left to undo");
    assert!(
        target.status(NodeId(1)).await.is_err(),
        "who was removed is not started again"
    );
    target.wait_until_ready(BOUND).await.expect("the last member leads");
    client.connect(BOUND).await.expect("it moves on");
    assert_eq!(client.node(), NodeId(3));
    assert_eq!(cluster.unexpected_exits(), []);
    cluster.shutdown().await.expect("it is taken down");

    let file = fs::File::open(directory.path().join("evidence").join("n2-0.bin")).expect("evidence");
    let events = evidence::decode(file).expect("it reads");
    let is_received = |event: &Evidence| {
        matches!(
            event,
            Evidence::Snapshot {
                origin: SnapshotOrigin::Received,
                ..
            }
        )
    };
    assert!(
        events.iter().any(|stamped| is_received(&stamped.evidence)),
        "the log was purged, and yet n2 got no snapshot"
    );
}

/// Goal: the last member stays, and the refusal says why.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_member_is_not_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(config(1, 1, directory.path()), Arc::new(NoRecorder))
        .await
        .expect("it starts");
    let mut target = cluster.target();
    let select = Select::Nodes { nodes: nodes(&[1]) };
    let shrink = Fault::MemberShrink { select: select.clone() };
    let replace = Fault::MemberReplace { select };
    for (fault, why) in [
        (shrink, "there are 1 members, which is the least"),
        (replace, "n1 is the only member"),
    ] {
        target.start(&fault, &nodes(&[1])).await.expect("it is asked for");
        let refused = async {
            while target.effect(&fault, &nodes(&[1])).await != Effect::NotYet(why.to_owned()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(BOUND, refused).await.expect(why);
        target.stop(&fault, &nodes(&[1])).await.expect("it is over");
    }
    target.heal().await.expect("nothing is left to undo");
    assert_eq!(cluster.nodes(), nodes(&[1]));
    cluster.shutdown().await.expect("it is taken down");
}
