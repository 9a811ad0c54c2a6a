//! Logs match: where two logs have an entry of one index and one term, they are the same up to there.
//!
//! Source: Raft paper §5.3, Log Matching. Evidence: the hash chains in persists, commits, purges, snapshots and
//! boots.
//!
//! Blind spot: a chain is known where a batch ended; between two such places a difference is seen at the next one,
//! since a chain covers everything before it.

use std::collections::BTreeMap;

use tribunal_history::evidence::{Chain, Position};
use tribunal_history::{Evidence, LogIndex, NodeId, Term};

use super::{Broken, Property, Scene, picture};

/// See the module.
#[derive(Default)]
pub struct LogsMatch {
    judged: u64,
    chains: BTreeMap<(LogIndex, Term), (Chain, NodeId)>,
}

/// Places that are remembered; the oldest are forgotten first.
const PLACES_MAX: usize = 1 << 16;

impl Property for LogsMatch {
    fn id(&self) -> &'static str {
        "logs-match"
    }

    fn title(&self) -> &'static str {
        "equal index and term mean equal logs"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let (index, term, chain) = match *scene.evidence {
            Evidence::Persist { to, term, chain, .. } => (to, term, chain),
            Evidence::Commit {
                index,
                term,
                chain: Some(chain),
            } => (index, term, chain),
            Evidence::Purge {
                upto: Position { index, term, chain },
            }
            | Evidence::Snapshot {
                last: Position { index, term, chain },
                ..
            }
            | Evidence::Boot {
                last: Some(Position { index, term, chain }),
                ..
            } => (index, term, chain),
            _ => return None,
        };
        let node = scene.moment.node;
        let of_committed = || {
            let committed = scene.view.committed();
            let chain = committed.chain(index)?;
            (committed.term(index) == Some(term)).then_some((chain, node))
        };
        let known = self.chains.get(&(index, term)).copied().or_else(of_committed);
        let Some((other, by)) = known else {
            self.chains.insert((index, term), (chain, node));
            if self.chains.len() > PLACES_MAX {
                self.chains.pop_first();
            }
            return None;
        };
        self.judged += 1;
        (other != chain).then(|| {
            let (one, two) = (picture::chain_text(chain), picture::chain_text(other));
            let sentence = format!(
                "{node} and {by} both have entry {index} of term {term}, but not the same log: chain {one} and {two}"
            );
            Broken::at(index, Some(other), sentence)
        })
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
