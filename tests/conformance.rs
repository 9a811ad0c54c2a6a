//! One suite for every world: what code behind `tribunal-env` may rely on holds on real disks, links and clocks, and
//! in simulation.
//!
//! What only one of them does (a cut link, a lying sync) is no part of it; nor is how long anything takes. Each
//! wait is for an event, with a bound that only a broken machine reaches. The runtime has a suite of its own, openraft's,
//! which both runtimes pass where they are made.

#![expect(
    clippy::disallowed_methods,
    reason = "one of the worlds is the real one, with real sockets and real time"
)]

#[path = "conformance/clock.rs"]
mod clock;
#[path = "conformance/disk.rs"]
mod disk;
#[path = "conformance/other.rs"]
mod other;
#[path = "conformance/real.rs"]
mod real;
#[path = "conformance/simulated.rs"]
mod simulated;
#[path = "conformance/transport.rs"]
mod transport;
#[path = "conformance/world.rs"]
mod world;

/// Runs each case in each of these worlds, as a test of its own: `disk::simulated::a_case`.
macro_rules! in_every_world {
    ($($world:ident: $type:ty),+ => $cases:tt) => {
        $(mod $world { $crate::in_every_world! { @tests $type, $cases } })+
    };
    (@tests $type:ty, [$($case:ident),+ $(,)?]) => {
        $(#[test] fn $case() { super::$case::<$type>(); })+
    };
}
use in_every_world;
