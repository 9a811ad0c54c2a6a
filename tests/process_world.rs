//! The process world at its boundary: links, children, and a cluster of real etcd.
//!
//! Nothing here waits for a time to pass in the hope that something has happened by then: each wait is for an
//! event, with a bound that only a broken machine reaches.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests are about real processes and real time"
)]

#[path = "process_world/children.rs"]
mod children;
#[path = "process_world/cluster.rs"]
mod cluster;
#[path = "process_world/links.rs"]
mod links;
#[path = "process_world/members.rs"]
mod members;

use std::time::{Duration, Instant};

/// Far more than anything here takes on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tribunal's binary, which is the trampoline.
fn tribunal() -> std::path::PathBuf {
    env!("CARGO_BIN_EXE_tribunal").into()
}
