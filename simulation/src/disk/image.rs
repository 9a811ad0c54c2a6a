//! What is on a disk at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::Content;

/// The files of a disk at one moment. Cheap to take: it shares every page with the disk until one side writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskImage {
    pub(super) folders: BTreeSet<String>,
    pub(super) files: BTreeMap<String, Arc<Content>>,
}

impl DiskImage {
    /// The paths of all files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A file's length in bytes.
    pub fn len(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|content| content.len())
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Up to `length` bytes of a file at `offset`; fewer only at its end.
    pub fn read_at(&self, path: &str, offset: u64, length: usize) -> Option<Vec<u8>> {
        self.files.get(path).map(|content| content.read(offset, length))
    }

    /// All bytes of a file, holes and all.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.read_at(path, 0, usize::MAX)
    }
}
