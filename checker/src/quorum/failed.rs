//! Failed stays out: an operation whose client was told that it failed has no effect, now or later.
//!
//! Source: the meaning of a definite failure. Evidence: the endings that clients recorded, and applied entries: an
//! entry has an effect if the revision after it is another than before.
//!
//! Blind spot: an entry that the state machine refused (its lease is gone, a revision in it is compacted) is in the
//! log and fails by contract; one whose only effect is none on the revision cannot be told from it.

use std::collections::{BTreeMap, BTreeSet};

use tribunal_history::{Evidence, LogIndex, NodeId, Revision};

use super::{Broken, Property, Scene};

/// See the module.
#[derive(Default)]
pub struct FailedStaysOut {
    judged: u64,
    failed: BTreeSet<u64>,
    /// Operations that had an effect, and where.
    effective: BTreeMap<u64, LogIndex>,
    /// The revision of each node's state, and of which entry.
    revisions: BTreeMap<NodeId, (LogIndex, Revision)>,
}

/// Operations that are remembered: the last ones, since numbers grow.
const OPERATIONS_MAX: usize = 1 << 20;

impl Property for FailedStaysOut {
    fn id(&self) -> &'static str {
        "failed-stays-out"
    }

    fn title(&self) -> &'static str {
        "an operation that failed is not committed"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let Evidence::Apply {
            index,
            operation,
            revision,
            ..
        } = *scene.evidence
        else {
            return None;
        };
        let before = self.revisions.insert(scene.moment.node, (index, revision));
        let follows = before.is_some_and(|(before, _)| before.0 + 1 == index.0);
        let has_effect = follows && before.is_some_and(|(_, before)| before != revision);
        if operation == 0 || !has_effect || self.effective.insert(operation, index).is_some() {
            return None;
        }
        if self.effective.len() > OPERATIONS_MAX {
            self.effective.pop_first();
        }
        self.failed.contains(&operation).then(|| broken(operation, index))
    }

    fn failed(&mut self, operation: u64) -> Option<Broken> {
        self.judged += 1;
        self.failed.insert(operation);
        let index = *self.effective.get(&operation)?;
        Some(broken(operation, index))
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

fn broken(operation: u64, index: LogIndex) -> Broken {
    let sentence = format!("Operation {operation} failed by the word of its client, and took effect at entry {index}");
    Broken::at(index, None, sentence)
}
