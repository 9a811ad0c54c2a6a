//! What a node says of itself: votes, persisted entries, commits, acknowledgements.
//!
//! A file holds one life of one node (`evidence/<node>-<incarnation>.bin`): an 8-byte magic with the format's
//! version, then frames of length (u32), crc32c (u32) and a postcard-encoded [`Stamped`], all little-endian. The
//! place in the file is the event's number. A frame cut by a crash ends the file; a frame whose checksum is
//! wrong is an error.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::id::{LogIndex, MemberId, NodeId, Revision, Term};

/// First bytes of a file of evidence; the last one is the version.
pub const MAGIC: [u8; 8] = *b"TRIBEVI\x03";

/// Longest frame in bytes; the events are small and of bounded size.
pub const FRAME_BYTES_MAX: usize = 64 << 10;

/// Proof of everything before it: a 128-bit rolling hash over terms and payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(pub u128);

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// Nanoseconds of the node's own monotonic clock.
    pub time_ns: u64,
    /// What happened.
    pub evidence: Evidence,
}

/// A place in the log with the proof of everything up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Index of the entry.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Hash chain up to and including it.
    pub chain: Chain,
}

/// A vote as Raft persists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// In which term.
    pub term: Term,
    /// For whom.
    pub voted_for: MemberId,
    /// Whether it is known that a quorum voted so, which makes `voted_for` the leader of the term.
    pub committed: bool,
}

/// Who votes and who only listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Configuration {
    /// The sets of voters, each sorted: one, or two while the cluster goes from one to the other; a quorum is a
    /// majority of each.
    pub voters: Vec<Vec<MemberId>>,
    /// Members without a vote, sorted.
    pub learners: Vec<MemberId>,
}

/// Where a state machine that was loaded at once came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SnapshotOrigin {
    /// The node made it of its own state.
    Built,
    /// The leader sent it.
    Received,
    /// It was on the node's disk when it started.
    Loaded,
}

/// A protocol event of one node.
///
/// What is said to be durable was so before the event was recorded: the event follows the sync that covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// It recovered its log and starts. [`Evidence::Configured`] for each configuration in the log follows.
    Boot {
        /// Which node.
        node: NodeId,
        /// Its member id.
        member: MemberId,
        /// The recovered vote.
        vote: Option<Ballot>,
        /// The last recovered entry, which may be the one that was purged last.
        last: Option<Position>,
        /// The last entry that was purged.
        purged: Option<Position>,
    },
    /// A vote is durable.
    Vote {
        /// Its term.
        term: Term,
        /// For whom.
        voted_for: MemberId,
        /// Whether it is the vote of an established leader.
        committed: bool,
    },
    /// Entries of one term up to `to` are durable.
    Persist {
        /// First of the batch.
        from: LogIndex,
        /// Last of the batch.
        to: LogIndex,
        /// Term of all of them.
        term: Term,
        /// Hash chain up to the last one.
        chain: Chain,
        /// Term of the leader under which they were accepted: that of the last vote before them.
        under: Term,
    },
    /// Everything after this entry is about to go: the intent is with the system before the first byte changes.
    Truncate {
        /// The last entry kept; none if none is.
        after: Option<LogIndex>,
    },
    /// Everything up to this entry is gone, durably.
    Purge {
        /// The last entry purged.
        upto: Position,
    },
    /// A configuration took effect here: its entry was appended, not yet committed nor durable. A truncation that
    /// removes the entry brings back the one before.
    Configured {
        /// Index of its entry.
        index: LogIndex,
        /// Term of its entry.
        term: Term,
        /// What it says.
        configuration: Configuration,
    },
    /// A snapshot is durable under its name, or was loaded from there; everything up to `last` is applied.
    Snapshot {
        /// Where it came from.
        origin: SnapshotOrigin,
        /// The last entry in it.
        last: Position,
        /// Hash of its content: equal for equal states.
        digest: u128,
        /// The store's revision in it.
        revision: Revision,
        /// Index of the entry that made the configuration in it; none if there was none yet.
        configured: Option<LogIndex>,
        /// The last configuration that was applied.
        configuration: Configuration,
    },
    /// It leads, follows or stands. Taken from a summary that may skip a role that did not last.
    Role {
        /// What it is.
        role: Role,
        /// In which term.
        term: Term,
    },
    /// It learned that entries up to here are committed.
    Commit {
        /// The last committed entry.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// Hash chain up to it, if the node still knows.
        chain: Option<Chain>,
    },
    /// It applied an entry.
    Apply {
        /// Which.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// The store's revision after it.
        revision: Revision,
        /// The operation that the entry carries; 0 for none.
        operation: u64,
    },
    /// It is about to answer a write ok.
    Ack {
        /// The operation; 0 if it has no number.
        operation: u64,
        /// The entry that holds it.
        index: LogIndex,
        /// Term of the entry.
        term: Term,
        /// The revision in the answer.
        revision: Revision,
    },
    /// A linearizable read arrived, from a client or from a member that asks for an index.
    ReadBegun {
        /// The read, counted from 1 in each life of a node.
        read: u64,
    },
    /// A member answered an append or a heartbeat of this node, which leads, without contradicting its term.
    Confirmed {
        /// Which member.
        by: MemberId,
        /// The term in which this node leads.
        term: Term,
        /// When the message was sent: nanoseconds of this node's own monotonic clock.
        sent_ns: u64,
    },
    /// It names, as the leader, the index that a read has to wait for.
    ReadIndex {
        /// The read, of [`Evidence::ReadBegun`] on this node.
        read: u64,
        /// The term in which it leads.
        term: Term,
        /// The index.
        index: LogIndex,
        /// Whether it trusts its clock in place of asking a quorum.
        lease: bool,
    },
    /// It is about to answer a read.
    Read {
        /// The operation; 0 if it has no number.
        operation: u64,
        /// The read, of [`Evidence::ReadBegun`] on this node; none for one that asks nobody (serializable).
        read: Option<u64>,
        /// Term of the leader that named the index.
        term: Term,
        /// The index that had to be applied first.
        read_index: LogIndex,
        /// The revision in the answer.
        revision: Revision,
    },
    /// A sync failed; the node stops.
    SyncFailed {
        /// What the system said.
        error: String,
    },
}

/// Raft's roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It has no vote.
    Learner,
    /// It is stopping.
    Shutdown,
}

/// Appends the frame of `stamped` to `out`.
pub fn encode(stamped: &Stamped, out: &mut Vec<u8>) {
    let body = postcard::to_allocvec(stamped).unwrap_or_else(|error| panic!("evidence serializes: {error}"));
    assert!(body.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", body.len());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
}

/// Why a file of evidence cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else, or of another version.
    #[error("not a file of evidence that this program reads: it begins with {0:02x?}")]
    Magic([u8; 8]),
    /// A frame is damaged.
    #[error("frame {frame} is damaged: {what}")]
    Damaged {
        /// Counted from 0.
        frame: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads a file of evidence; a last frame that was cut by a crash is dropped.
pub fn decode(mut from: impl Read) -> Result<Vec<Stamped>, DecodeError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let Some((magic, mut rest)) = bytes.split_first_chunk::<8>() else {
        return Ok(Vec::new());
    };
    if *magic != MAGIC {
        return Err(DecodeError::Magic(*magic));
    }
    let mut events = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let damaged = |what| DecodeError::Damaged {
            frame: events.len(),
            what,
        };
        if length > FRAME_BYTES_MAX {
            return Err(damaged("its length is out of range"));
        }
        let Some((body, after)) = after.split_at_checked(length) else {
            break;
        };
        if crc32c::crc32c(body) != checksum {
            return Err(damaged("its checksum is wrong"));
        }
        events.push(postcard::from_bytes(body).map_err(|_| damaged("its content has another form"))?);
        rest = after;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for index in 0..3 {
            let evidence = Evidence::Commit {
                index: LogIndex(index),
                term: Term(1),
                chain: Some(Chain(u128::from(index) << 64)),
            };
            encode(
                &Stamped {
                    time_ns: index,
                    evidence,
                },
                &mut bytes,
            );
        }
        bytes
    }

    #[test]
    fn frames_read_back() {
        assert_eq!(decode(&file()[..]).expect("reads").len(), 3);
    }

    #[test]
    fn a_cut_frame_is_dropped_at_any_place() {
        let bytes = file();
        for cut in 8..bytes.len() {
            let events = decode(&bytes[..cut]).expect("a prefix reads");
            assert!(events.len() < 3, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let mut bytes = file();
        bytes[17] ^= 1;
        assert!(matches!(decode(&bytes[..]), Err(DecodeError::Damaged { frame: 0, .. })));
    }
}
