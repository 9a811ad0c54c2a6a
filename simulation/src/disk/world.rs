//! What the harness does to disks.

use tribunal_history::NodeId;

use super::content::SECTOR;
use super::durable::Durable;
use super::image::DiskImage;
use super::settings::{DiskCounters, DiskSettings};
use super::state::{DiskState, Lot};
use crate::draw::below;
use crate::executor::trace::Kind;
use crate::place::Place;
use crate::world::World;

impl World {
    /// How a node's disk behaves now.
    pub fn disk(&self, node: NodeId) -> DiskSettings {
        self.with_disk(node, |disk| disk.settings)
    }

    /// Changes how a node's disk behaves. A sync under way ends as it was drawn.
    pub fn set_disk(&self, node: NodeId, settings: DiskSettings) {
        self.with_disk(node, |disk| disk.settings = settings);
    }

    /// How often a node's disk did what.
    pub fn disk_counters(&self, node: NodeId) -> DiskCounters {
        self.with_disk(node, |disk| disk.counters)
    }

    /// What would be left on a node's disk if it lost its power now and nothing un-synced survived.
    pub fn durable_image(&self, node: NodeId) -> DiskImage {
        self.with_disk(node, |disk| disk.durable_image())
    }

    /// Lets `read` look at the durable side of a node's disk where it is, without a copy: what
    /// [`World::durable_image`] would hold.
    pub fn with_durable<R>(&self, node: NodeId, read: impl FnOnce(&Durable<'_>) -> R) -> R {
        self.with_disk(node, |disk| read(&Durable::new(disk)))
    }

    /// What a node reads from its disk now, un-synced writes and all.
    pub fn seen_image(&self, node: NodeId) -> DiskImage {
        self.with_disk(node, |disk| disk.seen_image())
    }

    /// Puts an image in the place of a node's disk, all of it durable. The node must be down, else `false`.
    pub fn replace_disk(&self, node: NodeId, image: DiskImage) -> bool {
        if self.is_up(node) {
            return false;
        }
        self.with_disk(node, |disk| disk.replace(image));
        true
    }

    /// Flips one bit in each of so many drawn sectors of a node's files; `path_start` chooses the files. Says how
    /// many sectors there were to draw from.
    pub fn rot(&self, node: NodeId, path_start: &str, sectors: u64) -> u64 {
        self.kernel
            .trace(Kind::Disk, Place::Node(node).number(), sectors, b"rot");
        self.with_disk(node, |disk| {
            let drawn = draw_sectors(disk, Lot::Rot, path_start, sectors);
            for (inode, sector) in drawn.chosen {
                let word = below(disk.lot(Lot::Rot), SECTOR * 8);
                // It was just listed, so it is there.
                let _ = disk.flip(inode, sector * SECTOR + word / 8, (word % 8) as u8);
            }
            drawn.among
        })
    }

    /// Undoes [`World::rot`] and [`World::break_sectors`], as a copy of the disk would: bits are flipped back and sectors
    /// are readable again, but for those that were written meanwhile.
    pub fn mend(&self, node: NodeId) {
        self.kernel.trace(Kind::Disk, Place::Node(node).number(), 0, b"mend");
        self.with_disk(node, DiskState::mend);
    }

    /// Makes so many drawn sectors of a node's files unreadable (EIO) until they are written again; `path_start`
    /// chooses the files. Says how many sectors there were to draw from.
    pub fn break_sectors(&self, node: NodeId, path_start: &str, sectors: u64) -> u64 {
        self.kernel
            .trace(Kind::Disk, Place::Node(node).number(), sectors, b"break sectors");
        self.with_disk(node, |disk| {
            let drawn = draw_sectors(disk, Lot::Latent, path_start, sectors);
            for (number, sector) in drawn.chosen {
                if let Ok(inode) = disk.inode(number) {
                    inode.unreadable.insert(sector);
                }
            }
            drawn.among
        })
    }

    fn with_disk<R>(&self, node: NodeId, act: impl FnOnce(&mut DiskState) -> R) -> R {
        self.kernel.with_disk(Place::Node(node), act)
    }
}

struct Drawn {
    among: u64,
    /// Inode and sector.
    chosen: Vec<(u64, u64)>,
}

fn draw_sectors(disk: &mut DiskState, lot: Lot, path_start: &str, count: u64) -> Drawn {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (path, number) in &disk.seen {
        if let Some(inode) = disk.inodes.get(number).filter(|_| path.starts_with(path_start)) {
            all.extend(inode.seen.sectors().map(|sector| (*number, sector)));
        }
    }
    let among = all.len() as u64;
    let mut chosen = Vec::new();
    for _ in 0..count.min(among) {
        let place = below(disk.lot(lot), all.len() as u64);
        chosen.push(all.swap_remove(place as usize));
    }
    Drawn { among, chosen }
}
