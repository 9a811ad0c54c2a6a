//! A cluster of processes: started, watched, faulted, healed, taken down.
//!
//! [`Cluster`] owns it: when it is dropped, however that comes about, every child is killed. [`ClusterTarget`] is
//! the handle that the nemesis and everybody else works with. Both act on one state behind one lock, which is
//! held for moments only; a monitor reaps children that end by themselves and reports nodes that begin to answer
//! and leaders that change.
//!
//! Logs of all lives of a node are in `nodes/<node>/log`, its data in `nodes/<node>/data`, its evidence in
//! `evidence/<node>-<incarnation>.bin`, all in the directory of the run.

mod hands;
mod leaders;
mod node;
mod ready;
mod shared;
mod status;
mod target;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tribunal_history::NodeId;

use super::children::own_executable;
use super::error::WorldError;
use super::system::{Snapshots, System};
use crate::world::operator::{Operator, Roster};
use crate::world::recorder::ClusterRecorder;
use hands::ProcessHands;
pub use node::UnexpectedExit;
use shared::Shared;
pub use status::NodeStatus;
pub use target::ClusterTarget;

/// Between two looks at the nodes: a leader that lasts for one election timeout is seen several times.
const MONITOR_INTERVAL: Duration = Duration::from_millis(100);

/// How long nodes may take to end in an orderly way. etcd hands over its leadership within a second or two.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The system.
    pub system: System,
    /// How many nodes at the start, 1 to [`NODES_MAX`](super::addresses::NODES_MAX) together with the spares.
    pub nodes: u16,
    /// How many more can become members.
    pub spares: u16,
    /// What an operator draws derives from it.
    pub seed: u64,
    /// Directory of the run; what is missing of it is made.
    pub run_dir: PathBuf,
    /// Tribunal's binary: [`own_executable`] outside of tests.
    pub trampoline: PathBuf,
    /// Between heartbeats of a leader.
    pub heartbeat: Duration,
    /// Without a heartbeat until a follower stands for election.
    pub election: Duration,
    /// How they keep their logs short.
    pub snapshots: Snapshots,
    /// Nodes reach each other directly, and cannot be isolated.
    pub bypass_links: bool,
    /// Data directories stay when the cluster is taken down.
    pub keep_data: bool,
    /// How long the cluster may take until all nodes answer and agree on a leader.
    pub start_timeout: Duration,
}

impl ClusterConfig {
    /// The usual cluster of this system: etcd's timers, links that can be cut, 30 seconds to start.
    pub fn new(system: System, nodes: u16, run_dir: impl Into<PathBuf>) -> Self {
        Self {
            system,
            nodes,
            spares: 0,
            seed: 0,
            run_dir: run_dir.into(),
            trampoline: own_executable(),
            heartbeat: Duration::from_millis(100),
            election: Duration::from_secs(1),
            snapshots: Snapshots::default(),
            bypass_links: false,
            keep_data: false,
            start_timeout: Duration::from_secs(30),
        }
    }
}

/// A running cluster. Dropping it kills its children; [`Cluster::shutdown`] takes it down in good order.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    operator: Arc<Operator<ProcessHands>>,
    monitor: JoinHandle<()>,
}

impl Cluster {
    /// Starts the nodes and waits until all of them answer and agree on a leader.
    ///
    /// # Errors
    /// If no addresses are free, a directory cannot be made, a child ends or nothing is ready in time. Whatever
    /// was started is gone then.
    pub async fn start(config: ClusterConfig, recorder: Arc<dyn ClusterRecorder>) -> Result<Self, WorldError> {
        let timeout = config.start_timeout;
        let shared = Arc::new(Shared::new(config, recorder)?);
        let monitor = tokio::spawn(monitor(Arc::clone(&shared)));
        // From here on dropping this kills what was started.
        let operator = Operator::new(ProcessHands::new(Arc::clone(&shared)));
        let cluster = Self {
            shared,
            operator,
            monitor,
        };
        cluster.shared.start_all()?;
        cluster.shared.wait_until_ready(timeout, true).await?;
        Ok(cluster)
    }

    /// A handle, for the nemesis and everybody else.
    pub fn target(&self) -> ClusterTarget {
        ClusterTarget::new(Arc::clone(&self.shared), Arc::clone(&self.operator))
    }

    /// The nodes that are members now, in order.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.shared.roster.members().into_keys().collect()
    }

    /// All nodes, in order: those that are members, and those that can become some.
    pub fn places(&self) -> Vec<NodeId> {
        self.shared.places()
    }

    /// Which node is which member.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.shared.roster)
    }

    /// Where each member serves clients, in order.
    pub fn endpoints(&self) -> Vec<(NodeId, SocketAddr)> {
        self.nodes()
            .into_iter()
            .map(|node| (node, self.shared.addresses.client(node)))
            .collect()
    }

    /// Nodes that ended by themselves, in order of time. A finding about the system or its machine.
    pub fn unexpected_exits(&self) -> Vec<UnexpectedExit> {
        self.shared.unexpected_exits()
    }

    /// Waits until all nodes answer and agree on a leader, after a heal for instance.
    ///
    /// # Errors
    /// If they do not in time; a node that is down is one that does not answer.
    pub async fn wait_until_ready(&self, within: Duration) -> Result<(), WorldError> {
        self.shared.wait_until_ready(within, false).await
    }

    /// Undoes all faults, ends every node, waits for them, and removes their data unless asked to keep it.
    ///
    /// # Errors
    /// If data cannot be removed; the children are gone all the same.
    pub async fn shutdown(self) -> Result<(), WorldError> {
        self.monitor.abort();
        self.shared.close();
        self.shared.terminate_all();
        let deadline = Instant::now() + TERMINATE_TIMEOUT;
        while self.shared.any_up() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.shared.kill_and_reap_all();
        self.shared.remove_data()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.monitor.abort();
        self.shared.close();
        self.shared.kill_and_reap_all();
        // Nobody is left to tell.
        let _ = self.shared.remove_data();
    }
}

/// Watches the nodes until it is aborted.
async fn monitor(shared: Arc<Shared>) {
    loop {
        shared.observe().await;
        tokio::time::sleep(MONITOR_INTERVAL).await;
    }
}
