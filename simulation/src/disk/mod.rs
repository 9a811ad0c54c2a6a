//! Disks, at the level of bytes.
//!
//! What a node writes is seen by it at once and durable only after a sync; between the two a loss of power may leave
//! nothing, a part, or single sectors of it. Names have the same two sides. The durable side can be read at any moment
//! ([`World::durable_image`](crate::World::durable_image)), which is how an acknowledgement is checked at the instant
//! that it is given.

mod content;
mod durable;
mod image;
mod power;
mod settings;
mod state;
mod world;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tribunal_env::{Disk, DiskFile, OpenMode};

use crate::executor::trace::Kind;
use crate::executor::{Kernel, lock};
use crate::place::{Owner, Place};
use crate::runtime::sleep_true;
use state::SyncEnd;

pub use durable::{Changed, Durable};
pub use image::DiskImage;
pub use settings::{DiskCounters, DiskSettings, Unsynced};
pub(crate) use state::DiskState;

/// A place's disk, in one of its lives.
#[derive(Clone)]
pub struct SimDisk {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) owner: Owner,
}

/// An open file.
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    is_writable: bool,
}

impl Kernel {
    pub(crate) fn with_disk<R>(&self, place: Place, act: impl FnOnce(&mut DiskState) -> R) -> R {
        let mut disks = lock(&self.disks);
        act(disks.entry(place).or_insert_with(|| DiskState::new(self.seed, place)))
    }

    /// The process of this place is gone.
    pub(crate) fn close_files(&self, place: Place) {
        self.with_disk(place, DiskState::close_all);
    }

    /// The machine of this place loses its power.
    pub(crate) fn lose_power(&self, place: Place) {
        let before = self.with_disk(place, |disk| {
            disk.lose_power();
            disk.counters
        });
        self.trace(Kind::Disk, place.number(), before.torn_writes, b"power lost");
    }
}

impl SimDisk {
    fn act<R>(&self, act: impl FnOnce(&mut DiskState) -> io::Result<R>) -> io::Result<R> {
        if !self.kernel.state().is_alive(self.owner) {
            self.kernel.find_act_after_death(self.owner, "use its disk");
            return Err(io::Error::other("the machine is off"));
        }
        self.kernel.with_disk(self.owner.place, act)
    }

    fn trace(&self, number: u64, data: &[u8]) {
        self.kernel.trace(Kind::Disk, self.owner.place.number(), number, data);
    }

    /// Waits for the device, by true time.
    async fn wait(&self, nanos: u64) {
        if nanos > 0 {
            sleep_true(&self.kernel, Duration::from_nanos(nanos)).await;
        }
    }

    async fn change<R>(&self, act: impl FnOnce(&mut DiskState) -> io::Result<R>) -> io::Result<R> {
        let delay = self.act(|disk| Ok(disk.draw_write()))?;
        self.wait(delay).await;
        self.act(act)
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        let inode = self.change(|disk| disk.open(path, mode)).await?;
        self.trace(inode, path.as_bytes());
        Ok(SimFile {
            disk: self.clone(),
            inode,
            is_writable: mode != OpenMode::Read,
        })
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.trace(0, from.as_bytes());
        self.trace(0, to.as_bytes());
        self.change(|disk| disk.rename(from, to)).await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        self.trace(0, path.as_bytes());
        self.change(|disk| disk.remove(path)).await
    }

    async fn create_dir(&self, path: &str) -> io::Result<()> {
        self.change(|disk| disk.create_dir(path)).await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.act(|disk| disk.list(folder))
    }

    async fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let (upto, (delay, end)) = self.act(|disk| Ok((disk.renames_made, disk.draw_sync())))?;
        self.wait(delay).await;
        self.trace(0, sync_name(end));
        self.act(|disk| disk.end_sync_dir(folder, upto, end))
    }
}

impl DiskFile for SimFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let delay = self.disk.act(|disk| Ok(disk.draw_read()))?;
        self.disk.wait(delay).await;
        self.disk.act(|disk| disk.read(self.inode, offset, length))
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> io::Result<()> {
        self.needs_write()?;
        self.disk.trace(offset, &bytes);
        self.disk.change(|disk| disk.write(self.inode, offset, &bytes)).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        let (upto, (delay, end)) = self
            .disk
            .act(|disk| Ok((disk.inode(self.inode)?.changes_made, disk.draw_sync())))?;
        self.disk.wait(delay).await;
        self.disk.trace(self.inode, sync_name(end));
        self.disk.act(|disk| disk.end_sync(self.inode, upto, end))
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        self.needs_write()?;
        self.disk.trace(length, b"set length");
        self.disk.change(|disk| disk.set_len(self.inode, length)).await
    }

    async fn len(&self) -> io::Result<u64> {
        self.disk.act(|disk| Ok(disk.inode(self.inode)?.seen.len()))
    }
}

impl SimFile {
    fn needs_write(&self) -> io::Result<()> {
        if self.is_writable {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the file is open for reading only",
        ))
    }
}

impl Drop for SimFile {
    /// Keeps the count of open files, so that a removed one frees its memory; no disk notices.
    fn drop(&mut self) {
        let state = self.disk.kernel.state();
        let is_alive = state.is_alive(self.disk.owner);
        drop(state);
        if is_alive {
            self.disk
                .kernel
                .with_disk(self.disk.owner.place, |disk| disk.close(self.inode));
        }
    }
}

fn sync_name(end: SyncEnd) -> &'static [u8] {
    match end {
        SyncEnd::Done => b"synced",
        SyncEnd::Lied => b"sync lied",
        SyncEnd::Failed => b"sync failed",
    }
}
