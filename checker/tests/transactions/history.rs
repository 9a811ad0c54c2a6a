//! Histories of transactions in a few letters: `ax=1` appends 1 to x, `wx=1` writes it, `rx=1,2` read x as [1 2], `rx=`
//! read nothing. Lists are read where a history appends, single values where it writes.

use tribunal_checker::{Consistency, Judgement, Options, judge};
use tribunal_history::event::{Cause, CauseCode, Completion, Ending, Invocation};
use tribunal_history::{Event, NodeId, ProcessId, Seq, Value};

/// A transaction: who did it, from when to when, how it ended, and its steps.
#[derive(Clone, Debug)]
pub struct Txn {
    pub process: u32,
    pub began: u64,
    pub ended: u64,
    pub ending: Ending,
    pub steps: String,
}

fn of(process: u32, began: u64, ended: u64, text: &str) -> Txn {
    let (ending, steps) = match text.split_once(' ') {
        Some(("fail", steps)) => (Ending::Fail, steps),
        Some(("info", steps)) => (Ending::Info, steps),
        _ => (Ending::Ok, text),
    };
    Txn {
        process,
        began,
        ended,
        ending,
        steps: steps.to_owned(),
    }
}

/// All open at the same time, each by a client of its own.
pub fn at_once(texts: &[&str]) -> Vec<Txn> {
    let count = texts.len() as u64;
    let all = (0..).zip(texts);
    all.map(|(at, text)| of(at as u32, at, count + at, text)).collect()
}

/// One after the other, each by a client of its own.
pub fn in_turn(texts: &[&str]) -> Vec<Txn> {
    let all = (0..).zip(texts);
    all.map(|(at, text)| of(at as u32, 2 * at, 2 * at + 1, text)).collect()
}

/// As [`at_once`], but the transactions that stand together are of one client, one after the other.
pub fn by_clients(clients: &[&[&str]]) -> Vec<Txn> {
    let mut txns = Vec::new();
    let count = clients.len() as u64;
    for (process, texts) in (0..).zip(clients) {
        for (at, text) in (0..).zip(texts.iter()) {
            // Client by client at each moment: the second of one begins before the first of the next has ended.
            let begin = at * 4 * count + u64::from(process);
            let end = begin + 4 * count - 1 + (count - 1 - u64::from(process)) / (count + 1);
            txns.push(of(process, begin, end, text));
        }
    }
    txns
}

/// The events.
pub fn events(txns: &[Txn]) -> Vec<Event> {
    let is_list = txns
        .iter()
        .any(|txn| txn.steps.split(' ').any(|step| step.starts_with('a')));
    let mut events: Vec<Event> = Vec::new();
    for (place, txn) in txns.iter().enumerate() {
        let steps = |answered: bool| -> Value {
            let all = txn.steps.split(' ').map(|step| parse(step, is_list, answered));
            Value::List(all.collect())
        };
        // Places need only be different; a completion comes before what begins at the same time.
        let place = place as u64;
        let began = txn.began * 1000 + 500 + place;
        let ended = txn.ended * 1000 + place;
        events.push(Event::Invoke(Invocation {
            seq: Seq(began),
            time_ns: began * 1_000_000,
            process: ProcessId(txn.process),
            node: NodeId(1 + (txn.process % 3) as u16),
            function: "txn".to_owned(),
            input: Value::map([("value", steps(false))]),
        }));
        let mut completion = Completion {
            seq: Seq(ended),
            time_ns: ended * 1_000_000,
            process: ProcessId(txn.process),
            output: Value::Null,
            revision: None,
            term: None,
            member: None,
            cause: None,
        };
        if txn.ending != Ending::Ok {
            completion.cause = Some(Cause {
                code: CauseCode::Unknown,
                text: "who knows".to_owned(),
            });
        }
        events.push(match txn.ending {
            Ending::Ok => {
                completion.output = steps(true);
                Event::Ok(completion)
            }
            Ending::Fail => Event::Fail(completion),
            Ending::Info => Event::Info(completion),
        });
    }
    events.sort_by_key(Event::seq);
    events
}

fn parse(step: &str, is_list: bool, answered: bool) -> Value {
    let (what, values) = step.split_once('=').unwrap_or_else(|| panic!("{step}: no ="));
    let (function, key) = what.split_at(1);
    let number = |text: &str| Value::Int(text.parse().unwrap_or_else(|error| panic!("{step}: {error}")));
    let value = match function {
        "r" if !answered || values.is_empty() => Value::Null,
        "r" if is_list => Value::List(values.split(',').map(number).collect()),
        _ => number(values),
    };
    let function = match function {
        "a" => ":append",
        "w" => ":w",
        "r" => ":r",
        other => panic!("{step}: {other}"),
    };
    Value::List(vec![function.into(), key.into(), value])
}

/// The judgement under a model.
pub fn judged(txns: &[Txn], model: Consistency) -> Judgement {
    let writes = txns
        .iter()
        .any(|txn| txn.steps.split(' ').any(|step| step.starts_with('w')));
    let options = Options {
        consistency: Some(model),
        ..Options::default()
    };
    let specification = if writes { "rw-register" } else { "list-append" };
    judge(specification, &events(txns), &options).unwrap_or_else(|error| panic!("{txns:?}: {error}"))
}
