//! Histories that others published are judged as their verdicts say.
//!
//! Porcupine's are in `tests/data/`. Those of Knossos are under a license of their own and are read from the folder that
//! `TRIBUNAL_HISTORIES` names, as `knossos/cas-register/{bad,good}/*.edn`; where it names none, that test says so and
//! proves nothing.

use std::path::{Path, PathBuf};

use tribunal_checker::{Judgement, Options, judge};
use tribunal_history::Outcome;
use tribunal_history::import::read_any;

fn judged(path: &Path, specification: Option<&str>) -> Judgement {
    let imported = read_any(path).unwrap_or_else(|error| panic!("{error}"));
    let specification = specification
        .or(imported.specification)
        .unwrap_or_else(|| panic!("{}: no specification is recognised", path.display()));
    judge(specification, &imported.events, &Options::default())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The outcome is as expected, and what is found was proved twice.
fn check(path: &Path, specification: Option<&str>, expected: Outcome) {
    let judgement = judged(path, specification);
    assert_eq!(judgement.outcome, expected, "{}: {}", path.display(), judgement.detail);
    for finding in &judgement.findings {
        assert!(finding.minimised.proved_again, "{}: {finding:#?}", path.display());
    }
}

#[test]
fn porcupines_histories_are_judged_as_porcupine_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/porcupine");
    let verdicts = std::fs::read_to_string(folder.join("verdicts.tsv")).expect("the list of verdicts");
    let mut counts = [0, 0];
    for line in verdicts.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, operations, verdict] = columns.as_slice() else {
            panic!("three columns, not {line:?}");
        };
        let expected = match *verdict {
            "ok" => Outcome::Pass,
            "illegal" => Outcome::Fail,
            other => panic!("a verdict, not {other:?}"),
        };
        counts[usize::from(expected == Outcome::Pass)] += 1;
        let path = folder.join(file);
        check(&path, None, expected);
        let counted = judged(&path, None).operations.to_string();
        assert_eq!(counted, *operations, "{file}");
    }
    assert!(
        counts.iter().all(|count| *count > 10),
        "both verdicts are there: {counts:?}"
    );
}

#[test]
fn knossos_histories_are_judged_as_knossos_does() {
    let Some(folder) = std::env::var_os("TRIBUNAL_HISTORIES") else {
        println!("skipped: TRIBUNAL_HISTORIES names no folder with public histories");
        return;
    };
    let folder = PathBuf::from(folder).join("knossos/cas-register");
    for (kind, expected) in [("bad", Outcome::Fail), ("good", Outcome::Pass)] {
        let files = std::fs::read_dir(folder.join(kind)).expect("a folder of histories");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "edn"));
        assert!(!files.is_empty(), "no histories in {}", folder.join(kind).display());
        for file in files {
            check(&file, Some("cas-register"), expected);
        }
    }
}
