//! Histories in few bytes (`history.bin`, `docs/formats/history-binary.md`).
//!
//! The same events as JSON Lines ([`crate::jsonl`]) have, in about a tenth of the bytes.
//! A file is a head and blocks. Each block is checked by crc32c and is read without any other, so a reader holds one at a
//! time, however long the history is, and what is appended is readable after a crash: a block that was being written is
//! dropped, said through [`Reader::truncated`]. Anything else that is not as it was written is an error that names its
//! byte. A block may be compressed by itself.
//!
//! What a hostile file can cost is bounded: a block has [`BLOCK_BYTES_MAX`] bytes at most, an event's texts together
//! [`crate::jsonl::LINE_BYTES_MAX`], an event [`EVENT_VALUES_MAX`] values, and a value [`DEPTH_MAX`] levels.

use crate::event::CauseCode;

mod bytes;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{BinaryError, Reader};
pub use writer::{Compression, Writer};

/// How a file begins. The first byte is in no text; the line ends are destroyed by whatever converts texts.
pub const MAGIC: [u8; 8] = *b"\x89TRIB\r\n\x1a";

/// Version of the layout of blocks and events.
pub const VERSION: u16 = 1;

/// Most bytes of a block, plain or compressed.
pub const BLOCK_BYTES_MAX: usize = 16 << 20;

/// Deepest nesting of a value: as deep as JSON is read.
pub const DEPTH_MAX: usize = 127;

/// Most values in one event.
pub const EVENT_VALUES_MAX: usize = 1 << 20;

/// Most members that later events of a block name by their number.
const NAMED_MEMBERS_MAX: usize = 64;

/// Longest text that later events of a block name by its number.
const NAMED_TEXT_BYTES_MAX: usize = 255;

/// Bytes before each block: kind, length, length when plain, crc32c of what is stored, crc32c of these.
const BLOCK_HEAD_BYTES: usize = 17;

/// Bytes of the head: the magic, the version of the layout, the version of the events, crc32c of both.
const HEAD_BYTES: usize = MAGIC.len() + 8;

/// What a block is.
mod block {
    /// Events as they are.
    pub const PLAIN: u8 = 1;
    /// Events, compressed with deflate.
    pub const DEFLATED: u8 = 2;
    /// The end: how many events there were.
    pub const END: u8 = 3;
}

/// What an event is, in the lower three bits of its first byte.
mod kind {
    pub const INVOKE: u8 = 0;
    pub const OK: u8 = 1;
    pub const FAIL: u8 = 2;
    pub const INFO: u8 = 3;
    /// Not an operation: JSON, as a line of JSON Lines has it.
    pub const OTHER: u8 = 4;
    pub const MASK: u8 = 7;
}

/// What a completion has, in the upper bits of its first byte.
mod has {
    pub const OUTPUT: u8 = 8;
    pub const REVISION: u8 = 16;
    pub const TERM: u8 = 32;
    pub const MEMBER: u8 = 64;
    pub const CAUSE: u8 = 128;
}

/// What a value is.
mod tag {
    pub const NULL: u8 = 0;
    pub const FALSE: u8 = 1;
    pub const TRUE: u8 = 2;
    pub const INT: u8 = 3;
    pub const TEXT: u8 = 4;
    pub const LIST: u8 = 5;
    pub const MAP: u8 = 6;
}

/// The number of a class of causes. A new class gets the next number here and a place in [`CAUSE_CODES`].
const fn cause_number(code: CauseCode) -> u8 {
    match code {
        CauseCode::NotConnected => 0,
        CauseCode::Timeout => 1,
        CauseCode::ConnectionLost => 2,
        CauseCode::Interrupted => 3,
        CauseCode::NoLeader => 4,
        CauseCode::Overloaded => 5,
        CauseCode::NoSpace => 6,
        CauseCode::InvalidRequest => 7,
        CauseCode::BadRevision => 8,
        CauseCode::Unauthorized => 9,
        CauseCode::BadReply => 10,
        CauseCode::Abandoned => 11,
        CauseCode::Unknown => 12,
        CauseCode::Conflict => 13,
    }
}

/// The classes of causes by their number, which is their place here.
const CAUSE_CODES: [CauseCode; 14] = [
    CauseCode::NotConnected,
    CauseCode::Timeout,
    CauseCode::ConnectionLost,
    CauseCode::Interrupted,
    CauseCode::NoLeader,
    CauseCode::Overloaded,
    CauseCode::NoSpace,
    CauseCode::InvalidRequest,
    CauseCode::BadRevision,
    CauseCode::Unauthorized,
    CauseCode::BadReply,
    CauseCode::Abandoned,
    CauseCode::Unknown,
    CauseCode::Conflict,
];

// Checked when this is compiled: each class has the number of its place, so what is written is read as the same.
const _: () = {
    let mut place = 0;
    while place < CAUSE_CODES.len() {
        assert!(cause_number(CAUSE_CODES[place]) as usize == place);
        place += 1;
    }
};
