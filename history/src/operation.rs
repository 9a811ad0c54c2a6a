//! Operations: invocations paired with their completions.

use std::collections::BTreeMap;

use crate::event::{Cause, Ending, Event};
use crate::id::{MemberId, NodeId, ProcessId, Revision, Seq, Term};
use crate::value::Value;

/// What a client asked and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub process: ProcessId,
    /// Whom it asked.
    pub node: NodeId,
    /// What was asked.
    pub function: String,
    /// With which arguments.
    pub input: Value,
    /// Place of the invocation.
    pub invoked: Seq,
    /// Time of the invocation, nanoseconds since the start of the run.
    pub invoked_ns: u64,
    /// How it ended; `Info` too if the history has no completion.
    pub ending: Ending,
    /// Place of the completion; none if the history has none.
    pub completed: Option<Seq>,
    /// Time of the completion, nanoseconds since the start of the run.
    pub completed_ns: Option<u64>,
    /// What came back; null unless ok.
    pub output: Value,
    /// The revision in the reply.
    pub revision: Option<Revision>,
    /// The term in the reply.
    pub term: Option<Term>,
    /// The member that answered.
    pub member: Option<MemberId>,
    /// Why it did not end ok.
    pub cause: Option<Cause>,
}

/// A history whose events contradict each other.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PairError {
    /// A process invoked while an operation of its own was open.
    #[error(
        "event {seq}: process {process} invokes while its operation of event {open} is open; a process has one at a time"
    )]
    StillOpen {
        /// Place of the invocation.
        seq: Seq,
        /// Which process.
        process: ProcessId,
        /// Place of the invocation that is open.
        open: Seq,
    },
    /// A completion without an invocation.
    #[error("event {seq}: process {process} completes an operation that it never invoked")]
    NotInvoked {
        /// Place of the completion.
        seq: Seq,
        /// Which process.
        process: ProcessId,
    },
    /// Events out of order.
    #[error("event {seq} stands after event {previous}; events are ordered by seq, without repeats")]
    OutOfOrder {
        /// Place of the event.
        seq: Seq,
        /// Place of the event before it.
        previous: Seq,
    },
}

/// Pairs the events of a history into operations, in order of their invocations. What is left open at the end
/// is info.
pub fn pair<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Vec<Operation>, PairError> {
    pair_with(events, Value::clone)
}

/// The same without what was asked and what came back: input and output are null. For those who look at both where they
/// stand, in the events, since a copy of many long lists takes several times what the rest does.
pub fn pair_without_values<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Vec<Operation>, PairError> {
    pair_with(events, |_| Value::Null)
}

fn pair_with<'a>(
    events: impl IntoIterator<Item = &'a Event>,
    copy: impl Fn(&Value) -> Value,
) -> Result<Vec<Operation>, PairError> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut open: BTreeMap<ProcessId, usize> = BTreeMap::new();
    let mut previous: Option<Seq> = None;
    for event in events {
        let seq = event.seq();
        if let Some(previous) = previous.filter(|previous| *previous >= seq) {
            return Err(PairError::OutOfOrder { seq, previous });
        }
        previous = Some(seq);
        let (ending, completion) = match event {
            Event::Invoke(invocation) => {
                let process = invocation.process;
                if let Some(place) = open.insert(process, operations.len()) {
                    return Err(PairError::StillOpen {
                        seq,
                        process,
                        open: operations[place].invoked,
                    });
                }
                operations.push(Operation {
                    process,
                    node: invocation.node,
                    function: invocation.function.clone(),
                    input: copy(&invocation.input),
                    invoked: seq,
                    invoked_ns: invocation.time_ns,
                    ending: Ending::Info,
                    completed: None,
                    completed_ns: None,
                    output: Value::Null,
                    revision: None,
                    term: None,
                    member: None,
                    cause: None,
                });
                continue;
            }
            Event::Ok(completion) => (Ending::Ok, completion),
            Event::Fail(completion) => (Ending::Fail, completion),
            Event::Info(completion) => (Ending::Info, completion),
            Event::Nemesis(_) | Event::Node(_) | Event::Leader(_) | Event::Phase(_) => continue,
        };
        let process = completion.process;
        let place = open.remove(&process).ok_or(PairError::NotInvoked { seq, process })?;
        let operation = &mut operations[place];
        operation.ending = ending;
        operation.completed = Some(seq);
        operation.completed_ns = Some(completion.time_ns);
        operation.output = copy(&completion.output);
        operation.revision = completion.revision;
        operation.term = completion.term;
        operation.member = completion.member;
        operation.cause = completion.cause.clone();
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Completion, Invocation};

    fn invoke(seq: u64, process: u32) -> Event {
        Event::Invoke(Invocation {
            seq: Seq(seq),
            time_ns: seq,
            process: ProcessId(process),
            node: NodeId(1),
            function: "read".to_owned(),
            input: Value::Null,
        })
    }

    fn ok(seq: u64, process: u32) -> Event {
        Event::Ok(Completion {
            seq: Seq(seq),
            time_ns: seq,
            process: ProcessId(process),
            output: Value::Int(1),
            revision: None,
            term: None,
            member: None,
            cause: None,
        })
    }

    #[test]
    fn an_operation_without_completion_is_in_doubt() {
        let operations = pair(&[invoke(0, 1), invoke(1, 2), ok(2, 1)]).expect("a good history");
        assert_eq!(
            operations.iter().map(|operation| operation.ending).collect::<Vec<_>>(),
            [Ending::Ok, Ending::Info]
        );
        assert_eq!(operations[1].completed, None);
    }

    #[test]
    fn without_values_everything_else_is_the_same() {
        let events = [invoke(0, 1), invoke(1, 2), ok(2, 1)];
        let mut whole = pair(&events).expect("a good history");
        assert_eq!(whole[0].output, Value::Int(1));
        whole[0].output = Value::Null;
        assert_eq!(pair_without_values(&events), Ok(whole));
    }

    #[test]
    fn contradictions_are_named() {
        let error = |events: &[Event]| pair(events).expect_err("a contradiction");
        assert_eq!(
            error(&[invoke(0, 1), invoke(1, 1)]),
            PairError::StillOpen {
                seq: Seq(1),
                process: ProcessId(1),
                open: Seq(0)
            }
        );
        assert_eq!(
            error(&[ok(0, 1)]),
            PairError::NotInvoked {
                seq: Seq(0),
                process: ProcessId(1)
            }
        );
        assert_eq!(
            error(&[invoke(1, 1), ok(1, 1)]),
            PairError::OutOfOrder {
                seq: Seq(1),
                previous: Seq(1)
            }
        );
    }
}
