//! Sequential consistency and the guarantees of sessions: by hand, and against trying every order.

mod support;

use std::collections::BTreeMap;

use support::{History, differs, swapped};
use tribunal_checker::generate::Draw;
use tribunal_checker::{Consistency, Judgement, Options, judge};
use tribunal_history::{AnomalyClass, Outcome, Value};

use Consistency::{MonotonicReads, MonotonicWrites, ReadYourWrites, Sequential, WritesFollowReads};

const SESSIONS: [Consistency; 4] = [MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads];

fn judged(history: &History, model: Consistency) -> Judgement {
    let options = Options {
        consistency: Some(model),
        ..Options::default()
    };
    judge("register", &history.events, &options).expect("well formed")
}

/// The guarantees that do not hold.
fn broken(history: &History) -> Vec<Consistency> {
    SESSIONS
        .into_iter()
        .filter(|model| judged(history, *model).outcome == Outcome::Fail)
        .collect()
}

#[test]
fn a_stale_read_is_sequentially_consistent_and_not_linearizable() {
    let mut history = History::default();
    history
        .write(0, "x", 1)
        .write(0, "x", 2)
        .read(1, "x", 1)
        .read(1, "x", 2);
    assert_eq!(judged(&history, Consistency::Linearizable).outcome, Outcome::Fail);
    let judgement = judged(&history, Sequential);
    assert_eq!((judgement.outcome, judgement.certificates_verified), (Outcome::Pass, 1));
    assert_eq!(broken(&history), []);
}

#[test]
fn two_clients_that_miss_each_others_write_are_not_sequentially_consistent() {
    // Each key by itself is: sequential consistency is not local.
    let mut history = History::default();
    history
        .write(0, "x", 1)
        .read(0, "y", Value::Null)
        .write(1, "y", 2)
        .read(1, "x", Value::Null);
    let judgement = judged(&history, Sequential);
    assert_eq!(judgement.outcome, Outcome::Fail, "{}", judgement.detail);
    let finding = &judgement.findings[0];
    assert_eq!((finding.property.as_str(), finding.operations.len()), ("sequential", 4));
    assert_eq!(finding.operations[0].function, "write");
    assert_eq!(broken(&history), []);
}

#[test]
fn each_guarantee_of_a_session_is_broken_by_itself() {
    let mut reads = History::default();
    reads
        .write(0, "x", 1)
        .write(1, "x", 2)
        .read(2, "x", 2)
        .read(2, "x", 1)
        .read(3, "x", 1)
        .read(3, "x", 2);
    assert_eq!(broken(&reads), [MonotonicReads]);
    let finding = &judged(&reads, MonotonicReads).findings[0];
    assert_eq!(finding.class, AnomalyClass::SessionGuarantee);
    assert!(
        finding
            .sentence
            .contains("2 is older than 1: client 2 on n3 at 0.004 s: read x → 2, and then read x → 1."),
        "{}",
        finding.sentence
    );

    let mut own = History::default();
    own.write(0, "x", 1).read(0, "x", Value::Null);
    assert_eq!(broken(&own), [ReadYourWrites]);

    let mut writes = History::default();
    writes
        .write(0, "x", 1)
        .write(0, "x", 2)
        .cas(1, "x", 2, 3, swapped())
        .cas(2, "x", 3, 4, swapped());
    assert_eq!(broken(&writes), []);
    let mut writes = History::default();
    writes
        .cas(1, "x", 2, 1, swapped())
        .write(0, "x", 1_000)
        .write(0, "x", 2);
    assert_eq!(broken(&writes), []);
    let mut writes = History::default();
    writes.cas(0, "x", 2, 1, swapped()).write(0, "x", 2);
    assert_eq!(broken(&writes), [MonotonicWrites]);

    let mut follow = History::default();
    follow
        .write(0, "x", 1)
        .cas(1, "x", 2, 1_000, swapped())
        .read(1, "x", 1_000)
        .write(1, "x", 2);
    assert!(broken(&follow).contains(&WritesFollowReads), "{:?}", broken(&follow));
}

#[test]
fn what_cannot_be_judged_by_values_stays_open() {
    let mut twice = History::default();
    twice.write(0, "x", 1).write(1, "x", 1).read(0, "x", 1);
    for model in [Sequential, MonotonicReads] {
        let judgement = judged(&twice, model);
        assert_eq!(judgement.outcome, Outcome::Unknown);
        assert!(
            judgement.detail.contains("a value was written twice"),
            "{}",
            judgement.detail
        );
    }
    let mut phantom = History::default();
    phantom.read(0, "x", 7);
    assert_eq!(
        judged(&phantom, Sequential).findings[0].class,
        AnomalyClass::PhantomValue
    );
    let mut failed = History::default();
    failed
        .invoke(0, "write", support::write("x", 7))
        .fail(0)
        .read(1, "x", 7);
    assert_eq!(
        judged(&failed, Sequential).findings[0].class,
        AnomalyClass::FailedTookEffect
    );
    let mut silent = History::default();
    silent.write(0, "x", 1);
    assert_eq!(judged(&silent, Sequential).outcome, Outcome::Vacuous);
}

/// What one operation does to one key.
#[derive(Clone, Copy, Debug)]
struct Op {
    process: u32,
    key: usize,
    observed: Option<i64>,
    made: Option<i64>,
    is_certain: bool,
}

/// A few clients on replicas that may lag; 0 stands for nothing.
fn small(draw: &mut Draw) -> Vec<Op> {
    let lag = [0, 30, 60][draw.below(3) as usize];
    let mut written: [Vec<i64>; 2] = [vec![0], vec![0]];
    let mut ops = Vec::new();
    let mut retired = [false; 3];
    for number in 0..2 + draw.below(6) as i64 {
        let process = draw.below(3) as u32;
        if retired[process as usize] {
            continue;
        }
        let key = draw.below(2) as usize;
        let versions = &mut written[key];
        let seen = match draw.percent(lag) {
            // What is written next, perhaps.
            true if draw.percent(30) => number + 2,
            true => versions[draw.below(versions.len() as u64) as usize],
            false => versions[versions.len() - 1],
        };
        let (observed, made) = match draw.below(6) {
            0..3 => (Some(seen), None),
            3..5 => (None, Some(number + 1)),
            _ => (Some(seen), Some(number + 1)),
        };
        if let Some(made) = made {
            versions.push(made);
        }
        let is_certain = !draw.percent(10);
        retired[process as usize] = !is_certain;
        ops.push(Op {
            process,
            key,
            observed,
            made,
            is_certain,
        });
    }
    ops
}

fn recorded(ops: &[Op]) -> History {
    let mut history = History::default();
    let value = |value: i64| (value != 0).then_some(value);
    for op in ops {
        let key = ["x", "y"][op.key];
        match (op.observed, op.made) {
            (Some(_), None) => history.invoke(op.process, "read", support::read(key)),
            (None, Some(made)) => history.invoke(op.process, "write", support::write(key, made)),
            (Some(found), Some(made)) => history.invoke(op.process, "cas", support::cas(key, value(found), made)),
            (None, None) => unreachable!("it does something"),
        };
        match (op.is_certain, op.observed, op.made) {
            (false, ..) => history.info(op.process),
            (_, Some(read), None) => history.ok(op.process, value(read).into()),
            (_, None, _) => history.ok(op.process, Value::Null),
            (_, Some(_), Some(_)) => history.ok(op.process, swapped()),
        };
    }
    history
}

/// Whether some order that keeps each client's own explains all that is certain.
fn has_order(ops: &[Op], placed: &mut Vec<usize>, held: [i64; 2]) -> bool {
    let left = |at: &usize| !placed.contains(at);
    let waiting: Vec<usize> = (0..ops.len()).filter(left).collect();
    if waiting.iter().all(|at| !ops[*at].is_certain) {
        return true;
    }
    waiting.iter().any(|&at| {
        let op = ops[at];
        let is_next = waiting
            .iter()
            .all(|other| *other >= at || ops[*other].process != op.process);
        let finds = op.observed.is_none_or(|found| held[op.key] == found);
        // A read in doubt says nothing; a compare in doubt that does not hold does nothing.
        if !is_next || !finds {
            return false;
        }
        let mut after = held;
        if let Some(made) = op.made {
            after[op.key] = made;
        }
        placed.push(at);
        let found = has_order(ops, placed, after);
        placed.pop();
        found
    })
}

/// Whether some order of each key's versions obeys a guarantee, for all pairs of operations of a client.
fn has_versions(ops: &[Op], model: Consistency) -> bool {
    (0..2).all(|key| {
        let of_key: Vec<&Op> = ops.iter().filter(|op| op.key == key).collect();
        // Those in doubt happened if what they made was seen, by what happened.
        let mut happened: Vec<&Op> = of_key.iter().copied().filter(|op| op.is_certain).collect();
        loop {
            let seen = |made: i64| happened.iter().any(|op| op.observed == Some(made));
            let more: Vec<&Op> = of_key
                .iter()
                .copied()
                .filter(|op| !op.is_certain && op.made.is_some_and(seen))
                .filter(|op| !happened.iter().any(|other| other.made == op.made))
                .collect();
            if more.is_empty() {
                break;
            }
            happened.extend(more);
        }
        let mut versions: Vec<i64> = happened.iter().filter_map(|op| op.made).collect();
        versions.sort_unstable();
        if happened
            .iter()
            .any(|op| op.observed.is_some_and(|read| read != 0 && !versions.contains(&read)))
        {
            return false;
        }
        let mut older: Vec<(i64, i64)> = versions.iter().map(|version| (0, *version)).collect();
        older.extend(happened.iter().filter_map(|op| op.observed.zip(op.made)));
        for (at, one) in of_key.iter().enumerate().filter(|(_, one)| one.is_certain) {
            for other in &of_key[at + 1..] {
                let is_in = happened.iter().any(|op| std::ptr::eq(*op, *other));
                if one.process == other.process && is_in {
                    older.extend(match model {
                        MonotonicReads => one.observed.zip(other.observed),
                        ReadYourWrites => one.made.zip(other.observed),
                        MonotonicWrites => one.made.zip(other.made),
                        _ => one.observed.zip(other.made),
                    });
                }
            }
        }
        orders(&versions).iter().any(|order| {
            let place: BTreeMap<i64, usize> = std::iter::once(0).chain(order.iter().copied()).zip(0..).collect();
            older.iter().all(|(one, other)| place[one] <= place[other])
        })
    })
}

fn orders(versions: &[i64]) -> Vec<Vec<i64>> {
    let Some((first, rest)) = versions.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for order in orders(rest) {
        for at in 0..=order.len() {
            let mut order = order.clone();
            order.insert(at, *first);
            all.push(order);
        }
    }
    all
}

#[test]
fn the_verdict_is_that_of_trying_every_order() {
    let mut counts: BTreeMap<(Consistency, bool), usize> = BTreeMap::new();
    for seed in 0..3_000 {
        let ops = small(&mut Draw::new(seed));
        let history = recorded(&ops);
        for model in SESSIONS.into_iter().chain([Sequential]) {
            let expected = match model {
                Sequential => has_order(&ops, &mut Vec::new(), [0; 2]),
                _ => has_versions(&ops, model),
            };
            let judgement = judged(&history, model);
            assert!(
                !matches!(judgement.outcome, Outcome::Unknown | Outcome::Error),
                "{}",
                judgement.detail
            );
            assert_eq!(
                judgement.outcome != Outcome::Fail,
                expected,
                "{seed} {model}: {}: {ops:#?}",
                judgement.detail
            );
            *counts.entry((model, expected)).or_default() += 1;
        }
    }
    for model in SESSIONS.into_iter().chain([Sequential]) {
        for expected in [false, true] {
            let count = counts.get(&(model, expected)).copied().unwrap_or(0);
            assert!(count > 5, "{model} {expected}: {count}");
        }
    }
}

#[test]
fn a_failed_compare_counts_as_the_read_that_it_is() {
    let mut history = History::default();
    history.write(0, "x", 1).cas(0, "x", 9, 5, differs(Value::Null));
    assert_eq!(broken(&history), [ReadYourWrites]);
}
