//! The auditor at its place: it hears every event of every node at the instant at which it is recorded, and looks at
//! every disk.
//!
//! Nothing happens between an event and the look at the disks, so an acknowledgement without a quorum of durable
//! copies is found at that instant, with who had what. The disks are read by a reader that shares no code with the store,
//! and only as far as they have changed.
//!
//! A node whose disk lied about a sync, or rotted, is believed from then on and its disk is not read; one whose disk lied
//! may also forget what it promised. The faults of a run reach a minority at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tribunal_checker::quorum::{Auditor, Changes, DurableLog, Files, Judged, Moment, Scope, Witness};
use tribunal_history::{Evidence, Finding, Incarnation, NodeId};
use tribunal_simulation::{DiskCounters, Durable, Place, Recorded, World as Simulator};

/// The auditor of a simulation; clones are the same one.
#[derive(Clone)]
pub struct Audit {
    simulator: Simulator,
    state: Arc<Mutex<State>>,
}

struct State {
    auditor: Auditor,
    logs: BTreeMap<NodeId, DurableLog>,
    /// What the disks had done when they were wiped: that concerns other members.
    wiped: BTreeMap<NodeId, DiskCounters>,
}

/// What an audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Each property, and how it came out.
    pub judged: Vec<Judged>,
    /// Of each broken property the first violation.
    pub findings: Vec<Finding>,
    /// Events heard.
    pub events: u64,
}

impl Audit {
    /// An auditor that has heard nothing yet.
    pub fn new(simulator: Simulator) -> Self {
        Self {
            simulator,
            state: Arc::new(Mutex::new(State {
                auditor: Auditor::new(Scope::Exact),
                logs: BTreeMap::new(),
                wiped: BTreeMap::new(),
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of an event.
    pub fn hear(&self, recorded: &Recorded) {
        let Place::Node(node) = recorded.place else { return };
        let State { auditor, logs, wiped } = &mut *self.lock();
        if let Evidence::Boot { .. } = recorded.stamped.evidence {
            // What a life recovers is judged by what its disk did until then. Who finds rot may refuse to start, and may
            // not start with less, so that is judged as ever.
            let counters = self.simulator.disk_counters(node);
            auditor.suspect(node, lies(counters, wiped.get(&node)));
        }
        let moment = Moment {
            node,
            incarnation: Incarnation(recorded.incarnation),
            time_ns: nanos(recorded.at),
            own_ns: recorded.stamped.time_ns,
        };
        let mut witness = Simulated {
            simulator: &self.simulator,
            logs,
            wiped,
        };
        auditor.hear(moment, &recorded.stamped.evidence, &mut witness);
    }

    /// A client takes its write for failed without effect.
    pub fn failed(&self, operation: u64) {
        let State { auditor, logs, wiped } = &mut *self.lock();
        let mut witness = Simulated {
            simulator: &self.simulator,
            logs,
            wiped,
        };
        auditor.failed(operation, nanos(self.simulator.now()), &mut witness);
    }

    /// Whether it has found this property violated.
    pub fn has_found(&self, property: &str) -> bool {
        let state = self.lock();
        state
            .auditor
            .findings()
            .iter()
            .any(|finding| finding.property == property)
    }

    /// A node has an empty disk now, for another member.
    pub fn wiped(&self, node: NodeId) {
        let counters = self.simulator.disk_counters(node);
        self.lock().wiped.insert(node, counters);
    }

    /// What it came to so far.
    pub fn audited(&self) -> Audited {
        let state = self.lock();
        Audited {
            judged: state.auditor.judged(),
            findings: state.auditor.findings().to_vec(),
            events: state.auditor.events(),
        }
    }
}

/// Why a node may forget what it promised, if it may; by what its disk did since it was wiped.
fn lies(counters: DiskCounters, wiped: Option<&DiskCounters>) -> Option<String> {
    let before = wiped.map_or(0, |before| before.lying_syncs);
    (counters.lying_syncs > before).then(|| "its disk has lied about a sync".to_owned())
}

/// Whether what a disk holds can be read off it.
fn is_honest(counters: DiskCounters, wiped: Option<&DiskCounters>) -> bool {
    let before = wiped.map_or(0, |before| before.bits_flipped);
    lies(counters, wiped).is_none() && counters.bits_flipped == before
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What the simulator lets one see.
struct Simulated<'a> {
    simulator: &'a Simulator,
    logs: &'a mut BTreeMap<NodeId, DurableLog>,
    wiped: &'a BTreeMap<NodeId, DiskCounters>,
}

impl Witness for Simulated<'_> {
    fn log(&mut self, node: NodeId) -> Option<&DurableLog> {
        let log = self.logs.entry(node).or_default();
        let wiped = self.wiped.get(&node);
        let is_honest = self.simulator.with_durable(node, |durable| {
            let is_honest = is_honest(durable.counters(), wiped);
            if is_honest {
                log.refresh(&DurableFiles(durable));
            }
            is_honest
        });
        is_honest.then_some(&*log)
    }

    fn is_up(&self, node: NodeId) -> Option<bool> {
        Some(self.simulator.is_up(node))
    }
}

/// The durable side of a simulated disk, for the reader.
pub struct DurableFiles<'a, 'b>(pub &'a Durable<'b>);

impl Files for DurableFiles<'_, '_> {
    fn changes(&self) -> Changes {
        let changed = self.0.changed();
        Changes {
            synced: changed.synced,
            names: changed.names,
            otherwise: changed.otherwise,
        }
    }

    fn paths(&self, start: &str) -> Vec<String> {
        let paths = self.0.paths().filter(|path| path.starts_with(start));
        paths.map(str::to_owned).collect()
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> Vec<u8> {
        self.0.read_at(path, offset, length).unwrap_or_default()
    }
}
