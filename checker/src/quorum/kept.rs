//! Committed entries are kept: no node cuts one off its log, or anything at or below its own commit or applied index,
//! and none purges what no snapshot of its own holds.
//!
//! Source: Raft paper §5.3 (a leader's commit is final), §7 for snapshots. Evidence: truncations (told before the first
//! byte changes), purges, commits; for purges also the durable snapshot.
//!
//! Blind spots: a deposed leader must cut its divergent tail, so an entry counts as committed only if it has the term
//! of the committed one; where that term is not known, the entry is not judged. And a member whose log differs from
//! what was committed further on was in none of the quorums that committed that far, so nobody counts on its copies
//! of what came before. openraft cuts such a log behind the member's own commit index, committed entries with it, when
//! it installs a snapshot that ends in the divergent part (alpha.37, `FollowingHandler::install_full_snapshot`).

use tribunal_history::{Evidence, LogIndex};

use super::{Broken, Property, Scene};

/// See the module.
#[derive(Default)]
pub struct CommittedKept {
    judged: u64,
}

impl Property for CommittedKept {
    fn id(&self) -> &'static str {
        "committed-kept"
    }

    fn title(&self) -> &'static str {
        "no committed entry is cut off or purged too early"
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        match *scene.evidence {
            Evidence::Truncate { after } => self.truncated(scene, after),
            Evidence::Purge { upto } => {
                let member = scene.view.node(scene.moment.node)?;
                let durable = scene.witness.log(scene.moment.node).map(|log| log.snapshot());
                let snapshot = durable.unwrap_or(member.snapshot);
                self.judged += 1;
                (snapshot.is_none_or(|snapshot| snapshot.index < upto.index)).then(|| {
                    let has = snapshot.map_or_else(
                        || "has no durable snapshot".to_owned(),
                        |snapshot| format!("has a durable snapshot up to entry {} only", snapshot.index),
                    );
                    let node = scene.moment.node;
                    let sentence = format!("{node} purged its log up to entry {} and {has}", upto.index);
                    Broken::at(upto.index, Some(upto.chain), sentence)
                })
            }
            _ => None,
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl CommittedKept {
    fn truncated(&mut self, scene: &Scene<'_>, after: Option<LogIndex>) -> Option<Broken> {
        let node = scene.moment.node;
        let member = scene.view.node(node)?;
        self.judged += 1;
        let own = [member.commit.map(|(index, _)| index), member.applied];
        let kept = after.map_or_else(|| "the beginning".to_owned(), |after| format!("entry {after}"));
        if let Some(own) = own.into_iter().flatten().max().filter(|own| Some(*own) > after) {
            let sentence = format!("{node} cuts its log after {kept}, although it took entry {own} as committed");
            return Some(Broken::at(own, None, sentence));
        }
        let committed = scene.view.committed();
        let end = member.log.last()?.min(committed.last()?.0);
        let first = after.map_or(0, |after| after.0 + 1);
        let mut cut = None;
        for index in (first..=end.0).map(LogIndex) {
            let Some(term) = committed.term(index) else {
                continue;
            };
            if member.log.term(index) != Some(term) {
                return None;
            }
            cut.get_or_insert((index, term));
        }
        let (index, term) = cut?;
        let sentence =
            format!("{node} cuts its log after {kept}, and with it the committed entry {index} of term {term}");
        Some(Broken::at(index, committed.chain(index), sentence))
    }
}
