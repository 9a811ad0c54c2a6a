//! Promises of the protocol, checked at each step against what nodes say of themselves and what is on their disks.
//!
//! An [`Auditor`] is told of every event of every node ([`Evidence`]) in the order in which they happened. Each
//! [`Property`] is a state machine of its own, in a file of its own, with its source and its blind spot; a property
//! that sees its promise broken says so at that instant, with a [picture](tribunal_history::Picture) of who had what. Where the durable bytes of the
//! disks can be read ([`Witness`]), they are the witness and not the nodes: a store that says that an entry is durable
//! before it is gets no belief.
//!
//! Two scopes ([`Scope`]): in a simulation there is one order of all events and every disk can be read; of processes
//! there are files of evidence, each in the order of its node, and only what needs no common order is judged.
//!
//! A node whose disk lied or lost bits is believed and not audited ([`Auditor::suspect`]): the faults of a run reach
//! a minority of disks at most, so that a quorum of honest ones stays. What a majority of lost disks breaks is no
//! violation, and such a run must not be audited.
//!
//! Nothing here runs by itself, and nothing depends on anything but what it was told: the same events give the same
//! findings.

mod acknowledged;
mod applied;
mod boot;
mod committed;
mod completeness;
mod confirmed;
mod elections;
mod failed;
mod kept;
mod log;
mod matching;
mod once;
mod own_term;
mod picture;
mod reads;
mod view;
mod votes;
mod wal;

use std::collections::BTreeMap;

use tribunal_history::evidence::{Chain, Configuration};
use tribunal_history::{AnomalyClass, Evidence, Finding, LogIndex, MemberId, Minimised, NodeId, Outcome, Term, Value};

pub use log::Log;
pub use view::{Committed, Member, Moment, View};
pub use wal::{Changes, DurableLog, Files, Held};

/// What can be seen of the cluster at this instant without asking it.
pub trait Witness {
    /// The log that a node's disk durably holds; none where nobody can say, or where the disk is not to be trusted.
    fn log(&mut self, node: NodeId) -> Option<&DurableLog>;

    /// Whether a node lives; none where nobody can say.
    fn is_up(&self, _node: NodeId) -> Option<bool> {
        None
    }
}

/// Nothing can be seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWitness;

impl Witness for NoWitness {
    fn log(&mut self, _node: NodeId) -> Option<&DurableLog> {
        None
    }
}

/// What the events that an auditor is told are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All events of all nodes in one order, each at the instant at which it happened.
    Exact,
    /// The events of each node in its own order; nothing is known of the order between two nodes, and what a crash
    /// kept from the file is missing.
    Recorded,
}

/// What a property sees: an event, and the cluster as it was before.
pub struct Scene<'a> {
    /// When, and whose.
    pub moment: Moment,
    /// What happened.
    pub evidence: &'a Evidence,
    /// The cluster before it.
    pub view: &'a View,
    /// What else can be seen now.
    pub witness: &'a mut dyn Witness,
    /// What the events are.
    pub scope: Scope,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What happened, in a sentence or two.
    pub sentence: String,
    /// The entry that it is about.
    pub entry: Option<(LogIndex, Option<Chain>)>,
    /// The configuration that counts.
    pub configuration: Option<Configuration>,
}

impl Broken {
    fn at(entry: LogIndex, chain: Option<Chain>, sentence: String) -> Self {
        Self {
            sentence,
            entry: Some((entry, chain)),
            configuration: None,
        }
    }

    fn new(sentence: String) -> Self {
        Self {
            sentence,
            entry: None,
            configuration: None,
        }
    }
}

/// A promise of the protocol.
pub trait Property: Send {
    /// Its id in reports.
    fn id(&self) -> &'static str;

    /// What it promises, in a few words for people.
    fn title(&self) -> &'static str;

    /// Whether it can be judged on events of this scope.
    fn applies(&self, _scope: Scope) -> bool {
        true
    }

    /// Hears of an event; says if it breaks the promise.
    fn hear(&mut self, scene: &mut Scene<'_>) -> Option<Broken>;

    /// A client's operation definitely failed.
    fn failed(&mut self, _operation: u64) -> Option<Broken> {
        None
    }

    /// How often there was something to judge.
    fn judged(&self) -> u64;
}

/// How a property came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its id.
    pub id: &'static str,
    /// What it promises.
    pub title: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// How often there was something to judge.
    pub judged: u64,
    /// How often it was broken; of these only the first is a finding.
    pub broken: u64,
}

/// Listens to the evidence of a cluster and judges it.
pub struct Auditor {
    scope: Scope,
    view: View,
    properties: Vec<(Box<dyn Property>, u64)>,
    findings: Vec<Finding>,
    events: u64,
}

impl Auditor {
    /// An auditor that has heard nothing yet, with all properties that its scope allows.
    pub fn new(scope: Scope) -> Self {
        let all: Vec<Box<dyn Property>> = vec![
            Box::<acknowledged::AcknowledgedOnQuorum>::default(),
            Box::<committed::CommittedOnQuorum>::default(),
            Box::<own_term::CommitsOwnTerm>::default(),
            Box::<elections::OneLeader>::default(),
            Box::<votes::VotesKept>::default(),
            Box::<matching::LogsMatch>::default(),
            Box::<completeness::LeaderHasAll>::default(),
            Box::<kept::CommittedKept>::default(),
            Box::<boot::BootIsFold>::default(),
            Box::<applied::AppliedAgree>::default(),
            Box::<reads::ReadIndexFresh>::default(),
            Box::<confirmed::ReadsConfirmed>::default(),
            Box::<once::CommittedOnce>::default(),
            Box::<failed::FailedStaysOut>::default(),
        ];
        let applicable = all.into_iter().filter(|property| property.applies(scope));
        Self {
            scope,
            view: View::default(),
            properties: applicable.map(|property| (property, 0)).collect(),
            findings: Vec::new(),
            events: 0,
        }
    }

    /// Hears of an event, at the instant at which it happens if the scope is exact.
    pub fn hear(&mut self, moment: Moment, evidence: &Evidence, witness: &mut dyn Witness) {
        self.events += 1;
        for (property, broken) in &mut self.properties {
            let heard = property.hear(&mut Scene {
                moment,
                evidence,
                view: &self.view,
                witness,
                scope: self.scope,
            });
            if let Some(found) = heard {
                *broken += 1;
                if *broken == 1 {
                    let finding = finding(property.as_ref(), found, moment.time_ns, &self.view, witness);
                    self.findings.push(finding);
                }
            }
        }
        self.view.hear(&moment, evidence, witness);
    }

    /// From now on a node's disk is not to be trusted; none: it is again, since there is another disk in its place.
    pub fn suspect(&mut self, node: NodeId, why: Option<String>) {
        self.view.suspect(node, why);
    }

    /// A client was told that its operation failed and had no effect.
    pub fn failed(&mut self, operation: u64, time_ns: u64, witness: &mut dyn Witness) {
        for (property, broken) in &mut self.properties {
            if let Some(found) = property.failed(operation) {
                *broken += 1;
                if *broken == 1 {
                    let finding = finding(property.as_ref(), found, time_ns, &self.view, witness);
                    self.findings.push(finding);
                }
            }
        }
    }

    /// What nodes have said so far, put together.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Events heard so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was found so far: of each property the first violation, in order of time.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How the properties came out so far.
    pub fn judged(&self) -> Vec<Judged> {
        let judge = |(property, broken): &(Box<dyn Property>, u64)| Judged {
            id: property.id(),
            title: property.title(),
            outcome: match (*broken, property.judged()) {
                (0, 0) => Outcome::Vacuous,
                (0, _) => Outcome::Pass,
                _ => Outcome::Fail,
            },
            judged: property.judged(),
            broken: *broken,
        };
        self.properties.iter().map(judge).collect()
    }
}

fn finding(property: &dyn Property, broken: Broken, time_ns: u64, view: &View, witness: &mut dyn Witness) -> Finding {
    let in_force = view.nodes().filter(|(_, member)| member.leads.is_some());
    let in_force = in_force
        .max_by_key(|(_, member)| member.leads)
        .or_else(|| view.nodes().next())
        .and_then(|(_, member)| member.configuration().cloned());
    let configuration = broken.configuration.or(in_force);
    Finding {
        property: property.id().to_owned(),
        class: AnomalyClass::BrokenPromise,
        key: None,
        sentence: broken.sentence,
        context: led_then(view, witness),
        operations: Vec::new(),
        state_before: Value::Null,
        longest_legal: Vec::new(),
        blocked: Vec::new(),
        minimised: Minimised {
            from: 0,
            to: 0,
            proved_again: false,
        },
        time_ns,
        picture: Some(picture::draw(view, witness, configuration.as_ref(), broken.entry)),
    }
}

fn led_then(view: &View, witness: &dyn Witness) -> String {
    let leaders: Vec<String> = view
        .nodes()
        .filter(|(node, _)| witness.is_up(*node) != Some(false))
        .filter_map(|(node, member)| member.leads.map(|term| format!("{node} led term {term}")))
        .collect();
    match leaders.as_slice() {
        [] => "Nobody led at that instant.".to_owned(),
        leaders => format!("At that instant {}.", leaders.join(", ")),
    }
}

/// Whether a majority of each set of voters is `counted`.
fn majority(configuration: &Configuration, mut counted: impl FnMut(MemberId) -> bool) -> bool {
    let mut majority_of = |set: &Vec<MemberId>| {
        let count = set.iter().filter(|member| counted(**member)).count();
        2 * count > set.len()
    };
    !configuration.voters.is_empty() && configuration.voters.iter().all(&mut majority_of)
}

/// Whether a member durably holds an entry: by its disk, or by its word where that cannot be read. With `accepted` an
/// entry that it accepted under a later leader does not count: that leader's predecessor cannot have counted it.
fn holds_durably(
    view: &View,
    witness: &mut dyn Witness,
    member: MemberId,
    entry: (LogIndex, Term, Option<Chain>),
    accepted: Option<Term>,
) -> bool {
    let (index, term, chain) = entry;
    let Some(node) = view.place(member) else { return false };
    let Some(known) = view.node(node).filter(|known| known.member == member) else {
        return false;
    };
    match (witness.log(node), chain) {
        (Some(log), Some(chain)) => match log.holds(index, chain) {
            Some(Held::Log(under)) => accepted.is_none_or(|leader| under <= leader),
            Some(Held::Snapshot(_)) => true,
            None => false,
        },
        _ => known.says_it_holds(index, term, chain),
    }
}

/// A configuration for people.
fn voters_text(view: &View, configuration: &Configuration) -> String {
    let name = |member: &MemberId| match view.place(*member) {
        Some(node) => node.to_string(),
        None => format!("member {member}"),
    };
    let sets = configuration.voters.iter();
    let sets: Vec<String> = sets
        .map(|set| set.iter().map(name).collect::<Vec<_>>().join(", "))
        .collect();
    sets.join(" and of ")
}

/// Who of the voters holds an entry, for people.
fn holders_text(configuration: &Configuration, view: &View, mut holds: impl FnMut(MemberId) -> bool) -> String {
    let mut names: BTreeMap<MemberId, String> = BTreeMap::new();
    for member in configuration.voters.iter().flatten() {
        if holds(*member) {
            let name = view.place(*member).map(|node| node.to_string());
            names.insert(*member, name.unwrap_or_else(|| format!("member {member}")));
        }
    }
    let mut names: Vec<String> = names.into_values().collect();
    names.sort();
    match names.as_slice() {
        [] => "none of them has it".to_owned(),
        [one] => format!("only {one} has it"),
        several => format!("only {} have it", several.join(", ")),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_members;
