//! What a run is to do: every setting, resolved, with nothing left to chance but the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tribunal_history::{FaultKind, Schedule, Weather};
use tribunal_store::defect::Defects;
use tribunal_store::points;
use tribunal_workload::Workload;

use crate::world::process::{DiskMode, Snapshots, System};
use crate::world::simulation::swarm;

/// Members that a cluster of processes grows to: two of five may fail.
const GROWN_TO: u16 = 5;

/// Nodes that can become members where there are so many already.
const SPARES_MIN: u16 = 2;

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Folder that run directories are made in.
    pub runs_dir: PathBuf,
    /// Name of the campaign: the folder between `runs_dir` and the run.
    pub name: String,
    /// Everything random derives from it.
    pub seed: u64,
    /// The system under test, in its world.
    pub defendant: Defendant,
    /// How many nodes.
    pub nodes: u16,
    /// What the clients do.
    pub workload: Workload,
    /// How many keys the workload uses.
    pub keys: u32,
    /// How long its longest values are, in bytes; 0 for no longer than what tells them apart.
    pub value_bytes: u32,
    /// How many clients work at a time, spread over the nodes.
    pub clients: u32,
    /// Operations a second, all clients together.
    pub rate: f64,
    /// Length of the safety phase.
    pub time_limit: Duration,
    /// After this long a client gives an operation up as indeterminate.
    pub op_timeout: Duration,
    /// Kinds of faults to use; none at all is a run without nemesis.
    pub kinds: BTreeSet<FaultKind>,
    /// Mean time between the starts of two faults; chosen from the time limit if absent.
    pub interval: Option<Duration>,
    /// Raft's heartbeat interval of every node.
    pub heartbeat: Duration,
    /// Raft's election timeout of every node; the random timers lie between it and its double.
    pub election: Duration,
    /// How nodes that are processes keep their logs short.
    pub snapshots: Snapshots,
    /// After the heal every node must serve within this time.
    pub liveness_bound: Duration,
    /// Fewer operations that ended ok than this are too few to call a run a test.
    pub ok_min: u64,
    /// Budgets of the checker.
    pub check: tribunal_checker::Options,
    /// Keep the data folders of the nodes after a pass too.
    pub keep_data: bool,
    /// The command line, word by word.
    pub argv: Vec<String>,
    /// Every setting by its flag's name, so that the run can be repeated.
    pub config: BTreeMap<String, String>,
    /// When the run was started, UTC, ISO 8601.
    pub started: String,
}

/// What is tried, and in which world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defendant {
    /// A system whose nodes are real processes.
    Process(System),
    /// The bundled store in virtual time.
    Simulation(Box<Simulated>),
}

/// What a run in virtual time has beside what every run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// Planted bugs.
    pub defects: Defects,
    /// How the world behaves without any fault.
    pub weather: Weather,
    /// See [`tribunal_history::SimulatedPlan::kept`].
    pub kept: Option<BTreeMap<u32, Vec<u32>>>,
    /// The faults, if they are not those that the seed draws.
    pub schedule: Option<Schedule>,
    /// Whether the flags and the seed are all of it; else its record is (see [`super::record`]).
    pub is_drawn: bool,
}

impl Defendant {
    /// Its name and version, for people.
    pub fn title(&self) -> String {
        match self {
            Self::Process(system) => format!("{} {}", system.name(), system.version()),
            Self::Simulation(_) => format!("builtin {} in simulation", env!("CARGO_PKG_VERSION")),
        }
    }

    /// SHA-256 of its program, hexadecimal; none if there is no program of its own that can be read.
    pub fn sha256(&self) -> Option<String> {
        match self {
            Self::Process(system) => system.sha256().ok(),
            Self::Simulation(_) => None,
        }
    }

    /// Which image of the disks a run judges, for people.
    pub fn disk(&self) -> &'static str {
        match self {
            Self::Process(System::Builtin(builtin)) if builtin.disk == DiskMode::Volatile => {
                "volatile: un-synced writes are lost with the process"
            }
            Self::Process(System::Builtin(_) | System::Etcd(_)) => {
                "real: un-synced writes survive SIGKILL in the page cache, so durability was not tested"
            }
            Self::Simulation(_) => {
                "simulated: a kill takes the power, and un-synced writes are lost, torn or reordered"
            }
        }
    }

    /// Whether it runs in virtual time.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulation(_))
    }
}

impl Plan {
    /// Clients of the whole run: those that work, and one for each node in each of the two phases after the heal.
    pub fn lanes(&self) -> u32 {
        self.clients + self.nodes_max() * 2
    }

    /// How many nodes beside the first ones can become members.
    pub fn spares(&self) -> u16 {
        match self.defendant {
            Defendant::Simulation(_) => swarm::spares(self.seed, self.nodes),
            Defendant::Process(_) if !self.kinds.contains(&FaultKind::MemberGrow) => 0,
            Defendant::Process(_) => match GROWN_TO.saturating_sub(self.nodes) {
                0 => SPARES_MIN,
                spares => spares,
            },
        }
    }

    /// Whether it is a part of the run that nodes make snapshots and purge their logs.
    pub fn shortens_logs(&self) -> bool {
        let is_ours = matches!(self.defendant, Defendant::Process(System::Builtin(_)));
        is_ours && (self.snapshots.count.is_some() || self.kinds.contains(&FaultKind::Snapshot))
    }

    /// How many members there can be at a time.
    pub fn nodes_max(&self) -> u32 {
        u32::from(self.nodes) + u32::from(self.spares())
    }

    /// What a run in virtual time has beside what every run has.
    pub fn simulated(&self) -> Option<&Simulated> {
        match &self.defendant {
            Defendant::Simulation(simulated) => Some(simulated),
            Defendant::Process(_) => None,
        }
    }

    /// The operations that client `number` may issue; none for all.
    pub fn kept_of(&self, number: u32) -> Option<BTreeSet<u32>> {
        let kept = self.simulated()?.kept.as_ref()?;
        Some(kept.get(&number).into_iter().flatten().copied().collect())
    }

    /// The faults of the run: what the seed draws, unless the plan has its own.
    pub fn schedule(&self) -> Schedule {
        if let Some(schedule) = self.simulated().and_then(|simulated| simulated.schedule.clone()) {
            return schedule;
        }
        let kinds = self.kinds.iter().copied().collect();
        let mut drawn = tribunal_nemesis::Plan::new(self.seed, self.nodes, kinds, self.time_limit);
        drawn.interval = self.interval;
        drawn.election_timeout_max = self.election * 2;
        drawn.spares = self.spares();
        if self.defendant.is_simulated() {
            let mix = swarm::faults(self.seed, &self.kinds);
            drawn.kinds = mix.kinds;
            drawn.tracks = mix.tracks;
            drawn.interval = self.interval.or(Some(mix.interval));
            let named =
                |points: &mut dyn Iterator<Item = &points::Point>| points.map(|point| point.name.to_owned()).collect();
            drawn.points = named(&mut points::ALL.iter());
            drawn.rare_points = named(&mut points::ALL.iter().filter(|point| point.is_rare));
            let faults = tribunal_nemesis::draw(&drawn);
            if !self.kinds.contains(&FaultKind::Compact) {
                return faults;
            }
            return tribunal_nemesis::together([faults, swarm::upkeep(self.seed, self.time_limit)]);
        }
        // Members change under the other faults, not by turns with them.
        let (changes, others): (BTreeSet<FaultKind>, BTreeSet<FaultKind>) =
            drawn.kinds.iter().partition(|kind| kind.group() == "membership");
        if changes.is_empty() {
            return tribunal_nemesis::draw(&drawn);
        }
        drawn.aims_at_spares = drawn.spares > 0;
        let beside = tribunal_nemesis::Plan {
            kinds: changes,
            climbs: true,
            first_track: 1,
            ..drawn.clone()
        };
        drawn.kinds = others;
        tribunal_nemesis::together([&drawn, &beside].map(tribunal_nemesis::draw))
    }

    /// The command that runs this again, with the seed.
    pub fn command(&self) -> String {
        let mut command = "tribunal run".to_owned();
        for (flag, value) in &self.config {
            command.push_str(&format!(" --{flag} {}", shell_word(value)));
        }
        command
    }
}

/// A word as a POSIX shell reads it back.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(shell_word("etcd:/usr/bin/etcd"), "etcd:/usr/bin/etcd");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
