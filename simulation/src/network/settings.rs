//! How a link behaves.

use std::time::Duration;

use crate::draw::Delay;

/// How one direction between two places behaves. Each probability has a random stream of its own: switching one off
/// moves no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSettings {
    /// How long a message takes.
    pub delay: Delay,
    /// Probability that a message is lost. A message of an ordered stream is sent again instead, which takes
    /// a fifth of a second more.
    pub loss: f64,
    /// Probability that a call arrives twice. Only between nodes: a client's request that was doubled would be two
    /// requests, which no connection does. [`World::set_copied`](crate::World::set_copied) says which calls.
    pub duplication: f64,
    /// Probability that a call is overtaken by later ones. Otherwise they arrive in the order of sending.
    pub reordering: f64,
    /// The most that an overtaken call is late.
    pub reordering_max: Duration,
    /// How much passes in a second; none for no bound.
    pub bytes_per_second: Option<u64>,
}

impl Default for LinkSettings {
    /// A healthy local network.
    fn default() -> Self {
        Self {
            delay: Delay {
                min: Duration::from_micros(100),
                max: Duration::from_millis(2),
                tail_chance: 0.01,
                tail_max: Duration::from_millis(20),
            },
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            reordering_max: Duration::from_millis(50),
            bytes_per_second: None,
        }
    }
}

/// What a cut link does with what is sent over it. What is under way when it is cut does not arrive either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes and nobody says so: callers wait until they give up.
    Silent,
    /// New calls are refused at once, as by a firewall that rejects. Answers are lost.
    Refusing,
}

/// How often a link did each thing, for coverage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived, copies included.
    pub arrived: u64,
    /// Messages lost by chance, or sent again after a fifth of a second.
    pub lost: u64,
    /// Calls that got a copy.
    pub duplicated: u64,
    /// Calls that were late on purpose.
    pub reordered: u64,
    /// Messages that a cut stopped.
    pub cut: u64,
    /// Messages that were held.
    pub held: u64,
    /// Streams that a cut broke.
    pub streams_broken: u64,
}
