//! A guess at what made the revisions that nobody acknowledged.
//!
//! For each key, what is known of it is a line in time: changes that were acknowledged, and what was seen of it. Where what
//! was seen is not what was left there, an operation in doubt must have changed it: at the revision that was seen with it,
//! or somewhere since the key was known to be otherwise. The rest of the gaps may be anything that is not contradicted by
//! what is seen of its key next.

use std::collections::{BTreeMap, HashMap};

use tribunal_history::Value;

use super::{Conflict, Frame, Gap};
use crate::spec::etcd_kv::{Answer, Comparison, Op, Request, Target, Txn, TxnRet};

/// Most fillers that are looked at for one gap.
const LOOKED_AT_MAX: usize = 4096;

/// What is known of a key at one moment.
#[derive(Clone, Copy, Debug)]
struct Known<'a> {
    revision: u64,
    what: What,
    /// The value; none where it is not there.
    value: Option<&'a Value>,
    /// The revision that was seen with it.
    modified: Option<u64>,
    entry: u32,
}

/// In order within one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Seen before the change that makes the revision.
    SeenBefore,
    Changed,
    Seen,
}

/// Something that must have happened.
#[derive(Clone, Copy, Debug)]
struct Demand {
    key: u32,
    filler: u32,
    /// The first and the last gap, by place, that will do.
    from: usize,
    to: usize,
    is_met: bool,
}

/// What fills each gap, as far as a guess goes; an error if it is certain that nothing does.
pub fn plan(frame: &Frame<'_>) -> Result<Vec<Option<u32>>, Conflict> {
    if frame.gaps.is_empty() {
        return Ok(Vec::new());
    }
    let mut plan = Plan::new(frame);
    plan.find_demands()?;
    plan.fill()?;
    Ok(plan.fills)
}

struct Plan<'a> {
    frame: &'a Frame<'a>,
    lines: Vec<Vec<Known<'a>>>,
    numbers: HashMap<&'a str, u32>,
    /// Who can change which key to which value, in order of call.
    makers: HashMap<(u32, Option<&'a Value>), Vec<u32>>,
    /// Whether some operation may have changed keys that it does not name.
    any_hidden: bool,
    demands: Vec<Demand>,
    demands_of: BTreeMap<u32, Vec<usize>>,
    fills: Vec<Option<u32>>,
    /// By entry: whether it fills a gap, or is kept for one.
    taken: Vec<bool>,
    /// By key: the last gap that was filled, and with what.
    last_fill: BTreeMap<u32, (u64, Option<&'a Value>)>,
}

impl<'a> Plan<'a> {
    fn new(frame: &'a Frame<'a>) -> Self {
        let mut plan = Self {
            frame,
            lines: Vec::new(),
            numbers: HashMap::new(),
            makers: HashMap::new(),
            any_hidden: false,
            demands: Vec::new(),
            demands_of: BTreeMap::new(),
            fills: vec![None; frame.gaps.len()],
            taken: vec![false; frame.entries.len()],
            last_fill: BTreeMap::new(),
        };
        for placed in &frame.placed {
            let entry = &frame.entries[placed.entry as usize];
            let told = entry.ret.as_ref().and_then(|ret| ret.txn.as_ref());
            if let (Op::Txn(txn), Some(ret)) = (&entry.op, told) {
                plan.note(txn, ret, placed.revision, placed.entry);
            }
        }
        for line in &mut plan.lines {
            line.sort_by_key(|known| (known.revision, known.what));
        }
        for &filler in &frame.fillers {
            let writes = match &frame.entries[filler as usize].op {
                Op::Txn(txn) => txn.may_write(),
                Op::End { .. } => None,
            };
            plan.any_hidden |= writes.is_none();
            for (key, value) in writes.into_iter().flatten() {
                let key = plan.number(key);
                plan.makers.entry((key, value)).or_default().push(filler);
            }
        }
        plan
    }

    fn number(&mut self, key: &'a str) -> u32 {
        let next = self.lines.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.lines.push(Vec::new());
        }
        number
    }

    /// Notes what an acknowledged operation says of its keys.
    fn note(&mut self, txn: &'a Txn, ret: &'a TxnRet, revision: u64, entry: u32) {
        let has_written = ret.has_written();
        let before = if has_written { What::SeenBefore } else { What::Seen };
        let add = |plan: &mut Self, key: &'a str, what, value, modified| {
            let key = plan.number(key);
            plan.lines[key as usize].push(Known {
                revision,
                what,
                value,
                modified,
                entry,
            });
        };
        for compare in txn
            .compares
            .iter()
            .filter(|compare| ret.succeeded && compare.is == Comparison::Equal)
        {
            match compare.target {
                Target::Value => add(self, &compare.key, before, Some(&compare.value), None),
                Target::Created | Target::Modified | Target::Version if compare.value == Value::Int(0) => {
                    add(self, &compare.key, before, None, None);
                }
                _ => {}
            }
        }
        let requests = if ret.succeeded { &txn.then } else { &txn.otherwise };
        for (request, answer) in requests.iter().zip(&ret.answers) {
            match (request, answer) {
                // Within a change it may show what the change made.
                (Request::Range(range), Answer::Range { kvs, .. }) if range.revision == 0 && !has_written => {
                    for kv in kvs {
                        if let Some(value) = &kv.value {
                            add(self, &kv.key, What::Seen, Some(value), kv.modified);
                        }
                    }
                    if kvs.is_empty() && range.end.is_none() && !range.count_only {
                        add(self, &range.key, What::Seen, None, None);
                    }
                }
                (Request::Put { key, value, .. }, _) => {
                    if let Answer::Put { prev: Some(prev) } = answer {
                        match prev {
                            None => add(self, key, What::SeenBefore, None, None),
                            Some(kv) if kv.value.is_some() => {
                                add(self, key, What::SeenBefore, kv.value.as_ref(), kv.modified);
                            }
                            Some(_) => {}
                        }
                    }
                    add(self, key, What::Changed, Some(value), None);
                }
                (Request::Delete { key, end: None }, Answer::Delete { deleted, .. }) if *deleted > 0 => {
                    add(self, key, What::Changed, None, None);
                }
                (Request::Delete { .. }, Answer::Delete { prev: Some(prev), .. }) => {
                    for kv in prev {
                        add(self, &kv.key, What::Changed, None, None);
                    }
                }
                // Nobody said which keys went.
                (Request::Delete { .. }, Answer::Delete { deleted, .. }) => self.any_hidden |= *deleted > 0,
                (Request::Txn(inner), Answer::Txn(ret)) => self.note(inner, ret, revision, entry),
                _ => {}
            }
        }
    }

    /// The place of the gap with this revision.
    fn gap(&self, revision: u64) -> Option<usize> {
        let gaps = &self.frame.gaps;
        gaps.binary_search_by_key(&revision, |gap| gap.revision).ok()
    }

    /// Finds out which fillers are needed, and where.
    fn find_demands(&mut self) -> Result<(), Conflict> {
        for key in 0..self.lines.len() as u32 {
            let (mut value, mut since, mut seen_at) = (None, 0, None);
            for at in 0..self.lines[key as usize].len() {
                let known = self.lines[key as usize][at];
                let is_new =
                    known.modified.is_some_and(|modified| self.gap(modified).is_some()) && seen_at != known.modified;
                if known.what != What::Changed && (known.value != value || is_new) {
                    self.demand(key, since, &known)?;
                    seen_at = known.modified.or(seen_at);
                }
                (value, since) = (known.value, known.revision);
                if known.what == What::SeenBefore {
                    since -= 1;
                }
            }
        }
        Ok(())
    }

    /// Something changed `key` behind `since` to what `known` shows.
    fn demand(&mut self, key: u32, since: u64, known: &Known<'a>) -> Result<(), Conflict> {
        let until = known.revision - u64::from(known.what == What::SeenBefore);
        let gaps = &self.frame.gaps;
        let (mut from, mut behind) = (
            gaps.partition_point(|gap| gap.revision <= since),
            gaps.partition_point(|gap| gap.revision <= until),
        );
        if let Some(modified) = known.modified {
            match self.gap(modified) {
                Some(gap) => (from, behind) = (gap, gap + 1),
                // It shows a change that was acknowledged: whether that is right is for the replay to say.
                None => return Ok(()),
            }
        }
        let makers = self.makers.get(&(key, known.value)).map_or(&[][..], Vec::as_slice);
        let in_time =
            |filler: u32| -> Option<usize> { (from..behind).find(|&gap| self.frame.is_in_time(filler, &gaps[gap])) };
        if !self.any_hidden && !makers.iter().any(|&filler| in_time(filler).is_some()) {
            return Err(Conflict::Contents { entry: known.entry });
        }
        // A delete may have been any; a put is mostly one of its kind.
        let chosen = makers.iter().copied().filter(|&filler| !self.taken[filler as usize]);
        let Some((filler, from)) = chosen.filter_map(|filler| Some((filler, in_time(filler)?))).next() else {
            return Ok(());
        };
        self.taken[filler as usize] = true;
        self.demands_of.entry(key).or_default().push(self.demands.len());
        self.demands.push(Demand {
            key,
            filler,
            from,
            to: behind - 1,
            is_met: false,
        });
        Ok(())
    }

    /// Fills the gaps in their order: demands by their deadlines, then anything that is not contradicted.
    fn fill(&mut self) -> Result<(), Conflict> {
        let mut waiting: Vec<usize> = (0..self.demands.len()).collect();
        waiting.sort_by_key(|&demand| std::cmp::Reverse(self.demands[demand].from));
        let mut due: BTreeMap<(usize, usize), ()> = BTreeMap::new();
        let mut fillers = self.frame.fillers.iter().copied().peekable();
        let mut free: Vec<u32> = Vec::new();
        let mut begun = 0;
        for place in 0..self.frame.gaps.len() {
            let gap = self.frame.gaps[place];
            while let Some(filler) =
                fillers.next_if(|&filler| self.frame.entries[filler as usize].call < gap.call_before)
            {
                begun += 1;
                if !self.taken[filler as usize] {
                    free.push(filler);
                }
            }
            if begun <= place {
                // So many gaps, and not so many operations that could have filled them.
                return Err(Conflict::Unmade {
                    revision: gap.revision,
                    shown_by: self.frame.shown_by(gap.revision),
                });
            }
            while let Some(demand) = waiting.pop_if(|demand| self.demands[*demand].from <= place) {
                due.insert((self.demands[demand].to, demand), ());
            }
            let filler = if let Some(((_, demand), ())) = due.pop_first() {
                self.demands[demand].is_met = true;
                Some(self.demands[demand].filler)
            } else {
                let looked_at = free.len().saturating_sub(LOOKED_AT_MAX);
                let chosen = (looked_at..free.len())
                    .rev()
                    .find(|&at| self.is_possible(free[at], &gap));
                chosen.map(|at| free.remove(at))
            };
            let Some(filler) = filler else { continue };
            self.fills[place] = Some(filler);
            self.taken[filler as usize] = true;
            if let Op::Txn(txn) = &self.frame.entries[filler as usize].op {
                for (key, value) in txn.may_write().into_iter().flatten() {
                    let key = self.number(key);
                    self.last_fill.insert(key, (gap.revision, value));
                }
            }
        }
        Ok(())
    }

    /// Whether nothing that is known contradicts that a filler made the revision of a gap.
    fn is_possible(&self, filler: u32, gap: &Gap) -> bool {
        let Op::Txn(txn) = &self.frame.entries[filler as usize].op else {
            return false;
        };
        let Some(writes) = txn.may_write() else {
            return false;
        };
        let is_in_time = self.frame.is_in_time(filler, gap);
        is_in_time
            && txn.compares.iter().all(|compare| self.may_hold(compare, gap))
            && writes
                .iter()
                .all(|(key, value)| self.may_change(self.numbers[&***key], *value, gap))
    }

    /// Whether a comparison may hold at a gap; only what is plain is looked at.
    fn may_hold(&self, compare: &crate::spec::etcd_kv::Compare, gap: &Gap) -> bool {
        let Some(&key) = self.numbers.get(&*compare.key) else {
            return compare.target != Target::Value;
        };
        let line = &self.lines[key as usize];
        let known = line[..line.partition_point(|known| known.revision < gap.revision)].last();
        let known = known.map_or((0, None), |known| (known.revision, known.value));
        let last = self
            .last_fill
            .get(&key)
            .copied()
            .filter(|(revision, _)| *revision > known.0);
        let value = last.map_or(known.1, |(_, value)| value);
        match (compare.target, compare.is) {
            (Target::Value, Comparison::Equal) => value == Some(&compare.value),
            (Target::Created | Target::Modified | Target::Version, Comparison::Equal) => {
                (compare.value == Value::Int(0)) == value.is_none()
            }
            _ => true,
        }
    }

    /// Whether a key may hold a value from a gap on.
    fn may_change(&self, key: u32, value: Option<&Value>, gap: &Gap) -> bool {
        let line = &self.lines[key as usize];
        let Some(next) = line.get(line.partition_point(|known| known.revision < gap.revision)) else {
            return true;
        };
        if next.what == What::Changed {
            return true;
        }
        if let Some(modified) = next.modified {
            return modified > gap.revision || modified == gap.revision && next.value == value;
        }
        next.value == value || {
            // Something that is still to come may change it again before it is seen.
            let demands = self.demands_of.get(&key).map_or(&[][..], Vec::as_slice);
            demands.iter().map(|&demand| &self.demands[demand]).any(|demand| {
                !demand.is_met && demand.key == key && self.frame.gaps[demand.to].revision <= next.revision
            })
        }
    }
}
