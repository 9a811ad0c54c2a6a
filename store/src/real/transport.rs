//! The other members over gRPC: one HTTP/2 connection to each, kept up by a task of its own.
//!
//! What matters is the difference between *refused* and *no answer*. A connection is used only after the other
//! member has answered a greeting on it, so a call that is not sent because there is no such connection was surely
//! not executed. Once a request is handed to a connection, any failure but the other's own refusal counts as no
//! answer. Nothing here sends a request twice.
//!
//! A connection that breaks, or that answers nothing for half an election timeout while calls time out (a cut or
//! a stopped process), is dropped and dialled again, so that a healed link is back within a fraction of a second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status, Streaming};
use tribunal_env::{CallError, Method, PeerStream, Transport};
use tribunal_history::MemberId;
use tribunal_proto::peer::peer_client::PeerClient;
use tribunal_proto::peer::{PeerCall, PeerMessage};

use crate::consensus::wire::{self, Welcome};

/// Answered by the server itself, before any handler.
pub(super) const GREETING: &str = "peer/greeting";

/// Between failed attempts to connect.
const REDIAL_PAUSE: Duration = Duration::from_millis(50);

/// Room for a batch of entries, so that a large one does not wait for window updates.
pub(super) const WINDOW_BYTES: u32 = 8 << 20;

/// Messages that may wait in a stream before its sender does.
pub(super) const STREAM_LENGTH: usize = 64;

/// How calls are made to all members; clones share the connections.
#[derive(Clone)]
pub struct GrpcTransport {
    own: Arc<Own>,
    peers: Arc<Mutex<BTreeMap<MemberId, Arc<Peer>>>>,
}

struct Own {
    member: MemberId,
    incarnation: u32,
    seq: AtomicU64,
    /// A connection that is silent for so long, while calls on it time out, is dropped.
    silence: Duration,
}

struct Peer {
    member: MemberId,
    urls: Vec<String>,
    link: watch::Sender<Link>,
}

/// State of the connection to a member.
#[derive(Clone)]
enum Link {
    Down {
        /// How many attempts have failed.
        failures: u64,
        why: Arc<str>,
    },
    Up(Arc<Connection>),
    /// The member is none any more, or is reached elsewhere; nobody connects.
    Closed,
}

struct Connection {
    client: PeerClient<Channel>,
    answered: Mutex<Instant>,
}

impl GrpcTransport {
    /// A transport from `member` to `peers` with their URLs, and to those that it will learn of.
    pub fn start(
        member: MemberId,
        incarnation: u32,
        peers: impl IntoIterator<Item = (MemberId, Vec<String>)>,
        election: Duration,
    ) -> Self {
        let own = Arc::new(Own {
            member,
            incarnation,
            seq: AtomicU64::new(0),
            silence: election / 2,
        });
        let transport = Self {
            own,
            peers: Arc::default(),
        };
        for (member, urls) in peers {
            transport.learn(member, &urls);
        }
        transport
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<MemberId, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self, to: MemberId) -> Result<Arc<Peer>, CallError> {
        let known = self.peers().get(&to).cloned();
        known.ok_or_else(|| CallError::Refused(format!("{to} is not a member")))
    }
}

impl Transport for GrpcTransport {
    type Stream = GrpcStream;

    async fn call(&self, to: MemberId, method: Method, body: Bytes, within: Duration) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + within;
        let peer = self.peer(to)?;
        let connection = peer.connection(within).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CallError::Refused("no time was left to send it".to_owned()));
        }
        let request = self.own.call(to, method, body);
        let mut client = connection.client.clone();
        match timeout(left, client.call(request)).await {
            Ok(Ok(reply)) => {
                connection.has_answered();
                Ok(reply.into_inner().body)
            }
            Ok(Err(status)) => match status.code() {
                // Said by the other member's server, see `PeerService`.
                Code::FailedPrecondition => {
                    connection.has_answered();
                    Err(CallError::Refused(status.message().to_owned()))
                }
                Code::Aborted => {
                    connection.has_answered();
                    Err(CallError::TimedOut(status.message().to_owned()))
                }
                _ => {
                    peer.drop_connection(&connection, status.message());
                    if was_never_sent(&status) {
                        return Err(CallError::Refused(chain_of(&status)));
                    }
                    Err(CallError::TimedOut(chain_of(&status)))
                }
            },
            Err(_) => {
                if connection.silent_for() >= self.own.silence {
                    peer.drop_connection(&connection, "it answered nothing");
                }
                Err(CallError::TimedOut(format!("no answer within {within:?}")))
            }
        }
    }

    /// Starts to connect at once.
    fn learn(&self, member: MemberId, peer_urls: &[String]) {
        let mut peers = self.peers();
        if member == self.own.member || peers.get(&member).is_some_and(|known| known.urls == peer_urls) {
            return;
        }
        let down = Link::Down {
            failures: 0,
            why: "not connected yet".into(),
        };
        let (link, _) = watch::channel(down);
        let urls = peer_urls.to_vec();
        let peer = Arc::new(Peer { member, urls, link });
        tokio::spawn(keep_connected(Arc::clone(&self.own), Arc::clone(&peer)));
        if let Some(before) = peers.insert(member, peer) {
            before.link.send_replace(Link::Closed);
        }
    }

    fn forget(&self, member: MemberId) {
        if let Some(peer) = self.peers().remove(&member) {
            peer.link.send_replace(Link::Closed);
        }
    }

    async fn stream(&self, to: MemberId, method: Method) -> Result<GrpcStream, CallError> {
        let peer = self.peer(to)?;
        let connection = peer.connection(self.own.silence).await?;
        let (sender, mut messages) = mpsc::channel(STREAM_LENGTH);
        // The first message names the method; the server answers it, or refuses the stream.
        let opening = self.own.message(to, method, Bytes::new());
        let _ = sender.send(opening).await;
        let outgoing = futures_util::stream::poll_fn(move |context| messages.poll_recv(context));
        let mut client = connection.client.clone();
        let incoming = match timeout(self.own.silence, client.stream(outgoing)).await {
            Ok(Ok(incoming)) => incoming.into_inner(),
            Ok(Err(status)) if matches!(status.code(), Code::FailedPrecondition | Code::Unimplemented) => {
                return Err(CallError::Refused(status.message().to_owned()));
            }
            Ok(Err(status)) => return Err(CallError::TimedOut(status.to_string())),
            Err(_) => return Err(CallError::TimedOut("the stream was not opened".to_owned())),
        };
        Ok(GrpcStream {
            own: Arc::clone(&self.own),
            to,
            method,
            outgoing: sender,
            incoming: Some(incoming),
        })
    }
}

/// An ordered stream to another member.
pub struct GrpcStream {
    own: Arc<Own>,
    to: MemberId,
    method: Method,
    outgoing: mpsc::Sender<PeerMessage>,
    /// None only while it is dropped.
    incoming: Option<Streaming<PeerMessage>>,
}

impl PeerStream for GrpcStream {
    async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        let message = self.own.message(self.to, self.method, body);
        let sent = self.outgoing.send(message).await;
        sent.map_err(|_| CallError::TimedOut("the stream is broken".to_owned()))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, CallError> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(None);
        };
        match incoming.message().await {
            Ok(message) => Ok(message.map(|message| message.body)),
            Err(status) => Err(CallError::TimedOut(status.to_string())),
        }
    }
}

impl Drop for GrpcStream {
    /// Closes in good order. To drop the way back at once would reset the stream, and with it what is still on its way
    /// to the other side; so that way is read to its end, which comes when the other side has seen ours.
    fn drop(&mut self) {
        let silence = self.own.silence;
        if let (Some(mut incoming), Ok(runtime)) = (self.incoming.take(), Handle::try_current()) {
            runtime.spawn(async move {
                let end = async { while let Ok(Some(_)) = incoming.message().await {} };
                // One that goes on talking to nobody is reset.
                let _ = timeout(silence, end).await;
            });
        }
    }
}

impl Own {
    fn call(&self, to: MemberId, method: &str, body: Bytes) -> PeerCall {
        PeerCall {
            from: self.member.0,
            to: to.0,
            incarnation: self.incarnation,
            seq: self.seq.fetch_add(1, Ordering::Relaxed),
            method: method.to_owned(),
            body,
        }
    }

    fn message(&self, to: MemberId, method: &str, body: Bytes) -> PeerMessage {
        let PeerCall {
            from,
            to,
            incarnation,
            seq,
            method,
            body,
        } = self.call(to, method, body);
        PeerMessage {
            from,
            to,
            incarnation,
            seq,
            method,
            body,
        }
    }
}

impl Peer {
    /// The connection, if there is one within this time. A failed attempt to connect ends the wait.
    async fn connection(&self, within: Duration) -> Result<Arc<Connection>, CallError> {
        let mut link = self.link.subscribe();
        let failures_before = match &*link.borrow_and_update() {
            Link::Up(connection) => return Ok(Arc::clone(connection)),
            Link::Down { failures, .. } => *failures,
            Link::Closed => return Err(closed()),
        };
        let settled = link.wait_for(|link| match link {
            Link::Up(_) | Link::Closed => true,
            Link::Down { failures, .. } => *failures > failures_before,
        });
        match timeout(within, settled).await {
            Ok(Ok(link)) => match &*link {
                Link::Up(connection) => Ok(Arc::clone(connection)),
                Link::Down { why, .. } => Err(CallError::Refused(why.to_string())),
                Link::Closed => Err(closed()),
            },
            Ok(Err(_)) => Err(CallError::Refused("the transport has stopped".to_owned())),
            Err(_) => Err(CallError::Refused(format!("no connection within {within:?}"))),
        }
    }

    /// Gives up this connection, unless another one has taken its place.
    fn drop_connection(&self, connection: &Arc<Connection>, why: &str) {
        self.link.send_if_modified(|link| {
            let is_it = matches!(link, Link::Up(current) if Arc::ptr_eq(current, connection));
            if is_it {
                *link = Link::Down {
                    failures: 0,
                    why: why.into(),
                };
            }
            is_it
        });
    }
}

impl Connection {
    fn has_answered(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self) -> Duration {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

fn closed() -> CallError {
    CallError::Refused("it is no member any more, or is reached elsewhere".to_owned())
}

/// Connects whenever there is no connection.
async fn keep_connected(own: Arc<Own>, peer: Arc<Peer>) {
    let mut link = peer.link.subscribe();
    loop {
        match link.wait_for(|link| !matches!(link, Link::Up(_))).await {
            Ok(link) if matches!(*link, Link::Down { .. }) => {}
            Ok(_) | Err(_) => return,
        }
        for url in &peer.urls {
            match connect(&own, peer.member, url).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    peer.link.send_if_modified(|link| {
                        let is_wanted = matches!(link, Link::Down { .. });
                        if is_wanted {
                            *link = Link::Up(connection);
                        }
                        is_wanted
                    });
                    break;
                }
                Err(reason) => {
                    peer.link.send_modify(|link| {
                        if let Link::Down { failures, why } = link {
                            *failures += 1;
                            *why = reason.as_str().into();
                        }
                    });
                }
            }
        }
        tokio::time::sleep(REDIAL_PAUSE).await;
    }
}

/// Dials and exchanges a greeting, so that the connection is known to reach the member and not only something
/// that accepts for it.
async fn connect(own: &Own, member: MemberId, url: &str) -> Result<Connection, String> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| format!("{url}: {error}"))?
        .connect_timeout(own.silence)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 2)
        .tcp_nodelay(true);
    let greet = async {
        let channel = endpoint.connect().await.map_err(|error| chain_of(&error))?;
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let greeting = own.call(member, GREETING, Bytes::new());
        client.call(greeting).await.map_err(|status| status.to_string())?;
        Ok(client)
    };
    let client = timeout(own.silence, greet)
        .await
        .map_err(|_| format!("{url} did not answer within {:?}", own.silence))?
        .map_err(|error: String| format!("{url}: {error}"))?;
    Ok(Connection {
        client,
        answered: Mutex::new(Instant::now()),
    })
}

/// Whether tonic found the connection closed before it wrote the request, and could not make another.
fn was_never_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        if cause.is::<ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// An error with its causes: tonic's own text says only "transport error".
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Asks the member at a URL, whoever it is, which member is reached at these URLs.
pub(super) async fn ask_to_join(url: &str, peer_urls: &[String], within: Duration) -> Result<Welcome, String> {
    let nobody = Own {
        member: MemberId(0),
        incarnation: 0,
        seq: AtomicU64::new(0),
        silence: within,
    };
    let connection = connect(&nobody, MemberId(0), url).await?;
    let question = nobody.call(MemberId(0), wire::JOIN, wire::ask_to_join(peer_urls));
    let mut client = connection.client.clone();
    let answer = timeout(within, client.call(question)).await;
    let answer = answer.map_err(|_| format!("{url} did not answer within {within:?}"))?;
    let answer = answer.map_err(|status| format!("{url}: {}", status.message()))?;
    wire::read_welcome(&answer.into_inner().body)
}
