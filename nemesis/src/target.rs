//! What can be faulted.

use std::collections::BTreeSet;
use std::future::Future;

use tribunal_history::{Fault, FaultKind, NemesisAction, NodeId};

/// A cluster that faults can be applied to. What was started must be undone by [`Target::stop`] or
/// [`Target::heal`], whatever happened in between.
pub trait Target: Send + 'static {
    /// Its nodes, in order.
    fn nodes(&self) -> Vec<NodeId>;

    /// Nodes that are no members and could become some, in order.
    fn spares(&self) -> Vec<NodeId> {
        Vec::new()
    }

    /// The kinds of faults that it allows here and now.
    fn abilities(&self) -> BTreeSet<FaultKind>;

    /// Who leads, if one of the nodes says so; the one of the highest term.
    fn leader(&mut self) -> impl Future<Output = Option<NodeId>> + Send;

    /// Applies `fault` to `nodes`, at one instant as far as it can.
    fn start(&mut self, fault: &Fault, nodes: &[NodeId]) -> impl Future<Output = Result<(), FaultError>> + Send;

    /// Looks for proof that the fault acts: a process that is gone, a stopped state, bytes that were held. To be
    /// asked again while the fault lasts, until it is proved.
    fn effect(&mut self, fault: &Fault, nodes: &[NodeId]) -> impl Future<Output = Effect> + Send;

    /// Undoes `fault` on `nodes`; returns once it is undone, not once the nodes have recovered.
    fn stop(&mut self, fault: &Fault, nodes: &[NodeId]) -> impl Future<Output = Result<(), FaultError>> + Send;

    /// Undoes everything that may still be in force.
    fn heal(&mut self) -> impl Future<Output = Result<(), FaultError>> + Send;
}

/// Whether a fault acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does; the proof, for people.
    Proved(String),
    /// Nothing shows it so far; the reason, for people.
    NotYet(String),
}

/// A fault could not be applied or undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(pub String);

/// Writes down what the nemesis does.
pub trait NemesisRecorder: Clone + Send + Sync + 'static {
    /// One stage of one step of the schedule.
    fn nemesis(&self, step: u32, action: NemesisAction, fault: &Fault, nodes: &[NodeId], detail: &str);
}
