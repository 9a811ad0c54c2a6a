//! How a process is configured, and why it cannot go on.

use std::io;
use std::path::PathBuf;

use crate::consensus::StartError;
use crate::defect::Defects;
use crate::wal::WalError;

/// What happens to writes that were not synced when the process dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskKind {
    /// The system keeps them unless it dies too.
    #[default]
    Real,
    /// They are lost, as if the machine had died: they stay in process memory until they are synced.
    Volatile,
}

/// Configuration of a member; the fields mean what etcd's flags of the same names mean.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// Folder of its data.
    pub data_dir: PathBuf,
    /// Where it serves clients.
    pub listen_client_urls: Vec<String>,
    /// Where clients are told to reach it.
    pub advertise_client_urls: Vec<String>,
    /// Where it serves the other members.
    pub listen_peer_urls: Vec<String>,
    /// Where the other members are told to reach it; the initial cluster counts.
    pub advertise_peer_urls: Vec<String>,
    /// Names and peer URLs of all members, the same on each.
    pub initial_cluster: Vec<(String, Vec<String>)>,
    /// The cluster exists: this member has been, or will be, added to it (`MemberAdd`), and asks the others in
    /// `initial_cluster` who it is.
    pub joins: bool,
    /// Keeps clusters apart that have the same URLs.
    pub cluster_token: String,
    /// Between a leader's heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// An election starts after one and a half to two of these without a heartbeat, in milliseconds.
    pub election_ms: u64,
    /// Entries between snapshots.
    pub snapshot_count: u64,
    /// Entries that stay in the log after a snapshot.
    pub entries_kept: u64,
    /// What un-synced writes are.
    pub disk: DiskKind,
    /// Planted bugs.
    pub defects: Defects,
    /// File for evidence; none to record none.
    pub evidence: Option<PathBuf>,
    /// How many times this member was started before.
    pub incarnation: u32,
    /// Fixes what this process draws for itself; drawn from the system if none.
    pub seed: Option<u64>,
}

/// Why a member cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Somebody listens there.
    #[error("cannot listen on {address}: the address is in use; is another node running there?")]
    AddressInUse {
        /// Host and port.
        address: String,
    },
    /// The system does not let it listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Not a URL that can be listened on or reached.
    #[error("{url:?} is not a URL of the form http://HOST:PORT")]
    Url {
        /// The text.
        url: String,
    },
    /// The data folder cannot be made or written.
    #[error("cannot use the data folder {}: {source}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses the data folder.
    #[error("the data folder {} is in use by another process", path.display())]
    DataDirLocked {
        /// The folder.
        path: PathBuf,
    },
    /// The file of evidence cannot be made.
    #[error("cannot create the file of evidence {}: {source}", path.display())]
    Evidence {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file that says who this member is cannot be read or written.
    #[error("cannot use the member's identity in the data folder {}: {source}", path.display())]
    Identity {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: WalError,
    },
    /// Recovery or consensus failed.
    #[error("cannot start from the data folder {}: {source}", path.display())]
    Start {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: StartError,
    },
    /// It ran and cannot go on: a failed disk, a failed server.
    #[error("the node stops: {0}")]
    Failed(String),
}
