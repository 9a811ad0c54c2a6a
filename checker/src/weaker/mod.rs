//! Models weaker than linearizability, for any specification whose operations show their values: sequential consistency
//! ([`sequential`]) and the four guarantees of a session ([`sessions`]). And one for etcd, which is judged by revisions:
//! [`serializable_reads`].
//!
//! All but that one need values that are written once. That is looked up in the history; where it does not hold, or where
//! operations hide their values, the question stays open.

use tribunal_history::operation::pair;
use tribunal_history::{AnomalyClass, DrawnOperation, Ending, Event, Finding, Minimised, Operation, Outcome, Value};

use crate::budget::Budget;
use crate::consistency::Consistency;
use crate::explain::{self, draw};
use crate::judge::{JudgeError, Judgement, Options, partitions};
use crate::spec::Recorded;
use crate::transactions;

mod sequential;
pub(crate) mod serializable_reads;
mod sessions;
mod values;

use sequential::Answer;
use sessions::{Circle, Why};
use values::{Action, Unfit, Values};

/// Judges `events` by the specification `S` under a model that is weaker than linearizability.
pub(crate) fn judge<S: Recorded>(
    model: Consistency,
    events: &[Event],
    options: &Options,
) -> Result<Judgement, JudgeError> {
    let operations = pair(events)?;
    let partitions = partitions::<S>(&operations)?;
    let case = Case {
        model,
        events,
        operations: &operations,
        options,
        draw: draw::<S>,
        label: S::label,
    };
    let values = match Values::read(&operations, &partitions) {
        Ok(values) => values,
        Err(Unfit::Open(why)) => {
            let mut judgement = case.judgement::<S>(partitions.len(), 0);
            judgement.outcome = Outcome::Unknown;
            judgement.detail = format!("{why}; {}", judgement.detail);
            return Ok(judgement);
        }
        Err(Unfit::Unwritten {
            reader,
            failed,
            key,
            value,
        }) => {
            let mut judgement = case.judgement::<S>(partitions.len(), 1);
            case.unwritten(&mut judgement, reader, failed, &key, &value);
            return Ok(judgement);
        }
    };
    let reads = values
        .done
        .iter()
        .filter(|done| done.action.observed().is_some())
        .count();
    let mut judgement = case.judgement::<S>(partitions.len(), reads);
    if reads == 0 {
        judgement.outcome = Outcome::Vacuous;
        judgement.detail = format!(
            "nothing was read, so nothing could have been wrong; {}",
            judgement.detail
        );
        return Ok(judgement);
    }
    match model {
        Consistency::Sequential => case.sequential(&values, &mut judgement),
        _ => case.sessions(&values, &mut judgement),
    }
    Ok(judgement)
}

struct Case<'a> {
    model: Consistency,
    events: &'a [Event],
    operations: &'a [Operation],
    options: &'a Options,
    draw: fn(&Operation) -> DrawnOperation,
    label: fn(&Operation) -> String,
}

impl Case<'_> {
    /// The judgement of a history with which nothing is wrong, with what was counted as its detail.
    fn judgement<S: Recorded>(&self, keys: usize, reads: usize) -> Judgement {
        let count = |ending| {
            let ended = self.operations.iter().filter(|operation| operation.ending == ending);
            ended.count()
        };
        let (indeterminate, failed) = (count(Ending::Info), count(Ending::Fail));
        Judgement {
            outcome: Outcome::Pass,
            consistency: self.model,
            specification: S::NAME.to_owned(),
            partitions: keys,
            operations: self.operations.len(),
            reads,
            indeterminate,
            failed,
            certificates_verified: 0,
            steps: self.operations.len() as u64,
            engine: match self.model {
                Consistency::Sequential => "dependencies, depth first".to_owned(),
                _ => "versions".to_owned(),
            },
            detail: format!(
                "{} operations on {keys} keys, {reads} of them observed a value, {indeterminate} indeterminate, {failed} \
                 failed",
                self.operations.len()
            ),
            findings: Vec::new(),
        }
    }

    fn unwritten(&self, judgement: &mut Judgement, reader: usize, failed: Option<usize>, key: &str, value: &Value) {
        let read = self.told(reader);
        let (class, sentence) = match failed {
            Some(failed) => (
                AnomalyClass::FailedTookEffect,
                format!("{read}, but {} had definitely failed.", self.told(failed)),
            ),
            None => (
                AnomalyClass::PhantomValue,
                format!("{read}, and nobody ever wrote {value}."),
            ),
        };
        let mut ids = vec![reader];
        ids.extend(failed);
        let finding = self.finding(class, Some(key.to_owned()), sentence, ids, true);
        judgement.outcome = Outcome::Fail;
        judgement.detail = format!("{key}: {}; {}", class.title(), judgement.detail);
        judgement.findings.push(finding);
    }

    fn sessions(&self, values: &Values, judgement: &mut Judgement) {
        let circles = sessions::circles(values, self.model);
        if circles.is_empty() {
            judgement.detail = format!(
                "an order of each key's versions obeys what every client saw; {}",
                judgement.detail
            );
            return;
        }
        judgement.outcome = Outcome::Fail;
        judgement.detail = format!("violated on {} keys; {}", circles.len(), judgement.detail);
        let mut findings: Vec<Finding> = circles.iter().map(|circle| self.circle(values, circle)).collect();
        findings.sort_by_key(|finding| finding.time_ns);
        findings.truncate(self.options.findings_max);
        judgement.findings = findings;
    }

    fn circle(&self, values: &Values, circle: &Circle) -> Finding {
        let key = &values.keys[circle.key as usize];
        let all = &values.values[circle.key as usize];
        let mut ids = Vec::new();
        let mut sentences = Vec::new();
        for (at, (version, why)) in circle.steps.iter().enumerate() {
            let next = circle.steps[(at + 1) % circle.steps.len()].0;
            let (old, new) = (&all[*version as usize], &all[next as usize]);
            let because = match *why {
                Why::Initial => format!("{old} is what {key} held at first"),
                Why::Swapped(id) => {
                    ids.push(id);
                    self.told(id)
                }
                Why::Session(one, other) => {
                    ids.extend([one, other]);
                    match one == other {
                        true => self.told(one),
                        false => format!("{}, and then {}", self.told(one), (self.label)(&self.operations[other])),
                    }
                }
            };
            sentences.push(format!("{old} is older than {new}: {because}."));
        }
        let sentence = format!(
            "{} No order of the versions of {key} is such: {}.",
            sentences.join(" "),
            self.model.violated()
        );
        self.finding(AnomalyClass::SessionGuarantee, Some(key.clone()), sentence, ids, true)
    }

    fn sequential(&self, values: &Values, judgement: &mut Judgement) {
        let steps = self.as_transactions(values);
        let refuted = transactions::judge_operations(
            self.events,
            &steps,
            Consistency::StrongSessionSerializable,
            self.options,
        );
        if let Ok(refuted) = refuted
            && refuted.outcome == Outcome::Fail
        {
            judgement.outcome = Outcome::Fail;
            judgement.detail = format!("operations depend on each other in a circle; {}", judgement.detail);
            judgement.findings = refuted
                .findings
                .into_iter()
                .map(|finding| self.translated(finding))
                .collect();
            return;
        }
        let mut budget = Budget::new(self.options.steps, self.options.time, self.options.memory_bytes);
        let answer = sequential::search(values, &mut budget);
        judgement.steps = judgement.steps.saturating_add(budget.steps_used());
        match answer {
            Answer::Order(order) => match sequential::replay(values, &order) {
                Ok(()) => {
                    judgement.certificates_verified = 1;
                    judgement.detail = format!("one order of all operations was replayed; {}", judgement.detail);
                }
                Err(error) => {
                    judgement.outcome = Outcome::Error;
                    judgement.detail = format!("the checker contradicts itself, please report it: {error}");
                }
            },
            Answer::None(blocked) => {
                judgement.outcome = Outcome::Fail;
                judgement.detail = format!("every order was tried; {}", judgement.detail);
                let ids: Vec<usize> = blocked.iter().map(|place| values.done[*place].id).collect();
                let told: Vec<String> = ids.iter().map(|id| self.told(*id)).collect();
                let sentence = format!(
                    "No order of all operations that keeps each client's own explains them. However they are ordered, \
                     some of these are left over: {}.",
                    told.join("; ")
                );
                judgement
                    .findings
                    .push(self.finding(AnomalyClass::NotSequential, None, sentence, ids, false));
            }
            Answer::Open(limit) => {
                judgement.outcome = Outcome::Unknown;
                judgement.detail = format!(
                    "undecided after {} steps: raise {}; {}",
                    budget.steps_used(),
                    limit.flag(),
                    judgement.detail
                );
            }
        }
    }

    /// The same operations as transactions of one step, or of two for a compare-and-set.
    fn as_transactions(&self, values: &Values) -> Vec<Operation> {
        let step =
            |function: &str, key: &str, value: &Value| Value::List(vec![function.into(), key.into(), value.clone()]);
        values
            .done
            .iter()
            .map(|done| {
                let key = values.keys[done.key as usize].as_str();
                let value = |number: u32| match (number, &values.values[done.key as usize][number as usize]) {
                    (0, _) => Value::Null,
                    (_, Value::Null) => Value::Text("null".to_owned()),
                    (_, value) => value.clone(),
                };
                let (asked, answered) = match done.action {
                    Action::Read(read) => (vec![step("r", key, &Value::Null)], vec![step("r", key, &value(read))]),
                    Action::Write(made) => (vec![step("w", key, &value(made))], vec![step("w", key, &value(made))]),
                    Action::Update(found, made) => (
                        vec![step("r", key, &Value::Null), step("w", key, &value(made))],
                        vec![step("r", key, &value(found)), step("w", key, &value(made))],
                    ),
                };
                let is_ok = done.is_certain;
                Operation {
                    input: Value::List(asked),
                    output: if is_ok { Value::List(answered) } else { Value::Null },
                    ..self.operations[done.id].clone()
                }
            })
            .collect()
    }

    /// A finding about transactions as one about the operations that they stand for.
    fn translated(&self, finding: Finding) -> Finding {
        let drawn = finding.operations.iter().filter_map(|drawn| {
            let operation = self
                .operations
                .iter()
                .find(|operation| operation.invoked == drawn.invoked);
            operation.map(self.draw)
        });
        Finding {
            property: self.model.name().to_owned(),
            operations: drawn.collect(),
            sentence: finding.sentence.replace("the transaction of", "the operation of"),
            ..finding
        }
    }

    /// What was asked and when, for people.
    fn told(&self, id: usize) -> String {
        let operation = &self.operations[id];
        format!(
            "client {} on {} at {}: {}",
            operation.process,
            operation.node,
            explain::seconds(operation.invoked_ns),
            (self.label)(operation)
        )
    }

    fn finding(
        &self,
        class: AnomalyClass,
        key: Option<String>,
        sentence: String,
        mut ids: Vec<usize>,
        is_proved: bool,
    ) -> Finding {
        ids.sort_unstable();
        ids.dedup();
        let drawn: Vec<DrawnOperation> = ids.iter().map(|id| (self.draw)(&self.operations[*id])).collect();
        let minimised = Minimised {
            from: self.operations.len(),
            to: drawn.len(),
            proved_again: is_proved,
        };
        explain::told(self.events, self.model, (class, key, sentence), drawn, minimised)
    }
}
