//! The flags of `tribunal run`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, FromArgMatches as _};
use tribunal_history::{Manifest, Record as _};

use crate::campaign::outcome::FailOn;
use crate::cli::values::{PerNode, WorldName, nodes, per_node, positive_duration, rate, size};

/// Longest values that can be asked for: far from the 1.5 MiB that a request to etcd may have by default.
const VALUE_BYTES_MAX: i64 = 1 << 16;

/// Flags of `tribunal run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where it runs: `process` (real processes in real time) or `simulation` (the bundled store in virtual time,
    /// replayed exactly by its seed)
    #[arg(long, default_value = "process", value_enum, value_name = "WORLD")]
    pub(super) world: WorldName,
    /// System under test: `builtin`, or `etcd[:BINARY]`
    #[arg(long, default_value = "builtin", value_name = "SYSTEM")]
    pub(super) system: String,
    /// Nodes of the cluster [default: 3, in simulation drawn from the seed]
    #[arg(short, long, value_parser = nodes, value_name = "N")]
    pub(super) nodes: Option<u16>,
    /// What the clients do; see `tribunal list workloads`
    #[arg(short, long, default_value = "register")]
    pub(super) workload: String,
    /// Keys that the workload uses [default: 10, in simulation drawn from the seed]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) keys: Option<u32>,
    /// Bytes of the longest values; the others have an eighth of that, two eighths and so on [default: 0, the number
    /// itself; in simulation drawn from the seed]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=VALUE_BYTES_MAX), value_name = "BYTES")]
    pub(super) value_bytes: Option<u32>,
    /// Clients that work at a time: a number, or one for each node such as 4n [default: 4n, in simulation 5]
    #[arg(long, value_parser = per_node, value_name = "CLIENTS")]
    pub(super) concurrency: Option<PerNode>,
    /// Operations a second, all clients together [default: 200, in simulation 100]
    #[arg(short, long, value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Length of the phase under faults [default: 30s, in simulation 60s]
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    pub(super) time_limit: Option<Duration>,
    /// A client gives an operation up as indeterminate after this time
    #[arg(long, default_value = "1s", value_parser = positive_duration, value_name = "TIME")]
    pub(super) op_timeout: Duration,
    /// Faults: groups such as `kill`, `pause`, `partition`, `membership`, single kinds, `all` or `none`; see `tribunal list
    /// faults` [default: kill,pause,partition, in simulation all]
    #[arg(long, value_name = "KINDS")]
    pub(super) nemesis: Option<String>,
    /// Mean time between the starts of two faults; by default such that every kind comes up
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    pub(super) nemesis_interval: Option<Duration>,
    /// Everything random derives from it; drawn and printed if absent
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Plant a bug in the bundled store; see `tribunal list defects`
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(super) defect: Vec<String>,
    /// Disk of the bundled store: `volatile` loses un-synced writes with its process, `real` leaves them to the system
    #[arg(long, default_value = "volatile", value_name = "KIND")]
    pub(super) disk: String,
    /// Heartbeat interval of the nodes [default: 100ms, in simulation drawn from the seed]
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    pub(super) heartbeat_interval: Option<Duration>,
    /// Election timeout of the nodes [default: 500ms, in simulation drawn from the seed]
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    pub(super) election_timeout: Option<Duration>,
    /// Applied entries after which a node makes a snapshot, as etcd's flag [default: 100000, in simulation drawn from the
    /// seed]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT")]
    pub(super) snapshot_count: Option<u64>,
    /// Entries that stay in the log after a snapshot, for nodes that are a little behind; the bundled store's [default:
    /// 5000, in simulation drawn from the seed]
    #[arg(long, value_name = "COUNT")]
    pub(super) snapshot_catchup_entries: Option<u64>,
    /// After the heal, each node must serve within this time
    #[arg(long, default_value = "15s", value_parser = positive_duration, value_name = "TIME")]
    pub(super) liveness_bound: Duration,
    /// Operations that must end ok for the run to count; by default 10 for each second under faults
    #[arg(long, value_name = "COUNT")]
    pub(super) min_ok: Option<u64>,
    /// Time that the checker may take before it answers unknown
    #[arg(long, default_value = "60s", value_parser = positive_duration, value_name = "TIME")]
    pub(super) check_time: Duration,
    /// Memory that the checker may take before it answers unknown
    #[arg(long, default_value = "4GiB", value_parser = size, value_name = "SIZE")]
    pub(super) check_memory: u64,
    /// Steps of search that the checker may take before it answers unknown
    #[arg(long, default_value_t = tribunal_checker::Options::default().steps, value_name = "COUNT")]
    pub(super) check_steps: u64,
    /// Folder of the run directories
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub(super) runs_dir: PathBuf,
    /// Name of the folder in it
    #[arg(long, default_value = "run", value_parser = plain_name)]
    pub(super) name: String,
    /// Keep the nodes' data after a pass too
    #[arg(long)]
    pub(super) keep_data: bool,
    /// Take the settings of an earlier run, given by its run directory
    #[arg(long, value_name = "RUN", conflicts_with_all = ["world", "system", "nodes", "workload", "seed", "defect", "nemesis", "time_limit", "concurrency", "rate", "keys", "value_bytes"])]
    pub(super) from: Option<PathBuf>,
    /// Run it so many times, and say how often it was violated
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "TIMES")]
    pub(super) repeat: u32,
    /// Outcomes that make a non-zero exit code: violation, harness, coverage, inconclusive
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "violation,harness,coverage,inconclusive",
        value_name = "OUTCOMES"
    )]
    pub(super) fail_on: Vec<FailOn>,
    /// A violation is what is wanted: swaps exit codes 0 and 1
    #[arg(long)]
    pub(super) expect_fail: bool,
    /// In simulation: write everything that happened into this file, to compare runs byte for byte
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) trace: Option<PathBuf>,
    /// Print the report as one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// A folder's name, and nothing that leads out of its folder.
fn plain_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(plain) {
        return Err("expected letters, digits, `-`, `_` and `.`, not beginning with `.`".to_owned());
    }
    Ok(text.to_owned())
}

impl RunArgs {
    /// The arguments that `words` give, everything else by default.
    pub fn from_words(words: &[&str]) -> Self {
        let command = RunArgs::augment_args(clap::Command::new("run").no_binary_name(true));
        let matches = command
            .try_get_matches_from(words)
            .unwrap_or_else(|error| panic!("our own words: {error}"));
        RunArgs::from_arg_matches(&matches).unwrap_or_else(|error| panic!("our own words: {error}"))
    }

    /// Plants a bug, and puts the run into `runs_dir`.
    pub fn plant(&mut self, defect: &str, runs_dir: PathBuf) {
        self.defect = vec![defect.to_owned()];
        self.runs_dir = runs_dir;
    }

    /// The arguments that `words` give, everything else by default.
    ///
    /// # Errors
    /// If they are not all flags of `tribunal run`.
    pub fn parse_words(words: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let command = RunArgs::augment_args(clap::Command::new("run").no_binary_name(true));
        let matches = command.try_get_matches_from(words)?;
        Ok(RunArgs::from_arg_matches(&matches)?)
    }

    /// Puts the run into this folder.
    pub fn write_into(&mut self, runs_dir: PathBuf) {
        self.runs_dir = runs_dir;
    }

    /// The same with this seed.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self.clone()
        }
    }
}

/// The settings of the run in `from`, with what this command line says of repeating and exit codes.
pub(super) fn repeated(args: &RunArgs, from: &Path) -> anyhow::Result<RunArgs> {
    let path = from.join("run.json");
    let manifest = Manifest::load(&path)
        .with_context(|| format!("{} is not a run directory that can be repeated", from.display()))?;
    let mut words = vec!["run".to_owned()];
    for (flag, value) in &manifest.config {
        words.push(format!("--{flag}={value}"));
    }
    let command = RunArgs::augment_args(clap::Command::new("run"));
    let matches = command
        .try_get_matches_from(words)
        .with_context(|| format!("{} has settings that this version does not know", path.display()))?;
    let mut restored = RunArgs::from_arg_matches(&matches)?;
    restored.repeat = args.repeat;
    restored.fail_on = args.fail_on.clone();
    restored.expect_fail = args.expect_fail;
    restored.json = args.json;
    restored.keep_data = args.keep_data;
    restored.runs_dir = args.runs_dir.clone();
    Ok(restored)
}
