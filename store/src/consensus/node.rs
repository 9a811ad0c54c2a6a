//! A member: openraft with everything around it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::errors::{Fatal, InitializeError, RaftError};
use openraft::{Config, ConfigError, Raft, ServerState, SnapshotPolicy};
use openraft_rt::{AsyncRuntime, WatchReceiver as _};
use tribunal_env::{Clock as _, Env};
use tribunal_history::evidence::Role;
use tribunal_history::{Evidence, LogIndex, MemberId, NodeId, Revision, Term};
use tribunal_proto::peer;

use super::identity::{Identity, Peer, member_id};
use super::log::LogStore;
use super::machine::{Machine, as_snapshot};
use super::network::Network;
use super::read::Reads;
use super::types::{Member, Types};
use super::wire::{Card, Welcome};
use crate::defect::{Defect, Defects};
use crate::kv::Kv;
use crate::service::{
    ApiError, Applied, Barrier, ChangedMembers, Consensus, Context, MemberChange, MemberInfo, NodeStatus,
};
use crate::wal::snapshot::{ContentId, Incoming};
use crate::wal::{self, SnapshotStore, Wal, WalError};

/// Entries that stay in the log after a snapshot, unless told otherwise, so that a member that is a little behind
/// needs no snapshot; as in etcd.
pub const ENTRIES_KEPT: u64 = 5_000;

/// Beyond two elections, how long a request may take before the server gives up; as in etcd.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Why a member ends that was removed; see [`Node::failed`].
pub const REMOVED: &str = "the member has been removed from the cluster for ever; its data are of no use any more";

/// How a member is configured.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its name, which must be one of `peers`.
    pub name: String,
    /// The initial cluster; the same on all members that found it. For a member that joins: who is there now, and
    /// itself.
    pub peers: Vec<Peer>,
    /// The initial cluster's token.
    pub token: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Between a leader's heartbeats.
    pub heartbeat: Duration,
    /// A follower stands for election after one and a half to two of these without a heartbeat; more than two
    /// heartbeats.
    pub election: Duration,
    /// Who it is, where it joins a cluster that exists: it founds none, and waits to be told of the log. None for a
    /// member of the initial cluster, whose id follows from its entry in `peers`.
    pub joining: Option<Identity>,
    /// Entries between snapshots.
    pub snapshot_count: u64,
    /// Entries that stay in the log after a snapshot.
    pub entries_kept: u64,
    /// The log.
    pub wal: wal::Settings,
    /// Planted bugs.
    pub defects: Defects,
}

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its name is not in the initial cluster.
    #[error("member {name:?} is not in the initial cluster, which has {known}")]
    NotAMember {
        /// The name.
        name: String,
        /// The names in the initial cluster.
        known: String,
    },
    /// Its disk cannot be read or written, or holds something else.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// Its timers contradict each other.
    #[error("heartbeat interval and election timeout do not fit: {0}")]
    Timers(#[from] ConfigError),
    /// openraft could not start.
    #[error("consensus cannot start: {0}")]
    Consensus(String),
}

/// A running member; clones are handles to it.
pub struct Node<E: Env> {
    pub(super) inner: Arc<Inner<E>>,
}

pub(super) struct Inner<E: Env> {
    pub(super) env: E,
    pub(super) own: MemberId,
    cluster: u64,
    pub(super) raft: Raft<Types<E>, Machine<E>>,
    pub(super) log: LogStore<E>,
    pub(super) machine: Machine<E>,
    pub(super) reads: Arc<Reads>,
    pub(super) settings: NodeSettings,
    /// What members said of themselves.
    cards: Mutex<BTreeMap<u64, Card>>,
    /// With the defect `ack-before-quorum`: the last entry that was acknowledged before a quorum had it.
    acknowledged: Mutex<(Term, LogIndex)>,
    /// The snapshot that is being received, and what its content is called.
    incoming: Mutex<Option<(ContentId, Incoming<E>)>>,
}

impl<E: Env> Node<E> {
    /// Recovers the disk, starts consensus, and founds the cluster if the disk is empty.
    ///
    /// All members of a new cluster found it with the same membership, which makes the same first entry on each
    /// (openraft, `Raft::initialize`). A member whose disk holds a vote or an entry never does so again.
    pub async fn start(env: E, settings: NodeSettings) -> Result<Self, StartError> {
        let place = settings.peers.iter().position(|peer| peer.name == settings.name);
        let Some(place) = place else {
            let names: Vec<_> = settings.peers.iter().map(|peer| peer.name.as_str()).collect();
            return Err(StartError::NotAMember {
                name: settings.name,
                known: names.join(", "),
            });
        };
        let identity = settings
            .joining
            .unwrap_or_else(|| Identity::of_founder(&settings.peers, place, &settings.token));
        let own = identity.member;
        let config = Arc::new(raft_config(&settings)?);

        let wal_settings = wal::Settings {
            defects: settings.defects.clone(),
            ..settings.wal.clone()
        };
        let (wal, image) = Wal::open(&env, wal_settings).await?;
        let snapshots = SnapshotStore::open(&env).await?;
        let last = image.last;
        env.record(Evidence::Boot {
            node: node_id(&settings.name, place),
            member: own,
            vote: image.vote,
            last,
            purged: image.purged,
        });
        let is_new = image.vote.is_none() && last.is_none();
        let kept = snapshots
            .current()
            .map(as_snapshot)
            .transpose()
            .map_err(|error| WalError::io("read", "the snapshot", &error))?;
        let covered = kept
            .and_then(|kept| kept.meta.last_log_id)
            .map(|last| LogIndex(last.index));
        if image.purged.map(|purged| purged.index) > covered {
            return Err(WalError::Corrupt {
                path: wal::FOLDER.to_owned(),
                offset: 0,
                what: "its beginning was purged, and the snapshot that took its place is gone".to_owned(),
            }
            .into());
        }
        let log = LogStore::new(env.clone(), wal, image)?.plant(&settings.defects, own);
        let machine = Machine::new(env.clone(), log.clone(), snapshots).plant(&settings.defects);
        let reads = Arc::new(Reads::default());
        let network = Network {
            env: env.clone(),
            own,
            reads: Arc::clone(&reads),
            heartbeat: settings.heartbeat,
        };
        let raft = Raft::new(own.0, config, network, log.clone(), machine.clone())
            .await
            .map_err(|error| StartError::Consensus(error.to_string()))?;
        if is_new && settings.joining.is_none() {
            found(&raft, &settings).await?;
        }
        let node = Self {
            inner: Arc::new(Inner {
                cluster: identity.cluster,
                env,
                own,
                raft,
                log,
                machine,
                reads,
                settings,
                cards: Mutex::default(),
                acknowledged: Mutex::default(),
                incoming: Mutex::default(),
            }),
        };
        drop(E::Runtime::spawn(node.clone().record_roles()));
        drop(E::Runtime::spawn(node.clone().follow_membership()));
        drop(E::Runtime::spawn(node.clone().promote_pending()));
        Ok(node)
    }

    /// Its member id.
    pub fn id(&self) -> MemberId {
        self.inner.own
    }

    /// Waits until the member cannot go on, and says why.
    pub async fn failed(&self) -> String {
        match E::Runtime::select2(self.broken(), self.removed()).await {
            openraft_rt::Select2::First(why) => why,
            openraft_rt::Select2::Second(()) => REMOVED.to_owned(),
        }
    }

    async fn broken(&self) -> String {
        let wal = self.inner.log.wal().clone();
        let mut metrics = self.inner.raft.server_metrics();
        let stopped = async move { while metrics.changed().await.is_ok() {} };
        let first = E::Runtime::select2(wal.failed(), stopped).await;
        match (first, self.inner.log.wal().failure()) {
            (openraft_rt::Select2::First(error), _) | (_, Some(error)) => error.to_string(),
            (openraft_rt::Select2::Second(()), None) => {
                match &self.inner.raft.metrics().borrow_watched().running_state {
                    Ok(()) => "consensus has ended by itself; if it panicked, the log says so above".to_owned(),
                    Err(error) => format!("consensus has stopped: {error}"),
                }
            }
        }
    }

    /// Stops consensus and writes what waits.
    pub async fn stop(&self) {
        // It ends either way; an error means that its task panicked, which `failed` has reported.
        let _ = self.inner.raft.shutdown().await;
        let (told, answer) = <<E::Runtime as AsyncRuntime>::Oneshot as openraft_rt::Oneshot>::channel::<()>();
        let done = Box::new(move |_| {
            let _ = openraft_rt::OneshotSender::send(told, ());
        });
        self.inner.log.wal().flush(done).await;
        let _ = answer.await;
        let _ = self.inner.env.settle().await;
    }

    pub(super) fn env(&self) -> &E {
        &self.inner.env
    }

    pub(super) fn raft(&self) -> &Raft<Types<E>, Machine<E>> {
        &self.inner.raft
    }

    pub(super) fn snapshots(&self) -> &SnapshotStore<E> {
        self.inner.machine.snapshots()
    }

    pub(super) fn incoming(&self) -> &Mutex<Option<(ContentId, Incoming<E>)>> {
        &self.inner.incoming
    }

    pub(super) fn has(&self, defect: Defect) -> bool {
        self.inner.settings.defects.contains(&defect)
    }

    /// Planted defect `ack-before-quorum`: notes that an entry is acknowledged.
    pub(super) fn note_acknowledged(&self, term: Term, index: LogIndex) {
        let mut last = self.inner.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max((term, index));
    }

    /// Planted defect `ack-before-quorum`: the last entry that this member acknowledged while it led in `term`.
    pub(super) fn acknowledged_in(&self, term: Term) -> Option<LogIndex> {
        let last = *self.inner.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        (last.0 == term).then_some(last.1)
    }

    /// The leader that this member knows.
    pub(super) fn leader(&self) -> Option<MemberId> {
        let metrics = self.inner.raft.metrics();
        let leader = metrics.borrow_watched().current_leader;
        leader.map(MemberId)
    }

    /// When to give up on a request: after the time that etcd allows, or at its own deadline if that is earlier.
    pub(super) fn deadline(&self, context: Context) -> Duration {
        let latest = self.now() + REQUEST_TIME + 2 * self.inner.settings.election;
        context.deadline.map_or(latest, |deadline| deadline.min(latest))
    }

    pub(super) fn now(&self) -> Duration {
        self.inner.env.clock().monotonic()
    }

    /// Waits a little for a leader to appear; false if the deadline is before that.
    pub(super) async fn pause(&self, deadline: Duration) -> bool {
        let pause = self.inner.settings.heartbeat.min(Duration::from_millis(50));
        let left = deadline.saturating_sub(self.now());
        if left <= pause {
            E::Runtime::sleep(left).await;
            return false;
        }
        E::Runtime::sleep(pause).await;
        true
    }

    /// Evidence of roles, from openraft's metrics: a role that did not last may be missing.
    async fn record_roles(self) {
        let mut metrics = self.inner.raft.server_metrics();
        let mut before = None;
        loop {
            let (state, term) = {
                let metrics = metrics.borrow_and_update();
                (metrics.state, Term(metrics.vote.leader_id.term))
            };
            let role = match state {
                ServerState::Leader => Role::Leader,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner => Role::Learner,
                ServerState::Shutdown => Role::Shutdown,
            };
            if before != Some((role, term)) {
                self.inner.env.record(Evidence::Role { role, term });
                before = Some((role, term));
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// What this member tells of itself.
    pub(super) fn card(&self) -> Card {
        Card {
            member: self.inner.own.0,
            name: self.inner.settings.name.clone(),
            client_urls: self.inner.settings.client_urls.clone(),
        }
    }

    /// Keeps what another member told of itself.
    pub(super) fn keep(&self, card: Card) {
        self.cards().insert(card.member, card);
    }

    pub(super) fn forget(&self, member: u64) {
        self.cards().remove(&member);
    }

    /// Whether all of these have told of themselves.
    pub(super) fn has_met<'a>(&self, mut members: impl Iterator<Item = &'a u64>) -> bool {
        let cards = self.cards();
        members.all(|member| cards.contains_key(member))
    }

    fn cards(&self) -> MutexGuard<'_, BTreeMap<u64, Card>> {
        self.inner.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers who asks which member is reached at these URLs.
    pub(super) fn welcome(&self, mut peer_urls: Vec<String>) -> Welcome {
        peer_urls.sort();
        let is_it = |member: &MemberInfo| {
            let mut urls = member.peer_urls.clone();
            urls.sort();
            urls == peer_urls
        };
        let member = self.members().into_iter().find(is_it);
        Welcome {
            cluster: self.inner.cluster,
            member: member.map(|member| member.id.0),
        }
    }
}

impl<E: Env> Consensus for Node<E> {
    fn propose(
        &self,
        context: Context,
        command: peer::Command,
    ) -> impl Future<Output = Result<Applied, ApiError>> + Send {
        self.write(context, command)
    }

    fn read_barrier(&self, context: Context) -> impl Future<Output = Result<Barrier, ApiError>> + Send {
        self.barrier(context)
    }

    fn with_state<R>(&self, read: impl FnOnce(&Kv) -> R) -> R {
        self.inner.machine.with_state(read)
    }

    async fn reading(&self, context: Context, barrier: Option<Barrier>, revision: Revision) -> Result<(), ApiError> {
        self.inner.env.record(Evidence::Read {
            operation: context.operation,
            read: barrier.map(|barrier| barrier.read),
            term: barrier.map(|barrier| barrier.term).unwrap_or_default(),
            read_index: barrier.map(|barrier| barrier.index).unwrap_or_default(),
            revision,
        });
        self.settle().await
    }

    fn change_members(
        &self,
        context: Context,
        change: MemberChange,
    ) -> impl Future<Output = Result<ChangedMembers, ApiError>> + Send {
        self.change_membership(context, change)
    }

    fn move_leader(&self, context: Context, to: MemberId) -> impl Future<Output = Result<(), ApiError>> + Send {
        self.hand_over(context, to)
    }

    fn defragment(&self, context: Context) -> impl Future<Output = Result<(), ApiError>> + Send {
        self.shorten_log(context)
    }

    fn status(&self) -> NodeStatus {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        NodeStatus {
            cluster: self.inner.cluster,
            member: self.inner.own,
            leader: metrics.current_leader.map(MemberId),
            term: Term(metrics.current_term),
            applied: LogIndex(metrics.last_applied.map_or(0, |last| last.index)),
            committed: LogIndex(metrics.local_committed.map_or(0, |last| last.index)),
            last: LogIndex(metrics.last_log_index.unwrap_or_default()),
            // By the membership, not by the role: a voter that has just started has no role yet.
            is_learner: metrics
                .membership_config
                .membership()
                .learner_ids()
                .any(|id| id == self.inner.own.0),
            size_bytes: self.inner.log.wal().size_bytes(),
        }
    }

    /// By what is applied: a change that is appended and not committed may never be one. Before anything is applied, by
    /// the log.
    fn members(&self) -> Vec<MemberInfo> {
        let membership = self.inner.machine.membership().unwrap_or_else(|| {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow_watched();
            (*metrics.membership_config).clone()
        });
        let voters: Vec<u64> = membership.voter_ids().collect();
        let cards = self.cards();
        let own = self.card();
        let mut members: Vec<_> = membership
            .nodes()
            .map(|(id, member)| {
                let card = if *id == own.member { Some(&own) } else { cards.get(id) };
                let told = |name: &String| {
                    if name.is_empty() {
                        member.name.clone()
                    } else {
                        name.clone()
                    }
                };
                MemberInfo {
                    id: MemberId(*id),
                    name: card.map_or_else(|| member.name.clone(), |card| told(&card.name)),
                    peer_urls: member.peer_urls.clone(),
                    client_urls: card.map(|card| card.client_urls.clone()).unwrap_or_default(),
                    is_learner: !voters.contains(id),
                }
            })
            .collect();
        members.sort_by_key(|member| member.id);
        members
    }
}

impl<E: Env> Node<E> {
    /// Waits until evidence is written. Without it an answer would stand on nothing, so it is withheld.
    pub(super) async fn settle(&self) -> Result<(), ApiError> {
        self.inner.env.settle().await.map_err(|_| ApiError::stopped())
    }
}

impl<E: Env> Clone for Node<E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

fn raft_config(settings: &NodeSettings) -> Result<Config, ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // openraft lets a follower stand for election when the leader's lease (the maximum) and then a time drawn from
    // [minimum, maximum) have passed without a heartbeat. So this makes 1.5 to 2 election timeouts in all.
    let election_timeout_max = millis(settings.election);
    Config {
        cluster_name: settings.token.clone(),
        heartbeat_interval: millis(settings.heartbeat),
        election_timeout_min: election_timeout_max / 2,
        election_timeout_max,
        // For a snapshot that has come to be checked, kept and loaded.
        install_snapshot_timeout: 30_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_count),
        max_in_snapshot_log_to_keep: settings.entries_kept,
        purge_batch_size: settings.snapshot_count.clamp(1, 1_024),
        enable_pre_vote: Some(true),
        // The default resumes leadership after a restart with a state machine that is behind, and then answers
        // linearizable reads from it.
        enable_leader_restore: Some(settings.defects.contains(&Defect::LeaderRestore)),
        allow_log_reversion: Some(false),
        ..Config::default()
    }
    .validate()
}

async fn found<E: Env>(raft: &Raft<Types<E>, Machine<E>>, settings: &NodeSettings) -> Result<(), StartError> {
    let members: BTreeMap<u64, Member> = settings
        .peers
        .iter()
        .map(|peer| {
            let member = Member {
                name: peer.name.clone(),
                peer_urls: peer.peer_urls.clone(),
                stays_learner: false,
            };
            (member_id(peer, &settings.token).0, member)
        })
        .collect();
    match raft.initialize(members).await {
        // Another member's vote or entry came first, which is as good.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(RaftError::APIError(error)) => Err(StartError::Consensus(error.to_string())),
        Err(RaftError::Fatal(error @ Fatal::StorageError(_))) => Err(StartError::Consensus(error.to_string())),
        Err(RaftError::Fatal(error)) => Err(StartError::Consensus(error.to_string())),
    }
}

/// The node's number in evidence: that of its name, or else its place in the initial cluster.
fn node_id(name: &str, place: usize) -> NodeId {
    name.parse()
        .unwrap_or_else(|_| NodeId(u16::try_from(place + 1).unwrap_or(u16::MAX)))
}
