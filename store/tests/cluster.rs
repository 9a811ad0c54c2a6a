//! Three members at their services: what a write means when members cannot reach each other, and what the planted
//! defect `ack-before-quorum` changes about it, and what it does not.

#![expect(clippy::disallowed_methods, reason = "members in one process run in real time")]

mod group;
mod support;

use std::time::Duration;

use group::{Cut, Group};
use openraft_rt_tokio::TokioRuntime;
use tribunal_env::AsyncRuntime as _;
use tribunal_store::Defect;
use tribunal_store::service::{ApiError, Consensus as _};

/// Nothing that can be answered takes so long.
const LONG: Duration = Duration::from_secs(60);

/// Nothing that cannot be answered is waited for longer than this.
const SHORT: Duration = Duration::from_millis(600);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    TokioRuntime::new(2).block_on(future)
}

/// A follower that cannot reach its leader sends the write once. It does not send it again: only the leader's own
/// word that it appended nothing would allow that.
#[test]
fn a_write_is_forwarded_at_most_once() {
    block_on(async {
        let group = Group::start([].into()).await;
        let leader = group.leader().await;
        group
            .put(&leader, LONG, "k", "before")
            .await
            .expect("a leader is there");
        let follower = group.nodes.iter().find(|node| node.id() != leader.id());
        let follower = follower.expect("three members");
        assert!(group.put(follower, LONG, "k", "forwarded").await.is_ok());
        assert_eq!(group.calls("kv/propose"), 1);
        for (cut, error) in [
            (Cut::Refused, ApiError::timed_out_connection_lost()),
            (Cut::Silent, ApiError::timed_out()),
        ] {
            group.cut(follower.id(), cut);
            let calls = group.calls("kv/propose");
            let ended = group.put(follower, SHORT, "k", "lost").await;
            let calls = group.calls("kv/propose") - calls;
            // A stalled machine may have cost the follower its leader; then nothing was sent.
            assert!(
                calls == 1 && (ended == Err(error) || ended == Err(ApiError::timed_out_leader_failed()))
                    || calls == 0 && ended == Err(ApiError::no_leader()),
                "{cut:?}: {calls} calls, {ended:?}"
            );
            group.heal();
        }
        let leader = group.leader().await;
        let read = group.get(&leader, LONG, "k").await.expect("reads");
        assert_eq!(read.map(|(value, _)| value).as_deref(), Some("forwarded"));
    });
}

/// While its leader stays, a cluster with the defect `ack-before-quorum` does nothing wrong: what was acknowledged
/// is read, through every member, under the revision that was promised; and no update is lost.
#[test]
fn acknowledging_before_a_quorum_harms_nobody_while_the_leader_stays() {
    block_on(async {
        let group = Group::start([Defect::AckBeforeQuorum].into()).await;
        'undisturbed: loop {
            let leader = group.leader().await;
            let term = leader.status().term;
            let mut wrong = Vec::new();
            for round in 0..60 {
                let value = format!("{term}-{round}");
                let writer = &group.nodes[round % 3];
                let reader = &group.nodes[round / 3 % 3];
                let put = group.put(writer, LONG, "k", &value).await;
                let read = group.get(reader, LONG, "k").await;
                let swapped = group.swap(writer, LONG, "k", &value, "swapped").await;
                match (put, read, swapped) {
                    (Ok(revision), Ok(Some(read)), Ok(true)) if read == (value.clone(), revision) => {}
                    other => wrong.push(format!("{value}: {other:?}")),
                }
            }
            // Puts and swaps of several clients at once: of the swaps that expect the same value, one succeeds.
            let puts = (0..8).map(|n| {
                let (group, node) = (&group, &group.nodes[n % 3]);
                async move { group.put(node, LONG, &format!("other{n}"), "x").await.map(|_| false) }
            });
            let swaps = (0..8).map(|n| {
                let (group, node) = (&group, &group.nodes[n % 3]);
                async move { group.swap(node, LONG, "k", "swapped", &format!("taken{n}")).await }
            });
            let ended = futures_util::future::join(
                futures_util::future::join_all(puts),
                futures_util::future::join_all(swaps),
            );
            let (puts, swaps) = ended.await;
            if swaps.iter().filter(|swap| **swap == Ok(true)).count() != 1 || puts.iter().any(Result::is_err) {
                wrong.push(format!("{puts:?} {swaps:?}"));
            }
            if group.nodes.iter().any(|node| node.status().term != term) {
                continue 'undisturbed;
            }
            assert_eq!(wrong, [""; 0]);
            return;
        }
    });
}

/// A leader that is cut off acknowledges a put to nobody, unless it has the defect: then the put is acknowledged
/// and lost. Even so, the leader itself answers no read without it.
#[test]
fn only_with_the_defect_is_a_put_acknowledged_that_no_quorum_has() {
    block_on(async {
        for has_defect in [false, true] {
            let defects = has_defect.then_some(Defect::AckBeforeQuorum);
            let group = Group::start(defects.into_iter().collect()).await;
            loop {
                let leader = group.leader().await;
                group.put(&leader, LONG, "k", "kept").await.expect("a leader is there");
                let read = group.get(&leader, LONG, "k").await.expect("reads");
                assert!(read.is_some(), "a read waits for what was acknowledged");
                group.cut(leader.id(), Cut::Silent);
                let put = group.put(&leader, SHORT, "k", "lost").await;
                let read = group.get(&leader, SHORT, "k").await;
                assert!(read.is_err(), "{read:?}");
                let next = group.leader().await;
                let left = group.get(&next, LONG, "k").await.expect("reads");
                group.heal();
                let healed = group.get(&leader, LONG, "k").await.expect("reads");
                assert_eq!(left, healed);
                assert_eq!(left.map(|(value, _)| value).as_deref(), Some("kept"));
                assert!(has_defect || put.is_err(), "{put:?}");
                // With the defect it is not acknowledged either if the leader had lost its lease before it came.
                if has_defect == put.is_ok() {
                    break;
                }
            }
        }
    });
}
