//! Faults and their schedules, as data.
//!
//! A schedule is drawn up front from the seed, so it can be read before the run, repeated and shrunk. What
//! depends on the moment (who leads) is a [`Select`] and is resolved when the fault starts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::record::Record;

/// A fault that can be applied to a cluster and undone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// SIGKILL at one instant; started again when the fault stops.
    Kill {
        /// Whom.
        select: Select,
    },
    /// SIGSTOP; SIGCONT when the fault stops.
    Pause {
        /// Whom.
        select: Select,
    },
    /// A node's links to all other nodes are cut. Clients still reach it.
    Isolate {
        /// Whom.
        select: Select,
        /// Which of its bytes are held.
        direction: Direction,
    },
}

impl Fault {
    /// Its kind, the name that flags and coverage use.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Kill { .. } => FaultKind::Kill,
            Self::Pause { .. } => FaultKind::Pause,
            Self::Isolate {
                direction: Direction::Both,
                ..
            } => FaultKind::Isolate,
            Self::Isolate {
                direction: Direction::Inbound,
                ..
            } => FaultKind::IsolateInbound,
            Self::Isolate {
                direction: Direction::Outbound,
                ..
            } => FaultKind::IsolateOutbound,
        }
    }

    /// Whom it is aimed at.
    pub fn select(&self) -> &Select {
        match self {
            Self::Kill { select } | Self::Pause { select } | Self::Isolate { select, .. } => select,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.select())
    }
}

/// Kinds of faults. A kind is what a deck holds one card of and what coverage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL and restart.
    Kill,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// Cut off from the other nodes in both directions.
    Isolate,
    /// Hears nothing from the other nodes; they still hear it.
    IsolateInbound,
    /// Not heard by the other nodes; it still hears them.
    IsolateOutbound,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Kill,
        Self::Pause,
        Self::Isolate,
        Self::IsolateInbound,
        Self::IsolateOutbound,
    ];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Isolate => "isolate",
            Self::IsolateInbound => "isolate-inbound",
            Self::IsolateOutbound => "isolate-outbound",
        }
    }

    /// The group that `--nemesis` knows it by as well: every cut is a `partition`.
    pub fn group(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Isolate | Self::IsolateInbound | Self::IsolateOutbound => "partition",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No fault has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no fault is called {0:?}")]
pub struct ParseFaultKind(String);

impl FromStr for FaultKind {
    type Err = ParseFaultKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| ParseFaultKind(text.to_owned()))
    }
}

/// Whom a fault is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Select {
    /// These nodes.
    Nodes {
        /// Sorted, without repeats.
        nodes: Vec<NodeId>,
    },
    /// Whoever leads when the fault starts; `otherwise` if nobody is known to.
    Leader {
        /// The node that stands in.
        otherwise: NodeId,
    },
    /// The leader and as many others, in order from `first`, as make a majority.
    Majority {
        /// Where the count of the others begins.
        first: NodeId,
    },
    /// Every node.
    All,
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes { nodes } => {
                for (place, node) in nodes.iter().enumerate() {
                    if place > 0 {
                        f.write_str(" ")?;
                    }
                    node.fmt(f)?;
                }
                Ok(())
            }
            Self::Leader { .. } => f.write_str("leader"),
            Self::Majority { .. } => f.write_str("majority"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Which bytes of a node's links are held, seen from that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What it sends and what is sent to it.
    Both,
    /// What is sent to it.
    Inbound,
    /// What it sends.
    Outbound,
}

/// One fault with its time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When it starts, in milliseconds after the safety phase began.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds.
    pub duration_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// The faults of a run, in order of their start (`schedule.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// In order of `at_ms`.
    pub steps: Vec<Step>,
    /// Kinds that were asked for and have no step in the time given.
    pub not_tried: Vec<FaultKind>,
}

impl Record for Schedule {
    const FORMAT: &'static str = "tribunal-schedule";
    const VERSION: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_name_that_reads_back() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("a string"), kind.name());
        }
        assert!("partition".parse::<FaultKind>().is_err(), "a group is not a kind");
    }

    #[test]
    fn an_isolation_is_told_by_its_direction() {
        let select = Select::Leader { otherwise: NodeId(1) };
        let kinds = [Direction::Both, Direction::Inbound, Direction::Outbound].map(|direction| {
            Fault::Isolate {
                select: select.clone(),
                direction,
            }
            .kind()
        });
        assert_eq!(
            kinds,
            [
                FaultKind::Isolate,
                FaultKind::IsolateInbound,
                FaultKind::IsolateOutbound
            ]
        );
    }
}
