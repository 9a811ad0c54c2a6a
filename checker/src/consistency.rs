//! Consistency models: what a history may be judged by.
//!
//! A specification says what an object is; a model says which orders of its operations may explain what clients saw.
//! The models of transactions are those of Adya (1999) with the sessions and real time of Cerone and Gotsman (2018) and
//! of Elle's hierarchy, as far as a history without predicates tells them apart.

use std::fmt;

use tribunal_history::AnomalyClass;

/// A consistency model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consistency {
    /// Each operation at one moment between its beginning and its end, key by key.
    Linearizable,
    /// One order of all operations on all keys, in which each client's come in their order.
    Sequential,
    /// What a client reads of a key is not older than what it had read.
    MonotonicReads,
    /// What a client writes to a key is newer than what it had written.
    MonotonicWrites,
    /// What a client reads of a key is not older than what it had written.
    ReadYourWrites,
    /// What a client writes to a key is newer than what it had read.
    WritesFollowReads,
    /// Linearizable, but a read that was marked serializable may show any state that there was before it ended.
    SerializableReads,
    /// Transactions: writes are applied in one order, nothing else.
    ReadUncommitted,
    /// And nobody sees what was aborted, or half of a transaction.
    ReadCommitted,
    /// Each transaction reads from one snapshot, and of two that meet on a key only one commits.
    SnapshotIsolation,
    /// And the snapshot holds what the same client did before.
    StrongSessionSnapshotIsolation,
    /// And the snapshot holds everything that had ended before the transaction began.
    StrongSnapshotIsolation,
    /// One order of all transactions explains everything.
    Serializable,
    /// And each client's transactions come in their order.
    StrongSessionSerializable,
    /// And what had ended before another began comes before it.
    StrictSerializable,
}

impl Consistency {
    /// The models of objects whose operations show their values, stronger before weaker.
    pub const OF_OBJECTS: [Self; 6] = [
        Self::Linearizable,
        Self::Sequential,
        Self::MonotonicReads,
        Self::MonotonicWrites,
        Self::ReadYourWrites,
        Self::WritesFollowReads,
    ];

    /// The models of an etcd, whose reads may be marked serializable, stronger before weaker.
    pub const OF_ETCD: [Self; 2] = [Self::Linearizable, Self::SerializableReads];

    /// The models of transactions, weaker before stronger.
    pub const OF_TRANSACTIONS: [Self; 8] = [
        Self::ReadUncommitted,
        Self::ReadCommitted,
        Self::SnapshotIsolation,
        Self::StrongSessionSnapshotIsolation,
        Self::StrongSnapshotIsolation,
        Self::Serializable,
        Self::StrongSessionSerializable,
        Self::StrictSerializable,
    ];

    /// Every model.
    pub const ALL: [Self; 15] = [
        Self::Linearizable,
        Self::Sequential,
        Self::MonotonicReads,
        Self::MonotonicWrites,
        Self::ReadYourWrites,
        Self::WritesFollowReads,
        Self::SerializableReads,
        Self::ReadUncommitted,
        Self::ReadCommitted,
        Self::SnapshotIsolation,
        Self::StrongSessionSnapshotIsolation,
        Self::StrongSnapshotIsolation,
        Self::Serializable,
        Self::StrongSessionSerializable,
        Self::StrictSerializable,
    ];

    /// Its name in flags and files, and the id of the property that holds or is violated.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Sequential => "sequential",
            Self::MonotonicReads => "monotonic-reads",
            Self::MonotonicWrites => "monotonic-writes",
            Self::ReadYourWrites => "read-your-writes",
            Self::WritesFollowReads => "writes-follow-reads",
            Self::SerializableReads => "serializable-reads",
            Self::ReadUncommitted => "read-uncommitted",
            Self::ReadCommitted => "read-committed",
            Self::SnapshotIsolation => "snapshot-isolation",
            Self::StrongSessionSnapshotIsolation => "strong-session-snapshot-isolation",
            Self::StrongSnapshotIsolation => "strong-snapshot-isolation",
            Self::Serializable => "serializable",
            Self::StrongSessionSerializable => "strong-session-serializable",
            Self::StrictSerializable => "strict-serializable",
        }
    }

    /// The property for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Linearizable => "Linearizable, per key",
            Self::Sequential => "Sequentially consistent",
            Self::MonotonicReads => "Monotonic reads, per key",
            Self::MonotonicWrites => "Monotonic writes, per key",
            Self::ReadYourWrites => "Read your writes, per key",
            Self::WritesFollowReads => "Writes follow reads, per key",
            Self::SerializableReads => "Linearizable but for serializable reads",
            Self::ReadUncommitted => "Read uncommitted",
            Self::ReadCommitted => "Read committed",
            Self::SnapshotIsolation => "Snapshot isolation",
            Self::StrongSessionSnapshotIsolation => "Strong session snapshot isolation",
            Self::StrongSnapshotIsolation => "Strong snapshot isolation",
            Self::Serializable => "Serializable",
            Self::StrongSessionSerializable => "Strong session serializable",
            Self::StrictSerializable => "Strict serializable",
        }
    }

    /// What a history that obeys it is, for people: `linearizable`.
    pub fn adjective(self) -> String {
        match self {
            Self::Linearizable | Self::Serializable | Self::StrongSessionSerializable | Self::StrictSerializable => {
                self.name().replace('-', " ")
            }
            _ => format!("within {}", self.name().replace('-', " ")),
        }
    }

    /// What is said of a history that does not: `not linearizable`.
    pub fn violated(self) -> String {
        match self {
            Self::Linearizable | Self::Serializable | Self::StrongSessionSerializable | Self::StrictSerializable => {
                format!("not {}", self.adjective())
            }
            _ => format!("{} violated", self.name().replace('-', " ")),
        }
    }

    /// What it says, in one line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Linearizable => "each operation at one moment between its beginning and its end, key by key",
            Self::Sequential => "one order of all operations on all keys, in which each client's come in their order",
            Self::MonotonicReads => "what a client reads of a key is not older than what it had read",
            Self::MonotonicWrites => "what a client writes to a key is newer than what it had written",
            Self::ReadYourWrites => "what a client reads of a key is not older than what it had written",
            Self::WritesFollowReads => "what a client writes to a key is newer than what it had read",
            Self::SerializableReads => {
                "linearizable, but reads marked serializable may show any state of the store before they end"
            }
            Self::ReadUncommitted => "transactions: writes are applied in one order, nothing else",
            Self::ReadCommitted => "transactions: and nobody sees what was aborted, or half of a transaction",
            Self::SnapshotIsolation => {
                "transactions: each reads from one snapshot, and of two that meet on a key only one commits"
            }
            Self::StrongSessionSnapshotIsolation => "snapshot isolation, and snapshots hold what the same client did",
            Self::StrongSnapshotIsolation => "snapshot isolation, and snapshots hold everything that had ended before",
            Self::Serializable => "transactions: one order of all of them explains everything",
            Self::StrongSessionSerializable => "serializable, and each client's transactions come in their order",
            Self::StrictSerializable => "serializable, and what had ended before another began comes before it",
        }
    }

    /// Whether every history of this model is one of `weaker` too. Reflexive.
    pub fn implies(self, weaker: Self) -> bool {
        use Consistency::{
            Linearizable, MonotonicReads, MonotonicWrites, ReadCommitted, ReadUncommitted, ReadYourWrites, Sequential,
            Serializable, SerializableReads, SnapshotIsolation, StrictSerializable, StrongSessionSerializable,
            StrongSessionSnapshotIsolation, StrongSnapshotIsolation, WritesFollowReads,
        };
        let direct: &[Self] = match self {
            Linearizable => &[Sequential, SerializableReads],
            Sequential => &[MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads],
            MonotonicReads | MonotonicWrites | ReadYourWrites | WritesFollowReads | SerializableReads
            | ReadUncommitted => &[],
            ReadCommitted => &[ReadUncommitted],
            SnapshotIsolation => &[ReadCommitted],
            StrongSessionSnapshotIsolation | Serializable => &[SnapshotIsolation],
            StrongSnapshotIsolation => &[StrongSessionSnapshotIsolation],
            StrongSessionSerializable => &[Serializable, StrongSessionSnapshotIsolation],
            StrictSerializable => &[StrongSessionSerializable, StrongSnapshotIsolation],
        };
        self == weaker || direct.iter().any(|model| model.implies(weaker))
    }

    /// Whether the anomaly cannot happen under this model of transactions.
    pub fn forbids(self, class: AnomalyClass) -> bool {
        use AnomalyClass as A;
        let weakest: &[Self] = match class {
            A::G0 | A::DuplicateElements | A::PhantomValue => &[Self::ReadUncommitted],
            A::G1a | A::G1b | A::G1c | A::DirtyUpdate | A::IncompatibleOrder => &[Self::ReadCommitted],
            A::Internal | A::LostUpdate | A::GSingle | A::GNonadjacent => &[Self::SnapshotIsolation],
            A::G2Item => &[Self::Serializable],
            A::G0Process | A::G1cProcess | A::GSingleProcess | A::GNonadjacentProcess => {
                &[Self::StrongSessionSnapshotIsolation]
            }
            A::G2ItemProcess => &[Self::StrongSessionSerializable],
            A::G0Realtime | A::G1cRealtime | A::GSingleRealtime | A::GNonadjacentRealtime => {
                &[Self::StrongSnapshotIsolation]
            }
            A::G2ItemRealtime => &[Self::StrictSerializable],
            _ => &[],
        };
        weakest.iter().any(|model| self.implies(*model))
    }

    /// Whether it is weaker than linearizability and about any object, by its values.
    pub fn is_weaker(self) -> bool {
        self != Self::Linearizable && Self::OF_OBJECTS.contains(&self)
    }

    /// Whether it is a model of transactions.
    pub fn is_of_transactions(self) -> bool {
        Self::OF_TRANSACTIONS.contains(&self)
    }

    /// The model of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_weaker_model_forbids_a_stronger_one_forbids_too() {
        let classes = [
            AnomalyClass::G0,
            AnomalyClass::G1a,
            AnomalyClass::Internal,
            AnomalyClass::G2Item,
            AnomalyClass::GSingleProcess,
            AnomalyClass::G0Realtime,
            AnomalyClass::G2ItemRealtime,
        ];
        for weak in Consistency::OF_TRANSACTIONS {
            for strong in Consistency::OF_TRANSACTIONS {
                for class in classes {
                    assert!(
                        !strong.implies(weak) || !weak.forbids(class) || strong.forbids(class),
                        "{weak} forbids {class}, {strong} does not"
                    );
                }
            }
            assert!(Consistency::StrictSerializable.implies(weak));
            assert_eq!(Consistency::named(weak.name()), Some(weak));
        }
        assert!(!Consistency::Serializable.implies(Consistency::StrongSessionSnapshotIsolation));
        assert!(!Consistency::StrongSnapshotIsolation.implies(Consistency::Serializable));
    }
}
