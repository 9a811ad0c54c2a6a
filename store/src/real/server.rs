//! What a member serves to the others: calls and streams go to what [`Answers`] them.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tribunal_env::{CallError, PeerStream};
use tribunal_history::MemberId;
use tribunal_proto::peer::peer_server::{Peer, PeerServer};
use tribunal_proto::peer::{PeerCall, PeerMessage, PeerReply};

use super::env::RealEnv;
use super::transport::{GREETING, STREAM_LENGTH, WINDOW_BYTES};
use crate::consensus::wire::JOIN;
use crate::consensus::{HandlerError, PeerHandler};

/// What answers the other members.
pub trait Answers: Send + Sync + 'static {
    /// Executes a call. It runs in a task of its own, so that a caller that hangs up does not leave it half done.
    fn call(&self, method: String, body: Bytes) -> impl Future<Output = Result<Bytes, HandlerError>> + Send;

    /// Whether this method is a stream; other streams are refused.
    fn accepts(&self, method: &str) -> bool {
        let _ = method;
        false
    }

    /// Converses over a stream that was accepted, in a task of its own. Dropping it closes it in good order.
    fn converse(&self, method: String, stream: AcceptedStream) -> impl Future<Output = ()> + Send {
        drop((method, stream));
        std::future::ready(())
    }
}

impl Answers for PeerHandler<RealEnv> {
    async fn call(&self, method: String, body: Bytes) -> Result<Bytes, HandlerError> {
        Self::call(self, &method, body).await
    }
}

/// Serves the other members of `own` until the listener fails.
pub async fn serve_peers(
    listener: TcpListener,
    own: MemberId,
    answers: Arc<impl Answers>,
) -> Result<(), tonic::transport::Error> {
    let service = PeerServer::new(PeerService { own, answers })
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 2)
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
}

/// The Peer service. Its codes are understood by our transport: `FailedPrecondition` is "not executed",
/// `Aborted` is "nobody knows".
struct PeerService<A> {
    own: MemberId,
    answers: Arc<A>,
}

impl<A> PeerService<A> {
    fn is_meant(&self, to: u64) -> Result<(), Status> {
        if to == self.own.0 {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "this is member {}, not {}",
            self.own,
            MemberId(to)
        )))
    }
}

#[tonic::async_trait]
impl<A: Answers> Peer for PeerService<A> {
    async fn call(&self, request: Request<PeerCall>) -> Result<Response<PeerReply>, Status> {
        let PeerCall { to, method, body, .. } = request.into_inner();
        // Who joins knows nobody's id.
        let is_open = to == 0 && (method == GREETING || method == JOIN);
        if !is_open {
            self.is_meant(to)?;
        }
        if method == GREETING {
            return Ok(Response::new(PeerReply { body: Bytes::new() }));
        }
        let answers = Arc::clone(&self.answers);
        let answer = tokio::spawn(async move { answers.call(method, body).await }).await;
        match answer {
            Ok(Ok(body)) => Ok(Response::new(PeerReply { body })),
            Ok(Err(HandlerError::Refused(why))) => Err(Status::failed_precondition(why)),
            Ok(Err(HandlerError::Failed(why))) => Err(Status::aborted(why)),
            Err(_) => Err(Status::aborted("the call was broken off")),
        }
    }

    type StreamStream = BoxStream<'static, Result<PeerMessage, Status>>;

    async fn stream(&self, request: Request<Streaming<PeerMessage>>) -> Result<Response<Self::StreamStream>, Status> {
        let mut incoming = request.into_inner();
        let Some(PeerMessage { from, to, method, .. }) = incoming.message().await? else {
            return Err(Status::failed_precondition("the stream names no method"));
        };
        self.is_meant(to)?;
        if !self.answers.accepts(&method) {
            let why = format!("no streams of {method:?} are served here");
            return Err(Status::failed_precondition(why));
        }
        let (outgoing, mut messages) = mpsc::channel(STREAM_LENGTH);
        let stream = AcceptedStream {
            own: self.own,
            to: from,
            method: method.clone(),
            outgoing,
            incoming,
        };
        let answers = Arc::clone(&self.answers);
        tokio::spawn(async move { answers.converse(method, stream).await });
        let outgoing = futures_util::stream::poll_fn(move |context| messages.poll_recv(context));
        Ok(Response::new(outgoing.map(Ok).boxed()))
    }
}

/// The side of an ordered stream that did not open it.
pub struct AcceptedStream {
    own: MemberId,
    to: u64,
    method: String,
    outgoing: mpsc::Sender<PeerMessage>,
    incoming: Streaming<PeerMessage>,
}

impl PeerStream for AcceptedStream {
    async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        let message = PeerMessage {
            from: self.own.0,
            to: self.to,
            method: self.method.clone(),
            body,
            ..PeerMessage::default()
        };
        let sent = self.outgoing.send(message).await;
        sent.map_err(|_| CallError::TimedOut("the stream is broken".to_owned()))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, CallError> {
        match self.incoming.message().await {
            Ok(message) => Ok(message.map(|message| message.body)),
            Err(status) => Err(CallError::TimedOut(status.to_string())),
        }
    }
}
