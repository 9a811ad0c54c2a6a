//! Clients over gRPC.
//!
//! Each client has one connection to one node. One whose node is no member, or has no vote yet, connects to the next
//! member that has one, until its own has; as etcd's clients go on to another endpoint. After anything but an answer it
//! drops the connection, so that the next operation starts on one that was dialled for it. What tonic reports is sorted
//! into what is known: dialling failed, so nothing was sent; our own deadline; a connection that broke; or a status,
//! which the node sent or our own stack made up. Only the last two cannot always be told apart, and
//! [`tribunal_workload::classify()`] does not rest on it where a write is concerned.
//!
//! An idle connection whose node died is noticed by tonic when the next request is made: it dials once more before
//! it sends. This is no retry: the request has not left, and if dialling fails it never does.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Request, Status, TimeoutExpired};
use tribunal_history::NodeId;
use tribunal_proto::etcdserverpb::kv_client::KvClient;
use tribunal_workload::{Call, Client, Failure, Response};

use crate::world::operator::Roster;

/// Metadata that names the operation, a decimal number unique in the run; nodes of ours name it in their evidence.
pub const OPERATION_METADATA: &str = "tribunal-operation";

/// Longest answer that is decoded. A write whose answer is too long did happen, so the limit is far above what any
/// request of a workload can be answered with.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A client of one node.
#[derive(Debug)]
pub struct TonicClient {
    node: NodeId,
    endpoint: Endpoint,
    connection: Option<KvClient<Channel>>,
    operations: Arc<AtomicU64>,
    moves: Option<Moves>,
}

/// Where a client goes whose node is no member.
#[derive(Clone, Debug)]
struct Moves {
    home: NodeId,
    roster: Arc<Roster>,
    endpoints: BTreeMap<NodeId, Endpoint>,
}

impl TonicClient {
    /// A client of `node`, which serves at `url` (`http://HOST:PORT`); not connected yet. `operations` counts the
    /// operations of the run, so it is shared by all of its clients.
    pub fn new(node: NodeId, url: &str, operations: Arc<AtomicU64>) -> Result<Self, tonic::transport::Error> {
        Ok(Self {
            node,
            endpoint: Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true),
            connection: None,
            operations,
            moves: None,
        })
    }

    /// The same client, which moves among the nodes that serve at `urls` when its own is no member that votes.
    ///
    /// # Errors
    /// If a URL is none.
    pub fn moving(
        mut self,
        roster: Arc<Roster>,
        urls: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<Self, tonic::transport::Error> {
        let endpoint = |(node, url)| Ok((node, Endpoint::from_shared(url)?.tcp_nodelay(true)));
        self.moves = Some(Moves {
            home: self.node,
            roster,
            endpoints: urls.into_iter().map(endpoint).collect::<Result<_, _>>()?,
        });
        Ok(self)
    }

    /// Goes where it is served; what it leaves is closed.
    fn move_on(&mut self) {
        let Some(moves) = &self.moves else { return };
        let Some(node) = moves.roster.voter_from(moves.home) else {
            return;
        };
        if node != self.node
            && let Some(endpoint) = moves.endpoints.get(&node)
        {
            self.node = node;
            self.endpoint = endpoint.clone();
            self.connection = None;
        }
    }

    fn request<T>(&self, message: T, within: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(within);
        // From 1 on: to a node 0 means that the operation has no number.
        let operation = 1 + self.operations.fetch_add(1, Ordering::Relaxed);
        request.metadata_mut().insert(
            MetadataKey::from_static(OPERATION_METADATA),
            MetadataValue::from(operation),
        );
        request
    }

    async fn send(&self, kv: &mut KvClient<Channel>, call: Call, within: Duration) -> Result<Response, Status> {
        match call {
            Call::Range(message) => {
                let answer = kv.range(self.request(message, within)).await?;
                Ok(Response::Range(answer.into_inner()))
            }
            Call::Put(message) => {
                let answer = kv.put(self.request(message, within)).await?;
                Ok(Response::Put(answer.into_inner()))
            }
            Call::DeleteRange(message) => {
                let answer = kv.delete_range(self.request(message, within)).await?;
                Ok(Response::DeleteRange(answer.into_inner()))
            }
            Call::Txn(message) => {
                let answer = kv.txn(self.request(message, within)).await?;
                Ok(Response::Txn(answer.into_inner()))
            }
        }
    }
}

impl Client for TonicClient {
    fn node(&self) -> NodeId {
        self.node
    }

    async fn connect(&mut self, within: Duration) -> Result<(), Failure> {
        self.move_on();
        if self.connection.is_some() {
            return Ok(());
        }
        // The limit also holds for the dialling of a connection that broke while idle.
        let endpoint = self.endpoint.clone().connect_timeout(within);
        match tokio::time::timeout(within, endpoint.connect()).await {
            Ok(Ok(channel)) => {
                self.connection = Some(KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX));
                Ok(())
            }
            Ok(Err(error)) => Err(Failure::NotSent(causes(&error))),
            Err(_) => Err(Failure::NotSent(format!(
                "no connection within {} ms",
                within.as_millis()
            ))),
        }
    }

    async fn call(&mut self, call: Call, within: Duration) -> Result<Response, Failure> {
        // Taken out, so that a call which is abandoned or fails leaves no connection behind.
        let Some(mut kv) = self.connection.take() else {
            return Err(Failure::NotSent("there is no connection".to_owned()));
        };
        let answer = tokio::time::timeout(within, unpanicked(self.send(&mut kv, call, within))).await;
        match answer {
            Ok(Ok(Ok(response))) => {
                self.connection = Some(kv);
                Ok(response)
            }
            Ok(Ok(Err(status))) => {
                let failure = failure(&status);
                // A node that answers with an error of its own is still there.
                if matches!(failure, Failure::Status { local: false, .. }) {
                    self.connection = Some(kv);
                }
                Err(failure)
            }
            Ok(Err(Panicked)) => Err(Failure::Broken("the answer made our gRPC library panic".to_owned())),
            Err(_) => Err(Failure::Deadline),
        }
    }
}

/// What is known of a request that ended with `status`.
pub(super) fn failure(status: &Status) -> Failure {
    // tonic keeps the reason of every status that it makes of an error; one that came in an answer has none.
    if let Some(source) = status.source() {
        let reasons = || std::iter::successors(Some(source), |reason| (*reason).source());
        // The one place that makes this error dials, before anything is sent.
        if reasons().any(|reason| reason.is::<ConnectError>()) {
            return Failure::NotSent(causes(source));
        }
        if reasons().any(|reason| reason.is::<TimeoutExpired>()) {
            return Failure::Deadline;
        }
        return Failure::Broken(causes(source));
    }
    Failure::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        local: MADE_HERE.iter().any(|start| status.message().starts_with(start)),
    }
}

/// How the statuses begin that tonic 0.14 makes of an answer which it cannot decode, or which has no status of its
/// own (`codec/decode.rs`, `client/grpc.rs`, `status.rs`). They keep no reason.
const MADE_HERE: [&str; 7] = [
    "Error, decoded message length too large",
    "Error decompressing",
    "protocol error: ",
    "failed to decode Protobuf message",
    "Missing response message.",
    "Unexpected EOF decoding stream.",
    "grpc-status header missing",
];

/// An error and the errors behind it, in one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| (*error).source()) {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

/// A library panicked on what a node sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// Awaits `future`, catching its panics: tonic panics on a malformed `grpc-status-details-bin`, and nothing that a
/// node says may end the run. The future is dropped afterwards, so what it left half done is not seen.
pub(super) async fn unpanicked<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or(Poll::Ready(Err(Panicked)), |poll| poll.map(Ok))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tribunal_proto::etcdserverpb as pb;
    use tribunal_proto::etcdserverpb::kv_server::{Kv, KvServer};

    use super::*;

    /// Far longer than anything on this machine takes; no test waits for it.
    const LONG: Duration = Duration::from_secs(60);

    /// A node that does what the key of a put says.
    struct Obedient;

    #[tonic::async_trait]
    impl Kv for Obedient {
        async fn range(
            &self,
            request: Request<pb::RangeRequest>,
        ) -> Result<tonic::Response<pb::RangeResponse>, Status> {
            let operation = request.metadata().get(OPERATION_METADATA).cloned();
            let limit = request.metadata().contains_key("grpc-timeout");
            Ok(tonic::Response::new(pb::RangeResponse {
                count: operation
                    .filter(|_| limit)
                    .and_then(|operation| operation.to_str().ok()?.parse().ok())
                    .unwrap_or(-1),
                ..pb::RangeResponse::default()
            }))
        }

        async fn put(&self, request: Request<pb::PutRequest>) -> Result<tonic::Response<pb::PutResponse>, Status> {
            match &request.get_ref().key[..] {
                b"refuse" => Err(Status::resource_exhausted("etcdserver: too many requests")),
                b"hang" => std::future::pending().await,
                b"long" => Ok(tonic::Response::new(pb::PutResponse {
                    prev_kv: Some(tribunal_proto::mvccpb::KeyValue {
                        value: vec![0; ANSWER_BYTES_MAX].into(),
                        ..Default::default()
                    }),
                    ..pb::PutResponse::default()
                })),
                _ => Ok(tonic::Response::new(pb::PutResponse::default())),
            }
        }

        async fn delete_range(
            &self,
            _request: Request<pb::DeleteRangeRequest>,
        ) -> Result<tonic::Response<pb::DeleteRangeResponse>, Status> {
            Ok(tonic::Response::new(pb::DeleteRangeResponse::default()))
        }

        async fn txn(&self, _request: Request<pb::TxnRequest>) -> Result<tonic::Response<pb::TxnResponse>, Status> {
            Ok(tonic::Response::new(pb::TxnResponse::default()))
        }

        async fn compact(
            &self,
            _request: Request<pb::CompactionRequest>,
        ) -> Result<tonic::Response<pb::CompactionResponse>, Status> {
            Err(Status::unimplemented("not here"))
        }
    }

    async fn serve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(KvServer::new(Obedient).max_encoding_message_size(usize::MAX))
                .serve_with_incoming(incoming),
        );
        address
    }

    fn client(address: SocketAddr) -> TonicClient {
        TonicClient::new(NodeId(1), &format!("http://{address}"), Arc::default()).expect("a good URL")
    }

    async fn connected(address: SocketAddr) -> TonicClient {
        let mut client = client(address);
        client.connect(LONG).await.expect("connects");
        client
    }

    fn put(key: &'static str) -> Call {
        Call::Put(pb::PutRequest {
            key: key.into(),
            ..pb::PutRequest::default()
        })
    }

    fn range() -> Call {
        Call::Range(pb::RangeRequest::default())
    }

    #[tokio::test]
    async fn answers_come_back_and_each_operation_has_a_number_of_its_own() {
        let mut client = connected(serve().await).await;
        // 0 means none.
        for number in 1..=3 {
            let Ok(Response::Range(answer)) = client.call(range(), LONG).await else {
                panic!("no answer");
            };
            assert_eq!(answer.count, number, "the number arrives, and so does the deadline");
        }
        let txn = client.call(Call::Txn(pb::TxnRequest::default()), LONG).await;
        assert_eq!(txn, Ok(Response::Txn(pb::TxnResponse::default())));
        let delete = client
            .call(Call::DeleteRange(pb::DeleteRangeRequest::default()), LONG)
            .await;
        assert_eq!(delete, Ok(Response::DeleteRange(pb::DeleteRangeResponse::default())));
    }

    #[tokio::test]
    async fn what_the_node_says_is_kept_word_for_word_and_the_connection_too() {
        let mut client = connected(serve().await).await;
        let refused = Failure::Status {
            code: 8,
            message: "etcdserver: too many requests".to_owned(),
            local: false,
        };
        assert_eq!(client.call(put("refuse"), LONG).await, Err(refused));
        assert!(client.call(range(), LONG).await.is_ok(), "no connecting in between");
    }

    #[tokio::test]
    async fn an_answer_too_long_to_decode_is_known_to_be_ours() {
        let mut client = connected(serve().await).await;
        let Err(Failure::Status { code, message, local }) = client.call(put("long"), LONG).await else {
            panic!("decoded");
        };
        assert!((code, local) == (11, true), "{code} {message}");
        assert!(message.contains("decoded message length too large"), "{message}");
    }

    #[tokio::test]
    async fn without_an_answer_the_deadline_passes_and_the_connection_goes() {
        let mut client = connected(serve().await).await;
        let answer = client.call(put("hang"), Duration::from_millis(50)).await;
        assert_eq!(answer, Err(Failure::Deadline));
        let unconnected = client.call(range(), LONG).await;
        assert_eq!(unconnected, Err(Failure::NotSent("there is no connection".to_owned())));
        client.connect(LONG).await.expect("dials anew");
        assert!(client.call(range(), LONG).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_listening_means_that_nothing_was_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let refused = client(address).connect(LONG).await;
        let Err(Failure::NotSent(why)) = &refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("refused"), "{why}");
    }

    /// A node that dies after it has read the request: it may have acted on it.
    #[tokio::test]
    async fn a_connection_that_breaks_leaves_the_operation_in_doubt() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let node = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            read_until(&mut stream, b"refuse").await?;
            drop((stream, listener));
            io::Result::Ok(())
        });
        let mut client = connected(address).await;
        let answer = client.call(put("refuse"), LONG).await;
        node.await.expect("no panic").expect("the request arrived");
        assert!(matches!(answer, Err(Failure::Broken(_))), "{answer:?}");
    }

    /// The node died while the client was idle, and is not back.
    #[tokio::test]
    async fn a_connection_that_broke_while_idle_is_never_a_definite_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (mut client, accepted) = tokio::join!(connected(address), listener.accept());
        drop((accepted, listener));
        let answer = client.call(put("x"), LONG).await;
        assert!(
            matches!(answer, Err(Failure::NotSent(_) | Failure::Broken(_))),
            "{answer:?}"
        );
        assert!(
            client.connect(LONG).await.is_err(),
            "the connection is dropped, and nobody is there"
        );
    }

    #[tokio::test]
    async fn something_that_speaks_no_http2_breaks_and_panics_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            }
        });
        let mut client = client(address);
        let answer = match client.connect(LONG).await {
            Ok(()) => client.call(put("x"), LONG).await.map(|_| ()),
            Err(failure) => Err(failure),
        };
        assert!(
            matches!(answer, Err(Failure::NotSent(_) | Failure::Broken(_))),
            "{answer:?}"
        );
    }

    #[tokio::test]
    async fn a_panic_of_a_library_is_an_answer_that_broke() {
        let panicking = async {
            assert!(std::hint::black_box(false), "malformed");
        };
        assert_eq!(unpanicked(panicking).await, Err(Panicked));
        assert_eq!(unpanicked(async { 7 }).await, Ok(7));
    }

    #[test]
    fn a_url_that_is_none_is_refused() {
        assert!(TonicClient::new(NodeId(1), "http://[", Arc::default()).is_err());
    }

    async fn read_until(stream: &mut tokio::net::TcpStream, what: &[u8]) -> io::Result<()> {
        let mut read = Vec::new();
        while !read.windows(what.len()).any(|window| window == what) {
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
