//! What is asked of the store, as an operator would ask: compaction, a snapshot, another leader.
//!
//! The nemesis does not wait for the answer; a task of the harness does, and tries again for a while, since the node
//! that is asked may be down or cut off.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tribunal_env::{CallError, Env as _, Transport as _};
use tribunal_history::{Fault, MemberId, NodeId};
use tribunal_nemesis::Effect;
use tribunal_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DefragmentRequest, DefragmentResponse, MoveLeaderRequest,
    MoveLeaderResponse, RangeRequest, RangeResponse,
};
use tribunal_simulation::{Place, SimEnv};
use tribunal_store::service::{ApiError, method};

use super::SimTarget;
use crate::world::simulation::wire::{self, Request};

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_000);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is tried: as long as a fault lasts, about.
const TRIES: u32 = 20;

/// What came of a request so far; none until the first answer.
#[derive(Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Option<Effect>>>);

impl Answer {
    pub(super) fn set(&self, effect: Effect) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(effect);
    }

    pub(super) fn get(&self) -> Effect {
        let effect = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        effect.unwrap_or_else(|| Effect::NotYet("there is no answer yet".to_owned()))
    }
}

impl SimTarget {
    /// Begins to ask for what the fault is.
    pub(super) fn request(&self, fault: &Fault, nodes: &[NodeId]) -> Answer {
        let answer = Answer::default();
        let Some(env) = self.simulator.env(Place::Harness) else {
            return answer;
        };
        let wanted = nodes.to_vec();
        let (fault, told) = (fault.clone(), answer.clone());
        let (simulator, lives, roster) = (
            self.simulator.clone(),
            Arc::clone(&self.lives),
            Arc::clone(&self.roster),
        );
        let task = async move {
            for _ in 0..TRIES {
                let members: Vec<(NodeId, MemberId)> = roster.members().into_iter().collect();
                let nodes: Vec<(NodeId, MemberId)> = members
                    .iter()
                    .filter(|(node, _)| wanted.contains(node))
                    .copied()
                    .collect();
                let Some(first) = nodes.first().copied() else {
                    told.set(Effect::NotYet(format!("no member is among {}", super::names(&wanted))));
                    simulator.sleep(PAUSE).await;
                    continue;
                };
                let tried = match &fault {
                    Fault::Compact { keep, .. } => compact(&env, first, *keep).await,
                    Fault::Snapshot { .. } => snapshot(&env, &nodes).await,
                    _ => transfer(&env, lives.leader(), first.0, &members).await,
                };
                match tried {
                    Ok(proof) => return told.set(Effect::Proved(proof)),
                    Err(why) => told.set(Effect::NotYet(why.to_string())),
                }
                simulator.sleep(PAUSE).await;
            }
        };
        drop(self.simulator.spawn(Place::Harness, task));
        answer
    }
}

async fn compact(env: &SimEnv, (node, member): (NodeId, MemberId), keep: u64) -> Result<String, Refusal> {
    let probe = RangeRequest {
        key: Bytes::from_static(b"k"),
        serializable: true,
        ..RangeRequest::default()
    };
    let seen: RangeResponse = ask(env, member, method::RANGE, &probe).await?;
    let now = seen.header.map_or(0, |header| header.revision);
    let revision = now.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    if revision < 1 {
        return Err(Refusal::from(format!("there are only {now} revisions")));
    }
    let request = CompactionRequest {
        revision,
        ..CompactionRequest::default()
    };
    let _: CompactionResponse = ask(env, member, method::COMPACT, &request).await?;
    Ok(format!("{node} compacted revision {revision} of {now}"))
}

async fn snapshot(env: &SimEnv, nodes: &[(NodeId, MemberId)]) -> Result<String, Refusal> {
    for (_, member) in nodes {
        let _: DefragmentResponse = ask(env, *member, method::DEFRAGMENT, &DefragmentRequest {}).await?;
    }
    let nodes: Vec<NodeId> = nodes.iter().map(|(node, _)| *node).collect();
    Ok(format!("snapshots of {}", super::names(&nodes)))
}

async fn transfer(
    env: &SimEnv,
    leader: Option<NodeId>,
    wanted: NodeId,
    members: &[(NodeId, MemberId)],
) -> Result<String, Refusal> {
    let leader = leader.ok_or_else(|| Refusal::from("nobody leads".to_owned()))?;
    let place = |node| members.iter().position(|(known, _)| *known == node);
    let (Some(from), Some(mut to)) = (place(leader), place(wanted)) else {
        return Err(Refusal::from("the leader is no member".to_owned()));
    };
    if from == to {
        to = (to + 1) % members.len();
    }
    let request = MoveLeaderRequest {
        target_id: members[to].1.0,
    };
    let _: MoveLeaderResponse = ask(env, members[from].1, method::MOVE_LEADER, &request).await?;
    Ok(format!("{} handed leadership to {}", members[from].0, members[to].0))
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    text: String,
    was_not_executed: bool,
}

impl Refusal {
    /// Whether it is this one.
    pub(super) fn is(&self, error: &ApiError) -> bool {
        self.text == error.text
    }

    /// Whether nobody has executed the request, or ever will.
    pub(super) fn was_not_executed(&self) -> bool {
        self.was_not_executed
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self {
            text,
            was_not_executed: false,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Asks a member, as a client would.
pub(super) async fn ask<M: Message + Default>(
    env: &SimEnv,
    member: MemberId,
    method: &'static str,
    message: &impl Message,
) -> Result<M, Refusal> {
    let request = Request {
        operation: 0,
        within: ANSWER_WITHIN,
        message: message.encode_to_vec().into(),
    };
    let answer: Result<Bytes, CallError> = env
        .transport()
        .call(member, method, request.encode(), ANSWER_WITHIN)
        .await;
    let answer = answer.map_err(|error| Refusal {
        text: error.to_string(),
        was_not_executed: matches!(error, CallError::Refused(_)),
    })?;
    match wire::decode_answer(answer) {
        Some(Ok(message)) => M::decode(message).map_err(|error| Refusal::from(error.to_string())),
        Some(Err(error)) => Err(Refusal::from(error.text)),
        None => Err(Refusal::from("the answer cannot be read".to_owned())),
    }
}
