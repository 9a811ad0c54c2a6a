//! Election safety: one leader in a term, elected by durable votes of a majority of each set of voters.
//!
//! Source: Raft paper §5.2. Evidence: durable votes; a vote that is marked committed names the leader of its term,
//! whoever holds it. That a majority voted is judged where all events have one order; a learner's vote does not
//! count.
//!
//! Blind spot: on recorded evidence only that there are not two leaders of a term is seen.

use std::collections::BTreeMap;

use tribunal_history::evidence::Configuration;
use tribunal_history::{Evidence, MemberId, NodeId, Term};

use super::{Broken, Property, Scene, Scope, majority, voters_text};

/// See the module.
#[derive(Default)]
pub struct OneLeader {
    judged: u64,
    leaders: BTreeMap<Term, (MemberId, NodeId)>,
    /// Durable votes of the last terms: by term and voter, for whom.
    votes: BTreeMap<(Term, MemberId), MemberId>,
}

/// Votes that are remembered; elections of older terms are over.
const VOTES_MAX: usize = 512;

impl Property for OneLeader {
    fn id(&self) -> &'static str {
        "one-leader"
    }

    fn title(&self) -> &'static str {
        "one leader in a term, elected by a majority"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let node = scene.moment.node;
        let (term, leader, is_committed, voter) = match *scene.evidence {
            Evidence::Vote {
                term,
                voted_for,
                committed,
            } => (term, voted_for, committed, scene.view.node(node)?.member),
            Evidence::Boot {
                member,
                vote: Some(vote),
                ..
            } => (vote.term, vote.voted_for, vote.committed, member),
            _ => return None,
        };
        self.votes.entry((term, voter)).or_insert(leader);
        if self.votes.len() > VOTES_MAX {
            self.votes.pop_first();
        }
        if !is_committed {
            return None;
        }
        match self.leaders.get(&term) {
            Some((known, said_by)) if *known != leader => {
                return Some(Broken::new(format!(
                    "term {term} has two leaders: {} by the word of {said_by}, and {} by that of {node}",
                    name(scene, *known),
                    name(scene, leader),
                )));
            }
            Some(_) => return None,
            None => {}
        }
        self.leaders.insert(term, (leader, node));
        self.judged += 1;
        if scene.scope != Scope::Exact || leader != voter {
            return None;
        }
        let configuration: &Configuration = scene.view.node(node)?.configuration()?;
        let voted = |member| self.votes.get(&(term, member)) == Some(&leader);
        (!majority(configuration, voted)).then(|| Broken {
            sentence: format!(
                "{node} leads term {term} without durable votes of a majority of {}",
                voters_text(scene.view, configuration)
            ),
            entry: None,
            configuration: Some(configuration.clone()),
        })
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

fn name(scene: &Scene<'_>, member: MemberId) -> String {
    match scene.view.place(member) {
        Some(node) => node.to_string(),
        None => format!("member {member}"),
    }
}
