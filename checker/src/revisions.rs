//! Judges etcd's contract, and says which part of it is broken.
//!
//! The specification `etcd-kv` is judged first, by the revisions ([`witness`]). Where nothing explains the history, the
//! revisions and versions are erased and the values are judged again ([`Values`]): if nothing explains those either, the
//! store is not linearizable, and the findings say so as for any register. Otherwise the values are linearizable and the
//! *revision contract* is violated: a revision stands for two changes, goes back in time, was made by nobody, or does not
//! show what it should.
//!
//! Reads that were marked serializable may be old, unless linearizability is asked for: see
//! [`Consistency::SerializableReads`].

use tribunal_history::operation::pair;
use tribunal_history::{AnomalyClass, Ending, Event, Finding, Minimised, Operation, Outcome, Value};

use crate::budget::{Budget, Limit};
use crate::consistency::Consistency;
use crate::explain::{circumstances, draw};
use crate::judge::{JudgeError, Judgement, Options, judge_as, only, partitions};
use crate::linearizability::rounds::{Decision, decide};
use crate::linearizability::witness::{self, Conflict, Verdict};
use crate::linearizability::{Entry, HardSpot, Partition, verify};
use crate::spec::Recorded;
use crate::spec::etcd_kv::{EtcdKv, Op, Values, erasable};
use crate::weaker::serializable_reads::{mark_again, unmarked};

/// Judges `events` as what happened to all keys of one etcd. Where no model is asked for, it is linearizability, or that of
/// serializable reads if there are such reads.
pub fn judge(events: &[Event], options: &Options) -> Result<Judgement, JudgeError> {
    only(&Consistency::OF_ETCD, EtcdKv::NAME, options)?;
    let operations = pair(events)?;
    let mut partitions = partitions::<EtcdKv>(&operations)?;
    let entries = partitions.pop().map(|partition| partition.entries).unwrap_or_default();
    let has_marks = entries.iter().any(|entry| EtcdKv::may_be_stale(&entry.op));
    let model = options.consistency.unwrap_or(match has_marks {
        true => Consistency::SerializableReads,
        false => Consistency::Linearizable,
    });
    let options = Options {
        consistency: None,
        ..options.clone()
    };
    if has_marks && model == Consistency::Linearizable {
        let mut judgement = judge(&unmarked(events), &options)?;
        mark_again(&mut judgement.findings, events);
        return Ok(judgement);
    }
    let case = Case {
        events,
        operations: &operations,
        entries: &entries,
        options: &options,
    };
    let mut judgement = case.decide()?;
    judgement.consistency = model;
    for finding in &mut judgement.findings {
        finding.property = model.name().to_owned();
    }
    Ok(judgement)
}

/// Decides what [`judge`] would have decided, without a word on why.
pub(crate) fn decisions(partitions: &[Partition<EtcdKv>], is_exclusive: bool, budget: &mut Budget) -> Vec<Decision> {
    let mut decided = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let unknown = |limit, steps| Decision::Unknown {
            limit,
            steps,
            hard_spot: HardSpot::default(),
        };
        budget.spend(partition.entries.len() as u64);
        let steps = budget.steps_left().min(SEARCH_STEPS_MAX);
        match witness::decide(&partition.entries, is_exclusive, steps) {
            Verdict::Linearizable(order) => decided.push(Decision::Linearizable(order)),
            Verdict::Conflict(_) => decided.push(Decision::NotLinearizable),
            Verdict::Unexplained { .. } => decided.push(unknown(None, 0)),
            Verdict::TooHard { steps, .. } => {
                budget.spend(steps);
                decided.push(unknown(Some(Limit::Steps), steps));
            }
            Verdict::NotApplicable => decided.extend(decide(std::slice::from_ref(partition), budget).decisions),
        }
    }
    decided
}

/// More than any search that ends takes; a step costs a microsecond or so.
const SEARCH_STEPS_MAX: u64 = 50_000_000;

struct Case<'a> {
    events: &'a [Event],
    operations: &'a [Operation],
    entries: &'a [Entry<EtcdKv>],
    options: &'a Options,
}

impl Case<'_> {
    fn decide(&self) -> Result<Judgement, JudgeError> {
        let steps = self.options.steps.min(SEARCH_STEPS_MAX);
        match witness::decide(self.entries, self.options.owns_store, steps) {
            Verdict::Linearizable(order) => Ok(self.linearizable(&order)),
            Verdict::Conflict(conflict) => self.conflict(&conflict),
            Verdict::Unexplained { revision } => self.open(&format!(
                "revision {revision} was made by nobody in this history; it is a violation if nobody else used the store"
            )),
            Verdict::TooHard { steps, revision } => self.open(&format!(
                "after {steps} steps it is not known who made revision {revision}; raise --check-steps"
            )),
            Verdict::NotApplicable => self.without_order(),
        }
    }

    fn judgement(&self, outcome: Outcome, detail: &str) -> Judgement {
        let count = |ending| {
            self.operations
                .iter()
                .filter(|operation| operation.ending == ending)
                .count()
        };
        let observes = |entry: &&Entry<EtcdKv>| {
            entry.is_required() && entry.ret.as_ref().is_some_and(|ret| EtcdKv::observes(&entry.op, ret))
        };
        let reads = self.entries.iter().filter(observes).count();
        let (indeterminate, failed) = (count(Ending::Info), count(Ending::Fail));
        Judgement {
            outcome,
            consistency: Consistency::Linearizable,
            specification: EtcdKv::NAME.to_owned(),
            partitions: 1,
            operations: self.operations.len(),
            reads,
            indeterminate,
            failed,
            certificates_verified: 0,
            steps: self.entries.len() as u64,
            engine: "revisions".to_owned(),
            detail: format!(
                "{detail}; {} operations on one store, {reads} of them observed something, {indeterminate} indeterminate, \
                 {failed} failed",
                self.operations.len()
            ),
            findings: Vec::new(),
        }
    }

    fn linearizable(&self, order: &[u32]) -> Judgement {
        if let Err(error) = verify(self.entries, order) {
            let detail = format!("the checker contradicts itself, please report it: {error}");
            return self.judgement(Outcome::Error, &detail);
        }
        let mut judgement = self.judgement(Outcome::Pass, "the order of revisions was replayed");
        judgement.certificates_verified = 1;
        if judgement.reads == 0 {
            judgement.outcome = Outcome::Vacuous;
        }
        judgement
    }

    /// Judges the values alone; none if there is something that cannot be told without revisions.
    fn values(&self) -> Option<Result<Judgement, JudgeError>> {
        let parsed: Vec<_> = self
            .operations
            .iter()
            .filter_map(|operation| EtcdKv::parse(operation).ok())
            .collect();
        let judged = match erasable(&parsed)? {
            true => judge_as::<Values<true>>(self.events, self.options),
            false => judge_as::<Values<false>>(self.events, self.options),
        };
        Some(judged.map(|mut judgement| {
            judgement.engine = format!("revisions, {}", judgement.engine);
            judgement
        }))
    }

    /// Nothing explains it: what is wrong?
    fn conflict(&self, conflict: &Conflict) -> Result<Judgement, JudgeError> {
        let values = self.values().transpose()?;
        let about_values = match &values {
            Some(values) if values.outcome == Outcome::Fail => return Ok(values.clone()),
            Some(values) if matches!(values.outcome, Outcome::Pass | Outcome::Vacuous) => {
                "values linearizable; revision contract violated"
            }
            _ => "revision contract violated; whether the values alone are linearizable is not known",
        };
        let mut judgement = self.judgement(Outcome::Fail, about_values);
        if let Some(values) = values {
            judgement.engine = values.engine;
            judgement.steps += values.steps;
        }
        judgement.findings.push(self.finding(conflict));
        Ok(judgement)
    }

    /// It is not known whether the revisions can be explained; the values may be wrong all the same.
    fn open(&self, why: &str) -> Result<Judgement, JudgeError> {
        match self.values().transpose()? {
            Some(values) if values.outcome == Outcome::Fail => Ok(values),
            _ => Ok(self.judgement(Outcome::Unknown, why)),
        }
    }

    /// The revisions do not give an order, so one is searched for.
    fn without_order(&self) -> Result<Judgement, JudgeError> {
        let mut judged = judge_as::<EtcdKv>(self.events, self.options)?;
        if judged.outcome == Outcome::Fail {
            if let Some(values) = self.values().transpose()?
                && values.outcome == Outcome::Fail
            {
                return Ok(values);
            }
            for finding in &mut judged.findings {
                finding.class = AnomalyClass::RevisionContract;
            }
        }
        Ok(judged)
    }

    fn operation(&self, entry: u32) -> &Operation {
        &self.operations[self.entries[entry as usize].id]
    }

    /// What was asked and when, for people.
    fn told(&self, entry: u32) -> String {
        let operation = self.operation(entry);
        format!(
            "client {} on {} ({} to {}): {}",
            operation.process,
            operation.node,
            crate::explain::seconds(operation.invoked_ns),
            operation
                .completed_ns
                .map_or_else(|| "open".to_owned(), crate::explain::seconds),
            EtcdKv::label(operation)
        )
    }

    fn revision(&self, entry: u32) -> u64 {
        let ret = self.entries[entry as usize].ret.as_ref();
        ret.and_then(|ret| ret.revision).unwrap_or_default()
    }

    fn finding(&self, conflict: &Conflict) -> Finding {
        let (mut shown, sentence) = match *conflict {
            Conflict::SameRevision { one, other } => (
                vec![one, other],
                format!(
                    "Two changes were acknowledged with revision {}: {}; and {}. Each change makes a revision of its own.",
                    self.revision(one),
                    self.told(one),
                    self.told(other)
                ),
            ),
            Conflict::Backwards { first, second } => (
                vec![first, second],
                format!(
                    "The revision went back: {} ended with revision {}, and later {} began and was answered with revision {}{}.",
                    self.told(first),
                    self.revision(first),
                    self.told(second),
                    self.revision(second),
                    match self.revision(first) == self.revision(second) {
                        true => ", which it made itself",
                        false => "",
                    }
                ),
            ),
            Conflict::Unmade { revision, shown_by } => (
                vec![shown_by],
                format!(
                    "Nothing that was asked of the store can have made revision {revision}, and {} was answered with \
                     revision {}.",
                    self.told(shown_by),
                    self.revision(shown_by)
                ),
            ),
            Conflict::Contents { entry } => (
                self.with_maker(entry),
                format!(
                    "{} was answered with revision {}, and that is not what the changes up to that revision left.",
                    self.told(entry),
                    self.revision(entry)
                ),
            ),
        };
        shown.sort_by_key(|&entry| self.operation(entry).invoked);
        shown.dedup();
        let drawn: Vec<_> = shown
            .iter()
            .map(|&entry| draw::<EtcdKv>(self.operation(entry)))
            .collect();
        let begun_ns = drawn
            .iter()
            .map(|operation| operation.invoked_ns)
            .min()
            .unwrap_or_default();
        let time_ns = drawn
            .iter()
            .filter_map(|operation| operation.completed_ns)
            .max()
            .unwrap_or(begun_ns);
        Finding {
            property: "linearizable".to_owned(),
            class: AnomalyClass::RevisionContract,
            key: self.key(&shown),
            sentence,
            context: circumstances::context(self.events, begun_ns, begun_ns, time_ns),
            minimised: Minimised {
                from: self.entries.len(),
                to: drawn.len(),
                proved_again: self.is_plain(conflict),
            },
            operations: drawn,
            state_before: Value::Null,
            longest_legal: Vec::new(),
            blocked: Vec::new(),
            time_ns,
            picture: None,
        }
    }

    /// The key that all of these operations name, if it is one.
    fn key(&self, shown: &[u32]) -> Option<String> {
        let mut keys = shown
            .iter()
            .map(|&entry| self.operation(entry).input.get("key").and_then(Value::as_text));
        let first = keys.next()??;
        keys.all(|key| key == Some(first)).then(|| first.to_owned())
    }

    /// An operation, and the one that made its revision.
    fn with_maker(&self, entry: u32) -> Vec<u32> {
        let revision = self.revision(entry);
        let made_it = |other: &u32| {
            let ret = self.entries[*other as usize].ret.as_ref();
            let made = ret
                .and_then(|ret| ret.txn.as_ref())
                .is_some_and(|txn| txn.has_written());
            made && self.revision(*other) == revision
        };
        let mut shown = vec![entry];
        shown.extend((0..self.entries.len() as u32).find(made_it));
        shown
    }

    /// Whether two operations alone show it, looked at as they were recorded.
    fn is_plain(&self, conflict: &Conflict) -> bool {
        match *conflict {
            Conflict::SameRevision { one, other } => {
                let (one, other) = (self.operation(one), self.operation(other));
                one.invoked != other.invoked && one.revision.is_some() && one.revision == other.revision
            }
            Conflict::Backwards { first, second } => {
                let (before, after) = (self.operation(first), self.operation(second));
                // A serializable read may be as old as it likes; then the other one is what is wrong.
                let is_stale = matches!(&self.entries[second as usize].op, op @ Op::Txn(_) if EtcdKv::may_be_stale(op));
                !is_stale
                    && before.completed.is_some_and(|end| end < after.invoked)
                    && before.revision.is_some_and(|revision| Some(revision) >= after.revision)
            }
            Conflict::Unmade { .. } | Conflict::Contents { .. } => {
                self.entries.len() <= 64 && crate::linearizability::brute::by_sets(self.entries, 1 << 14) == Some(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_history_says_nothing() {
        let judged = judge(&[], &Options::default()).expect("no operations are well formed");
        assert_eq!(judged.outcome, Outcome::Vacuous);
        assert_eq!(EtcdKv::default().revision(), 1);
    }
}
