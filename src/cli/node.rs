//! `tribunal node`: one node of the bundled store, with etcd's flag names.

use std::path::PathBuf;

use clap::Args;
use tribunal_store::consensus::ENTRIES_KEPT;
use tribunal_store::defect::Defect;
use tribunal_store::real::{DiskKind, NodeConfig};

use super::EXIT_HARNESS;
use super::run::interrupted;
use crate::campaign::outcome::EXIT_USAGE;

/// Flags of `tribunal node`. Those of etcd have etcd's names and meaning.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// Name of this member
    #[arg(long, default_value = "default")]
    name: String,
    /// Folder of its data
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// URLs to serve clients on
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379",
        value_name = "URLS"
    )]
    listen_client_urls: Vec<String>,
    /// URLs that clients are told; by default those it listens on
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    advertise_client_urls: Vec<String>,
    /// URLs to listen on for the other members
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2380",
        value_name = "URLS"
    )]
    listen_peer_urls: Vec<String>,
    /// URLs that the other members are told; by default those it listens on
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    initial_advertise_peer_urls: Vec<String>,
    /// Members to begin with: NAME=URL,NAME=URL,…; by default this one alone
    #[arg(long, value_delimiter = ',', value_name = "MEMBERS")]
    initial_cluster: Vec<String>,
    /// `new`, or `existing`: this member is added to a cluster that runs; `--initial-cluster` names who is there
    #[arg(long, default_value = "new", value_parser = ["new", "existing"], value_name = "STATE")]
    initial_cluster_state: String,
    /// Keeps clusters apart
    #[arg(long, default_value = "tribunal-cluster", value_name = "TOKEN")]
    initial_cluster_token: String,
    /// Heartbeat interval in milliseconds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000), value_name = "MS")]
    heartbeat_interval: u64,
    /// Election timeout in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(5..=600_000), value_name = "MS")]
    election_timeout: u64,
    /// Applied entries after which a snapshot is made
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT")]
    snapshot_count: u64,
    /// Entries that stay in the log after a snapshot, for members that are a little behind
    #[arg(long, default_value_t = ENTRIES_KEPT, value_name = "COUNT")]
    snapshot_catchup_entries: u64,
    /// `real`, or `volatile`: un-synced writes are lost with the process
    #[arg(long, default_value = "real", value_name = "KIND")]
    disk: String,
    /// Bugs to plant; see `tribunal list defects`
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    defect: Vec<String>,
    /// File to record evidence in
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// How many times this member was started before
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    incarnation: u32,
}

/// Runs the verb.
pub fn run(args: NodeArgs) -> u8 {
    let config = match config(args) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("error: {message}");
            return EXIT_USAGE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime does not start: {error}");
            return EXIT_HARNESS;
        }
    };
    match runtime.block_on(tribunal_store::real::run(config, interrupted())) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            EXIT_HARNESS
        }
    }
}

fn config(args: NodeArgs) -> Result<NodeConfig, String> {
    let or = |given: Vec<String>, default: &[String]| if given.is_empty() { default.to_vec() } else { given };
    let advertise_client_urls = or(args.advertise_client_urls, &args.listen_client_urls);
    let advertise_peer_urls = or(args.initial_advertise_peer_urls, &args.listen_peer_urls);
    let mut initial_cluster: Vec<(String, Vec<String>)> = Vec::new();
    for member in &args.initial_cluster {
        let (name, url) = member
            .split_once('=')
            .ok_or_else(|| format!("--initial-cluster: {member:?} is not of the form NAME=URL"))?;
        match initial_cluster.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url.to_owned()),
            None => initial_cluster.push((name.to_owned(), vec![url.to_owned()])),
        }
    }
    if initial_cluster.is_empty() {
        initial_cluster.push((args.name.clone(), advertise_peer_urls.clone()));
    }
    if initial_cluster.iter().all(|(name, _)| *name != args.name) {
        return Err(format!(
            "--initial-cluster does not name this member, {:?}; etcd's rule is that it must",
            args.name
        ));
    }
    let disk = match args.disk.as_str() {
        "real" => DiskKind::Real,
        "volatile" => DiskKind::Volatile,
        other => return Err(format!("--disk {other:?} is neither real nor volatile")),
    };
    let defects = args
        .defect
        .iter()
        .map(|name| name.parse::<Defect>().map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    Ok(NodeConfig {
        name: args.name,
        data_dir: args.data_dir,
        listen_client_urls: args.listen_client_urls,
        advertise_client_urls,
        listen_peer_urls: args.listen_peer_urls,
        advertise_peer_urls,
        initial_cluster,
        joins: args.initial_cluster_state == "existing",
        cluster_token: args.initial_cluster_token,
        heartbeat_ms: args.heartbeat_interval,
        election_ms: args.election_timeout,
        snapshot_count: args.snapshot_count,
        entries_kept: args.snapshot_catchup_entries,
        disk,
        defects,
        evidence: args.evidence,
        incarnation: args.incarnation,
        seed: None,
    })
}
