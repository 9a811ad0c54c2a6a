//! Where the lives of nodes and the changes of leader are written down.

use tribunal_history::{Incarnation, NodeId, NodeState, Term};

/// Writes down what becomes of the nodes. Calls come from several tasks, and must not block.
pub trait ClusterRecorder: Send + Sync + 'static {
    /// A node changed its state; `detail` is for people (an exit status, the last line of a log).
    fn node(&self, node: NodeId, incarnation: Incarnation, state: NodeState, detail: &str);

    /// A node was seen to lead a term in which it was not seen to lead before.
    fn leader(&self, node: NodeId, term: Term);
}

/// Writes nothing down: for a cluster that is only kept running.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecorder;

impl ClusterRecorder for NoRecorder {
    fn node(&self, _: NodeId, _: Incarnation, _: NodeState, _: &str) {}

    fn leader(&self, _: NodeId, _: Term) {}
}
