//! Decides histories of [`EtcdKv`] by the revisions in them.
//!
//! The header of a reply has the newest revision at the moment when its request took effect, and each change makes a
//! revision of its own. So the order of everything that ended is forced: by revision, the change that made it first, then
//! what only read, by call. What is left to decide:
//!
//! 1. **Revisions that nobody who ended made.** Each was made by an operation in doubt, or by a lease that expired. A
//!    `plan` assigns them: a recorded mod revision names one exactly; a value that was read and that no known change
//!    explains demands its writer somewhere between two moments (earliest deadline first); the rest may be anything that
//!    contradicts nothing. The plan is a guess. It counts once the whole order was replayed. Where it fails, a `search`
//!    tries everything at every gap.
//! 2. **Real time**: one sweep, each end after the last call so far.
//! 3. **Contents**: a replay.
//!
//! *Conflict* means that no order exists, and says why. A gap that nothing recorded explains is one only if nobody else used
//! the store; otherwise the answer is *unknown*. Where a change carries no revision at all, or the search would take too
//! long, nothing is decided here and another engine may try.

use crate::linearizability::{Entry, verify};
use crate::spec::Spec;
use crate::spec::etcd_kv::{EtcdKv, Op};

mod plan;
mod search;

/// What the revisions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This order of places in the entries explains them.
    Linearizable(Vec<u32>),
    /// Nothing explains them.
    Conflict(Conflict),
    /// Nobody can say: someone else may have made this revision.
    Unexplained {
        /// The revision.
        revision: u64,
    },
    /// The search for what made the revisions that nobody acknowledged took too long.
    TooHard {
        /// Steps spent.
        steps: u64,
        /// The first revision that it could not get past.
        revision: u64,
    },
    /// The entries do not carry what this needs.
    NotApplicable,
}

/// Why no order exists. Entries are named by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Two changes claim one revision.
    SameRevision {
        /// One of them.
        one: u32,
        /// The other.
        other: u32,
    },
    /// An operation began after another had ended, and shows an older state than that one.
    Backwards {
        /// What ended first.
        first: u32,
        /// What began then.
        second: u32,
    },
    /// Nothing that was asked for can have made the revision.
    Unmade {
        /// The revision.
        revision: u64,
        /// Something that shows that it was made.
        shown_by: u32,
    },
    /// The answer does not fit the state at its revision.
    Contents {
        /// The operation.
        entry: u32,
    },
}

/// What an operation that ended says of its place.
#[derive(Clone, Copy, Debug)]
struct Placed {
    revision: u64,
    reads: bool,
    call: u64,
    end: u64,
    entry: u32,
}

/// Everything that is forced, and everything that may fill the gaps.
#[derive(Debug)]
struct Frame<'a> {
    entries: &'a [Entry<EtcdKv>],
    /// In the forced order.
    placed: Vec<Placed>,
    gaps: Vec<Gap>,
    /// What may have made a revision that nobody acknowledged, in order of call.
    fillers: Vec<u32>,
    /// What ended and says nothing of revisions, in order of call.
    loose: Vec<u32>,
}

/// A revision that nobody who ended made.
#[derive(Clone, Copy, Debug)]
struct Gap {
    revision: u64,
    /// Where in the forced order it belongs.
    at: usize,
    /// What made it began before this.
    call_before: u64,
    /// What made it did not end before this.
    end_after: u64,
}

impl Frame<'_> {
    /// Whether a filler may stand in a gap, as far as time says.
    fn is_in_time(&self, filler: u32, gap: &Gap) -> bool {
        let entry = &self.entries[filler as usize];
        entry.call < gap.call_before && entry.end.is_none_or(|end| end > gap.end_after)
    }

    /// The whole order, with `fills` for the gaps; none if something of it does not fit together.
    fn order(&self, fills: &[u32]) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.placed.len() + fills.len() + self.loose.len());
        let mut fills_left = self.gaps.iter().zip(fills).peekable();
        for (at, placed) in self.placed.iter().enumerate() {
            while let Some((_, filler)) = fills_left.next_if(|(gap, _)| gap.at == at) {
                order.push(*filler);
            }
            order.push(placed.entry);
        }
        if self.loose.is_empty() {
            return order;
        }
        let filling: std::collections::BTreeSet<u32> = fills.iter().copied().collect();
        let loose = self.loose.iter().copied().filter(|entry| !filling.contains(entry));
        self.with_loose(order, loose)
    }

    /// Puts each of `loose`, in order of call, behind the last that ended before it began.
    fn with_loose(&self, order: Vec<u32>, loose: impl Iterator<Item = u32>) -> Vec<u32> {
        // By end of what is ordered: its place; made cumulative, so that it is the last place of all that ended by then.
        let mut ends: Vec<(u64, usize)> = (0..order.len())
            .filter_map(|at| Some((self.entries[order[at] as usize].end?, at + 1)))
            .collect();
        ends.sort_unstable();
        let mut last = 0;
        for (_, at) in &mut ends {
            last = last.max(*at);
            *at = last;
        }
        let mut loose = loose
            .map(|entry| {
                let call = self.entries[entry as usize].call;
                let ended = ends.partition_point(|(end, _)| *end < call);
                (ended.checked_sub(1).map_or(0, |at| ends[at].1), entry)
            })
            .peekable();
        let mut all = Vec::with_capacity(order.len());
        for (at, entry) in order.iter().enumerate() {
            while let Some((_, loose)) = loose.next_if(|(place, _)| *place <= at) {
                all.push(loose);
            }
            all.push(*entry);
        }
        all.extend(loose.map(|(_, entry)| entry));
        all
    }
}

/// What the revisions say of these entries. `is_exclusive` where nobody else changed the store, so that it began at revision
/// 1 and every revision was made by an entry. At most `steps_max` steps of search.
pub fn decide(entries: &[Entry<EtcdKv>], is_exclusive: bool, steps_max: u64) -> Verdict {
    let mut frame = Frame {
        entries,
        placed: Vec::with_capacity(entries.len()),
        gaps: Vec::new(),
        fillers: Vec::new(),
        loose: Vec::new(),
    };
    for (place, entry) in (0u32..).zip(entries) {
        let is_nothing = matches!(&entry.op, Op::Txn(txn) if txn.then.is_empty() && txn.otherwise.is_empty());
        match (entry.end, entry.ret.as_ref()) {
            (Some(end), Some(ret)) => match (ret.revision, &ret.txn) {
                (Some(revision), Some(txn)) => frame.placed.push(Placed {
                    revision,
                    reads: !txn.has_written(),
                    call: entry.call,
                    end,
                    entry: place,
                }),
                _ if is_nothing => frame.loose.push(place),
                (None, None) => {
                    frame.loose.push(place);
                    frame.fillers.push(place);
                }
                _ => return Verdict::NotApplicable,
            },
            (Some(_), None) => return Verdict::NotApplicable,
            (None, ret) if is_nothing || EtcdKv::class(&entry.op, ret).is_read() => {}
            (None, _) => frame.fillers.push(place),
        }
    }
    frame.placed = in_order(frame.placed);
    if let Some(conflict) = real_time(&frame.placed) {
        return Verdict::Conflict(conflict);
    }
    if let Err(verdict) = frame.find_gaps(is_exclusive) {
        return verdict;
    }
    frame.explain(is_exclusive, steps_max)
}

/// The forced order: by revision, the change first, then reads by call.
fn in_order(mut placed: Vec<Placed>) -> Vec<Placed> {
    let is_by_call = placed.is_sorted_by_key(|one| (one.call, one.entry));
    let revisions = placed.iter().map(|one| one.revision);
    let (first, last) = (
        revisions.clone().min().unwrap_or_default(),
        revisions.max().unwrap_or_default(),
    );
    // Revisions are as many as changes where one store is judged from its beginning, so each has its place, and nothing has to
    // be compared.
    let span = usize::try_from(last - first).unwrap_or(usize::MAX);
    if !is_by_call || span > 4 * placed.len() {
        placed.sort_unstable_by_key(|one| (one.revision, one.reads, one.call, one.entry));
        return placed;
    }
    let slot = |one: &Placed| 2 * (one.revision - first) as usize + usize::from(one.reads);
    let mut begins = vec![0u32; 2 * span + 3];
    for one in &placed {
        begins[slot(one) + 1] += 1;
    }
    for at in 1..begins.len() {
        begins[at] += begins[at - 1];
    }
    let mut ordered = placed.clone();
    for one in &placed {
        let place = &mut begins[slot(one)];
        ordered[*place as usize] = *one;
        *place += 1;
    }
    ordered
}

/// Changes of one revision, and what stands against real time, without regard to gaps.
fn real_time(placed: &[Placed]) -> Option<Conflict> {
    let mut latest: Option<Placed> = None;
    for (at, one) in placed.iter().enumerate() {
        if let Some(before) = at.checked_sub(1).map(|before| placed[before])
            && !one.reads
            && !before.reads
            && before.revision == one.revision
        {
            return Some(Conflict::SameRevision {
                one: before.entry,
                other: one.entry,
            });
        }
        if let Some(latest) = latest.filter(|latest| one.end < latest.call) {
            return Some(Conflict::Backwards {
                first: one.entry,
                second: latest.entry,
            });
        }
        if latest.is_none_or(|latest| latest.call < one.call) {
            latest = Some(*one);
        }
    }
    None
}

impl Frame<'_> {
    /// Finds the revisions that nobody made; an error if that decides it.
    fn find_gaps(&mut self, is_exclusive: bool) -> Result<(), Verdict> {
        let mut newest = 1;
        let mut latest_call = 0;
        for (at, one) in self.placed.iter().enumerate() {
            // A change makes the revision that it shows, a read needs it to be there.
            let missing_to = one.revision + u64::from(one.reads);
            let missing = newest + 1..missing_to;
            if missing.end.saturating_sub(missing.start) + self.gaps.len() as u64 > self.fillers.len() as u64 {
                let revision = missing.start + self.fillers.len().saturating_sub(self.gaps.len()) as u64;
                return Err(match is_exclusive {
                    true => Verdict::Conflict(Conflict::Unmade {
                        revision,
                        shown_by: one.entry,
                    }),
                    false => Verdict::Unexplained { revision },
                });
            }
            self.gaps.extend(missing.map(|revision| Gap {
                revision,
                at,
                call_before: u64::MAX,
                end_after: latest_call,
            }));
            newest = newest.max(one.revision);
            latest_call = latest_call.max(one.call);
        }
        let mut first_end = u64::MAX;
        let mut behind = self.placed.len();
        for gap in self.gaps.iter_mut().rev() {
            while behind > gap.at {
                behind -= 1;
                first_end = first_end.min(self.placed[behind].end);
            }
            gap.call_before = first_end;
        }
        Ok(())
    }

    /// Explains the gaps, and replays.
    fn explain(&self, is_exclusive: bool, steps_max: u64) -> Verdict {
        let planned = match plan::plan(self) {
            Ok(planned) => planned,
            Err(conflict) => {
                return match (is_exclusive, conflict) {
                    (true, conflict) => Verdict::Conflict(conflict),
                    (false, Conflict::Unmade { revision, .. }) => Verdict::Unexplained { revision },
                    (false, conflict) => match self.gaps.first() {
                        Some(gap) => Verdict::Unexplained { revision: gap.revision },
                        None => Verdict::Conflict(conflict),
                    },
                };
            }
        };
        if let Some(fills) = planned.iter().copied().collect::<Option<Vec<u32>>>() {
            let order = self.order(&fills);
            if verify(self.entries, &order).is_ok() {
                return Verdict::Linearizable(order);
            }
        }
        if self.gaps.is_empty() && self.loose.iter().all(|loose| !self.fillers.contains(loose)) {
            // The order is forced, so what does not fit is what is wrong.
            let mut state = EtcdKv::default();
            let wrong = self
                .placed
                .iter()
                .find(|one| !self.entries[one.entry as usize].step(&mut state));
            return match wrong {
                Some(one) => Verdict::Conflict(Conflict::Contents { entry: one.entry }),
                None => Verdict::NotApplicable,
            };
        }
        match search::search(self, &planned, steps_max) {
            search::Outcome::Found(fills) => {
                let order = self.order(&fills);
                match verify(self.entries, &order) {
                    Ok(()) => Verdict::Linearizable(order),
                    // A lease that was revoked may have had no keys then, at a moment that was not tried.
                    Err(_) => Verdict::NotApplicable,
                }
            }
            search::Outcome::Nothing { entry, revision } => match is_exclusive {
                true => Verdict::Conflict(match entry {
                    Some(entry) => Conflict::Contents { entry },
                    None => Conflict::Unmade {
                        revision,
                        shown_by: self.shown_by(revision),
                    },
                }),
                false => Verdict::Unexplained { revision },
            },
            search::Outcome::TooHard { steps, revision } => Verdict::TooHard { steps, revision },
        }
    }

    /// Something that shows that a revision was made.
    fn shown_by(&self, revision: u64) -> u32 {
        let at = self.placed.partition_point(|one| one.revision < revision);
        self.placed[at.min(self.placed.len() - 1)].entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Draw;

    #[test]
    fn the_order_is_the_same_whether_it_is_compared_or_counted() {
        for seed in 0..300 {
            let mut draw = Draw::new(seed);
            let revisions = [5, 40, 100_000][draw.below(3) as usize];
            let is_by_call = draw.percent(80);
            let mut placed: Vec<Placed> = (0..draw.below(40) as u32)
                .map(|entry| Placed {
                    revision: 3 + draw.below(revisions),
                    reads: draw.percent(50),
                    call: if is_by_call {
                        u64::from(entry / 2)
                    } else {
                        draw.below(9)
                    },
                    end: 100,
                    entry,
                })
                .collect();
            let key = |one: &Placed| (one.revision, one.reads, one.call, one.entry);
            let counted: Vec<_> = in_order(placed.clone()).iter().map(key).collect();
            placed.sort_by_key(key);
            assert_eq!(counted, placed.iter().map(key).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}
