//! Members whose logs are purged: what was purged is in their snapshots, on their own disks and for those who lag.

#![expect(clippy::disallowed_methods, reason = "members in one process run in real time")]

mod group;
mod support;

use std::time::Duration;

use group::{Cut, Group, Options};
use openraft_rt_tokio::TokioRuntime;
use tribunal_env::AsyncRuntime as _;
use tribunal_store::service::Consensus as _;

/// Nothing that can be answered takes so long.
const LONG: Duration = Duration::from_secs(60);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    TokioRuntime::new(2).block_on(future)
}

async fn small_snapshots() -> Group {
    let options = Options {
        snapshot_count: 20,
        entries_kept: 4,
        ..Options::default()
    };
    Group::with(3, options).await
}

/// Waits until every member has applied the same entries; gives the digest, which is that of all.
async fn agreed(group: &Group) -> u128 {
    loop {
        let applied = |place: usize| group.nodes[place].with_state(|kv| (kv.revision(), kv.digest()));
        let all: Vec<_> = (0..group.nodes.len()).map(applied).collect();
        if all.iter().all(|one| one == &all[0]) {
            return all[0].1;
        }
        assert!(
            all.iter()
                .all(|(revision, digest)| *revision != all[0].0 || *digest == all[0].1),
            "members differ at one revision: {all:?}"
        );
        TokioRuntime::sleep(Duration::from_millis(20)).await;
    }
}

/// Every member restarts from its snapshot and the rest of its log, several times.
#[test]
fn members_restart_from_their_snapshots() {
    block_on(async {
        let mut group = small_snapshots().await;
        for round in 0..3 {
            let leader = group.leader().await;
            for number in 0..50 {
                let value = format!("{round}-{number}");
                group
                    .put(&leader, LONG, &format!("k{}", number % 7), &value)
                    .await
                    .expect("writes");
            }
            let before = agreed(&group).await;
            for place in 0..3 {
                // A new one and the one before may both be there for a moment, but not for long.
                while group.files(place).iter().filter(|path| path.contains("snap/")).count() != 1 {
                    TokioRuntime::sleep(Duration::from_millis(5)).await;
                }
                group.restart(place).await;
            }
            for node in &group.nodes {
                // After this the member has applied all that was acknowledged.
                group.get(node, LONG, "k0").await.expect("reads");
            }
            assert_eq!(agreed(&group).await, before);
        }
    });
}

/// A member that was away while the others purged gets a snapshot of many pieces; the first attempts to send it are
/// broken off. Afterwards it restarts from what it got.
#[test]
fn a_member_that_lags_behind_the_purged_log_gets_a_snapshot() {
    block_on(async {
        let mut group = small_snapshots().await;
        let leader = group.leader().await;
        let lagging = (0..3)
            .find(|place| group.nodes[*place].id() != leader.id())
            .expect("three");
        let id = group.nodes[lagging].id();
        group.cut(id, Cut::Refused);
        let leader = group.leader().await;
        for number in 0..80 {
            let value = format!("{number:0>50000}");
            group
                .put(&leader, LONG, &format!("k{number}"), &value)
                .await
                .expect("writes");
        }
        for _ in 0..3 {
            group.heal();
            let begun = group.calls("raft/snapshot-piece");
            while group.calls("raft/snapshot-piece") < begun + 3 {
                TokioRuntime::sleep(Duration::from_millis(1)).await;
            }
            group.cut(id, Cut::Silent);
            TokioRuntime::sleep(Duration::from_millis(50)).await;
        }
        group.heal();
        let digest = agreed(&group).await;
        assert!(group.calls("raft/snapshot-install") > 0);
        group.restart(lagging).await;
        assert_eq!(agreed(&group).await, digest);
        let read = group.get(&group.nodes[lagging], LONG, "k0").await.expect("reads");
        assert_eq!(read.map(|(value, _)| value.len()), Some(50_000));
        let files = group.files(lagging);
        assert!(files.iter().all(|path| !path.contains("unfinished")), "{files:?}");
    });
}
