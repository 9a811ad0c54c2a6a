//! Etcd's serializable reads: what they may show, by hand.

mod support;

use support::History;
use tribunal_checker::{Consistency, JudgeError, Judgement, Options, judge};
use tribunal_history::{AnomalyClass, Event, Outcome, Revision, Value};

use Consistency::{Linearizable, SerializableReads};

fn judged(history: &History, model: impl Into<Option<Consistency>>) -> Judgement {
    let options = Options {
        owns_store: true,
        consistency: model.into(),
        ..Options::default()
    };
    judge("etcd-kv", &history.events, &options).expect("a history of etcd")
}

/// How it comes out under the model, and under linearizability.
fn outcomes(history: &History) -> (Outcome, Outcome) {
    let (weak, strong) = (judged(history, SerializableReads), judged(history, Linearizable));
    assert_eq!(
        (weak.consistency, strong.consistency),
        (SerializableReads, Linearizable)
    );
    for judgement in [&weak, &strong] {
        for finding in &judgement.findings {
            assert_eq!(finding.property, judgement.consistency.name());
        }
    }
    (weak.outcome, strong.outcome)
}

/// The revision in the header of the last answer.
fn at(history: &mut History, revision: impl Into<Option<i64>>) {
    match history.events.last_mut() {
        Some(Event::Ok(completion)) => completion.revision = revision.into().map(Revision),
        other => panic!("an answer, not {other:?}"),
    }
}

/// `x` is 1, `y` is 2, `x` is 3, `y` is 4: revisions 2 to 5.
fn four_writes() -> History {
    let mut history = History::default();
    for (revision, key) in (2..).zip(["x", "y", "x", "y"]) {
        at(history.write(0, key, revision - 1), revision);
    }
    history
}

/// A range over `x` and `y`.
fn asked(is_marked: bool) -> Value {
    Value::map([
        ("key", "x".into()),
        ("end", "z".into()),
        ("serializable", is_marked.into()),
    ])
}

fn shown(kvs: &[(&str, i64)]) -> Value {
    let kv = |(key, value): &(&str, i64)| Value::map([("key", (*key).into()), ("value", (*value).into())]);
    Value::map([("kvs", Value::List(kvs.iter().map(kv).collect()))])
}

fn range(history: &mut History, kvs: &[(&str, i64)], revision: impl Into<Option<i64>>) {
    history.invoke(5, "range", asked(true)).ok(5, shown(kvs));
    at(history, revision);
}

#[test]
fn a_stale_state_is_one_that_there_was() {
    let mut history = four_writes();
    range(&mut history, &[("x", 1), ("y", 2)], 3);
    assert_eq!(outcomes(&history), (Outcome::Pass, Outcome::Fail));
    let refuted = judged(&history, Linearizable);
    assert_eq!(refuted.findings[0].property, "linearizable");
    let inputs = refuted.findings[0].operations.iter().map(|operation| &operation.input);
    assert_eq!(
        inputs.filter(|input| **input == asked(true)).count(),
        1,
        "shown as it was asked"
    );
    // No model was asked for: that of the reads that there are.
    assert_eq!(judged(&history, None).consistency, SerializableReads);
    assert_eq!(judged(&four_writes(), None).consistency, Linearizable);
    // From before everything.
    range(&mut history, &[], 1);
    assert_eq!(outcomes(&history).0, Outcome::Pass);
}

#[test]
fn a_read_that_is_not_marked_is_not_excused() {
    let mut history = four_writes();
    history
        .invoke(5, "range", asked(false))
        .ok(5, shown(&[("x", 1), ("y", 2)]));
    at(&mut history, 3);
    assert_eq!(outcomes(&history), (Outcome::Fail, Outcome::Fail));
}

#[test]
fn a_mixture_of_two_revisions_is_a_state_that_never_was() {
    for revision in [None, Some(2), Some(3), Some(4), Some(5)] {
        let mut history = four_writes();
        range(&mut history, &[("x", 1), ("y", 4)], revision);
        assert_eq!(outcomes(&history), (Outcome::Fail, Outcome::Fail), "{revision:?}");
    }
}

#[test]
fn the_header_must_be_that_of_the_state() {
    for (revision, expected) in [
        (2, Outcome::Fail),
        (3, Outcome::Pass),
        (4, Outcome::Fail),
        (5, Outcome::Fail),
    ] {
        let mut history = four_writes();
        range(&mut history, &[("x", 1), ("y", 2)], revision);
        assert_eq!(outcomes(&history).0, expected, "{revision}");
    }
}

#[test]
fn the_future_cannot_be_read() {
    let mut history = four_writes();
    range(&mut history, &[("x", 5), ("y", 4)], 6);
    at(history.write(0, "x", 5), 6);
    assert_eq!(outcomes(&history), (Outcome::Fail, Outcome::Fail));
    let finding = &judged(&history, SerializableReads).findings[0];
    assert_eq!(finding.class, AnomalyClass::RevisionContract);
    assert!(finding.minimised.proved_again, "{}", finding.sentence);

    // A write that has begun may have taken effect.
    let mut history = four_writes();
    history.invoke(0, "write", support::write("x", 5));
    range(&mut history, &[("x", 5), ("y", 4)], 6);
    history.ok(0, Value::Null);
    at(&mut history, 6);
    assert_eq!(outcomes(&history), (Outcome::Pass, Outcome::Pass));

    // So may one in doubt, and its value may be old when it is read.
    let mut history = four_writes();
    history.invoke(9, "write", support::write("x", 5)).info(9);
    at(history.write(0, "x", 6), 7);
    range(&mut history, &[("x", 5), ("y", 4)], 6);
    assert_eq!(outcomes(&history), (Outcome::Pass, Outcome::Fail));
}

#[test]
fn what_one_client_reads_may_go_back() {
    let mut history = four_writes();
    range(&mut history, &[("x", 3), ("y", 4)], 5);
    range(&mut history, &[("x", 1)], 2);
    assert_eq!(outcomes(&history), (Outcome::Pass, Outcome::Fail));
}

#[test]
fn a_txn_is_excused_if_it_only_reads_and_all_of_it_is_marked() {
    let get = |key: &str, is_marked: bool| {
        let asked = Value::map([("key", key.into()), ("serializable", is_marked.into())]);
        Value::map([("range", asked)])
    };
    let answer = Value::map([
        ("succeeded", true.into()),
        ("responses", Value::List(vec![shown(&[("x", 1)]), shown(&[("y", 2)])])),
    ]);
    for (marked, expected) in [(true, Outcome::Pass), (false, Outcome::Fail)] {
        let mut history = four_writes();
        let requests = Value::List(vec![get("x", true), get("y", marked)]);
        history
            .invoke(5, "txn", Value::map([("then", requests)]))
            .ok(5, answer.clone());
        at(&mut history, 3);
        assert_eq!(outcomes(&history), (expected, Outcome::Fail));
    }
}

#[test]
fn only_an_etcd_has_such_reads() {
    let options = Options {
        consistency: Some(SerializableReads),
        ..Options::default()
    };
    let refused = judge("register", &[], &options);
    assert!(
        matches!(refused, Err(JudgeError::NoSuchConsistency { .. })),
        "{refused:?}"
    );
    let sequential = Options {
        consistency: Some(Consistency::Sequential),
        ..Options::default()
    };
    let refused = judge("etcd-kv", &[], &sequential).expect_err("not by revisions");
    assert!(
        refused.to_string().ends_with("linearizable, serializable-reads"),
        "{refused}"
    );
}
