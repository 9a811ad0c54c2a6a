//! Named points in the code under simulation where something rare may be made common.
//!
//! In each run some points are switched on, and those act now and then, as in FoundationDB. One that is passed seldom
//! acts much more often than one that is passed all the time: its moment would otherwise hardly ever be a long one. Each
//! node and point has a stream of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tribunal_env::{Purpose, Stream, seeded};
use xxhash_rust::xxh3::xxh3_64;

use crate::draw::{chance, nanos};
use crate::executor::{Kernel, lock};
use crate::place::{Owner, Place};

/// How often named points act.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buggify {
    /// Probability that a point is switched on in this run, on all nodes alike.
    pub enabled: f64,
    /// Probability that a point which is on acts when it is passed.
    pub acts: f64,
    /// The same for a point that the node has not passed for [`SELDOM`], if it is higher.
    pub acts_seldom: f64,
}

/// A point that was not passed for so long is a rare one.
pub const SELDOM: Duration = Duration::from_millis(100);

impl Buggify {
    /// No point acts.
    pub const OFF: Self = Self {
        enabled: 0.0,
        acts: 0.0,
        acts_seldom: 0.0,
    };
}

/// The points of a run.
pub(crate) struct Points {
    settings: Buggify,
    /// Which points are switched on, as far as it was asked.
    enabled: BTreeMap<&'static str, bool>,
    streams: BTreeMap<(Place, &'static str), Passed>,
    acted: BTreeMap<&'static str, u64>,
}

/// A point of a node.
struct Passed {
    stream: ChaCha8Rng,
    /// When it was passed last, in nanoseconds; none before the first time.
    last: Option<u64>,
}

impl Default for Points {
    fn default() -> Self {
        Self {
            settings: Buggify::OFF,
            enabled: BTreeMap::new(),
            streams: BTreeMap::new(),
            acted: BTreeMap::new(),
        }
    }
}

impl Points {
    /// Lets points act so often from now on.
    pub(crate) fn set(&mut self, settings: Buggify) {
        self.settings = settings;
        self.enabled.clear();
    }

    /// How often each point has acted; points that never did are left out.
    pub(crate) fn acted(&self) -> &BTreeMap<&'static str, u64> {
        &self.acted
    }
}

impl Kernel {
    /// Whether the point acts this time. If the place is to crash here, this does not return.
    pub(crate) fn buggify(&self, owner: Owner, point: &'static str) -> bool {
        self.pass(owner, point);
        let now = self.now();
        let mut points = lock(&self.points);
        if points.settings == Buggify::OFF {
            return false;
        }
        let label = |place: u64| Stream {
            purpose: Purpose::Buggify,
            a: place,
            b: xxh3_64(point.as_bytes()),
        };
        let Buggify {
            enabled,
            acts,
            acts_seldom,
        } = points.settings;
        // The harness's number is 0: its stream decides for all nodes.
        let decide = || chance(&mut seeded(self.seed, 0, label(0)), enabled);
        if !*points.enabled.entry(point).or_insert_with(decide) {
            return false;
        }
        let passed = points.streams.entry((owner.place, point)).or_insert_with(|| Passed {
            stream: seeded(self.seed, 0, label(owner.place.number())),
            last: None,
        });
        let before = passed.last.replace(now);
        let is_rare = before.is_none_or(|before| now.saturating_sub(before) >= nanos(SELDOM));
        let probability = if is_rare { acts.max(acts_seldom) } else { acts };
        let is_acting = chance(&mut passed.stream, probability);
        if is_acting {
            *points.acted.entry(point).or_default() += 1;
        }
        is_acting
    }
}
