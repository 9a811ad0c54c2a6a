//! What made the revisions that nobody acknowledged, by trying everything at every gap.
//!
//! Depth-first over the gaps in their order. What stands between two gaps is forced and replayed at once, so a wrong choice
//! is found at the first answer that shows it. A gap with the same state and the same operations used is tried once.

use std::collections::HashSet;

use super::Frame;
use crate::generate::Draw;
use crate::spec::Spec;
use crate::spec::etcd_kv::EtcdKv;

/// What the search found.
pub enum Outcome {
    /// What fills each gap.
    Found(Vec<u32>),
    /// No choice leads to the end.
    Nothing {
        /// The answer that no choice could explain, the furthest of them; none if a gap could not be filled at all.
        entry: Option<u32>,
        /// The furthest gap.
        revision: u64,
    },
    /// It took too long.
    TooHard {
        /// Steps spent.
        steps: u64,
        /// The furthest gap.
        revision: u64,
    },
}

/// One gap on the path.
struct Level {
    /// Before the gap.
    state: EtcdKv,
    /// What is tried next: 0 is what was planned, `n + 1` the `n`-th filler.
    next: usize,
    chosen: Option<u32>,
}

/// Tries everything, what was planned first.
pub fn search(frame: &Frame<'_>, planned: &[Option<u32>], steps_max: u64) -> Outcome {
    let mut steps = 0;
    let mut state = EtcdKv::default();
    let first = frame.gaps.first().map_or(frame.placed.len(), |gap| gap.at);
    if let Err(at) = replay(frame, &mut state, 0, first) {
        return Outcome::Nothing {
            entry: Some(frame.placed[at].entry),
            revision: frame.placed[at].revision,
        };
    }
    let mut used = vec![false; frame.entries.len()];
    let mut used_fingerprint = 0u128;
    let mut seen: HashSet<(usize, u128)> = HashSet::new();
    let mut path = vec![Level {
        state,
        next: 0,
        chosen: None,
    }];
    // The furthest answer that did not fit, and the furthest gap.
    let (mut furthest, mut deepest) = (None, 0);
    loop {
        let depth = path.len() - 1;
        if depth == frame.gaps.len() {
            return Outcome::Found(path.iter().filter_map(|level| level.chosen).collect());
        }
        deepest = deepest.max(depth);
        let gap = &frame.gaps[depth];
        let level = &mut path[depth];
        if let Some(chosen) = level.chosen.take() {
            used[chosen as usize] = false;
            used_fingerprint ^= number(chosen);
        }
        let filler = match level.next {
            0 => planned[depth],
            next => frame.fillers.get(next - 1).copied(),
        };
        if level.next > frame.fillers.len() {
            path.pop();
            if path.is_empty() {
                return Outcome::Nothing {
                    entry: furthest.map(|at: usize| frame.placed[at].entry),
                    revision: frame.gaps[deepest].revision,
                };
            }
            continue;
        }
        level.next += 1;
        let Some(filler) = filler.filter(|&filler| !used[filler as usize] && frame.is_in_time(filler, gap)) else {
            continue;
        };
        steps += 8;
        if steps > steps_max {
            return Outcome::TooHard {
                steps,
                revision: frame.gaps[deepest].revision,
            };
        }
        let mut state = level.state.clone();
        state.invoke(&frame.entries[filler as usize].op);
        if state.revision() != gap.revision {
            continue;
        }
        let until = frame.gaps.get(depth + 1).map_or(frame.placed.len(), |gap| gap.at);
        steps += (until - gap.at) as u64;
        if let Err(at) = replay(frame, &mut state, gap.at, until) {
            furthest = furthest.max(Some(at));
            continue;
        }
        let fingerprint = used_fingerprint ^ number(filler);
        // The state tells what led to it but for who is left to fill what follows.
        if depth + 1 < frame.gaps.len() && !seen.insert((depth, fingerprint ^ state.fingerprint())) {
            continue;
        }
        level.chosen = Some(filler);
        used[filler as usize] = true;
        used_fingerprint = fingerprint;
        path.push(Level {
            state,
            next: 0,
            chosen: None,
        });
    }
}

/// Does what is forced; the place of what is not legal.
fn replay(frame: &Frame<'_>, state: &mut EtcdKv, from: usize, until: usize) -> Result<(), usize> {
    for (at, placed) in frame.placed[from..until].iter().enumerate() {
        if !frame.entries[placed.entry as usize].step(state) {
            return Err(from + at);
        }
    }
    Ok(())
}

/// The 128-bit number of an entry.
fn number(entry: u32) -> u128 {
    let mut draw = Draw::new(u64::from(entry) << 1 | 1);
    u128::from(draw.bits()) << 64 | u128::from(draw.bits())
}
