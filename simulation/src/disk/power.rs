//! What a loss of power leaves on a disk.
//!
//! Each file meets one fate, drawn by its weight. Names of one folder survive up to some change of them, each folder
//! by itself: file systems with a journal keep the order within a folder, and POSIX promises nothing between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{Content, SECTOR, pieces};
use super::settings::Unsynced;
use super::state::{Change, DiskState, Lot};
use crate::draw::{below, chance};

enum Fate {
    Lost,
    Prefix,
    Reordered,
    Kept,
}

impl DiskState {
    /// Forgets what was not synced, but for what survives by chance.
    pub(super) fn lose_power(&mut self) {
        self.changed.otherwise += 1;
        let numbers: Vec<u64> = self.inodes.keys().copied().collect();
        for number in numbers {
            let Some(inode) = self.inodes.get_mut(&number) else {
                continue;
            };
            inode.opens = 0;
            let unsynced = std::mem::take(&mut inode.unsynced);
            let mut content = (*inode.durable).clone();
            if !unsynced.is_empty() {
                self.counters.crashes_with_unsynced += 1;
                self.survive(unsynced, &mut content);
            }
            if let Some(inode) = self.inodes.get_mut(&number) {
                inode.seen.clone_from(&content);
                inode.durable = Arc::new(content);
            }
        }
        self.lose_names();
    }

    fn survive(&mut self, unsynced: Vec<(u64, Change)>, content: &mut Content) {
        match self.fate() {
            Fate::Lost => {}
            Fate::Kept => {
                for (_, change) in unsynced {
                    change.apply(content);
                }
            }
            Fate::Prefix => {
                let whole = below(self.lot(Lot::Crash), unsynced.len() as u64 + 1) as usize;
                for (place, (_, change)) in unsynced.into_iter().enumerate() {
                    if place < whole {
                        change.apply(content);
                    } else if place == whole
                        && let Change::Write(offset, bytes) = change
                    {
                        let sectors = pieces(offset, bytes.len() as u64, SECTOR).count() as u64;
                        let survive = below(self.lot(Lot::Crash), sectors);
                        let end = pieces(offset, bytes.len() as u64, SECTOR).take(survive as usize).last();
                        let end = end.map_or(0, |piece| piece.to);
                        self.counters.torn_writes += u64::from(end > 0);
                        if end > 0 {
                            content.write(offset, &bytes[..end]);
                        }
                    }
                }
            }
            Fate::Reordered => {
                for (_, change) in unsynced {
                    match change {
                        Change::SetLen(length) => {
                            if chance(self.lot(Lot::Crash), 0.5) {
                                content.set_len(length);
                            }
                        }
                        Change::Write(offset, bytes) => {
                            let mut kept = 0;
                            let mut lost = 0;
                            for piece in pieces(offset, bytes.len() as u64, SECTOR) {
                                if chance(self.lot(Lot::Crash), 0.5) {
                                    content.write(offset + piece.from as u64, &bytes[piece.from..piece.to]);
                                    kept += 1;
                                } else {
                                    lost += 1;
                                }
                            }
                            self.counters.torn_writes += u64::from(kept > 0 && lost > 0);
                            // The new length may be on the medium before the bytes are: they read as zeros.
                            if chance(self.lot(Lot::Crash), 0.5) {
                                content.extend(offset + bytes.len() as u64);
                            }
                        }
                    }
                }
            }
        }
    }

    fn fate(&mut self) -> Fate {
        let Unsynced {
            lost,
            prefix,
            reordered,
            kept,
        } = self.settings.unsynced;
        let weights = [lost, prefix, reordered, kept].map(u64::from);
        let mut drawn = below(self.lot(Lot::Crash), weights.iter().sum());
        let mut fates = [Fate::Lost, Fate::Prefix, Fate::Reordered, Fate::Kept].into_iter();
        for weight in weights {
            let fate = fates.next().unwrap_or(Fate::Lost);
            if drawn < weight {
                return fate;
            }
            drawn -= weight;
        }
        Fate::Lost
    }

    fn lose_names(&mut self) {
        let renames = std::mem::take(&mut self.renames);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for change in &renames {
            *counts.entry(change.folder().to_owned()).or_default() += 1;
        }
        let mut survive: BTreeMap<String, u64> = BTreeMap::new();
        for (folder, count) in counts {
            let is_all_lost = matches!(self.fate(), Fate::Lost);
            let drawn = below(self.lot(Lot::Crash), count + 1);
            survive.insert(folder, if is_all_lost { 0 } else { drawn });
        }
        for change in renames {
            match survive.get_mut(change.folder()) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    change.apply(&mut self.durable);
                }
                _ => self.counters.names_lost += 1,
            }
        }
        self.seen.clone_from(&self.durable);
        let named: Vec<u64> = self.durable.values().copied().collect();
        self.inodes.retain(|number, _| named.contains(number));
    }
}
