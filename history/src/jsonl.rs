//! Histories as JSON Lines (`history.jsonl`, `docs/formats/history.md`).
//!
//! The first line is the header, `{"format":"tribunal-history","version":2}`; each further line is one
//! [`Event`]. A writer appends whole lines, so a history is readable after a crash: a last line without its
//! newline was being written and is dropped, said through [`Reader::truncated`]. A closed history may be
//! compressed with gzip; a reader recognises that by its first bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::record::{Record, RecordError};

/// Longest line that is read, in bytes: a request of etcd's limit (1.5 MiB) escaped at its worst fits.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// The first line of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {}

impl Record for Header {
    const FORMAT: &'static str = "tribunal-history";
    /// 2: more kinds of faults. What version 1 has is unchanged.
    const VERSION: u32 = 2;
    const VERSION_MIN: u32 = 1;
}

/// Appends events to a history.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a history: writes the header.
    pub fn new(mut out: W) -> io::Result<Self> {
        writeln!(out, "{}", Header {}.to_json_line())?;
        Ok(Self {
            out,
            line: Vec::with_capacity(512),
        })
    }

    /// Appends one event as one line.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    /// Hands what is buffered to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The sink, flushed.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The first line is not the header of a history that this program reads.
    #[error("{path}:1: {source}", path = path.display())]
    Header {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A line is not an event.
    #[error("{path}:{line}:{column}: not an event: {source}", path = path.display(), column = source.column())]
    Event {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was expected.
        source: serde_json::Error,
    },
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("{path}:{line}: a line of more than {LINE_BYTES_MAX} bytes", path = path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

/// Reads a history event by event, without holding it whole.
pub struct Reader {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    line: usize,
    text: Vec<u8>,
    truncated: bool,
}

impl Reader {
    /// Opens the history at `path`, plain or compressed, and checks its header.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = std::fs::File::open(path).map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::new(path, file)
    }

    /// Reads from `source`; `path` is for messages.
    pub fn new(path: &Path, source: impl Read + Send + 'static) -> Result<Self, ReadError> {
        let mut raw = BufReader::with_capacity(1 << 16, source);
        let head = raw.fill_buf().map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
        let lines: Box<dyn BufRead + Send> = if head.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        let mut reader = Self {
            path: path.to_owned(),
            lines,
            line: 0,
            text: Vec::new(),
            truncated: false,
        };
        reader.next_line()?;
        let head = String::from_utf8_lossy(&reader.text);
        Header::from_json(&head).map_err(|source| ReadError::Header {
            path: path.to_owned(),
            source,
        })?;
        Ok(reader)
    }

    /// Whether the last line had no newline and was dropped.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Line of the event that was read last, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next event; none at the end.
    pub fn next_event(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            if !self.next_line()? {
                return Ok(None);
            }
            if self.text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let event = serde_json::from_slice(&self.text).map_err(|source| ReadError::Event {
                path: self.path.clone(),
                line: self.line,
                source,
            })?;
            return Ok(Some(event));
        }
    }

    /// Reads one whole line into `text`; false at the end.
    fn next_line(&mut self) -> Result<bool, ReadError> {
        self.text.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut self.lines)
            .take(limit)
            .read_until(b'\n', &mut self.text)
            .map_err(|source| ReadError::Io {
                path: self.path.clone(),
                source,
            })?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.text.last() == Some(&b'\n') {
            return Ok(true);
        }
        if read as u64 == limit {
            return Err(ReadError::TooLong {
                path: self.path.clone(),
                line: self.line,
            });
        }
        if self.line > 1 {
            self.truncated = true;
            return Ok(false);
        }
        Ok(true)
    }
}

impl Iterator for Reader {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

/// Reads the whole history at `path`.
pub fn read(path: &Path) -> Result<Vec<Event>, ReadError> {
    Reader::open(path)?.collect()
}

/// The bytes of a history's file, uncompressed.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = std::fs::read(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
        bytes = plain;
    }
    Ok(bytes)
}

/// Compresses the closed history at `path` into `path` + `.gz`, and leaves the plain file. Fast rather than small, since
/// whoever ran the test waits for it.
pub fn compress(path: &Path) -> io::Result<PathBuf> {
    let mut to = path.as_os_str().to_owned();
    to.push(".gz");
    let to = PathBuf::from(to);
    let mut from = std::fs::File::open(path)?;
    let mut beside = to.as_os_str().to_owned();
    beside.push(".partial");
    let mut encoder = GzEncoder::new(std::fs::File::create(&beside)?, Compression::new(3));
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.sync_data()?;
    std::fs::rename(&beside, &to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Phase, PhaseEvent};
    use crate::id::Seq;

    fn event(seq: u64) -> Event {
        Event::Phase(PhaseEvent {
            seq: Seq(seq),
            time_ns: seq * 10,
            phase: Phase::Safety,
        })
    }

    fn written(events: &[Event]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).expect("a vector takes everything");
        for event in events {
            writer.write(event).expect("a vector takes everything");
        }
        writer.into_inner().expect("a vector takes everything")
    }

    fn read_bytes(bytes: &[u8]) -> Result<(Vec<Event>, bool), ReadError> {
        let mut reader = Reader::new(Path::new("x.jsonl"), io::Cursor::new(bytes.to_vec()))?;
        let events = reader.by_ref().collect::<Result<_, _>>()?;
        Ok((events, reader.truncated()))
    }

    #[test]
    fn what_was_written_is_read() {
        let events = [event(0), event(1)];
        assert_eq!(read_bytes(&written(&events)).expect("reads"), (events.to_vec(), false));
    }

    #[test]
    fn a_line_cut_by_a_crash_is_dropped_and_said() {
        let bytes = written(&[event(0), event(1)]);
        let (events, truncated) = read_bytes(&bytes[..bytes.len() - 3]).expect("reads");
        assert_eq!((events, truncated), (vec![event(0)], true));
    }

    #[test]
    fn a_broken_line_is_named() {
        let mut bytes = written(&[event(0)]);
        bytes.extend_from_slice(b"{broken\n");
        let error = read_bytes(&bytes).expect_err("a broken line").to_string();
        assert!(error.starts_with("x.jsonl:3:2: not an event"), "{error}");
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let error = read_bytes(b"hello\n").expect_err("no header").to_string();
        assert!(error.starts_with("x.jsonl:1: "), "{error}");
    }

    #[test]
    fn a_closed_history_is_compressed_and_read_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, written(&[event(5)])).expect("writes");
        let packed = compress(&path).expect("compresses");
        assert!(packed.ends_with("history.jsonl.gz"));
        assert_eq!(read(&packed).expect("reads"), read(&path).expect("reads"));
        assert_eq!(read(&packed).expect("reads"), [event(5)]);
    }
}
