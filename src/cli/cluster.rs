//! `tribunal cluster`: the bundled store, started and kept until Ctrl-C.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tribunal_store::defect::Defect;

use super::run::interrupted;
use super::values::{nodes, positive_duration};
use super::{EXIT_HARNESS, complain};
use crate::campaign::outcome::EXIT_USAGE;
use crate::campaign::run_dir::RunDir;
use crate::world::NoRecorder;
use crate::world::process::{Cluster, ClusterConfig, System};

/// Flags of `tribunal cluster`.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// System to start: `builtin`, or `etcd[:BINARY]`
    #[arg(long, default_value = "builtin", value_name = "SYSTEM")]
    system: String,
    /// Nodes of the cluster
    #[arg(short, long, default_value = "3", value_parser = nodes, value_name = "N")]
    nodes: u16,
    /// Disk of the bundled store: `real` or `volatile`
    #[arg(long, default_value = "real", value_name = "KIND")]
    disk: String,
    /// Plant a bug in the bundled store; see `tribunal list defects`
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    defect: Vec<String>,
    /// Heartbeat interval of the nodes
    #[arg(long, default_value = "100ms", value_parser = positive_duration, value_name = "TIME")]
    heartbeat_interval: Duration,
    /// Election timeout of the nodes
    #[arg(long, default_value = "1s", value_parser = positive_duration, value_name = "TIME")]
    election_timeout: Duration,
    /// Folder for logs and data
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs_dir: PathBuf,
}

/// Runs the verb.
pub fn run(args: ClusterArgs) -> u8 {
    let known = args
        .defect
        .iter()
        .try_for_each(|name| name.parse::<Defect>().map(drop))
        .map_err(anyhow::Error::from);
    let system = known.and_then(|()| Ok(System::parse(&args.system, &args.disk, &args.defect)?));
    let system = match system {
        Ok(system) => system,
        Err(error) => {
            complain(&error);
            return EXIT_USAGE;
        }
    };
    match keep(args, system) {
        Ok(()) => 0,
        Err(error) => {
            complain(&error);
            EXIT_HARNESS
        }
    }
}

fn keep(args: ClusterArgs, system: System) -> anyhow::Result<()> {
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let dir = RunDir::create(&args.runs_dir, "cluster", &stamp, u64::from(std::process::id()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime does not start")?;
    let config = ClusterConfig {
        heartbeat: args.heartbeat_interval,
        election: args.election_timeout,
        bypass_links: true,
        keep_data: true,
        ..ClusterConfig::new(system, args.nodes, dir.path())
    };
    let ended = runtime.block_on(async {
        let cluster = Cluster::start(config, std::sync::Arc::new(NoRecorder)).await?;
        let endpoints: Vec<String> = cluster.endpoints().iter().map(|(_, at)| at.to_string()).collect();
        println!("endpoints: {}", endpoints.join(","));
        eprintln!("logs and data: {}; Ctrl-C ends it", dir.path().display());
        interrupted().await;
        cluster.shutdown().await
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended.map_err(Into::into)
}
