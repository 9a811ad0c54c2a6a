//! `tribunal check`: recorded histories, judged again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tribunal_checker::Consistency;
use tribunal_checker::transactions::recognise;
use tribunal_history::import::{Format, Stream};
use tribunal_history::report::RunOutcome;
use tribunal_history::{Manifest, Record as _};
use tribunal_workload::Workload;

use super::export::{ExportArgs, ExportFormat};
use super::follow::Follow;
use super::values::{consistency, positive_duration, size};
use super::{EXIT_HARNESS, complain};
use crate::campaign::again::{self, Source};
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};

/// Flags of `tribunal check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Histories (Tribunal's JSON Lines or binary form, EDN, Jepsen logs, reports of etcd's robustness tests; plain or gzip),
    /// or run directories
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Specification to judge by; see `tribunal list specifications`. Taken from the run or the operations if they tell
    #[arg(long, value_name = "NAME")]
    spec: Option<String>,
    /// Model to judge by; see `tribunal list models` [default: the strongest of the specification]
    #[arg(long, value_parser = consistency, value_name = "MODEL")]
    consistency: Option<Consistency>,
    /// Time that the checker may take before it answers unknown
    #[arg(long, default_value = "60s", value_parser = positive_duration, value_name = "TIME")]
    check_time: Duration,
    /// Memory that the checker may take before it answers unknown
    #[arg(long, default_value = "4GiB", value_parser = size, value_name = "SIZE")]
    check_memory: u64,
    /// Steps of search that the checker may take before it answers unknown
    #[arg(long, default_value_t = tribunal_checker::Options::default().steps, value_name = "COUNT")]
    check_steps: u64,
    /// Folder that the reports are written to
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs_dir: PathBuf,
    /// A violation is what is wanted: swaps exit codes 0 and 1
    #[arg(long)]
    expect_fail: bool,
    /// Print each report as one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Judge one history as it comes, from a file that is still written or from standard input (-), and print a violation
    /// the moment that it is certain; no report is written
    #[arg(long, conflicts_with = "export")]
    follow: bool,
    #[command(flatten)]
    export: ExportArgs,
}

/// Runs the verb: the worst code of all files.
pub fn run(args: CheckArgs) -> u8 {
    if let Some(format) = args.export.format() {
        return export(&args, format);
    }
    let policy = ExitPolicy {
        expect_fail: args.expect_fail,
        ..ExitPolicy::default()
    };
    if args.follow {
        return follow(&args, &policy);
    }
    let mut worst = (0, 0);
    for file in &args.files {
        let (rank, code) = match check(&args, file, &policy) {
            Ok((outcome, code)) => (rank(outcome), code),
            Err(Failed::Input(error)) => {
                complain(&error);
                (5, EXIT_USAGE)
            }
            Err(Failed::Harness(error)) => {
                complain(&error);
                (4, EXIT_HARNESS)
            }
        };
        if rank > worst.0 || worst.1 == 0 && code != 0 {
            worst = (rank, code);
        }
    }
    worst.1
}

/// Writes the one history that is given in another form.
fn export(args: &CheckArgs, format: ExportFormat) -> u8 {
    let written = match args.files.as_slice() {
        [file] => locate(file).and_then(|(history, _)| args.export.write(format, &history)),
        _ => Err(anyhow!("--export takes one history")),
    };
    match written {
        Ok(()) => 0,
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}

/// Judges the one history that is given as it comes.
fn follow(args: &CheckArgs, policy: &ExitPolicy) -> u8 {
    let follow = Follow {
        specification: args.spec.as_deref(),
        json: args.json,
        policy,
    };
    let followed = match args.files.as_slice() {
        [file] => follow.run(file),
        _ => Err(anyhow!("--follow takes one history")),
    };
    followed.unwrap_or_else(|error| {
        complain(&error);
        EXIT_USAGE
    })
}

/// The history at `path`: a file, or a directory of reports of etcd's robustness tests.
pub(super) fn open(path: &Path) -> anyhow::Result<Stream> {
    let stream = if path.is_dir() {
        Stream::of_reports(path)
    } else {
        Stream::open(path)
    };
    Ok(stream?)
}

/// A violation wins, then what could not be read, then a budget that ran out.
fn rank(outcome: RunOutcome) -> u8 {
    match outcome {
        RunOutcome::Violation => 6,
        RunOutcome::HarnessError => 4,
        RunOutcome::InsufficientCoverage | RunOutcome::Interrupted => 3,
        RunOutcome::Inconclusive => 2,
        RunOutcome::Pass => 1,
    }
}

enum Failed {
    Input(anyhow::Error),
    Harness(anyhow::Error),
}

fn check(args: &CheckArgs, given: &Path, policy: &ExitPolicy) -> Result<(RunOutcome, u8), Failed> {
    let (history, manifest) = locate(given).map_err(Failed::Input)?;
    let mut stream = open(&history).map_err(Failed::Input)?;
    let events = stream.by_ref().collect::<Result<Vec<_>, _>>();
    let events = events.map_err(|error| Failed::Input(error.into()))?;
    if stream.truncated() {
        eprintln!(
            "{}: its end was being written when it was cut off; what is whole is judged",
            history.display()
        );
    }
    let recognised = stream.specification();
    let specification = args
        .spec
        .clone()
        .or_else(|| {
            manifest
                .as_ref()
                .and_then(|manifest| manifest.config.get("workload"))
                .map(|name| {
                    let workload: Result<Workload, _> = name.parse();
                    workload.map_or_else(|_| name.clone(), |workload| workload.specification().to_owned())
                })
        })
        .or_else(|| recognised.or_else(|| recognise(&events)).map(str::to_owned))
        .or_else(|| matches!(stream.format(), Format::JsonLines | Format::Binary).then(|| "register".to_owned()));
    let Some(specification) = specification else {
        return Err(Failed::Input(anyhow!(
            "{}: its operations do not tell what object they are of; name it with --spec, one of {}",
            history.display(),
            known_specifications()
        )));
    };
    let options = tribunal_checker::Options {
        time: Some(args.check_time),
        memory_bytes: args.check_memory,
        steps: args.check_steps,
        consistency: args.consistency,
        ..Default::default()
    };
    let judgement = tribunal_checker::judge(&specification, &events, &options)
        .with_context(|| format!("{} cannot be judged", history.display()))
        .map_err(Failed::Input)?;
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let source = Source {
        history: &history,
        specification: &specification,
        manifest: manifest.as_ref(),
        stamp: &stamp,
    };
    let (report, dir) = again::write(&args.runs_dir, &source, &events, judgement, policy).map_err(Failed::Harness)?;
    if args.json {
        println!("{}", report.to_json_line());
    } else {
        print!("{}", tribunal_reports::last_lines(&report, &dir.display().to_string()));
    }
    Ok((report.verdict.outcome, report.verdict.exit_code))
}

fn known_specifications() -> String {
    let names: Vec<&str> = tribunal_checker::specifications()
        .iter()
        .map(|known| known.name)
        .collect();
    names.join(", ")
}

/// The history that was meant, and the manifest beside it if there is one.
fn locate(given: &Path) -> anyhow::Result<(PathBuf, Option<Manifest>)> {
    let (history, folder) = if tribunal_history::import::etcd::is_reports(given) {
        (given.to_owned(), given)
    } else if given.is_dir() {
        let found = ["history.jsonl.gz", "history.jsonl"]
            .map(|name| given.join(name))
            .into_iter()
            .find(|path| path.is_file());
        (
            found.with_context(|| format!("{} holds no history.jsonl or history.jsonl.gz", given.display()))?,
            given,
        )
    } else {
        (given.to_owned(), given.parent().unwrap_or(Path::new(".")))
    };
    let manifest = folder.join("run.json");
    let manifest = if manifest.is_file() {
        Some(Manifest::load(&manifest)?)
    } else {
        None
    };
    Ok((history, manifest))
}
