//! Registers of one store that numbers its states, keys deleted again and again, as the workload records them.

use tribunal_checker::generate::Draw;
use tribunal_checker::spec::register::{Action, Op, Ret};
use tribunal_checker::spec::{Register, Spec};
use tribunal_history::{Cause, CauseCode, Completion, Event, Invocation, NodeId, ProcessId, Revision, Seq, Value};

/// A register under one key, and the revision of the store that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Numbered {
    register: Register,
    revision: i64,
}

impl Default for Numbered {
    fn default() -> Self {
        Self {
            register: Register::default(),
            revision: 1,
        }
    }
}

/// What is asked, after so many changes of other keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NumberedOp {
    pub op: Op,
    pub others: i64,
}

impl Spec for Numbered {
    type Op = NumberedOp;
    type Ret = (Ret, i64);

    fn invoke(&mut self, asked: &NumberedOp) -> (Ret, i64) {
        self.revision += asked.others;
        let ret = self.register.invoke(&asked.op);
        self.revision += i64::from(changes(&ret));
        (ret, self.revision)
    }
}

fn changes(ret: &Ret) -> bool {
    matches!(ret, Ret::Written | Ret::Swapped | Ret::Deleted(true))
}

/// The end of an operation as the workload records it; in doubt without an answer.
pub fn completion(seq: u64, process: ProcessId, answer: Option<(&Ret, i64)>) -> Event {
    let output = match answer.map(|(ret, _)| ret) {
        None | Some(Ret::Written) => Value::Null,
        Some(Ret::Value(value)) => value.clone(),
        Some(Ret::Swapped) => Value::map([("swapped", true.into())]),
        Some(Ret::Differs(actual)) => Value::map([("swapped", false.into()), ("actual", actual.clone())]),
        Some(Ret::Deleted(was_there)) => Value::map([("deleted", (*was_there).into())]),
    };
    let cause = answer.is_none().then(|| Cause {
        code: CauseCode::Timeout,
        text: "no answer".to_owned(),
    });
    let completion = Completion {
        seq: Seq(seq),
        time_ns: seq * 1_000,
        process,
        output,
        revision: answer.map(|(_, revision)| Revision(revision)),
        term: None,
        member: None,
        cause,
    };
    match answer {
        Some(_) => Event::Ok(completion),
        None => Event::Info(completion),
    }
}

/// The beginning of an operation as the workload records it.
pub fn invocation(seq: u64, process: ProcessId, op: &Op) -> Event {
    let key = Value::Text(op.key.to_string());
    let (function, input) = match &op.action {
        Action::Read => ("read", Value::map([("key", key)])),
        Action::Write(value) => ("write", Value::map([("key", key), ("value", value.clone())])),
        Action::Cas { expect, value } => (
            "cas",
            Value::map([("key", key), ("expect", expect.clone()), ("value", value.clone())]),
        ),
        Action::Delete => ("delete", Value::map([("key", key)])),
    };
    Event::Invoke(Invocation {
        seq: Seq(seq),
        time_ns: seq * 1_000,
        process,
        node: NodeId(1),
        function: function.to_owned(),
        input,
    })
}

/// A run of the workload that deletes: what is in doubt ends so a while after it was done, is done after that, or never.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub operations: usize,
    pub clients: usize,
    pub keys: u64,
    /// Operations in doubt, of a thousand.
    pub doubts: u64,
    pub seed: u64,
}

/// A client's operation, on its way.
struct Busy {
    process: ProcessId,
    key: usize,
    op: Op,
    ret: Option<(Ret, i64)>,
    in_doubt: bool,
}

impl Run {
    /// Makes the events, one after another.
    pub fn events(&self, mut sink: impl FnMut(Event)) {
        let mut draw = Draw::new(self.seed);
        let mut store: Vec<Register> = (0..self.keys).map(|_| Register::default()).collect();
        let mut clients: Vec<Option<Busy>> = (0..self.clients).map(|_| None).collect();
        let mut processes: Vec<u32> = (0..self.clients as u32).collect();
        let mut seen: Vec<Value> = vec![Value::Null; self.keys as usize];
        // What nobody waits for any more and what is done all the same.
        let mut late: Vec<(usize, Op)> = Vec::new();
        let (mut begun, mut busy, mut last, mut seq, mut revision) = (0, 0, 0i64, 0u64, 1i64);
        while begun < self.operations || busy > 0 {
            let client = draw.below(self.clients as u64) as usize;
            if !late.is_empty() && draw.percent(1) {
                let (key, op) = late.swap_remove(draw.below(late.len() as u64) as usize);
                revision += i64::from(changes(&store[key].invoke(&op)));
            }
            let event = match clients[client].take() {
                None if begun == self.operations => continue,
                None => {
                    let key = draw.below(self.keys) as usize;
                    let op = self.op(&mut draw, key, &seen[key], &mut last);
                    (begun, busy) = (begun + 1, busy + 1);
                    let process = ProcessId(processes[client]);
                    let event = invocation(seq, process, &op);
                    let in_doubt = op.action != Action::Read && draw.below(1_000) < self.doubts;
                    clients[client] = Some(Busy {
                        process,
                        key,
                        op,
                        ret: None,
                        in_doubt,
                    });
                    event
                }
                Some(mut one) if one.ret.is_none() && !(one.in_doubt && draw.percent(50)) => {
                    let ret = store[one.key].invoke(&one.op);
                    revision += i64::from(changes(&ret));
                    one.ret = Some((ret, revision));
                    clients[client] = Some(one);
                    continue;
                }
                Some(one) if one.in_doubt => {
                    // Nobody hears of it for as long as some other operations take.
                    if !draw.percent(10) {
                        clients[client] = Some(one);
                        continue;
                    }
                    busy -= 1;
                    processes[client] += self.clients as u32;
                    if one.ret.is_none() && draw.percent(50) {
                        late.push((one.key, one.op.clone()));
                    }
                    completion(seq, one.process, None)
                }
                Some(one) => {
                    busy -= 1;
                    let (ret, revision) = one.ret.expect("it was done");
                    seen[one.key] = match (&ret, &one.op.action) {
                        (Ret::Value(value) | Ret::Differs(value), _) => value.clone(),
                        (_, Action::Write(value) | Action::Cas { value, .. }) => value.clone(),
                        _ => Value::Null,
                    };
                    completion(seq, one.process, Some((&ret, revision)))
                }
            };
            seq += 1;
            sink(event);
        }
    }

    fn op(&self, draw: &mut Draw, key: usize, seen: &Value, last: &mut i64) -> Op {
        let name = format!("k{key}");
        *last += 1;
        match draw.below(20) {
            0..9 => Op::read(&name),
            9..14 => Op::write(&name, *last),
            14..17 => Op::cas(&name, seen.clone(), *last),
            _ => Op {
                key: name.as_str().into(),
                action: Action::Delete,
            },
        }
    }
}
