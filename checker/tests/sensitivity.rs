//! What a history could have shown: a history that was looked at shows every defect, one that nobody looked at none.

mod support;

use support::History;
use tribunal_checker::generate::{self, Shape, Wrong};
use tribunal_checker::sensitivity::{Mutation, Sensitivity, sensitivity};
use tribunal_checker::spec::etcd_kv::{Answer, Op, Request};
use tribunal_checker::{JudgeError, Options};
use tribunal_history::{Completion, Event, Invocation, NodeId, Phase, PhaseEvent, ProcessId, Revision, Seq, Value};

fn history(wrong: Wrong, operations: usize) -> Vec<Event> {
    let shape = Shape {
        operations,
        clients: 5,
        info: 1,
        wrong,
        seed: 4,
    };
    let mut events = Vec::new();
    let made = generate::stream(&shape, 3, |event| {
        events.push(event.clone());
        Ok::<_, JudgeError>(())
    });
    made.expect("a sink that takes everything");
    events
}

fn of(events: &[Event]) -> Option<Sensitivity> {
    sensitivity("register", events, 10, &Options::default()).expect("a history of registers")
}

#[test]
fn defects_of_a_history_that_is_read_are_caught() {
    let sensitivity = of(&history(Wrong::Nothing, 3_000)).expect("it holds");
    assert_eq!(sensitivity.keys, 3);
    assert_eq!(sensitivity.unread_after_heal, None);
    let kinds: Vec<Mutation> = sensitivity.caught.iter().map(|caught| caught.mutation).collect();
    assert_eq!(kinds, Mutation::OF_OBJECTS);
    for caught in sensitivity.caught {
        assert_eq!((caught.tried, caught.undecided), (10, 0), "{caught:?}");
        // A write that was overwritten before anybody looked is not missed.
        assert!(caught.caught >= 5, "{caught:?}");
    }
}

#[test]
fn nothing_is_caught_where_nobody_looks() {
    let mut events = history(Wrong::Nothing, 600);
    let mut writes = std::collections::BTreeSet::new();
    events.retain(|event| match event {
        Event::Invoke(invocation) if invocation.function == "write" => {
            writes.insert(invocation.process);
            true
        }
        Event::Invoke(invocation) => {
            writes.remove(&invocation.process);
            false
        }
        Event::Ok(completion) | Event::Info(completion) | Event::Fail(completion) => {
            writes.contains(&completion.process)
        }
        _ => true,
    });
    let sensitivity = of(&events).expect("writes alone always hold");
    let caught: Vec<(usize, usize)> = sensitivity
        .caught
        .iter()
        .map(|caught| (caught.tried, caught.caught))
        .collect();
    assert_eq!(caught, [(0, 0), (10, 0), (10, 0)]);
}

#[test]
fn keys_that_nobody_read_after_the_heal_are_named() {
    let mut events = history(Wrong::Nothing, 300);
    let heal = Seq(events.last().expect("events").seq().0 + 1);
    events.push(Event::Phase(PhaseEvent {
        seq: heal,
        time_ns: 0,
        phase: Phase::Heal,
    }));
    let sensitivity = of(&events).expect("it holds");
    let unread = sensitivity.unread_after_heal.expect("it was healed");
    assert_eq!(unread, ["k0", "k1", "k2"]);
}

#[test]
fn what_does_not_hold_has_no_sensitivity() {
    assert_eq!(of(&history(Wrong::Stale, 3_000)), None);
    assert_eq!(
        sensitivity("rw-register", &history(Wrong::Nothing, 60), 10, &Options::default()),
        Ok(None)
    );
}

/// Reads and writes of a hundred keys of an etcd, whose answers have revisions.
fn revisions(operations: usize) -> Vec<Event> {
    let shape = Shape {
        operations,
        clients: 5,
        // What is in doubt would explain a revision too many.
        info: 0,
        wrong: Wrong::Nothing,
        seed: 4,
    };
    let mut events = Vec::new();
    for entry in generate::revisions(&shape) {
        let process = ProcessId(entry.id as u32);
        let Op::Txn(txn) = &entry.op else {
            panic!("a txn, not {:?}", entry.op);
        };
        let (function, input) = match &txn.then[0] {
            Request::Range(range) => ("read", support::read(&range.key)),
            Request::Put { key, value, .. } => {
                let input = Value::map([("key", (&**key).into()), ("value", value.clone())]);
                ("write", input)
            }
            other => panic!("a get or a put, not {other:?}"),
        };
        events.push(Event::Invoke(Invocation {
            seq: Seq(entry.call),
            time_ns: entry.call,
            process,
            node: NodeId(1),
            function: function.to_owned(),
            input,
        }));
        let (Some(end), Some(ret)) = (entry.end, entry.ret) else {
            continue;
        };
        let output = match ret.txn.and_then(|txn| txn.answers.into_iter().next()) {
            Some(Answer::Range { kvs, .. }) => kvs.into_iter().next().and_then(|kv| kv.value).unwrap_or_default(),
            _ => Value::Null,
        };
        events.push(Event::Ok(Completion {
            seq: Seq(end),
            time_ns: end,
            process,
            output,
            revision: ret.revision.map(|revision| Revision(revision as i64)),
            term: None,
            member: None,
            cause: None,
        }));
    }
    events.sort_by_key(Event::seq);
    events
}

/// What was put in, tried, caught and left undecided.
fn counts(sensitivity: &Sensitivity) -> Vec<(Mutation, usize, usize, usize)> {
    let caught = sensitivity.caught.iter();
    caught
        .map(|one| (one.mutation, one.tried, one.caught, one.undecided))
        .collect()
}

fn of_etcd(events: &[Event], owns_store: bool) -> Sensitivity {
    let options = Options {
        owns_store,
        ..Options::default()
    };
    let sensitivity = sensitivity("etcd-kv", events, 10, &options).expect("a history of etcd");
    sensitivity.expect("it holds")
}

#[test]
fn revisions_show_the_defects_of_an_etcd() {
    for owns_store in [false, true] {
        let sensitivity = of_etcd(&revisions(1_500), owns_store);
        assert_eq!((sensitivity.keys, &sensitivity.unread_after_heal), (1, &None));
        for (mutation, tried, caught, undecided) in counts(&sensitivity) {
            assert_eq!(tried, 10, "{mutation:?}");
            // A revision too many may be somebody else's, if there may be somebody else.
            let (most, none) = match mutation {
                Mutation::DuplicatedEffect if !owns_store => (undecided, caught),
                _ => (caught, undecided),
            };
            assert!(most >= 9, "{mutation:?}: {caught} caught, {undecided} undecided");
            assert_eq!(none, 0, "{mutation:?}");
        }
    }
}

/// With the revision in the header of the last answer.
fn at(history: &mut History, revision: i64) {
    match history.events.last_mut() {
        Some(Event::Ok(completion)) => completion.revision = Some(Revision(revision)),
        other => panic!("an answer, not {other:?}"),
    }
}

#[test]
fn an_etcd_answers_no_more_than_was_recorded() {
    use Mutation::{DuplicatedEffect, LostAcknowledgement, StaleRead};
    // No revision was recorded, and what nobody reads shows nothing.
    let mut history = History::default();
    history.write(0, "x", 1).write(0, "x", 2).write(0, "y", 3);
    let silent = counts(&of_etcd(&history.events, true));
    assert_eq!(
        silent,
        [
            (StaleRead, 0, 0, 0),
            (LostAcknowledgement, 3, 0, 0),
            (DuplicatedEffect, 2, 0, 0)
        ]
    );
    // The loss of the first is not seen by values: the second wrote over it.
    history.read(1, "x", 2);
    let read = counts(&of_etcd(&history.events, true));
    assert_eq!(read[0], (StaleRead, 1, 1, 0));
    assert_eq!(read[1], (LostAcknowledgement, 3, 1, 0));
    // With revisions it is: the next change gets the revision of the one that was lost. The last one has no next.
    let mut history = History::default();
    for (revision, key) in [(2, "x"), (3, "x"), (4, "y")] {
        history.write(0, key, revision);
        at(&mut history, revision);
    }
    let numbered = counts(&of_etcd(&history.events, true));
    assert_eq!(numbered[1], (LostAcknowledgement, 3, 2, 0));
}

#[test]
fn a_serializable_read_cannot_be_too_old() {
    let asked = Value::map([("key", "x".into()), ("serializable", true.into())]);
    let kv = Value::map([("key", "x".into()), ("value", 2.into())]);
    let mut history = History::default();
    history.write(0, "x", 1);
    at(&mut history, 2);
    history.write(0, "x", 2);
    at(&mut history, 3);
    history
        .invoke(1, "range", asked)
        .ok(1, Value::map([("kvs", Value::List(vec![kv]))]));
    at(&mut history, 3);
    assert_eq!(
        counts(&of_etcd(&history.events, true))[0],
        (Mutation::StaleRead, 0, 0, 0)
    );
}

fn lists(wrong: Wrong, operations: usize) -> Vec<Event> {
    generate::list_transactions(&Shape {
        operations,
        clients: 5,
        info: 1,
        wrong,
        seed: 4,
    })
}

fn of_lists(events: &[Event]) -> Option<Sensitivity> {
    sensitivity("list-append", events, 10, &Options::default()).expect("transactions")
}

#[test]
fn defects_of_transactions_that_are_read_are_caught() {
    let sensitivity = of_lists(&lists(Wrong::Nothing, 1_000)).expect("it holds");
    let counts = counts(&sensitivity);
    let kinds: Vec<Mutation> = counts.iter().map(|(mutation, ..)| *mutation).collect();
    assert_eq!(kinds, Mutation::OF_TRANSACTIONS);
    for (mutation, tried, caught, undecided) in counts {
        assert_eq!((tried, undecided), (10, 0), "{mutation:?}");
        assert!(caught >= 9, "{mutation:?}: {caught}");
    }
    assert_eq!(of_lists(&lists(Wrong::Lost, 1_000)), None);
}

fn step(function: &str, key: &str, value: Value) -> Value {
    Value::List(vec![function.into(), key.into(), value])
}

fn append(history: &mut History, process: u32, key: &str, element: i64) {
    let steps = Value::List(vec![step("append", key, element.into())]);
    history.invoke(process, "txn", steps.clone()).ok(process, steps);
}

fn read(history: &mut History, process: u32, key: &str, list: &[i64]) {
    let list = Value::List(list.iter().map(|element| (*element).into()).collect());
    history
        .invoke(process, "txn", Value::List(vec![step("r", key, Value::Null)]))
        .ok(process, Value::List(vec![step("r", key, list)]));
}

#[test]
fn transactions_that_nobody_reads_show_nothing() {
    use Mutation::{FalseFailure, LostAcknowledgement, StaleRead};
    let mut history = History::default();
    append(&mut history, 0, "x", 1);
    append(&mut history, 1, "y", 2);
    let silent = of_lists(&history.events).expect("appends alone always hold");
    assert_eq!(
        counts(&silent),
        [
            (StaleRead, 0, 0, 0),
            (LostAcknowledgement, 2, 0, 0),
            (FalseFailure, 2, 0, 0)
        ]
    );
    // Of the two, one is looked at.
    read(&mut history, 2, "x", &[1]);
    let read = of_lists(&history.events).expect("it holds");
    assert_eq!(
        counts(&read),
        [
            (StaleRead, 1, 1, 0),
            (LostAcknowledgement, 2, 1, 0),
            (FalseFailure, 2, 1, 0)
        ]
    );
}
