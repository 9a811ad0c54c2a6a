//! The command line as a script sees it: exit codes, files, and what can be relied on in the output.
//!
//! The runs here are real ones, short and without demands on speed: they pass on a slow machine as on a fast one.
#![expect(clippy::tests_outside_test_module, reason = "this file is a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tribunal_history::report::RunOutcome;
use tribunal_history::{Manifest, Outcome, Record as _, Report, Schedule};

fn tribunal(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tribunal"));
    command.args(arguments).output().expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn report(output: &Output) -> Report {
    Report::from_json(&text(&output.stdout))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", text(&output.stdout), text(&output.stderr)))
}

fn latest(runs: &Path, name: &str) -> PathBuf {
    runs.join(name).join("latest").canonicalize().expect("a run")
}

fn verdict(report: &Report, id: &str) -> Outcome {
    report
        .properties
        .iter()
        .find(|property| property.id == id)
        .unwrap_or_else(|| panic!("no property {id}"))
        .verdict
}

#[test]
fn usage_errors_exit_64_and_name_the_remedy() {
    for (arguments, expected) in [
        (&["run", "--nosuch"][..], "--nosuch"),
        (&["run", "--time-limit", "20"], "30s"),
        (&["run", "--workload", "nosuch"], "register"),
        (&["run", "--nemesis", "kil"], "kill"),
        (&["run", "--defect", "nosuch"], "ack-before-sync"),
        (&["run", "--system", "nosuch"], "builtin"),
        (&["run", "--system", "etcd:/nosuch/etcd"], "/nosuch/etcd"),
        (&["run", "--election-timeout", "100ms"], "--heartbeat-interval"),
        (&["run", "--from", "/nosuch/run"], "/nosuch/run"),
        (&["check", "/nosuch/history"], "/nosuch/history"),
        (&["check", "--consistency", "nosuch", "x"], "strict-serializable"),
        (&["report", "/nosuch/run"], "/nosuch/run"),
        (&["node", "--data-dir", "/nosuch", "--initial-cluster", "x"], "NAME=URL"),
    ] {
        let output = tribunal(arguments);
        let said = text(&output.stderr);
        assert_eq!(code(&output), 64, "{arguments:?}: {said}");
        assert!(
            said.contains(expected) && !said.contains("panicked"),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn a_folder_that_cannot_be_written_exits_4() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("writes");
    let output = tribunal(&["run", "--runs-dir", &file.display().to_string(), "--time-limit", "1s"]);
    assert_eq!(code(&output), 4);
    assert!(text(&output.stderr).contains("--runs-dir"), "{}", text(&output.stderr));
}

#[test]
fn lists_print_one_name_first_on_each_line() {
    for (what, expected) in [
        ("workloads", &["register", "append"][..]),
        (
            "faults",
            &[
                "kill",
                "pause",
                "isolate",
                "isolate-inbound",
                "isolate-outbound",
                "split",
                "bridge",
                "ring",
                "crash",
                "crash-after-polls",
                "crash-at-point",
                "link-delay",
                "link-loss",
                "link-duplicate",
                "link-reorder",
                "link-slow",
                "link-hold",
                "link-refuse",
                "slow-sync",
                "sync-error",
                "write-error",
                "disk-full",
                "bit-rot",
                "latent-sector",
                "lying-sync",
                "clock-drift",
                "clock-jump",
                "wall-jump",
                "member-replace",
                "member-grow",
                "member-shrink",
                "transfer-leader",
                "compact",
                "snapshot",
            ],
        ),
        (
            "defects",
            &[
                "read-without-quorum",
                "ack-before-quorum",
                "ack-before-sync",
                "count-unsynced-follower",
                "vote-not-synced",
                "follower-serves-linearizable-read",
                "read-before-apply",
                "lease-read",
                "leader-restore",
                "forward-twice",
                "lost-answer-taken-for-refusal",
                "txn-not-atomic",
                "snapshot-without-log-tail",
                "apply-twice-after-restart",
                "stale-snapshot-installed",
                "reused-revision",
                "lost-directory-sync",
                "torn-record-accepted",
                "damage-taken-for-the-end",
                "truncation-not-logged",
                "removed-node-still-counted",
            ],
        ),
        (
            "specifications",
            &[
                "cas-register",
                "counter",
                "etcd-kv",
                "fifo-queue",
                "kv",
                "list-append",
                "multi-register",
                "mutex",
                "reentrant-mutex",
                "register",
                "rw-register",
                "set",
                "unique-ids",
                "unordered-queue",
            ],
        ),
        (
            "models",
            &[
                "linearizable",
                "sequential",
                "monotonic-reads",
                "monotonic-writes",
                "read-your-writes",
                "writes-follow-reads",
                "serializable-reads",
                "read-uncommitted",
                "read-committed",
                "snapshot-isolation",
                "strong-session-snapshot-isolation",
                "strong-snapshot-isolation",
                "serializable",
                "strong-session-serializable",
                "strict-serializable",
            ],
        ),
        ("systems", &["builtin", "etcd"]),
    ] {
        let output = tribunal(&["list", what]);
        let listed = text(&output.stdout);
        let names: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!((code(&output), names.as_slice()), (0, expected), "{what}");
    }
}

/// One run on the bundled store, everything that it leaves behind, and the same history judged again.
#[test]
fn a_run_leaves_a_directory_that_can_be_judged_again_and_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().display().to_string();
    let arguments = [
        "run",
        "--seed",
        "5",
        "--time-limit",
        "6s",
        "--nemesis",
        "kill",
        "--min-ok",
        "1",
        "--runs-dir",
        &runs,
        "--json",
    ];
    let output = tribunal(&arguments);
    let judged = report(&output);
    assert_eq!(code(&output), i32::from(judged.verdict.exit_code));
    assert!(
        text(&output.stderr).starts_with("seed 5\nrun again: tribunal run "),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(verdict(&judged, "linearizable"), Outcome::Pass, "{judged:?}");
    assert_eq!(verdict(&judged, "harness"), Outcome::Pass, "{judged:?}");
    assert_eq!(verdict(&judged, "no-crash"), Outcome::Pass, "{judged:?}");

    let run = latest(folder.path(), "run");
    for file in [
        "run.json",
        "schedule.json",
        "report.json",
        "report.html",
        "junit.xml",
        "summary.md",
        "history.jsonl.gz",
        "nodes/n1/log",
    ] {
        assert!(run.join(file).is_file(), "no {file}");
        assert!(
            judged.files.iter().any(|listed| listed == file) || file == "report.json",
            "{file} is not listed"
        );
    }
    assert!(!run.join("findings").exists() && !run.join("history.jsonl").exists());
    let manifest = Manifest::load(&run.join("run.json")).expect("a manifest");
    assert_eq!((manifest.seed, manifest.config["nemesis"].as_str()), (5, "kill"));

    let again = tribunal(&["check", &run.display().to_string(), "--runs-dir", &runs, "--json"]);
    let again = report(&again);
    assert_eq!(verdict(&again, "linearizable"), Outcome::Pass);
    assert_eq!(again.operations, judged.operations);
    assert_eq!(code(&tribunal(&["report", &run.display().to_string()])), 0);

    // The schedule of the same seed and settings is the same, byte for byte, whatever the run makes of it.
    let repeated = tribunal(&[
        "run",
        "--from",
        &run.display().to_string(),
        "--runs-dir",
        &runs,
        "--json",
    ]);
    assert_eq!(verdict(&report(&repeated), "linearizable"), Outcome::Pass);
    let other = latest(folder.path(), "run");
    assert_ne!(run, other);
    let schedule = |dir: &Path| std::fs::read(dir.join("schedule.json")).expect("a schedule");
    assert_eq!(schedule(&run), schedule(&other));
    assert!(
        !Schedule::load(&run.join("schedule.json"))
            .expect("a schedule")
            .steps
            .is_empty()
    );
}

/// A planted bug in virtual time, where what happens is the seed's: a finding, and the exit codes change places.
#[test]
fn a_planted_bug_is_a_finding_with_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().display().to_string();
    let arguments = [
        "run",
        "--world",
        "simulation",
        "--seed",
        "1",
        "--time-limit",
        "30s",
        "--defect",
        "txn-not-atomic",
        "--runs-dir",
        &runs,
    ];
    let output = tribunal(&arguments);
    let said = text(&output.stdout);
    assert_eq!(code(&output), 1, "{said}\n{}", text(&output.stderr));
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let begins = ["bundle: ", "repeat: tribunal run --", "report: ", "", "FAIL  "];
    for (line, begin) in last.iter().zip(begins) {
        assert!(line.starts_with(begin), "{said}");
    }
    let run = latest(folder.path(), "run");
    let judged = Report::load(&run.join("report.json")).expect("a report");
    assert_eq!(judged.verdict.outcome, RunOutcome::Violation);
    assert!(judged.findings[0].operations.len() <= 6, "{:?}", judged.findings[0]);
    for file in ["finding.json", "minimal.jsonl", "timeline.svg", "repro.sh"] {
        assert!(run.join("findings/1").join(file).is_file(), "no {file}");
    }
    let minimal = run.join("findings/1/minimal.jsonl").display().to_string();
    let again = tribunal(&["check", &minimal, "--spec", "register", "--runs-dir", &runs]);
    assert_eq!(
        code(&again),
        1,
        "the counterexample alone is a violation: {}",
        text(&again.stdout)
    );
    let expected = tribunal(&[
        "check",
        &run.display().to_string(),
        "--runs-dir",
        &runs,
        "--expect-fail",
    ]);
    assert_eq!(code(&expected), 0);
}

#[test]
fn a_foreign_or_broken_file_is_refused_by_line() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content, expected) in [
        ("foreign", "hello\n", "foreign:1"),
        (
            "broken",
            "{\"format\":\"tribunal-history\",\"version\":1}\n{\"seq\":0,\n",
            "broken:2",
        ),
        (
            "future",
            "{\"format\":\"tribunal-history\",\"version\":9}\n",
            "version 9",
        ),
        (
            "twice",
            "{\"format\":\"tribunal-history\",\"version\":1}\n{\"type\":\"ok\",\"seq\":0,\"time_ns\":0,\"process\":0}\n",
            "never invoked",
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("writes");
        let runs = folder.path().join("runs").display().to_string();
        let output = tribunal(&["check", &path.display().to_string(), "--runs-dir", &runs]);
        assert_eq!(code(&output), 64, "{name}");
        assert!(
            text(&output.stderr).contains(expected),
            "{name}: {}",
            text(&output.stderr)
        );
    }
}

/// A write, and a read that began after it and does not show it.
const STALE: &str = r#"{"format":"tribunal-history","version":2}
{"type":"invoke","seq":2,"time_ns":2100000,"process":0,"node":"n1","function":"write","input":{"key":"k1","value":1}}
{"type":"ok","seq":3,"time_ns":4300000,"process":0,"revision":2}
{"type":"invoke","seq":7,"time_ns":6000000,"process":1,"node":"n2","function":"read","input":{"key":"k1"}}
{"type":"ok","seq":8,"time_ns":7000000,"process":1,"revision":2}
"#;

#[test]
fn a_stream_is_judged_as_it_comes() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_tribunal"))
        .args(["check", "--follow", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(STALE.as_bytes()).expect("it reads");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    // The pipe is still open: the violation is not held back until its end.
    output.read_line(&mut first).expect("it says something");
    assert!(
        first.starts_with("VIOLATED at 0.007 s, event 8: read k1 → nil: "),
        "{first}"
    );
    input
        .write_all(b"{\"type\":\"phase\",\"seq\":9,\"time_ns\":8000000,\"phase\":\"end\"}\n")
        .expect("it reads");
    drop(input);
    let mut last = String::new();
    output.read_line(&mut last).expect("it says something");
    assert_eq!(last, "violated: 2 operations on 1 key, 1 of them observed a value\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    for (arguments, expected) in [
        (&["check", "--follow", "a", "b"][..], "--follow takes one history"),
        (&["check", "a", "--export", "edn"], "--out"),
        (&["check", "/nosuch/a", "--export", "edn", "--out", "-"], "/nosuch/a"),
    ] {
        let output = tribunal(arguments);
        assert_eq!(code(&output), 64, "{arguments:?}");
        assert!(
            text(&output.stderr).contains(expected),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_history_has_the_same_verdict_in_every_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("first.jsonl"), STALE).expect("writes");
    let forms = [
        ("binary", "history.bin"),
        ("binary-plain", "plain.bin"),
        ("edn", "history.edn"),
        ("jsonl", "again.jsonl"),
    ];
    for (form, name) in forms {
        let output = tribunal(&["check", &path("first.jsonl"), "--export", form, "--out", &path(name)]);
        assert_eq!(code(&output), 0, "{form}: {}", text(&output.stderr));
        let runs = path("runs");
        let output = tribunal(&["check", &path(name), "--json", "--runs-dir", &runs]);
        assert_eq!(code(&output), 1, "{form}: {}", text(&output.stderr));
        let report = report(&output);
        assert_eq!(verdict(&report, "linearizable"), Outcome::Fail, "{form}");
        assert_eq!(report.findings.len(), 1, "{form}");
    }
    assert_eq!(
        std::fs::read(path("first.jsonl")).expect("reads"),
        std::fs::read(path("again.jsonl")).expect("reads")
    );
}
