//! One life's view of the simulated world.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use tribunal_env::{Stream, seeded};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::executor::Kernel;
use crate::place::{Owner, Place};

/// The world of one place in one of its lives; clones share it.
#[derive(Clone)]
pub struct SimEnv {
    kernel: Arc<Kernel>,
    owner: Owner,
    clock: SimClock,
    disk: SimDisk,
}

impl SimEnv {
    pub(crate) fn new(kernel: &Arc<Kernel>, owner: Owner) -> Self {
        Self {
            kernel: Arc::clone(kernel),
            owner,
            clock: SimClock {
                kernel: Arc::clone(kernel),
                place: owner.place,
            },
            disk: SimDisk {
                kernel: Arc::clone(kernel),
                owner,
            },
        }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.owner.place
    }

    /// How many lives the place had before.
    pub fn incarnation(&self) -> u32 {
        self.owner.incarnation
    }

    /// The place's clock.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// The place's disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// A stream that depends on the seed, the place, the incarnation and the label.
    pub fn rng(&self, stream: Stream) -> ChaCha8Rng {
        let mut label = [0; 16];
        label[..8].copy_from_slice(&self.kernel.seed.to_le_bytes());
        label[8..].copy_from_slice(&self.owner.place.number().to_le_bytes());
        seeded(xxh3_64(&label), self.owner.incarnation, stream)
    }

    /// Whether the named point acts this time. Where the place was told to crash at this point, this never returns.
    pub fn buggify(&self, point: &'static str) -> bool {
        self.kernel.buggify(self.owner, point)
    }
}
