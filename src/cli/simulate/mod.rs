//! `tribunal simulate`: seed after seed in virtual time, until something is found.
//!
//! Each job is a process of our own binary that runs one seed after the other and keeps nothing. A seed that does not
//! pass is run once more in a process of its own, which must come to the same end and writes the run directory. Jobs
//! share nothing, so a seed that kills its process costs that seed and no other.

mod seeds;
mod shown;
mod summary;
mod sweep;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tribunal_history::Record as _;

use super::run::{RunArgs, draw_seed};
use super::values::{Seeds, positive_duration, seeds as parse_seeds};
use super::{complain, interrupt};
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy};
use seeds::Supply;
pub(super) use worker::Quiet;
pub use worker::{WorkerArgs, run as run_worker};

/// Flags of `tribunal simulate`.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Seeds from A to B, both included, such as 1..1000
    #[arg(long, value_parser = parse_seeds, value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// A single seed
    #[arg(long)]
    seed: Option<u64>,
    /// Go on for so long; without seeds given, with seeds from a drawn number on
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    budget: Option<Duration>,
    #[command(flatten)]
    passed: Passed,
    /// Stop at the first seed that fails
    #[arg(long)]
    fail_fast: bool,
    /// Stop after so many seeds that failed
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    stop_after: Option<u64>,
    /// Processes that run seeds at a time [default: one for each core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Folder of the run directories; the first seeds that fail get one each
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs_dir: PathBuf,
    /// A violation is what is wanted: swaps exit codes 0 and 1
    #[arg(long)]
    expect_fail: bool,
    /// Print the summary as one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Flags that each seed is run with, as those of `tribunal run`.
#[derive(Clone, Debug, Args)]
pub struct Passed {
    /// Simulated time under faults, for each seed
    #[arg(long, default_value = "60s", value_name = "TIME")]
    time_limit: String,
    /// Plant a bug in the bundled store; see `tribunal list defects --world simulation`
    #[arg(long, value_name = "NAME")]
    defect: Option<String>,
    /// Nodes of the cluster [default: drawn from the seed]
    #[arg(short, long, value_name = "N")]
    nodes: Option<String>,
    /// What the clients do; see `tribunal list workloads`
    #[arg(short, long)]
    workload: Option<String>,
    /// Keys that the workload uses [default: drawn from the seed]
    #[arg(long)]
    keys: Option<String>,
    /// Bytes of the longest values [default: drawn from the seed]
    #[arg(long, value_name = "BYTES")]
    value_bytes: Option<String>,
    /// Clients that work at a time
    #[arg(long, value_name = "CLIENTS")]
    concurrency: Option<String>,
    /// Operations a second, all clients together
    #[arg(short, long)]
    rate: Option<String>,
    /// Faults: groups, single kinds, `all` or `none`; see `tribunal list faults`
    #[arg(long, value_name = "KINDS")]
    nemesis: Option<String>,
    /// Mean time between the starts of two faults
    #[arg(long, value_name = "TIME")]
    nemesis_interval: Option<String>,
    /// Heartbeat interval of the nodes [default: drawn from the seed]
    #[arg(long, value_name = "TIME")]
    heartbeat_interval: Option<String>,
    /// Election timeout of the nodes [default: drawn from the seed]
    #[arg(long, value_name = "TIME")]
    election_timeout: Option<String>,
}

impl Passed {
    /// The words that were given.
    fn words(&self) -> Vec<String> {
        let given = [
            ("time-limit", Some(&self.time_limit)),
            ("defect", self.defect.as_ref()),
            ("nodes", self.nodes.as_ref()),
            ("workload", self.workload.as_ref()),
            ("keys", self.keys.as_ref()),
            ("value-bytes", self.value_bytes.as_ref()),
            ("concurrency", self.concurrency.as_ref()),
            ("rate", self.rate.as_ref()),
            ("nemesis", self.nemesis.as_ref()),
            ("nemesis-interval", self.nemesis_interval.as_ref()),
            ("heartbeat-interval", self.heartbeat_interval.as_ref()),
            ("election-timeout", self.election_timeout.as_ref()),
        ];
        let given = given.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        given.map(|(flag, value)| format!("--{flag}={value}")).collect()
    }

    /// The settings of a run.
    fn run(&self) -> anyhow::Result<RunArgs> {
        let own = ["--world=simulation", "--name=simulate"].map(str::to_owned);
        RunArgs::parse_words(own.into_iter().chain(self.words()))
    }
}

/// Runs the verb.
pub fn run(args: SimulateArgs) -> u8 {
    match sweep(&args) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}

fn sweep(args: &SimulateArgs) -> anyhow::Result<u8> {
    // A wrong flag is said here, once, and not by every job.
    let run = args.passed.run()?;
    run.with_seed(0).plan()?;
    let seeds = match (args.seeds, args.seed, args.budget) {
        (Some(seeds), _, _) => seeds,
        (None, Some(seed), _) => Seeds {
            first: seed,
            last: seed,
        },
        (None, None, Some(_)) => Seeds {
            first: draw_seed()?,
            last: u64::MAX,
        },
        (None, None, None) => bail!("which seeds? Give --seeds A..B, --seed N or --budget TIME"),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = sweep::Settings {
        words: args.passed.words(),
        jobs: args.jobs.map_or(cores, usize::from),
        runs_dir: args.runs_dir.clone(),
        budget: args.budget,
    };
    let supply = Supply::new(seeds, args.fail_fast, args.stop_after);
    let interrupted = interrupt::flag().context("signals cannot be watched")?;
    eprintln!("seeds from {} on, {} at a time", seeds.first, settings.jobs);
    let policy = ExitPolicy {
        expect_fail: args.expect_fail,
        ..ExitPolicy::default()
    };
    let (summary, took) = sweep::run(&settings, supply, &interrupted, &policy);
    if args.json {
        println!("{}", summary.to_json_line());
    } else {
        print!("{}", summary::text(&summary, took, &args.passed.words()));
    }
    Ok(summary.exit_code)
}
