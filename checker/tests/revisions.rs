//! Etcd's contract: what is judged by revisions, and how a violation is named.

mod support;

use support::History;
use tribunal_checker::{Judgement, Options, judge};
use tribunal_history::{AnomalyClass, Event, Outcome, Revision, Value};

/// The revision in the header of the last answer.
fn at(history: &mut History, revision: i64) -> &mut History {
    match history.events.last_mut() {
        Some(Event::Ok(completion)) => completion.revision = Some(Revision(revision)),
        other => panic!("an answer, not {other:?}"),
    }
    history
}

fn judged(history: &History) -> Judgement {
    let options = Options {
        owns_store: true,
        ..Options::default()
    };
    judge("etcd-kv", &history.events, &options).expect("a history of etcd")
}

/// The outcome, with the class of what was found.
fn outcome(history: &History) -> (Outcome, Option<AnomalyClass>) {
    let judgement = judged(history);
    (
        judgement.outcome,
        judgement.findings.first().map(|finding| finding.class),
    )
}

#[test]
fn a_register_with_revisions_is_explained() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    at(history.write(1, "y", 2), 3);
    at(history.read(0, "x", 1), 3);
    let judgement = judged(&history);
    assert_eq!(judgement.outcome, Outcome::Pass, "{}", judgement.detail);
    assert_eq!(judgement.certificates_verified, 1);
    assert_eq!(judgement.engine, "revisions");
}

#[test]
fn a_revision_that_goes_back_is_named_where_the_values_are_right() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    at(history.write(1, "y", 2), 3);
    at(history.read(0, "x", 1), 2);
    let judgement = judged(&history);
    assert_eq!(judgement.outcome, Outcome::Fail);
    assert_eq!(judgement.findings[0].class, AnomalyClass::RevisionContract);
    assert!(judgement.findings[0].minimised.proved_again);
    assert!(
        judgement
            .detail
            .starts_with("values linearizable; revision contract violated"),
        "{}",
        judgement.detail
    );
    let sentence = &judgement.findings[0].sentence;
    assert!(sentence.contains("The revision went back"), "{sentence}");
    assert_eq!(judgement.findings[0].operations.len(), 2);
}

#[test]
fn one_revision_for_two_changes_is_a_violation() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    at(history.write(1, "y", 2), 2);
    assert_eq!(outcome(&history), (Outcome::Fail, Some(AnomalyClass::RevisionContract)));
}

#[test]
fn what_is_wrong_without_revisions_keeps_its_name() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    at(history.write(1, "x", 2), 3);
    at(history.read(0, "x", 1), 2);
    assert_eq!(outcome(&history), (Outcome::Fail, Some(AnomalyClass::StaleRead)));
}

#[test]
fn a_definite_failure_that_took_effect_is_a_finding_of_its_own() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    history.invoke(1, "write", support::write("x", 2)).fail(1);
    at(history.read(0, "x", 2), 3);
    assert_eq!(outcome(&history), (Outcome::Fail, Some(AnomalyClass::FailedTookEffect)));
}

#[test]
fn what_is_in_doubt_fills_the_gap_that_it_explains() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    history.invoke(1, "write", support::write("x", 2)).info(1);
    history.invoke(2, "write", support::write("x", 3)).info(2);
    at(history.write(0, "y", 4), 4);
    at(history.read(0, "x", 3), 4);
    assert_eq!(outcome(&history).0, Outcome::Pass);
    // Both cannot have taken effect at one revision.
    at(history.read(0, "x", 2), 4);
    assert_eq!(outcome(&history).0, Outcome::Fail);
}

#[test]
fn a_revision_that_nobody_made_is_a_violation_only_of_a_store_of_our_own() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    at(history.write(0, "x", 2), 4);
    assert_eq!(outcome(&history), (Outcome::Fail, Some(AnomalyClass::RevisionContract)));
    let shared = judge("etcd-kv", &history.events, &Options::default()).expect("judged");
    assert_eq!(shared.outcome, Outcome::Unknown, "{}", shared.detail);
}

fn kv(key: &str, value: i64, modified: i64, created: i64, version: i64) -> Value {
    Value::map([
        ("key", key.into()),
        ("value", value.into()),
        ("mod", modified.into()),
        ("create", created.into()),
        ("version", version.into()),
    ])
}

fn range(history: &mut History, key: &str, kvs: Vec<Value>, serializable: bool) {
    let input = Value::map([("key", key.into()), ("serializable", serializable.into())]);
    history
        .invoke(5, "range", input)
        .ok(5, Value::map([("kvs", Value::List(kvs))]));
}

#[test]
fn a_serializable_read_may_be_old_and_must_still_be_true() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    at(history.write(0, "x", 2), 3);
    range(&mut history, "x", vec![kv("x", 1, 2, 2, 1)], true);
    at(&mut history, 2);
    assert_eq!(outcome(&history).0, Outcome::Pass);
    range(&mut history, "x", vec![kv("x", 1, 2, 2, 1)], true);
    at(&mut history, 3);
    assert_eq!(outcome(&history), (Outcome::Fail, Some(AnomalyClass::RevisionContract)));
}

#[test]
fn versions_are_counted() {
    let mut history = History::default();
    at(history.write(0, "x", 1), 2);
    at(history.write(0, "x", 2), 3);
    range(&mut history, "x", vec![kv("x", 2, 3, 2, 2)], false);
    at(&mut history, 3);
    assert_eq!(outcome(&history).0, Outcome::Pass);
    range(&mut history, "x", vec![kv("x", 2, 3, 2, 3)], false);
    at(&mut history, 3);
    assert_eq!(outcome(&history), (Outcome::Fail, Some(AnomalyClass::RevisionContract)));
}

#[test]
fn a_lease_may_expire_and_takes_all_its_keys_in_one_revision() {
    let lease = |history: &mut History, keys: [&str; 2]| {
        history
            .invoke(1, "lease-grant", Value::map([("lease", 7.into())]))
            .ok(1, Value::Null);
        for (key, revision) in keys.into_iter().zip(2..) {
            let put = Value::map([("key", key.into()), ("value", 1.into()), ("lease", 7.into())]);
            history.invoke(1, "put", put).ok(1, Value::Null);
            at(history, revision);
        }
    };
    let mut history = History::default();
    lease(&mut history, ["x", "y"]);
    at(history.read(0, "x", Value::Null), 4);
    at(history.read(0, "y", Value::Null), 4);
    let judgement = judged(&history);
    assert_eq!(judgement.outcome, Outcome::Pass, "{}", judgement.detail);
    let mut history = History::default();
    lease(&mut history, ["x", "y"]);
    at(history.read(0, "x", Value::Null), 4);
    at(history.read(0, "y", 1), 4);
    assert_eq!(outcome(&history), (Outcome::Fail, Some(AnomalyClass::RevisionContract)));
}

#[test]
fn a_transaction_is_one_revision() {
    let put = |key: &str, value: i64| Value::map([("put", Value::map([("key", key.into()), ("value", value.into())]))]);
    let txn = Value::map([("then", Value::List(vec![put("x", 1), put("y", 2)]))]);
    let answer = Value::map([
        ("succeeded", true.into()),
        ("responses", Value::List(vec![Value::Null, Value::Null])),
    ]);
    let mut history = History::default();
    history.invoke(0, "txn", txn).ok(0, answer);
    at(&mut history, 2);
    at(history.read(1, "y", 2), 2);
    at(history.write(1, "x", 3), 3);
    let judgement = judged(&history);
    assert_eq!(judgement.outcome, Outcome::Pass, "{}", judgement.detail);
}
