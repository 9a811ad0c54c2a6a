//! The planted defects of reads and writes, on three members at their services: each changes what it says it
//! changes, and members without them do not do that. `tests/cluster.rs` has more of `ack-before-quorum`.

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

/// Nothing that cannot be answered is waited for longer than this: longer than an election timeout.
const SHORT: Duration = Duration::from_millis(1_200);

/// Each case is tried so often: a stalled machine may cost a member its leader, and then nothing was shown.
const TRIES: usize = 5;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    TokioRuntime::new(2).block_on(future)
}

/// A follower that is cut off and does not know of the last write.
#[test]
fn a_lonely_follower_answers_no_linearizable_read_unless_a_defect_lets_it() {
    block_on(async {
        for defect in [None, Some(Defect::FollowerServesLinearizableRead)] {
            let group = Group::start(defect.into_iter().collect()).await;
            let mut stale = 0;
            for try_ in 0..TRIES {
                let leader = group.leader().await;
                let (old, new) = (format!("old {try_}"), format!("new {try_}"));
                group.put(&leader, LONG, "k", &old).await.expect("a leader is there");
                let follower = group.nodes.iter().find(|node| node.id() != leader.id());
                let follower = follower.expect("three members");
                // It has applied the old value.
                while follower.status().applied < leader.status().applied {
                    TokioRuntime::sleep(Duration::from_millis(5)).await;
                }
                group.cut(follower.id(), Cut::Silent);
                let _ = group.put(&leader, LONG, "k", &new).await;
                let read = group.get(follower, Duration::from_millis(200), "k").await;
                stale += usize::from(matches!(read, Ok(Some((value, _))) if value == old));
                group.heal();
            }
            assert_eq!(stale > 0, defect.is_some(), "{defect:?}: {stale} stale reads");
        }
    });
}

/// A leader that is cut off answers no read, except for as long as the lease of the defect lasts.
#[test]
fn a_lonely_leader_answers_no_linearizable_read_unless_it_has_a_lease() {
    block_on(async {
        for defect in [None, Some(Defect::LeaseRead)] {
            let group = Group::start(defect.into_iter().collect()).await;
            let mut answered = 0;
            for _ in 0..TRIES {
                let leader = group.leader().await;
                group.put(&leader, LONG, "k", "v").await.expect("a leader is there");
                group.cut(leader.id(), Cut::Silent);
                // Answers that are on their way have arrived.
                TokioRuntime::sleep(Duration::from_millis(20)).await;
                let read = group.get(&leader, Duration::from_millis(100), "k").await;
                answered += usize::from(read.is_ok());
                group.heal();
            }
            assert_eq!(answered > 0, defect.is_some(), "{defect:?}: {answered} answers");
        }
    });
}

/// Two clients replace one value at the same time.
#[test]
fn one_of_two_swaps_fails_unless_conditions_are_decided_early() {
    block_on(async {
        for defect in [None, Some(Defect::TxnNotAtomic)] {
            let group = Group::start(defect.into_iter().collect()).await;
            let mut both = 0;
            for _ in 0..TRIES {
                let leader = group.leader().await;
                group.put(&leader, LONG, "k", "a").await.expect("a leader is there");
                let swaps = tokio::join!(
                    group.swap(&leader, LONG, "k", "a", "b"),
                    group.swap(&leader, LONG, "k", "a", "c"),
                );
                both += usize::from(swaps == (Ok(true), Ok(true)));
            }
            assert_eq!(both > 0, defect.is_some(), "{defect:?}: {both} times both");
        }
    });
}

/// A follower whose calls vanish.
#[test]
fn an_unanswered_write_is_in_doubt_and_sent_once_unless_a_defect_knows_better() {
    block_on(async {
        for defect in [
            None,
            Some(Defect::ForwardTwice),
            Some(Defect::LostAnswerTakenForRefusal),
        ] {
            let group = Group::start(defect.into_iter().collect()).await;
            let (mut refused, mut repeated) = (0, 0);
            for _ in 0..TRIES {
                let leader = group.leader().await;
                let follower = group.nodes.iter().find(|node| node.id() != leader.id());
                let follower = follower.expect("three members");
                while follower.status().leader != Some(leader.id()) {
                    TokioRuntime::sleep(Duration::from_millis(5)).await;
                }
                let calls = group.calls("kv/propose");
                group.cut(follower.id(), Cut::Silent);
                let ended = group.put(follower, SHORT, "k", "lost").await;
                refused += usize::from(ended == Err(ApiError::too_many_requests()));
                repeated += usize::from(group.calls("kv/propose") - calls > 1);
                group.heal();
            }
            let expected = (
                defect == Some(Defect::LostAnswerTakenForRefusal),
                defect == Some(Defect::ForwardTwice),
            );
            assert_eq!((refused > 0, repeated > 0), expected, "{defect:?}");
        }
    });
}
