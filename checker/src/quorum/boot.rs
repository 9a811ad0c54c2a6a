//! A life starts where the last one ended: what a node recovers is what it said was durable, plus at most a tail that
//! it did not live to tell of; and it is what its disk holds.
//!
//! Source: Raft paper §5.1 (the log and the vote are persistent). Evidence: persists, truncations (an intent, told
//! before the first byte changes, so that a crash between the two leaves either), purges and snapshots of earlier
//! lives, against the boot; and the durable bytes of the disk at that instant, where they can be read. What was
//! recovered is applied again from the snapshot on, entry by entry: the first entry that a life applies follows its
//! snapshot.
//!
//! A node whose disk has rotted is judged by its own word too: checksums tell damage, so it may refuse to start and may
//! not start with less.
//!
//! Blind spot: votes against earlier ones are judged by `votes-kept`; a node whose disk lied is not judged; another
//! member on the same machine starts from nothing.

use tribunal_history::evidence::{Ballot, Position};
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
        if let Evidence::Boot { vote, last, .. } = *scene.evidence
            && let Some(broken) = self.differs_from_disk(scene, vote, last)
        {
            return Some(broken);
        }
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
    /// What a life goes on from is durable before it says so, and a reader of our own finds it on the disk.
    fn differs_from_disk(
        &mut self,
        scene: &mut Scene<'_>,
        vote: Option<Ballot>,
        last: Option<Position>,
    ) -> Option<Broken> {
        let node = scene.moment.node;
        let log = scene.witness.log(node)?;
        self.judged += 1;
        let (on_disk, vote_on_disk) = (log.end(), log.vote());
        if on_disk != last {
            let text = |end: Option<Position>| match end {
                Some(Position { index, term, .. }) => format!("with entry {index} of term {term}"),
                None => "with no entry at all".to_owned(),
            };
            let why = match log.ends_early() {
                Some(why) => format!(" ({why})"),
                None if on_disk.map(|end| (end.index, end.term)) == last.map(|end| (end.index, end.term)) => {
                    " too, but what comes before it is another log".to_owned()
                }
                None => String::new(),
            };
            let sentence = format!(
                "{node} recovered a log that ends {}, and the one on its disk ends {}{why}",
                text(last),
                text(on_disk)
            );
            let end = last.or(on_disk)?;
            return Some(Broken::at(end.index, None, sentence));
        }
        (vote != vote_on_disk).then(|| {
            let sentence = format!("{node} recovered another vote than the one on its disk");
            Broken::new(sentence)
        })
    }

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
