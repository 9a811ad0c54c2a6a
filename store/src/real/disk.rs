//! Files of the system, under one folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tribunal_env::{Disk, DiskFile, OpenMode};

use super::config::DiskKind;
use super::volatile::{VolatileDisk, VolatileFile};

/// The disk of a process, of either kind.
#[derive(Clone)]
pub enum AnyDisk {
    /// The system's.
    Real(RealDisk),
    /// One that forgets what was not synced.
    Volatile(VolatileDisk),
}

/// An open file of either kind.
pub enum AnyFile {
    /// The system's.
    Real(RealFile),
    /// One that forgets what was not synced.
    Volatile(VolatileFile),
}

impl AnyDisk {
    /// A disk of this kind in `root`, which exists.
    pub fn new(kind: DiskKind, root: PathBuf) -> Self {
        match kind {
            DiskKind::Real => Self::Real(RealDisk { root }),
            DiskKind::Volatile => Self::Volatile(VolatileDisk::new(root)),
        }
    }
}

impl Disk for AnyDisk {
    type File = AnyFile;

    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<AnyFile> {
        match self {
            Self::Real(disk) => disk.open(path, mode).map(AnyFile::Real),
            Self::Volatile(disk) => disk.open(path, mode).map(AnyFile::Volatile),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match self {
            Self::Real(disk) => fs::rename(disk.root.join(from), disk.root.join(to)),
            Self::Volatile(disk) => disk.rename(from, to),
        }
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        match self {
            Self::Real(disk) => fs::remove_file(disk.root.join(path)),
            Self::Volatile(disk) => disk.remove(path),
        }
    }

    async fn create_dir(&self, path: &str) -> io::Result<()> {
        match self {
            Self::Real(disk) => {
                fs::create_dir_all(disk.root.join(path))?;
                File::open(&disk.root)?.sync_all()
            }
            Self::Volatile(disk) => disk.create_dir(path),
        }
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        match self {
            Self::Real(disk) => names_in(&disk.root.join(folder)),
            Self::Volatile(disk) => disk.list(folder),
        }
    }

    async fn sync_dir(&self, folder: &str) -> io::Result<()> {
        match self {
            Self::Real(disk) => {
                let folder = File::open(disk.root.join(folder))?;
                blocking(move || folder.sync_all()).await
            }
            Self::Volatile(disk) => disk.sync_dir(folder),
        }
    }
}

impl DiskFile for AnyFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Real(file) => read_at(&file.file, offset, length),
            Self::Volatile(file) => file.read_at(offset, length),
        }
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Real(file) => file.file.write_all_at(&bytes, offset),
            Self::Volatile(file) => file.write_at(offset, bytes),
        }
    }

    async fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => {
                let file = Arc::clone(&file.file);
                blocking(move || file.sync_data()).await
            }
            Self::Volatile(file) => file.sync_data(),
        }
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.file.set_len(length),
            Self::Volatile(file) => file.set_len(length),
        }
    }

    async fn len(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => Ok(file.file.metadata()?.len()),
            Self::Volatile(file) => file.len(),
        }
    }
}

/// The system's files: durable is what `fdatasync` returned for.
#[derive(Clone)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create_new(true);
            }
        }
        let file = Arc::new(options.open(self.root.join(path))?);
        Ok(RealFile { file })
    }
}

/// An open file of the system.
pub struct RealFile {
    file: Arc<File>,
}

/// Waits for the device on a thread that may wait.
async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Reads until `length` bytes or the end of the file.
pub(super) fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let left = file.metadata()?.len().saturating_sub(offset);
    let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(bytes.into())
}

/// Names of the files in a folder, sorted.
pub(super) fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
