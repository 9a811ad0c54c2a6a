//! Transactions over lists, as Elle makes them: ten lists at a time, each left for a fresh one when it is long enough.

use std::collections::BTreeMap;

use tribunal_history::event::{Cause, CauseCode, Completion, Invocation};
use tribunal_history::{Event, NodeId, ProcessId, Seq, Value};

use super::{Draw, Shape, Wrong};

/// Lists at a time.
const LISTS: u64 = 10;

/// A list is left when it has so many elements.
const ELEMENTS_MAX: usize = 100;

/// Most steps of a transaction.
const STEPS_MAX: u64 = 4;

/// What a client is doing.
enum Busy {
    /// Its transaction has begun and not happened yet.
    Open(Vec<(i64, Option<i64>)>),
    /// It has happened, and read this.
    Done(Vec<Value>),
}

/// Transactions of up to four steps, each an append or a read. One in doubt retires its client's number; half of those
/// happened. [`Wrong::Stale`] is one read of a list as it was a while ago, [`Wrong::Lost`] takes the last elements from
/// every list once.
pub fn list_transactions(shape: &Shape) -> Vec<Event> {
    let mut draw = Draw::new(shape.seed);
    let mut lists: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut current: Vec<i64> = (0..LISTS as i64).collect();
    let mut fresh = LISTS as i64;
    let mut element = 0;
    let mut events: Vec<Event> = Vec::new();
    let mut processes: Vec<u32> = (0..shape.clients as u32).collect();
    let mut next_process = shape.clients as u32;
    let mut clients: Vec<Option<Busy>> = processes.iter().map(|_| None).collect();
    let mut begun = 0;
    let mut open = 0;
    let mut wrong = shape.wrong;
    while begun < shape.operations || open > 0 {
        let client = draw.below(shape.clients as u64) as usize;
        let seq = Seq(events.len() as u64);
        let time_ns = seq.0 * 50_000;
        let process = ProcessId(processes[client]);
        match clients[client].take() {
            None if begun == shape.operations => {}
            None => {
                let count = 1 + draw.below(STEPS_MAX);
                let mut steps = Vec::new();
                for _ in 0..count {
                    let key = current[draw.below(LISTS) as usize];
                    element += 1;
                    steps.push((key, draw.percent(50).then_some(element)));
                }
                let input = steps.iter().map(|(key, appended)| step(*key, *appended, None));
                events.push(Event::Invoke(Invocation {
                    seq,
                    time_ns,
                    process,
                    node: NodeId(1 + (client % 3) as u16),
                    function: "txn".to_owned(),
                    input: Value::List(input.collect()),
                }));
                clients[client] = Some(Busy::Open(steps));
                begun += 1;
                open += 1;
            }
            Some(Busy::Open(steps)) if draw.percent(shape.info) => {
                if draw.percent(50) {
                    happen(&steps, &mut lists, 0);
                }
                events.push(Event::Info(completion(seq, time_ns, process, None)));
                processes[client] = next_process;
                next_process += 1;
                open -= 1;
            }
            Some(Busy::Open(steps)) => {
                let is_late = begun * 3 > shape.operations * 2;
                let reads = steps
                    .iter()
                    .any(|(key, appended)| appended.is_none() && lists.get(key).is_some_and(|list| list.len() > 20));
                let is_read_only = steps.iter().all(|(_, appended)| appended.is_none());
                let mut behind = 0;
                match wrong {
                    Wrong::Stale if is_late && reads && is_read_only => {
                        behind = 10;
                        wrong = Wrong::Nothing;
                    }
                    Wrong::Lost if is_late => {
                        for list in lists.values_mut() {
                            list.truncate(list.len().saturating_sub(5));
                        }
                        wrong = Wrong::Nothing;
                    }
                    _ => {}
                }
                clients[client] = Some(Busy::Done(happen(&steps, &mut lists, behind)));
                for key in &mut current {
                    if lists.get(key).is_some_and(|list| list.len() >= ELEMENTS_MAX) {
                        *key = fresh;
                        fresh += 1;
                    }
                }
            }
            Some(Busy::Done(output)) => {
                events.push(Event::Ok(completion(seq, time_ns, process, Some(output))));
                open -= 1;
            }
        }
    }
    events
}

/// Does the steps; reads of lists show them without their last `behind` elements.
fn happen(steps: &[(i64, Option<i64>)], lists: &mut BTreeMap<i64, Vec<i64>>, behind: usize) -> Vec<Value> {
    let done = steps.iter().map(|(key, appended)| {
        let list = lists.entry(*key).or_default();
        match appended {
            Some(element) => list.push(*element),
            None => return step(*key, None, Some(&list[..list.len().saturating_sub(behind)])),
        }
        step(*key, *appended, None)
    });
    done.collect()
}

fn step(key: i64, appended: Option<i64>, read: Option<&[i64]>) -> Value {
    let read = read.map(|list| Value::List(list.iter().map(|element| (*element).into()).collect()));
    Value::List(match appended {
        Some(element) => vec!["append".into(), key.into(), element.into()],
        None => vec!["r".into(), key.into(), read.unwrap_or_default()],
    })
}

fn completion(seq: Seq, time_ns: u64, process: ProcessId, output: Option<Vec<Value>>) -> Completion {
    Completion {
        seq,
        time_ns,
        process,
        cause: output.is_none().then(|| Cause {
            code: CauseCode::Timeout,
            text: "no answer in time".to_owned(),
        }),
        output: output.map_or(Value::Null, Value::List),
        revision: None,
        term: None,
        member: None,
    }
}

#[cfg(test)]
mod tests {
    use tribunal_history::Outcome;

    use super::*;
    use crate::{Options, judge};

    #[test]
    fn they_are_as_they_are_called() {
        for (wrong, expected) in [
            (Wrong::Nothing, Outcome::Pass),
            (Wrong::Stale, Outcome::Fail),
            (Wrong::Lost, Outcome::Fail),
        ] {
            let events = list_transactions(&Shape {
                operations: 2_000,
                clients: 8,
                // Enough that two are in doubt between two beginnings.
                info: 5,
                wrong,
                seed: 3,
            });
            let judgement = judge("list-append", &events, &Options::default()).expect("well formed");
            assert_eq!(judgement.outcome, expected, "{wrong:?}: {}", judgement.detail);
            assert_eq!(judgement.operations, 2_000);
        }
    }
}
