//! A life starts where the last one ended: what a node recovers is what it said was durable, plus at most a tail that
//! it did not live to tell of.
//!
//! Source: Raft paper §5.1 (the log and the vote are persistent). Evidence: persists, truncations (an intent, told
//! before the first byte changes, so that a crash between the two leaves either), purges and snapshots of earlier
//! lives, against the boot. What was recovered is applied again from the snapshot on, entry by entry: the first
//! entry that a life applies follows its snapshot.
//!
//! Blind spot: votes are judged by `votes-kept`; a node whose disk lied or rotted is not judged; another member on
//! the same machine starts from nothing.

use tribunal_history::{Evidence, LogIndex, NodeId};

use super::{Broken, Property, Scene};

/// See the module.
#[derive(Default)]
pub struct BootIsFold {
    judged: u64,
}

impl Property for BootIsFold {
    fn id(&self) -> &'static str {
        "boot-is-fold"
    }

    fn title(&self) -> &'static str {
        "a node recovers all that it said was durable"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let node = scene.moment.node;
        let known = scene.view.node(node).filter(|known| known.suspect.is_none())?;
        match *scene.evidence {
            Evidence::Boot {
                member, last, purged, ..
            } => {
                if known.member != member {
                    return None;
                }
                self.judged += 1;
                let recovered = last.map(|last| last.index);
                if recovered < known.log.last() {
                    return Some(self.lost(node, known.log.last(), recovered));
                }
                if purged.map(|purged| purged.index) < known.purged {
                    let sentence = format!("{node} recovered a log from before it was purged");
                    return Some(Broken::new(sentence));
                }
                let last = last.filter(|last| known.log.last() == Some(last.index) && !known.is_cutting)?;
                let is_same = known.log.term(last.index).is_none_or(|term| term == last.term)
                    && known.log.chain(last.index).is_none_or(|chain| chain == last.chain);
                (!is_same).then(|| {
                    let index = last.index;
                    let sentence = format!("{node} recovered another entry {index} than it had said was durable");
                    Broken::at(index, known.log.chain(index), sentence)
                })
            }
            Evidence::Apply { index, term, .. } if known.applied.is_none() => {
                // A machine that was not told of a snapshot starts from nothing.
                let is_first = index.0 == 0;
                self.judged += 1;
                (!is_first).then(|| {
                    let sentence = format!(
                        "{node} starts with entry {index} of term {term}, without a snapshot of what was before it"
                    );
                    Broken::at(index, None, sentence)
                })
            }
            _ => None,
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl BootIsFold {
    fn lost(&self, node: NodeId, durable: Option<LogIndex>, recovered: Option<LogIndex>) -> Broken {
        let index = durable.unwrap_or_default();
        let ends = recovered.map_or_else(
            || "no entry at all".to_owned(),
            |last| format!("entry {last} as the last one"),
        );
        Broken::at(
            index,
            None,
            format!("{node} recovered {ends}, although it had said that entry {index} was durable"),
        )
    }
}
