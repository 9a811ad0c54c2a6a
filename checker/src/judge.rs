//! From recorded events to a judgement: pair, read, take apart by key, search, re-check, shrink, explain.

use std::collections::BTreeMap;
use std::time::Duration;

use tribunal_history::operation::{PairError, pair};
use tribunal_history::{AnomalyClass, Ending, Event, Finding, Operation, Outcome};

use crate::budget::{Budget, Limit};
use crate::consistency::Consistency;
use crate::explain::{self, Case};
use crate::linearizability::rounds::{Decision, Decisions, Engine, decide};
use crate::linearizability::{Entry, HardSpot, Partition, verify};
use crate::minimise::minimise;
use crate::spec::{
    CasRegister, Counter, EtcdKv, FifoQueue, Kv, MultiRegister, Mutex, ParseOperation, Recorded, ReentrantMutex,
    Register, Set, UniqueIds, UnorderedQueue,
};
use crate::{transactions, weaker};

/// What a judgement may cost.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps of search, all partitions together; a step is one attempt to place an operation.
    pub steps: u64,
    /// Time for the search; none for no limit. Shrinking comes on top.
    pub time: Option<Duration>,
    /// Memory for the search, in bytes, roughly.
    pub memory_bytes: u64,
    /// Steps for shrinking one counterexample.
    pub minimise_steps: u64,
    /// How many counterexamples are worked out, of the partitions that have one.
    pub findings_max: usize,
    /// Whether everything that changed the store since it was made is in the history, so that a revision that nobody can
    /// have made is a violation. Where that is not known, such a revision leaves the question open. Only `etcd-kv` asks.
    pub owns_store: bool,
    /// The model to judge by; none for the strongest that the specification knows.
    pub consistency: Option<Consistency>,
}

impl Default for Options {
    /// A minute, 4 GiB, and more steps than fit into a minute.
    fn default() -> Self {
        Self {
            steps: 10_000_000_000,
            time: Some(Duration::from_secs(60)),
            memory_bytes: 4 << 30,
            minimise_steps: 20_000_000,
            findings_max: 8,
            owns_store: false,
            consistency: None,
        }
    }
}

/// The outcome, what it rests on, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How the property came out that [`Judgement::consistency`] names.
    pub outcome: Outcome,
    /// The model that it was judged by.
    pub consistency: Consistency,
    /// The specification that it was judged by.
    pub specification: String,
    /// Objects that were judged each by itself.
    pub partitions: usize,
    /// Recorded operations.
    pub operations: usize,
    /// Those that ended ok and observed a value.
    pub reads: usize,
    /// Those in doubt.
    pub indeterminate: usize,
    /// Those that definitely did not happen.
    pub failed: usize,
    /// Partitions whose linearization was replayed and found right.
    pub certificates_verified: usize,
    /// Steps of search, shrinking included.
    pub steps: u64,
    /// The engines that decided.
    pub engine: String,
    /// For people: what was counted, or why it is open and what to raise.
    pub detail: String,
    /// What was found, in the order in which it became complete; what has no narrow name comes last.
    pub findings: Vec<Finding>,
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JudgeError {
    /// No specification has the name.
    #[error("no specification is called {name:?}; there are: {known}")]
    NoSuchSpecification {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The specification is not judged by the model.
    #[error("{specification} cannot be judged by the model {consistency}; it can be by: {known}")]
    NoSuchConsistency {
        /// The specification.
        specification: String,
        /// The model.
        consistency: String,
        /// Those that there are for it.
        known: String,
    },
    /// The events contradict each other.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// An operation is not one of the specification's.
    #[error(transparent)]
    Parse(#[from] ParseOperation),
}

/// A specification that histories can be judged by.
#[derive(Clone, Copy, Debug)]
pub struct Specification {
    /// Its name.
    pub name: &'static str,
    /// What it says, in one line.
    pub summary: &'static str,
    /// The model that it is judged by if no other is asked for: the strongest that it knows. An etcd whose reads were marked
    /// serializable is judged by [`Consistency::SerializableReads`] instead.
    pub consistency: Consistency,
    pub(crate) judge: fn(&[Event], &Options) -> Result<Judgement, JudgeError>,
}

const fn specification<S: Recorded>() -> Specification {
    Specification {
        name: S::NAME,
        summary: S::SUMMARY,
        consistency: Consistency::Linearizable,
        judge: judge_as::<S>,
    }
}

/// All specifications, by name.
pub fn specifications() -> &'static [Specification] {
    const ALL: &[Specification] = &[
        specification::<CasRegister>(),
        specification::<Counter>(),
        Specification {
            name: EtcdKv::NAME,
            summary: EtcdKv::SUMMARY,
            consistency: Consistency::Linearizable,
            judge: crate::revisions::judge,
        },
        specification::<FifoQueue>(),
        specification::<Kv>(),
        Specification {
            name: transactions::LIST_APPEND,
            summary: "transactions that append to lists and read them",
            consistency: Consistency::StrictSerializable,
            judge: transactions::judge_lists,
        },
        specification::<MultiRegister>(),
        specification::<Mutex>(),
        specification::<ReentrantMutex>(),
        specification::<Register>(),
        Specification {
            name: transactions::RW_REGISTER,
            summary: "transactions that write registers and read them",
            consistency: Consistency::StrictSerializable,
            judge: transactions::judge_registers,
        },
        specification::<Set>(),
        specification::<UniqueIds>(),
        specification::<UnorderedQueue>(),
    ];
    ALL
}

/// Judges `events` by the specification of that name.
pub fn judge(specification: &str, events: &[Event], options: &Options) -> Result<Judgement, JudgeError> {
    match specifications().iter().find(|known| known.name == specification) {
        Some(known) => (known.judge)(events, options),
        None => Err(JudgeError::NoSuchSpecification {
            name: specification.to_owned(),
            known: specifications()
                .iter()
                .map(|known| known.name)
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// Judges `events` by the specification `S`, which may be your own.
pub fn judge_as<S: Recorded>(events: &[Event], options: &Options) -> Result<Judgement, JudgeError> {
    if let Some(model) = options.consistency.filter(|model| model.is_weaker()) {
        return weaker::judge::<S>(model, events, options);
    }
    only(&Consistency::OF_OBJECTS, S::NAME, options)?;
    let operations = pair(events)?;
    let partitions = partitions::<S>(&operations)?;
    let mut budget = Budget::new(options.steps, options.time, options.memory_bytes);
    let Decisions { decisions, engines } = decide(&partitions, &mut budget);

    let mut judgement = Judgement {
        outcome: Outcome::Pass,
        consistency: Consistency::Linearizable,
        specification: S::NAME.to_owned(),
        partitions: partitions.len(),
        operations: operations.len(),
        reads: partitions
            .iter()
            .flat_map(|partition| &partition.entries)
            .filter(|entry| entry.is_required() && entry.ret.as_ref().is_some_and(|ret| S::observes(&entry.op, ret)))
            .count(),
        indeterminate: count(&operations, Ending::Info),
        failed: count(&operations, Ending::Fail),
        certificates_verified: 0,
        steps: budget.steps_used(),
        engine: engines.iter().map(Engine::to_string).collect::<Vec<_>>().join(", "),
        detail: String::new(),
        findings: Vec::new(),
    };
    let mut errors: Vec<String> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut illegal: Vec<&Partition<S>> = Vec::new();
    for (partition, decision) in partitions.iter().zip(decisions) {
        match decision {
            Decision::Linearizable(order) => match verify(&partition.entries, &order) {
                Ok(()) => judgement.certificates_verified += 1,
                Err(error) => errors.push(format!("{}: {error}", name(partition))),
            },
            Decision::NotLinearizable => illegal.push(partition),
            Decision::Unknown {
                limit,
                steps,
                hard_spot,
            } => open.push(undecided(partition, &operations, limit, steps, hard_spot)),
        }
    }
    for partition in illegal.iter().take(options.findings_max) {
        let minimal = minimise(partition, options.minimise_steps);
        judgement.steps += minimal.steps;
        if minimal.proved_again == Some(false) {
            errors.push(format!(
                "{}: one search finds no order and another finds one for the same {} operations",
                name(partition),
                minimal.entries.len()
            ));
            continue;
        }
        judgement.findings.push(explain::finding(&Case {
            events,
            operations: &operations,
            partition,
            minimal: &minimal,
        }));
    }
    // What has a narrow name says most, so it comes before what has none.
    judgement
        .findings
        .sort_by_key(|finding| (finding.class == AnomalyClass::NotLinearizable, finding.time_ns));
    (judgement.outcome, judgement.detail) = conclude(&judgement, illegal.len(), &open, &errors);
    Ok(judgement)
}

/// Refuses any model but those that are known, and names them.
pub(crate) fn only(known: &[Consistency], specification: &str, options: &Options) -> Result<(), JudgeError> {
    match options.consistency.filter(|model| !known.contains(model)) {
        None => Ok(()),
        Some(other) => Err(JudgeError::NoSuchConsistency {
            specification: specification.to_owned(),
            consistency: other.to_string(),
            known: known.iter().map(|model| model.name()).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// Reads the operations and sorts them by key; an entry's id is its place in `operations`. Definite failures are read too, since a malformed one is a
/// mistake all the same, and then left out.
pub fn partitions<S: Recorded>(operations: &[Operation]) -> Result<Vec<Partition<S>>, ParseOperation> {
    let mut by_key: BTreeMap<Option<String>, Vec<Entry<S>>> = BTreeMap::new();
    for (id, operation) in operations.iter().enumerate() {
        let (op, ret) = S::parse(operation)?;
        let entries = by_key.entry(S::partition(&op).map(str::to_owned)).or_default();
        if operation.ending == Ending::Fail {
            continue;
        }
        let end = operation.completed.filter(|_| operation.ending == Ending::Ok);
        let call = if S::may_be_stale(&op) { 0 } else { operation.invoked.0 };
        entries.push(Entry {
            id,
            op,
            ret,
            call,
            end: end.map(|seq| seq.0),
        });
        if let Some(op) = S::may_follow(operation) {
            let entries = by_key.entry(S::partition(&op).map(str::to_owned)).or_default();
            entries.push(Entry {
                id,
                op,
                ret: None,
                call: operation.invoked.0,
                end: None,
            });
        }
    }
    Ok(by_key
        .into_iter()
        .map(|(key, entries)| Partition::new(key, entries))
        .collect())
}

fn count(operations: &[Operation], ending: Ending) -> usize {
    operations.iter().filter(|operation| operation.ending == ending).count()
}

fn name<S: Recorded>(partition: &Partition<S>) -> &str {
    partition.key.as_deref().unwrap_or("the object")
}

/// An undecided partition for people: where it is hard, what it cost, what to raise.
fn undecided<S: Recorded>(
    partition: &Partition<S>,
    operations: &[Operation],
    limit: Option<Limit>,
    steps: u64,
    hard_spot: HardSpot,
) -> String {
    let key = name(partition);
    let Some(limit) = limit else {
        return format!("{key} was not decided, since another key is violated already");
    };
    let raise = limit.flag();
    if steps == 0 {
        return format!("{key} was not looked at: raise {raise}");
    }
    let place = hard_spot.blocked.map(|entry| {
        let operation = &operations[partition.entries[entry as usize].id];
        let time = explain::seconds(operation.completed_ns.unwrap_or(operation.invoked_ns));
        format!(
            " at {time}, where {} ends with {} operations open and {} in doubt",
            S::label(operation),
            hard_spot.open,
            hard_spot.in_doubt
        )
    });
    format!(
        "{key} is undecided after {steps} steps{}: raise {raise}",
        place.unwrap_or_default()
    )
}

/// Outcome and detail. A violation wins over everything; a mistake of ours over everything else.
fn conclude(judgement: &Judgement, illegal: usize, open: &[String], errors: &[String]) -> (Outcome, String) {
    let Judgement {
        partitions,
        operations,
        reads,
        indeterminate,
        failed,
        certificates_verified,
        ..
    } = judgement;
    let counted = format!(
        "{operations} operations on {partitions} keys, {reads} of them observed a value, {indeterminate} \
         indeterminate, {failed} failed"
    );
    if !judgement.findings.is_empty() {
        let keys: Vec<String> = judgement
            .findings
            .iter()
            .map(|finding| {
                let key = finding.key.as_deref().unwrap_or("the object");
                format!("{key} ({})", finding.class.title())
            })
            .collect();
        let more = match illegal.saturating_sub(judgement.findings.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let left = match open.len() {
            0 => String::new(),
            open => format!(", {open} not decided"),
        };
        let detail = format!(
            "no legal order for {}{more}; {certificates_verified} of {partitions} keys explained{left}; {counted}",
            keys.join(", ")
        );
        return (Outcome::Fail, detail);
    }
    if !errors.is_empty() {
        return (
            Outcome::Error,
            format!(
                "the checker contradicts itself, please report it: {}",
                errors.join("; ")
            ),
        );
    }
    if illegal > 0 {
        return (
            Outcome::Fail,
            format!("no legal order for {illegal} of {partitions} keys; {counted}"),
        );
    }
    if !open.is_empty() {
        const SHOWN: usize = 3;
        let more = match open.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let shown = open.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>();
        return (Outcome::Unknown, format!("{}{more}; {counted}", shown.join("; ")));
    }
    if *reads == 0 {
        return (
            Outcome::Vacuous,
            format!("no operation observed a value, so nothing could have been wrong; {counted}"),
        );
    }
    (
        Outcome::Pass,
        format!("{counted}; {certificates_verified} linearizations replayed"),
    )
}
