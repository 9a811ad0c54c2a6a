//! Histories from seeds, to measure and to test with: right ones, and such with something wrong planted.
//!
//! A few clients are always busy with a store that does each operation at one moment between its beginning and its end.
//! The same [`Shape`] makes the same history on every machine.
//!
//! ```
//! use tribunal_checker::generate::{Shape, Wrong, different_values};
//! use tribunal_checker::linearizability::{Answer, zones};
//!
//! let shape = Shape { operations: 3_000, clients: 20, info: 1, wrong: Wrong::Stale, seed: 9 };
//! let entries = different_values(&shape);
//! assert_eq!(zones::decide(&entries), Some(Answer::NotLinearizable));
//! ```

use std::collections::BTreeMap;

use tribunal_history::{Cause, CauseCode, Completion, Event, Invocation, NodeId, ProcessId, Seq, Value};

mod transactions;

use crate::linearizability::{Entry, Partition};
use crate::spec::etcd_kv::{self, EtcdKv, Txn};
use crate::spec::{CasRegister, Kv, Register, Spec, cas_register, kv, register};

pub use transactions::list_transactions;

/// What a history is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Operations.
    pub operations: usize,
    /// Clients that are busy at the same time.
    pub clients: usize,
    /// Of each hundred operations: in doubt. Half of those take effect. A client goes on after it.
    pub info: u32,
    /// What is planted behind two thirds of it, if there are at least 60 operations for each client.
    pub wrong: Wrong,
    /// The seed.
    pub seed: u64,
}

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// One read shows what the object held a while ago. Where values repeat it may be right all the same.
    Stale,
    /// The objects go back to what they held a while ago.
    Lost,
}

/// A source of numbers: splitmix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The source of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True `percent` times of a hundred.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }
}

/// A register whose values are all different: reads, writes, compares of what it holds.
pub fn different_values(shape: &Shape) -> Vec<Entry<Register>> {
    let mut last = 0i64;
    shape.history::<Register>(move |draw, held| {
        last += 1;
        match draw.below(4) {
            0..2 => register::Op::read("k"),
            2 => register::Op::write("k", last),
            _ => register::Op::cas("k", held.value(), last),
        }
    })
}

/// A register that holds one of five values: hard for every search, above all with operations in doubt.
pub fn five_values(shape: &Shape) -> Vec<Entry<CasRegister>> {
    shape.history::<CasRegister>(|draw, _| {
        let value = |draw: &mut Draw| (draw.below(5) as i64).into();
        let action = match draw.below(3) {
            0 => cas_register::Action::Read,
            1 => cas_register::Action::Write(value(draw)),
            _ => cas_register::Action::Cas {
                expect: value(draw),
                value: value(draw),
            },
        };
        cas_register::Op { key: None, action }
    })
}

/// Texts under a hundred keys, read, put and appended to. Values repeat now and then.
pub fn hundred_keys(shape: &Shape) -> Vec<Entry<Kv>> {
    shape.history::<Kv>(|draw, _| kv::Op {
        key: format!("k{}", draw.below(100)).into(),
        action: match draw.below(4) {
            0..2 => kv::Action::Get,
            2 => kv::Action::Put(draw.below(1000).to_string().into()),
            _ => kv::Action::Append(draw.below(10).to_string().into()),
        },
    })
}

/// Lists under ten keys, appended to and read, with a new beginning now and then. Each token is appended about twice.
pub fn ten_lists(shape: &Shape) -> Vec<Entry<Kv>> {
    let tokens = (shape.operations as u64 / 4).max(1);
    shape.history::<Kv>(move |draw, _| {
        let token = |draw: &mut Draw| format!("x {} y", draw.below(tokens)).into();
        kv::Op {
            key: format!("k{}", draw.below(10)).into(),
            action: match draw.below(20) {
                0..10 => kv::Action::Get,
                10 => kv::Action::Put(token(draw)),
                _ => kv::Action::Append(token(draw)),
            },
        }
    })
}

/// A hundred keys of one store with revisions: gets, puts, compare-and-sets. Answers have the revision in their header and
/// the values, as a workload of registers records them.
pub fn revisions(shape: &Shape) -> Vec<Entry<EtcdKv>> {
    let mut last = 0i64;
    let mut entries = shape.history::<EtcdKv>(move |draw, _| {
        last += 1;
        let key = format!("k{}", draw.below(100));
        etcd_kv::Op::Txn(match draw.below(4) {
            0..2 => Txn::get(&key),
            _ => Txn::put(&key, last),
        })
    });
    for ret in entries.iter_mut().filter_map(|entry| entry.ret.as_mut()) {
        let answers = ret.txn.as_mut().map(|txn| &mut txn.answers);
        for answer in answers.into_iter().flatten() {
            match answer {
                etcd_kv::Answer::Range { kvs, .. } => kvs.iter_mut().for_each(|kv| {
                    (kv.modified, kv.created, kv.version, kv.lease) = (None, None, None, None);
                }),
                etcd_kv::Answer::Put { prev } => *prev = None,
                _ => {}
            }
        }
    }
    entries
}

/// The events of [`different_values`], but of many registers, one after another and without holding them: for histories of any
/// length. Values are different on all keys together.
pub fn stream<E>(shape: &Shape, keys: u64, mut sink: impl FnMut(&mut Event) -> Result<(), E>) -> Result<(), E> {
    struct Open {
        process: ProcessId,
        op: register::Op,
        ret: Option<register::Ret>,
    }
    let mut random = Draw::new(shape.seed);
    let names: Vec<String> = (0..keys).map(|key| format!("k{key}")).collect();
    let mut store: Store<Register> = Store::new();
    let mut past = store.clone();
    let mut is_planted = shape.wrong == Wrong::Nothing;
    let mut open: Vec<Option<Open>> = (0..shape.clients).map(|_| None).collect();
    let mut processes: Vec<u32> = (0..shape.clients as u32).collect();
    let mut next_process = shape.clients as u32;
    let (mut begun, mut busy, mut last, mut seq) = (0, 0, 0i64, 0u64);
    while begun < shape.operations || busy > 0 {
        if begun == shape.operations / 3 * 2 {
            past = store.clone();
        }
        let client = random.below(shape.clients as u64) as usize;
        let event = match open[client].take() {
            None if begun == shape.operations => continue,
            None => {
                let key = &names[random.below(keys) as usize];
                last += 1;
                let held = store.get(key).map_or(Value::Null, Spec::value);
                let op = match random.below(4) {
                    0..2 => register::Op::read(key),
                    2 => register::Op::write(key, last),
                    _ => register::Op::cas(key, held, last),
                };
                (begun, busy) = (begun + 1, busy + 1);
                let process = ProcessId(processes[client]);
                let (function, input) = asked(&op);
                open[client] = Some(Open { process, op, ret: None });
                Event::Invoke(Invocation {
                    seq: Seq(seq),
                    time_ns: seq * 1_000,
                    process,
                    node: NodeId(1 + (client % 3) as u16),
                    function: function.to_owned(),
                    input,
                })
            }
            Some(Open { process, op, ret: None }) => {
                let is_due = !is_planted && begun > shape.operations / 3 * 2 + 20 * shape.clients;
                let in_doubt = random.percent(shape.info);
                let ret = (!in_doubt || random.percent(50)).then(|| {
                    let is_read = op.action == register::Action::Read;
                    if is_due && is_read && shape.wrong == Wrong::Lost {
                        store = past.clone();
                        is_planted = true;
                    }
                    let told = act(&mut store, &op);
                    if is_due && is_read && shape.wrong == Wrong::Stale {
                        is_planted = true;
                        return act(&mut past.clone(), &op);
                    }
                    told
                });
                if !in_doubt {
                    open[client] = Some(Open { process, op, ret });
                    continue;
                }
                busy -= 1;
                // A client that does not know goes on as another process.
                processes[client] = next_process;
                next_process += 1;
                Event::Info(completion(seq, process, None))
            }
            Some(Open { process, ret, .. }) => {
                busy -= 1;
                Event::Ok(completion(seq, process, ret.as_ref()))
            }
        };
        seq += 1;
        sink(&mut { event })?;
    }
    Ok(())
}

/// A register's operation as it is recorded.
fn asked(op: &register::Op) -> (&'static str, Value) {
    let key = Value::Text(op.key.to_string());
    match &op.action {
        register::Action::Read => ("read", Value::map([("key", key)])),
        register::Action::Write(value) => ("write", Value::map([("key", key), ("value", value.clone())])),
        register::Action::Cas { expect, value } => (
            "cas",
            Value::map([("key", key), ("expect", expect.clone()), ("value", value.clone())]),
        ),
        register::Action::Delete => ("delete", Value::map([("key", key)])),
    }
}

/// The end of a register's operation as it is recorded; without a result it is in doubt.
fn completion(seq: u64, process: ProcessId, ret: Option<&register::Ret>) -> Completion {
    let output = match ret {
        None | Some(register::Ret::Written) => Value::Null,
        Some(register::Ret::Value(value)) => value.clone(),
        Some(register::Ret::Swapped) => Value::map([("swapped", true.into())]),
        Some(register::Ret::Differs(actual)) => Value::map([("swapped", false.into()), ("actual", actual.clone())]),
        Some(register::Ret::Deleted(was_there)) => Value::map([("deleted", (*was_there).into())]),
    };
    let cause = ret.is_none().then(|| Cause {
        code: CauseCode::Timeout,
        text: "no answer".to_owned(),
    });
    Completion {
        seq: Seq(seq),
        time_ns: seq * 1_000,
        process,
        output,
        revision: None,
        term: None,
        member: None,
        cause,
    }
}

/// The events of a register's history, as it would have been recorded.
pub fn events(entries: &[Entry<Register>]) -> Vec<Event> {
    let mut moments: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        moments.insert(entry.call, (place, false));
        if let Some(end) = entry.end {
            moments.insert(end, (place, true));
        }
    }
    let event = |(seq, (place, is_end)): (u64, (usize, bool))| {
        let entry = &entries[place];
        let process = ProcessId(place as u32);
        if is_end {
            return Event::Ok(completion(seq, process, entry.ret.as_ref()));
        }
        let (function, input) = asked(&entry.op);
        Event::Invoke(Invocation {
            seq: Seq(seq),
            time_ns: seq * 1_000,
            process,
            node: NodeId(1),
            function: function.to_owned(),
            input,
        })
    };
    moments.into_iter().map(event).collect()
}

/// The entries of each key by themselves.
pub fn by_key<S: Spec>(entries: Vec<Entry<S>>) -> Vec<Partition<S>> {
    let mut keys: BTreeMap<Option<String>, Vec<Entry<S>>> = BTreeMap::new();
    for entry in entries {
        match keys.get_mut(&None) {
            // One object, which is most common: no key to look up.
            Some(all) if S::partition(&entry.op).is_none() => all.push(entry),
            _ => keys
                .entry(S::partition(&entry.op).map(str::to_owned))
                .or_default()
                .push(entry),
        }
    }
    keys.into_iter()
        .map(|(key, entries)| Partition::new(key, entries))
        .collect()
}

/// The objects under their keys.
type Store<S> = BTreeMap<String, S>;

fn act<S: Spec>(store: &mut Store<S>, op: &S::Op) -> S::Ret {
    let key = S::partition(op).unwrap_or_default();
    if let Some(object) = store.get_mut(key) {
        return object.invoke(op);
    }
    store.entry(key.to_owned()).or_default().invoke(op)
}

impl Shape {
    /// A history of this shape. `draw` makes the operations, given what the object under `k`, or the only object, holds
    /// at the time.
    pub fn history<S: Spec>(&self, mut draw: impl FnMut(&mut Draw, &S) -> S::Op) -> Vec<Entry<S>> {
        struct Open<R> {
            id: usize,
            ret: Option<R>,
        }
        let mut random = Draw::new(self.seed);
        let mut store: Store<S> = Store::new();
        let mut past = store.clone();
        let mut is_planted = self.wrong == Wrong::Nothing;
        let mut open: Vec<Option<Open<S::Ret>>> = (0..self.clients).map(|_| None).collect();
        let mut busy = 0;
        let mut entries: Vec<Entry<S>> = Vec::with_capacity(self.operations);
        let fresh = S::default();
        let mut now = 0;
        while entries.len() < self.operations || busy > 0 {
            now += 1;
            if entries.len() == self.operations / 3 * 2 {
                past = store.clone();
            }
            let is_due = !is_planted && entries.len() > self.operations / 3 * 2 + 20 * self.clients;
            let client = random.below(self.clients as u64) as usize;
            match open[client].take() {
                None if entries.len() < self.operations => {
                    busy += 1;
                    open[client] = Some(Open {
                        id: entries.len(),
                        ret: None,
                    });
                    let held = store.get("k").or_else(|| store.get("")).unwrap_or(&fresh);
                    entries.push(Entry {
                        id: entries.len(),
                        op: draw(&mut random, held),
                        ret: None,
                        call: now,
                        end: None,
                    });
                }
                None => {}
                Some(Open { id, ret: None }) => {
                    let op = &entries[id].op;
                    let in_doubt = random.percent(self.info);
                    if in_doubt && random.percent(50) {
                        busy -= 1;
                        continue;
                    }
                    // A loss is seen by a read at once.
                    if is_due && self.wrong == Wrong::Lost && S::class(op, None).is_read() {
                        store = past.clone();
                        is_planted = true;
                    }
                    let mut ret = act(&mut store, op);
                    if is_due && self.wrong == Wrong::Stale && S::class(op, Some(&ret)).is_read() {
                        ret = act(&mut past.clone(), op);
                        is_planted = true;
                    }
                    if in_doubt {
                        busy -= 1;
                    } else {
                        open[client] = Some(Open { id, ret: Some(ret) });
                    }
                }
                Some(Open { id, ret }) => {
                    busy -= 1;
                    entries[id].ret = ret;
                    entries[id].end = Some(now);
                }
            }
        }
        entries
    }
}
