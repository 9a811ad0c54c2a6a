//! Leader completeness: who is elected holds every entry that was committed in an earlier term.
//!
//! Source: Raft paper §5.4, figure 3. Evidence: votes that make a node a leader, its durable log by its own word
//! (votes and entries are one ordered stream, so that whatever it accepted before is durable then), and commits. A
//! commit by a deposed leader that comes to light later is held against every leader elected since.
//!
//! The newest committed entry is of the term in which it was committed, since commits by counting are of the leader's own
//! term. Where that is not before the new leader's term, as for one that was slow to hear of its election, nothing is
//! demanded of it.
//!
//! Blind spot: such a slow leader is not judged at its election. On recorded evidence the order of events is not known,
//! and the property is not judged.

use tribunal_history::evidence::Chain;
use tribunal_history::{Evidence, LogIndex, NodeId, Term};

use super::{Broken, Member, Property, Scene, Scope};

/// See the module.
#[derive(Default)]
pub struct LeaderHasAll {
    judged: u64,
}

impl Property for LeaderHasAll {
    fn id(&self) -> &'static str {
        "leader-completeness"
    }

    fn title(&self) -> &'static str {
        "a leader holds all that was committed before"
    }

    fn applies(&self, scope: Scope) -> bool {
        scope == Scope::Exact
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let view = scene.view;
        match *scene.evidence {
            Evidence::Vote {
                term,
                voted_for,
                committed: true,
            } => {
                let member = view.node(scene.moment.node)?;
                if member.member != voted_for || member.leads == Some(term) {
                    return None;
                }
                let (index, of_term, chain) = view.committed().last()?;
                if of_term >= term {
                    return None;
                }
                self.judged += 1;
                lacks(scene.moment.node, member, term, (index, of_term, chain))
            }
            Evidence::Commit { index, term, chain } if !view.committed().covers(index) => {
                let by = view.node(scene.moment.node)?.leads?;
                let later = view.nodes().find(|(node, member)| {
                    scene.witness.is_up(*node) != Some(false)
                        && member.leads.is_some_and(|leads| leads > by)
                        && !member.says_it_holds(index, term, chain)
                });
                self.judged += 1;
                let (node, member) = later?;
                lacks(node, member, member.leads?, (index, term, chain))
            }
            _ => None,
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

fn lacks(node: NodeId, member: &Member, leads: Term, entry: (LogIndex, Term, Option<Chain>)) -> Option<Broken> {
    let (index, term, chain) = entry;
    if member.says_it_holds(index, term, chain) {
        return None;
    }
    let last = member
        .log
        .last()
        .map_or_else(|| "nothing".to_owned(), |last| format!("entry {last}"));
    let sentence = format!(
        "{node} leads term {leads} without the committed entry {index} of term {term}; its log ends with {last}"
    );
    Some(Broken::at(index, chain, sentence))
}
