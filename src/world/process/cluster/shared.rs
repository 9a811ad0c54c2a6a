//! The state of a cluster behind its lock, and what is done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tribunal_history::{Incarnation, MemberId, NodeId, NodeState};

use super::ClusterConfig;
use super::leaders::{Claim, Leaders};
use super::node::{Life, Node, UnexpectedExit, Up, log_tail};
use super::status::{NodeStatus, ask, channel};
use super::target::Asked;
use crate::world::operator::Roster;
use crate::world::process::addresses::Addresses;
use crate::world::process::children::{Launch, Spawner};
use crate::world::process::error::WorldError;
use crate::world::process::link::{LinkEnd, Links, Pair};
use crate::world::process::system::NodeStart;
use crate::world::recorder::ClusterRecorder;

/// Between two looks at something that takes milliseconds.
const LOOK: Duration = Duration::from_millis(2);

/// How long a killed process may take to be gone: one in the middle of an fsync ends after it, and disks of
/// shared machines take seconds at worst.
const REAP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Shared {
    pub(super) config: ClusterConfig,
    pub(super) addresses: Addresses,
    pub(super) roster: Arc<Roster>,
    spawner: Spawner,
    recorder: Arc<dyn ClusterRecorder>,
    channels: BTreeMap<NodeId, Channel>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// None if they are bypassed, or the cluster was taken down.
    pub(super) links: Option<Links>,
    /// Directed links that are cut, by each isolation that is in force.
    pub(super) isolations: Vec<BTreeSet<Pair>>,
    /// What the store was asked for, by each such fault that is in force.
    pub(super) asked: Vec<Asked>,
    exits: Vec<UnexpectedExit>,
    pub(super) leaders: Leaders,
    /// Nothing is started or recorded any more.
    closed: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(config: ClusterConfig, recorder: Arc<dyn ClusterRecorder>) -> Result<Self, WorldError> {
        let places = config.nodes.saturating_add(config.spares);
        let addresses = Addresses::claim(places)?;
        let ids: Vec<NodeId> = (1..=places).map(NodeId).collect();
        let (founders, spares) = ids.split_at(usize::from(config.nodes));
        // Their ids are theirs to tell.
        let founders = founders.iter().map(|&id| (id, MemberId::default())).collect();
        let roster = Roster::new(founders, spares.iter().copied());
        let links = if config.bypass_links {
            None
        } else {
            let ends: Vec<LinkEnd> = ids
                .iter()
                .map(|&node| LinkEnd {
                    node,
                    listen: addresses.link(node),
                    forward: addresses.peer(node),
                })
                .collect();
            Some(Links::new(&ends).map_err(WorldError::Links)?)
        };
        let node = |id| Node {
            id,
            incarnation: Incarnation(0),
            life: Life::Unborn,
            joined: false,
            leaving: false,
        };
        Ok(Self {
            spawner: Spawner::new(config.trampoline.clone())?,
            recorder,
            channels: ids.iter().map(|&id| (id, channel(addresses.client(id)))).collect(),
            state: Mutex::new(State {
                nodes: ids.iter().map(|&id| (id, node(id))).collect(),
                links,
                isolations: Vec::new(),
                asked: Vec::new(),
                exits: Vec::new(),
                leaders: Leaders::default(),
                closed: false,
            }),
            addresses,
            roster: Arc::new(roster),
            config,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All nodes: members and others.
    pub(super) fn places(&self) -> Vec<NodeId> {
        self.channels.keys().copied().collect()
    }

    pub(super) fn channel(&self, node: NodeId) -> Option<Channel> {
        self.channels.get(&node).cloned()
    }

    pub(super) fn unexpected_exits(&self) -> Vec<UnexpectedExit> {
        self.reap(&mut self.lock());
        self.lock().exits.clone()
    }

    fn directory(&self, node: NodeId) -> PathBuf {
        self.config.run_dir.join("nodes").join(node.to_string())
    }

    pub(super) fn data(&self, node: NodeId) -> PathBuf {
        self.directory(node).join("data")
    }

    pub(super) fn log(&self, node: NodeId) -> PathBuf {
        self.directory(node).join("log")
    }

    pub(super) fn start_all(&self) -> Result<(), WorldError> {
        let evidence = self.config.run_dir.join("evidence");
        if self.config.system.writes_evidence() {
            std::fs::create_dir_all(&evidence).map_err(WorldError::file("make", &evidence))?;
        }
        let mut state = self.lock();
        for node in self.roster.members().into_keys() {
            self.make_directories(node)?;
            self.start_node(&mut state, node)?;
        }
        Ok(())
    }

    pub(super) fn make_directories(&self, node: NodeId) -> Result<(), WorldError> {
        let directory = self.directory(node);
        std::fs::create_dir_all(&directory).map_err(WorldError::file("make", directory))?;
        // etcd complains of data that others may read.
        let data = self.data(node);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data)
            .map_err(WorldError::file("make", data))
    }

    /// Starts a node that is not up; its next life.
    pub(super) fn start_node(&self, state: &mut State, id: NodeId) -> Result<(), WorldError> {
        if state.closed {
            return Err(WorldError::Closed);
        }
        let node = state.node(id);
        let incarnation = match node.life {
            Life::Unborn => Incarnation(0),
            Life::Up(_) => return Ok(()),
            Life::Down { .. } | Life::Gone => Incarnation(node.incarnation.0 + 1),
        };
        let evidence = self
            .config
            .run_dir
            .join("evidence")
            .join(format!("{id}-{incarnation}.bin"));
        // Founders are told of each other at each of their starts, whoever is there now; others of those who are.
        let mut peers: BTreeSet<NodeId> = match node.joined {
            true => self.roster.members().into_keys().collect(),
            false => (1..=self.config.nodes).map(NodeId).collect(),
        };
        peers.insert(id);
        let advertised: Vec<_> = peers.into_iter().map(|node| (node, self.advertised(node))).collect();
        let client = self.addresses.client(id);
        let arguments = self.config.system.arguments(&NodeStart {
            node: id,
            incarnation,
            data: &self.data(id),
            evidence: &evidence,
            client,
            peer: self.addresses.peer(id),
            advertised: &advertised,
            // The block of addresses is this run's own, and so tells it from others.
            token: &format!("tribunal-{}", self.addresses.client(NodeId(1))),
            heartbeat: self.config.heartbeat,
            election: self.config.election,
            joins: node.joined,
            snapshots: self.config.snapshots,
        });
        let child = self.spawner.start(Launch {
            program: self.config.system.program().to_owned(),
            arguments,
            log: self.log(id),
        })?;
        let process = child.process();
        node.incarnation = incarnation;
        node.life = Life::Up(Up {
            child,
            ready: false,
            paused: false,
            killed: false,
        });
        if let Some(links) = &state.links {
            links.set_process(id, Some(process));
        }
        self.recorder.node(
            id,
            incarnation,
            NodeState::Started,
            &format!("process {} at {client}", process.pid),
        );
        Ok(())
    }

    /// Where a node is found by its peers.
    pub(super) fn advertised(&self, node: NodeId) -> SocketAddr {
        match self.config.bypass_links {
            true => self.addresses.peer(node),
            false => self.addresses.link(node),
        }
    }

    /// Notices children that have ended.
    pub(super) fn reap(&self, state: &mut State) {
        for node in state.nodes.values_mut() {
            let Life::Up(up) = &mut node.life else { continue };
            let Some(ending) = up.child.poll() else { continue };
            let process = up.child.process();
            let by_us = state.closed || up.killed && ending.signal() == Some(Signal::SIGKILL as i32);
            if let Some(links) = &state.links {
                links.set_process(node.id, None);
            }
            if node.leaving && !by_us && ending.code() == Some(0) {
                let detail = format!("{ending}: its member was removed");
                self.recorder
                    .node(node.id, node.incarnation, NodeState::Exited, &detail);
                node.life = Life::Gone;
                continue;
            }
            if by_us {
                if !state.closed {
                    self.recorder
                        .node(node.id, node.incarnation, NodeState::Killed, &ending.to_string());
                }
            } else {
                let log = self.log(node.id);
                let exit = UnexpectedExit {
                    node: node.id,
                    incarnation: node.incarnation,
                    ending,
                    last_line: log_tail(&log, 1),
                    log,
                };
                let detail = match exit.last_line.as_str() {
                    "" => ending.to_string(),
                    line => format!("{ending}: {line}"),
                };
                self.recorder
                    .node(node.id, node.incarnation, NodeState::Exited, &detail);
                state.exits.push(exit);
            }
            node.life = Life::Down { process, ending, by_us };
        }
    }

    /// Sends a signal to those of `nodes` that are up, all at one instant as far as one thread can, and lets `note`
    /// write down what that makes of each. Returns how many it reached.
    pub(super) fn signal(
        &self,
        state: &mut State,
        nodes: &[NodeId],
        signal: Signal,
        mut note: impl FnMut(&mut Up),
    ) -> Result<Vec<NodeId>, WorldError> {
        let mut reached = Vec::new();
        let mut failed = None;
        for &id in nodes {
            let Some(up) = state.node(id).up_mut() else { continue };
            match up.child.signal(signal) {
                Ok(()) => {
                    note(up);
                    reached.push(id);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(reached), Err)
    }

    /// Waits until none of these nodes that were killed is still there.
    pub(super) async fn wait_until_reaped(&self, nodes: &[NodeId]) -> Result<(), WorldError> {
        let deadline = Instant::now() + REAP_TIMEOUT;
        loop {
            let left = {
                let mut state = self.lock();
                self.reap(&mut state);
                nodes
                    .iter()
                    .find_map(|id| state.node(*id).up().filter(|up| up.killed).map(|up| up.child.process()))
            };
            match left {
                None => return Ok(()),
                Some(process) if Instant::now() > deadline => {
                    return Err(WorldError::Signal {
                        signal: "SIGKILL",
                        pid: process.pid,
                        reason: format!("it is still there after {REAP_TIMEOUT:?}"),
                    });
                }
                Some(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Writes down a node's new state.
    pub(super) fn record(&self, state: &mut State, id: NodeId, what: NodeState) {
        if !state.closed {
            self.recorder.node(id, state.node(id).incarnation, what, "");
        }
    }

    /// Asks all nodes that can answer for their status; reports those that begin to answer and a new leader.
    pub(super) async fn observe(&self) -> BTreeMap<NodeId, Result<NodeStatus, String>> {
        let asked: Vec<(NodeId, Incarnation)> = {
            let mut state = self.lock();
            self.reap(&mut state);
            let answers = |node: &&Node| node.up().is_some_and(|up| !up.paused && !up.killed);
            state
                .nodes
                .values()
                .filter(answers)
                .map(|node| (node.id, node.incarnation))
                .collect()
        };
        let mut answers = JoinSet::new();
        for (node, incarnation) in asked {
            let channel = self.channels[&node].clone();
            answers.spawn(async move { (node, incarnation, ask(channel).await) });
        }
        let mut statuses = BTreeMap::new();
        for (node, incarnation, answer) in answers.join_all().await {
            let mut state = self.lock();
            let closed = state.closed;
            let node = state.node(node);
            // It may have been killed, or be in its next life, since it was asked.
            if node.incarnation != incarnation {
                continue;
            }
            let id = node.id;
            let Some(up) = node.up_mut() else { continue };
            if let Ok(status) = &answer
                && self.roster.member(id) == Some(MemberId::default())
            {
                self.roster.add(id, status.member);
            }
            if answer.is_ok() && !up.ready {
                up.ready = true;
                if !closed {
                    self.recorder.node(id, incarnation, NodeState::Ready, "");
                }
            }
            statuses.insert(id, answer);
        }
        self.note_leader(&statuses);
        statuses
    }

    fn note_leader(&self, statuses: &BTreeMap<NodeId, Result<NodeStatus, String>>) {
        let mut state = self.lock();
        let news = state.leaders.note(claims(statuses), Instant::now());
        if let Some(Claim { term, node }) = news.filter(|_| !state.closed) {
            self.recorder.leader(node, term);
        }
    }

    /// Who leads now, as far as those that answer know.
    pub(super) async fn leader(&self) -> Option<NodeId> {
        let statuses = self.observe().await;
        self.lock().leaders.current(claims(&statuses)).map(|claim| claim.node)
    }

    /// Nothing is recorded or started from here on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn any_up(&self) -> bool {
        let mut state = self.lock();
        self.reap(&mut state);
        state.nodes.values().any(Node::is_up)
    }

    /// Undoes all faults and asks every node to end.
    pub(super) fn terminate_all(&self) {
        let nodes = self.places();
        let mut state = self.lock();
        state.isolations.clear();
        if let Some(links) = &state.links {
            links.heal_all();
        }
        // Whoever cannot be asked is killed afterwards.
        let _ = self.signal(&mut state, &nodes, Signal::SIGTERM, |_| ());
        let _ = self.signal(&mut state, &nodes, Signal::SIGCONT, |up| up.paused = false);
    }

    /// The last resort: whatever is still up is killed and reaped, within a bound, without a runtime.
    pub(super) fn kill_and_reap_all(&self) {
        let nodes = self.places();
        let deadline = Instant::now() + REAP_TIMEOUT;
        let _ = self.signal(&mut self.lock(), &nodes, Signal::SIGKILL, |up| up.killed = true);
        while self.any_up() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        let links = self.lock().links.take();
        drop(links);
    }

    pub(super) fn remove_data(&self) -> Result<(), WorldError> {
        if self.config.keep_data {
            return Ok(());
        }
        for node in self.places() {
            let data = self.data(node);
            match std::fs::remove_dir_all(&data) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(WorldError::file("remove", data)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl State {
    /// A node of this cluster; asking for another one is a mistake of ours.
    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes
            .get_mut(&id)
            .unwrap_or_else(|| panic!("{id} is not a node of this cluster"))
    }

    /// Whether an isolation holds everything that a node sends, or everything that it is sent.
    pub(super) fn is_cut_off(&self, node: NodeId) -> bool {
        let others = || self.nodes.keys().filter(|other| **other != node);
        let is_cut = |pair: Pair| self.isolations.iter().any(|cut| cut.contains(&pair));
        others().next().is_some()
            && (others().all(|other| is_cut((*other, node))) || others().all(|other| is_cut((node, *other))))
    }
}

/// The nodes that say that they lead.
fn claims(statuses: &BTreeMap<NodeId, Result<NodeStatus, String>>) -> impl Iterator<Item = Claim> {
    statuses.iter().filter_map(|(node, status)| {
        let status = status.as_ref().ok().filter(|status| status.leads())?;
        Some(Claim {
            term: status.term,
            node: *node,
        })
    })
}
