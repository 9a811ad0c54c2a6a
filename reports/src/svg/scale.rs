//! Where a moment stands on a time axis.
//!
//! [`Linear`] is the axis of a whole run. [`Broken`] is the axis of a counterexample: one scale throughout, but
//! spans in which nothing happens, or nothing but waiting, are cut out and shown as gaps of fixed width. Three
//! operations of some milliseconds that lie seconds apart could not be seen otherwise.

/// An axis with one scale.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    from_ns: u64,
    to_ns: u64,
    left: f64,
    right: f64,
}

impl Linear {
    /// From 0 at `left` to `to_ns` at `right`.
    pub fn new(to_ns: u64, left: f64, right: f64) -> Self {
        Self {
            from_ns: 0,
            to_ns: to_ns.max(1),
            left,
            right,
        }
    }

    /// Where a moment stands; what is outside stands at the edge.
    pub fn x(&self, ns: u64) -> f64 {
        let part = (ns.clamp(self.from_ns, self.to_ns) - self.from_ns) as f64 / (self.to_ns - self.from_ns) as f64;
        self.left + part * (self.right - self.left)
    }
}

/// The smallest step of the form 1, 2 or 5 times a power of ten that is at least `min`.
pub fn nice_step(min: u64) -> u64 {
    let mut power: u64 = 1;
    loop {
        for step in [1, 2, 5] {
            let step = power.saturating_mul(step);
            if step >= min {
                return step;
            }
        }
        match power.checked_mul(10) {
            Some(more) => power = more,
            None => return u64::MAX,
        }
    }
}

/// A stretch of a broken axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Begins at this moment.
    pub from_ns: u64,
    /// Ends at this moment.
    pub to_ns: u64,
    /// Begins at this place.
    pub left: f64,
    /// Ends at this place.
    pub right: f64,
    /// Whether it is not to scale.
    pub gap: bool,
}

/// An axis with one scale and gaps.
#[derive(Clone, Debug)]
pub struct Broken {
    segments: Vec<Segment>,
    units_per_ns: f64,
}

/// A span in which no operation runs becomes a gap if it is longer than so many times a short operation.
const IDLE_MAX: u64 = 8;

/// A span in which operations only wait, none beginning or ending, becomes a gap if it is longer than so many
/// times a short operation.
const WAIT_MAX: u64 = 40;

/// How wide a gap is, if there is room: wide enough for its length in words.
const GAP_WIDTH: f64 = 78.0;

impl Broken {
    /// An axis from `left` to `right` that shows all these intervals; one without an end has none that is known.
    pub fn new(intervals: &[(u64, Option<u64>)], left: f64, right: f64) -> Self {
        assert!(right > left, "an axis from {left} to {right}");
        let mut points: Vec<u64> = intervals
            .iter()
            .flat_map(|(from, to)| [Some(*from), *to])
            .flatten()
            .collect();
        points.sort_unstable();
        points.dedup();
        let from = points.first().copied().unwrap_or(0);
        if points.len() < 2 {
            // A single moment, or nothing at all: a window of a millisecond around it.
            points = vec![
                from.saturating_sub(500_000),
                from.saturating_sub(500_000).saturating_add(1_000_000),
            ];
        }
        let short = short_operation(intervals, &points);
        let spans: Vec<(u64, u64, bool)> = points
            .windows(2)
            .map(|pair| {
                let covered = intervals
                    .iter()
                    .any(|(from, to)| *from <= pair[0] && to.is_some_and(|to| to >= pair[1]));
                let most = short.saturating_mul(if covered { WAIT_MAX } else { IDLE_MAX });
                (pair[0], pair[1], pair[1] - pair[0] > most)
            })
            .collect();
        let shown: u64 = spans.iter().filter(|span| !span.2).map(|span| span.1 - span.0).sum();
        let gaps = spans.iter().filter(|span| span.2 && shown > 0).count() as f64;
        let gap_width = if gaps > 0.0 {
            GAP_WIDTH.min((right - left) * 0.5 / gaps)
        } else {
            0.0
        };
        let shown = if shown > 0 {
            shown
        } else {
            points[points.len() - 1] - from
        };
        let units_per_ns = (right - left - gaps * gap_width) / shown as f64;
        let mut segments: Vec<Segment> = Vec::new();
        let mut x = left;
        for (from_ns, to_ns, gap) in spans {
            let gap = gap && gaps > 0.0;
            let width = if gap {
                gap_width
            } else {
                (to_ns - from_ns) as f64 * units_per_ns
            };
            match segments.last_mut() {
                Some(last) if !last.gap && !gap => {
                    last.to_ns = to_ns;
                    last.right = x + width;
                }
                _ => segments.push(Segment {
                    from_ns,
                    to_ns,
                    left: x,
                    right: x + width,
                    gap,
                }),
            }
            x += width;
        }
        Self { segments, units_per_ns }
    }

    /// Where a moment stands; what is outside stands at the edge.
    pub fn x(&self, ns: u64) -> f64 {
        let at = self.segments.partition_point(|segment| segment.to_ns < ns);
        let Some(segment) = self.segments.get(at) else {
            return self.segments[self.segments.len() - 1].right;
        };
        let part = ns.saturating_sub(segment.from_ns) as f64 / (segment.to_ns - segment.from_ns) as f64;
        segment.left + part * (segment.right - segment.left)
    }

    /// Its stretches, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The first moment on it.
    pub fn first_ns(&self) -> u64 {
        self.segments[0].from_ns
    }

    /// The last moment on it.
    pub fn last_ns(&self) -> u64 {
        self.segments[self.segments.len() - 1].to_ns
    }

    /// How wide a nanosecond is, outside of gaps.
    pub fn units_per_ns(&self) -> f64 {
        self.units_per_ns
    }
}

/// How long a short operation takes: the lower quartile of those that ended. It decides what can still be seen.
fn short_operation(intervals: &[(u64, Option<u64>)], points: &[u64]) -> u64 {
    let mut lengths: Vec<u64> = intervals
        .iter()
        .filter_map(|(from, to)| to.map(|to| to.saturating_sub(*from)))
        .filter(|length| *length > 0)
        .collect();
    lengths.sort_unstable();
    match lengths.get(lengths.len().saturating_sub(1) / 4) {
        Some(length) => *length,
        // Nothing ended: whatever lies between two of them on average.
        None => ((points[points.len() - 1] - points[0]) / points.len() as u64).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn operations_close_together_need_no_gap() {
        let axis = Broken::new(
            &[(0, Some(2 * MS)), (MS, Some(3 * MS)), (5 * MS, Some(8 * MS))],
            0.0,
            800.0,
        );
        assert_eq!(axis.segments().len(), 1);
        assert!((axis.x(4 * MS) - 400.0).abs() < 0.001);
    }

    #[test]
    fn operations_seconds_apart_keep_their_scale_around_a_gap() {
        let axis = Broken::new(&[(0, Some(2 * MS)), (2_400 * MS, Some(2_404 * MS))], 100.0, 1_000.0);
        let gaps: Vec<_> = axis.segments().iter().filter(|segment| segment.gap).collect();
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].from_ns, gaps[0].to_ns), (2 * MS, 2_400 * MS));
        let first = axis.x(2 * MS) - axis.x(0);
        let second = axis.x(2_404 * MS) - axis.x(2_400 * MS);
        assert!(
            (second / first - 2.0).abs() < 0.001,
            "4 ms is twice 2 ms: {first}, {second}"
        );
        assert!((axis.x(2_404 * MS) - 1_000.0).abs() < 0.001);
    }

    #[test]
    fn a_long_wait_is_cut_too() {
        let axis = Broken::new(
            &[
                (0, Some(1_000 * MS)),
                (400 * MS, Some(402 * MS)),
                (700 * MS, Some(703 * MS)),
            ],
            0.0,
            900.0,
        );
        assert_eq!(axis.segments().iter().filter(|segment| segment.gap).count(), 3);
        assert!(
            axis.x(402 * MS) - axis.x(400 * MS) > 100.0,
            "two milliseconds can be seen"
        );
    }

    #[test]
    fn a_moment_and_nothing_at_all_have_an_axis() {
        for intervals in [vec![], vec![(7, None)], vec![(7 * MS, Some(7 * MS))]] {
            let axis = Broken::new(&intervals, 0.0, 100.0);
            for ns in [0, 7, 7 * MS, u64::MAX] {
                assert!((0.0..=100.0).contains(&axis.x(ns)), "{intervals:?}: {ns}");
            }
        }
    }

    #[test]
    fn what_never_ended_still_has_its_place() {
        let axis = Broken::new(&[(0, None), (3 * MS, None), (4 * MS, None)], 0.0, 100.0);
        assert!(axis.x(0) < axis.x(3 * MS) && axis.x(3 * MS) < axis.x(4 * MS));
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([1, 3, 12, 51, 999].map(nice_step), [1, 5, 20, 100, 1_000]);
        assert_eq!(nice_step(u64::MAX), u64::MAX);
    }
}
