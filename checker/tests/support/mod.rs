//! Histories for tests, from seeds: small ones that may be right or wrong, and long ones of a store that is right
//! but for what is planted.
#![allow(dead_code, reason = "each test file uses its part of this module")]

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tribunal_history::{Cause, CauseCode, Completion, Event, Invocation, NodeId, ProcessId, Seq, Value};

/// Builds a history event by event; one event a millisecond.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub events: Vec<Event>,
    /// Where a process works; others by their number.
    pub nodes: BTreeMap<u32, u16>,
}

impl History {
    fn next(&self) -> (Seq, u64) {
        let place = self.events.len() as u64;
        (Seq(place), place * 1_000_000)
    }

    pub fn invoke(&mut self, process: u32, function: &str, input: Value) -> &mut Self {
        let (seq, time_ns) = self.next();
        self.events.push(Event::Invoke(Invocation {
            seq,
            time_ns,
            process: ProcessId(process),
            node: NodeId(self.nodes.get(&process).copied().unwrap_or(1 + (process % 3) as u16)),
            function: function.to_owned(),
            input,
        }));
        self
    }

    fn completion(&self, process: u32, output: Value, code: Option<CauseCode>) -> Completion {
        let (seq, time_ns) = self.next();
        Completion {
            seq,
            time_ns,
            process: ProcessId(process),
            output,
            revision: None,
            term: None,
            member: None,
            cause: code.map(|code| Cause {
                code,
                text: "as planned".to_owned(),
            }),
        }
    }

    pub fn ok(&mut self, process: u32, output: Value) -> &mut Self {
        let completion = self.completion(process, output, None);
        self.events.push(Event::Ok(completion));
        self
    }

    pub fn fail(&mut self, process: u32) -> &mut Self {
        let completion = self.completion(process, Value::Null, Some(CauseCode::NotConnected));
        self.events.push(Event::Fail(completion));
        self
    }

    pub fn info(&mut self, process: u32) -> &mut Self {
        let completion = self.completion(process, Value::Null, Some(CauseCode::Timeout));
        self.events.push(Event::Info(completion));
        self
    }

    /// A write that ends before anything else happens.
    pub fn write(&mut self, process: u32, key: &str, value: i64) -> &mut Self {
        self.invoke(process, "write", write(key, value))
            .ok(process, Value::Null)
    }

    /// A read that ends before anything else happens.
    pub fn read(&mut self, process: u32, key: &str, value: impl Into<Value>) -> &mut Self {
        self.invoke(process, "read", read(key)).ok(process, value.into())
    }

    /// A compare-and-set that ends before anything else happens.
    pub fn cas(&mut self, process: u32, key: &str, expect: impl Into<Value>, value: i64, output: Value) -> &mut Self {
        self.invoke(process, "cas", cas(key, expect, value)).ok(process, output)
    }
}

pub fn read(key: &str) -> Value {
    Value::map([("key", key.into())])
}

pub fn write(key: &str, value: i64) -> Value {
    Value::map([("key", key.into()), ("value", value.into())])
}

pub fn cas(key: &str, expect: impl Into<Value>, value: i64) -> Value {
    Value::map([("key", key.into()), ("expect", expect.into()), ("value", value.into())])
}

pub fn swapped() -> Value {
    Value::map([("swapped", true.into())])
}

pub fn differs(actual: impl Into<Value>) -> Value {
    Value::map([("swapped", false.into()), ("actual", actual.into())])
}

/// What a small history is made of.
#[derive(Clone, Copy, Debug)]
pub struct Small {
    pub operations: usize,
    pub processes: u32,
    pub keys: u32,
    /// Values are 1 to this, so they repeat where it is small.
    pub values: i64,
    /// Of each hundred operations: in doubt, and definitely failed.
    pub info: u32,
    pub fail: u32,
    /// Of each hundred results: drawn at random instead of taken from a store.
    pub lies: u32,
}

impl Small {
    /// A shape drawn at random.
    pub fn any(rng: &mut ChaCha8Rng, operations_max: usize) -> Self {
        Self {
            operations: rng.random_range(1..=operations_max),
            processes: rng.random_range(1..=5),
            keys: rng.random_range(1..=2),
            values: rng.random_range(1..=4),
            info: [0, 20, 50][rng.random_range(0..3)],
            fail: [0, 20][rng.random_range(0..2)],
            lies: [0, 10, 40][rng.random_range(0..3)],
        }
    }

    /// A history of this shape: processes act on a store at random moments, some results are lies.
    pub fn history(&self, rng: &mut ChaCha8Rng) -> History {
        #[derive(Clone)]
        struct Open {
            function: &'static str,
            input: Value,
            output: Option<Value>,
        }
        let mut history = History::default();
        let mut store: BTreeMap<String, Value> = BTreeMap::new();
        let mut names: Vec<u32> = (0..self.processes).collect();
        let mut next_name = self.processes;
        let mut open: BTreeMap<u32, Open> = BTreeMap::new();
        let mut begun = 0;
        // Some are left open when the events run out.
        let events = self.operations * 4;
        for _ in 0..events {
            let place = rng.random_range(0..names.len());
            let name = names[place];
            match open.get(&name).cloned() {
                None if begun < self.operations => {
                    begun += 1;
                    let key = format!("k{}", rng.random_range(0..self.keys));
                    let value = rng.random_range(1..=self.values);
                    let (function, input) = match rng.random_range(0..3) {
                        0 => ("read", read(&key)),
                        1 => ("write", write(&key, value)),
                        _ => {
                            let expect = rng.random_range(0..=self.values);
                            let expect = (expect > 0).then_some(expect);
                            ("cas", cas(&key, expect, value))
                        }
                    };
                    history.invoke(name, function, input.clone());
                    open.insert(
                        name,
                        Open {
                            function,
                            input,
                            output: None,
                        },
                    );
                }
                None => {}
                Some(Open { output: None, .. }) => {
                    let one = open.get_mut(&name).expect("it is open");
                    one.output = Some(act(&mut store, one.function, &one.input));
                }
                Some(one) => {
                    open.remove(&name);
                    let draw = rng.random_range(0..100);
                    if draw < self.info {
                        history.info(name);
                        names[place] = next_name;
                        next_name += 1;
                    } else if draw < self.info + self.fail {
                        history.fail(name);
                    } else if rng.random_range(0..100) < self.lies {
                        history.ok(name, self.lie(rng, one.function));
                    } else {
                        history.ok(name, one.output.expect("it acted"));
                    }
                }
            }
        }
        history
    }

    fn lie(&self, rng: &mut ChaCha8Rng, function: &str) -> Value {
        let value = rng.random_range(0..=self.values);
        let value: Value = (value > 0).then_some(value).into();
        match function {
            "read" => value,
            "write" => Value::Null,
            _ if rng.random_range(0..2) == 0 => swapped(),
            _ => differs(value),
        }
    }
}

/// Does an operation on a store and returns its output.
fn act(store: &mut BTreeMap<String, Value>, function: &str, input: &Value) -> Value {
    let key = input.get("key").and_then(Value::as_text).expect("a key").to_owned();
    let now = store.get(&key).cloned().unwrap_or_default();
    let value = input.get("value").cloned().unwrap_or_default();
    match function {
        "read" => now,
        "write" => {
            store.insert(key, value);
            Value::Null
        }
        _ if input.get("expect") == Some(&now) => {
            store.insert(key, value);
            swapped()
        }
        _ => differs(now),
    }
}

/// What a long history is made of. Values are unique.
#[derive(Clone, Copy, Debug)]
pub struct Long {
    pub operations: usize,
    pub clients: u32,
    pub keys: u32,
    /// Of each thousand operations: in doubt.
    pub info: u32,
    pub seed: u64,
}

/// What goes wrong in the middle of a long history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Nothing.
    Nothing,
    /// For a while one client reads what the store held before.
    StaleReads,
    /// The store forgets its last acknowledged writes and goes on from there.
    LostWrites,
}

impl Long {
    /// A history of this shape.
    pub fn history(&self, planted: Planted) -> History {
        struct Open {
            function: &'static str,
            input: Value,
            output: Option<Value>,
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut history = History::default();
        let mut store: BTreeMap<String, Value> = BTreeMap::new();
        let mut old_copy: Option<BTreeMap<String, Value>> = None;
        let mut lost_at = usize::MAX;
        let mut clients: Vec<Option<Open>> = (0..self.clients).map(|_| None).collect();
        let mut processes: Vec<u32> = (0..self.clients).collect();
        let mut next_process = self.clients;
        let (mut begun, mut value) = (0, 0);
        // In doubt, and not done yet.
        let mut late: Vec<(&'static str, Value)> = Vec::new();
        while begun < self.operations || clients.iter().any(Option::is_some) {
            let middle = self.operations / 2;
            if planted != Planted::Nothing && begun == middle && old_copy.is_none() {
                old_copy = Some(store.clone());
                lost_at = middle + 4 * self.keys as usize * self.clients as usize;
            }
            if planted == Planted::LostWrites && begun == lost_at {
                store = old_copy.clone().expect("copied before");
                lost_at = usize::MAX;
            }
            let place = rng.random_range(0..clients.len());
            let process = processes[place];
            match clients[place].take() {
                None if begun < self.operations => {
                    begun += 1;
                    value += 1;
                    let key = format!("k{}", rng.random_range(0..self.keys));
                    let now = store.get(&key).cloned().unwrap_or_default();
                    let (function, input) = match rng.random_range(0..10) {
                        0..5 => ("read", read(&key)),
                        5..8 => ("write", write(&key, value)),
                        _ => ("cas", cas(&key, now, value)),
                    };
                    history.invoke(process, function, input.clone());
                    clients[place] = Some(Open {
                        function,
                        input,
                        output: None,
                    });
                }
                None => {}
                Some(mut open) if open.output.is_none() => {
                    if rng.random_range(0..1000) < self.info {
                        history.info(process);
                        processes[place] = next_process;
                        history.nodes.insert(next_process, 1 + (place % 3) as u16);
                        next_process += 1;
                        late.push((open.function, open.input));
                        continue;
                    }
                    let is_stale = planted == Planted::StaleReads
                        && place == 0
                        && begun > lost_at
                        && begun < lost_at.saturating_add(middle / 10);
                    open.output = Some(match &mut old_copy {
                        Some(copy) if is_stale && open.function == "read" => act(copy, open.function, &open.input),
                        _ => act(&mut store, open.function, &open.input),
                    });
                    clients[place] = Some(open);
                }
                Some(open) => {
                    history.ok(process, open.output.expect("it acted"));
                }
            }
            if rng.random_range(0..4) == 0
                && let Some((function, input)) = late.pop()
                && rng.random_range(0..2) == 0
            {
                act(&mut store, function, &input);
            }
        }
        history
    }
}
