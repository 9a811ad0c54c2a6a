//! How often rare things happened in a run: what a sweep that found nothing has at least tried.

use std::collections::BTreeMap;

use tribunal_history::NodeId;
use tribunal_simulation::{Place, World as Simulator};
use tribunal_store::points;

/// What was counted, by name; what never happened is there with 0.
pub(super) fn counters(simulator: &Simulator, nodes: &[NodeId], elections: u64) -> BTreeMap<String, u64> {
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: &str, count: u64| *counters.entry(name.to_owned()).or_default() += count;
    add("elections", elections);
    for &from in nodes {
        for &to in nodes.iter().filter(|to| **to != from) {
            let link = simulator.link_counters(Place::Node(from), Place::Node(to));
            add("messages-lost", link.lost);
            add("messages-duplicated", link.duplicated);
            add("messages-reordered", link.reordered);
            add("messages-cut", link.cut);
        }
        let disk = simulator.disk_counters(from);
        add("crashes-with-unsynced-writes", disk.crashes_with_unsynced);
        add("syncs-failed", disk.sync_errors);
        add("writes-failed", disk.write_errors);
        add("writes-that-did-not-fit", disk.full);
        add("reads-failed", disk.read_errors);
        add("bits-flipped", disk.bits_flipped);
        add("syncs-that-lied", disk.lying_syncs);
        add("torn-writes", disk.torn_writes);
        add("names-lost", disk.names_lost);
    }
    add("points-acted", simulator.buggified().values().sum());
    // What follows is counted where it happens; here it is named, so that a sweep can say that it never happened.
    for name in ["members-added", "members-promoted", "members-removed", "liars-replaced"] {
        add(name, 0);
    }
    for point in points::ALL {
        add(&format!("crashes-at-{}", point.name), 0);
    }
    counters
}
