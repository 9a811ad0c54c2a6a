//! A history event by event, whatever it is written in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::vec;

use flate2::bufread::MultiGzDecoder;

use super::{Format, HEAD_BYTES, ImportError, etcd, from_edn, from_log, jepsen, recognise};
use crate::event::Event;
use crate::{binary, jsonl};

/// Reads the events of a history. Our own formats are read as they come; what others wrote is read to its end first, since
/// what a row means depends on later ones.
pub struct Stream {
    format: Format,
    specification: Option<&'static str>,
    events: Events,
}

enum Events {
    JsonLines(Box<jsonl::Reader>, Option<Event>),
    Binary(Box<binary::Reader>),
    Whole(vec::IntoIter<Event>, Option<Event>),
}

impl Stream {
    /// Opens the history at `path`, plain or compressed.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let file = File::open(path).map_err(|source| ImportError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::new(path, file)
    }

    /// Reads from `source`, which may still be written to; `path` is for messages.
    pub fn new(path: &Path, source: impl Read + Send + 'static) -> Result<Self, ImportError> {
        let failed = |source| ImportError::Io {
            path: path.to_owned(),
            source,
        };
        let mut raw = BufReader::with_capacity(HEAD_BYTES, source);
        let mut source: Box<dyn BufRead + Send> = if raw.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(HEAD_BYTES, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        let head = head(&mut source).map_err(failed)?;
        let format = recognise(&head).ok_or_else(|| ImportError::Unknown { path: path.to_owned() })?;
        let whole = BufReader::with_capacity(HEAD_BYTES, Cursor::new(head).chain(source));
        let events = match format {
            Format::JsonLines => Events::JsonLines(Box::new(jsonl::Reader::new(path, whole)?), None),
            Format::Binary => Events::Binary(Box::new(binary::Reader::new(path, whole)?)),
            Format::Edn => whole_of(from_edn(whole).map_err(|wrong| wrong.at(path))?),
            Format::JepsenLog => whole_of(from_log(whole).map_err(|wrong| wrong.at(path))?),
            Format::Etcd => whole_of(etcd::read(path, whole)?),
        };
        let specification = match &events {
            Events::Whole(..) if format == Format::Etcd => Some("etcd-kv"),
            Events::Whole(events, _) => jepsen::specification(events.as_slice()),
            Events::JsonLines(..) | Events::Binary(_) => None,
        };
        Ok(Self {
            format,
            specification,
            events,
        })
    }

    /// Reads the reports of etcd's robustness tests in a directory: see [`etcd::read_reports`].
    pub fn of_reports(folder: &Path) -> Result<Self, ImportError> {
        Ok(Self {
            format: Format::Etcd,
            specification: Some("etcd-kv"),
            events: whole_of(etcd::read_reports(folder)?),
        })
    }

    /// What it is written in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The specification that its operations are usually meant for, if the format is foreign and one is.
    pub fn specification(&self) -> Option<&'static str> {
        self.specification
    }

    /// Whether the history was cut off while it was written: known at its end.
    pub fn truncated(&self) -> bool {
        match &self.events {
            Events::JsonLines(reader, _) => reader.truncated(),
            Events::Binary(reader) => reader.truncated(),
            Events::Whole(..) => false,
        }
    }

    /// The next event; none at the end.
    pub fn next_event(&mut self) -> Result<Option<Event>, ImportError> {
        match &mut self.events {
            Events::JsonLines(reader, _) => Ok(reader.next_event()?),
            Events::Binary(reader) => Ok(reader.next_event()?),
            Events::Whole(events, _) => Ok(events.next()),
        }
    }

    /// The next event, in memory that a later one may use again: see [`binary::Reader::next_mut`].
    pub fn next_mut(&mut self) -> Result<Option<&mut Event>, ImportError> {
        match &mut self.events {
            Events::JsonLines(reader, event) => {
                *event = reader.next_event()?;
                Ok(event.as_mut())
            }
            Events::Binary(reader) => Ok(reader.next_mut()?),
            Events::Whole(events, event) => {
                *event = events.next();
                Ok(event.as_mut())
            }
        }
    }
}

impl Iterator for Stream {
    type Item = Result<Event, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

fn whole_of(events: Vec<Event>) -> Events {
    Events::Whole(events.into_iter(), None)
}

/// As much of the beginning as is needed to recognise a format. What is still being written is not waited for once it is
/// known to be one of ours.
fn head(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut length = 0;
    while length < HEAD_BYTES {
        let read = match source.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let has_new_line = head[length..length + read].contains(&b'\n');
        length += read;
        let known = &head[..length];
        if known.starts_with(&binary::MAGIC) {
            break;
        }
        if known[0] == b'{' && has_new_line && recognise(known) == Some(Format::JsonLines) {
            break;
        }
    }
    head.truncate(length);
    Ok(head)
}
