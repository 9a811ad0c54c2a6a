//! Votes are kept: over all lives of a member its term never falls, and in one term it votes for one candidate. Who
//! voted for one, and then hears of the leader that the term has, notes that leader in place of its vote.
//!
//! Source: Raft paper §5.2 (`currentTerm` and `votedFor` are persistent). Evidence: durable votes, and the vote that a
//! life recovers.
//!
//! Blind spot: a member whose disk lied may forget its vote, and is not judged.

use std::collections::BTreeMap;

use tribunal_history::evidence::Ballot;
use tribunal_history::{Evidence, MemberId};

use super::{Broken, Property, Scene};

/// See the module.
#[derive(Default)]
pub struct VotesKept {
    judged: u64,
    votes: BTreeMap<MemberId, Ballot>,
}

impl Property for VotesKept {
    fn id(&self) -> &'static str {
        "votes-kept"
    }

    fn title(&self) -> &'static str {
        "a member votes once in a term and never goes back"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let node = scene.moment.node;
        let known = scene.view.node(node);
        let (member, vote, verb) = match *scene.evidence {
            Evidence::Vote {
                term,
                voted_for,
                committed,
            } => {
                let vote = Ballot {
                    term,
                    voted_for,
                    committed,
                };
                (known?.member, Some(vote), "voted")
            }
            Evidence::Boot { member, vote, .. } => (member, vote, "recovered its vote"),
            _ => return None,
        };
        let is_suspect = known.is_some_and(|known| known.suspect.is_some());
        let before = self.votes.get(&member).copied();
        if let Some(vote) = vote {
            self.votes.insert(member, vote);
        }
        let before = before.filter(|_| !is_suspect)?;
        self.judged += 1;
        let text = |vote: Ballot| {
            let candidate = match scene.view.place(vote.voted_for) {
                Some(node) => node.to_string(),
                None => format!("member {}", vote.voted_for),
            };
            format!("for {candidate} in term {}", vote.term)
        };
        let is_kept = vote.is_some_and(|vote| {
            let goes_on = vote.voted_for == before.voted_for && vote.committed >= before.committed;
            let follows = vote.committed && !before.committed;
            vote.term > before.term || (vote.term == before.term && (goes_on || follows))
        });
        (!is_kept).then(|| {
            let now = vote.map_or_else(|| "and had none".to_owned(), text);
            Broken::new(format!(
                "{node} {verb} {now}, after it had durably voted {}",
                text(before)
            ))
        })
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
