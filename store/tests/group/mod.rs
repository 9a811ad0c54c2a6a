//! Three whole members in one process: each with a disk in memory, between them calls that can be cut and counted.
//!
//! Time is real, so no test may rest on how long anything takes: what a test asserts must hold however slow the
//! machine is, and where a leader that changes by itself would blur it, the test begins anew.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{AsyncRuntime as _, CallError, Clock, Env, Method, Stream, Transport, seeded};
use tribunal_history::{Evidence, MemberId};
use tribunal_proto::etcdserverpb as pb;
use tribunal_store::consensus::{
    ENTRIES_KEPT, HandlerError, Identity, Node, NodeSettings, Peer, PeerHandler, member_id,
};
use tribunal_store::defect::Defects;
use tribunal_store::service::{ApiError, ClusterService, Consensus as _, Context, KvService};
use tribunal_store::wal;

use crate::support::{MemoryDisk, NoPeers};

const TOKEN: &str = "t";

fn peer(name: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        peer_urls: vec![format!("http://{name}")],
    }
}

/// What happens to the calls between one member and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// They vanish: nobody knows whether they were executed.
    Silent,
    /// They are refused before they are sent.
    Refused,
}

/// What the members share.
#[derive(Default)]
pub struct Network {
    handlers: Mutex<BTreeMap<MemberId, PeerHandler<MemberEnv>>>,
    cuts: Mutex<BTreeMap<MemberId, Cut>>,
    calls: Mutex<Vec<Method>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

/// The world of one member.
#[derive(Clone)]
pub struct MemberEnv {
    own: MemberId,
    disk: MemoryDisk,
    network: Arc<Network>,
    clock: Began,
}

#[derive(Clone, Copy)]
pub struct Began(Instant);

impl Clock for Began {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }
}

impl Transport for MemberEnv {
    type Stream = NoPeers;

    async fn call(&self, to: MemberId, method: Method, body: Bytes, within: Duration) -> Result<Bytes, CallError> {
        lock(&self.network.calls).push(method);
        let cut = {
            let cuts = lock(&self.network.cuts);
            cuts.get(&self.own).or(cuts.get(&to)).copied()
        };
        let silent = || CallError::TimedOut("nothing came back".to_owned());
        let handler = lock(&self.network.handlers).get(&to).cloned();
        let handler = match (cut, handler) {
            (None, Some(handler)) => handler,
            (Some(Cut::Silent), _) => {
                TokioRuntime::sleep(within).await;
                return Err(silent());
            }
            (Some(Cut::Refused), _) | (None, None) => return Err(CallError::Refused("it is cut off".to_owned())),
        };
        // In a task of its own, as in a server.
        let answer = TokioRuntime::spawn(async move { handler.call(method, body).await });
        match TokioRuntime::timeout(within, answer).await {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(HandlerError::Refused(why)))) => Err(CallError::Refused(why)),
            Ok(Ok(Err(HandlerError::Failed(_))) | Err(_)) | Err(_) => Err(silent()),
        }
    }

    async fn stream(&self, _: MemberId, _: Method) -> Result<NoPeers, CallError> {
        Err(CallError::Refused("there are no streams".to_owned()))
    }
}

impl Env for MemberEnv {
    type Runtime = TokioRuntime;
    type Disk = MemoryDisk;
    type Transport = Self;
    type Clock = Began;

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn transport(&self) -> &Self {
        self
    }

    fn clock(&self) -> &Began {
        &self.clock
    }

    fn rng(&self, stream: Stream) -> ChaCha8Rng {
        seeded(self.own.0, 0, stream)
    }

    fn buggify(&self, _point: &'static str) -> bool {
        false
    }

    fn record(&self, _evidence: Evidence) {}

    fn settle(&self) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// The members; three at first.
pub struct Group {
    pub nodes: Vec<Node<MemberEnv>>,
    envs: Vec<MemberEnv>,
    identities: Vec<Option<Identity>>,
    peers: Vec<Peer>,
    options: Options,
    network: Arc<Network>,
    began: Instant,
}

/// How the members are configured.
#[derive(Clone)]
pub struct Options {
    pub defects: Defects,
    pub snapshot_count: u64,
    pub entries_kept: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            defects: Defects::new(),
            snapshot_count: 1_000_000,
            entries_kept: ENTRIES_KEPT,
        }
    }
}

impl Group {
    /// Starts three members without snapshots.
    pub async fn start(defects: Defects) -> Self {
        let options = Options {
            defects,
            ..Options::default()
        };
        Self::with(3, options).await
    }

    /// Starts so many members.
    pub async fn with(count: usize, options: Options) -> Self {
        let peers = (1..=count)
            .map(|number| peer(&format!("n{number}")))
            .collect::<Vec<_>>();
        let mut group = Self {
            nodes: Vec::new(),
            envs: Vec::new(),
            identities: vec![None; count],
            peers: peers.clone(),
            options,
            network: Arc::default(),
            began: Instant::now(),
        };
        for peer in &peers {
            let env = group.env(member_id(peer, TOKEN));
            let node = group.boot(&env, &peer.name, None).await;
            group.envs.push(env);
            group.nodes.push(node);
        }
        group
    }

    fn env(&self, own: MemberId) -> MemberEnv {
        MemberEnv {
            own,
            disk: MemoryDisk::default(),
            network: self.network.clone(),
            clock: Began(self.began),
        }
    }

    async fn boot(&self, env: &MemberEnv, name: &str, joining: Option<Identity>) -> Node<MemberEnv> {
        let settings = NodeSettings {
            name: name.to_owned(),
            peers: self.peers.clone(),
            token: TOKEN.to_owned(),
            client_urls: Vec::new(),
            heartbeat: Duration::from_millis(50),
            election: Duration::from_millis(500),
            joining,
            snapshot_count: self.options.snapshot_count,
            entries_kept: self.options.entries_kept,
            wal: wal::Settings {
                segment_bytes: 1 << 16,
                ..wal::Settings::default()
            },
            defects: self.options.defects.clone(),
        };
        let node = Node::start(env.clone(), settings).await.expect("starts");
        lock(&self.network.handlers).insert(env.own, PeerHandler::new(node.clone()));
        node
    }

    /// Ends a member and starts it again from what its disk has synced.
    pub async fn restart(&mut self, place: usize) {
        let own = self.envs[place].own;
        lock(&self.network.handlers).remove(&own);
        let disk = self.envs[place].disk.after(|_, _| {});
        self.nodes[place].stop().await;
        self.envs[place].disk = disk;
        let name = self.peers[place].name.clone();
        self.nodes[place] = self
            .boot(&self.envs[place].clone(), &name, self.identities[place])
            .await;
    }

    /// Where members are reached that were never added.
    pub fn urls(number: usize) -> Vec<String> {
        vec![format!("http://n{number}:2380")]
    }

    /// Adds a member through one of the others; it is not started.
    pub async fn add(
        &self,
        through: &Node<MemberEnv>,
        number: usize,
        is_learner: bool,
    ) -> Result<pb::MemberAddResponse, ApiError> {
        let request = pb::MemberAddRequest {
            peer_ur_ls: Self::urls(number),
            is_learner,
        };
        ClusterService::new(through.clone())
            .member_add(Context::default(), request)
            .await
    }

    /// Starts a member that was added.
    pub async fn join(&mut self, number: usize, added: &pb::MemberAddResponse) {
        let identity = Identity {
            cluster: added.header.as_ref().expect("a header").cluster_id,
            member: MemberId(added.member.as_ref().expect("a member").id),
        };
        self.peers.push(Peer {
            name: format!("n{number}"),
            peer_urls: Self::urls(number),
        });
        let env = self.env(identity.member);
        let node = self.boot(&env, &format!("n{number}"), Some(identity)).await;
        self.envs.push(env);
        self.identities.push(Some(identity));
        self.nodes.push(node);
    }

    /// Removes a member through one of them.
    pub async fn remove(&self, through: &Node<MemberEnv>, member: MemberId) -> Result<(), ApiError> {
        let request = pb::MemberRemoveRequest { id: member.0 };
        let removed = ClusterService::new(through.clone())
            .member_remove(Context::default(), request)
            .await;
        removed.map(drop)
    }

    /// Takes a member out of the group, and ends it if it has not ended.
    pub async fn take(&mut self, member: MemberId) -> Node<MemberEnv> {
        let place = self
            .nodes
            .iter()
            .position(|node| node.id() == member)
            .expect("a member");
        self.envs.remove(place);
        self.identities.remove(place);
        self.peers.remove(place);
        self.nodes.remove(place)
    }

    /// The members with a vote, as the leader knows them.
    pub async fn voters(&self) -> usize {
        let leader = self.leader().await;
        leader.members().iter().filter(|member| !member.is_learner).count()
    }

    /// Paths of the files on a member's disk.
    pub fn files(&self, place: usize) -> Vec<String> {
        self.envs[place].disk.paths()
    }

    /// Waits until a majority of those that are not cut off agrees on a leader among them.
    pub async fn leader(&self) -> Node<MemberEnv> {
        loop {
            let reached: Vec<_> = self.nodes.iter().filter(|node| !self.is_cut(node.id())).collect();
            for node in &reached {
                let following = |other: &&&Node<MemberEnv>| other.status().leader == Some(node.id());
                if reached.iter().filter(following).count() > self.nodes.len() / 2 {
                    return (*node).clone();
                }
            }
            TokioRuntime::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Cuts a member off from the others.
    pub fn cut(&self, member: MemberId, cut: Cut) {
        lock(&self.network.cuts).insert(member, cut);
    }

    /// Undoes every cut.
    pub fn heal(&self) {
        lock(&self.network.cuts).clear();
    }

    fn is_cut(&self, member: MemberId) -> bool {
        lock(&self.network.cuts).contains_key(&member)
    }

    /// How many calls of this method were made so far.
    pub fn calls(&self, method: &str) -> usize {
        lock(&self.network.calls).iter().filter(|made| **made == method).count()
    }

    /// A request that may take this long from now.
    pub fn within(&self, time: Duration) -> Context {
        Context {
            deadline: Some(self.began.elapsed() + time),
            ..Context::default()
        }
    }

    /// Puts `value` through `node`; the revision that the answer names.
    pub async fn put(&self, node: &Node<MemberEnv>, time: Duration, key: &str, value: &str) -> Result<i64, ApiError> {
        let request = pb::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..pb::PutRequest::default()
        };
        let answer = KvService::new(node.clone()).put(self.within(time), request).await?;
        Ok(answer.header.expect("a header").revision)
    }

    /// Reads `key` through `node`, linearizably: its value and its mod revision.
    pub async fn get(
        &self,
        node: &Node<MemberEnv>,
        time: Duration,
        key: &str,
    ) -> Result<Option<(String, i64)>, ApiError> {
        let request = pb::RangeRequest {
            key: key.to_owned().into(),
            ..pb::RangeRequest::default()
        };
        let answer = KvService::new(node.clone()).range(self.within(time), request).await?;
        Ok(answer
            .kvs
            .first()
            .map(|kv| (String::from_utf8_lossy(&kv.value).into_owned(), kv.mod_revision)))
    }

    /// Replaces `expect` by `value`; whether it did.
    pub async fn swap(
        &self,
        node: &Node<MemberEnv>,
        time: Duration,
        key: &str,
        expect: &str,
        value: &str,
    ) -> Result<bool, ApiError> {
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Equal as i32,
            target: pb::compare::CompareTarget::Value as i32,
            key: key.to_owned().into(),
            target_union: Some(pb::compare::TargetUnion::Value(expect.to_owned().into())),
            ..pb::Compare::default()
        };
        let put = pb::request_op::Request::RequestPut(pb::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..pb::PutRequest::default()
        });
        let request = pb::TxnRequest {
            compare: vec![compare],
            success: vec![pb::RequestOp { request: Some(put) }],
            failure: Vec::new(),
        };
        let answer = KvService::new(node.clone()).txn(self.within(time), request).await?;
        Ok(answer.succeeded)
    }
}
