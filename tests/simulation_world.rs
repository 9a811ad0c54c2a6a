//! The bundled store in virtual time, as a user meets it: runs that are the same twice, a planted bug found by a sweep,
//! replayed and shrunk, and input that is refused.
#![expect(clippy::tests_outside_test_module, reason = "this file is a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tribunal_history::{Manifest, Record as _, SimulatedPlan, SweepSummary};

fn tribunal(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tribunal"))
        .args(words)
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The one run directory below `runs/<name>`.
fn run_dir(runs: &Path, name: &str) -> PathBuf {
    let link = runs.join(name).join("latest");
    fs::canonicalize(&link).unwrap_or_else(|error| panic!("{}: {error}", link.display()))
}

/// Every file of a run but `run.json`, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("below").to_owned();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found.remove(Path::new("run.json")).expect("every run has one");
    found
}

/// One seed, run in two processes, leaves the same bytes; another seed leaves others.
#[test]
fn a_seed_is_the_same_run_in_every_process_and_place() {
    let run = |seed: &str| {
        let runs = tempfile::tempdir().expect("a folder");
        let path = runs.path().display().to_string();
        let trace = runs.path().join("trace");
        let output = tribunal(&[
            "run",
            "--world=simulation",
            &format!("--seed={seed}"),
            "--time-limit=6s",
            &format!("--runs-dir={path}"),
            &format!("--trace={}", trace.display()),
            // Six seconds are too few for every fault to be felt.
            "--fail-on=violation,harness,inconclusive",
        ]);
        assert!(output.status.success(), "{}", text(&output));
        let files = files(&run_dir(runs.path(), "run"));
        (files, fs::read(&trace).expect("a trace"))
    };
    let (first, again, other) = (run("11"), run("11"), run("12"));
    assert!(
        first.1.len() > 100_000,
        "a trace of {} bytes tells little",
        first.1.len()
    );
    assert!(first.1 == again.1, "two traces of one seed differ");
    for (name, bytes) in &first.0 {
        assert!(again.0.get(name) == Some(bytes), "{} differs", name.display());
    }
    assert_eq!(first.0.len(), again.0.len());
    assert!(first.1 != other.1, "two seeds are one run");
}

/// The first failing seed of a sweep has a run directory, which replays exactly and shrinks to a run that replays.
#[test]
fn a_planted_bug_is_found_replayed_and_shrunk() {
    let runs = tempfile::tempdir().expect("a folder");
    let at = format!("--runs-dir={}", runs.path().display());
    let output = tribunal(&[
        "simulate",
        "--seeds=1..8",
        "--defect=ack-before-sync",
        "--nodes=3",
        "--nemesis=kill",
        "--time-limit=8s",
        "--fail-fast",
        "--json",
        &at,
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let summary = SweepSummary::from_json(&String::from_utf8_lossy(&output.stdout)).expect("one JSON object");
    let found = summary.failing.first().expect("a seed");
    assert_eq!(found.confirmed, Some(true), "{found:?}");
    let dir = found.dir.clone().expect("a run directory");

    let replayed = tribunal(&["replay", &dir, "-v"]);
    let said = text(&replayed);
    assert_eq!(replayed.status.code(), Some(1), "{said}");
    assert!(
        said.contains("history: identical") && said.contains("happened: identical"),
        "{said}"
    );
    assert!(said.contains("leads term"), "the timeline is there: {said}");

    let shrunk = tribunal(&["shrink", &dir, "--budget=20s", &at]);
    assert!(shrunk.status.success(), "{}", text(&shrunk));
    let small = run_dir(runs.path(), "shrink");
    let load = |dir: &Path| SimulatedPlan::load(&dir.join("simulation.json")).expect("a plan");
    let (before, after) = (load(Path::new(&dir)), load(&small));
    assert!(after.schedule.steps.len() <= before.schedule.steps.len());
    let operations: usize = after.kept.expect("a list").values().map(Vec::len).sum();
    assert!(operations < 60, "{operations} operations are left: {}", text(&shrunk));
    let again = tribunal(&["replay", &small.display().to_string()]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert!(text(&again).contains("history: identical"), "{}", text(&again));
}

#[test]
fn what_cannot_be_replayed_is_refused_by_name_and_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("simulation.json");
    let dir = folder.path().display().to_string();
    let refused = |verb: &str| {
        let output = tribunal(&[verb, &dir]);
        assert_eq!(output.status.code(), Some(64), "{}", text(&output));
        text(&output)
    };
    assert!(refused("replay").contains("is no run directory"));
    let manifest = Manifest {
        argv: Vec::new(),
        config: BTreeMap::new(),
        seed: 1,
        started: String::new(),
        tribunal_version: String::new(),
        tribunal_sha256: String::new(),
        system: "etcd".to_owned(),
        system_version: "etcd 3.5.1".to_owned(),
        system_sha256: None,
        host: String::new(),
    };
    manifest.save(&folder.path().join("run.json")).expect("writes");
    let said = refused("replay");
    assert!(
        said.contains("is a run on processes (etcd 3.5.1)") && said.contains("--repeat"),
        "{said}"
    );
    fs::write(&path, "{\"format\":\"tribunal-simulation\",\"version\":99}").expect("writes");
    for verb in ["replay", "shrink"] {
        let said = refused(verb);
        let expected = format!(
            "tribunal-simulation has version 99; this program reads version {}",
            SimulatedPlan::VERSION
        );
        assert!(said.contains(&expected), "{said}");
    }
    fs::write(&path, "{\"format\":\"tribunal-schedule\",\"version\":1}").expect("writes");
    assert!(refused("replay").contains("expected tribunal-simulation, found \"tribunal-schedule\""));
}

#[test]
fn seeds_that_are_none_are_refused() {
    for words in [
        &["simulate", "--seeds=5..2"][..],
        &["simulate", "--seeds=a..b"],
        &["simulate", "--seeds=1..99999999999999999999999"],
        &["simulate"],
        &["simulate", "--seed=1", "--defect=no-such-bug"],
        &["run", "--world=simulation", "--system=etcd", "--seed=1"],
    ] {
        let output = tribunal(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {}", text(&output));
    }
}

/// What a short sweep with these flags came to; none of its seeds fails.
fn swept(flags: &[&str]) -> SweepSummary {
    let runs = tempfile::tempdir().expect("a folder");
    let runs_dir = format!("--runs-dir={}", runs.path().display());
    let output = tribunal(&[&["simulate", "--json", &runs_dir], flags].concat());
    let summary = SweepSummary::from_json(&String::from_utf8_lossy(&output.stdout)).expect("one JSON object");
    assert!(
        summary.failing.is_empty() && summary.undecided.is_empty(),
        "{}",
        text(&output)
    );
    summary
}

/// Members come and go under other faults, disks lie and their nodes are replaced, and nothing is lost on the way: a
/// short sweep of such faults only.
#[test]
fn members_come_and_go() {
    let summary = swept(&[
        "--seeds=1..3",
        "--nodes=3",
        "--time-limit=20s",
        "--nemesis=membership,lying-sync,kill",
    ]);
    for name in ["members-added", "members-promoted", "members-removed"] {
        assert!(summary.counters[name] > 0, "{name}: {:?}", summary.counters);
    }
}

/// Only recovery passes the point at which a cut log is mended, and only where a crash has cut one: power fails, and fails
/// again in the middle of that. Should draws change, another seed will do.
#[test]
fn power_fails_again_while_a_cut_log_is_mended() {
    let summary = swept(&[
        "--seeds=9..9",
        "--nodes=3",
        "--time-limit=15s",
        "--nemesis=crash-at-point",
        "--nemesis-interval=1s",
        "--value-bytes=8000",
    ]);
    let counter = "crashes-at-wal.recovery.before-repair";
    assert!(summary.counters[counter] > 0, "{:?}", summary.counters);
}
