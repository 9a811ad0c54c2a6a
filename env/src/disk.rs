//! Files at the level of bytes, so that torn, lost and reordered writes can be modelled.
//!
//! Paths are relative to the node's data folder and use `/`. What was written is durable only after
//! [`DiskFile::sync_data`]; that a file exists, is renamed or removed, only after [`Disk::sync_dir`].

use std::future::Future;
use std::io;

use bytes::Bytes;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must be there; for reading only.
    Read,
    /// It must be there; for reading and writing.
    Write,
    /// It must not be there, and is created.
    Create,
}

/// A node's disk.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens a file.
    fn open(&self, path: &str, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>> + Send;

    /// Renames a file within its folder, replacing what was there: whoever looks finds the one or the other.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + Send;

    /// Removes a file.
    fn remove(&self, path: &str) -> impl Future<Output = io::Result<()>> + Send;

    /// Creates a folder and those above it; no error if it is there.
    fn create_dir(&self, path: &str) -> impl Future<Output = io::Result<()>> + Send;

    /// Names of the files in a folder, sorted.
    fn list(&self, folder: &str) -> impl Future<Output = io::Result<Vec<String>>> + Send;

    /// Makes the entries of a folder durable.
    fn sync_dir(&self, folder: &str) -> impl Future<Output = io::Result<()>> + Send;
}

/// An open file. Closing it syncs nothing.
#[expect(
    clippy::len_without_is_empty,
    reason = "asking is fallible and asynchronous; nobody asks whether it is empty"
)]
pub trait DiskFile: Send + Sync + 'static {
    /// Reads `length` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, length: usize) -> impl Future<Output = io::Result<Bytes>> + Send;

    /// Writes all of `bytes` at `offset`, extending the file if need be; to write nothing does nothing.
    fn write_at(&self, offset: u64, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes all that was written durable (`fdatasync`). After an error nothing is known of what is durable;
    /// the node must stop.
    fn sync_data(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Cuts or extends the file; what is added reads as zeros.
    fn set_len(&self, length: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// The file's length in bytes.
    fn len(&self) -> impl Future<Output = io::Result<u64>> + Send;
}
