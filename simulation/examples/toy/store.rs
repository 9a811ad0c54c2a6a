//! The toy itself: a replicated map on openraft, as any store might be. It knows the simulator only by the names of its
//! runtime and its `Env`; generic over `Env`, as a store for production would be, it would not know even those.
//!
//! There are no snapshots: the log is kept whole and applied again after a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use openraft::errors::{ClientWriteError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::{Config, EntryPayload, OptionalSend, ReadPolicy, SnapshotPolicy, async_runtime::WatchReceiver as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tribunal_env::{CallError, Env as _, Transport as _};
use tribunal_history::MemberId;
use tribunal_simulation::{SimEnv, SimRuntime};

#[path = "log.rs"]
mod log;

openraft::declare_raft_types!(
    /// What openraft is configured with.
    pub Types:
        D = Put,
        R = u64,
        LeaderId = openraft::vote::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = SimRuntime,
);

/// The one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Which key.
    pub key: String,
    /// Its value from now on.
    pub value: u64,
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

type Raft = openraft::Raft<Types, Machine>;

/// What a put is answered with: its index in the log, or who leads.
pub type PutAnswer = Result<u64, Option<u64>>;

/// Runs a member until its process is killed. `acks_before_sync` is the planted bug.
pub async fn run(env: SimEnv, id: u64, members: Vec<u64>, acks_before_sync: bool) {
    let config = Config {
        heartbeat_interval: 100,
        election_timeout_min: 300,
        election_timeout_max: 600,
        snapshot_policy: SnapshotPolicy::Never,
        enable_pre_vote: Some(true),
        // The default resumes leadership after a restart with a map that is behind.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    let config = Arc::new(config.validate().expect("a valid configuration"));
    // A disk that fails ends the process, as it should.
    let Ok(log) = log::Log::open(&env, acks_before_sync).await else {
        return;
    };
    let is_new = log.is_empty();
    let machine = Machine::default();
    let network = Network { env: env.clone() };
    let Ok(raft) = Raft::new(id, config, network, log, machine.clone()).await else {
        return;
    };
    let handler = raft.clone();
    env.serve(move |_, method, body| answer(handler.clone(), machine.clone(), method, body));
    if is_new {
        let members = members
            .into_iter()
            .map(|id| (id, openraft::impls::BasicNode::default()));
        // An error means that another member was quicker.
        let _ = raft.initialize(members.collect::<BTreeMap<_, _>>()).await;
    }
    // Consensus ends by itself only if the disk has failed; then the process ends too.
    let mut metrics = raft.server_metrics();
    while metrics.changed().await.is_ok() {}
}

/// A message as it travels.
pub fn encode(value: &impl Serialize) -> Bytes {
    postcard::to_allocvec(value)
        .expect("a value that can be encoded")
        .into()
}

/// Reads a message; one that is none is refused.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    postcard::from_bytes(bytes).map_err(|error| CallError::Refused(error.to_string()))
}

async fn answer(raft: Raft, machine: Machine, method: &str, body: Bytes) -> Result<Bytes, CallError> {
    let unknown = |error: &dyn fmt::Display| CallError::TimedOut(error.to_string());
    match method {
        "append" => Ok(encode(
            &raft.append_entries(decode(&body)?).await.map_err(|e| unknown(&e))?,
        )),
        "vote" => Ok(encode(&raft.vote(decode(&body)?).await.map_err(|e| unknown(&e))?)),
        "pre-vote" => Ok(encode(&raft.pre_vote(decode(&body)?).await.map_err(|e| unknown(&e))?)),
        "put" => {
            let answer: PutAnswer = match raft.client_write(decode(&body)?).await {
                Ok(done) => Ok(done.data),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => Err(to.leader_id),
                Err(error) => return Err(unknown(&error)),
            };
            Ok(encode(&answer))
        }
        "map" => {
            let barrier = raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
            barrier.map_err(|error| CallError::Refused(error.to_string()))?;
            Ok(encode(&machine.lock().map))
        }
        _ => Err(CallError::Refused(format!("there is no method {method:?}"))),
    }
}

struct Network {
    env: SimEnv,
}

struct Link {
    env: SimEnv,
    target: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &openraft::impls::BasicNode) -> Link {
        let env = self.env.clone();
        Link { env, target }
    }
}

impl Link {
    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        request: &impl Serialize,
        option: &RPCOption,
    ) -> Result<T, RPCError<Types>> {
        let transport = self.env.transport();
        let answer = transport
            .call(MemberId(self.target), method, encode(request), option.soft_ttl())
            .await;
        let answer = answer.and_then(|bytes| decode(&bytes));
        answer.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.call("append", &request, &option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call("vote", &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call("pre-vote", &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<Types>,
        _snapshot: SnapshotOf<Types, Bytes>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(Unreachable::new(&no_snapshots())))
    }
}

fn no_snapshots() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the toy takes no snapshots")
}

/// The map, in memory only.
#[derive(Clone, Default)]
pub struct Machine(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    map: BTreeMap<String, u64>,
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let state = self.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.lock();
            state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Put { key, value }) => drop(state.map.insert(key, value)),
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                }
            }
            drop(state);
            if let Some(responder) = responder {
                responder.send(entry.log_id.index);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMetaOf<Types>, _snapshot: Bytes) -> io::Result<()> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Bytes>>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Bytes>> {
        Err(no_snapshots())
    }
}
