//! A disk that forgets what was not synced when its process is killed.
//!
//! SIGKILL alone loses nothing: what was written is in the page cache, which belongs to the system. Here, writes
//! stay in process memory until `sync_data`, and creations, renames and removals until `sync_dir`; only then are
//! they made in the file system. So a killed process finds after its restart exactly what a machine that lost its
//! power would find if its disk kept nothing that it had not been told to keep. No `fsync` is made: the page cache
//! outlives the process, which is all that this disk is asked to survive.
//!
//! A file that was created and synced but whose folder was not is kept in memory and lost with the process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tribunal_env::OpenMode;

use super::disk::{names_in, read_at};

/// Prefix of a file that is being put into its folder; what a kill left of one is removed.
const UNFINISHED: &str = ".unfinished-";

/// The disk; clones share it.
#[derive(Clone)]
pub struct VolatileDisk {
    root: PathBuf,
    folders: Arc<Mutex<BTreeMap<String, Folder>>>,
}

/// A folder as the process sees it, and as the file system has it.
#[derive(Default)]
struct Folder {
    seen: BTreeMap<String, Arc<Inode>>,
    durable: BTreeMap<String, Arc<Inode>>,
}

/// A file's change of names.
struct Move {
    from: String,
    to: String,
    /// A second name of the file, to be renamed to the new one.
    unfinished: PathBuf,
    inode: Arc<Inode>,
}

/// A file, whatever its name.
struct Inode {
    content: Mutex<Content>,
}

struct Content {
    synced: Synced,
    unsynced: Vec<Change>,
    length: u64,
}

/// What a kill leaves.
enum Synced {
    /// In the file system.
    File(File),
    /// In memory, because no folder has it yet; bytes beyond the vector are zeros.
    Memory { bytes: Vec<u8>, length: u64 },
}

enum Change {
    Write(u64, Bytes),
    Length(u64),
}

impl VolatileDisk {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            folders: Arc::default(),
        }
    }

    pub(super) fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join(path))
    }

    pub(super) fn open(&self, path: &str, mode: OpenMode) -> io::Result<VolatileFile> {
        let (folder, name) = split(path);
        self.with(folder, |seen, _| {
            let inode = match (seen.seen.get(name), mode) {
                (Some(inode), OpenMode::Read | OpenMode::Write) => Arc::clone(inode),
                (Some(_), OpenMode::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
                (None, OpenMode::Read | OpenMode::Write) => return Err(io::ErrorKind::NotFound.into()),
                (None, OpenMode::Create) => {
                    let synced = Synced::Memory {
                        bytes: Vec::new(),
                        length: 0,
                    };
                    let inode = Arc::new(Inode::new(synced, 0));
                    seen.seen.insert(name.to_owned(), Arc::clone(&inode));
                    inode
                }
            };
            let is_writable = mode != OpenMode::Read;
            Ok(VolatileFile { inode, is_writable })
        })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let ((folder, from), (other, to)) = (split(from), split(to));
        if folder != other {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a file cannot be moved to another folder",
            ));
        }
        self.with(folder, |folder, _| {
            let inode = folder.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
            folder.seen.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path);
        self.with(folder, |folder, _| match folder.seen.remove(name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    pub(super) fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.with(folder, |folder, _| Ok(folder.seen.keys().cloned().collect()))
    }

    /// Makes the folder in the file system what the process sees: first what has moved, then what is new, each
    /// under its final name in one step, then what is gone.
    pub(super) fn sync_dir(&self, folder: &str) -> io::Result<()> {
        self.with(folder, |folder, path| {
            folder.move_all(path)?;
            for (name, inode) in &folder.seen {
                if !folder.is_durable(name, inode) {
                    inode.materialize(path, name)?;
                    folder.durable.insert(name.clone(), Arc::clone(inode));
                }
            }
            let gone: Vec<_> = folder
                .durable
                .keys()
                .filter(|name| !folder.seen.contains_key(*name))
                .cloned()
                .collect();
            for name in gone {
                fs::remove_file(path.join(&name))?;
                folder.durable.remove(&name);
            }
            Ok(())
        })
    }

    /// Runs `work` on a folder, which is read from the file system the first time.
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Folder, &Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.root.join(name);
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if !folders.contains_key(name) {
            folders.insert(name.to_owned(), Folder::read(&path)?);
        }
        let folder = folders.entry(name.to_owned()).or_default();
        work(folder, &path)
    }
}

impl Folder {
    fn read(path: &Path) -> io::Result<Self> {
        let mut folder = Self::default();
        for name in names_in(path)? {
            if name.starts_with(UNFINISHED) {
                fs::remove_file(path.join(&name))?;
                continue;
            }
            let file = OpenOptions::new().read(true).write(true).open(path.join(&name))?;
            let length = file.metadata()?.len();
            folder
                .durable
                .insert(name, Arc::new(Inode::new(Synced::File(file), length)));
        }
        folder.seen = folder.durable.clone();
        Ok(folder)
    }

    fn is_durable(&self, name: &str, inode: &Arc<Inode>) -> bool {
        self.durable.get(name).is_some_and(|known| Arc::ptr_eq(known, inode))
    }

    /// Gives every file that is in the file system under another name the one that it has now. A name is taken over
    /// only when its file has moved away itself, so that a kill in between leaves each file a name. (Of files that
    /// change names in a circle one has none for a moment.)
    fn move_all(&mut self, path: &Path) -> io::Result<()> {
        let mut moves: Vec<Move> = Vec::new();
        for (to, inode) in &self.seen {
            let before = self.durable.iter().find(|(_, known)| Arc::ptr_eq(known, inode));
            let (Some((from, _)), false) = (before, self.is_durable(to, inode)) else {
                continue;
            };
            let unfinished = path.join(format!("{UNFINISHED}{to}"));
            fs::hard_link(path.join(from), &unfinished)?;
            moves.push(Move {
                from: from.clone(),
                to: to.clone(),
                unfinished,
                inode: Arc::clone(inode),
            });
        }
        while !moves.is_empty() {
            let free = moves
                .iter()
                .position(|next| !moves.iter().any(|other| other.from == next.to));
            let next = moves.swap_remove(free.unwrap_or(0));
            fs::rename(&next.unfinished, path.join(&next.to))?;
            self.durable.insert(next.to, Arc::clone(&next.inode));
            // Unless somebody else has that name by now.
            if self.is_durable(&next.from, &next.inode) && !self.seen.contains_key(&next.from) {
                fs::remove_file(path.join(&next.from))?;
                self.durable.remove(&next.from);
            }
        }
        Ok(())
    }
}

impl Inode {
    fn new(synced: Synced, length: u64) -> Self {
        Self {
            content: Mutex::new(Content {
                synced,
                unsynced: Vec::new(),
                length,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is synced into the file system under `name`.
    fn materialize(&self, folder: &Path, name: &str) -> io::Result<()> {
        let mut content = self.lock();
        if let Synced::Memory { bytes, length } = &content.synced {
            let unfinished = folder.join(format!("{UNFINISHED}{name}"));
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).open(&unfinished)?;
            file.write_all_at(bytes, 0)?;
            file.set_len(*length)?;
            fs::rename(&unfinished, folder.join(name))?;
            content.synced = Synced::File(file);
        }
        Ok(())
    }
}

/// An open file of a [`VolatileDisk`].
pub struct VolatileFile {
    inode: Arc<Inode>,
    is_writable: bool,
}

impl VolatileFile {
    pub(super) fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let content = self.inode.lock();
        let end = content.length.min(offset.saturating_add(length as u64));
        let length = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let synced = match &content.synced {
            Synced::File(file) => read_at(file, offset, length)?,
            Synced::Memory { bytes, .. } => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(length).min(bytes.len());
                Bytes::copy_from_slice(&bytes[from..to])
            }
        };
        bytes[..synced.len()].copy_from_slice(&synced);
        for change in &content.unsynced {
            match change {
                Change::Write(at, written) => overlay(&mut bytes, offset, *at, written),
                Change::Length(cut) => {
                    let kept = usize::try_from(cut.saturating_sub(offset)).unwrap_or(usize::MAX);
                    if kept < bytes.len() {
                        bytes[kept..].fill(0);
                    }
                }
            }
        }
        Ok(bytes.into())
    }

    pub(super) fn write_at(&self, offset: u64, bytes: Bytes) -> io::Result<()> {
        self.needs_write()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut content = self.inode.lock();
        content.length = content.length.max(offset + bytes.len() as u64);
        content.unsynced.push(Change::Write(offset, bytes));
        Ok(())
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        self.needs_write()?;
        let mut content = self.inode.lock();
        content.length = length;
        content.unsynced.push(Change::Length(length));
        Ok(())
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().length)
    }

    fn needs_write(&self) -> io::Result<()> {
        if self.is_writable {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the file is open for reading only",
        ))
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        let mut content = self.inode.lock();
        for change in std::mem::take(&mut content.unsynced) {
            match (&mut content.synced, change) {
                (Synced::File(file), Change::Write(at, bytes)) => file.write_all_at(&bytes, at)?,
                (Synced::File(file), Change::Length(length)) => file.set_len(length)?,
                (Synced::Memory { bytes, length }, Change::Write(at, written)) => {
                    let from = usize::try_from(at).map_err(io::Error::other)?;
                    let to = from + written.len();
                    if bytes.len() < to {
                        bytes.resize(to, 0);
                    }
                    bytes[from..to].copy_from_slice(&written);
                    *length = (*length).max(to as u64);
                }
                (Synced::Memory { bytes, length }, Change::Length(new)) => {
                    bytes.truncate(usize::try_from(new).unwrap_or(usize::MAX));
                    *length = new;
                }
            }
        }
        Ok(())
    }
}

/// Copies the part of `written` (which starts at `at`) that lies in `bytes` (which start at `offset`).
fn overlay(bytes: &mut [u8], offset: u64, at: u64, written: &[u8]) {
    let end = offset + bytes.len() as u64;
    let (from, to) = (at.max(offset), (at + written.len() as u64).min(end));
    if from < to {
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        bytes[place(from - offset)..place(to - offset)].copy_from_slice(&written[place(from - at)..place(to - at)]);
    }
}

/// Folder and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let names = names_in(folder).expect("lists");
        let read = |name: String| {
            let bytes = fs::read(folder.join(&name)).expect("reads");
            (name, bytes)
        };
        names.into_iter().map(read).collect()
    }

    #[test]
    fn only_what_was_synced_reaches_the_file_system() {
        let root = tempfile::tempdir().expect("a folder");
        let on_disk = || contents(&root.path().join("d"));
        let disk = VolatileDisk::new(root.path().to_owned());
        disk.create_dir("d").expect("creates");
        let file = disk.open("d/a", OpenMode::Create).expect("creates");
        file.write_at(2, Bytes::from_static(b"xy")).expect("writes");
        file.sync_data().expect("syncs");
        file.write_at(0, Bytes::from_static(b"un")).expect("writes");
        assert_eq!(on_disk(), [], "the folder is not synced");
        assert_eq!(&file.read_at(0, 9).expect("reads")[..], b"unxy", "the process sees all");
        disk.sync_dir("d").expect("syncs");
        assert_eq!(on_disk(), [("a".to_owned(), b"\0\0xy".to_vec())]);
        file.set_len(3).expect("cuts");
        file.sync_data().expect("syncs");
        assert_eq!(on_disk(), [("a".to_owned(), b"unx".to_vec())]);
        disk.rename("d/a", "d/b").expect("renames");
        assert_eq!(disk.list("d").expect("lists"), ["b"]);
        assert_eq!(on_disk()[0].0, "a");
        disk.sync_dir("d").expect("syncs");
        assert_eq!(on_disk()[0].0, "b");
        disk.remove("d/b").expect("removes");
        assert_eq!(on_disk().len(), 1);
        disk.sync_dir("d").expect("syncs");
        assert_eq!(on_disk(), []);
    }

    #[test]
    fn another_process_starts_from_what_was_synced() {
        let root = tempfile::tempdir().expect("a folder");
        let first = VolatileDisk::new(root.path().to_owned());
        first.create_dir("d").expect("creates");
        let file = first.open("d/a", OpenMode::Create).expect("creates");
        file.write_at(0, Bytes::from_static(b"kept")).expect("writes");
        file.sync_data().expect("syncs");
        first.sync_dir("d").expect("syncs");
        file.write_at(0, Bytes::from_static(b"lost")).expect("writes");
        first.open("d/new", OpenMode::Create).expect("creates");
        first.remove("d/a").expect("removes");
        let second = VolatileDisk::new(root.path().to_owned());
        assert_eq!(second.list("d").expect("lists"), ["a"]);
        let file = second.open("d/a", OpenMode::Read).expect("opens");
        assert_eq!(&file.read_at(0, 9).expect("reads")[..], b"kept");
    }
}
