//! The seams between code and world.
//!
//! Store, workload and nemesis are generic over [`Env`] and touch the world only through it: tasks, time and
//! channels ([`Env::Runtime`]), the clock, the disk, the network, randomness. One implementation is real
//! (`store/src/real/`), another is simulated; the code between them is the same. There are only traits here, and
//! the types in their signatures.
//!
//! No `Drop` of code behind these seams may write or send: a crash runs none.

pub mod clock;
pub mod disk;
pub mod stream;
pub mod transport;

use std::future::Future;
use std::io;

use rand_chacha::ChaCha8Rng;
use tribunal_history::Evidence;

pub use clock::Clock;
pub use disk::{Disk, DiskFile, OpenMode};
pub use openraft_rt::AsyncRuntime;
pub use stream::{Purpose, Stream, seeded};
pub use transport::{CallError, Method, PeerStream, Transport};

/// A world for one node (or one client, or the nemesis).
pub trait Env: Clone + Send + Sync + 'static {
    /// Spawns, sleeps, and all channels.
    type Runtime: AsyncRuntime;
    /// Files.
    type Disk: Disk;
    /// The other nodes.
    type Transport: Transport;
    /// Time.
    type Clock: Clock;

    /// This node's disk.
    fn disk(&self) -> &Self::Disk;

    /// This node's way to the others.
    fn transport(&self) -> &Self::Transport;

    /// This node's clock.
    fn clock(&self) -> &Self::Clock;

    /// A stream of random numbers that depends on the seed, the incarnation and the label, and on nothing that
    /// was drawn elsewhere: removing one draw moves no other.
    fn rng(&self, stream: Stream) -> ChaCha8Rng;

    /// Whether the named fault point acts this time; always false outside simulation.
    fn buggify(&self, point: &'static str) -> bool;

    /// Adds an event to this node's evidence; buffered.
    fn record(&self, evidence: Evidence);

    /// Waits until what was recorded so far is handed to the system (`write(2)`, which a killed process has
    /// behind it). A reply that rests on evidence awaits this.
    fn settle(&self) -> impl Future<Output = io::Result<()>> + Send;
}
