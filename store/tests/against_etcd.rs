//! Goal: this store answers like etcd, in every field, code and text.
//! Method: the same random requests, one after the other, to an etcd of one member and to our services with a
//! state machine below them. Only ids and terms may differ. Skipped, and reported so, where there is no etcd;
//! an error there if `TRIBUNAL_REQUIRE_PEERS` is set.
#![expect(clippy::disallowed_methods, reason = "waits for a real process to be ready")]

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::transport::{Channel, Endpoint};
use tribunal_history::{LogIndex, MemberId, Term};
use tribunal_proto::etcdserverpb::kv_client::KvClient;
use tribunal_proto::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader, TxnResponse,
};
use tribunal_proto::peer::Command;
use tribunal_store::api;
use tribunal_store::kv::Kv;
use tribunal_store::service::{ApiError, Applied, Barrier, Consensus, Context, MemberInfo, NodeStatus};

mod requests;

use requests::Call;

/// Enough that each kind of refusal comes several times; etcd needs a few milliseconds for each.
const CALLS: usize = 1500;

#[test]
fn every_answer_is_etcds() {
    let Some(etcd) = Etcd::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut theirs = KvClient::new(etcd.connect().await);
        let state = Single::default();
        let mut ours = KvClient::new(api::router(state.clone(), || Duration::ZERO));
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let mut refused = 0;
        for number in 0..CALLS {
            let newest = state.with_state(Kv::revision).0;
            let call = requests::call(newest + 1)
                .new_tree(&mut runner)
                .expect("a call")
                .current();
            let expected = ask(&mut theirs, call.clone()).await;
            let found = ask(&mut ours, call.clone()).await;
            assert_eq!(found, expected, "left is ours, right etcd's; call {number}: {call:?}");
            refused += usize::from(found.is_err());
        }
        let revision = state.with_state(Kv::revision).0;
        eprintln!("{CALLS} calls, {refused} refused, revision {revision}");
        assert!(refused > CALLS / 50, "only {refused} refusals");
        assert!(revision > CALLS as i64 / 10, "only revision {revision}");
    });
}

#[derive(Debug, PartialEq)]
enum Answer {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
}

/// Asks, and drops from the answer what differs between clusters.
async fn ask<T>(client: &mut KvClient<T>, call: Call) -> Result<Answer, (i32, String)>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let answer = match call {
        Call::Range(request) => client
            .range(request)
            .await
            .map(|response| Answer::Range(response.into_inner())),
        Call::Put(request) => client
            .put(request)
            .await
            .map(|response| Answer::Put(response.into_inner())),
        Call::DeleteRange(request) => client
            .delete_range(request)
            .await
            .map(|response| Answer::DeleteRange(response.into_inner())),
        Call::Txn(request) => client
            .txn(request)
            .await
            .map(|response| Answer::Txn(response.into_inner())),
        Call::Compact(request) => client
            .compact(request)
            .await
            .map(|response| Answer::Compact(response.into_inner())),
    };
    let mut answer = answer.map_err(|status| (status.code() as i32, status.message().to_owned()))?;
    let header = match &mut answer {
        Answer::Range(response) => &mut response.header,
        Answer::Put(response) => &mut response.header,
        Answer::DeleteRange(response) => &mut response.header,
        Answer::Txn(response) => &mut response.header,
        Answer::Compact(response) => &mut response.header,
    };
    *header = header.map(|header| ResponseHeader {
        revision: header.revision,
        ..ResponseHeader::default()
    });
    Ok(answer)
}

/// A state machine whose commands are committed at once.
#[derive(Clone, Default)]
struct Single(Arc<Mutex<Kv>>);

impl Consensus for Single {
    async fn propose(&self, _: Context, command: Command) -> Result<Applied, ApiError> {
        let reply = self.0.lock().expect("unpoisoned").apply(&command);
        Ok(Applied {
            reply,
            term: Term(1),
            index: LogIndex(1),
        })
    }

    async fn read_barrier(&self, _: Context) -> Result<Barrier, ApiError> {
        Ok(Barrier {
            term: Term(1),
            index: LogIndex(1),
            read: 1,
        })
    }

    fn with_state<R>(&self, read: impl FnOnce(&Kv) -> R) -> R {
        read(&self.0.lock().expect("unpoisoned"))
    }

    fn status(&self) -> NodeStatus {
        let index = LogIndex(1);
        NodeStatus {
            cluster: 1,
            member: MemberId(1),
            leader: Some(MemberId(1)),
            term: Term(1),
            applied: index,
            committed: index,
            last: index,
            is_learner: false,
            size_bytes: 0,
        }
    }

    fn members(&self) -> Vec<MemberInfo> {
        Vec::new()
    }
}

/// An etcd of one member, killed when dropped.
struct Etcd {
    child: Child,
    client_url: String,
    folder: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Option<Self> {
        let program = std::env::var("TRIBUNAL_ETCD").unwrap_or_else(|_| "etcd".to_owned());
        let folder = tempfile::tempdir().expect("a folder");
        let [client_url, peer_url] = [free_url(), free_url()];
        let log = File::create(folder.path().join("log")).expect("a log");
        let child = Program::new(&program)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args([
                "--listen-client-urls",
                &client_url,
                "--advertise-client-urls",
                &client_url,
            ])
            .args([
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
            ])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        match child {
            Ok(child) => Some(Self {
                child,
                client_url,
                folder,
            }),
            Err(error) => {
                let required = std::env::var("TRIBUNAL_REQUIRE_PEERS").is_ok_and(|value| value == "1");
                assert!(!required, "{program} is required and does not start: {error}");
                eprintln!("skipped: {program} does not start: {error}");
                None
            }
        }
    }

    async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.client_url.clone()).expect("a URL");
        for _ in 0..600 {
            if let Ok(channel) = endpoint.connect().await {
                return channel;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("etcd does not answer: {}", log_of(self.folder.path()));
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Nothing can be done about a child that cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn free_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}
