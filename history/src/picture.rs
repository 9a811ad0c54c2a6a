//! A picture of the cluster at one instant: who held what when a promise of the protocol was broken.

use serde::{Deserialize, Serialize};

use crate::id::{LogIndex, MemberId, NodeId, Term};

/// The cluster at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// The entry that it is about, if it is about one.
    pub entry: Option<LogIndex>,
    /// The entry's term, if it is known.
    pub term: Option<Term>,
    /// The first digits of the hash chain up to it, if it is known.
    pub chain: Option<String>,
    /// The members: those that have said something by their numbers, then those that never did.
    pub members: Vec<MemberPicture>,
}

/// One member in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPicture {
    /// Where it is, if it ever ran.
    pub node: Option<NodeId>,
    /// Which member.
    pub member: MemberId,
    /// What it is in the configuration that counts.
    pub standing: Standing,
    /// Whether it lived, if somebody could say.
    pub is_up: Option<bool>,
    /// Term of its last durable vote.
    pub term: Option<Term>,
    /// The term that it led, if it led one.
    pub leads: Option<Term>,
    /// The last entry on its disk.
    pub durable_last: Option<LogIndex>,
    /// The first digits of the hash chain up to that one.
    pub durable_chain: Option<String>,
    /// Whether its disk held the entry that the picture is about.
    pub holds: Holding,
    /// The term of what it held at that index.
    pub at_entry: Option<Term>,
    /// Where its durable snapshot ended.
    pub snapshot: Option<LogIndex>,
    /// The last entry that it knew to be committed, in this life.
    pub committed: Option<LogIndex>,
    /// The last entry that it had applied, in this life.
    pub applied: Option<LogIndex>,
    /// What this is drawn from.
    pub basis: Basis,
    /// What else is to be said, for people.
    pub note: String,
}

/// What a member is in a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It votes.
    Voter,
    /// It votes until the change that is under way is done.
    LeavingVoter,
    /// It only listens.
    Learner,
    /// It is no member.
    Stranger,
    /// Nobody said.
    #[default]
    Unknown,
}

impl Standing {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::LeavingVoter => "voter, leaving",
            Self::Learner => "learner",
            Self::Stranger => "no member",
            Self::Unknown => "not known",
        }
    }
}

/// Whether a disk held an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holding {
    /// As an entry of the log.
    Log,
    /// In a snapshot that reached at least so far.
    Snapshot,
    /// Another entry was in its place.
    Other,
    /// Not at all.
    No,
    /// Nobody can say, or no entry was asked for.
    #[default]
    Unknown,
}

impl Holding {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Log => "yes, in the log",
            Self::Snapshot => "yes, in a snapshot",
            Self::Other => "another entry in its place",
            Self::No => "no",
            Self::Unknown => "not known",
        }
    }
}

/// What a statement about a disk rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The durable bytes themselves, read at that instant.
    DurableImage,
    /// What the node said.
    #[default]
    Evidence,
}
