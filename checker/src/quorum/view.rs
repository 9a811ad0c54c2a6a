//! What nodes have said so far, put together; every property looks at it.

use std::collections::BTreeMap;

use tribunal_history::evidence::{Ballot, Chain, Configuration, Position};
use tribunal_history::{Evidence, Incarnation, LogIndex, MemberId, NodeId, Term};

use super::Witness;
use super::log::Log;

/// When something was said, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Who.
    pub node: NodeId,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// Nanoseconds since the start of the run, by the observer's clock.
    pub time_ns: u64,
    /// Nanoseconds of the node's own monotonic clock.
    pub own_ns: u64,
}

/// The cluster as its evidence tells it.
#[derive(Clone, Debug, Default)]
pub struct View {
    nodes: BTreeMap<NodeId, Member>,
    places: BTreeMap<MemberId, NodeId>,
    committed: Committed,
}

/// A node, in the life that it has or had last.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its member id.
    pub member: MemberId,
    /// Which life.
    pub incarnation: Incarnation,
    /// Its last durable vote.
    pub vote: Option<Ballot>,
    /// The term that it leads: it was elected in this life and has not voted in a later term.
    pub leads: Option<Term>,
    /// The last entry that it had when it was elected to that; those behind it are of its own term.
    pub elected_at: Option<LogIndex>,
    /// Its durable log.
    pub log: Log,
    /// Something was cut off the log since it grew last: what is on the disk is not certain.
    pub is_cutting: bool,
    /// Configurations by the index of their entries; the last one is in force.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// The last commit that it told of in this life.
    pub commit: Option<(LogIndex, Term)>,
    /// The last entry that it applied in this life.
    pub applied: Option<LogIndex>,
    /// Its last durable snapshot.
    pub snapshot: Option<Position>,
    /// The last entry that it purged.
    pub purged: Option<LogIndex>,
    /// Why its disk cannot be trusted: it lied, or lost bits. Such a node is believed, not audited.
    pub suspect: Option<String>,
}

impl Member {
    /// The configuration in force.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configurations.last().map(|(_, configuration)| configuration)
    }

    /// Whether its own word is that it durably holds an entry. What it recovered and never told of is believed.
    pub fn says_it_holds(&self, index: LogIndex, term: Term, chain: Option<Chain>) -> bool {
        if self.snapshot.is_some_and(|snapshot| snapshot.index >= index) {
            return true;
        }
        let contradicts = |known: Chain| chain.is_some_and(|chain| chain != known);
        match self.log.term(index) {
            Some(known) => known == term && !self.log.chain(index).is_some_and(contradicts),
            None => self.log.last() > Some(index),
        }
    }
}

impl View {
    /// The nodes, by number.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.nodes.iter().map(|(node, member)| (*node, member))
    }

    /// A node that has said something.
    pub fn node(&self, node: NodeId) -> Option<&Member> {
        self.nodes.get(&node)
    }

    /// Where a member is.
    pub fn place(&self, member: MemberId) -> Option<NodeId> {
        self.places.get(&member).copied()
    }

    /// What is committed.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    pub(super) fn suspect(&mut self, node: NodeId, why: Option<String>) {
        self.nodes.entry(node).or_default().suspect = why;
    }

    /// Takes what was said into account.
    pub(super) fn hear(&mut self, moment: &Moment, evidence: &Evidence, witness: &mut dyn Witness) {
        let member = self.nodes.entry(moment.node).or_default();
        match evidence {
            Evidence::Boot {
                member: id,
                vote,
                last,
                purged,
                ..
            } => {
                if member.member != *id {
                    let suspect = member.suspect.take();
                    *member = Member {
                        member: *id,
                        suspect,
                        ..Member::default()
                    };
                }
                member.incarnation = moment.incarnation;
                member.vote = *vote;
                member.leads = None;
                member.log.recover(*last);
                member.is_cutting = false;
                member.configurations.clear();
                (member.commit, member.applied) = (None, None);
                member.purged = purged.map(|purged| purged.index);
                self.places.insert(*id, moment.node);
            }
            Evidence::Vote {
                term,
                voted_for,
                committed,
            } => {
                member.vote = Some(Ballot {
                    term: *term,
                    voted_for: *voted_for,
                    committed: *committed,
                });
                let is_elected = *committed && *voted_for == member.member;
                if is_elected && member.leads != Some(*term) {
                    member.elected_at = member.log.last();
                }
                member.leads = is_elected.then_some(*term);
            }
            Evidence::Persist {
                from, to, term, chain, ..
            } => {
                let end = Position {
                    index: *to,
                    term: *term,
                    chain: *chain,
                };
                member.log.extend(*from, end);
                member.is_cutting = false;
            }
            Evidence::Truncate { after } => {
                member.log.cut(*after);
                member.is_cutting = true;
                member
                    .configurations
                    .retain(|(index, _)| after.is_some_and(|after| *index <= after));
            }
            Evidence::Purge { upto } => {
                member.log.purge(*upto);
                member.purged = Some(upto.index);
            }
            Evidence::Configured {
                index, configuration, ..
            } => member.configure(*index, configuration),
            Evidence::Snapshot {
                last,
                configured,
                configuration,
                origin,
                ..
            } => {
                member.snapshot = Some(*last);
                if let Some(index) = configured {
                    member.configure(*index, configuration);
                }
                if *origin != tribunal_history::evidence::SnapshotOrigin::Built {
                    member.applied = Some(last.index);
                }
            }
            Evidence::Commit { index, term, chain } => {
                member.commit = Some((*index, *term));
                self.committed.advance(*index, *term, *chain, witness, &self.nodes);
            }
            Evidence::Apply { index, term, .. } => {
                member.applied = Some(*index);
                self.committed.learn_term(*index, *term);
            }
            Evidence::Role { .. }
            | Evidence::Ack { .. }
            | Evidence::ReadBegun { .. }
            | Evidence::Confirmed { .. }
            | Evidence::ReadIndex { .. }
            | Evidence::Read { .. }
            | Evidence::SyncFailed { .. } => {}
        }
    }
}

impl Member {
    fn configure(&mut self, index: LogIndex, configuration: &Configuration) {
        let place = self.configurations.partition_point(|(known, _)| *known < index);
        match self.configurations.get_mut(place) {
            Some((known, before)) if *known == index => before.clone_from(configuration),
            _ => self.configurations.insert(place, (index, configuration.clone())),
        }
    }
}

/// The entries that somebody said are committed: there is one log of them, or the cluster is broken.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// By index; what is not known yet is none.
    entries: Vec<(Option<Term>, Option<Chain>)>,
}

impl Committed {
    /// The last one, with its term, and its chain if somebody knew it.
    pub fn last(&self) -> Option<(LogIndex, Term, Option<Chain>)> {
        let index = self.entries.len().checked_sub(1)?;
        let (term, chain) = self.entries[index];
        Some((LogIndex(index as u64), term.unwrap_or_default(), chain))
    }

    /// Whether an entry is committed.
    pub fn covers(&self, index: LogIndex) -> bool {
        index.0 < self.entries.len() as u64
    }

    /// The term of a committed entry, if it is known.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        self.entries.get(usize::try_from(index.0).ok()?)?.0
    }

    /// The chain up to a committed entry, if it is known.
    pub fn chain(&self, index: LogIndex) -> Option<Chain> {
        self.entries.get(usize::try_from(index.0).ok()?)?.1
    }

    fn learn_term(&mut self, index: LogIndex, term: Term) {
        let Ok(place) = usize::try_from(index.0) else { return };
        if let Some((known, _)) = self.entries.get_mut(place) {
            known.get_or_insert(term);
        }
    }

    /// Entries up to `index` are committed. What is between is read from a disk that holds the last one.
    fn advance(
        &mut self,
        index: LogIndex,
        term: Term,
        chain: Option<Chain>,
        witness: &mut dyn Witness,
        nodes: &BTreeMap<NodeId, Member>,
    ) {
        let Ok(place) = usize::try_from(index.0) else { return };
        // A place that no real log reaches is a lie of the system under test, and not worth the memory.
        if place > ENTRIES_MAX {
            return;
        }
        if place < self.entries.len() {
            let (known_term, known_chain) = &mut self.entries[place];
            known_term.get_or_insert(term);
            if known_chain.is_none() && *known_term == Some(term) {
                *known_chain = chain;
            }
            return;
        }
        let first = self.entries.len();
        self.entries.resize(place + 1, (None, None));
        self.entries[place] = (Some(term), chain);
        if let Some(chain) = chain {
            for node in nodes.keys() {
                let Some(log) = witness.log(*node) else { continue };
                if log.position(index).is_some_and(|position| position.chain == chain) {
                    for (place, entry) in self.entries.iter_mut().enumerate().skip(first) {
                        if let Some(position) = log.position(LogIndex(place as u64)) {
                            *entry = (Some(position.term), Some(position.chain));
                        }
                    }
                    break;
                }
            }
        }
    }
}

/// More entries than a run of days commits.
const ENTRIES_MAX: usize = 1 << 28;
