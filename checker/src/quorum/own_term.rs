//! No commit of an older term by counting alone: what a leader is the first to take as committed ends with an entry of
//! its own term. That an earlier leader had committed an entry, it may have heard before it was elected, and act on it
//! later.
//!
//! Source: Raft paper §5.4.2 and figure 8. Evidence: commits, and votes that made the node a leader.
//!
//! Blind spot: on recorded evidence nobody knows who was first, and it is not judged. A leader that was never seen
//! elected in this life counts as a follower here; its reads are judged by `reads-confirmed`.

use tribunal_history::Evidence;

use super::{Broken, Property, Scene, Scope};

/// See the module.
#[derive(Default)]
pub struct CommitsOwnTerm {
    judged: u64,
}

impl Property for CommitsOwnTerm {
    fn id(&self) -> &'static str {
        "commits-own-term"
    }

    fn title(&self) -> &'static str {
        "a leader commits by counting only in its own term"
    }

    fn applies(&self, scope: Scope) -> bool {
        scope == Scope::Exact
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let Evidence::Commit { index, term, chain } = *scene.evidence else {
            return None;
        };
        let leads = scene.view.node(scene.moment.node)?.leads?;
        self.judged += 1;
        (term != leads && !scene.view.committed().covers(index)).then(|| {
            let node = scene.moment.node;
            let sentence =
                format!("{node} led term {leads} and committed up to entry {index}, which is of term {term}");
            Broken::at(index, chain, sentence)
        })
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
