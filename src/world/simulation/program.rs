//! What a node's process does: the store over this life's world, until it cannot go on.

use std::sync::Arc;

use bytes::Bytes;
use tribunal_env::{CallError, Clock as _, Env as _};
use tribunal_history::{Incarnation, NodeId};
use tribunal_simulation::{Place, SimEnv};
use tribunal_store::consensus::{HandlerError, Node, NodeSettings, PeerHandler};
use tribunal_store::service::{ApiError, Code, Context, dispatch};

use super::lives::Lives;
use super::wire::{self, Request};

/// One life of a node. Its end is told to `lives`, unless it is a crash.
pub(super) async fn live(env: SimEnv, node: NodeId, settings: NodeSettings, lives: Arc<Lives>) {
    let incarnation = Incarnation(env.incarnation());
    let member = match Node::start(env.clone(), settings).await {
        Ok(member) => member,
        Err(error) => {
            lives.ended(node, incarnation, &format!("it cannot start: {error}"));
            return;
        }
    };
    let peers = PeerHandler::new(member.clone());
    env.serve({
        let (member, env) = (member.clone(), env.clone());
        move |from, method, body| {
            let (peers, member, env) = (peers.clone(), member.clone(), env.clone());
            async move {
                match from {
                    Place::Node(_) => peers.call(method, body).await.map_err(|error| match error {
                        HandlerError::Refused(why) => CallError::Refused(why),
                        HandlerError::Failed(why) => CallError::TimedOut(why),
                    }),
                    Place::Client(_) | Place::Harness => Ok(serve_client(&env, &member, method, body).await),
                }
            }
        }
    });
    lives.ready(node, incarnation);
    let why = member.failed().await;
    lives.ended(node, incarnation, &why);
}

/// The answer to a client.
async fn serve_client(env: &SimEnv, member: &Node<SimEnv>, method: &str, body: Bytes) -> Bytes {
    if method == wire::CONNECT {
        return Bytes::new();
    }
    let answer = match Request::decode(body) {
        Some(request) => {
            let context = Context {
                operation: request.operation,
                deadline: Some(env.clock().monotonic().saturating_add(request.within)),
                forwarded: false,
            };
            dispatch(member, context, method, request.message).await
        }
        None => Err(ApiError::new(Code::Internal, "the request is cut short")),
    };
    wire::encode_answer(answer)
}
