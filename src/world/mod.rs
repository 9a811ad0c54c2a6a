//! The worlds in which a cluster can run.
//!
//! A world starts the nodes, can fault them, and says what became of them. Workloads, nemesis, checks and reports
//! are the same in all of them; what they need of a world is [`World`].

pub mod operator;
pub mod process;
pub mod recorder;
pub mod simulation;

use std::future::Future;

use tribunal_env::Env;
use tribunal_history::NodeId;
use tribunal_nemesis::Target;
use tribunal_workload::Client;

pub use recorder::{ClusterRecorder, NoRecorder};

/// A running cluster with its clients, as the phases of a campaign see it.
pub trait World {
    /// The world of clients and nemesis.
    type Env: Env;
    /// A client of one node.
    type Client: Client;
    /// What the nemesis faults.
    type Target: Target;

    /// The nodes that are members now, in order.
    fn nodes(&self) -> Vec<NodeId>;

    /// The nodes that the clients of the safety phase are spread over, in order; some may become members later.
    fn homes(&self) -> Vec<NodeId> {
        self.nodes()
    }

    /// The nemesis' own view.
    fn env(&self) -> &Self::Env;

    /// A handle for the nemesis.
    fn target(&self) -> Self::Target;

    /// The view of client `number` and its way to `node`; not connected yet.
    fn client(&self, number: u32, node: NodeId) -> (Self::Env, Self::Client);

    /// Runs a task of client `number` at once, beside everything else.
    fn spawn<T>(&self, number: u32, task: T) -> impl Future<Output = Result<T::Output, TaskLost>>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static;
}

/// A task of ours panicked or was cancelled; it has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client of the tool panicked; its message is on standard error")]
pub struct TaskLost;
