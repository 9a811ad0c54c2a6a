//! Histories as Elle's documents and tests have them: rows of ends, with no processes or with no beginnings.

use tribunal_checker::{Consistency, Judgement, Options, judge};
use tribunal_history::import::read_any;
use tribunal_history::operation::pair;
use tribunal_history::{AnomalyClass, Outcome};

fn imported(name: &str, rows: &str) -> Vec<tribunal_history::Event> {
    let path = std::env::temp_dir().join(format!("tribunal-elle-{}-{name}.edn", std::process::id()));
    std::fs::write(&path, rows).expect("a temporary file");
    let imported = read_any(&path);
    let _ = std::fs::remove_file(&path);
    imported.expect("rows of transactions").events
}

fn judged(name: &str, rows: &str, consistency: Consistency) -> Judgement {
    let options = Options {
        consistency: Some(consistency),
        ..Options::default()
    };
    judge("list-append", &imported(name, rows), &options).expect("transactions over lists")
}

#[test]
fn rows_without_processes_are_judged_by_what_they_read() {
    // The first saw what the second wrote to y, and the second wrote to x after the first.
    let rows = "{:type :ok, :value [[:append :x 1] [:r :y [1]]]}
        {:type :ok, :value [[:append :x 2] [:append :y 1]]}
        {:type :ok, :value [[:r :x [1 2]]]}";
    let judgement = judged("serializable", rows, Consistency::Serializable);
    assert_eq!(judgement.outcome, Outcome::Fail, "{}", judgement.detail);
    assert_eq!(judgement.findings[0].class, AnomalyClass::G1c, "{}", judgement.detail);
}

#[test]
fn no_order_in_real_time_is_claimed_that_was_not_given() {
    // The second did not see the first, which ended before it. Nobody says that it began after that.
    let rows = "{:type :ok, :value [[:append :x 1]]}
        {:type :ok, :value [[:r :x nil]]}";
    let judgement = judged("alone", rows, Consistency::StrictSerializable);
    assert_eq!(judgement.outcome, Outcome::Pass, "{}", judgement.detail);
    // One process does one thing after another, so here it is said.
    let rows = "{:process 0, :type :ok, :value [[:append :x 1]]}
        {:process 0, :type :ok, :value [[:r :x nil]]}";
    let judgement = judged("in-turn", rows, Consistency::StrictSerializable);
    assert_eq!(judgement.outcome, Outcome::Fail, "{}", judgement.detail);
    // And this one began before the other process was done.
    let rows = "{:process 0, :type :ok, :value [[:append :x 1]]}
        {:process 1, :type :ok, :value [[:r :x nil]]}";
    let judgement = judged("at-once", rows, Consistency::StrictSerializable);
    assert_eq!(judgement.outcome, Outcome::Pass, "{}", judgement.detail);
}

#[test]
fn what_failed_or_is_in_doubt_stays_so() {
    let rows = "[{:type :fail, :value [[:append :x 1]]} {:type :info, :value [[:append :x 2]]}
        {:type :ok, :f :txn, :value [[:r :x [2]]]}]";
    let events = imported("endings", rows);
    let operations = pair(&events).expect("pairs");
    assert_eq!(operations.len(), 3);
    assert!(operations.iter().all(|operation| operation.function == "txn"));
    let judgement = judged("endings-judged", rows, Consistency::StrictSerializable);
    assert_eq!(
        (judgement.outcome, judgement.indeterminate, judgement.failed),
        (Outcome::Pass, 1, 1)
    );
}
