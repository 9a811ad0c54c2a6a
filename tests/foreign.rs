//! `tribunal check` on histories that other tools recorded: the same report as of a run, and mistakes by line and
//! column.
#![expect(clippy::tests_outside_test_module, reason = "this file is a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tribunal_history::{AnomalyClass, Record as _, Report};

fn check(folder: &Path, arguments: &[&str], content: &str) -> (i32, Output) {
    let file = folder.join("history");
    std::fs::write(&file, content).expect("writes");
    let output = Command::new(env!("CARGO_BIN_EXE_tribunal"))
        .arg("check")
        .args(arguments)
        .arg("--runs-dir")
        .arg(folder.join("runs"))
        .arg(&file)
        .output()
        .expect("the binary runs");
    (output.status.code().expect("it ended by itself"), output)
}

fn reports(folder: &Path) -> Vec<PathBuf> {
    let Ok(runs) = std::fs::read_dir(folder.join("runs/check")) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = runs.map(|run| run.expect("a run").path()).collect();
    found.retain(|run| !run.is_symlink());
    found
}

const STALE: &str = "[{:process 0, :type :invoke, :f :write, :value 1}
 {:process 0, :type :ok, :f :write, :value 1}
 ; one value replaces the other
 {:process 0, :type :invoke, :f :write, :value 2}
 {:process 0, :type :ok, :f :write, :value 2}
 {:process 1, :type :invoke, :f :read, :value nil}
 {:process 1, :type :ok, :f :read, :value 1}]";

#[test]
fn a_foreign_history_gets_the_same_report_as_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, output) = check(folder.path(), &[], STALE);
    assert_eq!(code, 1, "{}", String::from_utf8_lossy(&output.stderr));
    let [run] = reports(folder.path()).try_into().expect("one report");
    let report = Report::load(&run.join("report.json")).expect("a report");
    assert_eq!(report.run.workload, "cas-register");
    assert_eq!(report.findings[0].class, AnomalyClass::StaleRead);
    for file in ["report.html", "findings/1/minimal.jsonl"] {
        assert!(run.join(file).is_file(), "no {file}");
    }
    // The counterexample alone is a violation too.
    let minimal = std::fs::read_to_string(run.join("findings/1/minimal.jsonl")).expect("a history");
    assert_eq!(check(folder.path(), &["--spec", "cas-register"], &minimal).0, 1);
}

/// Lists as Elle's tests have them: the second transaction reads what was there before the first had ended.
const STALE_LIST: &str = "{:index 0, :type :invoke, :f :txn, :process 0, :time 1, :value [[:append 5 1]]}
{:index 1, :type :ok, :f :txn, :process 0, :time 2, :value [[:append 5 1]]}
{:index 2, :type :invoke, :f :txn, :process 1, :time 3, :value [[:r 5 nil] [:append 6 1]]}
{:index 3, :type :ok, :f :txn, :process 1, :time 4, :value [[:r 5 nil] [:append 6 1]]}
{:index 4, :type :invoke, :f :txn, :process 2, :time 5, :value [[:r 5 nil] [:r 6 nil]]}
{:index 5, :type :ok, :f :txn, :process 2, :time 6, :value [[:r 5 [1]] [:r 6 [1]]]}";

#[test]
fn transactions_are_recognised_and_judged_by_the_model_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, output) = check(folder.path(), &["--json"], STALE_LIST);
    assert_eq!(code, 1, "{}", String::from_utf8_lossy(&output.stderr));
    let report = Report::from_json(&String::from_utf8_lossy(&output.stdout)).expect("a report");
    assert_eq!(report.run.workload, "list-append");
    assert_eq!(report.properties[0].id, "strict-serializable");
    assert_eq!(report.findings[0].class, AnomalyClass::GSingleRealtime);
    assert!(
        report.verdict.headline.starts_with("not strict serializable"),
        "{}",
        report.verdict.headline
    );
    assert_eq!(
        check(folder.path(), &["--consistency", "serializable"], STALE_LIST).0,
        0
    );
    let registers = STALE_LIST.replace(":append", ":w").replace("[1]", "1");
    let (code, output) = check(folder.path(), &["--consistency", "serializable", "--json"], &registers);
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&output.stderr));
    let report = Report::from_json(&String::from_utf8_lossy(&output.stdout)).expect("a report");
    assert_eq!(report.run.workload, "rw-register");
    let (code, output) = check(folder.path(), &["--consistency", "linearizable"], STALE_LIST);
    assert_eq!(code, 64);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("snapshot-isolation"), "{said}");
}

#[test]
fn a_specification_that_is_not_told_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = "{:process 0, :type :invoke, :f :enqueue, :value 1}\n{:process 0, :type :ok, :f :enqueue, :value 1}
{:process 0, :type :invoke, :f :dequeue, :value nil}\n{:process 0, :type :ok, :f :dequeue, :value 1}";
    let (code, output) = check(folder.path(), &[], queue);
    assert_eq!(code, 64);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("name it with --spec, one of cas-register"), "{said}");
    assert_eq!(check(folder.path(), &["--spec", "fifo-queue"], queue).0, 0);
}

#[test]
fn a_broken_foreign_history_is_refused_by_line_and_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = STALE.replace("2}\n {:process 1", "2)\n {:process 1");
    let (code, output) = check(folder.path(), &[], &broken);
    assert_eq!(code, 64);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("history:5:45: expected '}'"), "{said}");
    assert!(reports(folder.path()).is_empty());
}
