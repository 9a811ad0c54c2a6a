//! Numbers with names, so that two of them cannot be swapped in a call.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Place of an event in the one order of a run, from one atomic counter: taken before the first byte
    /// of a request is sent and after its reply is decoded. Judging uses this and no clock.
    Seq(u64)
}
number! {
    /// One logical client (shown to people as *client*). A process that got `info` retires; a new number
    /// takes over its work.
    ProcessId(u32)
}
number! {
    /// etcd's counter of changes to the whole store: the first write makes 2 of 1.
    Revision(i64)
}
number! {
    /// Raft's term.
    Term(u64)
}
number! {
    /// Index of an entry in the Raft log.
    LogIndex(u64)
}
number! {
    /// How many times a node has been started before in this run: 0 is its first life.
    Incarnation(u32)
}

/// One machine-like place of the cluster, `n1`, `n2`, … (a *member* in etcd's API).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("n{}", self.0))
    }
}

/// A node's name is not of the form `n1`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a node's name: expected n1, n2, …")]
pub struct ParseNodeId(String);

impl FromStr for NodeId {
    type Err = ParseNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('n')
            .filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(NodeId)
            .ok_or_else(|| ParseNodeId(text.to_owned()))
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// etcd's member id, a 64-bit hash; written as etcd writes it, in hexadecimal without leading zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map(MemberId)
            .map_err(|_| de::Error::custom(format!("{text:?} is not a hexadecimal member id")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_read_back_and_others_refused() {
        assert_eq!("n12".parse(), Ok(NodeId(12)));
        assert_eq!(NodeId(3).to_string(), "n3");
        for wrong in ["", "n", "3", "n-1", "n+1", "m1", "n99999"] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_member_id_is_hexadecimal_in_json() {
        let id = MemberId(0x8e9e_05c5_2164_694d);
        let text = serde_json::to_string(&id).expect("a string");
        assert_eq!(text, "\"8e9e05c52164694d\"");
        assert_eq!(serde_json::from_str::<MemberId>(&text).expect("reads back"), id);
    }
}
