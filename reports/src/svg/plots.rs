//! The plots of the whole run: what did not end ok, latency, rate.

use std::collections::{BTreeMap, BTreeSet};

use tribunal_history::{Ending, Operation};

use super::scale::nice_step;
use super::strip::{DOTS_MAX, Drawing, LATENCY, LEFT, OUTCOME_ROW, RATE, RIGHT};
use crate::words;

/// Side of a cell.
const CELL: f64 = 2.0;

/// Points of the lines of the rate, at most.
const BUCKETS_MAX: u64 = 120;

impl Drawing {
    /// What did not end ok, a mark each.
    pub(super) fn outcomes(&mut self, operations: &[Operation], top: f64) {
        for (row, (ending, name, class)) in [
            (Ending::Info, "indeterminate", "mark info"),
            (Ending::Fail, "failed", "mark fail"),
        ]
        .into_iter()
        .enumerate()
        {
            let y = top + OUTCOME_ROW * row as f64;
            self.picture.text("tick end", [LEFT - 8.0, y + 10.5], name);
            self.picture
                .line("lane", [LEFT, y + OUTCOME_ROW - 1.5], [RIGHT, y + OUTCOME_ROW - 1.5]);
            // One mark for all that fall on the same half unit.
            let places: BTreeSet<u32> = operations
                .iter()
                .filter(|operation| operation.ending == ending)
                .map(|operation| (self.axis.x(operation.invoked_ns) * 2.0).round() as u32)
                .collect();
            let path: String = places
                .into_iter()
                .map(|place| {
                    format!(
                        "M{} {}v9",
                        super::number(f64::from(place) / 2.0),
                        super::number(y + 2.0)
                    )
                })
                .collect();
            if !path.is_empty() {
                self.picture.path(class, &path);
            }
        }
    }

    /// Latency of ok operations over the time of their invocation, in powers of ten.
    pub(super) fn latencies(&mut self, operations: &[Operation], top: f64) {
        let points: Vec<(u64, u64)> = operations
            .iter()
            .filter(|operation| operation.ending == Ending::Ok)
            .filter_map(|operation| {
                let took = operation.completed_ns?.saturating_sub(operation.invoked_ns);
                Some((operation.invoked_ns, took.max(1)))
            })
            .collect();
        self.picture.text("name", [8.0, top + LATENCY / 2.0 + 4.0], "latency");
        let low = points.iter().map(|point| point.1).min().unwrap_or(1_000_000).ilog10();
        let high = (points.iter().map(|point| point.1).max().unwrap_or(9_000_000).ilog10() + 1).max(low + 1);
        let decades = f64::from(high - low);
        let y = |ns: u64| top + LATENCY * (1.0 - ((ns as f64).log10() - f64::from(low)) / decades).clamp(0.0, 1.0);
        for decade in low..=high {
            let ns = 10_u64.saturating_pow(decade);
            self.picture.line("lane", [LEFT, y(ns)], [RIGHT, y(ns)]);
            self.picture
                .text("tick end", [LEFT - 8.0, y(ns) + 4.0], &words::duration(ns));
        }
        let places = points.iter().map(|(at_ns, took_ns)| [self.axis.x(*at_ns), y(*took_ns)]);
        if points.len() <= DOTS_MAX {
            // Several layers, so that dots that fall together look darker.
            let mut layers: [Vec<[f64; 2]>; 4] = Default::default();
            for (place, point) in places.enumerate() {
                layers[place % 4].push(point);
            }
            for layer in layers {
                self.picture.dots("dot", layer);
            }
        } else {
            let mut cells: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            for [x, y] in places {
                *cells.entry(((x / CELL) as u32, (y / CELL) as u32)).or_default() += 1;
            }
            for (class, from, to) in [("cell few", 1, 2), ("cell some", 3, 8), ("cell many", 9, u32::MAX)] {
                let path: String = cells
                    .iter()
                    .filter(|(_, number)| (from..=to).contains(*number))
                    .map(|((x, y), _)| {
                        let [x, y] = [x, y].map(|place| super::number(f64::from(*place) * CELL));
                        format!("M{x} {y}h{CELL}")
                    })
                    .collect();
                if !path.is_empty() {
                    self.picture.path(class, &path);
                }
            }
        }
    }

    /// Completions a second, by ending.
    pub(super) fn rates(&mut self, operations: &[Operation], top: f64) {
        self.picture.text("name", [8.0, top + RATE / 2.0 + 4.0], "ops/s");
        let bucket_ns = nice_step((self.end_ns / BUCKETS_MAX).max(1));
        let buckets = (self.end_ns / bucket_ns + 1) as usize;
        let mut counts: BTreeMap<Ending, Vec<u64>> = BTreeMap::new();
        for operation in operations {
            let at_ns = operation.completed_ns.unwrap_or(operation.invoked_ns).min(self.end_ns);
            let counts = counts.entry(operation.ending).or_insert_with(|| vec![0; buckets]);
            counts[(at_ns / bucket_ns) as usize] += 1;
        }
        // The last bucket is cut off by the end of the run, and so is its share of a second.
        let length_ns = |bucket: usize| (self.end_ns - bucket as u64 * bucket_ns).clamp(bucket_ns / 2 + 1, bucket_ns);
        let rate = |bucket: usize, count: u64| count as f64 * 1e9 / length_ns(bucket) as f64;
        let most = counts
            .values()
            .flat_map(|counts| counts.iter().enumerate().map(|(bucket, count)| rate(bucket, *count)))
            .fold(1.0, f64::max);
        let most = nice_top(most);
        let y = |rate: f64| top + RATE * (1.0 - rate / most);
        for (rate, text) in [(0.0, "0".to_owned()), (most, words::count(most as u64))] {
            self.picture.line("lane", [LEFT, y(rate)], [RIGHT, y(rate)]);
            self.picture.text("tick end", [LEFT - 8.0, y(rate) + 4.0], &text);
        }
        for (ending, class) in [
            (Ending::Fail, "rate fail"),
            (Ending::Info, "rate info"),
            (Ending::Ok, "rate ok"),
        ] {
            let Some(counts) = counts.get(&ending) else { continue };
            let points: Vec<[f64; 2]> = counts
                .iter()
                .enumerate()
                .map(|(bucket, count)| {
                    let middle_ns = (bucket as u64 * bucket_ns).saturating_add(length_ns(bucket) / 2);
                    [self.axis.x(middle_ns), y(rate(bucket, *count))]
                })
                .collect();
            self.picture.polyline(class, points);
        }
    }
}

/// A round number at least as large, for the top of an axis.
fn nice_top(most: f64) -> f64 {
    let power = 10_f64.powf(most.max(1.0).log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let factor = steps.into_iter().find(|step| step * power >= most).unwrap_or(10.0);
    (factor * power).ceil()
}
