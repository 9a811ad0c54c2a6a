//! Members come and go: what etcd's Cluster API promises, and that nothing which was written is lost on the way.

#![expect(clippy::disallowed_methods, reason = "members in one process run in real time")]

mod group;
mod support;

use std::time::Duration;

use group::{Cut, Group, Options};
use openraft_rt_tokio::TokioRuntime;
use tribunal_env::AsyncRuntime as _;
use tribunal_history::MemberId;
use tribunal_proto::etcdserverpb as pb;
use tribunal_store::consensus::REMOVED;
use tribunal_store::service::{ApiError, ClusterService, Consensus as _, Context, MaintenanceService};

/// Nothing that can be answered takes so long.
const LONG: Duration = Duration::from_secs(60);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    TokioRuntime::new(2).block_on(async {
        let ended = tokio::time::timeout(LONG, future).await;
        ended.expect("ends in time")
    })
}

async fn members(count: usize) -> Group {
    let options = Options {
        snapshot_count: 15,
        entries_kept: 3,
        ..Options::default()
    };
    Group::with(count, options).await
}

/// Repeats a request that is refused while the leader changes, or while a member was not heard of lately.
async fn at_last<T, F: Future<Output = Result<T, ApiError>>>(mut ask: impl FnMut() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error)
                if [
                    ApiError::unhealthy(),
                    ApiError::not_leader(),
                    ApiError::leader_changed(),
                ]
                .contains(&error) =>
            {
                TokioRuntime::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn write_and_read(group: &Group, round: usize) {
    for (number, node) in group.nodes.iter().enumerate() {
        let value = format!("{round}-{number}");
        group.put(node, LONG, "k", &value).await.expect("writes");
        for reader in &group.nodes {
            let read = group.get(reader, LONG, "k").await.expect("reads");
            assert_eq!(read.map(|(value, _)| value), Some(value.clone()));
        }
    }
}

/// From one member to five and back to one, some of the removed ones leading. The new ones get their first entries by
/// snapshot, and their votes by themselves.
#[test]
fn a_cluster_grows_and_shrinks() {
    block_on(async {
        let mut group = members(1).await;
        for round in 0..20 {
            let leader = group.leader().await;
            group
                .put(&leader, LONG, "before", &round.to_string())
                .await
                .expect("writes");
        }
        for number in 2..=5 {
            let leader = group.leader().await;
            let added = at_last(|| group.add(&leader, number, false)).await;
            group.join(number, &added).await;
            while group.voters().await < number {
                TokioRuntime::sleep(Duration::from_millis(20)).await;
            }
            write_and_read(&group, number).await;
        }
        assert!(group.calls("raft/snapshot-install") > 0);
        let mut round = 10;
        while group.nodes.len() > 1 {
            round += 1;
            let leader = group.leader().await;
            // The leader, then another one, in turns.
            let other = group.nodes.iter().find(|node| node.id() != leader.id()).expect("two");
            let goes = if round % 2 == 0 { other.id() } else { leader.id() };
            let through = if round % 3 == 0 { other.clone() } else { leader.clone() };
            at_last(|| group.remove(&through, goes)).await;
            let gone = group.take(goes).await;
            assert_eq!(gone.failed().await, REMOVED);
            gone.stop().await;
            write_and_read(&group, round).await;
        }
        let leader = group.leader().await;
        assert_eq!(
            group.remove(&leader, leader.id()).await,
            Err(ApiError::not_enough_started()),
            "the last one stays"
        );
        let read = group.get(&leader, LONG, "before").await.expect("reads");
        assert_eq!(read.map(|(value, _)| value).as_deref(), Some("19"));
    });
}

/// A learner serves no reads, has no vote, and gets one only when it is asked for and has caught up.
#[test]
fn a_learner_is_promoted_when_it_has_caught_up() {
    block_on(async {
        let mut group = members(3).await;
        let leader = group.leader().await;
        write_and_read(&group, 1).await;
        let promote = |id: u64| {
            let request = pb::MemberPromoteRequest { id };
            let service = ClusterService::new(leader.clone());
            async move { service.member_promote(Context::default(), request).await.map(drop) }
        };
        let added = at_last(|| group.add(&leader, 4, true)).await;
        let id = added.member.as_ref().expect("a member").id;
        assert!(
            added
                .member
                .as_ref()
                .is_some_and(|member| member.is_learner && member.name.is_empty())
        );
        assert_eq!(promote(id).await, Err(ApiError::learner_not_ready()));
        assert_eq!(promote(leader.id().0).await, Err(ApiError::member_not_learner()));
        assert_eq!(promote(1).await, Err(ApiError::member_not_found()));
        assert_eq!(
            group.remove(&leader, MemberId(1)).await,
            Err(ApiError::member_not_found())
        );
        assert_eq!(group.add(&leader, 4, false).await, Err(ApiError::peer_url_exists()));
        assert_eq!(group.add(&leader, 5, true).await, Err(ApiError::too_many_learners()));
        group.join(4, &added).await;
        let learner = group.nodes[3].clone();
        while learner.status().applied < leader.status().committed {
            TokioRuntime::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            group.get(&learner, LONG, "k").await,
            Err(ApiError::not_supported_for_learner())
        );
        TokioRuntime::sleep(Duration::from_millis(600)).await;
        assert_eq!(group.voters().await, 3, "nobody promotes it by himself");
        at_last(|| promote(id)).await;
        assert_eq!(group.voters().await, 4);
        group.get(&learner, LONG, "k").await.expect("reads");
    });
}

/// A member that is removed while nobody reaches it learns of it later and stops; meanwhile it disturbs nobody. Added
/// again under the same URLs it is another member.
#[test]
fn a_member_that_was_away_when_it_was_removed_stops() {
    block_on(async {
        let mut group = members(3).await;
        let leader = group.leader().await;
        let place = group
            .nodes
            .iter()
            .position(|node| node.id() != leader.id())
            .expect("three");
        let away = group.nodes[place].id();
        group.cut(away, Cut::Silent);
        let leader = group.leader().await;
        // Longer than two elections. A member that cannot be reached may be removed; no one may be added meanwhile.
        TokioRuntime::sleep(Duration::from_millis(1500)).await;
        assert_eq!(group.add(&leader, 4, false).await, Err(ApiError::unhealthy()));
        at_last(|| group.remove(&leader, away)).await;
        let gone = group.take(away).await;
        group.heal();
        let term = group.leader().await.status().term;
        assert_eq!(gone.failed().await, REMOVED);
        assert_eq!(group.leader().await.status().term, term, "it stood for no election");
        let leader = group.leader().await;
        let urls = gone
            .members()
            .into_iter()
            .find(|member| member.id == away)
            .expect("itself")
            .peer_urls;
        let request = pb::MemberAddRequest {
            peer_ur_ls: vec![urls[0].clone() + ":1"],
            is_learner: false,
        };
        let first = ClusterService::new(leader.clone())
            .member_add(Context::default(), request.clone())
            .await;
        let first = first.expect("is added").member.expect("a member").id;
        at_last(|| group.remove(&leader, MemberId(first))).await;
        let again = ClusterService::new(leader)
            .member_add(Context::default(), request)
            .await;
        let again = again.expect("is added").member.expect("a member").id;
        assert!(![first, away.0].contains(&again), "no id is given twice");
    });
}

/// Leadership moves to who is named, as soon as it is asked for; a follower says that it cannot do that.
#[test]
fn leadership_moves() {
    block_on(async {
        let group = members(3).await;
        write_and_read(&group, 1).await;
        let leader = group.leader().await;
        let to = group
            .nodes
            .iter()
            .find(|node| node.id() != leader.id())
            .expect("three")
            .clone();
        let ask = |node: &tribunal_store::consensus::Node<group::MemberEnv>, target: u64| {
            let request = pb::MoveLeaderRequest { target_id: target };
            let service = MaintenanceService::new(node.clone());
            async move { service.move_leader(Context::default(), request).await.map(drop) }
        };
        assert_eq!(ask(&to, to.id().0).await, Err(ApiError::not_leader()));
        assert_eq!(ask(&leader, 1).await, Err(ApiError::bad_leader_transferee()));
        assert_eq!(ask(&leader, leader.id().0).await, Ok(()));
        at_last(|| ask(&leader, to.id().0)).await;
        assert_eq!(leader.status().leader, Some(to.id()));
        write_and_read(&group, 2).await;
    });
}

/// The membership is in the log and in snapshots: all restart, and it is what it was.
#[test]
fn a_restart_keeps_the_membership() {
    block_on(async {
        let mut group = members(3).await;
        let leader = group.leader().await;
        let added = at_last(|| group.add(&leader, 4, false)).await;
        group.join(4, &added).await;
        while group.voters().await < 4 {
            TokioRuntime::sleep(Duration::from_millis(20)).await;
        }
        for round in 0..2 {
            // The first time from the log, the second time from snapshots alone.
            write_and_read(&group, round).await;
            if round == 1 {
                for node in &group.nodes {
                    let service = MaintenanceService::new(node.clone());
                    let request = pb::DefragmentRequest {};
                    service
                        .defragment(Context::default(), request)
                        .await
                        .expect("makes a snapshot");
                }
            }
            for place in 0..4 {
                group.restart(place).await;
            }
            // A leader that has just started knows the members once it has applied its log; by the first write it has.
            write_and_read(&group, round + 10).await;
            assert_eq!(group.voters().await, 4);
        }
    });
}
