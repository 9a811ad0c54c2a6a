//! Which directed links are cut, and what they have held back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tribunal_history::NodeId;

use super::Pair;

/// What a cut link has held back: the proof that the cut had an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Bytes that arrived and were not forwarded. No more are read than one buffer per connection, so this is a
    /// lower bound. An end of stream that was held counts as one.
    pub bytes: u64,
    /// Connections that were left hanging since this link was cut.
    pub dials: u64,
}

impl Blocked {
    /// Whether there is nothing.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// The state of all links; connections watch it.
#[derive(Debug)]
pub(super) struct Gates {
    cuts: watch::Sender<BTreeSet<Pair>>,
    blocked: Mutex<BTreeMap<Route, Blocked>>,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            cuts: watch::Sender::new(BTreeSet::new()),
            blocked: Mutex::default(),
        }
    }
}

/// One direction of a connection: the link that it belongs to, or all links of a node if its dialler is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    /// From one node to another.
    Link(Pair),
    /// To or from this node; who is at the other side is unknown.
    Unknown(NodeId),
}

impl Route {
    /// Whether bytes on it are to be held.
    pub(super) fn is_cut(self, cuts: &BTreeSet<Pair>) -> bool {
        cuts.iter().any(|link| self.is_on(*link))
    }

    fn is_on(self, (from, to): Pair) -> bool {
        match self {
            Self::Link(link) => link == (from, to),
            Self::Unknown(node) => from == node || to == node,
        }
    }
}

impl Gates {
    pub(super) fn cut(&self, links: &[Pair]) {
        let mut blocked = self.counts();
        self.cuts.send_modify(|cuts| {
            for link in links {
                if cuts.insert(*link) {
                    blocked.remove(&Route::Link(*link));
                }
            }
        });
    }

    pub(super) fn heal(&self, links: &[Pair]) {
        self.cuts.send_modify(|cuts| cuts.retain(|link| !links.contains(link)));
    }

    pub(super) fn heal_all(&self) {
        self.cuts.send_modify(BTreeSet::clear);
    }

    pub(super) fn watch(&self) -> watch::Receiver<BTreeSet<Pair>> {
        self.cuts.subscribe()
    }

    pub(super) fn blocked(&self, route: Route) -> Blocked {
        self.counts().get(&route).copied().unwrap_or_default()
    }

    pub(super) fn count(&self, route: Route, add: impl FnOnce(&mut Blocked)) {
        add(self.counts().entry(route).or_default());
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Route, Blocked>> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    #[test]
    fn a_cut_is_directed() {
        let gates = Gates::default();
        gates.cut(&[(N[0], N[1])]);
        let cuts = gates.watch();
        assert!(Route::Link((N[0], N[1])).is_cut(&cuts.borrow()));
        assert!(!Route::Link((N[1], N[0])).is_cut(&cuts.borrow()));
    }

    #[test]
    fn an_unknown_dialler_is_held_while_any_link_of_the_node_is_cut() {
        let gates = Gates::default();
        gates.cut(&[(N[0], N[1])]);
        let cuts = gates.watch();
        let held = N.map(|node| Route::Unknown(node).is_cut(&cuts.borrow()));
        assert_eq!(held, [true, true, false]);
        gates.heal(&[(N[0], N[1])]);
        assert!(!Route::Unknown(N[0]).is_cut(&cuts.borrow()));
    }

    #[test]
    fn counts_begin_anew_with_each_cut_and_stay_after_its_heal() {
        let gates = Gates::default();
        let link = (N[0], N[1]);
        let route = Route::Link(link);
        let bytes = |count| Blocked { bytes: count, dials: 0 };
        gates.cut(&[link]);
        gates.count(route, |blocked| blocked.bytes += 7);
        gates.cut(&[link]);
        assert_eq!(gates.blocked(route), bytes(7), "it was cut already");
        gates.heal_all();
        assert_eq!(gates.blocked(route), bytes(7));
        gates.cut(&[link]);
        assert!(gates.blocked(route).is_nothing());
    }
}
