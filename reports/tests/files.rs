//! The files in a run directory: written whole, read back, judged again, made again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tribunal_history::operation::pair;
use tribunal_history::{DrawnOperation, Ending, Event, Finding, Operation, Record as _, Report, jsonl};
use tribunal_reports::{rebuild, write};

mod support;

/// Every file under a folder, by its name in it.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("it is in there");
                names.insert(name.to_str().expect("our names are text").to_owned());
            }
        }
    }
    names
}

#[test]
fn what_is_named_is_written_and_nothing_else() {
    let (report, events) = support::failing();
    let dir = tempfile::tempdir().expect("a folder");
    let names = write(dir.path(), &report, &events).expect("writes");
    assert_eq!(names.iter().cloned().collect::<BTreeSet<_>>(), files(dir.path()));
    let saved = Report::load(&dir.path().join("report.json")).expect("reads back");
    assert_eq!(
        (&saved.findings, &saved.properties),
        (&report.findings, &report.properties)
    );
    for name in &names {
        assert!(saved.files.contains(name), "{name} is listed");
    }
    let finding = Finding::load(&dir.path().join("findings/1/finding.json")).expect("reads back");
    assert_eq!(finding, report.findings[0]);
    let script = dir.path().join("findings/1/repro.sh");
    let mode = fs::metadata(&script).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "it can be started");
    let script = fs::read_to_string(script).expect("reads");
    assert!(script.starts_with("#!/bin/sh\n") && script.ends_with(&format!("{}\n", report.commands[1])));
}

#[test]
fn a_passing_run_has_no_findings() {
    let dir = tempfile::tempdir().expect("a folder");
    let (report, events) = support::failing();
    write(dir.path(), &report, &events).expect("writes");
    fs::write(dir.path().join("notes.txt"), "mine").expect("writes");
    let (report, events) = support::passing();
    let mut names: BTreeSet<String> = write(dir.path(), &report, &events)
        .expect("writes")
        .into_iter()
        .collect();
    names.insert("notes.txt".to_owned());
    assert_eq!(files(dir.path()), names, "those of an earlier judgement are gone");
    assert!(!dir.path().join("findings").exists());
}

fn drawn(operation: &Operation) -> (Ending, u64, Option<u64>, String) {
    let input = serde_json::to_string(&(&operation.input, &operation.output)).expect("JSON");
    (operation.ending, operation.invoked_ns, operation.completed_ns, input)
}

fn as_drawn(operation: &DrawnOperation) -> (Ending, u64, Option<u64>, String) {
    let input = serde_json::to_string(&(&operation.input, &operation.output)).expect("JSON");
    (operation.ending, operation.invoked_ns, operation.completed_ns, input)
}

#[test]
fn the_smallest_history_has_the_operations_of_the_finding() {
    let (mut report, events) = support::failing();
    let mut cut_short = support::lost_write();
    // On the way to the smallest explanation an operation may lose its completion while its client goes on.
    cut_short.operations[0].process = cut_short.operations[3].process;
    cut_short.operations[0].completed = None;
    cut_short.operations[0].completed_ns = None;
    cut_short.operations[0].ending = Ending::Info;
    report.findings.push(support::lost_write());
    report.findings.push(cut_short);
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), &report, &events).expect("writes");
    for (n, finding) in (1..).zip(&report.findings) {
        let path = dir.path().join(format!("findings/{n}/minimal.jsonl"));
        let events = jsonl::read(&path).expect("a history");
        let operations = pair(&events).expect("a history without contradictions");
        assert_eq!(
            operations.iter().map(drawn).collect::<Vec<_>>(),
            finding.operations.iter().map(as_drawn).collect::<Vec<_>>(),
            "finding {n}"
        );
    }
}

fn save_history(dir: &Path, events: &[Event]) {
    let file = fs::File::create(dir.join("history.jsonl")).expect("creates");
    let mut writer = jsonl::Writer::new(file).expect("writes");
    for event in events {
        writer.write(event).expect("writes");
    }
    writer.into_inner().expect("writes");
}

#[test]
fn a_report_made_again_is_the_same() {
    let (report, events) = support::failing();
    let dir = tempfile::tempdir().expect("a folder");
    save_history(dir.path(), &events);
    write(dir.path(), &report, &events).expect("writes");
    let pages = ["report.html", "junit.xml", "summary.md"];
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("reads");
    let before = pages.map(read);
    for packed in [false, true] {
        if packed {
            let plain = dir.path().join("history.jsonl");
            jsonl::compress(&plain).expect("compresses");
            fs::remove_file(plain).expect("removes");
        }
        for name in pages {
            fs::remove_file(dir.path().join(name)).expect("removes");
        }
        assert_eq!(rebuild(dir.path()).expect("makes it again"), pages);
        assert!(pages.map(read) == before, "packed: {packed}");
    }
}

#[test]
fn what_cannot_be_made_again_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = rebuild(dir.path()).expect_err("nothing is there").to_string();
    assert!(
        error.contains("report.json") && error.contains("tribunal check"),
        "{error}"
    );
    let (report, events) = support::failing();
    write(dir.path(), &report, &events).expect("writes");
    let error = rebuild(dir.path()).expect_err("no history is there").to_string();
    assert!(error.contains("history.jsonl"), "{error}");
    save_history(dir.path(), &events);
    fs::write(
        dir.path().join("report.json"),
        "{\"format\":\"tribunal-report\",\"version\":9}",
    )
    .expect("writes");
    let error = rebuild(dir.path()).expect_err("an unknown version").to_string();
    assert!(error.contains("version 9"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let (report, events) = support::failing();
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("findings"), "in the way").expect("writes");
    let error = write(dir.path(), &report, &events)
        .expect_err("a file is in the way")
        .to_string();
    assert!(error.contains("findings/1 cannot be written"), "{error}");
    assert!(!dir.path().join("report.json").exists(), "no report without its parts");
}
