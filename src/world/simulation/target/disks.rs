//! Disks that misbehave.
//!
//! What is damaged is bounded, so that the store can keep its promises: `docs/faults.md` says how. A node that ends
//! because its disk failed has done right, so its end is excused while the fault lasts.

use std::time::Duration;

use tribunal_history::{DiskEffect, Fault, NodeId};
use tribunal_nemesis::Effect;
use tribunal_simulation::{Crash, Delay, DiskCounters, DiskSettings, World as Simulator};

use super::{InForce, SimTarget};

/// Whether a node may end by itself under it, and is started again when it stops.
pub(super) fn may_end_a_node(effect: DiskEffect) -> bool {
    match effect {
        DiskEffect::SlowSync { .. } => false,
        DiskEffect::SyncError { .. }
        | DiskEffect::WriteError { .. }
        | DiskEffect::Full
        | DiskEffect::BitRot { .. }
        | DiskEffect::LatentSector { .. }
        | DiskEffect::LyingSync { .. } => true,
    }
}

/// What the faults in force make of a disk.
pub(super) fn wanted(usual: DiskSettings, node: NodeId, in_force: &[InForce]) -> DiskSettings {
    let mut settings = usual;
    for active in in_force.iter().filter(|active| active.nodes.contains(&node)) {
        let Fault::Disk { effect, .. } = active.fault else {
            continue;
        };
        match effect {
            DiskEffect::SlowSync { min_ms, max_ms } => {
                let slow = Delay::uniform(Duration::from_millis(min_ms), Duration::from_millis(max_ms));
                if slow.max > settings.sync.max {
                    settings.sync = slow;
                }
            }
            DiskEffect::SyncError { percent } => settings.sync_errors = settings.sync_errors.max(share(percent)),
            DiskEffect::WriteError { percent } => settings.write_errors = settings.write_errors.max(share(percent)),
            DiskEffect::LyingSync { percent } => settings.lying_syncs = settings.lying_syncs.max(share(percent)),
            DiskEffect::Full => settings.capacity = Some(0),
            DiskEffect::BitRot { .. } | DiskEffect::LatentSector { .. } => {}
        }
    }
    settings
}

fn share(percent: u32) -> f64 {
    f64::from(percent.min(100)) / 100.0
}

/// What the disk's counters say.
pub(super) fn effect(simulator: &Simulator, active: &InForce, effect: DiskEffect) -> Effect {
    let (count, what): (fn(&DiskCounters) -> u64, &str) = match effect {
        DiskEffect::SlowSync { .. } => (|disk| disk.syncs, "syncs ended"),
        DiskEffect::SyncError { .. } => (|disk| disk.sync_errors, "syncs failed"),
        DiskEffect::WriteError { .. } => (|disk| disk.write_errors, "writes failed"),
        DiskEffect::Full => (|disk| disk.full, "writes did not fit"),
        DiskEffect::BitRot { .. } => (|disk| disk.bits_flipped, "bits were flipped"),
        DiskEffect::LatentSector { .. } => (|disk| disk.read_errors, "reads failed"),
        DiskEffect::LyingSync { .. } => (|disk| disk.lying_syncs, "syncs lied"),
    };
    let sum: u64 = active
        .disks
        .iter()
        .map(|(node, before)| count(&simulator.disk_counters(*node)) - count(before))
        .sum();
    match sum {
        0 => Effect::NotYet(format!("no {what}")),
        times => Effect::Proved(format!("{times} {what}")),
    }
}

impl SimTarget {
    /// What a disk fault does at its start, beside changing how the disk behaves.
    pub(super) fn damage(&mut self, effect: DiskEffect, nodes: &[NodeId]) {
        if !may_end_a_node(effect) {
            return;
        }
        for &node in nodes {
            self.lives.excuse(node);
            let path = match effect {
                DiskEffect::BitRot { .. } => self.any_file(node),
                DiskEffect::LatentSector { .. } => Some(String::new()),
                _ => continue,
            };
            let Some(path) = path else {
                self.done(Effect::NotYet(format!("{node} has no file")));
                continue;
            };
            if !self
                .lives
                .crash(node, Crash::REBOOT, "its power was cut, and its disk is damaged")
            {
                self.done(Effect::NotYet(format!("{node} was down")));
                continue;
            }
            match effect {
                DiskEffect::BitRot { sectors } => self.simulator.rot(node, &path, u64::from(sectors)),
                DiskEffect::LatentSector { sectors } => self.simulator.break_sectors(node, &path, u64::from(sectors)),
                _ => 0,
            };
            self.lives.restart(node);
        }
    }

    /// A file of a node: a segment of the log, the last one as often as all others together, or its snapshot.
    fn any_file(&self, node: NodeId) -> Option<String> {
        let image = self.simulator.durable_image(node);
        let of = |end: &str| -> Vec<String> {
            let paths = image.paths().filter(|path| path.ends_with(end));
            paths.map(str::to_owned).collect()
        };
        let mut files = of(".wal");
        let last = files.pop();
        files.extend(of(".snap"));
        // The moment, to the nanosecond, is drawn already; it chooses without a draw of its own.
        let moment = self.simulator.now().subsec_nanos() as usize;
        let is_last = files.is_empty() || moment.is_multiple_of(2);
        last.filter(|_| is_last).or_else(|| {
            let place = (moment / 2).checked_rem(files.len())?;
            Some(files.swap_remove(place))
        })
    }

    /// The disk is whole again; a node that ended is started.
    pub(super) fn repair(&mut self, effect: DiskEffect, nodes: &[NodeId]) {
        if !may_end_a_node(effect) {
            return;
        }
        for &node in nodes {
            if let DiskEffect::BitRot { .. } | DiskEffect::LatentSector { .. } = effect {
                self.simulator.mend(node);
            }
            let fails = |active: &InForce| match active.fault {
                Fault::Disk { effect, .. } => may_end_a_node(effect) && active.nodes.contains(&node),
                _ => false,
            };
            if !self.in_force.iter().any(fails) {
                self.lives.pardon(node);
            }
        }
        if let DiskEffect::LyingSync { .. } = effect {
            self.replace_liars(nodes);
        }
        self.restart(nodes);
    }
}
