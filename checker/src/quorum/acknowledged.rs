//! Acknowledged on quorum: a client is told ok only after the entry was committed, and a majority of each set of
//! voters durably holds it then.
//!
//! Source: Raft paper §5.3 and §5.4; Raft dissertation §4.3 for two sets of voters. Evidence: acknowledgements,
//! commits, configurations, and the durable bytes of every disk at that instant. Learners do not count, and the
//! leader only with its own sync.
//!
//! Blind spot: a majority that loses its disks together, later; an acknowledgement whose members were replaced
//! meanwhile is checked against the configuration that committed it or the one in force now, whichever it satisfies.

use tribunal_history::evidence::Configuration;
use tribunal_history::{Evidence, LogIndex};

use super::{Broken, Property, Scene, Scope, holders_text, holds_durably, majority, voters_text};

/// See the module.
#[derive(Default)]
pub struct AcknowledgedOnQuorum {
    judged: u64,
    /// From which committed entry on which configuration counted.
    committed_by: Vec<(LogIndex, Configuration)>,
}

/// Configurations that are remembered; an acknowledgement is never later than so many changes.
const CONFIGURATIONS_MAX: usize = 16;

impl Property for AcknowledgedOnQuorum {
    fn id(&self) -> &'static str {
        "acknowledged-on-quorum"
    }

    fn title(&self) -> &'static str {
        "an acknowledged write is durable on a quorum"
    }

    fn applies(&self, scope: Scope) -> bool {
        scope == Scope::Exact
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        let view = scene.view;
        if let Evidence::Commit { index, .. } = scene.evidence {
            let configuration = view.node(scene.moment.node)?.configuration()?;
            let is_new = self.committed_by.last().is_none_or(|(_, known)| known != configuration);
            if is_new && !view.committed().covers(*index) {
                // One commit covers all entries since the one before, and this configuration counted for each of them.
                let first = view
                    .committed()
                    .last()
                    .map_or(LogIndex(0), |(last, ..)| LogIndex(last.0 + 1));
                self.committed_by.push((first, configuration.clone()));
                if self.committed_by.len() > CONFIGURATIONS_MAX {
                    self.committed_by.remove(0);
                }
            }
            return None;
        }
        let Evidence::Ack {
            operation, index, term, ..
        } = scene.evidence
        else {
            return None;
        };
        self.judged += 1;
        let node = scene.moment.node;
        let in_force = view
            .nodes()
            .filter(|(_, member)| member.leads.is_some())
            .max_by_key(|(_, member)| member.leads)
            .or_else(|| view.nodes().find(|(named, _)| *named == node))
            .and_then(|(_, member)| member.configuration())?;
        let committed = view.committed();
        let chain = committed.chain(*index).or_else(|| {
            let log = &mut *scene.witness;
            view.nodes().find_map(|(node, _)| {
                let position = log.log(node)?.position(*index)?;
                (position.term == *term).then_some(position.chain)
            })
        });
        let entry = (*index, *term, chain);
        let broken = |why: String| {
            Some(Broken {
                sentence: format!(
                    "{node} told a client ok for operation {operation} (entry {index} of term {term}){why}"
                ),
                entry: Some((*index, chain)),
                configuration: Some(in_force.clone()),
            })
        };
        if let Some(other) = committed.term(*index).filter(|other| other != term) {
            return broken(format!(", but the committed entry there is of term {other}"));
        }
        let by = self.committed_by.iter().rev().find(|(from, _)| from <= index);
        let candidates = std::iter::once(in_force).chain(by.map(|(_, configuration)| configuration));
        let mut holds = |member| holds_durably(view, scene.witness, member, entry, None);
        let is_held = candidates
            .into_iter()
            .any(|configuration| majority(configuration, &mut holds));
        if is_held && committed.covers(*index) {
            return None;
        }
        let who = holders_text(in_force, view, holds);
        let sets = voters_text(view, in_force);
        if is_held {
            return broken(", which nobody had committed".to_owned());
        }
        broken(format!(", which no majority of {sets} held durably: {who}"))
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
