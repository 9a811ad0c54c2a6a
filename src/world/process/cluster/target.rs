//! A cluster as the nemesis sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tribunal_history::{Direction, Fault, FaultKind, NodeId, NodeState};
use tribunal_nemesis::{Effect, FaultError, Target};

use super::hands::ProcessHands;
use super::node::{Life, UnexpectedExit};
use super::shared::{Shared, State};
use super::status::{NodeStatus, ask};
use crate::world::operator::{Answer, Change, Operator, Order};
use crate::world::process::error::WorldError;
use crate::world::process::link::{Blocked, Pair};

/// A handle to a cluster. Clones are handles to the same one; none of them keeps it alive.
#[derive(Clone, Debug)]
pub struct ClusterTarget {
    shared: Arc<Shared>,
    operator: Arc<Operator<ProcessHands>>,
}

/// A fault that is something which the store was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    fault: Fault,
    nodes: Vec<NodeId>,
    answer: Answer,
    /// The change of members that it is.
    order: Option<Order>,
}

impl ClusterTarget {
    pub(super) fn new(shared: Arc<Shared>, operator: Arc<Operator<ProcessHands>>) -> Self {
        Self { shared, operator }
    }

    /// Where a node serves clients.
    pub fn endpoint(&self, node: NodeId) -> SocketAddr {
        self.shared.addresses.client(node)
    }

    /// Asks a node for its status, whatever state it is in; the error is for people.
    ///
    /// # Errors
    /// If it does not answer within 300 ms.
    pub async fn status(&self, node: NodeId) -> Result<NodeStatus, String> {
        let channel = self.shared.channel(node).ok_or_else(|| format!("there is no {node}"))?;
        ask(channel).await
    }

    /// Nodes that ended by themselves, in order of time.
    pub fn unexpected_exits(&self) -> Vec<UnexpectedExit> {
        self.shared.unexpected_exits()
    }

    /// Waits until all nodes answer and agree on a leader.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn wait_until_ready(&self, within: Duration) -> Result<(), WorldError> {
        self.shared.wait_until_ready(within, false).await
    }

    async fn kill(&self, nodes: &[NodeId]) -> Result<(), FaultError> {
        let reached = {
            let mut state = self.shared.lock();
            self.shared.reap(&mut state);
            self.shared
                .signal(&mut state, nodes, Signal::SIGKILL, |up| up.killed = true)
                .map_err(failed)?
        };
        reached_some(&reached, nodes)?;
        self.shared.wait_until_reaped(&reached).await.map_err(failed)
    }

    fn pause(&self, nodes: &[NodeId]) -> Result<(), FaultError> {
        let mut state = self.shared.lock();
        self.shared.reap(&mut state);
        let reached = self
            .shared
            .signal(&mut state, nodes, Signal::SIGSTOP, |up| up.paused = true)
            .map_err(failed)?;
        for node in &reached {
            self.shared.record(&mut state, *node, NodeState::Paused);
        }
        reached_some(&reached, nodes)
    }

    fn resume(&self, state: &mut State, nodes: &[NodeId]) -> Result<(), FaultError> {
        self.shared.reap(state);
        let paused: Vec<NodeId> = nodes
            .iter()
            .copied()
            .filter(|id| state.node(*id).up().is_some_and(|up| up.paused))
            .collect();
        let reached = self
            .shared
            .signal(state, &paused, Signal::SIGCONT, |up| up.paused = false)
            .map_err(failed)?;
        for node in reached {
            self.shared.record(state, node, NodeState::Resumed);
        }
        Ok(())
    }

    /// Starts those of `nodes` again that are down, or only those that we killed.
    fn restart(&self, state: &mut State, nodes: &[NodeId], only_killed: bool) -> Result<(), FaultError> {
        self.shared.reap(state);
        let mut result = Ok(());
        for &id in nodes {
            let restart = match state.node(id).life {
                Life::Down { by_us, .. } => by_us || !only_killed,
                Life::Up(_) | Life::Unborn | Life::Gone => false,
            };
            // Who was removed never comes back with its old data.
            if restart && self.shared.roster.member(id).is_some() {
                result = self.shared.start_node(state, id).map_err(failed).and(result);
            }
        }
        result
    }

    fn isolate(&self, nodes: &[NodeId], direction: Direction) -> Result<(), FaultError> {
        let cut = self.pairs(nodes, direction);
        let mut state = self.shared.lock();
        let Some(links) = &state.links else {
            return Err(FaultError(
                "the links between the nodes are bypassed or gone: nothing can be cut".to_owned(),
            ));
        };
        links.cut(&cut.iter().copied().collect::<Vec<_>>());
        state.isolations.push(cut);
        Ok(())
    }

    /// Heals what no other isolation still cuts.
    fn rejoin(&self, nodes: &[NodeId], direction: Direction) {
        let healed = self.pairs(nodes, direction);
        let mut state = self.shared.lock();
        if let Some(place) = state.isolations.iter().position(|cut| *cut == healed) {
            state.isolations.remove(place);
        }
        let still: BTreeSet<Pair> = state.isolations.iter().flatten().copied().collect();
        if let Some(links) = &state.links {
            links.heal(&healed.difference(&still).copied().collect::<Vec<_>>());
        }
    }

    /// The directed links that an isolation of `nodes` cuts.
    fn pairs(&self, nodes: &[NodeId], direction: Direction) -> BTreeSet<Pair> {
        let all = self.shared.places();
        let mut pairs = BTreeSet::new();
        for &node in nodes {
            for &other in all.iter().filter(|other| **other != node) {
                if direction != Direction::Outbound {
                    pairs.insert((other, node));
                }
                if direction != Direction::Inbound {
                    pairs.insert((node, other));
                }
            }
        }
        pairs
    }

    fn kill_effect(&self, nodes: &[NodeId]) -> Effect {
        let mut state = self.shared.lock();
        let mut proofs = Vec::new();
        for &id in nodes {
            match &state.node(id).life {
                Life::Down {
                    process,
                    ending,
                    by_us: true,
                } => proofs.push(format!("{id} (process {}) {ending}", process.pid)),
                Life::Down { ending, .. } => {
                    return Effect::NotYet(format!("{id} had ended by itself: {ending}"));
                }
                Life::Gone => return Effect::NotYet(format!("the member of {id} was removed")),
                Life::Up(_) | Life::Unborn => return Effect::NotYet(format!("{id} is running")),
            }
        }
        Effect::Proved(proofs.join(", "))
    }

    fn pause_effect(&self, nodes: &[NodeId]) -> Effect {
        let mut state = self.shared.lock();
        let mut proofs = Vec::new();
        for &id in nodes {
            let Some(up) = state.node(id).up() else {
                return Effect::NotYet(format!("{id} is down"));
            };
            let process = up.child.process();
            match process.stopped_threads() {
                Ok((stopped, all)) if all > 0 && stopped == all => {
                    proofs.push(format!(
                        "{id} (process {}) has all of its {all} threads stopped",
                        process.pid
                    ));
                }
                Ok((stopped, all)) => {
                    return Effect::NotYet(format!("{id} has {stopped} of {all} threads stopped"));
                }
                Err(error) => return Effect::NotYet(format!("{id} cannot be looked at: {error}")),
            }
        }
        Effect::Proved(proofs.join(", "))
    }

    /// For each node and each direction something must have been held. Not for each pair: followers of Raft have
    /// nothing to say to each other while there is a leader.
    fn isolate_effect(&self, nodes: &[NodeId], direction: Direction) -> Effect {
        let all = self.shared.places();
        let state = self.shared.lock();
        let Some(links) = &state.links else {
            return Effect::NotYet("there are no links".to_owned());
        };
        let mut proofs = Vec::new();
        for &node in nodes {
            let others = || all.iter().copied().filter(|other| *other != node);
            let into = || sum(others().map(|other| links.blocked(other, node)));
            let out_of = || sum(others().map(|other| links.blocked(node, other)));
            let held = match direction {
                Direction::Both => vec![("to", into()), ("from", out_of())],
                Direction::Inbound => vec![("to", into())],
                Direction::Outbound => vec![("from", out_of())],
            };
            for (way, blocked) in held {
                if blocked.is_nothing() {
                    return Effect::NotYet(format!("nothing was sent {way} {node} that could be held"));
                }
                proofs.push(format!("{way} {node}: {}", Held(blocked)));
            }
        }
        Effect::Proved(format!("held {}", proofs.join("; ")))
    }
}

/// What the store is asked for.
impl ClusterTarget {
    fn ask(&self, fault: &Fault, nodes: &[NodeId]) {
        let change = match fault {
            Fault::MemberReplace { .. } => Some(Change::Replace),
            Fault::MemberGrow { .. } => Some(Change::Grow),
            Fault::MemberShrink { .. } => Some(Change::Shrink),
            _ => None,
        };
        let order = change
            .zip(nodes.first())
            .map(|(change, node)| self.operator.order(change, *node));
        let answer = match &order {
            Some(order) => order.answer.clone(),
            None => self.operator.look_after(fault, nodes),
        };
        self.shared.lock().asked.push(Asked {
            fault: fault.clone(),
            nodes: nodes.to_vec(),
            answer,
            order,
        });
    }

    fn answer(&self, fault: &Fault, nodes: &[NodeId]) -> Effect {
        let state = self.shared.lock();
        match state.asked.iter().rfind(|asked| asked.is(fault, nodes)) {
            Some(asked) => asked.answer.get(),
            None => Effect::NotYet("it is not in force".to_owned()),
        }
    }

    fn end_of_asking(&self, fault: &Fault, nodes: &[NodeId]) {
        let mut state = self.shared.lock();
        if let Some(place) = state.asked.iter().rposition(|asked| asked.is(fault, nodes)) {
            state.asked.remove(place).end();
        }
    }
}

impl Asked {
    fn is(&self, fault: &Fault, nodes: &[NodeId]) -> bool {
        self.fault == *fault && self.nodes == nodes
    }

    /// Its time is over.
    fn end(&self) {
        if let Some(order) = &self.order {
            order.end();
        }
    }
}

/// Whether it is something that the store is asked for, as an operator would.
fn is_asked(fault: &Fault) -> bool {
    ["membership", "maintenance"].contains(&fault.kind().group())
}

impl Target for ClusterTarget {
    fn nodes(&self) -> Vec<NodeId> {
        self.shared.roster.members().into_keys().collect()
    }

    fn spares(&self) -> Vec<NodeId> {
        self.shared.roster.spares()
    }

    fn abilities(&self) -> BTreeSet<FaultKind> {
        let links = self.shared.lock().links.is_some() && self.shared.places().len() > 1;
        let kinds = self.shared.config.system.kinds();
        kinds
            .into_iter()
            .filter(|kind| links || kind.group() != "partition")
            .collect()
    }

    async fn leader(&mut self) -> Option<NodeId> {
        self.shared.leader().await
    }

    async fn start(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        match fault {
            Fault::Kill { .. } => self.kill(nodes).await,
            Fault::Pause { .. } => self.pause(nodes),
            Fault::Isolate { direction, .. } => self.isolate(nodes, *direction),
            asked if is_asked(asked) => {
                self.ask(asked, nodes);
                Ok(())
            }
            other => Err(FaultError(impossible(other))),
        }
    }

    async fn effect(&mut self, fault: &Fault, nodes: &[NodeId]) -> Effect {
        match fault {
            Fault::Kill { .. } => self.kill_effect(nodes),
            Fault::Pause { .. } => self.pause_effect(nodes),
            Fault::Isolate { direction, .. } => self.isolate_effect(nodes, *direction),
            asked if is_asked(asked) => self.answer(asked, nodes),
            other => Effect::NotYet(impossible(other)),
        }
    }

    async fn stop(&mut self, fault: &Fault, nodes: &[NodeId]) -> Result<(), FaultError> {
        match fault {
            Fault::Kill { .. } => self.restart(&mut self.shared.lock(), nodes, true),
            Fault::Pause { .. } => self.resume(&mut self.shared.lock(), nodes),
            Fault::Isolate { direction, .. } => {
                self.rejoin(nodes, *direction);
                Ok(())
            }
            asked if is_asked(asked) => {
                self.end_of_asking(asked, nodes);
                Ok(())
            }
            other => Err(FaultError(impossible(other))),
        }
    }

    /// Also starts nodes that had ended by themselves; one that ends again stays down. Changes of members that are under
    /// way are carried to their end.
    async fn heal(&mut self) -> Result<(), FaultError> {
        let nodes = self.shared.places();
        // A kill that was interrupted may still be under way.
        self.shared.wait_until_reaped(&nodes).await.map_err(failed)?;
        let undone = {
            let mut state = self.shared.lock();
            state.isolations.clear();
            if let Some(links) = &state.links {
                links.heal_all();
            }
            for asked in state.asked.drain(..) {
                asked.end();
            }
            let resumed = self.resume(&mut state, &nodes);
            let restarted = self.restart(&mut state, &nodes, false);
            resumed.and(restarted)
        };
        self.operator.settle().await.and(undone)
    }
}

fn impossible(fault: &Fault) -> String {
    format!("{} is not possible with processes", fault.kind())
}

fn failed(error: WorldError) -> FaultError {
    FaultError(error.to_string())
}

fn reached_some(reached: &[NodeId], nodes: &[NodeId]) -> Result<(), FaultError> {
    if reached.is_empty() {
        let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
        return Err(FaultError(format!(
            "none of these nodes is running: {}",
            names.join(" ")
        )));
    }
    Ok(())
}

fn sum(blocked: impl Iterator<Item = Blocked>) -> Blocked {
    blocked.fold(Blocked::default(), |sum, next| Blocked {
        bytes: sum.bytes + next.bytes,
        dials: sum.dials + next.dials,
    })
}

/// For people: `512 bytes and 3 dials`.
struct Held(Blocked);

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Blocked { bytes, dials } = self.0;
        write!(f, "{bytes} bytes and {dials} dials")
    }
}
