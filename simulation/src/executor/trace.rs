//! What happened, as bytes: the proof that two runs of a seed are the same.
//!
//! Every poll, timer and message enters the hash with its time and its bytes. The bytes themselves are kept on
//! demand, so that two runs that differ can be laid side by side.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// What a record of the trace tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A task is polled: its number and its place.
    Poll = b'P',
    /// A task is spawned: its number and its place.
    Spawn = b'S',
    /// A timer fires: its number.
    Timer = b'T',
    /// A message is sent: from and to, and its bytes.
    Send = b'M',
    /// A message arrives: from and to.
    Arrive = b'A',
    /// A message is lost: from and to.
    Lose = b'X',
    /// A disk does something: its place, and what.
    Disk = b'D',
    /// A life begins or ends, a node is stopped or goes on: its place and its incarnation.
    Life = b'L',
    /// A clock is changed: its place.
    Clock = b'C',
    /// A node says something of itself: its place.
    Evidence = b'E',
    /// A task panics: its number and its place.
    Panic = b'!',
    /// What the harness adds.
    Note = b'N',
}

/// The trace of a run.
pub(crate) struct Trace {
    hash: Xxh3,
    /// What does not enter the hash yet: it takes a few hundred bytes at once faster than one record after another.
    pending: Vec<u8>,
    bytes: Option<Vec<u8>>,
    records: u64,
}

/// Pending bytes that enter the hash together.
const BATCH: usize = 8 << 10;

impl Trace {
    pub(crate) fn new(keep_bytes: bool) -> Self {
        Self {
            hash: Xxh3::new(),
            pending: Vec::with_capacity(BATCH + HEAD),
            bytes: keep_bytes.then(Vec::new),
            records: 0,
        }
    }

    pub(crate) fn record(&mut self, kind: Kind, now: u64, a: u64, b: u64, data: &[u8]) {
        let mut head = [0; HEAD];
        head[0] = kind as u8;
        head[1..9].copy_from_slice(&now.to_le_bytes());
        head[9..17].copy_from_slice(&a.to_le_bytes());
        head[17..25].copy_from_slice(&b.to_le_bytes());
        let length = u32::try_from(data.len()).expect("a record of less than 4 GiB");
        head[25..].copy_from_slice(&length.to_le_bytes());
        self.pending.extend_from_slice(&head);
        if data.len() < BATCH {
            self.pending.extend_from_slice(data);
        }
        if self.pending.len() >= BATCH || data.len() >= BATCH {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
        if data.len() >= BATCH {
            self.hash.update(data);
        }
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(data);
        }
        self.records += 1;
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut hash = self.hash.clone();
        hash.update(&self.pending);
        Digest {
            hash: hash.digest128(),
            records: self.records,
        }
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }
}

/// Bytes before a record's data: kind, time, two numbers, length.
const HEAD: usize = 29;

/// Hash of a trace and the number of its records. Equal digests mean equal runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// 128 bits of xxh3 over all records.
    pub hash: u128,
    /// How many records there are.
    pub records: u64,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} over {} records", self.hash, self.records)
    }
}

/// The records of a kept trace as lines for people: time in nanoseconds, kind, two numbers, printable data.
pub fn lines(mut bytes: &[u8]) -> impl Iterator<Item = String> {
    let number = |bytes: &[u8], at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    std::iter::from_fn(move || {
        let head = bytes.get(..HEAD)?;
        let length = u32::from_le_bytes([head[25], head[26], head[27], head[28]]) as usize;
        let data = bytes.get(HEAD..HEAD + length)?;
        let line = format!(
            "{} {} {} {} {}",
            number(head, 1),
            char::from(head[0]),
            number(head, 9),
            number(head, 17),
            data.escape_ascii()
        );
        bytes = &bytes[HEAD + length..];
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_record_enters_the_hash() {
        let digest = |now, a, b, data: &[u8]| {
            let mut trace = Trace::new(false);
            trace.record(Kind::Send, now, a, b, data);
            trace.digest().hash
        };
        let first = digest(1, 2, 3, b"x");
        assert_eq!(first, digest(1, 2, 3, b"x"));
        for other in [
            digest(2, 2, 3, b"x"),
            digest(1, 3, 3, b"x"),
            digest(1, 2, 4, b"x"),
            digest(1, 2, 3, b"y"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_kept_trace_reads_as_lines() {
        let mut trace = Trace::new(true);
        trace.record(Kind::Poll, 5, 1, 2, b"");
        trace.record(Kind::Note, 6, 0, 0, b"put x\n");
        let bytes = trace.bytes().expect("kept");
        assert_eq!(lines(bytes).collect::<Vec<_>>(), ["5 P 1 2 ", "6 N 0 0 put x\\n"]);
        assert_eq!(lines(&bytes[..bytes.len() - 1]).count(), 1, "a cut record is left out");
    }
}
