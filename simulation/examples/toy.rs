//! Puts a toy openraft store into the simulator: three nodes, five clients, bad links, drifting clocks,
//! power cuts, stopped nodes.
//!
//! `cargo run --release -p tribunal-simulation --example toy -- SEED [SECONDS] [ack-before-sync]` prints one line, which
//! is the same for the same arguments, for ever. The last word plants a bug: followers and leader acknowledge entries
//! before they are synced, and some seeds lose what clients were told is safe.
//!
//! The store is in `toy/store.rs` and `toy/log.rs`. To put your own in: run it on `SimRuntime`, give it its `SimEnv`'s
//! disk, clock and transport, and let it `serve`.

#[path = "toy/load.rs"]
pub mod load;
#[path = "toy/store.rs"]
pub mod store;

use std::collections::BTreeSet;
use std::time::Duration;

use tribunal_history::{MemberId, NodeId};
use tribunal_simulation::{Place, Settings, Simulation, trace::Digest};

/// The nodes.
pub const NODES: [u16; 3] = [1, 2, 3];

/// What came of a run.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// How many writes were acknowledged.
    pub acknowledged: usize,
    /// The keys of those that are gone.
    pub lost: Vec<String>,
    /// How often the simulator found the code to be wrong.
    pub findings: u64,
    /// Hash of everything that happened.
    pub digest: Digest,
    /// Everything that happened, if it is kept.
    pub trace: Option<Vec<u8>>,
}

/// Runs the cluster for so many seconds under faults, then heals it and looks for what was acknowledged.
pub fn run(seed: u64, seconds: u64, acks_before_sync: bool, keep_trace: bool) -> Outcome {
    let mut simulation = Simulation::new(Settings {
        seed,
        keep_trace,
        ..Settings::default()
    });
    let world = simulation.world();
    for node in NODES {
        world.add_member(MemberId(node.into()), NodeId(node));
        let members: Vec<u64> = NODES.map(u64::from).to_vec();
        world.boot(NodeId(node), move |env| {
            store::run(env, node.into(), members.clone(), acks_before_sync)
        });
    }
    let end = Duration::from_secs(seconds);
    let clients: Vec<_> = (0..5)
        .map(|client| world.spawn(Place::Harness, load::write(world.clone(), client, end)))
        .collect();
    drop(world.spawn(Place::Harness, load::trouble(world.clone(), end)));
    let last = Duration::from_secs(60);
    let (acknowledged, map) = simulation
        .run_until(end + last, async {
            let mut acknowledged = BTreeSet::new();
            for client in clients {
                acknowledged.extend(client.await.expect("a client does not panic"));
            }
            world.sleep(Duration::from_secs(2)).await;
            (acknowledged, load::read(&world).await)
        })
        .expect("a healed cluster answers");
    let lost = acknowledged
        .iter()
        .filter(|key| !map.contains_key(*key))
        .cloned()
        .collect();
    let (acknowledged, findings) = (acknowledged.len(), world.findings().1);
    Outcome {
        acknowledged,
        lost,
        findings,
        digest: simulation.digest(),
        trace: simulation.trace(),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, otherwise| words.get(place).and_then(|word| word.parse().ok()).unwrap_or(otherwise);
    let outcome = run(
        number(0, 1),
        number(1, 10),
        words.iter().any(|word| word == "ack-before-sync"),
        false,
    );
    println!(
        "{} acknowledged, lost {:?}, {} findings, {}",
        outcome.acknowledged, outcome.lost, outcome.findings, outcome.digest
    );
}
