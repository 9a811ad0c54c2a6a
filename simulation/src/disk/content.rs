//! The bytes of a file, sparse: what was never written takes no room and reads as zeros.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The unit of allocation, in bytes.
const PAGE: u64 = 4096;

/// What a disk writes as a whole, in bytes: a crash tears a write only between sectors.
pub(crate) const SECTOR: u64 = 512;

/// A file's bytes. Clones share pages until one of them is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    length: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE as usize]>>,
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Reads up to `length` bytes; fewer only at the end.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.length.min(offset.saturating_add(length as u64));
        let length = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(length);
        for piece in pieces(offset, length as u64, PAGE) {
            match self.pages.get(&piece.unit) {
                Some(page) => bytes.extend_from_slice(&page[piece.within..piece.within + (piece.to - piece.from)]),
                None => bytes.resize(piece.to, 0),
            }
        }
        bytes
    }

    /// Writes and extends; to write nothing extends nothing.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for piece in pieces(offset, bytes.len() as u64, PAGE) {
            let page = self
                .pages
                .entry(piece.unit)
                .or_insert_with(|| Arc::new([0; PAGE as usize]));
            let page = Arc::make_mut(page);
            page[piece.within..piece.within + (piece.to - piece.from)].copy_from_slice(&bytes[piece.from..piece.to]);
        }
        self.extend(offset + bytes.len() as u64);
    }

    /// Shares with `other` the pages of what was written there, where they are equal: what is both seen and durable takes
    /// room once. The last page is left out, since the next write will most likely go on in it.
    pub(crate) fn share(&mut self, other: &Self, offset: u64, length: u64) {
        let last = offset.saturating_add(length) / PAGE;
        for unit in offset / PAGE..last {
            if let (Some(page), Some(theirs)) = (self.pages.get_mut(&unit), other.pages.get(&unit))
                && page == theirs
            {
                *page = Arc::clone(theirs);
            }
        }
    }

    /// Makes it at least so long.
    pub(crate) fn extend(&mut self, length: u64) {
        self.length = self.length.max(length);
    }

    /// Cuts or extends.
    pub(crate) fn set_len(&mut self, length: u64) {
        if length < self.length {
            drop(self.pages.split_off(&length.div_ceil(PAGE)));
            if let Some(page) = self.pages.get_mut(&(length / PAGE)) {
                Arc::make_mut(page)[(length % PAGE) as usize..].fill(0);
            }
        }
        self.length = length;
    }

    /// Pages that take room.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages that a write there would add.
    pub(crate) fn pages_added(&self, offset: u64, length: u64) -> u64 {
        let missing = pieces(offset, length, PAGE).filter(|piece| !self.pages.contains_key(&piece.unit));
        missing.count() as u64
    }

    /// The sectors that take room, by number.
    pub(crate) fn sectors(&self) -> impl Iterator<Item = u64> {
        let in_page = PAGE / SECTOR;
        let pages = self.pages.keys().copied();
        pages
            .flat_map(move |page| (page * in_page..(page + 1) * in_page).filter(|sector| sector * SECTOR < self.length))
    }

    /// Flips one bit; a hole has none.
    pub(crate) fn flip(&mut self, byte: u64, bit: u8) {
        if let Some(page) = self.pages.get_mut(&(byte / PAGE)) {
            Arc::make_mut(page)[(byte % PAGE) as usize] ^= 1 << (bit % 8);
        }
    }
}

/// The part of a range that lies in one unit.
pub(crate) struct Piece {
    /// Number of the unit.
    pub unit: u64,
    /// Where it begins in the unit.
    pub within: usize,
    /// Where it begins in the range.
    pub from: usize,
    /// Where it ends in the range.
    pub to: usize,
}

/// A range, cut at the multiples of `unit`.
pub(crate) fn pieces(offset: u64, length: u64, unit: u64) -> impl Iterator<Item = Piece> {
    let end = offset.saturating_add(length);
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let next = end.min((at / unit + 1) * unit);
        let piece = Piece {
            unit: at / unit,
            within: (at % unit) as usize,
            from: (at - offset) as usize,
            to: (next - offset) as usize,
        };
        at = next;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain vector, over writes and cuts around the edges of pages.
    #[test]
    fn it_is_a_vector_of_bytes() {
        let mut content = Content::default();
        let mut twin: Vec<u8> = Vec::new();
        for step in 0..200_u64 {
            let offset = step * 2_741 % 20_000;
            if step % 5 == 4 {
                content.set_len(offset);
                twin.resize(offset as usize, 0);
            } else {
                let bytes: Vec<u8> = (0..step * 37 % 9_000).map(|byte| (byte + step) as u8).collect();
                content.write(offset, &bytes);
                let end = offset as usize + bytes.len();
                twin.resize(twin.len().max(end), 0);
                twin[offset as usize..end].copy_from_slice(&bytes);
            }
            assert_eq!(content.len(), twin.len() as u64, "step {step}");
            assert_eq!(content.read(0, usize::MAX), twin, "step {step}");
        }
        assert_eq!(content.read(100, 7), twin[100..107]);
        assert!(content.read(1 << 40, 7).is_empty());
    }

    #[test]
    fn holes_take_no_room_and_clones_share() {
        let mut content = Content::default();
        content.set_len(64 << 20);
        assert_eq!(content.pages(), 0);
        content.write(5_000_000, b"x");
        assert_eq!(content.pages(), 1);
        assert_eq!(content.pages_added(5_000_000, 5_000), 1);
        let before = content.clone();
        content.flip(5_000_000, 0);
        assert_eq!(before.read(5_000_000, 1), b"x");
        assert_eq!(content.read(5_000_000, 1), b"y");
    }

    #[test]
    fn equal_pages_are_shared_and_others_are_not() {
        let (mut one, mut other) = (Content::default(), Content::default());
        for content in [&mut one, &mut other] {
            content.write(100, &[7; 4 * PAGE as usize]);
        }
        other.flip(PAGE, 0);
        one.share(&other, 100, 4 * PAGE);
        let is_shared = |unit: u64| Arc::ptr_eq(&one.pages[&unit], &other.pages[&unit]);
        assert_eq!([0, 1, 2, 3, 4].map(is_shared), [true, false, true, true, false]);
        assert_eq!(one.read(PAGE, 1), [7]);
        assert_eq!(other.read(PAGE, 1), [6]);
    }
}
