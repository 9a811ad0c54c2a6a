//! Segments and batches as bytes: how records are framed, and what a cut write looks like.
//!
//! A segment is a head of 32 bytes (magic with the format's version, segment number, number of its first batch,
//! four zero bytes, crc32c), then batches, then zeros. A batch is a head of 24 bytes (magic, length of the rest,
//! batch number, crc32c, four bytes `ff`), records, and an end mark `ff`.
//!
//! A write that was cut by a crash leaves zeros where bytes are missing, because the segment was extended before:
//! a suffix of the batch, or whole sectors of it. Both marks exist so that one flipped bit is never mistaken for
//! that: a missing mark is `00`, which is eight flips away. A batch is written only after the one before it is
//! durable, so a damaged batch with a good one behind it is damage, not a cut.

use super::Record;

/// First bytes of a segment; the last one is the format's version.
pub const MAGIC: [u8; 8] = *b"TRIBWAL\x01";
/// Bytes of a segment's head.
pub const SEGMENT_HEAD_BYTES: usize = 32;
/// Bytes of a batch's head.
pub const BATCH_HEAD_BYTES: usize = 24;

const BATCH_MAGIC: [u8; 4] = *b"WbAt";
const HEAD_MARK: [u8; 4] = [0xff; 4];
const END_MARK: u8 = 0xff;
/// What a disk writes as a whole, at the least.
const SECTOR_BYTES: usize = 512;

/// The head of a segment.
pub fn segment_head(segment: u64, first_batch: u64) -> [u8; SEGMENT_HEAD_BYTES] {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&segment.to_le_bytes());
    head[16..24].copy_from_slice(&first_batch.to_le_bytes());
    let checksum = crc32c::crc32c(&head[..28]);
    head[28..].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// What a segment's head says, if it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It belongs to this segment, which starts with this batch.
    Valid {
        /// Number of the segment.
        segment: u64,
        /// Number of its first batch.
        first_batch: u64,
    },
    /// It has another format version.
    Version(u8),
    /// It is not a head.
    Invalid,
}

/// Reads the head of a segment.
pub fn read_segment_head(bytes: &[u8]) -> Head {
    let Some(head) = bytes.first_chunk::<SEGMENT_HEAD_BYTES>() else {
        return Head::Invalid;
    };
    if u32_at(head, 28) != crc32c::crc32c(&head[..28]) || head[..7] != MAGIC[..7] {
        return Head::Invalid;
    }
    if head[7] != MAGIC[7] {
        return Head::Version(head[7]);
    }
    Head::Valid {
        segment: u64_at(head, 8),
        first_batch: u64_at(head, 16),
    }
}

/// Starts a batch in `out`; gives what [`end_batch`] needs.
pub fn begin_batch(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; BATCH_HEAD_BYTES]);
    start
}

/// Ends the batch that [`begin_batch`] started at `start`.
pub fn end_batch(out: &mut Vec<u8>, start: usize, number: u64) {
    out.push(END_MARK);
    let length = out.len() - start - BATCH_HEAD_BYTES;
    let length = u32::try_from(length).unwrap_or_else(|_| panic!("a batch of {length} bytes"));
    let head = &mut out[start..start + BATCH_HEAD_BYTES];
    head[..4].copy_from_slice(&BATCH_MAGIC);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..16].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&head[..16]);
    head[16..20].copy_from_slice(&checksum.to_le_bytes());
    head[20..].copy_from_slice(&HEAD_MARK);
}

/// What a segment holds.
#[derive(Debug)]
pub struct Scan {
    /// The records with their offsets.
    pub records: Vec<(usize, Record)>,
    /// Where the next batch goes.
    pub end: usize,
    /// Number of the next batch.
    pub next_batch: u64,
    /// Whether a cut batch was dropped at `end`.
    pub torn: bool,
}

/// Why a segment cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub offset: usize,
    /// What.
    pub what: &'static str,
}

/// Reads the batches of a segment (`bytes` is the whole file). A cut batch is accepted only where `last` says that
/// no segment follows.
pub fn scan(bytes: &[u8], first_batch: u64, last: bool) -> Result<Scan, Damage> {
    let (scan, damage) = walk(bytes, first_batch, last);
    damage.map_or(Ok(scan), Err)
}

/// Planted defect `damage-taken-for-the-end`: as [`scan`], but what is damaged, and all behind it, counts as cut.
pub fn scan_up_to_damage(bytes: &[u8], first_batch: u64) -> Scan {
    let (mut scan, damage) = walk(bytes, first_batch, true);
    scan.torn |= damage.is_some();
    scan
}

/// Planted defect `torn-record-accepted`: takes what can be read of the cut batch for the batch, whatever its
/// checksums say.
pub fn accept_torn(bytes: &[u8], scan: &mut Scan) {
    let Some((_, length)) = batch_at(bytes, scan.end) else {
        return;
    };
    let body = scan.end + BATCH_HEAD_BYTES;
    let end = bytes.len().min(body + length);
    let mut at = body;
    while let Ok((record, length)) = Record::decode_unchecked(&bytes[at..end]) {
        scan.records.push((at, record));
        at += length;
    }
    (scan.end, scan.torn) = (end, false);
    scan.next_batch += 1;
}

/// Reads batches up to the end, or up to the damage.
fn walk(bytes: &[u8], first_batch: u64, last: bool) -> (Scan, Option<Damage>) {
    let mut scan = Scan {
        records: Vec::new(),
        end: SEGMENT_HEAD_BYTES,
        next_batch: first_batch,
        torn: false,
    };
    // One look for the end of the data, instead of one for each batch.
    let data_end = data_end(bytes);
    while scan.end < data_end {
        let start = scan.end;
        match batch_at(bytes, start) {
            Some((number, length)) if number == scan.next_batch => {
                let body = start + BATCH_HEAD_BYTES;
                let end = body + length;
                match records_of(bytes, body, end) {
                    Ok(records) => {
                        scan.records.extend(records);
                        scan.end = end;
                        scan.next_batch += 1;
                    }
                    Err(_) if last && !batch_follows(bytes, end, number) && is_cut(bytes, body, end) => {
                        scan.torn = true;
                        break;
                    }
                    Err(damage) => return (scan, Some(damage)),
                }
            }
            Some(_) => {
                let what = "a batch is missing";
                return (scan, Some(Damage { offset: start, what }));
            }
            None => {
                let cut = is_cut(bytes, start, start + BATCH_HEAD_BYTES);
                if last && cut && !batch_follows(bytes, start + 1, scan.next_batch) {
                    scan.torn = true;
                    break;
                }
                let what = "the head of a batch is wrong";
                return (scan, Some(Damage { offset: start, what }));
            }
        }
    }
    (scan, None)
}

/// Where the zeros at the end of `bytes` begin. Most of a fresh segment is zeros, so they are passed in pages.
fn data_end(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = bytes.len();
    while end >= ZEROS.len() && bytes[end - ZEROS.len()..end] == ZEROS {
        end -= ZEROS.len();
    }
    bytes[..end].iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)
}

/// Number and length of the batch whose head is at `start`.
fn batch_at(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let head = bytes.get(start..)?.first_chunk::<BATCH_HEAD_BYTES>()?;
    let good = head[..4] == BATCH_MAGIC && head[20..] == HEAD_MARK && u32_at(head, 16) == crc32c::crc32c(&head[..16]);
    good.then(|| (u64_at(head, 8), u32_at(head, 4) as usize))
}

/// Reads the records between `body` and the end mark before `end`.
fn records_of(bytes: &[u8], body: usize, end: usize) -> Result<Vec<(usize, Record)>, Damage> {
    let damage = |offset, what| Damage { offset, what };
    let content = bytes.get(body..end).ok_or(damage(body, "a batch is cut"))?;
    let (&mark, content) = content.split_last().ok_or(damage(body, "a batch has no end mark"))?;
    let mut records = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let (record, length) = Record::decode(&content[at..]).map_err(|what| damage(body + at, what))?;
        records.push((body + at, record));
        at += length;
    }
    if mark != END_MARK {
        return Err(damage(end - 1, "the end mark of a batch is wrong"));
    }
    Ok(records)
}

/// Whether a write of `start..end` may have been cut: its last byte, which is never zero, is missing, or the part
/// of it in one sector is.
fn is_cut(bytes: &[u8], start: usize, end: usize) -> bool {
    if bytes.len() < end || bytes[end - 1] == 0 {
        return true;
    }
    let mut from = start;
    while from < end {
        let to = end.min((from / SECTOR_BYTES + 1) * SECTOR_BYTES);
        if bytes[from..to].iter().all(|&byte| byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

/// Whether a batch with a higher number than `number` begins at or after `from`.
fn batch_follows(bytes: &[u8], from: usize, number: u64) -> bool {
    let from = from.min(bytes.len());
    bytes[from..]
        .windows(BATCH_MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == BATCH_MAGIC)
        .any(|(at, _)| batch_at(bytes, from + at).is_some_and(|(found, _)| found > number))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
