//! Keeps the house in order: which crate may know which, how long a file may be, where the world may be touched.
//!
//! These rules stand in `docs/ARCHITECTURE.md`. They are held here, by a test, rather than by review.
#![expect(clippy::tests_outside_test_module, reason = "this file is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of the workspace each crate may depend on; `docs/ARCHITECTURE.md` draws it.
const ARROWS: [(&str, &[&str]); 9] = [
    ("history", &[]),
    ("proto", &[]),
    ("env", &["history"]),
    ("store", &["env", "proto", "history"]),
    ("simulation", &["env", "history"]),
    ("workload", &["env", "proto", "history"]),
    ("nemesis", &["env", "history"]),
    ("checker", &["history"]),
    ("reports", &["history"]),
];

/// The rooms that may exempt themselves from the ban on ambient time, threads and sleep.
const WORLDLY: [&str; 9] = [
    "store/src/real/",
    "src/world/process/",
    "src/cli/",
    "checker/src/linearizability/budget.rs",
    "checker/src/budget.rs",
    "benches/",
    "tests/",
    "examples/",
    "simulation/src/workers/",
];

const FILE_LINES_MAX: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workspace crates named in the given table of a manifest.
fn dependencies(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let names = manifest
        .get(table)
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().cloned().collect::<Vec<_>>());
    names
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.strip_prefix("tribunal-"))
        .map(str::to_owned)
        .collect()
}

/// Every source file of the project, relative to its root.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder's entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') && name != "runs" {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), &mut found);
    assert!(found.len() > 30, "only {} files found: the walk is wrong", found.len());
    found
}

#[test]
fn only_the_drawn_arrows_exist() {
    let members = manifest("")["workspace"]["members"]
        .as_array()
        .expect("members")
        .clone();
    let members: BTreeSet<String> = members
        .iter()
        .filter_map(|member| member.as_str().map(str::to_owned))
        .collect();
    let drawn: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    assert_eq!(
        members,
        drawn.keys().map(|name| (*name).to_owned()).collect(),
        "a crate is missing in the drawing"
    );
    for (name, allowed) in drawn {
        let manifest = manifest(name);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for dependency in dependencies(&manifest, table) {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{name} knows {dependency} ({table}); the drawing has no such arrow"
                );
            }
        }
    }
}

#[test]
fn each_crate_obeys_the_common_lints() {
    for (name, _) in ARROWS {
        let manifest = manifest(name);
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(
            inherits,
            Some(true),
            "{name}/Cargo.toml has no `[lints] workspace = true`"
        );
    }
}

#[test]
fn no_file_is_too_long() {
    for path in sources() {
        let lines = fs::read_to_string(root().join(&path))
            .expect("a source file")
            .lines()
            .count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{} has {lines} lines: which rooms are inside it?",
            path.display()
        );
    }
}

#[test]
fn only_worldly_rooms_touch_the_world() {
    for path in sources() {
        let text = fs::read_to_string(root().join(&path)).expect("a source file");
        let name = path.to_string_lossy();
        let exempts = text.lines().any(|line| {
            let line = line.trim_start();
            line.starts_with("#") && line.contains("clippy::disallowed_methods")
        });
        let worldly = WORLDLY
            .iter()
            .any(|room| name.starts_with(room) || name.contains(&format!("/{room}")));
        assert!(
            !exempts || worldly,
            "{name} exempts itself from the ban on ambient time and threads"
        );
    }
}

#[test]
fn nothing_is_unfinished_or_ignored() {
    let banned = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["#[ign", "ore"].concat(),
    ];
    for path in sources() {
        let text = fs::read_to_string(root().join(&path)).expect("a source file");
        for word in &banned {
            assert!(!text.contains(word.as_str()), "{}: {word}", path.display());
        }
    }
}

#[test]
fn the_history_format_is_documented_by_a_history() {
    let text = fs::read_to_string(root().join("docs/formats/history.md")).expect("docs/formats/history.md");
    let example = text
        .split("```jsonl\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example in a jsonl block");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    fs::write(&path, example).expect("writes");
    let events = tribunal_history::jsonl::read(&path).unwrap_or_else(|error| panic!("the example: {error}"));
    assert!(events.len() >= 9, "ten lines with the header");
    let operations = tribunal_history::operation::pair(&events).unwrap_or_else(|error| panic!("the example: {error}"));
    assert!(operations.len() >= 3, "some operations");
}
