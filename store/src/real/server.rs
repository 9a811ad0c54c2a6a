//! What a member serves to the others: calls go to [`PeerHandler`].

use bytes::Bytes;
use futures_util::stream::Empty;
use tonic::{Request, Response, Status, Streaming};
use tribunal_history::MemberId;
use tribunal_proto::peer::peer_server::Peer;
use tribunal_proto::peer::{PeerCall, PeerMessage, PeerReply};

use super::env::RealEnv;
use super::transport::GREETING;
use crate::consensus::{HandlerError, PeerHandler};

/// The Peer service. Its codes are understood by our transport: `FailedPrecondition` is "not executed",
/// `Aborted` is "nobody knows".
pub(super) struct PeerService {
    pub own: MemberId,
    pub handler: PeerHandler<RealEnv>,
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn call(&self, request: Request<PeerCall>) -> Result<Response<PeerReply>, Status> {
        let PeerCall { to, method, body, .. } = request.into_inner();
        if to != self.own.0 {
            return Err(Status::failed_precondition(format!(
                "this is member {}, not {}",
                self.own,
                MemberId(to)
            )));
        }
        if method == GREETING {
            return Ok(Response::new(PeerReply { body: Bytes::new() }));
        }
        // In a task of its own, so that a caller that hangs up does not leave a call half done.
        let handler = self.handler.clone();
        let answer = tokio::spawn(async move { handler.call(&method, body).await }).await;
        match answer {
            Ok(Ok(body)) => Ok(Response::new(PeerReply { body })),
            Ok(Err(HandlerError::Refused(why))) => Err(Status::failed_precondition(why)),
            Ok(Err(HandlerError::Failed(why))) => Err(Status::aborted(why)),
            Err(_) => Err(Status::aborted("the call was broken off")),
        }
    }

    type StreamStream = Empty<Result<PeerMessage, Status>>;

    async fn stream(&self, _request: Request<Streaming<PeerMessage>>) -> Result<Response<Self::StreamStream>, Status> {
        Err(Status::failed_precondition("no method of this member is a stream"))
    }
}
