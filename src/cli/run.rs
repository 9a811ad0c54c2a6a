//! `tribunal run`: one campaign, from the plan to the report.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, FromArgMatches as _};
use tribunal_history::report::RunOutcome;
use tribunal_history::{Manifest, Record as _, Report};

use tribunal_store::defect::{Defect, Defects};
use tribunal_workload::Workload;

use super::values::{PerNode, WorldName, nodes, per_node, positive_duration, rate, size};
use super::{complain, interrupt, progress};
use crate::campaign::outcome::{EXIT_USAGE, ExitPolicy, FailOn};
use crate::campaign::plan::Simulated;
use crate::campaign::{Defendant, Plan, RunError, record};
use crate::world::process::{Snapshots, System};
use crate::world::simulation::swarm::{self, Shape};

/// Longest values that can be asked for: far from the 1.5 MiB that a request to etcd may have by default.
const VALUE_BYTES_MAX: i64 = 1 << 16;

/// Flags of `tribunal run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where it runs: `process` (real processes in real time) or `simulation` (the bundled store in virtual time,
    /// replayed exactly by its seed)
    #[arg(long, default_value = "process", value_enum, value_name = "WORLD")]
    world: WorldName,
    /// System under test: `builtin`, or `etcd[:BINARY]`
    #[arg(long, default_value = "builtin", value_name = "SYSTEM")]
    system: String,
    /// Nodes of the cluster [default: 3, in simulation drawn from the seed]
    #[arg(short, long, value_parser = nodes, value_name = "N")]
    nodes: Option<u16>,
    /// What the clients do; see `tribunal list workloads`
    #[arg(short, long, default_value = "register")]
    workload: String,
    /// Keys that the workload uses [default: 10, in simulation drawn from the seed]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: Option<u32>,
    /// Bytes of the longest values; the others have an eighth of that, two eighths and so on [default: 0, the number
    /// itself; in simulation drawn from the seed]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=VALUE_BYTES_MAX), value_name = "BYTES")]
    value_bytes: Option<u32>,
    /// Clients that work at a time: a number, or one for each node such as 4n [default: 4n, in simulation 5]
    #[arg(long, value_parser = per_node, value_name = "CLIENTS")]
    concurrency: Option<PerNode>,
    /// Operations a second, all clients together [default: 200, in simulation 100]
    #[arg(short, long, value_parser = rate)]
    rate: Option<f64>,
    /// Length of the phase under faults [default: 30s, in simulation 60s]
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    time_limit: Option<Duration>,
    /// A client gives an operation up as indeterminate after this time
    #[arg(long, default_value = "1s", value_parser = positive_duration, value_name = "TIME")]
    op_timeout: Duration,
    /// Faults: groups such as `kill`, `pause`, `partition`, `membership`, single kinds, `all` or `none`; see `tribunal list
    /// faults` [default: kill,pause,partition, in simulation all]
    #[arg(long, value_name = "KINDS")]
    nemesis: Option<String>,
    /// Mean time between the starts of two faults; by default such that every kind comes up
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    nemesis_interval: Option<Duration>,
    /// Everything random derives from it; drawn and printed if absent
    #[arg(long)]
    seed: Option<u64>,
    /// Plant a bug in the bundled store; see `tribunal list defects`
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    defect: Vec<String>,
    /// Disk of the bundled store: `volatile` loses un-synced writes with its process, `real` leaves them to the system
    #[arg(long, default_value = "volatile", value_name = "KIND")]
    disk: String,
    /// Heartbeat interval of the nodes [default: 100ms, in simulation drawn from the seed]
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    heartbeat_interval: Option<Duration>,
    /// Election timeout of the nodes [default: 500ms, in simulation drawn from the seed]
    #[arg(long, value_parser = positive_duration, value_name = "TIME")]
    election_timeout: Option<Duration>,
    /// Applied entries after which a node makes a snapshot, as etcd's flag [default: 100000, in simulation drawn from the
    /// seed]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT")]
    snapshot_count: Option<u64>,
    /// Entries that stay in the log after a snapshot, for nodes that are a little behind; the bundled store's [default:
    /// 5000, in simulation drawn from the seed]
    #[arg(long, value_name = "COUNT")]
    snapshot_catchup_entries: Option<u64>,
    /// After the heal, each node must serve within this time
    #[arg(long, default_value = "15s", value_parser = positive_duration, value_name = "TIME")]
    liveness_bound: Duration,
    /// Operations that must end ok for the run to count; by default 10 for each second under faults
    #[arg(long, value_name = "COUNT")]
    min_ok: Option<u64>,
    /// Time that the checker may take before it answers unknown
    #[arg(long, default_value = "60s", value_parser = positive_duration, value_name = "TIME")]
    check_time: Duration,
    /// Memory that the checker may take before it answers unknown
    #[arg(long, default_value = "4GiB", value_parser = size, value_name = "SIZE")]
    check_memory: u64,
    /// Steps of search that the checker may take before it answers unknown
    #[arg(long, default_value_t = tribunal_checker::Options::default().steps, value_name = "COUNT")]
    check_steps: u64,
    /// Folder of the run directories
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs_dir: PathBuf,
    /// Name of the folder in it
    #[arg(long, default_value = "run", value_parser = plain_name)]
    name: String,
    /// Keep the nodes' data after a pass too
    #[arg(long)]
    keep_data: bool,
    /// Take the settings of an earlier run, given by its run directory
    #[arg(long, value_name = "RUN", conflicts_with_all = ["world", "system", "nodes", "workload", "seed", "defect", "nemesis", "time_limit", "concurrency", "rate", "keys", "value_bytes"])]
    from: Option<PathBuf>,
    /// Run it so many times, and say how often it was violated
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "TIMES")]
    repeat: u32,
    /// Outcomes that make a non-zero exit code: violation, harness, coverage, inconclusive
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "violation,harness,coverage,inconclusive",
        value_name = "OUTCOMES"
    )]
    fail_on: Vec<FailOn>,
    /// A violation is what is wanted: swaps exit codes 0 and 1
    #[arg(long)]
    expect_fail: bool,
    /// In simulation: write everything that happened into this file, to compare runs byte for byte
    #[arg(long, value_name = "FILE", hide = true)]
    trace: Option<PathBuf>,
    /// Print the report as one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// A folder's name, and nothing that leads out of its folder.
fn plain_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(plain) {
        return Err("expected letters, digits, `-`, `_` and `.`, not beginning with `.`".to_owned());
    }
    Ok(text.to_owned())
}

/// Runs the verb.
pub fn run(args: RunArgs) -> u8 {
    let args = match args.from.clone().map(|from| repeated(&args, &from)).transpose() {
        Ok(repeated) => repeated.unwrap_or(args),
        Err(error) => {
            complain(&error);
            return EXIT_USAGE;
        }
    };
    let policy = ExitPolicy {
        fail_on: args.fail_on.iter().copied().collect(),
        expect_fail: args.expect_fail,
    };
    let mut tally = Tally::default();
    for round in 1..=args.repeat {
        let plan = match args.plan() {
            Ok(plan) => plan,
            Err(error) => {
                complain(&error);
                return EXIT_USAGE;
            }
        };
        match execute(&plan, &policy, args.json, args.trace.as_deref()) {
            Ok(report) => {
                tally.count(report.verdict.outcome, policy.code(report.verdict.outcome));
                if report.verdict.outcome == RunOutcome::Interrupted {
                    break;
                }
            }
            Err(error) => {
                complain(&error);
                tally.count(RunOutcome::HarnessError, policy.code(RunOutcome::HarnessError));
            }
        }
        if args.repeat > 1 {
            eprintln!("{} after {round} of {} runs", tally.sentence(), args.repeat);
        }
    }
    if args.repeat > 1 && !args.json {
        println!("{}", tally.sentence());
    }
    tally.code
}

/// Runs one plan with its progress shown, and prints how it ended. The trace of a simulated run goes into `trace`.
pub fn execute(plan: &Plan, policy: &ExitPolicy, json: bool, trace: Option<&Path>) -> anyhow::Result<Report> {
    eprintln!("seed {}", plan.seed);
    eprintln!("run again: {}", plan.command());
    let shown = progress::Shown::new(plan.time_limit);
    let result = match &plan.defendant {
        Defendant::Process(system) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("the runtime does not start")?;
            let result = runtime.block_on(crate::campaign::run::run(plan, system, policy, &shown, interrupted()));
            runtime.shutdown_timeout(Duration::from_secs(2));
            result
        }
        Defendant::Simulation(_) => {
            let interrupt = interrupt::flag().context("signals cannot be watched")?;
            let result = crate::campaign::simulated::run(plan, policy, &shown, &interrupt, trace.is_some());
            result.and_then(|(report, dir, ended)| {
                if let (Some(path), Some(bytes)) = (trace, &ended.trace) {
                    std::fs::write(path, bytes).map_err(RunError::write(path))?;
                }
                Ok((report, dir))
            })
        }
    };
    shown.finish();
    let (report, dir) = result.map_err(|error: RunError| anyhow::Error::new(error))?;
    if json {
        println!("{}", report.to_json_line());
    } else {
        print!("{}", tribunal_reports::last_lines(&report, &dir.display().to_string()));
    }
    Ok(report)
}

/// Ends when somebody presses Ctrl-C or asks the tool to terminate.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut waits = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        if let Ok(mut signal) = signal(kind) {
            waits.push(Box::pin(async move { signal.recv().await }));
        }
    }
    if waits.is_empty() {
        return std::future::pending().await;
    }
    std::future::poll_fn(|context| {
        let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<&'static str, u32>,
    runs: u32,
    rank: u8,
    code: u8,
}

impl Tally {
    /// A violation wins, then 4, 3, 2; an interruption only over a pass.
    fn count(&mut self, outcome: RunOutcome, code: u8) {
        let (name, rank) = match outcome {
            RunOutcome::Pass => ("passed", 0),
            RunOutcome::Interrupted => ("interrupted", 1),
            RunOutcome::Inconclusive => ("inconclusive", 2),
            RunOutcome::InsufficientCoverage => ("without enough coverage", 3),
            RunOutcome::HarnessError => ("not started", 4),
            RunOutcome::Violation => ("violated", 5),
        };
        *self.outcomes.entry(name).or_default() += 1;
        if self.runs == 0 || rank > self.rank {
            self.rank = rank;
            self.code = code;
        }
        self.runs += 1;
    }

    fn sentence(&self) -> String {
        let violated = self.outcomes.get("violated").copied().unwrap_or(0);
        let rest: Vec<String> = self
            .outcomes
            .iter()
            .filter(|(name, _)| **name != "violated")
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let rest = if rest.is_empty() {
            String::new()
        } else {
            format!(" ({})", rest.join(", "))
        };
        format!("reproduced {violated} of {}{rest}", self.runs)
    }
}

/// The settings of the run in `from`, with what this command line says of repeating and exit codes.
fn repeated(args: &RunArgs, from: &Path) -> anyhow::Result<RunArgs> {
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

    /// Checks every value and resolves what depends on others.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let workload: Workload = self.workload.parse()?;
        let system = System::parse(&self.system, &self.disk, &self.defect)?;
        let possible = match self.world {
            WorldName::Process => system.kinds(),
            WorldName::Simulation => crate::world::simulation::ABILITIES.into(),
        };
        let kinds = tribunal_nemesis::parse_kinds(self.nemesis(), &possible)?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => draw_seed()?,
        };
        let Shape {
            nodes,
            keys,
            value_bytes,
            heartbeat,
            election,
        } = self.shape(seed);
        if election < heartbeat * 5 {
            bail!("--election-timeout must be at least five times --heartbeat-interval");
        }
        let defects: Defects = self
            .defect
            .iter()
            .map(|name| name.parse::<Defect>())
            .collect::<Result<_, _>>()?;
        let snapshots = self.snapshots(&system)?;
        let defendant = match (self.world, system) {
            (WorldName::Process, system) => Defendant::Process(system),
            (WorldName::Simulation, System::Builtin(_)) => Defendant::Simulation(Box::new(Simulated {
                defects,
                weather: swarm::weather(seed),
                kept: None,
                schedule: None,
                is_drawn: true,
            })),
            (WorldName::Simulation, System::Etcd(_)) => {
                bail!("only the bundled store runs in simulation; leave out --system, or run it on processes");
            }
        };
        if self.trace.is_some() && !defendant.is_simulated() {
            bail!("--trace needs --world simulation");
        }
        let started = jiff::Timestamp::now();
        let (rate, time_limit) = (self.rate(), self.time_limit());
        let seconds = time_limit.as_secs_f64();
        let mut plan = Plan {
            runs_dir: self.runs_dir.clone(),
            name: self.name.clone(),
            seed,
            defendant,
            nodes,
            workload,
            keys,
            value_bytes,
            clients: self.concurrency().resolve(nodes),
            rate,
            time_limit,
            op_timeout: self.op_timeout,
            kinds,
            interval: self.nemesis_interval,
            heartbeat,
            election,
            snapshots,
            liveness_bound: self.liveness_bound,
            ok_min: self
                .min_ok
                .unwrap_or(((seconds * 10.0_f64.min(rate / 4.0)) as u64).max(1)),
            check: tribunal_checker::Options {
                time: Some(self.check_time),
                memory_bytes: self.check_memory,
                steps: self.check_steps,
                ..Default::default()
            },
            keep_data: self.keep_data,
            argv: std::env::args().collect(),
            config: self.config(seed),
            started: started.strftime("%Y-%m-%dT%H-%M-%SZ").to_string(),
        };
        // What is run is what its record says, to the last digit.
        if let Some(record) = record::of(&plan, &plan.schedule()) {
            record::apply(&record, &mut plan)?;
        }
        if let Defendant::Simulation(simulated) = &mut plan.defendant {
            simulated.is_drawn = true;
        }
        Ok(plan)
    }

    /// What is given by hand, and what the world has by default.
    fn shape(&self, seed: u64) -> Shape {
        let default = match self.world {
            WorldName::Process => Shape {
                nodes: 3,
                keys: 10,
                value_bytes: 0,
                heartbeat: Duration::from_millis(100),
                election: Duration::from_millis(500),
            },
            WorldName::Simulation => swarm::shape(seed),
        };
        Shape {
            nodes: self.nodes.unwrap_or(default.nodes),
            keys: self.keys.unwrap_or(default.keys),
            value_bytes: self.value_bytes.unwrap_or(default.value_bytes),
            heartbeat: self.heartbeat_interval.unwrap_or(default.heartbeat),
            election: self.election_timeout.unwrap_or(default.election),
        }
    }

    /// Members are changed where that is asked for: it takes nodes beside those of `--nodes`, and time from other faults.
    fn nemesis(&self) -> &str {
        self.nemesis.as_deref().unwrap_or(match self.world {
            WorldName::Process => "kill,pause,partition",
            WorldName::Simulation => "all",
        })
    }

    fn snapshots(&self, system: &System) -> anyhow::Result<Snapshots> {
        let snapshots = Snapshots {
            count: self.snapshot_count,
            catchup_entries: self.snapshot_catchup_entries,
        };
        if self.world == WorldName::Simulation && snapshots != Snapshots::default() {
            bail!("in simulation the seed draws how the log is kept short; leave out --snapshot-*");
        }
        if snapshots.catchup_entries.is_some() && matches!(system, System::Etcd(_)) {
            bail!("etcd's flag for --snapshot-catchup-entries is experimental and not passed on; leave it out");
        }
        Ok(snapshots)
    }

    fn concurrency(&self) -> PerNode {
        self.concurrency.unwrap_or(match self.world {
            WorldName::Process => PerNode::each(4),
            WorldName::Simulation => PerNode::all(5),
        })
    }

    fn rate(&self) -> f64 {
        self.rate.unwrap_or(match self.world {
            WorldName::Process => 200.0,
            WorldName::Simulation => 100.0,
        })
    }

    fn time_limit(&self) -> Duration {
        self.time_limit.unwrap_or(match self.world {
            WorldName::Process => Duration::from_secs(30),
            WorldName::Simulation => Duration::from_secs(60),
        })
    }

    /// Every setting that decides the run, by its flag's name.
    fn config(&self, seed: u64) -> BTreeMap<String, String> {
        let time = |duration: Duration| humantime::format_duration(duration).to_string().replace(' ', "");
        let mut config: BTreeMap<String, String> = [
            ("system", self.system.clone()),
            ("workload", self.workload.clone()),
            ("concurrency", self.concurrency().to_string()),
            ("rate", self.rate().to_string()),
            ("time-limit", time(self.time_limit())),
            ("op-timeout", time(self.op_timeout)),
            ("nemesis", self.nemesis().to_owned()),
            ("seed", seed.to_string()),
            ("liveness-bound", time(self.liveness_bound)),
        ]
        .into_iter()
        .map(|(flag, value)| (flag.to_owned(), value))
        .collect();
        let mut add = |flag: &str, value: String| {
            config.insert(flag.to_owned(), value);
        };
        match self.world {
            WorldName::Process => {
                let shape = self.shape(seed);
                add("nodes", shape.nodes.to_string());
                add("keys", shape.keys.to_string());
                add("value-bytes", shape.value_bytes.to_string());
                add("heartbeat-interval", time(shape.heartbeat));
                add("election-timeout", time(shape.election));
                if self.system == "builtin" {
                    add("disk", self.disk.clone());
                }
                if let Some(count) = self.snapshot_count {
                    add("snapshot-count", count.to_string());
                }
                if let Some(count) = self.snapshot_catchup_entries {
                    add("snapshot-catchup-entries", count.to_string());
                }
            }
            // What is not given follows from the seed.
            WorldName::Simulation => {
                add("world", "simulation".to_owned());
                let given = [
                    ("nodes", self.nodes.map(|nodes| nodes.to_string())),
                    ("keys", self.keys.map(|keys| keys.to_string())),
                    ("value-bytes", self.value_bytes.map(|bytes| bytes.to_string())),
                    ("heartbeat-interval", self.heartbeat_interval.map(time)),
                    ("election-timeout", self.election_timeout.map(time)),
                ];
                for (flag, value) in given {
                    if let Some(value) = value {
                        add(flag, value);
                    }
                }
            }
        }
        if let Some(interval) = self.nemesis_interval {
            config.insert("nemesis-interval".to_owned(), time(interval));
        }
        if let Some(min_ok) = self.min_ok {
            config.insert("min-ok".to_owned(), min_ok.to_string());
        }
        if !self.defect.is_empty() {
            config.insert("defect".to_owned(), self.defect.join(","));
        }
        config
    }
}

/// A seed from the system's randomness; printed before anything else, so that it is never lost.
pub(super) fn draw_seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("no randomness for a seed; give one with --seed")?;
    // Short enough to be read aloud.
    Ok(u64::from_le_bytes(bytes) % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_repeated_from_its_recorded_settings() {
        let args = RunArgs::from_words(&[
            "--time-limit",
            "1m 5s",
            "-n5",
            "--seed",
            "9",
            "--nemesis",
            "kill,pause",
            "--concurrency",
            "3n",
        ]);
        let config = args.config(9);
        assert_eq!(config["time-limit"], "1m5s");
        let words: Vec<String> = config.iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(RunArgs::from_words(&words).config(9), config);
    }

    #[test]
    fn a_violation_wins_in_a_tally() {
        let mut tally = Tally::default();
        for (outcome, code) in [
            (RunOutcome::Pass, 0),
            (RunOutcome::Violation, 1),
            (RunOutcome::HarnessError, 4),
        ] {
            tally.count(outcome, code);
        }
        assert_eq!(
            (tally.code, tally.sentence().as_str()),
            (1, "reproduced 1 of 3 (1 not started, 1 passed)")
        );
    }
}
