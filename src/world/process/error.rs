//! What can go wrong between us and the machine, each with what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tribunal_history::NodeId;

/// A cluster could not be started or handled. None of these says anything about the system's correctness.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// `--system` names nothing that we know.
    #[error("--system {0:?} is not known: use `builtin`, `etcd` or `etcd:/path/to/etcd`")]
    UnknownSystem(String),

    /// `--disk` names nothing that we know.
    #[error("--disk {0:?} is not known: use `volatile` or `real`")]
    UnknownDisk(String),

    /// A defect is asked of a system that is not ours.
    #[error("defects can be planted in the bundled store alone, not in {system}: leave out {defects}")]
    NotOurs {
        /// As `--system` has it.
        system: String,
        /// Their names.
        defects: String,
    },

    /// The system's program is not there.
    #[error("there is no {program:?} {place}: install it, or name it with `--system {flag}`")]
    ProgramMissing {
        /// What was looked for.
        program: PathBuf,
        /// Where.
        place: &'static str,
        /// What `--system` should look like.
        flag: &'static str,
    },

    /// The system's program is there and cannot be executed.
    #[error("{program:?} cannot be executed: {reason}")]
    ProgramUnusable {
        /// Its path.
        program: PathBuf,
        /// Why.
        reason: String,
    },

    /// The program does not say which etcd it is.
    #[error("{program:?} is not an etcd: `--version` printed {output:?}")]
    NotEtcd {
        /// Its path.
        program: PathBuf,
        /// The first line that it printed, or why there is none.
        output: String,
    },

    /// More or fewer nodes than we can place.
    #[error("a cluster has 1 to {max} nodes, not {asked}")]
    NodeCount {
        /// How many were asked for.
        asked: u16,
        /// How many there can be.
        max: u16,
    },

    /// A file or directory of the run could not be made, opened or removed.
    #[error("cannot {action} {path:?}: {source}; is the directory of the run writable and the disk not full?")]
    File {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// No block of loopback addresses is free.
    #[error("found no free addresses for the nodes: {last}; something listens on all addresses at the ports {ports}")]
    NoAddresses {
        /// The ports that were tried.
        ports: String,
        /// What the last attempt said.
        last: io::Error,
    },

    /// The proxy between the nodes could not be started.
    #[error("cannot start the links between the nodes: {0}")]
    Links(#[source] io::Error),

    /// A child could not be started.
    #[error("cannot start {program:?}: {source}")]
    Spawn {
        /// The program that was to be started.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A signal could not be sent, or did not do what it must.
    #[error("{signal} to process {pid} failed: {reason}")]
    Signal {
        /// Its name.
        signal: &'static str,
        /// To whom.
        pid: u32,
        /// Why.
        reason: String,
    },

    /// Something was asked of a cluster that is no more.
    #[error("the cluster was taken down")]
    Closed,

    /// A node ended before the cluster was ready.
    #[error("{node} ended while it was starting ({status}); the end of {log:?}:\n{tail}")]
    DiedAtStart {
        /// Which.
        node: NodeId,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// The cluster did not become ready.
    #[error("the cluster was not ready within {within:?}: {what}; the end of {log:?}:\n{tail}")]
    NotReady {
        /// The bound.
        within: Duration,
        /// What was missing.
        what: String,
        /// Log of a node that was behind.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
}

impl WorldError {
    /// Makes the error of an attempt on a file.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
