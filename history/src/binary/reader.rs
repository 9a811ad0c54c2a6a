//! Reads events from blocks.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;

use super::bytes::Cursor;
use super::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, CAUSE_CODES, DEPTH_MAX, EVENT_VALUES_MAX, HEAD_BYTES, MAGIC, NAMED_MEMBERS_MAX,
    NAMED_TEXT_BYTES_MAX, VERSION, block, has, kind, tag,
};
use crate::event::{Cause, Completion, Event, Invocation, Phase, PhaseEvent};
use crate::fields::Fields;
use crate::id::{MemberId, NodeId, ProcessId, Revision, Seq, Term};
use crate::jsonl::{Header, LINE_BYTES_MAX};
use crate::record::Record as _;
use crate::value::Value;

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// The file cannot be opened or read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else, or of another version.
    #[error("{path}: byte 0: {what}", path = path.display())]
    Head {
        /// Which file.
        path: PathBuf,
        /// What was expected and what is there.
        what: String,
    },
    /// It is not as it was written.
    #[error("{path}: the block at byte {block}, byte {within} of it: {what}", path = path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where the block begins in the file.
        block: u64,
        /// Where in the block, as it is when plain; 0 where the block itself is at fault.
        within: usize,
        /// What was expected and what is there.
        what: String,
    },
}

/// Reads a history event by event, without holding more than one block.
pub struct Reader {
    path: PathBuf,
    source: Box<dyn Read + Send>,
    /// Bytes read.
    offset: u64,
    /// Where the block began.
    block: u64,
    stored: Vec<u8>,
    plain: Vec<u8>,
    at: usize,
    tables: Tables,
    scratch: Scratch,
    events: u64,
    truncated: bool,
    is_at_end: bool,
}

/// What later events of a block refer to.
#[derive(Default)]
struct Tables {
    /// Begin and length of texts.
    texts: Vec<(u32, u32)>,
    members: Vec<u64>,
    seq: u64,
    time_ns: u64,
    revision: i64,
}

/// Events that are read again and again into the same memory.
struct Scratch {
    invocation: Event,
    ok: Event,
    fail: Event,
    info: Event,
    other: Event,
    /// Maps that were asked with, and such that were answered.
    asked: Spare,
    answered: Spare,
}

/// Maps to be used again: operations of several kinds follow each other, each with a map of its own form, and to make the names
/// of one anew takes longer than all the rest.
#[derive(Default)]
struct Spare(Vec<Fields>);

/// Most maps that are kept: some of each form that a workload has.
const SPARE_MAX: usize = 16;

/// Most values in one of them.
const SPARE_VALUES_MAX: usize = 8;

impl Spare {
    /// Puts away what `value` has if it is of use, and makes it a map, if possible one of `count` values.
    fn exchange(&mut self, value: &mut Value, count: usize) {
        self.keep(value);
        let fitting = self.0.iter().position(|map| map.len() == count);
        *value = Value::Map(fitting.map_or_else(Fields::new, |place| self.0.swap_remove(place)));
    }

    /// Puts away what `value` has if it is of use. What is large is none, so that what is kept stays small.
    fn keep(&mut self, value: &mut Value) {
        let is_small = |(_, value): (&str, &Value)| match value {
            Value::Null | Value::Bool(_) | Value::Int(_) => true,
            Value::Text(text) => text.capacity() <= NAMED_TEXT_BYTES_MAX,
            Value::List(_) | Value::Map(_) => false,
        };
        if let Value::Map(map) = value
            && self.0.len() < SPARE_MAX
            && (1..=SPARE_VALUES_MAX).contains(&map.len())
            && map.iter().all(is_small)
            && let Value::Map(map) = std::mem::take(value)
        {
            self.0.push(map);
        }
    }
}

/// A completion without any memory of its own.
const NO_COMPLETION: Completion = Completion {
    seq: Seq(0),
    time_ns: 0,
    process: ProcessId(0),
    output: Value::Null,
    revision: None,
    term: None,
    member: None,
    cause: None,
};

/// An event without any memory of its own.
const NOTHING: Event = Event::Phase(PhaseEvent {
    seq: Seq(0),
    time_ns: 0,
    phase: Phase::End,
});

impl Reader {
    /// Opens the history at `path` and checks its head.
    pub fn open(path: &Path) -> Result<Self, BinaryError> {
        let file = std::fs::File::open(path).map_err(|source| BinaryError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::new(path, BufReader::with_capacity(1 << 17, file))
    }

    /// Reads from `source`, which should be buffered; `path` is for messages.
    pub fn new(path: &Path, source: impl Read + Send + 'static) -> Result<Self, BinaryError> {
        let mut reader = Self {
            path: path.to_owned(),
            source: Box::new(source),
            offset: 0,
            block: 0,
            stored: Vec::new(),
            plain: Vec::new(),
            at: 0,
            tables: Tables::default(),
            scratch: Scratch {
                invocation: NOTHING,
                ok: NOTHING,
                fail: NOTHING,
                info: NOTHING,
                other: NOTHING,
                asked: Spare::default(),
                answered: Spare::default(),
            },
            events: 0,
            truncated: false,
            is_at_end: false,
        };
        reader.fill(HEAD_BYTES)?;
        reader.head().map_err(|what| BinaryError::Head {
            path: path.to_owned(),
            what,
        })?;
        Ok(reader)
    }

    /// Whether the history was cut off: a block was being written, or the end was never written. What is whole has been
    /// read.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The next event; none at the end.
    pub fn next_event(&mut self) -> Result<Option<Event>, BinaryError> {
        Ok(self.next_mut()?.map(|event| std::mem::replace(event, NOTHING)))
    }

    /// The next event in memory that later ones use again, which is several times as fast. What the caller takes out or
    /// puts in does no harm.
    pub fn next_mut(&mut self) -> Result<Option<&mut Event>, BinaryError> {
        while self.at == self.plain.len() {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        let mut decoder = Decoder {
            plain: &self.plain,
            cursor: Cursor::new(&self.plain, self.at),
            tables: &mut self.tables,
            text_bytes_left: LINE_BYTES_MAX,
            values_left: EVENT_VALUES_MAX,
        };
        let decoded = decoder.event(&mut self.scratch);
        let at = decoder.cursor.at();
        match decoded {
            Ok(event) => {
                self.at = at;
                self.events += 1;
                Ok(Some(event))
            }
            Err(what) => {
                // Nothing that follows has a meaning.
                (self.at, self.is_at_end) = (self.plain.len(), true);
                Err(BinaryError::Corrupt {
                    path: self.path.clone(),
                    block: self.block,
                    within: at,
                    what: what.into(),
                })
            }
        }
    }

    fn head(&self) -> Result<(), String> {
        if !self.stored.starts_with(&MAGIC) {
            return Err("expected the beginning of a binary history of Tribunal".to_owned());
        }
        if self.stored.len() < HEAD_BYTES {
            return Err(format!(
                "expected a head of {HEAD_BYTES} bytes, found {}",
                self.stored.len()
            ));
        }
        let (told, crc) = self.stored.split_at(HEAD_BYTES - 4);
        if crc != crc32c::crc32c(told).to_le_bytes() {
            return Err("the head is not as it was written: its crc32c differs".to_owned());
        }
        let number = |at: usize| u16::from_le_bytes([told[at], told[at + 1]]);
        let (layout, events) = (number(MAGIC.len()), number(MAGIC.len() + 2));
        let known = Header::VERSION_MIN..=Header::VERSION;
        if layout != VERSION || !known.contains(&u32::from(events)) {
            return Err(format!(
                "a binary history of version {layout} with events of version {events}; this program reads version \
                 {VERSION} with events of version {} to {}",
                known.start(),
                known.end()
            ));
        }
        Ok(())
    }

    /// Reads up to `count` bytes into `stored`.
    fn fill(&mut self, count: usize) -> Result<(), BinaryError> {
        self.stored.clear();
        let read = (&mut self.source)
            .take(count as u64)
            .read_to_end(&mut self.stored)
            .map_err(|source| BinaryError::Io {
                path: self.path.clone(),
                source,
            })?;
        self.offset += read as u64;
        Ok(())
    }

    /// The next block into `plain`; false at the end.
    fn next_block(&mut self) -> Result<bool, BinaryError> {
        self.at = 0;
        self.plain.clear();
        if self.is_at_end {
            return Ok(false);
        }
        self.tables = Tables::default();
        self.block = self.offset;
        self.fill(BLOCK_HEAD_BYTES)?;
        if self.stored.len() < BLOCK_HEAD_BYTES {
            return Ok(self.cut_off());
        }
        let (told, crc) = self.stored.split_at(BLOCK_HEAD_BYTES - 4);
        if crc != crc32c::crc32c(told).to_le_bytes() {
            return self.corrupt("its head is not as it was written: its crc32c differs");
        }
        let number = |at: usize| u32::from_le_bytes([told[at], told[at + 1], told[at + 2], told[at + 3]]);
        let (kind, stored, plain, crc) = (told[0], number(1) as usize, number(5) as usize, number(9));
        if stored > BLOCK_BYTES_MAX || plain > BLOCK_BYTES_MAX {
            return self.corrupt(&format!("it claims more than {BLOCK_BYTES_MAX} bytes"));
        }
        self.fill(stored)?;
        if self.stored.len() < stored {
            return Ok(self.cut_off());
        }
        if crc != crc32c::crc32c(&self.stored) {
            return self.corrupt("its content is not as it was written: its crc32c differs");
        }
        match kind {
            block::PLAIN if stored == plain => std::mem::swap(&mut self.stored, &mut self.plain),
            block::DEFLATED => {
                let mut decoder = DeflateDecoder::new(self.stored.as_slice()).take(plain as u64 + 1);
                if decoder.read_to_end(&mut self.plain).is_err() || self.plain.len() != plain {
                    return self.corrupt(&format!("expected {plain} bytes compressed with deflate"));
                }
            }
            block::END => {
                let count = Cursor::new(&self.stored, 0).number();
                if count != Ok(self.events) {
                    let read = self.events;
                    let found = count.map_or_else(str::to_owned, |count| count.to_string());
                    return self.corrupt(&format!("{read} events were read, but the end counts {found}"));
                }
                self.is_at_end = true;
                self.block = self.offset;
                self.fill(1)?;
                if !self.stored.is_empty() {
                    return self.corrupt("expected nothing behind the end of the history");
                }
                return Ok(false);
            }
            _ => return self.corrupt(&format!("expected a block of kind 1, 2 or 3, found kind {kind}")),
        }
        Ok(true)
    }

    fn cut_off(&mut self) -> bool {
        self.truncated = true;
        self.is_at_end = true;
        false
    }

    fn corrupt(&mut self, what: &str) -> Result<bool, BinaryError> {
        self.plain.clear();
        self.is_at_end = true;
        Err(BinaryError::Corrupt {
            path: self.path.clone(),
            block: self.block,
            within: 0,
            what: what.to_owned(),
        })
    }
}

impl Iterator for Reader {
    type Item = Result<Event, BinaryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

/// What is wrong with an event.
enum What {
    Fixed(&'static str),
    Json(serde_json::Error),
}

impl From<&'static str> for What {
    fn from(what: &'static str) -> Self {
        Self::Fixed(what)
    }
}

impl From<What> for String {
    fn from(what: What) -> Self {
        match what {
            What::Fixed(what) => what.to_owned(),
            What::Json(error) => format!("not an event: {error}"),
        }
    }
}

/// Reads one event.
struct Decoder<'a> {
    plain: &'a [u8],
    cursor: Cursor<'a>,
    tables: &'a mut Tables,
    text_bytes_left: usize,
    values_left: usize,
}

impl<'a> Decoder<'a> {
    fn event<'s>(&mut self, scratch: &'s mut Scratch) -> Result<&'s mut Event, What> {
        let first = self.cursor.byte()?;
        match first & kind::MASK {
            kind::INVOKE if first == kind::INVOKE => {
                self.invocation(&mut scratch.invocation, &mut scratch.asked)?;
                Ok(&mut scratch.invocation)
            }
            kind::OK | kind::FAIL | kind::INFO => {
                let (event, new): (_, fn(Completion) -> Event) = match first & kind::MASK {
                    kind::OK => (&mut scratch.ok, Event::Ok),
                    kind::FAIL => (&mut scratch.fail, Event::Fail),
                    _ => (&mut scratch.info, Event::Info),
                };
                // Whoever was given the one before may have kept it.
                if !matches!(event, Event::Ok(_) | Event::Fail(_) | Event::Info(_)) {
                    *event = new(NO_COMPLETION);
                }
                let (Event::Ok(completion) | Event::Fail(completion) | Event::Info(completion)) = event else {
                    return Err("expected a completion".into());
                };
                self.completion(first, completion, &mut scratch.answered)?;
                Ok(event)
            }
            kind::OTHER if first == kind::OTHER => {
                let length = self.cursor.number()?;
                let json = self.cursor.take(length)?;
                let event: Event = serde_json::from_slice(json).map_err(What::Json)?;
                (self.tables.seq, self.tables.time_ns) = (event.seq().0, event.time_ns());
                scratch.other = event;
                Ok(&mut scratch.other)
            }
            _ => Err("expected the beginning of an event".into()),
        }
    }

    fn invocation(&mut self, event: &mut Event, spare: &mut Spare) -> Result<(), What> {
        if !matches!(event, Event::Invoke(_)) {
            *event = Event::Invoke(Invocation {
                seq: Seq(0),
                time_ns: 0,
                process: ProcessId(0),
                node: NodeId(0),
                function: String::new(),
                input: Value::Null,
            });
        }
        let Event::Invoke(invocation) = event else {
            return Err("expected an invocation".into());
        };
        (invocation.seq, invocation.time_ns) = self.place()?;
        invocation.process = self.process()?;
        invocation.node = match u16::try_from(self.cursor.number()?) {
            Ok(node) => NodeId(node),
            Err(_) => return Err("expected a node of 16 bits".into()),
        };
        let function = self.text()?;
        invocation.function.clear();
        invocation.function.push_str(function);
        self.value(0, &mut invocation.input, spare)
    }

    fn completion(&mut self, first: u8, completion: &mut Completion, spare: &mut Spare) -> Result<(), What> {
        (completion.seq, completion.time_ns) = self.place()?;
        completion.process = self.process()?;
        if first & has::OUTPUT != 0 {
            self.value(0, &mut completion.output, spare)?;
        } else {
            spare.keep(&mut completion.output);
            completion.output = Value::Null;
        }
        completion.revision = None;
        if first & has::REVISION != 0 {
            let revision = self.tables.revision.wrapping_add(self.cursor.signed()?);
            self.tables.revision = revision;
            completion.revision = Some(Revision(revision));
        }
        completion.term = None;
        if first & has::TERM != 0 {
            completion.term = Some(Term(self.cursor.number()?));
        }
        completion.member = None;
        if first & has::MEMBER != 0 {
            completion.member = Some(self.member()?);
        }
        completion.cause = None;
        if first & has::CAUSE != 0 {
            let code = CAUSE_CODES.get(usize::from(self.cursor.byte()?)).copied();
            completion.cause = Some(Cause {
                code: code.ok_or("expected the number of a cause")?,
                text: self.text()?.to_owned(),
            });
        }
        Ok(())
    }

    fn place(&mut self) -> Result<(Seq, u64), What> {
        let tables = &mut *self.tables;
        tables.seq = tables.seq.wrapping_add(self.cursor.signed()? as u64);
        tables.time_ns = tables.time_ns.wrapping_add(self.cursor.signed()? as u64);
        Ok((Seq(tables.seq), tables.time_ns))
    }

    fn process(&mut self) -> Result<ProcessId, What> {
        match u32::try_from(self.cursor.number()?) {
            Ok(process) => Ok(ProcessId(process)),
            Err(_) => Err("expected a process of 32 bits".into()),
        }
    }

    fn member(&mut self) -> Result<MemberId, What> {
        let number = self.cursor.number()?;
        if number == 0 {
            let mut id = [0; 8];
            id.copy_from_slice(self.cursor.take(8)?);
            let id = u64::from_le_bytes(id);
            if self.tables.members.len() < NAMED_MEMBERS_MAX {
                self.tables.members.push(id);
            }
            return Ok(MemberId(id));
        }
        let known = usize::try_from(number - 1)
            .ok()
            .and_then(|place| self.tables.members.get(place));
        known
            .map(|id| MemberId(*id))
            .ok_or_else(|| "expected the number of a member that the block named before".into())
    }

    fn text(&mut self) -> Result<&'a str, What> {
        let number = self.cursor.number()?;
        let bytes = if number == 0 {
            let length = self.cursor.number()?;
            let bytes = self.cursor.take(length)?;
            if bytes.len() <= NAMED_TEXT_BYTES_MAX {
                let end = self.cursor.at() as u32;
                self.tables.texts.push((end - bytes.len() as u32, bytes.len() as u32));
            }
            bytes
        } else {
            let known = usize::try_from(number - 1)
                .ok()
                .and_then(|place| self.tables.texts.get(place));
            let (begin, length) = *known.ok_or("expected the number of a text that the block had before")?;
            &self.plain[begin as usize..(begin + length) as usize]
        };
        self.text_bytes_left = self
            .text_bytes_left
            .checked_sub(bytes.len())
            .ok_or("an event with more bytes of texts than are read")?;
        std::str::from_utf8(bytes).map_err(|_| "expected a text in UTF-8".into())
    }

    /// Reads a value into the place of another, whose memory is used where it is of the same form.
    fn value(&mut self, depth: usize, into: &mut Value, spare: &mut Spare) -> Result<(), What> {
        if depth > DEPTH_MAX {
            return Err("a value nested deeper than is read".into());
        }
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or("an event with more values than are read")?;
        let tag = self.cursor.byte()?;
        if tag != tag::MAP {
            // What is put into its place would drop it.
            spare.keep(into);
        }
        match tag {
            tag::NULL => *into = Value::Null,
            tag::FALSE => *into = Value::Bool(false),
            tag::TRUE => *into = Value::Bool(true),
            tag::INT => *into = Value::Int(self.cursor.signed()?),
            tag::TEXT => {
                let text = self.text()?;
                match into {
                    Value::Text(before) => {
                        before.clear();
                        before.push_str(text);
                    }
                    other => *other = Value::Text(text.to_owned()),
                }
            }
            tag::LIST => {
                let count = self.count()?;
                if !matches!(into, Value::List(_)) {
                    *into = Value::List(Vec::new());
                }
                let Value::List(list) = into else {
                    return Err("expected a list".into());
                };
                list.truncate(count);
                for place in 0..count {
                    if place == list.len() {
                        list.push(Value::Null);
                    }
                    self.value(depth + 1, &mut list[place], spare)?;
                }
            }
            tag::MAP => {
                let count = self.count()?;
                if !matches!(into, Value::Map(map) if map.len() == count) {
                    spare.exchange(into, count);
                }
                let Value::Map(map) = into else {
                    return Err("expected a map".into());
                };
                self.map(depth, count, map, spare)?;
            }
            _ => return Err("expected the beginning of a value".into()),
        }
        Ok(())
    }

    /// Reads a map into the place of another. The most common case by far is one with the same names.
    fn map(&mut self, depth: usize, count: usize, map: &mut Fields, spare: &mut Spare) -> Result<(), What> {
        let mut place = 0;
        let mut differs = None;
        if map.len() == count {
            for (name, value) in map.list() {
                let found = self.text()?;
                if &**name != found {
                    differs = Some(found);
                    break;
                }
                self.value(depth + 1, value, spare)?;
                place += 1;
            }
            if place == count {
                return Ok(());
            }
        }
        let made = map.list();
        made.truncate(place);
        while made.len() < count {
            let name = match differs.take() {
                Some(name) => name,
                None => self.text()?,
            };
            if made.last().is_some_and(|(last, _)| &**last >= name) {
                return Err("expected the names of a map in their order, each once".into());
            }
            let mut value = Value::Null;
            self.value(depth + 1, &mut value, spare)?;
            made.push((name.into(), value));
        }
        Ok(())
    }

    /// How many values follow; each takes a byte at least.
    fn count(&mut self) -> Result<usize, What> {
        let count = self.cursor.number()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.cursor.left() => Ok(count),
            _ => Err("expected a count of values that are there".into()),
        }
    }
}
