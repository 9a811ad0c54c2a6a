//! Which node lives, which one leads, and who ended by itself.
//!
//! What we do to a node is noted when we do it; what it does by itself is told by its program, or by a task that waits
//! for its end, which a panic of the program does not pass by. Leadership comes from the nodes' own evidence, at the
//! instant at which they record it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tribunal_history::evidence::Role;
use tribunal_history::{Evidence, Incarnation, NodeId, NodeState, Term};
use tribunal_simulation::{Crash, Place, Recorded, World as Simulator};
use tribunal_store::consensus::NodeSettings;

use super::program;
use crate::world::ClusterRecorder;

/// The nodes of a cluster; one for the whole simulation.
pub(super) struct Lives {
    simulator: Simulator,
    recorder: Arc<dyn ClusterRecorder>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Life>,
    /// Who believes to lead which term.
    leaders: BTreeMap<NodeId, Term>,
    /// The last term whose leader was written down.
    noted: Option<Term>,
    /// How many terms had a leader.
    elections: u64,
    exits: Vec<String>,
}

/// A node and what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Its process runs.
    Up {
        incarnation: Incarnation,
        /// It serves.
        is_ready: bool,
        is_paused: bool,
    },
    /// It does not.
    Down {
        /// Of the life that has ended.
        incarnation: Incarnation,
        /// Whether we ended it.
        by_us: bool,
    },
}

impl Lives {
    pub(super) fn new(simulator: Simulator, recorder: Arc<dyn ClusterRecorder>) -> Arc<Self> {
        Arc::new(Self {
            simulator,
            recorder,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a node's first life.
    pub(super) fn boot(self: &Arc<Self>, node: NodeId, settings: NodeSettings) {
        let lives = Arc::clone(self);
        self.begins(node, Incarnation(0));
        self.simulator.boot(node, move |env| {
            program::live(env, node, settings.clone(), Arc::clone(&lives))
        });
    }

    /// Starts the next life of a node that is down; false if it is up.
    pub(super) fn restart(self: &Arc<Self>, node: NodeId) -> bool {
        // One that panicked in this very instant may not be noted yet.
        if let Some(Life::Up { incarnation, .. }) = self.life(node)
            && !self.simulator.is_up(node)
        {
            self.ended(node, incarnation, PANICKED);
        }
        let Some(Life::Down { incarnation, .. }) = self.life(node) else {
            return false;
        };
        self.begins(node, Incarnation(incarnation.0 + 1));
        self.simulator.restart(node)
    }

    fn begins(self: &Arc<Self>, node: NodeId, incarnation: Incarnation) {
        let life = Life::Up {
            incarnation,
            is_ready: false,
            is_paused: false,
        };
        self.lock().nodes.insert(node, life);
        self.recorder.node(node, incarnation, NodeState::Started, "");
        let lives = Arc::clone(self);
        drop(self.simulator.spawn(Place::Harness, async move {
            lives.simulator.ended(node).await;
            lives.ended(node, incarnation, PANICKED);
        }));
    }

    /// Ends a node's life in our way; false if it was down.
    pub(super) fn crash(&self, node: NodeId, crash: Crash, detail: &str) -> bool {
        let incarnation = match self.life(node) {
            Some(Life::Up { incarnation, .. }) if self.simulator.is_up(node) => incarnation,
            _ => return false,
        };
        self.goes_down(node, incarnation, true);
        self.recorder.node(node, incarnation, NodeState::Killed, detail);
        self.simulator.crash(node, crash)
    }

    /// Stops a node (SIGSTOP); false if it does not run.
    pub(super) fn pause(&self, node: NodeId) -> bool {
        self.set_paused(node, true)
    }

    /// Lets a node go on (SIGCONT); false if it was not stopped.
    pub(super) fn resume(&self, node: NodeId) -> bool {
        self.set_paused(node, false)
    }

    fn set_paused(&self, node: NodeId, pause: bool) -> bool {
        let mut state = self.lock();
        let Some(Life::Up {
            incarnation, is_paused, ..
        }) = state.nodes.get_mut(&node)
        else {
            return false;
        };
        if *is_paused == pause {
            return false;
        }
        *is_paused = pause;
        let incarnation = *incarnation;
        drop(state);
        let (done, what) = if pause {
            (self.simulator.pause(node), NodeState::Paused)
        } else {
            (self.simulator.resume(node), NodeState::Resumed)
        };
        if done {
            self.recorder.node(node, incarnation, what, "");
        }
        done
    }

    /// A node serves.
    pub(super) fn ready(&self, node: NodeId, incarnation: Incarnation) {
        if let Some(Life::Up { is_ready, .. }) = self.lock().nodes.get_mut(&node) {
            *is_ready = true;
        }
        self.recorder.node(node, incarnation, NodeState::Ready, "");
    }

    /// A life has ended by itself; nothing if that is known already.
    pub(super) fn ended(&self, node: NodeId, incarnation: Incarnation, why: &str) {
        if !self.goes_down(node, incarnation, false) {
            return;
        }
        self.lock().exits.push(format!("{node} ended by itself: {why}"));
        self.recorder.node(node, incarnation, NodeState::Exited, why);
    }

    /// Whether it was up until now.
    fn goes_down(&self, node: NodeId, ending: Incarnation, by_us: bool) -> bool {
        let mut state = self.lock();
        match state.nodes.get_mut(&node) {
            Some(life @ Life::Up { .. }) => {
                if !matches!(*life, Life::Up { incarnation, .. } if incarnation == ending) {
                    return false;
                }
                *life = Life::Down {
                    incarnation: ending,
                    by_us,
                };
            }
            _ => return false,
        }
        state.leaders.remove(&node);
        true
    }

    /// What a node is now.
    pub(super) fn life(&self, node: NodeId) -> Option<Life> {
        self.lock().nodes.get(&node).copied()
    }

    /// Nodes that do not serve.
    pub(super) fn not_ready(&self) -> Vec<NodeId> {
        let state = self.lock();
        let is_ready = |life: &Life| matches!(life, Life::Up { is_ready: true, .. });
        let waiting = state.nodes.iter().filter(|(_, life)| !is_ready(life));
        waiting.map(|(node, _)| *node).collect()
    }

    /// Who leads the highest term that somebody leads.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let state = self.lock();
        state
            .leaders
            .iter()
            .max_by_key(|(_, term)| **term)
            .map(|(node, _)| *node)
    }

    /// How many leaders there were.
    pub(super) fn elections(&self) -> u64 {
        self.lock().elections
    }

    /// Nodes that ended by themselves, one sentence each.
    pub(super) fn exits(&self) -> Vec<String> {
        self.lock().exits.clone()
    }

    /// A node says something of itself.
    pub(super) fn hear(&self, recorded: &Recorded) {
        let (Place::Node(node), Evidence::Role { role, term }) = (recorded.place, &recorded.stamped.evidence) else {
            return;
        };
        let mut state = self.lock();
        if *role != Role::Leader {
            state.leaders.remove(&node);
            return;
        }
        state.leaders.insert(node, *term);
        let is_news = state.noted.is_none_or(|noted| *term > noted);
        if is_news {
            state.noted = Some(*term);
            state.elections += 1;
            drop(state);
            self.recorder.leader(node, *term);
        }
    }
}

/// What is said of a life whose program did not come to its end.
const PANICKED: &str = "its program panicked";
