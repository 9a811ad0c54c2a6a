//! Judges transactions: which dependencies among them are certain, and whether they run in a circle.
//!
//! A transaction is a few steps on keys, and its keys hold lists (`lists`: append and read) or registers
//! (`registers`: write and read). From what was read follows who wrote before whom, who read from whom, and who missed
//! what another one wrote; with what each client did in order, and what had ended before what began, that is a graph
//! (`graph`). A circle in it is an anomaly, named by its steps (`circles`), and each model of isolation forbids some
//! ([`Consistency::forbids`]). Other anomalies need no circle (`direct`). The names and the method are those of Adya
//! (1999) and of Kingsbury and Alvaro (Elle, VLDB 2020).
//!
//! Work and memory are linear in the number of steps and of elements that were read, while nothing is wrong; what is
//! spent on short explanations has a budget.
//!
//! Left out: predicates, so of G2 there is only G2-item; deletes; registers in which a value is written twice.

use tribunal_history::operation::pair_without_values;
use tribunal_history::{AnomalyClass, DrawnOperation, Ending, Event, Finding, Minimised, Operation, Outcome, Value};

use crate::consistency::Consistency;
use crate::explain;
use crate::judge::{JudgeError, Judgement, Options};

mod certificate;
mod circles;
mod direct;
mod graph;
mod lists;
mod nodes;
mod parse;
mod registers;
mod words;

use circles::{Circle, Known};
use direct::{Direct, Directs, told};
use graph::{Builder, Graph};
use lists::Lists;
use nodes::Nodes;
use parse::{Kind, Parsed, Step, Values, elements};
use registers::Registers;
use words::Records;

/// The specification's name for lists.
pub(crate) const LIST_APPEND: &str = "list-append";
/// The specification's name for registers.
pub(crate) const RW_REGISTER: &str = "rw-register";

/// Judges transactions over lists.
pub(crate) fn judge_lists(events: &[Event], options: &Options) -> Result<Judgement, JudgeError> {
    judge(Kind::Lists, events, options)
}

/// Judges transactions over registers.
pub(crate) fn judge_registers(events: &[Event], options: &Options) -> Result<Judgement, JudgeError> {
    judge(Kind::Registers, events, options)
}

/// The specification whose transactions these are, if their steps tell.
pub fn recognise(events: &[Event]) -> Option<&'static str> {
    let mut found = None;
    for event in events {
        let Event::Invoke(invocation) = event else { continue };
        let input = invocation.input.get("value").unwrap_or(&invocation.input);
        let Value::List(steps) = input else { return None };
        for step in steps {
            let Value::List(parts) = step else { return None };
            let [Value::Text(function), _, _] = parts.as_slice() else {
                return None;
            };
            let specification = match function.strip_prefix(':').unwrap_or(function) {
                "append" => LIST_APPEND,
                "w" => RW_REGISTER,
                "r" => continue,
                _ => return None,
            };
            if found.is_some_and(|found| found != specification) {
                return None;
            }
            found = Some(specification);
        }
    }
    found
}

fn judge(kind: Kind, events: &[Event], options: &Options) -> Result<Judgement, JudgeError> {
    let operations = pair_without_values(events)?;
    let model = options.consistency.unwrap_or(Consistency::StrictSerializable);
    if !model.is_of_transactions() {
        return Err(JudgeError::NoSuchConsistency {
            specification: kind.name().to_owned(),
            consistency: model.to_string(),
            known: Consistency::OF_TRANSACTIONS.map(Consistency::name).join(", "),
        });
    }
    let values = Values::in_events(events, &operations);
    judge_parsed(kind, events, (&operations, &values), model, options)
}

/// Judges operations that stand in place of the recorded ones as transactions over lists.
pub(crate) fn judge_list_operations(
    events: &[Event],
    operations: &[Operation],
    options: &Options,
) -> Result<Judgement, JudgeError> {
    judge_parsed(
        Kind::Lists,
        events,
        (operations, &Values::of(operations)),
        Consistency::StrictSerializable,
        options,
    )
}

/// Judges operations that stand for recorded ones as transactions over registers.
pub(crate) fn judge_operations(
    events: &[Event],
    operations: &[Operation],
    model: Consistency,
    options: &Options,
) -> Result<Judgement, JudgeError> {
    let values = Values::of(operations);
    judge_parsed(Kind::Registers, events, (operations, &values), model, options)
}

fn judge_parsed(
    kind: Kind,
    events: &[Event],
    (operations, values): (&[Operation], &[Values<'_>]),
    model: Consistency,
    options: &Options,
) -> Result<Judgement, JudgeError> {
    let parsed = Parsed::read(kind, operations, values)?;
    let mut directs = Directs::new(options.findings_max);
    let case = Case {
        kind,
        events,
        operations,
        values,
        parsed: &parsed,
        model,
        options,
    };
    Ok(match kind {
        Kind::Lists => {
            let lists = Lists::read(&parsed, &mut directs);
            let nodes = Nodes::new(operations, &lists.seen);
            let mut builder = Builder::new(nodes.operations.len());
            lists.depend(&nodes, &mut builder);
            case.conclude(&nodes, builder, directs, lists.reads())
        }
        Kind::Registers => {
            let registers = Registers::read(&parsed, &mut directs);
            let nodes = Nodes::new(operations, &registers.seen);
            let mut builder = Builder::new(nodes.operations.len());
            let times = case.needs_time().then(|| nodes.times(operations));
            registers.depend(&nodes, times.as_ref(), &mut builder);
            case.conclude(&nodes, builder, directs, registers.reads())
        }
    })
}

struct Case<'a, 'p> {
    kind: Kind,
    events: &'p [Event],
    operations: &'a [Operation],
    /// What the operations were asked and answered: they may have been paired without.
    values: &'p [Values<'a>],
    parsed: &'p Parsed<'a>,
    model: Consistency,
    options: &'p Options,
}

impl<'a> Case<'a, '_> {
    /// Whether the model respects real time.
    fn needs_time(&self) -> bool {
        self.model.implies(Consistency::StrongSnapshotIsolation)
    }

    fn conclude(&self, nodes: &Nodes, mut builder: Builder, directs: Directs, reads: usize) -> Judgement {
        nodes.order_of_clients(self.operations, &mut builder);
        let times = nodes.times(self.operations);
        if self.needs_time() {
            nodes.order_of_time(&times, &mut builder);
        }
        let graph = builder.build();
        let mut judgement = self.judgement(reads);
        let forbidden: usize = directs
            .counts
            .iter()
            .filter(|(class, _)| self.model.forbids(**class))
            .map(|(_, count)| count)
            .sum();
        let is_acyclic = circles::allows(&graph, self.model);
        if forbidden == 0 && is_acyclic {
            self.passed(&mut judgement, nodes, &graph, &times, &directs);
            return judgement;
        }

        let known: Vec<Known> = directs
            .told
            .iter()
            .filter(|direct| direct.class == AnomalyClass::LostUpdate)
            .map(|direct| {
                let nodes = direct.operations.iter().filter_map(|place| nodes.of(*place));
                (direct.class, nodes.collect())
            })
            .collect();
        let (circles, more) = if is_acyclic {
            (Vec::new(), 0)
        } else {
            circles::find(
                &graph,
                &times,
                self.model,
                known,
                self.options.findings_max,
                self.options.minimise_steps,
            )
        };
        let mut findings: Vec<Finding> = directs
            .told
            .iter()
            .filter(|direct| self.model.forbids(direct.class))
            .map(|direct| self.direct_finding(direct))
            .collect();
        findings.extend(circles.iter().map(|circle| self.circle_finding(circle, nodes)));
        // What more models forbid is worse.
        findings.sort_by_key(|finding| {
            let forbidding = Consistency::OF_TRANSACTIONS
                .into_iter()
                .filter(|model| model.forbids(finding.class))
                .count();
            (std::cmp::Reverse(forbidding), finding.time_ns)
        });
        findings.truncate(self.options.findings_max);
        judgement.findings = findings;
        judgement.outcome = Outcome::Fail;
        judgement.detail = self.failed(&graph, &directs, &circles, more, &judgement.detail);
        judgement
    }

    /// The judgement of a history with which nothing is wrong, with what was counted as its detail.
    fn judgement(&self, reads: usize) -> Judgement {
        let count = |ending| {
            let ended = self.operations.iter().filter(|operation| operation.ending == ending);
            ended.count()
        };
        let (indeterminate, failed) = (count(Ending::Info), count(Ending::Fail));
        Judgement {
            outcome: Outcome::Pass,
            consistency: self.model,
            specification: self.kind.name().to_owned(),
            partitions: self.parsed.keys.len(),
            operations: self.operations.len(),
            reads,
            indeterminate,
            failed,
            certificates_verified: 0,
            steps: self.operations.len() as u64,
            engine: "dependencies".to_owned(),
            detail: format!(
                "{} transactions on {} keys, {reads} reads of what others left, {indeterminate} indeterminate, {failed} \
                 failed",
                self.operations.len(),
                self.parsed.keys.len()
            ),
            findings: Vec::new(),
        }
    }

    fn passed(
        &self,
        judgement: &mut Judgement,
        nodes: &Nodes,
        graph: &Graph,
        times: &circles::Times,
        directs: &Directs,
    ) {
        if judgement.reads == 0 {
            judgement.outcome = Outcome::Vacuous;
            judgement.detail = format!(
                "nothing was read, so nothing could have been wrong; {}",
                judgement.detail
            );
            return;
        }
        if self.kind == Kind::Lists && self.model.implies(Consistency::Serializable) {
            let times = self.needs_time().then_some(times);
            match certificate::replay(self.parsed, nodes, graph, circles::view_of(self.model).kinds, times) {
                Ok(()) => {
                    judgement.certificates_verified = 1;
                    judgement.detail = format!("{}; one order of them all was replayed", judgement.detail);
                }
                Err(error) => {
                    judgement.outcome = Outcome::Error;
                    judgement.detail = format!("the checker contradicts itself, please report it: {error}");
                }
            }
            return;
        }
        let tolerated: usize = directs.counts.values().sum();
        let tolerated = match tolerated {
            0 => String::new(),
            some => format!("; {some} anomalies that the model allows"),
        };
        judgement.detail = format!("no circle of dependencies{tolerated}; {}", judgement.detail);
    }

    /// What is violated, what was found how often, and what still stands.
    fn failed(&self, graph: &Graph, directs: &Directs, circles: &[Circle], more: usize, counted: &str) -> String {
        let stands = |model: &Consistency| {
            self.model.implies(*model)
                && directs.counts.keys().all(|class| !model.forbids(*class))
                && circles::allows(graph, *model)
        };
        let standing: Vec<Consistency> = Consistency::OF_TRANSACTIONS.into_iter().filter(stands).collect();
        let strongest: Vec<&str> = standing
            .iter()
            .filter(|model| !standing.iter().any(|other| other != *model && other.implies(**model)))
            .map(|model| model.name())
            .collect();
        let broken: Vec<Consistency> = Consistency::OF_TRANSACTIONS
            .into_iter()
            .filter(|model| self.model.implies(*model) && !standing.contains(model))
            .collect();
        let weakest: Vec<&str> = broken
            .iter()
            .filter(|model| !broken.iter().any(|other| other != *model && model.implies(*other)))
            .map(|model| model.name())
            .collect();
        let mut found: Vec<String> = directs
            .counts
            .iter()
            .filter(|(class, _)| self.model.forbids(**class))
            .map(|(class, count)| format!("{count} × {}", class.title()))
            .collect();
        for circle in circles {
            let title = circle.class.title();
            if !found.iter().any(|named| named.ends_with(title)) {
                let count = circles.iter().filter(|other| other.class == circle.class).count();
                found.push(format!("{count} × {title}"));
            }
        }
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more circles"),
        };
        let standing = match strongest.as_slice() {
            [] => "no model of isolation stands".to_owned(),
            strongest => format!("still standing: {}", strongest.join(", ")),
        };
        format!(
            "violated: {} and everything stronger; {standing}; found: {}{more}; {counted}",
            weakest.join(", "),
            found.join(", ")
        )
    }

    fn direct_finding(&self, direct: &Direct) -> Finding {
        let mut places = direct.operations.clone();
        let sentence = match direct.class {
            // The one sentence that cannot be looked up a second time: it is about what is not there.
            AnomalyClass::PhantomValue => direct.sentence.clone(),
            class => format!("{} That is {}.", direct.sentence, with_article(class.title())),
        };
        places.sort_unstable();
        places.dedup();
        self.finding(
            direct.class,
            Some(self.parsed.keys[direct.key as usize].to_string()),
            sentence,
            &places,
            true,
        )
    }

    fn circle_finding(&self, circle: &Circle, nodes: &Nodes) -> Finding {
        let records = Records {
            kind: self.kind,
            parsed: self.parsed,
        };
        let count = circle.steps.len();
        let names: Vec<String> = (1..=count).map(|number| format!("T{number}")).collect();
        let mut places: Vec<u32> = Vec::new();
        let mut sentences: Vec<String> = Vec::new();
        let mut is_proved = true;
        let mut keys: Vec<u32> = Vec::new();
        for (at, step) in circle.steps.iter().enumerate() {
            let (from, to) = (nodes.operations[step.from as usize], nodes.operations[step.to as usize]);
            places.push(from);
            if step.key != graph::NO_KEY {
                keys.push(step.key);
            }
            let (a, b) = (names[at].as_str(), names[(at + 1) % count].as_str());
            let words = match records.reason(from, to, step.kind, step.key, [a, b]) {
                Some(reason) => {
                    places.extend(reason.witness);
                    reason.words
                }
                None => {
                    is_proved = false;
                    "that follows from other reads".to_owned()
                }
            };
            sentences.push(format!("{a} came before {b}: {words}."));
        }
        let who: Vec<String> = circle
            .steps
            .iter()
            .zip(&names)
            .map(|(step, name)| format!("{name} is {}", told(self.parsed, nodes.operations[step.from as usize])))
            .collect();
        let sentence = format!(
            "{}. {} So each of them would have to come before itself: {}.",
            who.join(", "),
            sentences.join(" "),
            with_article(circle.class.title())
        );
        keys.sort_unstable();
        keys.dedup();
        let key = match keys.as_slice() {
            [key] => Some(self.parsed.keys[*key as usize].to_string()),
            _ => None,
        };
        places.sort_unstable();
        places.dedup();
        self.finding(circle.class, key, sentence, &places, is_proved)
    }

    /// A finding about the operations at `places`, which are in order.
    fn finding(
        &self,
        class: AnomalyClass,
        key: Option<String>,
        sentence: String,
        places: &[u32],
        is_proved: bool,
    ) -> Finding {
        let drawn = places.iter().map(|place| self.draw(*place)).collect();
        let minimised = Minimised {
            from: self.operations.len(),
            to: places.len(),
            proved_again: is_proved,
        };
        explain::told(self.events, self.model, (class, key, sentence), drawn, minimised)
    }

    fn draw(&self, place: u32) -> DrawnOperation {
        let (operation, values) = (&self.operations[place as usize], self.values[place as usize]);
        DrawnOperation {
            process: operation.process,
            node: operation.node,
            function: operation.function.clone(),
            input: values.input.clone(),
            output: values.output.clone(),
            label: self.label(place),
            ending: operation.ending,
            cause: operation.cause.clone(),
            invoked: operation.invoked,
            invoked_ns: operation.invoked_ns,
            completed: operation.completed,
            completed_ns: operation.completed_ns,
            revision: operation.revision,
            term: operation.term,
        }
    }

    /// The steps for people, such as `append x 3, r y → [1 2]`.
    fn label(&self, place: u32) -> String {
        let steps = self.parsed.steps(place as usize).iter().map(|step| {
            let name = |key: u32| self.parsed.keys[key as usize];
            match *step {
                Step::Write { key, value } => match self.kind {
                    Kind::Lists => format!("append {} {value}", name(key)),
                    Kind::Registers => format!("w {} {value}", name(key)),
                },
                Step::Read { key, value: None } => format!("r {}", name(key)),
                Step::Read {
                    key,
                    value: Some(value),
                } => {
                    let shown = match self.kind {
                        Kind::Lists => direct::shown(&Value::List(elements(value).to_vec())),
                        Kind::Registers => direct::shown(value),
                    };
                    format!("r {} → {shown}", name(key))
                }
            }
        });
        steps.collect::<Vec<_>>().join(", ")
    }
}

/// `a write cycle`, `an aborted read`, `duplicate elements`.
fn with_article(title: &str) -> String {
    if title.starts_with("duplicate") || title.starts_with("incompatible") || title.starts_with("circular") {
        title.to_owned()
    } else if title.starts_with(['a', 'e', 'i', 'o', 'u']) {
        format!("an {title}")
    } else {
        format!("a {title}")
    }
}
