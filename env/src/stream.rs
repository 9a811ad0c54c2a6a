//! Labelled streams of random numbers.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

/// What a stream of random numbers is for. Streams with different labels do not influence each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The use.
    pub purpose: Purpose,
    /// First number of the label: a node, a client.
    pub a: u64,
    /// Second number of the label: a link's other end, a counter.
    pub b: u64,
}

/// Uses of randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Timers of elections.
    Election = 1,
    /// What clients ask.
    Workload = 2,
    /// When clients ask.
    Pace = 3,
    /// Which faults come when.
    Nemesis = 4,
    /// Addresses and ports.
    Addresses = 5,
    /// Delays and losses on links.
    Network = 6,
    /// What a crash leaves on a disk.
    Disk = 7,
    /// The order of tasks.
    Scheduling = 8,
    /// Named fault points.
    Buggify = 9,
    /// Identifiers.
    Identity = 10,
    /// How a run is set up.
    Weather = 11,
    /// Anything in a test.
    Test = 255,
}

/// The stream of `seed` and `incarnation` with this label.
pub fn seeded(seed: u64, incarnation: u32, stream: Stream) -> ChaCha8Rng {
    let mut label = [0_u8; 29];
    label[..8].copy_from_slice(&seed.to_le_bytes());
    label[8..12].copy_from_slice(&incarnation.to_le_bytes());
    label[12] = stream.purpose as u8;
    label[13..21].copy_from_slice(&stream.a.to_le_bytes());
    label[21..].copy_from_slice(&stream.b.to_le_bytes());
    ChaCha8Rng::seed_from_u64(xxh3_64(&label))
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;

    #[test]
    fn streams_are_fixed_by_their_labels() {
        let draw = |seed, incarnation, purpose, a| seeded(seed, incarnation, Stream { purpose, a, b: 0 }).next_u64();
        let first = draw(1, 0, Purpose::Test, 0);
        assert_eq!(first, draw(1, 0, Purpose::Test, 0));
        for other in [
            draw(2, 0, Purpose::Test, 0),
            draw(1, 1, Purpose::Test, 0),
            draw(1, 0, Purpose::Workload, 0),
            draw(1, 0, Purpose::Test, 1),
        ] {
            assert_ne!(first, other);
        }
    }
}
