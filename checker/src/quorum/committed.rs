//! Committed on quorum: whoever first learns that an entry is committed can rely on a majority of each set of voters
//! that durably holds it, accepted under the leader that counted them.
//!
//! Source: Raft paper §5.3; dissertation §4.3. Evidence: commits with their chains, configurations, and the durable
//! bytes of every disk at that instant; of a leader the configuration that it appended last counts.
//!
//! Blind spot: a follower may tell of a commit before its leader does (the leader died in between); the configuration
//! of the leader of the last term, or of the follower, must be satisfied then.

use tribunal_history::Evidence;

use super::{Broken, Property, Scene, Scope, holders_text, holds_durably, majority, voters_text};

/// See the module.
#[derive(Default)]
pub struct CommittedOnQuorum {
    judged: u64,
}

impl Property for CommittedOnQuorum {
    fn id(&self) -> &'static str {
        "committed-on-quorum"
    }

    fn title(&self) -> &'static str {
        "a committed entry is durable on a quorum"
    }

    fn applies(&self, scope: Scope) -> bool {
        scope == Scope::Exact
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let Evidence::Commit { index, term, chain } = *scene.evidence else {
            return None;
        };
        let view = scene.view;
        if view.committed().covers(index) {
            let known = view.committed().term(index).filter(|known| *known != term)?;
            let node = scene.moment.node;
            let sentence = format!(
                "{node} took entry {index} of term {term} as committed, and another had one of term {known} there"
            );
            return Some(Broken::at(index, chain, sentence));
        }
        let member = view.node(scene.moment.node)?;
        let leader = view
            .nodes()
            .filter(|(_, member)| member.leads.is_some())
            .max_by_key(|(_, member)| member.leads);
        let own = member.configuration()?;
        let of_leader = leader.and_then(|(_, leader)| leader.configuration());
        let candidates = match member.leads {
            Some(_) => vec![own],
            None => of_leader.into_iter().chain([own]).collect(),
        };
        self.judged += 1;
        let mut holds = |member_id| holds_durably(view, scene.witness, member_id, (index, term, chain), member.leads);
        if candidates
            .iter()
            .any(|configuration| majority(configuration, &mut holds))
        {
            return None;
        }
        let who = holders_text(own, view, holds);
        Some(Broken {
            sentence: format!(
                "{} took entry {index} of term {term} as committed, which no majority of {} held durably: {who}",
                scene.moment.node,
                voters_text(view, own),
            ),
            entry: Some((index, chain)),
            configuration: Some(own.clone()),
        })
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
