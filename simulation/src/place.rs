//! Where a task runs.

use std::fmt;

use tribunal_history::NodeId;

/// Whose task it is: a node's, a client's, or the harness's own. Clock, disk, links and life hang on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// What drives the simulation. It has no links and never dies.
    Harness,
    /// A node of the cluster.
    Node(NodeId),
    /// A client, by number.
    Client(u32),
}

impl Place {
    /// A number that no other place has; labels of random streams and the trace use it.
    pub fn number(self) -> u64 {
        match self {
            Self::Harness => 0,
            Self::Node(node) => u64::from(node.0) + 1,
            Self::Client(client) => (1 << 32) | u64::from(client),
        }
    }
}

impl From<NodeId> for Place {
    fn from(node: NodeId) -> Self {
        Self::Node(node)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Harness => f.pad("harness"),
            Self::Node(node) => node.fmt(f),
            Self::Client(client) => f.pad(&format!("c{client}")),
        }
    }
}

/// One life of a place: a task of an earlier life acts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub place: Place,
    pub incarnation: u32,
}

impl Owner {
    pub(crate) const HARNESS: Self = Self {
        place: Place::Harness,
        incarnation: 0,
    };
}
