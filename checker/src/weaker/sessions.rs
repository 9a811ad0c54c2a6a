//! The four guarantees of a session (Terry et al., 1994), each for itself, key by key.
//!
//! Each says something of the order of a key's versions: what a client read is not older than what it had read before
//! (*monotonic reads*), nor than what it had written (*read your writes*); what it writes is newer than what it had
//! written (*monotonic writes*), and than what it had read (*writes follow reads*). The initial value is older than all,
//! and what a compare-and-set found is older than what it set. A guarantee holds if some order of each key's versions
//! obeys all this, so it is violated exactly if "older than" runs in a circle.
//!
//! Left out: what a session guarantees across keys, which needs an order of all keys' versions.

use std::collections::{BTreeMap, VecDeque};

use tribunal_history::ProcessId;

use super::values::{Action, Values};
use crate::consistency::Consistency;

/// Why one version is older than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is the initial one.
    Initial,
    /// A compare-and-set, this operation, found it and set the other.
    Swapped(usize),
    /// A client did the first operation and then the second.
    Session(usize, usize),
}

/// Versions of a key each of which is older than the next, and the last than the first.
pub(super) struct Circle {
    /// The key.
    pub key: u32,
    /// Each version, and why it is older than the next.
    pub steps: Vec<(u32, Why)>,
}

/// Of one key: what is older than what, by the older one. Versions come first, then helpers, each of which stands for all
/// that a client did with the key up to some operation, so that there are as many edges as operations.
struct Older {
    edges: Vec<Vec<(u32, Why)>>,
    versions: u32,
}

impl Older {
    fn add(&mut self, from: u32, to: u32, why: Why) {
        if from != to {
            self.edges[from as usize].push((to, why));
        }
    }

    fn helper(&mut self) -> u32 {
        self.edges.push(Vec::new());
        self.edges.len() as u32 - 1
    }
}

/// Circles of versions under a guarantee, the shortest of each key that has one.
pub(super) fn circles(values: &Values, guarantee: Consistency) -> Vec<Circle> {
    let older = order(values, guarantee);
    (0..)
        .zip(&older)
        .filter_map(|(key, older)| {
            let steps = shortest(older)?;
            Some(Circle { key, steps })
        })
        .collect()
}

/// What a client did with a key so far that bears upon what it does next.
#[derive(Default)]
struct Session {
    /// The values, and the operations that read or wrote them.
    before: Vec<(u32, usize)>,
    /// The place of each value among them.
    places: BTreeMap<u32, usize>,
    /// The helper that stands for all up to each place.
    helpers: Vec<u32>,
}

/// No operation: the other end of a step through a helper names it.
const ELSEWHERE: usize = usize::MAX;

fn order(values: &Values, guarantee: Consistency) -> Vec<Older> {
    let of_key = |all: &Vec<tribunal_history::Value>| Older {
        edges: vec![Vec::new(); all.len()],
        versions: all.len() as u32,
    };
    let mut older: Vec<Older> = values.values.iter().map(of_key).collect();
    let mut sessions: BTreeMap<(ProcessId, u32), Session> = BTreeMap::new();
    for done in &values.done {
        let older = &mut older[done.key as usize];
        if let Some(made) = done.action.made() {
            older.add(0, made, Why::Initial);
        }
        if let Action::Update(from, to) = done.action {
            older.add(from, to, Why::Swapped(done.id));
        }
        let session = sessions.entry((done.process, done.key)).or_default();
        let now = match guarantee {
            Consistency::MonotonicReads | Consistency::ReadYourWrites => done.action.observed(),
            _ => done.action.made(),
        };
        let next = match guarantee {
            Consistency::MonotonicReads | Consistency::WritesFollowReads => done.action.observed(),
            _ => done.action.made(),
        };
        // Reads in order follow from each other, and so do writes: the last stands for all before it.
        let is_chain = matches!(guarantee, Consistency::MonotonicReads | Consistency::MonotonicWrites);
        if let Some(now) = now {
            session.lead_to(older, now, done.id, is_chain);
        }
        // What is in doubt may have happened after what its client did next.
        if let Some(next) = next.filter(|_| done.is_certain) {
            session.remember(older, next, done.id, is_chain);
        }
    }
    older
}

impl Session {
    /// All so far is older than `now`.
    fn lead_to(&self, older: &mut Older, now: u32, id: usize, is_chain: bool) {
        let Some((last, by)) = self.before.last() else { return };
        if is_chain {
            older.add(*last, now, Why::Session(*by, id));
            return;
        }
        // A helper before the value itself, and single steps for what came after it.
        let place = self.places.get(&now).copied();
        let helper = match place {
            None => self.helpers.last(),
            Some(place) => place.checked_sub(1).and_then(|before| self.helpers.get(before)),
        };
        if let Some(helper) = helper {
            older.add(*helper, now, Why::Session(ELSEWHERE, id));
        }
        for (value, by) in place.into_iter().flat_map(|place| &self.before[place + 1..]) {
            older.add(*value, now, Why::Session(*by, id));
        }
    }

    fn remember(&mut self, older: &mut Older, value: u32, id: usize, is_chain: bool) {
        if is_chain {
            self.before = vec![(value, id)];
            return;
        }
        if self.places.contains_key(&value) {
            return;
        }
        let helper = older.helper();
        if let Some(last) = self.helpers.last() {
            older.add(*last, helper, Why::Session(ELSEWHERE, ELSEWHERE));
        }
        older.add(value, helper, Why::Session(id, ELSEWHERE));
        self.helpers.push(helper);
        self.places.insert(value, self.before.len());
        self.before.push((value, id));
    }
}

/// The shortest circle, breadth first from each version that may be in one.
fn shortest(older: &Older) -> Option<Vec<(u32, Why)>> {
    let mut best: Option<Vec<(u32, Why)>> = None;
    let mut left = STARTS_MAX;
    for start in in_circles(older) {
        if start >= older.versions {
            continue;
        }
        if let Some(steps) = through(older, start)
            && best.as_ref().is_none_or(|best| best.len() > steps.len())
        {
            best = Some(steps);
        }
        left -= 1;
        if best.as_ref().is_some_and(|best| best.len() == 2) || best.is_some() && left == 0 {
            break;
        }
        left = left.max(1);
    }
    best
}

/// From so many versions the shortest circle is looked for; after that, any is good enough.
const STARTS_MAX: usize = 256;

/// What is left when nodes with nothing older, or nothing newer, are taken away again and again: every circle, and what
/// lies between two.
fn in_circles(older: &Older) -> Vec<u32> {
    let count = older.edges.len();
    let mut back: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (from, edges) in (0..).zip(&older.edges) {
        for (to, _) in edges {
            back[*to as usize].push(from);
        }
    }
    let mut is_left = vec![true; count];
    for side in 0..2 {
        let ahead = |node: u32| -> Vec<u32> {
            match side {
                0 => older.edges[node as usize].iter().map(|(to, _)| *to).collect(),
                _ => back[node as usize].clone(),
            }
        };
        let mut waits = vec![0usize; count];
        for node in (0..count as u32).filter(|node| is_left[*node as usize]) {
            for to in ahead(node) {
                waits[to as usize] += 1;
            }
        }
        let free = (0..count as u32).filter(|node| is_left[*node as usize] && waits[*node as usize] == 0);
        let mut free: Vec<u32> = free.collect();
        while let Some(node) = free.pop() {
            is_left[node as usize] = false;
            for to in ahead(node) {
                waits[to as usize] -= 1;
                if waits[to as usize] == 0 && is_left[to as usize] {
                    free.push(to);
                }
            }
        }
    }
    (0..count as u32).filter(|node| is_left[*node as usize]).collect()
}

/// The shortest circle through a version, by the number of edges.
fn through(older: &Older, start: u32) -> Option<Vec<(u32, Why)>> {
    let mut came: BTreeMap<u32, (u32, Why)> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for (to, why) in &older.edges[node as usize] {
            if *to == start {
                let mut steps = vec![(node, *why)];
                let mut at = node;
                while at != start {
                    let (from, why) = came[&at];
                    steps.push((from, why));
                    at = from;
                }
                steps.reverse();
                return Some(without_helpers(older, steps));
            }
            if !came.contains_key(to) {
                came.insert(*to, (node, *why));
                queue.push_back(*to);
            }
        }
    }
    None
}

/// Puts steps through helpers together: the first names the older operation, the last the newer one.
fn without_helpers(older: &Older, steps: Vec<(u32, Why)>) -> Vec<(u32, Why)> {
    let mut merged: Vec<(u32, Why)> = Vec::new();
    for (node, why) in steps {
        if node < older.versions {
            merged.push((node, why));
        } else if let (Some((_, Why::Session(_, newer))), Why::Session(_, to)) = (merged.last_mut(), why) {
            *newer = to;
        }
    }
    merged
}
