//! Reads are confirmed: whoever names the index for a linearizable read was elected in this life, has committed an
//! entry of its own term or names one (the read then waits for its commit), and got answers to messages that it sent
//! after the read had arrived from a majority of each set of voters; and who answers the read got its index from such a
//! leader, after the read had arrived.
//!
//! Source: Raft dissertation §6.4; etcd #20418 for what happens otherwise. Evidence: arrivals of reads, answers of
//! followers with the time of the message (the leader's own monotonic clock, which only it compares), indexes named.
//!
//! The configuration counts that the leader has when it asks; if it appended another one while the read was under way,
//! either does.
//!
//! Blind spot: a lease read trusts clocks; such reads are not judged here. Two things at one instant of the
//! clock count as one after the other.

use std::collections::BTreeMap;

use tribunal_history::{Evidence, Incarnation, LogIndex, MemberId, NodeId, Term};

use super::{Broken, Property, Scene, Scope, majority, voters_text};

/// See the module.
#[derive(Default)]
pub struct ReadsConfirmed {
    judged: u64,
    /// Counts what is heard, for the order of it.
    heard: u64,
    /// Reads that have begun: when, by the node's clock and by `heard`.
    begun: BTreeMap<(NodeId, Incarnation, u64), (u64, u64)>,
    /// When a node appended its last configurations, by `heard`.
    configured: BTreeMap<NodeId, Vec<u64>>,
    /// The last message of a leader that a member answered: its term, and when it was sent.
    answers: BTreeMap<(NodeId, Incarnation, MemberId), (Term, u64)>,
    /// When an index was named last, by `heard`.
    named: BTreeMap<(Term, LogIndex), u64>,
}

/// Reads of a life that are remembered.
const READS_MAX: u64 = 4096;

/// Configurations of a node whose time is remembered; a read is not under way for longer than so many changes.
const CONFIGURATIONS_MAX: usize = 16;

/// Named indexes that are remembered: the last ones.
const NAMED_MAX: usize = 4096;

impl Property for ReadsConfirmed {
    fn id(&self) -> &'static str {
        "reads-confirmed"
    }

    fn title(&self) -> &'static str {
        "a quorum confirms the leader before a linearizable read"
    }

    fn applies(&self, scope: Scope) -> bool {
        scope == Scope::Exact
    }

    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken> {
        self.heard += 1;
        let (node, incarnation) = (scene.moment.node, scene.moment.incarnation);
        match *scene.evidence {
            Evidence::Configured { .. } => {
                let times = self.configured.entry(node).or_default();
                times.push(self.heard);
                if times.len() > CONFIGURATIONS_MAX {
                    times.remove(0);
                }
                None
            }
            Evidence::Boot { .. } => {
                self.configured.remove(&node);
                self.begun.retain(|(of, _, _), _| *of != node);
                self.answers.retain(|(of, _, _), _| *of != node);
                None
            }
            Evidence::ReadBegun { read } => {
                self.begun
                    .insert((node, incarnation, read), (scene.moment.own_ns, self.heard));
                self.begun.remove(&(node, incarnation, read.saturating_sub(READS_MAX)));
                None
            }
            Evidence::Confirmed { by, term, sent_ns } => {
                let answer = self.answers.entry((node, incarnation, by)).or_default();
                *answer = (*answer).max((term, sent_ns));
                None
            }
            Evidence::ReadIndex {
                read,
                term,
                index,
                lease,
            } => {
                self.named.insert((term, index), self.heard);
                if self.named.len() > NAMED_MAX {
                    self.named.pop_first();
                }
                let begun = *self.begun.get(&(node, incarnation, read))?;
                if lease {
                    return None;
                }
                self.judged += 1;
                self.named_by(scene, term, index, begun)
            }
            Evidence::Read {
                read: Some(read),
                term,
                read_index,
                operation,
                ..
            } => {
                let (_, begun) = self.begun.remove(&(node, incarnation, read))?;
                self.judged += 1;
                let named = self.named.get(&(term, read_index)).copied();
                (named.is_none_or(|named| named < begun)).then(|| {
                    let sentence = format!(
                        "{node} answers the linearizable read {operation} at index {read_index}, which no leader of term {term} \
                         named after the read had arrived"
                    );
                    Broken::at(read_index, None, sentence)
                })
            }
            _ => None,
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl ReadsConfirmed {
    fn named_by(
        &self,
        scene: &Scene<'_>,
        term: Term,
        index: LogIndex,
        (begun_ns, begun): (u64, u64),
    ) -> Option<Broken> {
        let (node, incarnation) = (scene.moment.node, scene.moment.incarnation);
        let member = scene.view.node(node)?;
        let broken = |why: String| {
            let sentence =
                format!("{node} names index {index} for a linearizable read as the leader of term {term}, {why}");
            Some(Broken::at(index, None, sentence))
        };
        if member.leads != Some(term) {
            return broken("but was not elected to that in this life".to_owned());
        }
        // Who waits for an entry of the leader's own term waits for its commit.
        let has_committed = member.commit.is_some_and(|(_, committed)| committed == term);
        if !has_committed && Some(index) <= member.elected_at {
            return broken("but has neither committed an entry of that term nor named one".to_owned());
        }
        let configuration = member.configuration()?;
        let confirms = |voter: MemberId| {
            let answer = self.answers.get(&(node, incarnation, voter));
            voter == member.member || answer.is_some_and(|(of, sent)| *of == term && *sent >= begun_ns)
        };
        let times = self.configured.get(&node).map(Vec::as_slice).unwrap_or_default();
        let since = times.iter().filter(|time| **time > begun).count();
        let mut counted = member.configurations.iter().rev().take(1 + since);
        if counted.any(|(_, configuration)| majority(configuration, confirms)) {
            return None;
        }
        let voters = voters_text(scene.view, configuration);
        let mut broken = broken(format!(
            "but no majority of {voters} had answered a message that it sent after the read arrived"
        ));
        if let Some(broken) = &mut broken {
            broken.configuration = Some(configuration.clone());
        }
        broken
    }
}
