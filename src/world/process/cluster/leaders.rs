//! Who leads, from what nodes say of themselves.
//!
//! A status names the leader and a term, and the two need not belong together: etcd (up to 3.5 at least) reports
//! the term of the last entry that it *applied*, so a leader that was just elected claims the term of its
//! predecessor until its first entry is through. Raft elects one leader for a term at most. Hence a claim to a
//! term that belongs to another node is one to a later term that does not show yet, and a claim is noted only
//! once it has stood for a while.
//!
//! Left out: two leaders of one term. Status could not prove them; a node's own evidence can.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tribunal_history::{NodeId, Term};

/// How long a claim must stand: far longer than it takes a healthy leader to apply its first entry, and shorter
/// than two looks of the monitor.
const STANDS: Duration = Duration::from_millis(60);

/// What is known of the leaders so far.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    /// Whose each term was; once noted it stays.
    terms: BTreeMap<Term, NodeId>,
    /// The claim made last, and since when.
    claim: Option<(Claim, Instant)>,
}

/// A node says that it leads a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) term: Term,
    pub(super) node: NodeId,
}

impl Leaders {
    /// The one of these claims that is right about now.
    pub(super) fn current(&self, claims: impl IntoIterator<Item = Claim>) -> Option<Claim> {
        claims
            .into_iter()
            .max_by_key(|claim| (claim.term, self.belongs_to_another(*claim), claim.node))
    }

    /// Takes in what the nodes claim now, and returns the claim that is to be written down.
    pub(super) fn note(&mut self, claims: impl IntoIterator<Item = Claim>, now: Instant) -> Option<Claim> {
        let Some(current) = self.current(claims) else {
            self.claim = None;
            return None;
        };
        let since = match self.claim {
            Some((claim, since)) if claim == current => since,
            _ => now,
        };
        self.claim = Some((current, since));
        let is_later = self.terms.last_key_value().is_none_or(|(last, _)| current.term > *last);
        let news = is_later && now.duration_since(since) >= STANDS;
        if news {
            self.terms.insert(current.term, current.node);
        }
        news.then_some(current)
    }

    /// Whether the claim made last was written down.
    pub(super) fn is_noted(&self) -> bool {
        self.claim
            .is_some_and(|(claim, _)| self.terms.get(&claim.term) == Some(&claim.node))
    }

    fn belongs_to_another(&self, claim: Claim) -> bool {
        self.terms.get(&claim.term).is_some_and(|node| *node != claim.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(node: u16, term: u64) -> Claim {
        Claim {
            term: Term(term),
            node: NodeId(node),
        }
    }

    /// Plays claims, each for long enough, and returns what was noted.
    fn played(looks: &[&[Claim]]) -> Vec<Claim> {
        let mut leaders = Leaders::default();
        let began = Instant::now();
        let times = (0..).map(|look| began + STANDS * look);
        let twice = looks.iter().flat_map(|claims| [claims, claims]);
        times
            .zip(twice)
            .filter_map(|(now, claims)| leaders.note(claims.iter().copied(), now))
            .collect()
    }

    #[test]
    fn each_term_is_noted_once_and_never_an_earlier_one() {
        let noted = played(&[
            &[claim(1, 2)],
            &[claim(1, 2)],
            &[],
            &[claim(3, 4)],
            &[claim(2, 3)],
            &[claim(3, 4)],
        ]);
        assert_eq!(noted, [claim(1, 2), claim(3, 4)]);
    }

    #[test]
    fn a_claim_that_does_not_stand_is_not_noted() {
        let mut leaders = Leaders::default();
        let began = Instant::now();
        for (after_ms, claims, noted) in [
            (0, claim(1, 1), None),
            (59, claim(1, 2), None),
            (118, claim(1, 2), None),
            (119, claim(1, 2), Some(claim(1, 2))),
        ] {
            let now = began + Duration::from_millis(after_ms);
            assert_eq!(leaders.note([claims], now), noted, "after {after_ms} ms");
            assert_eq!(leaders.is_noted(), noted.is_some());
        }
    }

    #[test]
    fn a_new_leader_with_the_term_of_its_predecessor_is_the_leader_and_is_noted_with_its_own_term() {
        let noted = played(&[&[claim(3, 2)], &[claim(3, 2), claim(1, 2)], &[claim(3, 2), claim(1, 3)]]);
        assert_eq!(noted, [claim(3, 2), claim(1, 3)]);

        let mut leaders = Leaders::default();
        leaders.terms.insert(Term(2), NodeId(3));
        assert_eq!(leaders.current([claim(3, 2), claim(1, 2)]), Some(claim(1, 2)));
    }
}
