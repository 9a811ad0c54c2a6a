//! Draws from a random stream.
//!
//! Written out rather than taken from `rand`, whose ways of mapping bits to ranges may change with its version:
//! a seed must mean the same for as long as we say so.

use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// A number below `bound`; 0 if that is 0. Uniform up to a bias of `bound` in 2^64.
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    scale(rng.next_u64(), bound)
}

/// True with this probability; one draw, whatever the probability is.
pub(crate) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    // 53 bits, all that a float between 0 and 1 holds.
    let unit = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    unit < probability
}

fn scale(word: u64, bound: u64) -> u64 {
    // The product is below bound · 2^64, so its upper half is below the bound.
    ((u128::from(word) * u128::from(bound)) >> 64) as u64
}

/// How long something takes: uniform between `min` and `max`, and now and then, in the tail, up to `tail_max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    /// The shortest.
    pub min: Duration,
    /// The longest of the usual ones.
    pub max: Duration,
    /// Probability of an unusual one.
    pub tail_chance: f64,
    /// The longest of the unusual ones, which begin at `max`.
    pub tail_max: Duration,
}

impl Delay {
    /// Takes no time.
    pub const NONE: Self = Self::uniform(Duration::ZERO, Duration::ZERO);

    /// Without a tail.
    pub const fn uniform(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            tail_chance: 0.0,
            tail_max: max,
        }
    }

    /// Two draws, whatever the distribution is.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> u64 {
        let is_tail = chance(rng, self.tail_chance);
        let (from, to) = if is_tail {
            (self.max, self.tail_max)
        } else {
            (self.min, self.max)
        };
        let (from, to) = (nanos(from), nanos(to));
        from.saturating_add(below(rng, to.saturating_sub(from).saturating_add(1)))
    }
}

/// In nanoseconds; what does not fit lasts for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tribunal_env::{Purpose, Stream, seeded};

    use super::*;

    fn rng() -> ChaCha8Rng {
        let stream = Stream {
            purpose: Purpose::Test,
            a: 0,
            b: 0,
        };
        seeded(1, 0, stream)
    }

    #[test]
    fn draws_stay_in_their_bounds_and_reach_them() {
        let mut rng = rng();
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| below(&mut rng, 5)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(below(&mut rng, 0), 0);
        assert!(!(0..100).any(|_| chance(&mut rng, 0.0)));
        assert!((0..100).all(|_| chance(&mut rng, 1.0)));
    }

    #[test]
    fn a_delay_is_usual_or_in_its_tail() {
        let delay = Delay {
            min: Duration::from_millis(1),
            max: Duration::from_millis(2),
            tail_chance: 0.5,
            tail_max: Duration::from_millis(9),
        };
        let mut rng = rng();
        let drawn: Vec<u64> = (0..200).map(|_| delay.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|nanos| (1_000_000..=9_000_000).contains(nanos)));
        let tail = drawn.iter().filter(|nanos| **nanos > 2_000_000).count();
        assert!((50..150).contains(&tail), "{tail} of 200 in the tail");
        assert_eq!(Delay::NONE.draw(&mut rng), 0);
    }
}
