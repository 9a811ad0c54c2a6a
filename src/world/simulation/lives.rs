//! Which node lives, which one leads, and who ended by itself.
//!
//! What we do to a node is noted when we do it; what it does by itself is told by its program, or by a task that waits
//! for its end, which a panic of the program does not pass by. A node that ends because its disk failed has done right:
//! while it is excused, that is no finding. Nor is it one if a member ends that is being removed. Leadership comes from
//! the nodes' own evidence, at the instant at which they record it.
//!
//! A node whose disk has lied is not started again: it may have forgotten what it promised. Another member has to take
//! its place, on an empty disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tribunal_history::evidence::{Role, SnapshotOrigin};
use tribunal_history::{Evidence, Incarnation, NodeId, NodeState, Term};
use tribunal_simulation::{Crash, DiskImage, Place, Recorded, World as Simulator};
use tribunal_store::consensus::{NodeSettings, REMOVED};

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
    /// With what a node starts next.
    settings: BTreeMap<NodeId, NodeSettings>,
    /// Members that are being removed.
    leaving: BTreeSet<NodeId>,
    /// How many syncs of a node's disk had lied when it was wiped last.
    lies_before: BTreeMap<NodeId, u64>,
    /// Who believes to lead which term.
    leaders: BTreeMap<NodeId, Term>,
    /// The last term whose leader was written down.
    noted: Option<Term>,
    /// How many terms had a leader.
    elections: u64,
    /// The last term that each node led, and the term of the last entry of its log.
    led: BTreeMap<NodeId, Term>,
    ends_in: BTreeMap<NodeId, Term>,
    /// How often the nodes said what, by name.
    said: BTreeMap<&'static str, u64>,
    /// Ends of nodes that waited for their moment: at a point, after some polls; those of a disk that failed; and what
    /// else is counted by name.
    ends: BTreeMap<String, u64>,
    exits: Vec<String>,
    /// Nodes that will crash where we told them to, and how that is told.
    expected: BTreeMap<NodeId, String>,
    /// Nodes that may end by themselves since their disks fail, and until when.
    excused: BTreeMap<NodeId, Duration>,
}

/// How long after its disk is whole again a node may end for what failed before: longer than any operation of a disk
/// takes that was under way then, and than the store takes to notice.
const GRACE: Duration = Duration::from_secs(5);

/// Between the end of a node and its late start, as a supervisor waits.
const BEFORE_LATE_START: Duration = Duration::from_millis(100);

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
        /// Whether we ended it, or a disk that we damaged did.
        by_us: bool,
        /// Whether its program said so.
        by_itself: bool,
    },
    /// It is no member any more, and will not be this one again.
    Gone {
        /// Of the life that was the last one.
        incarnation: Incarnation,
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
        self.lock().settings.insert(node, settings);
        self.begins(node, Incarnation(0));
        let lives = Arc::clone(self);
        self.simulator.boot(node, move |env| {
            let settings = lives.lock().settings.get(&node).cloned();
            let settings = settings.unwrap_or_else(|| unreachable!("{node} was given settings before its first life"));
            program::live(env, node, settings, Arc::clone(&lives))
        });
    }

    /// Starts the first life of a new member on a node that is none.
    pub(super) fn join(self: &Arc<Self>, node: NodeId, settings: NodeSettings) -> bool {
        match self.life(node) {
            None => {
                self.boot(node, settings);
                true
            }
            Some(Life::Gone { incarnation }) => {
                self.lock().settings.insert(node, settings);
                self.begins(node, Incarnation(incarnation.0 + 1));
                self.simulator.restart(node)
            }
            Some(Life::Up { .. } | Life::Down { .. }) => false,
        }
    }

    /// A member is being removed, or it is certain that it is not. Meanwhile it may end by itself.
    pub(super) fn set_leaving(&self, node: NodeId, is_leaving: bool) {
        let mut state = self.lock();
        if is_leaving {
            state.leaving.insert(node);
        } else {
            state.leaving.remove(&node);
        }
    }

    /// Ends what lives on a node and wipes its disk: its member was removed.
    pub(super) fn remove(&self, node: NodeId) {
        self.simulator.disarm(node);
        self.expect_no_more(node);
        self.crash(node, Crash::PROCESS, "its member was removed");
        let lies = self.simulator.disk_counters(node).lying_syncs;
        let mut state = self.lock();
        if let Some(Life::Up { incarnation, .. } | Life::Down { incarnation, .. }) = state.nodes.get(&node).copied() {
            state.nodes.insert(node, Life::Gone { incarnation });
        }
        state.leaving.remove(&node);
        state.led.remove(&node);
        state.ends_in.remove(&node);
        state.lies_before.insert(node, lies);
        drop(state);
        self.simulator.replace_disk(node, DiskImage::default());
    }

    /// Whether a sync of a node's disk has lied since it was wiped last.
    pub(super) fn has_lied(&self, node: NodeId) -> bool {
        let before = self.lock().lies_before.get(&node).copied().unwrap_or_default();
        self.simulator.disk_counters(node).lying_syncs > before
    }

    /// Counts something that seldom happens.
    pub(super) fn count(&self, what: &str) {
        *self.lock().ends.entry(what.to_owned()).or_default() += 1;
    }

    /// Starts the next life of a node that is down; false if it is up, or may not live again.
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
        if self.has_lied(node) {
            return false;
        }
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
            // Recovering takes no virtual time: without a pause, a node that can never start would be started for ever
            // at one instant.
            lives.simulator.sleep(BEFORE_LATE_START).await;
            lives.start_late(node, incarnation);
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

    /// The next end of a node comes as we told it to, unless it says a reason of its own.
    pub(super) fn expect(&self, node: NodeId, detail: String) {
        self.lock().expected.insert(node, detail);
    }

    /// Whether a node is still to end as we told it to.
    pub(super) fn expects(&self, node: NodeId) -> bool {
        self.lock().expected.contains_key(&node)
    }

    /// Undoes [`Lives::expect`].
    pub(super) fn expect_no_more(&self, node: NodeId) {
        self.lock().expected.remove(&node);
    }

    /// A node may end by itself until it is pardoned: its disk fails.
    pub(super) fn excuse(&self, node: NodeId) {
        self.lock().excused.insert(node, Duration::MAX);
    }

    /// A node's disk is whole again. What failed before may still end it, and then it is started again.
    pub(super) fn pardon(&self, node: NodeId) {
        let until = self.simulator.now().saturating_add(GRACE);
        if let Some(excused) = self.lock().excused.get_mut(&node) {
            *excused = until.min(*excused);
        }
    }

    /// Starts a node that ended of a failure of its disk after that was whole again: nobody else will.
    fn start_late(self: &Arc<Self>, node: NodeId, ended: Incarnation) {
        let is_pardoned = match self.lock().excused.get(&node) {
            Some(until) => *until != Duration::MAX && self.simulator.now() <= *until,
            None => false,
        };
        let is_down =
            matches!(self.life(node), Some(Life::Down { incarnation, by_itself: true, .. }) if incarnation == ended);
        if is_pardoned && is_down {
            self.restart_machine(node);
        }
    }

    /// Starts a node that is down on what is durable of its disk: its machine restarts.
    pub(super) fn restart_machine(self: &Arc<Self>, node: NodeId) -> bool {
        if self.has_lied(node) {
            return false;
        }
        let image = self.simulator.durable_image(node);
        self.simulator.replace_disk(node, image) && self.restart(node)
    }

    /// Whether a node is up and stopped.
    pub(super) fn is_paused(&self, node: NodeId) -> bool {
        matches!(self.life(node), Some(Life::Up { is_paused: true, .. }))
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
        // Who waited for the end of a life that was followed by the next one at the same instant hears of that one's
        // end. It must not use up what is expected of it.
        if !matches!(self.life(node), Some(Life::Up { incarnation: current, .. }) if current == incarnation) {
            return;
        }
        if why == PANICKED
            && let Some(detail) = self.expected_end(node)
        {
            if self.goes_down(node, incarnation, true) {
                let name = detail.replace("it crashed", "crashes").replace(' ', "-");
                *self.lock().ends.entry(name).or_default() += 1;
                self.recorder.node(node, incarnation, NodeState::Killed, &detail);
            }
            return;
        }
        let is_leaving = self.lock().leaving.contains(&node);
        if why == REMOVED && is_leaving {
            if self.goes_down(node, incarnation, true) {
                self.lock().nodes.insert(node, Life::Gone { incarnation });
                self.recorder.node(node, incarnation, NodeState::Exited, why);
            }
            return;
        }
        let now = self.simulator.now();
        let is_excused = self.lock().excused.get(&node).is_some_and(|until| now <= *until);
        if !self.goes_down(node, incarnation, is_excused) {
            return;
        }
        if let Some(Life::Down { by_itself, .. }) = self.lock().nodes.get_mut(&node) {
            *by_itself = true;
        }
        if is_excused {
            *self.lock().ends.entry("ends-of-failed-disks".to_owned()).or_default() += 1;
            let detail = format!("{why}; its disk fails, so that is right");
            self.recorder.node(node, incarnation, NodeState::Exited, &detail);
            return;
        }
        self.lock().exits.push(format!("{node} ended by itself: {why}"));
        self.recorder.node(node, incarnation, NodeState::Exited, why);
    }

    /// How the end is told that we brought about by arming it; none if none was armed.
    fn expected_end(&self, node: NodeId) -> Option<String> {
        self.lock().expected.remove(&node)
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
                    by_itself: false,
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
        let is_ready = |life: &Life| matches!(life, Life::Up { is_ready: true, .. } | Life::Gone { .. });
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

    /// How often rare things happened, by name.
    pub(super) fn counted(&self) -> BTreeMap<String, u64> {
        let state = self.lock();
        let said = RARE
            .into_iter()
            .map(|name| (name, state.said.get(name).copied().unwrap_or(0)));
        let said = said.map(|(name, count)| (name.to_owned(), count));
        said.chain(state.ends.iter().map(|(name, count)| (name.clone(), *count)))
            .collect()
    }

    /// Nodes that ended by themselves, one sentence each.
    pub(super) fn exits(&self) -> Vec<String> {
        self.lock().exits.clone()
    }

    /// A node says something of itself.
    pub(super) fn hear(&self, recorded: &Recorded) {
        let Place::Node(node) = recorded.place else {
            return;
        };
        let mut state = self.lock();
        if let Some(name) = rare(&recorded.stamped.evidence) {
            *state.said.entry(name).or_default() += 1;
        }
        let (role, term) = match &recorded.stamped.evidence {
            Evidence::Role { role, term } => (role, term),
            Evidence::Persist { term, .. } => {
                state.ends_in.insert(node, *term);
                return;
            }
            // What it cuts off it had appended while it led.
            Evidence::Truncate { .. } => {
                let led = state.led.get(&node).copied();
                if led.is_some() && led == state.ends_in.remove(&node) {
                    *state.said.entry(DIVERGED).or_default() += 1;
                }
                return;
            }
            _ => return,
        };
        if *role != Role::Leader {
            state.leaders.remove(&node);
            return;
        }
        state.leaders.insert(node, *term);
        state.led.insert(node, *term);
        let is_news = state.noted.is_none_or(|noted| *term > noted);
        if is_news {
            state.noted = Some(*term);
            state.elections += 1;
            drop(state);
            self.recorder.leader(node, *term);
        }
    }
}

/// What a node seldom says, by its name in coverage.
fn rare(evidence: &Evidence) -> Option<&'static str> {
    Some(match evidence {
        Evidence::Truncate { .. } => RARE[0],
        Evidence::Purge { .. } => RARE[1],
        Evidence::Snapshot {
            origin: SnapshotOrigin::Built,
            ..
        } => RARE[2],
        Evidence::Snapshot {
            origin: SnapshotOrigin::Received,
            ..
        } => RARE[3],
        Evidence::Configured { .. } => RARE[4],
        _ => return None,
    })
}

/// A leader was deposed that had entries which nobody else needs to have: it cuts them off.
const DIVERGED: &str = "leaders-deposed-with-a-divergent-tail";

/// Names of what [`rare`] tells, and of [`DIVERGED`].
const RARE: [&str; 6] = [
    "conflicts-truncated",
    "logs-purged",
    "snapshots-taken",
    "snapshots-installed",
    "configurations-appended",
    DIVERGED,
];

/// What is said of a life whose program did not come to its end.
const PANICKED: &str = "its program panicked";
