//! The bundled store in virtual time: its own code on one thread, its network and disks simulated, all from one seed.
//!
//! Each node is a program of the simulator that starts the store's `Node` over its disk and answers two kinds of
//! callers with the same code that answers them over gRPC: other nodes through the store's peer handler, clients
//! through its services. Requests and answers travel as encoded bytes ([`wire`]). A kill takes the machine's power, so
//! writes that were not synced may be lost, torn or reordered.
//!
//! What a run finds depends on nothing but its plan: no thread, no ambient clock, no path and no address enters.
//!
//! Left out: gRPC and TCP themselves, which runs on processes have; client connections are calls, and a client that
//! was not answered asks first whether its node is there before it goes on.

pub mod audit;
pub mod client;
mod coverage;
mod lives;
mod program;
pub mod swarm;
pub mod target;
pub mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tribunal_history::{MemberId, NodeId, Weather};
use tribunal_simulation::{Place, SimEnv, World as Simulator};
use tribunal_store::consensus::{Identity, MAY_ARRIVE_TWICE, NodeSettings, Peer, member_id};
use tribunal_store::defect::Defects;
use tribunal_store::wal;

use super::operator::{Operator, Roster};
use super::{ClusterRecorder, TaskLost, World};
pub use audit::{Audit, Audited};
pub use client::SimClient;
use lives::Lives;
use target::SimHands;
pub use target::{ABILITIES, SimTarget};

/// How long the cluster may take until all nodes serve and one leads, by virtual time: many elections.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at nodes that are to become ready.
const READY_LOOK: Duration = Duration::from_millis(10);

/// The cluster's token.
const TOKEN: &str = "tribunal-simulation";

/// What a simulated cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedCluster {
    /// How many nodes there are at the start: n1 to this one.
    pub nodes: u16,
    /// How many more can become members.
    pub spares: u16,
    /// Between heartbeats of a leader.
    pub heartbeat: Duration,
    /// Without a heartbeat until a follower stands for election.
    pub election: Duration,
    /// Bugs that are planted in every node.
    pub defects: Defects,
    /// How the world behaves without any fault.
    pub weather: Weather,
}

impl SimulatedCluster {
    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        (1..=self.nodes).map(NodeId)
    }

    fn settings(&self, node: NodeId) -> NodeSettings {
        NodeSettings {
            name: node.to_string(),
            peers: self.nodes().map(peer).collect(),
            token: TOKEN.to_owned(),
            client_urls: vec![format!("http://{node}:2379")],
            heartbeat: self.heartbeat,
            election: self.election,
            joining: None,
            snapshot_count: self.weather.snapshot_count,
            entries_kept: self.weather.entries_kept,
            wal: wal::Settings {
                segment_bytes: self.weather.segment_bytes,
                ..wal::Settings::default()
            },
            defects: self.defects.clone(),
        }
    }

    /// With what a member starts that joins at `node`, beside those `now`.
    fn joining(&self, node: NodeId, member: MemberId, now: impl Iterator<Item = NodeId>) -> NodeSettings {
        let founders: Vec<Peer> = self.nodes().map(peer).collect();
        let cluster = Identity::of_founder(&founders, 0, TOKEN).cluster;
        NodeSettings {
            peers: now.map(peer).collect(),
            joining: Some(Identity { cluster, member }),
            ..self.settings(node)
        }
    }
}

/// How a node is known to the others; nobody dials these addresses.
fn peer(node: NodeId) -> Peer {
    Peer {
        name: node.to_string(),
        peer_urls: vec![format!("http://{node}:2380")],
    }
}

/// The member that a node is.
fn member(node: NodeId) -> MemberId {
    member_id(&peer(node), TOKEN)
}

/// A cluster in a simulation, and its clients.
pub struct SimulationWorld {
    simulator: Simulator,
    env: SimEnv,
    lives: Arc<Lives>,
    audit: Audit,
    roster: Arc<Roster>,
    operator: Arc<Operator<SimHands>>,
    /// Numbers the operations of all clients, for the nodes' evidence.
    operations: Arc<AtomicU64>,
}

impl SimulationWorld {
    /// Boots the nodes; they have not done anything yet. `recorder` is told of their lives and leaders.
    pub fn boot(simulator: &Simulator, cluster: &SimulatedCluster, recorder: Arc<dyn ClusterRecorder>) -> Self {
        let members: BTreeMap<NodeId, MemberId> = cluster.nodes().map(|node| (node, member(node))).collect();
        for (node, member) in &members {
            simulator.add_member(*member, *node);
        }
        let lives = Lives::new(simulator.clone(), recorder);
        let audit = Audit::new(simulator.clone());
        simulator.listen({
            let (lives, audit) = (Arc::clone(&lives), audit.clone());
            move |recorded| {
                lives.hear(recorded);
                audit.hear(recorded);
            }
        });
        simulator.set_copied(MAY_ARRIVE_TWICE);
        let env = simulator.env(Place::Harness);
        let env = env.unwrap_or_else(|| panic!("the harness lives"));
        let spares = (cluster.nodes + 1..=cluster.nodes.saturating_add(cluster.spares)).map(NodeId);
        let roster = Arc::new(Roster::new(members, spares));
        swarm::begin(simulator, &env, &cluster.weather, roster.places());
        let operator = Operator::new(SimHands {
            simulator: simulator.clone(),
            env: env.clone(),
            lives: Arc::clone(&lives),
            roster: Arc::clone(&roster),
            audit: audit.clone(),
            cluster: cluster.clone(),
        });
        for node in cluster.nodes() {
            lives.boot(node, cluster.settings(node));
        }
        Self {
            simulator: simulator.clone(),
            env,
            lives,
            audit,
            roster,
            operator,
            operations: Arc::default(),
        }
    }

    /// Waits until all nodes serve and one of them leads.
    ///
    /// # Errors
    /// If they do not in time; which ones, for people.
    pub async fn ready(&self) -> Result<(), String> {
        let limit = self.simulator.now() + START_WITHIN;
        loop {
            let missing = self.lives.not_ready();
            let leader = self.lives.leader();
            if missing.is_empty() && leader.is_some() {
                return Ok(());
            }
            if self.simulator.now() >= limit {
                let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
                let what = match names.as_slice() {
                    [] => "nobody leads".to_owned(),
                    names => format!("not ready: {}", names.join(" ")),
                };
                return Err(format!("{what}, {} s after the start", START_WITHIN.as_secs()));
            }
            self.simulator.sleep(READY_LOOK).await;
        }
    }

    /// How often rare things happened so far, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = coverage::counters(&self.simulator, &self.roster.places(), self.lives.elections());
        counters.extend(self.lives.counted());
        counters
    }

    /// What the auditor came to so far.
    pub fn audited(&self) -> Audited {
        self.audit.audited()
    }

    /// Whether the auditor has found this property violated.
    pub fn has_found(&self, property: &str) -> bool {
        self.audit.has_found(property)
    }

    /// Nodes that ended by themselves so far, in order of time: one sentence each.
    pub fn unexpected_exits(&self) -> Vec<String> {
        self.lives.exits()
    }
}

impl World for SimulationWorld {
    type Env = SimEnv;
    type Client = SimClient;
    type Target = SimTarget;

    fn nodes(&self) -> Vec<NodeId> {
        self.roster.members().into_keys().collect()
    }

    fn env(&self) -> &SimEnv {
        &self.env
    }

    fn target(&self) -> SimTarget {
        SimTarget::new(
            self.simulator.clone(),
            Arc::clone(&self.lives),
            Arc::clone(&self.roster),
            Arc::clone(&self.operator),
        )
    }

    fn client(&self, number: u32, node: NodeId) -> (SimEnv, SimClient) {
        let env = self.simulator.client(number);
        let operations = Arc::clone(&self.operations);
        let client = SimClient::new(
            env.clone(),
            node,
            Arc::clone(&self.roster),
            operations,
            self.audit.clone(),
        );
        (env, client)
    }

    fn spawn<T>(&self, number: u32, task: T) -> impl Future<Output = Result<T::Output, TaskLost>>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let handle = self.simulator.spawn(Place::Client(number), task);
        async move { handle.await.map_err(|_| TaskLost) }
    }
}
