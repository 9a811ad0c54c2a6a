//! The durable side of a disk, read in place.
//!
//! Who looks at every disk at every acknowledgement can neither copy images nor read everything again. So the disk
//! counts what has changed and in which way, and a reader goes on from where it stood.

use super::content::Content;
use super::settings::DiskCounters;
use super::state::DiskState;

/// How often the durable side of a disk has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Syncs of files that made something durable.
    pub synced: u64,
    /// Syncs of folders.
    pub names: u64,
    /// Whatever else: a loss of power, a sync that failed, rot, another disk. Nothing read before holds any more.
    pub otherwise: u64,
}

/// The durable side of a disk, while nothing changes.
pub struct Durable<'a> {
    disk: &'a DiskState,
}

impl<'a> Durable<'a> {
    pub(super) fn new(disk: &'a DiskState) -> Self {
        Self { disk }
    }

    /// How often it has changed.
    pub fn changed(&self) -> Changed {
        self.disk.changed
    }

    /// How often the disk did what.
    pub fn counters(&self) -> DiskCounters {
        self.disk.counters
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let is_there = |number: &u64| self.disk.inodes.contains_key(number);
        let names = self.disk.durable.iter();
        names
            .filter(move |(_, number)| is_there(number))
            .map(|(path, _)| path.as_str())
    }

    /// A file's length in bytes.
    pub fn len(&self, path: &str) -> Option<u64> {
        self.content(path).map(Content::len)
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.paths().next().is_none()
    }

    /// Up to `length` bytes of a file at `offset`; fewer only at its end.
    pub fn read_at(&self, path: &str, offset: u64, length: usize) -> Option<Vec<u8>> {
        self.content(path).map(|content| content.read(offset, length))
    }

    fn content(&self, path: &str) -> Option<&Content> {
        let inode = self.disk.inodes.get(self.disk.durable.get(path)?)?;
        Some(&inode.durable)
    }
}
