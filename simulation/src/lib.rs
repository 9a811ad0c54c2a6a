//! A deterministic world for openraft stores: one thread, one seed.
//!
//! A [`Simulation`] runs the code of a whole cluster on one thread in virtual time. Whatever could differ between two
//! runs is drawn from the seed: the order of tasks, delays, losses, what a crash leaves. So a failure that was seen
//! once is seen again with its seed, for ever, in a fraction of the time that it took.
//!
//! Code enters through the seams of `tribunal-env`: it is generic over `Env`, takes tasks, timers and channels from
//! [`SimRuntime`] and everything else from its [`SimEnv`], and uses no thread, no ambient clock and no randomness of its
//! own. A node is a program that the harness boots, crashes and restarts through the [`World`]:
//!
//! ```
//! use std::time::Duration;
//! use openraft_rt::AsyncRuntime;
//! use tribunal_history::NodeId;
//! use tribunal_simulation::{Crash, Settings, SimRuntime, Simulation};
//!
//! let mut simulation = Simulation::new(Settings { seed: 7, ..Settings::default() });
//! let world = simulation.world();
//! world.boot(NodeId(1), |env| async move {
//!     SimRuntime::sleep(Duration::from_secs(3600)).await;
//!     assert_eq!(env.incarnation(), 1, "only the second life gets so far");
//! });
//! simulation.run_for(Duration::from_secs(60)).expect("time passes");
//! world.crash(NodeId(1), Crash::MACHINE);
//! world.restart(NodeId(1));
//! let ended = world.ended(NodeId(1));
//! simulation.run_until(Duration::from_secs(7200), ended).expect("an hour passes in no time");
//! assert_eq!(world.findings().1, 0);
//! ```
//!
//! A panic of a task is a [`Finding`], not the end of the run.
//!
//! # To put a store in
//!
//! 1. Configure openraft with `AsyncRuntime = SimRuntime`, or be generic over `Env` and take its `Runtime`.
//! 2. Read and write through the `Disk` of the [`SimEnv`], reach other nodes through its `Transport`, and answer them
//!    from [`SimEnv::serve`]. Members are found by their ids, see [`World::add_member`].
//! 3. [`World::boot`] each node with a function from its `SimEnv` to the future that is its process.
//! 4. Let clients ([`World::client`]) call as nodes do, and make trouble: [`World::crash`], [`World::cut`],
//!    [`World::pause`], [`World::set_disk`], [`World::set_drift`] and their like.
//! 5. [`Simulation::run_until`] something is true, and compare [`Simulation::digest`]s if you doubt that it was the
//!    same run.
//!
//! `examples/toy.rs` does all of this in under a hundred lines.
//!
//! # What a seed cannot reach
//!
//! Code that runs here must not draw from anything but its streams. Known poison, and what to use instead: tokio's
//! `spawn`, `time`, `net`, `fs`, `select!` and `sync::watch` (the runtime's own), `futures::select!` (`select_biased!`),
//! iteration over `HashMap` (`BTreeMap`), `Instant::now` and `SystemTime::now` (the clock), threads, `spawn_blocking`
//! and rayon (tasks), and any `Drop` that writes or sends (a crash runs none; here it is a finding). Locks are fine.
//! A task woken by a foreign thread panics that thread. Do not run a simulation inside a tokio runtime, whose budget
//! for tasks tokio's channels would obey.
//!
//! # What is approximated
//!
//! Computing takes no time: between two awaits the clock stands still. Reads and writes of a disk take none either
//! unless [`DiskSettings`] says so. A call is its own connection. Folders are durable when they are created.

mod buggify;
mod clock;
mod crash;
mod disk;
mod draw;
mod env;
mod evidence;
mod executor;
mod network;
mod place;
mod runtime;
mod simulation;
mod world;

pub use buggify::{Buggify, SELDOM};
pub use clock::{DRIFT_PPM_MAX, SimClock};
pub use crash::Crash;
pub use disk::{Changed, DiskCounters, DiskImage, DiskSettings, Durable, SimDisk, SimFile, Unsynced};
pub use draw::Delay;
pub use env::SimEnv;
pub use evidence::Recorded;
pub use executor::timer::SimSleep;
pub use executor::{Finding, FindingKind, Limits, Stopped, trace};
pub use network::{Cut, LinkCounters, LinkSettings, SimStream, SimTransport};
pub use place::Place;
pub use runtime::{
    Elapsed, JoinError, JoinHandle, SimInstant, SimRuntime, SimWatch, SimWatchReceiver, SimWatchSender, Timeout,
    yield_now,
};
pub use simulation::{Settings, Simulation};
pub use world::World;
