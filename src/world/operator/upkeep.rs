//! Compaction, a snapshot, another leader.
//!
//! The nemesis does not wait for the answer; a task of the harness does, and tries again for a while, since the node
//! that is asked may be down or cut off.

use std::sync::Arc;

use bytes::Bytes;
use tribunal_history::{Fault, MemberId, NodeId};
use tribunal_nemesis::Effect;
use tribunal_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DefragmentRequest, DefragmentResponse, MoveLeaderRequest,
    MoveLeaderResponse, RangeRequest, RangeResponse,
};
use tribunal_store::service::method;

use super::requests::{Answer, Refusal};
use super::{Hands, Operator, PAUSE, names};

/// How often it is tried: as long as a fault lasts, about.
const TRIES: u32 = 20;

impl<H: Hands> Operator<H> {
    /// Begins to ask for what the fault is: a compaction, a snapshot, or another leader.
    pub fn look_after(self: &Arc<Self>, fault: &Fault, nodes: &[NodeId]) -> Answer {
        let answer = Answer::default();
        let wanted = nodes.to_vec();
        let (operator, fault, told) = (Arc::clone(self), fault.clone(), answer.clone());
        let task = async move {
            let hands = operator.hands();
            for _ in 0..TRIES {
                if hands.is_closed() {
                    return;
                }
                let members: Vec<(NodeId, MemberId)> = hands.roster().members().into_iter().collect();
                let nodes: Vec<(NodeId, MemberId)> = members
                    .iter()
                    .filter(|(node, _)| wanted.contains(node))
                    .copied()
                    .collect();
                let Some(first) = nodes.first().copied() else {
                    told.set(Effect::NotYet(format!("no member is among {}", names(&wanted))));
                    hands.sleep(PAUSE).await;
                    continue;
                };
                let tried = match &fault {
                    Fault::Compact { keep, .. } => compact(hands, first, *keep).await,
                    Fault::Snapshot { .. } => snapshot(hands, &nodes).await,
                    _ => transfer(hands, first.0, &members).await,
                };
                match tried {
                    Ok(proof) => return told.set(Effect::Proved(proof)),
                    Err(why) => told.set(Effect::NotYet(why.to_string())),
                }
                hands.sleep(PAUSE).await;
            }
        };
        self.hands().spawn(task);
        answer
    }
}

async fn compact(hands: &impl Hands, member: (NodeId, MemberId), keep: u64) -> Result<String, Refusal> {
    let probe = RangeRequest {
        key: Bytes::from_static(b"k"),
        serializable: true,
        ..RangeRequest::default()
    };
    let seen: RangeResponse = hands.ask(member, method::RANGE, probe).await?;
    let now = seen.header.map_or(0, |header| header.revision);
    let revision = now.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    if revision < 1 {
        return Err(Refusal::from(format!("there are only {now} revisions")));
    }
    let request = CompactionRequest {
        revision,
        ..CompactionRequest::default()
    };
    let _: CompactionResponse = hands.ask(member, method::COMPACT, request).await?;
    Ok(format!("{} compacted revision {revision} of {now}", member.0))
}

async fn snapshot(hands: &impl Hands, nodes: &[(NodeId, MemberId)]) -> Result<String, Refusal> {
    for member in nodes {
        let _: DefragmentResponse = hands.ask(*member, method::DEFRAGMENT, DefragmentRequest {}).await?;
    }
    let nodes: Vec<NodeId> = nodes.iter().map(|(node, _)| *node).collect();
    Ok(format!("snapshots of {}", names(&nodes)))
}

async fn transfer(hands: &impl Hands, wanted: NodeId, members: &[(NodeId, MemberId)]) -> Result<String, Refusal> {
    let leader = hands.leader().await;
    let leader = leader.ok_or_else(|| Refusal::from("nobody leads".to_owned()))?;
    let place = |node| members.iter().position(|(known, _)| *known == node);
    let (Some(from), Some(mut to)) = (place(leader), place(wanted)) else {
        return Err(Refusal::from("the leader is no member".to_owned()));
    };
    if from == to {
        to = (to + 1) % members.len();
    }
    if from == to {
        return Err(Refusal::from("there is one member only".to_owned()));
    }
    let request = MoveLeaderRequest {
        target_id: members[to].1.0,
    };
    let _: MoveLeaderResponse = hands.ask(members[from], method::MOVE_LEADER, request).await?;
    Ok(format!("{} handed leadership to {}", members[from].0, members[to].0))
}
