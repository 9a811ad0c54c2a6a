//! A disk: what its node sees, what is durable, and the changes between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use tribunal_env::{OpenMode, Purpose, Stream, seeded};

use super::content::{Content, SECTOR, pieces};
use super::durable::Changed;
use super::image::DiskImage;
use super::settings::{DiskCounters, DiskSettings};
use crate::draw::{below, chance};
use crate::place::Place;

/// What a random stream of a disk decides.
#[derive(Clone, Copy)]
pub(super) enum Lot {
    Sync,
    Read,
    Write,
    ReadError,
    WriteError,
    SyncError,
    Lie,
    Rot,
    Latent,
    Crash,
}

/// How many streams a disk has.
const LOTS: usize = Lot::Crash as usize + 1;

/// A place's disk.
pub(crate) struct DiskState {
    seed: u64,
    place: Place,
    pub(super) settings: DiskSettings,
    pub(super) counters: DiskCounters,
    pub(super) folders: BTreeSet<String>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    inodes_made: u64,
    /// What each name means to the node …
    pub(super) seen: BTreeMap<String, u64>,
    /// … and on the medium.
    pub(super) durable: BTreeMap<String, u64>,
    /// What leads from the durable to the seen names, in order.
    pub(super) renames: Vec<NameChange>,
    pub(super) renames_made: u64,
    pub(super) changed: Changed,
    lots: [Option<ChaCha8Rng>; LOTS],
}

/// A file, whatever its name.
#[derive(Default)]
pub(super) struct Inode {
    pub seen: Content,
    pub durable: Arc<Content>,
    /// What leads from the durable to the seen content, in order.
    pub unsynced: Vec<(u64, Change)>,
    pub changes_made: u64,
    pub unreadable: BTreeSet<u64>,
    /// Bits that were flipped and not written since: byte and bit.
    pub flipped: Vec<(u64, u8)>,
    pub opens: u32,
}

#[derive(Clone)]
pub(super) enum Change {
    Write(u64, Bytes),
    SetLen(u64),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::Write(offset, bytes) => content.write(*offset, bytes),
            Self::SetLen(length) => content.set_len(*length),
        }
    }
}

/// A change of names that is not durable.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    /// In order of their making.
    pub number: u64,
    pub inode: u64,
    /// The name that it had.
    pub from: Option<String>,
    /// The name that it has now.
    pub to: Option<String>,
}

impl NameChange {
    /// Folders whose sync makes it durable. One that spans two is made so by either: file systems with a journal
    /// write it at once.
    fn is_in(&self, folder: &str) -> bool {
        [&self.from, &self.to]
            .into_iter()
            .flatten()
            .any(|path| folder_of(path) == folder)
    }

    /// The folder whose order of changes it belongs to.
    pub(super) fn folder(&self) -> &str {
        folder_of(self.to.as_ref().or(self.from.as_ref()).map_or("", String::as_str))
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<String, u64>) {
        if let Some(from) = &self.from
            && names.get(from) == Some(&self.inode)
        {
            names.remove(from);
        }
        if let Some(to) = &self.to {
            names.insert(to.clone(), self.inode);
        }
    }
}

/// How a sync will end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncEnd {
    Done,
    Lied,
    Failed,
}

impl DiskState {
    pub(crate) fn new(seed: u64, place: Place) -> Self {
        Self {
            seed,
            place,
            settings: DiskSettings::default(),
            counters: DiskCounters::default(),
            folders: BTreeSet::from([String::new()]),
            inodes: BTreeMap::new(),
            inodes_made: 0,
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            renames: Vec::new(),
            renames_made: 0,
            lots: Default::default(),
            changed: Changed::default(),
        }
    }

    pub(super) fn lot(&mut self, lot: Lot) -> &mut ChaCha8Rng {
        let (seed, place) = (self.seed, self.place.number());
        self.lots[lot as usize].get_or_insert_with(|| {
            let stream = Stream {
                purpose: Purpose::Disk,
                a: place,
                b: lot as u64,
            };
            seeded(seed, 0, stream)
        })
    }

    pub(super) fn open(&mut self, path: &str, mode: OpenMode) -> io::Result<u64> {
        let known = self.seen.get(path).copied();
        let number = match (mode, known) {
            (OpenMode::Read | OpenMode::Write, Some(number)) => number,
            (OpenMode::Read | OpenMode::Write, None) => return Err(not_found(path)),
            (OpenMode::Create, Some(_)) => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{path} exists")));
            }
            (OpenMode::Create, None) => {
                self.needs_folder(path)?;
                self.fails_to_write()?;
                self.inodes_made += 1;
                self.inodes.insert(self.inodes_made, Inode::default());
                self.rename_inode(self.inodes_made, None, Some(path.to_owned()));
                self.inodes_made
            }
        };
        self.inode(number)?.opens += 1;
        Ok(number)
    }

    pub(super) fn close(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.opens = inode.opens.saturating_sub(1);
        }
        self.forget(number);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let number = *self.seen.get(from).ok_or_else(|| not_found(from))?;
        self.needs_folder(to)?;
        self.fails_to_write()?;
        let replaced = self.seen.get(to).copied();
        self.rename_inode(number, Some(from.to_owned()), Some(to.to_owned()));
        if let Some(replaced) = replaced {
            self.forget(replaced);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        let number = *self.seen.get(path).ok_or_else(|| not_found(path))?;
        self.fails_to_write()?;
        self.rename_inode(number, Some(path.to_owned()), None);
        self.forget(number);
        Ok(())
    }

    /// Folders are durable at once: the contract has no name for an entry that is a folder.
    pub(super) fn create_dir(&mut self, path: &str) -> io::Result<()> {
        self.fails_to_write()?;
        for (end, _) in path.match_indices('/') {
            self.folders.insert(path[..end].to_owned());
        }
        self.folders.insert(path.to_owned());
        Ok(())
    }

    pub(super) fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        if !self.folders.contains(folder) {
            return Err(not_found(folder));
        }
        let names = self.seen.keys().filter(|path| folder_of(path) == folder);
        Ok(names
            .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned())
            .collect())
    }

    pub(super) fn read(&mut self, number: u64, offset: u64, length: usize) -> io::Result<Bytes> {
        let settings = self.settings;
        let fails = chance(self.lot(Lot::ReadError), settings.read_errors);
        let rots = chance(self.lot(Lot::Rot), settings.bit_rot);
        let breaks = chance(self.lot(Lot::Latent), settings.latent_sector_errors);
        let inode = self.inode(number)?;
        let there = inode.seen.len().saturating_sub(offset).min(length as u64);
        if rots && there > 0 {
            let word = below(self.lot(Lot::Rot), there * 8);
            self.flip(number, offset + word / 8, (word % 8) as u8)?;
        }
        if breaks && there > 0 {
            let byte = offset + below(self.lot(Lot::Latent), there);
            self.inode(number)?.unreadable.insert(byte / SECTOR);
        }
        let inode = self.inode(number)?;
        let is_unreadable = pieces(offset, there, SECTOR).any(|piece| inode.unreadable.contains(&piece.unit));
        if fails || is_unreadable {
            self.counters.read_errors += 1;
            return Err(eio());
        }
        Ok(inode.seen.read(offset, length).into())
    }

    pub(super) fn write(&mut self, number: u64, offset: u64, bytes: &Bytes) -> io::Result<()> {
        self.fails_to_write()?;
        let length = bytes.len() as u64;
        if let Some(capacity) = self.settings.capacity {
            let used: u64 = self.inodes.values().map(|inode| inode.seen.pages()).sum();
            let added = self.inode(number)?.seen.pages_added(offset, length);
            if added > 0 && (used + added) * 4096 > capacity {
                self.counters.full += 1;
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk"));
            }
        }
        let inode = self.inode(number)?;
        for piece in pieces(offset, length, SECTOR) {
            inode.unreadable.remove(&piece.unit);
            inode.flipped.retain(|(byte, _)| byte / SECTOR != piece.unit);
        }
        inode.change(Change::Write(offset, bytes.clone()));
        Ok(())
    }

    pub(super) fn set_len(&mut self, number: u64, length: u64) -> io::Result<()> {
        self.fails_to_write()?;
        self.inode(number)?.change(Change::SetLen(length));
        Ok(())
    }

    /// How the sync that begins now will end, and after how long.
    pub(super) fn draw_sync(&mut self) -> (u64, SyncEnd) {
        let settings = self.settings;
        let delay = settings.sync.draw(self.lot(Lot::Sync));
        let fails = chance(self.lot(Lot::SyncError), settings.sync_errors);
        let lies = chance(self.lot(Lot::Lie), settings.lying_syncs);
        let end = match (fails, lies) {
            (true, _) => SyncEnd::Failed,
            (false, true) => SyncEnd::Lied,
            (false, false) => SyncEnd::Done,
        };
        (delay, end)
    }

    pub(super) fn draw_read(&mut self) -> u64 {
        let delay = self.settings.read;
        delay.draw(self.lot(Lot::Read))
    }

    pub(super) fn draw_write(&mut self) -> u64 {
        let delay = self.settings.write;
        delay.draw(self.lot(Lot::Write))
    }

    /// A sync of a file comes to its end; it speaks for the changes before number `upto`.
    pub(super) fn end_sync(&mut self, number: u64, upto: u64, end: SyncEnd) -> io::Result<()> {
        self.count_sync(end);
        let mut kept = Vec::new();
        if end == SyncEnd::Failed {
            let count = self
                .inode(number)?
                .unsynced
                .iter()
                .filter(|(change, _)| *change < upto)
                .count();
            kept = (0..count).map(|_| chance(self.lot(Lot::SyncError), 0.5)).collect();
        }
        match end {
            SyncEnd::Done => self.changed.synced += 1,
            SyncEnd::Failed => self.changed.otherwise += 1,
            SyncEnd::Lied => {}
        }
        let inode = self.inode(number)?;
        if end == SyncEnd::Lied {
            return Ok(());
        }
        let rest = inode.unsynced.iter().position(|(change, _)| *change >= upto);
        let rest = rest.unwrap_or(inode.unsynced.len());
        let durable = Arc::make_mut(&mut inode.durable);
        for (place, (_, change)) in inode.unsynced.drain(..rest).enumerate() {
            if kept.get(place).copied().unwrap_or(end == SyncEnd::Done) {
                change.apply(durable);
                if let Change::Write(offset, bytes) = &change {
                    durable.share(&inode.seen, *offset, bytes.len() as u64);
                }
            }
        }
        if end == SyncEnd::Failed { Err(eio()) } else { Ok(()) }
    }

    /// A sync of a folder comes to its end; it speaks for the changes of names before number `upto`.
    pub(super) fn end_sync_dir(&mut self, folder: &str, upto: u64, end: SyncEnd) -> io::Result<()> {
        self.count_sync(end);
        match end {
            SyncEnd::Lied => return Ok(()),
            SyncEnd::Failed => return Err(eio()),
            SyncEnd::Done => {}
        }
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.renames) {
            if change.number < upto && change.is_in(folder) {
                change.apply(&mut self.durable);
            } else {
                left.push(change);
            }
        }
        self.renames = left;
        self.changed.names += 1;
        self.forget_all();
        Ok(())
    }

    /// The node's process is gone, and with it every open file.
    pub(super) fn close_all(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.opens = 0;
        }
        self.forget_all();
    }

    fn forget_all(&mut self) {
        let numbers: Vec<u64> = self.inodes.keys().copied().collect();
        for number in numbers {
            self.forget(number);
        }
    }

    fn count_sync(&mut self, end: SyncEnd) {
        match end {
            SyncEnd::Done => self.counters.syncs += 1,
            SyncEnd::Lied => self.counters.lying_syncs += 1,
            SyncEnd::Failed => self.counters.sync_errors += 1,
        }
    }

    /// Flips a bit, on the medium and in what the node reads.
    pub(super) fn flip(&mut self, number: u64, byte: u64, bit: u8) -> io::Result<()> {
        let inode = self.inode(number)?;
        inode.seen.flip(byte, bit);
        inode.flipped.push((byte, bit));
        Arc::make_mut(&mut inode.durable).flip(byte, bit);
        self.changed.otherwise += 1;
        self.counters.bits_flipped += 1;
        Ok(())
    }

    /// Flips back what was flipped, and makes every sector readable.
    pub(super) fn mend(&mut self) {
        self.changed.otherwise += 1;
        for inode in self.inodes.values_mut() {
            inode.unreadable.clear();
            for (byte, bit) in std::mem::take(&mut inode.flipped) {
                inode.seen.flip(byte, bit);
                Arc::make_mut(&mut inode.durable).flip(byte, bit);
            }
        }
    }

    pub(super) fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| not_found("the file"))
    }

    /// What would be left if everything un-synced were lost.
    pub(super) fn durable_image(&self) -> DiskImage {
        self.image(&self.durable, |inode| Arc::clone(&inode.durable))
    }

    /// What the node reads.
    pub(super) fn seen_image(&self) -> DiskImage {
        self.image(&self.seen, |inode| Arc::new(inode.seen.clone()))
    }

    fn image(&self, names: &BTreeMap<String, u64>, content: impl Fn(&Inode) -> Arc<Content>) -> DiskImage {
        let files = names.iter().filter_map(|(path, number)| {
            let inode = self.inodes.get(number)?;
            Some((path.clone(), content(inode)))
        });
        DiskImage {
            folders: self.folders.clone(),
            files: files.collect(),
        }
    }

    /// Puts an image in the place of everything.
    pub(super) fn replace(&mut self, image: DiskImage) {
        self.changed.otherwise += 1;
        self.folders = image.folders;
        self.folders.insert(String::new());
        self.renames.clear();
        self.inodes.clear();
        self.durable.clear();
        for (path, content) in image.files {
            self.inodes_made += 1;
            let inode = Inode {
                seen: (*content).clone(),
                durable: content,
                ..Inode::default()
            };
            self.inodes.insert(self.inodes_made, inode);
            self.durable.insert(path, self.inodes_made);
        }
        self.seen.clone_from(&self.durable);
    }

    fn rename_inode(&mut self, inode: u64, from: Option<String>, to: Option<String>) {
        let number = self.renames_made;
        self.renames_made += 1;
        let change = NameChange {
            number,
            inode,
            from,
            to,
        };
        change.apply(&mut self.seen);
        self.renames.push(change);
    }

    /// Drops a file that nobody can reach any more.
    fn forget(&mut self, number: u64) {
        let is_open = self.inodes.get(&number).is_some_and(|inode| inode.opens > 0);
        let is_named = |names: &BTreeMap<String, u64>| names.values().any(|named| *named == number);
        let is_pending = self.renames.iter().any(|change| change.inode == number);
        if !is_open && !is_pending && !is_named(&self.seen) && !is_named(&self.durable) {
            self.inodes.remove(&number);
        }
    }

    fn needs_folder(&self, path: &str) -> io::Result<()> {
        let folder = folder_of(path);
        if self.folders.contains(folder) {
            return Ok(());
        }
        Err(not_found(folder))
    }

    fn fails_to_write(&mut self) -> io::Result<()> {
        let probability = self.settings.write_errors;
        if chance(self.lot(Lot::WriteError), probability) {
            self.counters.write_errors += 1;
            return Err(eio());
        }
        Ok(())
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        if let Change::SetLen(length) = change {
            // What is cut off is gone; if the file grows again there are zeros.
            self.flipped.retain(|(byte, _)| *byte < length);
        }
        change.apply(&mut self.seen);
        self.unsynced.push((self.changes_made, change));
        self.changes_made += 1;
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path} is not there"))
}

fn eio() -> io::Error {
    // EIO on Linux.
    io::Error::from_raw_os_error(5)
}
