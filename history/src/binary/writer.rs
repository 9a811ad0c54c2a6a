//! Writes events into blocks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::write::DeflateEncoder;

use super::bytes::{put_number, put_signed};
use super::{
    BLOCK_BYTES_MAX, DEPTH_MAX, EVENT_VALUES_MAX, MAGIC, NAMED_MEMBERS_MAX, NAMED_TEXT_BYTES_MAX, VERSION, block,
    cause_number, has, kind, tag,
};
use crate::event::{Completion, Event, Invocation};
use crate::jsonl::{Header, LINE_BYTES_MAX};
use crate::record::Record as _;
use crate::value::Value;

/// Bytes after which a block is written: large enough to compress well, small enough to be read in the cache.
const BLOCK_BYTES: usize = 1 << 16;

/// Whether blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are not: fastest to read.
    #[default]
    None,
    /// With deflate, each by itself.
    Deflate,
}

/// Appends events to a history.
#[derive(Debug)]
pub struct Writer<W: Write> {
    pub(super) out: W,
    compression: Compression,
    block: Vec<u8>,
    texts: BTreeMap<String, u64>,
    members: Vec<u64>,
    seq: u64,
    time_ns: u64,
    revision: i64,
    events: u64,
    left: Left,
}

/// What an event may still hold.
#[derive(Debug)]
struct Left {
    text_bytes: usize,
    values: usize,
}

impl Left {
    const ALL: Self = Self {
        text_bytes: LINE_BYTES_MAX,
        values: EVENT_VALUES_MAX,
    };
}

impl<W: Write> Writer<W> {
    /// Begins a history: writes the head.
    pub fn new(mut out: W, compression: Compression) -> io::Result<Self> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&(Header::VERSION as u16).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        out.write_all(&head)?;
        Ok(Self {
            out,
            compression,
            block: Vec::with_capacity(2 * BLOCK_BYTES),
            texts: BTreeMap::new(),
            members: Vec::new(),
            seq: 0,
            time_ns: 0,
            revision: 0,
            events: 0,
            left: Left::ALL,
        })
    }

    /// Appends one event. One that no reader would read is refused and leaves nothing behind.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        if self.block.len() >= BLOCK_BYTES {
            self.end_block()?;
        }
        let begin = self.block.len();
        let mut put = self.put(event);
        if put.is_err() || self.block.len() > BLOCK_BYTES_MAX {
            // Names that it made must not outlive it. It may still fit alone.
            self.block.truncate(begin);
            self.end_block()?;
            self.begin_block();
            put = put.and_then(|()| self.put(event));
            if put.is_ok() && self.block.len() > BLOCK_BYTES_MAX {
                put = refused(format!("an event of more than {BLOCK_BYTES_MAX} bytes"));
            }
            if put.is_err() {
                self.begin_block();
            }
        }
        self.events += u64::from(put.is_ok());
        put
    }

    /// Hands what is buffered to the system, as a block of its own.
    pub fn flush(&mut self) -> io::Result<()> {
        self.end_block()?;
        self.out.flush()
    }

    /// Ends the history, so that a reader knows that nothing is missing. Returns the sink, flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        let mut count = Vec::new();
        put_number(&mut count, self.events);
        write_block(&mut self.out, block::END, count.len(), &count)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let plain = self.block.len();
        match self.compression {
            Compression::None => write_block(&mut self.out, block::PLAIN, plain, &self.block)?,
            Compression::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::with_capacity(plain / 2), flate2::Compression::default());
                encoder.write_all(&self.block)?;
                let packed = encoder.finish()?;
                if packed.len() < plain {
                    write_block(&mut self.out, block::DEFLATED, plain, &packed)?;
                } else {
                    write_block(&mut self.out, block::PLAIN, plain, &self.block)?;
                }
            }
        }
        self.begin_block();
        Ok(())
    }

    /// A block is read without those before it.
    fn begin_block(&mut self) {
        self.block.clear();
        self.texts.clear();
        self.members.clear();
        (self.seq, self.time_ns, self.revision) = (0, 0, 0);
    }

    fn put(&mut self, event: &Event) -> io::Result<()> {
        self.left = Left::ALL;
        match event {
            Event::Invoke(invocation) => self.put_invocation(invocation),
            Event::Ok(completion) => self.put_completion(kind::OK, completion),
            Event::Fail(completion) => self.put_completion(kind::FAIL, completion),
            Event::Info(completion) => self.put_completion(kind::INFO, completion),
            Event::Nemesis(_) | Event::Node(_) | Event::Leader(_) | Event::Phase(_) => {
                let json = serde_json::to_vec(event)?;
                self.block.push(kind::OTHER);
                put_number(&mut self.block, json.len() as u64);
                self.block.extend_from_slice(&json);
                (self.seq, self.time_ns) = (event.seq().0, event.time_ns());
                Ok(())
            }
        }
    }

    fn put_invocation(&mut self, invocation: &Invocation) -> io::Result<()> {
        self.block.push(kind::INVOKE);
        self.put_place(invocation.seq.0, invocation.time_ns);
        put_number(&mut self.block, u64::from(invocation.process.0));
        put_number(&mut self.block, u64::from(invocation.node.0));
        self.put_text(&invocation.function)?;
        self.put_value(&invocation.input, 0)
    }

    fn put_completion(&mut self, kind: u8, completion: &Completion) -> io::Result<()> {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        self.block.push(
            kind | flag(!completion.output.is_null(), has::OUTPUT)
                | flag(completion.revision.is_some(), has::REVISION)
                | flag(completion.term.is_some(), has::TERM)
                | flag(completion.member.is_some(), has::MEMBER)
                | flag(completion.cause.is_some(), has::CAUSE),
        );
        self.put_place(completion.seq.0, completion.time_ns);
        put_number(&mut self.block, u64::from(completion.process.0));
        if !completion.output.is_null() {
            self.put_value(&completion.output, 0)?;
        }
        if let Some(revision) = completion.revision {
            put_signed(&mut self.block, revision.0.wrapping_sub(self.revision));
            self.revision = revision.0;
        }
        if let Some(term) = completion.term {
            put_number(&mut self.block, term.0);
        }
        if let Some(member) = completion.member {
            match self.members.iter().position(|known| *known == member.0) {
                Some(place) => put_number(&mut self.block, place as u64 + 1),
                None => {
                    put_number(&mut self.block, 0);
                    self.block.extend_from_slice(&member.0.to_le_bytes());
                    if self.members.len() < NAMED_MEMBERS_MAX {
                        self.members.push(member.0);
                    }
                }
            }
        }
        if let Some(cause) = &completion.cause {
            self.block.push(cause_number(cause.code));
            self.put_text(&cause.text)?;
        }
        Ok(())
    }

    /// Place and time, by their distance from those of the event before.
    fn put_place(&mut self, seq: u64, time_ns: u64) {
        put_signed(&mut self.block, seq.wrapping_sub(self.seq) as i64);
        put_signed(&mut self.block, time_ns.wrapping_sub(self.time_ns) as i64);
        (self.seq, self.time_ns) = (seq, time_ns);
    }

    fn put_text(&mut self, text: &str) -> io::Result<()> {
        match self.left.text_bytes.checked_sub(text.len()) {
            Some(left) => self.left.text_bytes = left,
            None => return refused(format!("an event with more than {LINE_BYTES_MAX} bytes of texts")),
        }
        if let Some(number) = self.texts.get(text) {
            put_number(&mut self.block, *number);
            return Ok(());
        }
        put_number(&mut self.block, 0);
        put_number(&mut self.block, text.len() as u64);
        self.block.extend_from_slice(text.as_bytes());
        if text.len() <= NAMED_TEXT_BYTES_MAX {
            let number = self.texts.len() as u64 + 1;
            self.texts.insert(text.to_owned(), number);
        }
        Ok(())
    }

    fn put_value(&mut self, value: &Value, depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return refused(format!("a value nested more than {DEPTH_MAX} levels deep"));
        }
        match self.left.values.checked_sub(1) {
            Some(left) => self.left.values = left,
            None => return refused(format!("an event with more than {EVENT_VALUES_MAX} values")),
        }
        match value {
            Value::Null => self.block.push(tag::NULL),
            Value::Bool(false) => self.block.push(tag::FALSE),
            Value::Bool(true) => self.block.push(tag::TRUE),
            Value::Int(number) => {
                self.block.push(tag::INT);
                put_signed(&mut self.block, *number);
            }
            Value::Text(text) => {
                self.block.push(tag::TEXT);
                self.put_text(text)?;
            }
            Value::List(list) => {
                self.block.push(tag::LIST);
                put_number(&mut self.block, list.len() as u64);
                for value in list {
                    self.put_value(value, depth + 1)?;
                }
            }
            Value::Map(map) => {
                self.block.push(tag::MAP);
                put_number(&mut self.block, map.len() as u64);
                for (name, value) in map.iter() {
                    self.put_text(name)?;
                    self.put_value(value, depth + 1)?;
                }
            }
        }
        Ok(())
    }
}

/// An event that no reader would read.
fn refused(what: String) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

fn write_block(out: &mut impl Write, kind: u8, plain: usize, stored: &[u8]) -> io::Result<()> {
    let mut head = vec![kind];
    for number in [stored.len() as u32, plain as u32, crc32c::crc32c(stored)] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    out.write_all(&head)?;
    out.write_all(stored)
}
