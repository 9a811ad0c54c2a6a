//! Records of the log and their bytes.
//!
//! A record is length (u32, of what follows the checksum), crc32c (u32), kind (u8), body; all numbers are
//! little-endian. Lists of optional fields start with one byte, 0 or 1.

use bytes::Bytes;
pub use tribunal_history::evidence::{Ballot, Position};
use tribunal_history::{LogIndex, MemberId, Term};

use super::Chain;

/// Bytes of a record before its kind.
pub const PREFIX_BYTES: usize = 8;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// What it holds; opaque here.
    pub payload: Bytes,
}

/// One record of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry is appended.
    Entry(Entry),
    /// The node voted, or learned of a leader.
    Vote(Ballot),
    /// Entries up to here are known to be committed. A hint for recovery, written without a sync of its own.
    Committed {
        /// Index of the last committed entry.
        index: LogIndex,
        /// Its term.
        term: Term,
    },
    /// Everything after this entry is removed; none: everything.
    Truncate(Option<Position>),
    /// Everything up to this entry is removed; the log may then start after an entry that it never held, where a
    /// snapshot took its place.
    Purge(Position),
    /// What all earlier records amount to, without the entries; first in every segment.
    State(State),
}

/// State of the log apart from its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The last vote.
    pub vote: Option<Ballot>,
    /// The last commit point that was written.
    pub committed: Option<(LogIndex, Term)>,
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// The last entry, which may be the one that was purged last.
    pub last: Option<Position>,
}

impl Record {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        match self {
            Self::Entry(entry) => {
                out.push(1);
                put_position(entry.position, out);
                out.extend_from_slice(&entry.payload);
            }
            Self::Vote(ballot) => {
                out.push(2);
                put_ballot(*ballot, out);
            }
            Self::Committed { index, term } => {
                out.push(3);
                out.extend_from_slice(&index.0.to_le_bytes());
                out.extend_from_slice(&term.0.to_le_bytes());
            }
            Self::Truncate(after) => {
                out.push(4);
                put_option(*after, out, put_position);
            }
            Self::Purge(upto) => {
                out.push(5);
                put_position(*upto, out);
            }
            Self::State(state) => {
                out.push(6);
                put_option(state.vote, out, put_ballot);
                put_option(state.committed, out, |(index, term), out| {
                    out.extend_from_slice(&index.0.to_le_bytes());
                    out.extend_from_slice(&term.0.to_le_bytes());
                });
                put_option(state.purged, out, put_position);
                put_option(state.last, out, put_position);
            }
        }
        let length = out.len() - start - PREFIX_BYTES;
        let length = u32::try_from(length).unwrap_or_else(|_| panic!("a record of {length} bytes"));
        let checksum = crc32c::crc32c(&out[start + PREFIX_BYTES..]);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the record at the start of `bytes`; gives it and its length.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), &'static str> {
        let (body, checksum) = Self::body_at(bytes)?;
        if crc32c::crc32c(body) != checksum {
            return Err("a record's checksum is wrong");
        }
        Self::decode_unchecked(bytes)
    }

    /// As [`Record::decode`], without a look at the checksum; for the planted defect `torn-record-accepted`.
    pub fn decode_unchecked(bytes: &[u8]) -> Result<(Self, usize), &'static str> {
        let (body, _) = Self::body_at(bytes)?;
        let record = Self::decode_body(body).ok_or("a record has an unknown form")?;
        Ok((record, PREFIX_BYTES + body.len()))
    }

    /// The kind and body of the record at the start of `bytes`, and the checksum that they should have.
    fn body_at(bytes: &[u8]) -> Result<(&[u8], u32), &'static str> {
        let (head, rest) = bytes
            .split_first_chunk::<PREFIX_BYTES>()
            .ok_or("a record's head is cut")?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let body = rest.get(..length).ok_or("a record is longer than its batch")?;
        Ok((body, checksum))
    }

    fn decode_body(body: &[u8]) -> Option<Self> {
        let (&kind, mut rest) = body.split_first()?;
        let record = match kind {
            1 => {
                let position = take_position(&mut rest)?;
                let payload = Bytes::copy_from_slice(std::mem::take(&mut rest));
                Self::Entry(Entry { position, payload })
            }
            2 => Self::Vote(take_ballot(&mut rest)?),
            3 => Self::Committed {
                index: LogIndex(take_u64(&mut rest)?),
                term: Term(take_u64(&mut rest)?),
            },
            4 => Self::Truncate(take_option(&mut rest, take_position)?),
            5 => Self::Purge(take_position(&mut rest)?),
            6 => Self::State(State {
                vote: take_option(&mut rest, take_ballot)?,
                committed: take_option(&mut rest, |rest| {
                    Some((LogIndex(take_u64(rest)?), Term(take_u64(rest)?)))
                })?,
                purged: take_option(&mut rest, take_position)?,
                last: take_option(&mut rest, take_position)?,
            }),
            _ => return None,
        };
        rest.is_empty().then_some(record)
    }
}

fn put_position(position: Position, out: &mut Vec<u8>) {
    out.extend_from_slice(&position.index.0.to_le_bytes());
    out.extend_from_slice(&position.term.0.to_le_bytes());
    out.extend_from_slice(&position.chain.0.to_le_bytes());
}

fn put_ballot(ballot: Ballot, out: &mut Vec<u8>) {
    out.extend_from_slice(&ballot.term.0.to_le_bytes());
    out.extend_from_slice(&ballot.voted_for.0.to_le_bytes());
    out.push(u8::from(ballot.committed));
}

fn put_option<T>(value: Option<T>, out: &mut Vec<u8>, put: impl FnOnce(T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, out);
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

fn take_position(rest: &mut &[u8]) -> Option<Position> {
    Some(Position {
        index: LogIndex(take_u64(rest)?),
        term: Term(take_u64(rest)?),
        chain: Chain(u128::from_le_bytes(take(rest)?)),
    })
}

fn take_ballot(rest: &mut &[u8]) -> Option<Ballot> {
    Some(Ballot {
        term: Term(take_u64(rest)?),
        voted_for: MemberId(take_u64(rest)?),
        committed: take_bool(rest)?,
    })
}

fn take_bool(rest: &mut &[u8]) -> Option<bool> {
    match take::<1>(rest)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

fn take_option<T>(rest: &mut &[u8], value: impl FnOnce(&mut &[u8]) -> Option<T>) -> Option<Option<T>> {
    if take_bool(rest)? {
        value(rest).map(Some)
    } else {
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: u64) -> Position {
        Position {
            index: LogIndex(number),
            term: Term(number / 2),
            chain: Chain(u128::from(number) << 70),
        }
    }

    #[test]
    fn every_kind_reads_back() {
        let ballot = Ballot {
            term: Term(3),
            voted_for: MemberId(u64::MAX),
            committed: true,
        };
        let records = [
            Record::Entry(Entry {
                position: position(7),
                payload: Bytes::from_static(b"payload"),
            }),
            Record::Vote(ballot),
            Record::Committed {
                index: LogIndex(4),
                term: Term(2),
            },
            Record::Truncate(None),
            Record::Truncate(Some(position(5))),
            Record::Purge(position(6)),
            Record::State(State::default()),
            Record::State(State {
                vote: Some(ballot),
                committed: Some((LogIndex(1), Term(1))),
                purged: Some(position(1)),
                last: Some(position(2)),
            }),
        ];
        let mut bytes = Vec::new();
        for record in &records {
            record.encode(&mut bytes);
        }
        let mut rest = &bytes[..];
        for record in &records {
            let (read, length) = Record::decode(rest).expect("reads back");
            assert_eq!(&read, record);
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "{} bytes left", rest.len());
    }
}
