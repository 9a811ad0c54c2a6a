//! A cluster of processes as a campaign sees it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tribunal_env::AsyncRuntime as _;
use tribunal_history::NodeId;

use super::client::TonicClient;
use super::cluster::{Cluster, ClusterTarget};
use super::env::{ToolEnv, ToolRuntime};
use crate::world::{TaskLost, World};

/// A running cluster, and clients in real time.
#[derive(Debug)]
pub struct ProcessWorld<'a> {
    env: ToolEnv,
    cluster: &'a Cluster,
    /// Numbers the operations of all clients, for the nodes' evidence.
    operations: Arc<AtomicU64>,
}

impl<'a> ProcessWorld<'a> {
    /// The world of `cluster`.
    pub fn new(env: ToolEnv, cluster: &'a Cluster) -> Self {
        Self {
            env,
            cluster,
            operations: Arc::default(),
        }
    }
}

impl World for ProcessWorld<'_> {
    type Env = ToolEnv;
    type Client = TonicClient;
    type Target = ClusterTarget;

    fn nodes(&self) -> Vec<NodeId> {
        self.cluster.nodes()
    }

    fn homes(&self) -> Vec<NodeId> {
        self.cluster.places()
    }

    fn env(&self) -> &ToolEnv {
        &self.env
    }

    fn target(&self) -> ClusterTarget {
        self.cluster.target()
    }

    fn client(&self, _: u32, node: NodeId) -> (ToolEnv, TonicClient) {
        let target = self.cluster.target();
        let url = |node| format!("http://{}", target.endpoint(node));
        let urls = self.cluster.places().into_iter().map(|node| (node, url(node)));
        let client = TonicClient::new(node, &url(node), self.operations.clone())
            .and_then(|client| client.moving(self.cluster.roster(), urls))
            .unwrap_or_else(|error| panic!("{} is made by us: {error}", url(node)));
        (self.env.clone(), client)
    }

    fn spawn<T>(&self, _: u32, task: T) -> impl Future<Output = Result<T::Output, TaskLost>>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let handle = ToolRuntime::spawn(task);
        async move { handle.await.map_err(|_| TaskLost) }
    }
}
