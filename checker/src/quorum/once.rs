//! Committed once: the entry of an operation is committed at one place at most.
//!
//! Source: the store's own promise that a command is proposed at most once (etcd's clients rely on it: a put has no
//! idempotency key). Evidence: applied entries with the operation they carry.
//!
//! Blind spot: operations without a number, from clients that are not ours.

use std::collections::BTreeMap;

use tribunal_history::{Evidence, LogIndex};

use super::{Broken, Property, Scene};

/// See the module.
#[derive(Default)]
pub struct CommittedOnce {
    judged: u64,
    places: BTreeMap<u64, LogIndex>,
}

/// Operations that are remembered: the last ones, since numbers grow.
const OPERATIONS_MAX: usize = 1 << 20;

impl Property for CommittedOnce {
    fn id(&self) -> &'static str {
        "committed-once"
    }

    fn title(&self) -> &'static str {
        "an operation is committed at most once"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let Evidence::Apply { index, operation, .. } = *scene.evidence else {
            return None;
        };
        if operation == 0 {
            return None;
        }
        self.judged += 1;
        let first = *self.places.entry(operation).or_insert(index);
        if self.places.len() > OPERATIONS_MAX {
            self.places.pop_first();
        }
        (first != index).then(|| {
            let node = scene.moment.node;
            let sentence = format!(
                "Operation {operation} is committed twice: at entry {first} and at entry {index}, seen on {node}"
            );
            Broken::at(index, None, sentence)
        })
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
