//! State machine safety: all nodes apply the same entry at an index, in order, once in each life, only what was
//! committed, and come to the same revision; a snapshot, too, has the revision that its last entry led to, and
//! snapshots of one place have one content.
//!
//! Source: Raft paper §5.4.3 and §7; etcd's revision as the state's fingerprint. Evidence: applied entries with their
//! revision and operation, snapshots with their revision and digest, commits.
//!
//! Blind spot: states that differ at equal revision are seen at the next snapshot of the same place only.

use std::collections::BTreeMap;

use tribunal_history::{Evidence, LogIndex, NodeId, Revision, Term};

use super::{Broken, Property, Scene, Scope};

/// See the module.
#[derive(Default)]
pub struct AppliedAgree {
    judged: u64,
    /// By index; from the first one that was applied.
    applied: BTreeMap<LogIndex, Applied>,
    digests: BTreeMap<LogIndex, (u128, NodeId)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Applied {
    term: Term,
    revision: Revision,
    operation: u64,
    by: NodeId,
}

/// Entries that are remembered; a node that is further behind gets a snapshot, or is not compared.
const ENTRIES_MAX: usize = 1 << 20;

impl Property for AppliedAgree {
    fn id(&self) -> &'static str {
        "applied-agree"
    }

    fn title(&self) -> &'static str {
        "all nodes apply the same entries to the same effect"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let node = scene.moment.node;
        match *scene.evidence {
            Evidence::Apply {
                index,
                term,
                revision,
                operation,
            } => {
                self.judged += 1;
                let member = scene.view.node(node)?;
                if let Some(before) = member.applied.filter(|before| before.0 + 1 != index.0) {
                    let sentence = format!("{node} applied entry {index} right after entry {before}");
                    return Some(Broken::at(index, None, sentence));
                }
                // A node that starts applies what its log remembers as committed, before it tells of a commit.
                if scene.scope == Scope::Exact && !scene.view.committed().covers(index) {
                    let sentence = format!("{node} applied entry {index} of term {term} before anybody committed it");
                    return Some(Broken::at(index, None, sentence));
                }
                let mine = Applied {
                    term,
                    revision,
                    operation,
                    by: node,
                };
                let Some(other) = self.applied.get(&index).copied() else {
                    self.applied.insert(index, mine);
                    if self.applied.len() > ENTRIES_MAX {
                        self.applied.pop_first();
                    }
                    return None;
                };
                (Applied { by: node, ..other } != mine).then(|| {
                    let text = |applied: Applied| {
                        let Applied {
                            term,
                            revision,
                            operation,
                            by,
                        } = applied;
                        format!("{by} applied operation {operation} of term {term} and came to revision {revision}")
                    };
                    let sentence = format!("At entry {index} {}, but {}", text(mine), text(other));
                    Broken::at(index, None, sentence)
                })
            }
            Evidence::Snapshot {
                last, digest, revision, ..
            } => {
                self.judged += 1;
                let committed = scene.view.committed();
                if let Some(chain) = committed.chain(last.index).filter(|chain| *chain != last.chain) {
                    let sentence = format!(
                        "{node} has a snapshot up to entry {} that is not of the committed log",
                        last.index
                    );
                    return Some(Broken::at(last.index, Some(chain), sentence));
                }
                if let Some(applied) = self
                    .applied
                    .get(&last.index)
                    .filter(|applied| applied.revision != revision)
                {
                    let sentence = format!(
                        "{node} has a snapshot up to entry {} with revision {revision}, but {} applied that entry and came to \
                         revision {}",
                        last.index, applied.by, applied.revision
                    );
                    return Some(Broken::at(last.index, Some(last.chain), sentence));
                }
                let (known, by) = *self.digests.entry(last.index).or_insert((digest, node));
                (known != digest).then(|| {
                    let sentence = format!("{node} and {by} have snapshots up to entry {} that differ", last.index);
                    Broken::at(last.index, Some(last.chain), sentence)
                })
            }
            _ => None,
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
