//! The operator's hands in a simulation: requests as encoded bytes, nodes as programs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{CallError, Env as _, Purpose, Stream, Transport as _};
use tribunal_history::{MemberId, NodeId};
use tribunal_simulation::{Place, SimEnv, World as Simulator};

use crate::world::operator::{ANSWER_WITHIN, Departure, Hands, Refusal, Roster};
use crate::world::simulation::audit::Audit;
use crate::world::simulation::lives::Lives;
use crate::world::simulation::wire::{self, Request};
use crate::world::simulation::{SimulatedCluster, peer};

/// Fewest members that making them fewer leaves, unless there were fewer at the start: with three, one may still fail.
const MEMBERS_MIN: usize = 3;

/// Tells the operator's draws from the schedule's.
const MEMBERS_STREAM: u64 = 1 << 32;

/// What an operator works with.
pub struct SimHands {
    /// The world.
    pub(in crate::world::simulation) simulator: Simulator,
    /// The harness.
    pub(in crate::world::simulation) env: SimEnv,
    /// The nodes.
    pub(in crate::world::simulation) lives: Arc<Lives>,
    /// Who they are.
    pub(in crate::world::simulation) roster: Arc<Roster>,
    /// Who is told of disks that are wiped.
    pub(in crate::world::simulation) audit: Audit,
    /// What the cluster is made of.
    pub(in crate::world::simulation) cluster: SimulatedCluster,
}

impl Hands for SimHands {
    fn roster(&self) -> &Roster {
        &self.roster
    }

    async fn leader(&self) -> Option<NodeId> {
        self.lives.leader()
    }

    async fn ask<M, R>(&self, (_, member): (NodeId, MemberId), method: &'static str, request: R) -> Result<M, Refusal>
    where
        M: Message + Default + 'static,
        R: Message + 'static,
    {
        let request = Request {
            operation: 0,
            within: ANSWER_WITHIN,
            message: request.encode_to_vec().into(),
        };
        let answer: Result<Bytes, CallError> = self
            .env
            .transport()
            .call(member, method, request.encode(), ANSWER_WITHIN)
            .await;
        let answer = answer.map_err(|error| match error {
            CallError::Refused(_) => Refusal::not_sent(error.to_string()),
            CallError::TimedOut(_) => Refusal::from(error.to_string()),
        })?;
        match wire::decode_answer(answer) {
            Some(Ok(message)) => M::decode(message).map_err(|error| Refusal::from(error.to_string())),
            Some(Err(error)) => Err(Refusal::from(error.text)),
            None => Err(Refusal::from("the answer cannot be read".to_owned())),
        }
    }

    fn now(&self) -> Duration {
        self.simulator.now()
    }

    async fn sleep(&self, time: Duration) {
        self.simulator.sleep(time).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.simulator.spawn(Place::Harness, task));
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn draws(&self, number: u64) -> ChaCha8Rng {
        self.simulator.rng(Stream {
            purpose: Purpose::Nemesis,
            a: number,
            b: MEMBERS_STREAM,
        })
    }

    fn peer_urls(&self, node: NodeId) -> Vec<String> {
        peer(node).peer_urls
    }

    fn members_min(&self) -> usize {
        usize::from(self.cluster.nodes).min(MEMBERS_MIN)
    }

    /// Those whose disks have lied must stay fewer than half of the voters.
    fn may_leave(&self, node: NodeId) -> Departure {
        let mut members = self.roster.members();
        members.remove(&node);
        let liars = members.keys().filter(|node| self.lives.has_lied(**node)).count();
        if members.is_empty() || liars * 2 >= members.len() {
            return Departure::Never(format!(
                "without {node} there would be {} members, {liars} of them with a disk that lied",
                members.len()
            ));
        }
        Departure::Now
    }

    fn is_lost(&self, node: NodeId) -> bool {
        self.lives.has_lied(node)
    }

    fn set_leaving(&self, node: NodeId, is_leaving: bool) {
        self.lives.set_leaving(node, is_leaving);
    }

    async fn wipe(&self, node: NodeId, member: MemberId) -> Result<(), String> {
        self.lives.remove(node);
        self.simulator.remove_member(member);
        self.audit.wiped(node);
        Ok(())
    }

    async fn join(&self, node: NodeId, member: MemberId) -> Result<(), String> {
        self.simulator.add_member(member, node);
        let settings = self.cluster.joining(node, member, self.roster.members().into_keys());
        self.lives.join(node, settings);
        Ok(())
    }

    fn count(&self, what: &'static str) {
        self.lives.count(what);
    }
}
