//! Who looks after a cluster as an operator would: changes its members, compacts, asks for snapshots, moves the leader.
//! All of it goes through the store's own API.
//!
//! What is asked, when it is tried again and when it is given up is the same in every world; how a request gets to a
//! member and what becomes of a node is for the world to do ([`Hands`]).

mod changes;
mod requests;
mod roster;
mod upkeep;

use std::future::Future;
use std::time::Duration;

use prost::Message;
use rand_chacha::ChaCha8Rng;
use tribunal_history::{MemberId, NodeId};

pub use changes::{Change, Operator, Order};
pub use requests::{Answer, Refusal};
pub use roster::Roster;

/// How long one answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(1_000);

/// Between two tries: a change of leader takes longer, and a healthy cluster answers the first one.
const PAUSE: Duration = Duration::from_millis(100);

/// What an operator does its work with: one world's way to reach members and to handle nodes.
pub trait Hands: Send + Sync + 'static {
    /// Which node is which member.
    fn roster(&self) -> &Roster;

    /// Who leads, as far as is known.
    fn leader(&self) -> impl Future<Output = Option<NodeId>> + Send;

    /// Asks a member, as a client would, for at most [`ANSWER_WITHIN`].
    fn ask<M, R>(
        &self,
        to: (NodeId, MemberId),
        method: &'static str,
        request: R,
    ) -> impl Future<Output = Result<M, Refusal>> + Send
    where
        M: Message + Default + 'static,
        R: Message + 'static;

    /// The world's time.
    fn now(&self) -> Duration;

    /// Lets time pass.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// Runs a task of the harness beside everything else.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Whether the cluster was taken down, so that nothing is left to be done.
    fn is_closed(&self) -> bool;

    /// The draws of the operator's work with this number.
    fn draws(&self, number: u64) -> ChaCha8Rng;

    /// Where a node is reached by its peers.
    fn peer_urls(&self, node: NodeId) -> Vec<String>;

    /// Fewest members that making them fewer leaves.
    fn members_min(&self) -> usize;

    /// Whether the members can do without this one.
    fn may_leave(&self, node: NodeId) -> Departure;

    /// Whether a node lost what its member had promised, so that it may not come back as that one.
    fn is_lost(&self, node: NodeId) -> bool;

    /// A member is being removed, or it is certain that it is not. Meanwhile it may end by itself.
    fn set_leaving(&self, node: NodeId, is_leaving: bool);

    /// A member is removed for certain: ends what lives on the node and wipes its data. Repeated until it succeeds.
    fn wipe(&self, node: NodeId, member: MemberId) -> impl Future<Output = Result<(), String>> + Send;

    /// Starts a member that was added on a node without data. Repeated until it succeeds.
    fn join(&self, node: NodeId, member: MemberId) -> impl Future<Output = Result<(), String>> + Send;

    /// Counts something that seldom happens.
    fn count(&self, what: &'static str);
}

/// Whether a member may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Now.
    Now,
    /// Not yet; why, for people.
    Later(String),
    /// Not this time; why, for people.
    Never(String),
}

/// Nodes for people: `n1 n2 n3`.
fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    names.join(" ")
}
