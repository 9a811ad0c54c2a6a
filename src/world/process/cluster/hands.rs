//! The operator's hands in a cluster of processes: requests over gRPC, nodes as children.
//!
//! A removal waits until a majority of the members that stay can be reached. Nodes come back when their faults are over,
//! so no quorum is lost for good either way; but a change that waits for nodes that are away is in doubt for as long.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use prost::Message;
use rand_chacha::ChaCha8Rng;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use tribunal_env::{AsyncRuntime as _, Clock as _, Env as _, Purpose, Stream};
use tribunal_history::{MemberId, NodeId};
use tribunal_workload::Failure;

use super::node::Life;
use super::shared::{Shared, State};
use crate::world::operator::{ANSWER_WITHIN, Departure, Hands, Refusal, Roster};
use crate::world::process::client::{failure, unpanicked};
use crate::world::process::env::{ToolEnv, ToolRuntime};
use crate::world::process::error::WorldError;

/// Fewest members that making them fewer leaves, unless there were fewer at the start: with three, one may still fail.
const MEMBERS_MIN: u16 = 3;

/// Tells the operator's draws from the schedule's.
const MEMBERS_STREAM: u64 = 1 << 32;

/// What an operator works with.
#[derive(Debug)]
pub(super) struct ProcessHands {
    shared: Arc<Shared>,
    env: ToolEnv,
}

impl ProcessHands {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            env: ToolEnv::new(shared.config.seed),
            shared,
        }
    }
}

impl Hands for ProcessHands {
    fn roster(&self) -> &Roster {
        &self.shared.roster
    }

    async fn leader(&self) -> Option<NodeId> {
        self.shared.leader().await
    }

    async fn ask<M, R>(&self, (node, _): (NodeId, MemberId), method: &'static str, request: R) -> Result<M, Refusal>
    where
        M: Message + Default + 'static,
        R: Message + 'static,
    {
        let Some(channel) = self.shared.channel(node) else {
            return Err(Refusal::not_sent(format!("there is no {node}")));
        };
        let answer = unpanicked(tokio::time::timeout(ANSWER_WITHIN, unary(channel, method, request))).await;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Refusal::from(format!("{node} did not answer within {ANSWER_WITHIN:?}"))),
            Err(_) => Err(Refusal::from("the answer made our gRPC library panic".to_owned())),
        }
    }

    fn now(&self) -> Duration {
        self.env.clock().monotonic()
    }

    async fn sleep(&self, time: Duration) {
        ToolRuntime::sleep(time).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(ToolRuntime::spawn(task));
    }

    fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    fn draws(&self, number: u64) -> ChaCha8Rng {
        self.env.rng(Stream {
            purpose: Purpose::Nemesis,
            a: number,
            b: MEMBERS_STREAM,
        })
    }

    fn peer_urls(&self, node: NodeId) -> Vec<String> {
        vec![format!("http://{}", self.shared.advertised(node))]
    }

    fn members_min(&self) -> usize {
        usize::from(self.shared.config.nodes.min(MEMBERS_MIN))
    }

    fn may_leave(&self, node: NodeId) -> Departure {
        let mut members = self.shared.roster.members();
        members.remove(&node);
        let mut state = self.shared.lock();
        self.shared.reap(&mut state);
        let present = members.keys().filter(|member| is_present(&mut state, **member)).count();
        departure(node, members.len(), present)
    }

    fn is_lost(&self, _: NodeId) -> bool {
        false
    }

    fn set_leaving(&self, node: NodeId, is_leaving: bool) {
        self.shared.lock().node(node).leaving = is_leaving;
    }

    async fn wipe(&self, node: NodeId, _: MemberId) -> Result<(), String> {
        self.shared.wipe(node).await.map_err(|error| error.to_string())
    }

    async fn join(&self, node: NodeId, _: MemberId) -> Result<(), String> {
        self.shared.join(node).map_err(|error| error.to_string())
    }

    /// The nemesis' lane has every change.
    fn count(&self, _: &'static str) {}
}

/// Whether a node answers, as far as our own faults decide that.
fn is_present(state: &mut State, node: NodeId) -> bool {
    let is_cut_off = state.is_cut_off(node);
    let up = state.node(node).up();
    up.is_some_and(|up| up.ready && !up.paused && !up.killed) && !is_cut_off
}

/// Whether a member may be removed beside `others`, of whom so many are `present`.
fn departure(node: NodeId, others: usize, present: usize) -> Departure {
    if others == 0 {
        return Departure::Never(format!("{node} is the only member"));
    }
    let majority = others / 2 + 1;
    if present < majority {
        return Departure::Later(format!(
            "of the {others} members beside {node} {present} are there, and {majority} are a majority"
        ));
    }
    Departure::Now
}

/// One request over gRPC.
async fn unary<M, R>(channel: Channel, method: &'static str, request: R) -> Result<M, Refusal>
where
    M: Message + Default + 'static,
    R: Message + 'static,
{
    let mut grpc = Grpc::new(channel);
    let ready = grpc.ready().await;
    ready.map_err(|error| Refusal::not_sent(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/{method}")).map_err(|error| Refusal::not_sent(error.to_string()))?;
    let mut request = Request::new(request);
    request.set_timeout(ANSWER_WITHIN);
    let answer = grpc.unary(request, path, ProstCodec::<R, M>::default()).await;
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(match failure(&status) {
            Failure::NotSent(why) => Refusal::not_sent(why),
            Failure::Deadline => Refusal::from(format!("no answer within {ANSWER_WITHIN:?}")),
            Failure::Broken(why) => Refusal::from(why),
            Failure::Status { message, .. } => Refusal::from(message),
        }),
    }
}

impl Shared {
    /// Ends a node whose member was removed, and removes its data. From here on nothing starts it but [`Shared::join`].
    async fn wipe(&self, id: NodeId) -> Result<(), WorldError> {
        {
            let mut state = self.lock();
            self.reap(&mut state);
            self.signal(&mut state, &[id], Signal::SIGKILL, |up| up.killed = true)?;
        }
        self.wait_until_reaped(&[id]).await?;
        let mut state = self.lock();
        let node = state.node(id);
        node.life = Life::Gone;
        node.leaving = false;
        let data = self.data(id);
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(WorldError::file("remove", data)(error)),
            _ => Ok(()),
        }
    }

    /// Starts a member that was added at a node which has no data.
    fn join(&self, id: NodeId) -> Result<(), WorldError> {
        let mut state = self.lock();
        let node = state.node(id);
        if let Life::Up(_) = node.life {
            return Ok(());
        }
        node.joined = true;
        self.make_directories(id)?;
        self.start_node(&mut state, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_leaves_when_a_majority_of_the_others_is_there() {
        let now = |others, present| departure(NodeId(1), others, present) == Departure::Now;
        assert!(now(1, 1) && now(2, 2) && now(4, 3));
        assert!(!now(2, 1) && !now(4, 2) && !now(1, 0));
        assert!(matches!(departure(NodeId(1), 0, 0), Departure::Never(_)));
        let Departure::Later(why) = departure(NodeId(3), 2, 1) else {
            panic!("one of two is no majority");
        };
        assert_eq!(why, "of the 2 members beside n3 1 are there, and 2 are a majority");
    }
}
