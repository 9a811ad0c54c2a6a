//! One key in the order of the store's revisions, while it grows.
//!
//! A key whose values repeat, since it is deleted again and again, has no [zones](super::key). But where each answer carries
//! the revision of the store, a change stands at its own revision and a read behind the changes up to the one that it was
//! answered at. If that order respects real time, and the specification accepts it from one end to the other, it is a
//! linearization, whatever else the revisions mean. If it does not, nothing is proved: the values alone may have another order.
//! So an order is followed or given up, and never says *violated*.
//!
//! **What is final.** An operation that was called when an answer had shown revision `r` already is placed behind `r`: a change
//! after it, a read at it or after it. Anything else contradicts the order, and the key is given up. So up to the smallest such
//! bound among open operations nothing can come in between any more: what ended there is replayed and forgotten, and what
//! ended behind it waits.
//!
//! **What is in doubt** is remembered until the replay demands it: until the next operation shows a value that another has
//! to have made, or none. It is put right before that operation, if it was called before anything that ended behind there;
//! this is as late as can be, where it excludes least. Which of several it was is a guess where the operation does not tell: of deletes
//! any is as good as any other, and of writes before a delete that found something it is the oldest, which is the one that is
//! least likely to be seen still. A wrong guess makes the order give up later.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use tribunal_history::{Revision, Value};

use super::key::Mix;
use crate::spec::{Class, Recorded};

/// The order of revisions explains nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp;

/// A key that is followed by revisions. Moments are places in the run's order.
#[derive(Clone, Debug)]
pub struct Order<S: Recorded> {
    /// What the key holds after all that is final.
    state: S,
    /// Operations that are open, in order of their calls.
    open: Vec<Asked<S::Op>>,
    /// What ended and is not final.
    waiting: BTreeMap<Place, (S::Op, S::Ret)>,
    /// What is in doubt for good and was not seen, by the value that it makes.
    doubts: HashMap<Value, Vec<Asked<S::Op>>, BuildHasherDefault<Mix>>,
    /// How many those are.
    doubtful: usize,
    /// The highest revision that was seen.
    seen: i64,
}

/// What may have happened.
#[derive(Clone, Debug)]
struct Asked<O> {
    call: u64,
    /// The highest revision that was seen before its call: what it changes is after that.
    bound: i64,
    op: O,
}

/// A place in the order: at equal revisions the change first, and then reads by their calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    revision: i64,
    is_read: bool,
    call: u64,
}

/// A key at which so many operations wait is given up. They wait while an operation is open that began before them, which a
/// client does for a second or so; where one stays open for the rest of a history, the memory must not grow with that.
const WAITING_MAX: usize = 1 << 16;

impl<S: Recorded> Default for Order<S> {
    fn default() -> Self {
        Self {
            state: S::default(),
            open: Vec::new(),
            waiting: BTreeMap::new(),
            doubts: HashMap::default(),
            doubtful: 0,
            seen: 0,
        }
    }
}

impl<S: Recorded> Order<S> {
    /// How many operations are remembered that are not open.
    pub fn remembered(&self) -> usize {
        self.waiting.len() + self.doubtful
    }

    /// `op` was called.
    pub fn called(&mut self, call: u64, op: S::Op) {
        assert!(
            self.open.last().is_none_or(|last| last.call < call),
            "calls come in their order"
        );
        let bound = self.seen;
        self.open.push(Asked { call, bound, op });
    }

    /// What was called at `call` ended with `ret`.
    pub fn answered(&mut self, call: u64, ret: S::Ret, revision: Option<Revision>) -> Result<(), GivenUp> {
        let Asked { bound, op, .. } = self.over(call);
        let revision = revision.ok_or(GivenUp)?.0;
        let is_read = S::class(&op, Some(&ret)).is_read();
        let is_behind = if is_read { revision >= bound } else { revision > bound };
        if !is_behind || self.waiting.len() >= WAITING_MAX {
            return Err(GivenUp);
        }
        self.seen = self.seen.max(revision);
        let place = Place {
            revision,
            is_read,
            call,
        };
        if self.waiting.is_empty() && revision <= self.final_up_to() {
            return self.replay(place, &op, &ret);
        }
        self.waiting.insert(place, (op, ret));
        self.settle(self.final_up_to())
    }

    /// What was called at `call` did not happen.
    pub fn failed(&mut self, call: u64) -> Result<(), GivenUp> {
        self.over(call);
        self.settle(self.final_up_to())
    }

    /// What was called at `call` is in doubt for good.
    pub fn doubted(&mut self, call: u64) -> Result<(), GivenUp> {
        let asked = self.over(call);
        self.doubt(asked)?;
        self.settle(self.final_up_to())
    }

    /// Whether the order explains everything if nothing comes after this.
    pub fn would_hold(&self) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        let mut last = self.clone();
        let mut open = std::mem::take(&mut last.open).into_iter();
        open.all(|asked| last.doubt(asked).is_ok()) && last.settle(i64::MAX).is_ok()
    }

    /// Takes an operation out of the open ones.
    fn over(&mut self, call: u64) -> Asked<S::Op> {
        let place = self.open.iter().position(|asked| asked.call == call);
        self.open.remove(place.expect("what ends was called"))
    }

    /// The revision up to which nothing can come in between.
    fn final_up_to(&self) -> i64 {
        // Bounds only grow, so the oldest call has the smallest.
        self.open.first().map_or(self.seen, |oldest| oldest.bound)
    }

    fn doubt(&mut self, asked: Asked<S::Op>) -> Result<(), GivenUp> {
        let class = S::class(&asked.op, None);
        if class.is_read() {
            return Ok(());
        }
        // What may make anything could have been anywhere.
        let made = class.made().ok_or(GivenUp)?;
        self.doubts.entry(made.clone()).or_default().push(asked);
        self.doubtful += 1;
        Ok(())
    }

    /// Replays what waits up to `revision`.
    fn settle(&mut self, revision: i64) -> Result<(), GivenUp> {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().revision > revision {
                break;
            }
            let (place, (op, ret)) = first.remove_entry();
            self.replay(place, &op, &ret)?;
        }
        Ok(())
    }

    fn replay(&mut self, place: Place, op: &S::Op, ret: &S::Ret) -> Result<(), GivenUp> {
        let mut next = self.state.clone();
        if !next.is_valid_step(op, ret) {
            next = match S::class(op, Some(ret)).observed() {
                Some(value) => self.having_made(value, place.revision)?,
                None => self.having_guessed(op, ret, place.revision)?,
            };
            if !next.is_valid_step(op, ret) {
                return Err(GivenUp);
            }
        }
        self.state = next;
        Ok(())
    }

    /// What the key holds once operations in doubt have made `value`, before `revision`. They are in doubt no more.
    fn having_made(&mut self, value: &Value, revision: i64) -> Result<S, GivenUp> {
        let held = self.state.value();
        // The last one first.
        let mut chain: Vec<S::Op> = Vec::new();
        let mut wanted = value.clone();
        while chain.is_empty() || wanted != held {
            let doubts = self.doubts.get_mut(&wanted).ok_or(GivenUp)?;
            let fitting = (0..doubts.len()).filter(|&place| doubts[place].bound < revision);
            // What asks for least first: nothing, or what the key holds anyway.
            let place = fitting.min_by_key(|&place| match S::class(&doubts[place].op, None) {
                Class::Update { from, .. } => (1 + u8::from(from != held), doubts[place].call),
                _ => (0, doubts[place].call),
            });
            let asked = doubts.remove(place.ok_or(GivenUp)?);
            if doubts.is_empty() {
                self.doubts.remove(&wanted);
            }
            self.doubtful -= 1;
            let class = S::class(&asked.op, None);
            chain.push(asked.op);
            match class {
                Class::Update { from, .. } => wanted = from,
                _ => break,
            }
        }
        let mut next = self.state.clone();
        for op in chain.iter().rev() {
            next.invoke(op);
        }
        Ok(next)
    }

    /// What the key holds once the oldest operation in doubt that makes `op` possible has happened, before `revision`. It is
    /// in doubt no more.
    fn having_guessed(&mut self, op: &S::Op, ret: &S::Ret, revision: i64) -> Result<S, GivenUp> {
        let mut oldest: Option<(u64, S)> = None;
        for asked in self.doubts.values().flatten().filter(|asked| asked.bound < revision) {
            if oldest.as_ref().is_some_and(|(call, _)| *call < asked.call) {
                continue;
            }
            let mut next = self.state.clone();
            next.invoke(&asked.op);
            if next.clone().is_valid_step(op, ret) {
                oldest = Some((asked.call, next));
            }
        }
        let (call, next) = oldest.ok_or(GivenUp)?;
        self.doubts.retain(|_, doubts| {
            doubts.retain(|asked| asked.call != call);
            !doubts.is_empty()
        });
        self.doubtful -= 1;
        Ok(next)
    }
}
