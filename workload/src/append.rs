//! The workload `append`: transactions that append to lists and read them.
//!
//! | function | input | output |
//! |---|---|---|
//! | `txn` | `[["append","k1",7],["r","k2",null]]` | the same with what was read: `[["append","k1",7],["r","k2",[3,5]]]` |
//!
//! A list is one key of the store; its value is the elements in decimal, with spaces between them. A transaction first
//! reads all its keys at one moment. If it appends, a second request puts the longer lists, on the condition that no key
//! that was read has changed since (its mod revision); if one has, the same request reads the keys again, and the
//! transaction is tried once more on what it finds, a few times in all. One that gives up has *failed*: no request of it
//! had an effect. A second request without an answer is in doubt, as any write.
//!
//! Every element is appended once in a run, so that each read names all transactions that wrote the list, in their
//! order; the checker needs nothing else. Keys are left for fresh ones after a while, so that lists stay short.
//!
//! Left out: deletes; reads of a range of keys, so predicates.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Bytes;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tribunal_history::{Cause, CauseCode, Value};
use tribunal_proto::etcdserverpb as pb;
use tribunal_proto::mvccpb;

use crate::classify::Access;
use crate::client::{Call, Response};
use crate::generator::{BadReply, Generator, Lane, Next, Op};
use crate::recorder::Completion;

/// How the lists are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendSettings {
    /// What every key begins with in the store and not in the history.
    pub prefix: String,
    /// How many keys are in use at a time.
    pub keys: NonZeroU32,
    /// After so many transactions of a client it turns to fresh keys. Bounds the length of a list, and so what reading
    /// it costs.
    pub rotate_after: NonZeroU32,
    /// Most steps of a transaction.
    pub steps_max: NonZeroU32,
    /// How many requests a transaction may spend on putting its lists before it gives up.
    pub attempts_max: NonZeroU32,
}

impl Default for AppendSettings {
    /// Lists of a few dozen elements with a handful of clients; transactions that mostly concern two keys.
    fn default() -> Self {
        let number = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            prefix: "/append/".to_owned(),
            keys: number(10),
            rotate_after: number(40),
            steps_max: number(4),
            attempts_max: number(3),
        }
    }
}

/// The generator of one client.
#[derive(Clone, Debug)]
pub struct Append {
    settings: AppendSettings,
    lane: Lane,
    /// Transactions made by [`Generator::next`].
    made: u64,
    /// Elements given out.
    elements: i64,
}

/// A step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    Append(&'a str, i64),
    Read(&'a str),
}

/// What the store holds under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    value: String,
    /// 0 for an absent key, as the store has it.
    mod_revision: i64,
}

impl Append {
    /// The generator of one lane.
    pub fn new(settings: AppendSettings, lane: Lane) -> Self {
        assert!(lane.index < lane.count, "lane {} of {}", lane.index, lane.count);
        Self {
            settings,
            lane,
            made: 0,
            elements: 0,
        }
    }

    /// An element that no other call and no other lane gives out.
    fn fresh_element(&mut self) -> i64 {
        let element = 1 + i64::from(self.lane.index) + self.elements * i64::from(self.lane.count);
        self.elements += 1;
        element
    }

    fn any_key(&self, rng: &mut ChaCha8Rng) -> String {
        let keys = u64::from(self.settings.keys.get());
        let generation = self.made / u64::from(self.settings.rotate_after.get());
        key_name(generation * keys + rng.random_range(0..keys))
    }

    fn wire_key(&self, key: &str) -> Bytes {
        format!("{}{key}", self.settings.prefix).into()
    }

    /// The transaction of these steps; the first names its key.
    fn txn(&self, steps: &[Value]) -> Op {
        let input = Value::List(steps.to_vec());
        let keys = keys_of(&input);
        // One key alone is read as itself: by the way that most clients take.
        let call = match keys.as_slice() {
            [key] => Call::Range(self.range(key)),
            keys => Call::Txn(pb::TxnRequest {
                success: self.ranges(keys),
                ..pb::TxnRequest::default()
            }),
        };
        Op {
            function: "txn",
            key: keys.first().map_or_else(String::new, |key| (*key).to_owned()),
            access: Access::Read,
            call,
            input,
        }
    }

    fn range(&self, key: &str) -> pb::RangeRequest {
        pb::RangeRequest {
            key: self.wire_key(key),
            ..pb::RangeRequest::default()
        }
    }

    fn ranges(&self, keys: &[&str]) -> Vec<pb::RequestOp> {
        keys.iter()
            .map(|key| pb::RequestOp {
                request: Some(pb::request_op::Request::RequestRange(self.range(key))),
            })
            .collect()
    }

    /// Puts what the transaction makes of `held`, if that is what the keys still hold.
    fn guarded(&self, input: &Value, keys: &[&str], held: &BTreeMap<&str, Held>) -> Call {
        let mut lists: BTreeMap<&str, String> = BTreeMap::new();
        for step in steps_of(input) {
            if let Step::Append(key, element) = step {
                let list = lists
                    .entry(key)
                    .or_insert_with(|| held.get(key).map_or_else(String::new, |held| held.value.clone()));
                if !list.is_empty() {
                    list.push(' ');
                }
                list.push_str(&element.to_string());
            }
        }
        let compare = keys.iter().map(|key| pb::Compare {
            result: pb::compare::CompareResult::Equal as i32,
            target: pb::compare::CompareTarget::Mod as i32,
            key: self.wire_key(key),
            target_union: Some(pb::compare::TargetUnion::ModRevision(
                held.get(key).map_or(0, |held| held.mod_revision),
            )),
            ..pb::Compare::default()
        });
        let puts = lists.iter().map(|(key, list)| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
                key: self.wire_key(key),
                value: list.clone().into(),
                ..pb::PutRequest::default()
            })),
        });
        Call::Txn(pb::TxnRequest {
            compare: compare.collect(),
            success: puts.collect(),
            failure: self.ranges(keys),
        })
    }

    /// What an answer says of the keys that were read.
    fn held<'k>(&self, keys: &[&'k str], response: &Response) -> Result<BTreeMap<&'k str, Held>, BadReply> {
        use pb::response_op::Response as Part;
        match response {
            Response::Range(range) if keys.len() == 1 => {
                let held = self.held_of(keys[0], &range.kvs)?;
                Ok([(keys[0], held)].into())
            }
            Response::Txn(txn) => {
                if txn.responses.len() != keys.len() {
                    return Err(BadReply(format!(
                        "a txn of {} reads has {} answers",
                        keys.len(),
                        txn.responses.len()
                    )));
                }
                let parts = keys.iter().zip(&txn.responses);
                let held = parts.map(|(key, part)| match &part.response {
                    Some(Part::ResponseRange(range)) => Ok((*key, self.held_of(key, &range.kvs)?)),
                    _ => Err(BadReply(format!("the answer to the read of {key} is none"))),
                });
                held.collect()
            }
            _ => Err(BadReply("the answer is of another kind than what was asked".to_owned())),
        }
    }

    fn held_of(&self, key: &str, kvs: &[mvccpb::KeyValue]) -> Result<Held, BadReply> {
        match kvs {
            [] => Ok(Held::default()),
            [kv] if kv.key == self.wire_key(key) => Ok(Held {
                value: String::from_utf8_lossy(&kv.value).into_owned(),
                mod_revision: kv.mod_revision,
            }),
            [kv] => Err(BadReply(format!(
                "asked for {key:?}, the answer has {:?}",
                String::from_utf8_lossy(&kv.key)
            ))),
            _ => Err(BadReply(format!("asked for one key, the answer has {}", kvs.len()))),
        }
    }
}

impl Generator for Append {
    fn next(&mut self, rng: &mut ChaCha8Rng) -> Op {
        let count = rng.random_range(1..=self.settings.steps_max.get());
        let mut steps = Vec::new();
        for _ in 0..count {
            let key = self.any_key(rng);
            if rng.random_bool(0.5) {
                steps.push(append(&key, self.fresh_element()));
            } else {
                steps.push(read(&key));
            }
        }
        self.made += 1;
        self.txn(&steps)
    }

    fn read(&self, key: &str) -> Op {
        self.txn(&[read(key)])
    }

    fn write(&mut self, key: &str) -> Op {
        let element = self.fresh_element();
        self.txn(&[append(key, element)])
    }

    /// The output of a transaction that only reads; [`Generator::proceed`] is for all.
    fn understand(&self, op: &Op, response: &Response) -> Result<Value, BadReply> {
        let keys = keys_of(&op.input);
        Ok(output(&op.input, &self.held(&keys, response)?))
    }

    fn proceed(&self, op: &Op, responses: &[Response]) -> Result<Next, BadReply> {
        let keys = keys_of(&op.input);
        let Some((last, before)) = responses.split_last() else {
            return Err(BadReply("there is no answer".to_owned()));
        };
        let appends = steps_of(&op.input).any(|step| matches!(step, Step::Append(..)));
        // The answer before is the one whose lists were to be put.
        if let (Some(read), Response::Txn(txn)) = (before.last(), last)
            && txn.succeeded
        {
            return Ok(Next::Done(output(&op.input, &self.held(&keys, read)?)));
        }
        let held = self.held(&keys, last)?;
        if !appends {
            return Ok(Next::Done(output(&op.input, &held)));
        }
        if before.len() as u64 >= u64::from(self.settings.attempts_max.get()) {
            return Ok(Next::Failed(Cause {
                code: CauseCode::Conflict,
                text: format!("a key that was read had changed at each of {} attempts", before.len()),
            }));
        }
        Ok(Next::Ask(self.guarded(&op.input, &keys, &held), Access::Write))
    }

    fn observe(&mut self, _op: &Op, _completion: &Completion) {}

    fn keys(&self) -> Vec<String> {
        (0..u64::from(self.settings.keys.get())).map(key_name).collect()
    }

    fn touched(&self, op: &Op) -> Vec<String> {
        keys_of(&op.input).into_iter().map(str::to_owned).collect()
    }
}

fn key_name(number: u64) -> String {
    format!("k{number}")
}

fn append(key: &str, element: i64) -> Value {
    Value::List(vec!["append".into(), key.into(), element.into()])
}

fn read(key: &str) -> Value {
    Value::List(vec!["r".into(), key.into(), Value::Null])
}

/// The steps of an input of our own.
fn steps_of(input: &Value) -> impl Iterator<Item = Step<'_>> {
    let steps = match input {
        Value::List(steps) => steps.as_slice(),
        _ => &[],
    };
    steps.iter().filter_map(|step| {
        let Value::List(parts) = step else { return None };
        let [_, Value::Text(key), element] = parts.as_slice() else {
            return None;
        };
        Some(match element {
            Value::Int(element) => Step::Append(key, *element),
            _ => Step::Read(key),
        })
    })
}

/// The keys of an input, each once, in the order of their first use.
fn keys_of(input: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = Vec::new();
    for step in steps_of(input) {
        let (Step::Append(key, _) | Step::Read(key)) = step;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// The steps of an input with what they read, done on what the keys held.
fn output(input: &Value, held: &BTreeMap<&str, Held>) -> Value {
    let mut lists: BTreeMap<&str, Vec<Value>> = held.iter().map(|(key, held)| (*key, elements(&held.value))).collect();
    let steps = steps_of(input).map(|step| match step {
        Step::Append(key, element) => {
            lists.entry(key).or_default().push(element.into());
            append(key, element)
        }
        Step::Read(key) => {
            let list = lists.get(key).cloned().unwrap_or_default();
            Value::List(vec!["r".into(), key.into(), Value::List(list)])
        }
    });
    Value::List(steps.collect())
}

/// The elements of a list as the store has it. What is no number as we write it stays a text, which nobody appended and
/// which must not pass for a number.
fn elements(value: &str) -> Vec<Value> {
    if value.is_empty() {
        return Vec::new();
    }
    value
        .split(' ')
        .map(|text| match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Value::Int(number),
            _ => Value::Text(text.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tribunal_env::{Purpose, Stream, seeded};

    use super::*;

    fn generator() -> Append {
        Append::new(AppendSettings::default(), Lane { index: 1, count: 4 })
    }

    fn kv(key: &str, value: &str, mod_revision: i64) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            mod_revision,
            ..mvccpb::KeyValue::default()
        }
    }

    fn ranges(succeeded: bool, parts: Vec<Vec<mvccpb::KeyValue>>) -> Response {
        let responses = parts.into_iter().map(|kvs| pb::ResponseOp {
            response: Some(pb::response_op::Response::ResponseRange(pb::RangeResponse {
                kvs,
                ..pb::RangeResponse::default()
            })),
        });
        Response::Txn(pb::TxnResponse {
            succeeded,
            responses: responses.collect(),
            ..pb::TxnResponse::default()
        })
    }

    fn put() -> Response {
        Response::Txn(pb::TxnResponse {
            succeeded: true,
            responses: vec![pb::ResponseOp {
                response: Some(pb::response_op::Response::ResponsePut(pb::PutResponse::default())),
            }],
            ..pb::TxnResponse::default()
        })
    }

    /// Appends to k1, reads it, and reads k2.
    fn op() -> (Append, Op) {
        let generator = generator();
        let op = generator.txn(&[append("k1", 9), read("k1"), read("k2")]);
        (generator, op)
    }

    #[test]
    fn what_was_read_guards_what_is_put() {
        let (generator, op) = op();
        assert_eq!(op.access, Access::Read);
        let first = ranges(true, vec![vec![kv("/append/k1", "3 5", 17)], vec![]]);
        let Ok(Next::Ask(Call::Txn(second), Access::Write)) = generator.proceed(&op, std::slice::from_ref(&first))
        else {
            panic!("a second request")
        };
        let guards: Vec<_> = second
            .compare
            .iter()
            .map(|compare| compare.target_union.clone())
            .collect();
        use pb::compare::TargetUnion::ModRevision;
        assert_eq!(guards, [Some(ModRevision(17)), Some(ModRevision(0))]);
        let [put_op] = second.success.as_slice() else {
            panic!("one put")
        };
        assert!(
            matches!(&put_op.request, Some(pb::request_op::Request::RequestPut(put)) if put.value == "3 5 9"),
            "{put_op:?}"
        );
        assert_eq!(second.failure.len(), 2);

        let done = generator.proceed(&op, &[first, put()]);
        let list = |numbers: &[i64]| Value::List(numbers.iter().map(|number| (*number).into()).collect());
        let step = |key: &str, list| Value::List(vec!["r".into(), key.into(), list]);
        assert_eq!(
            done,
            Ok(Next::Done(Value::List(vec![
                append("k1", 9),
                step("k1", list(&[3, 5, 9])),
                step("k2", list(&[])),
            ])))
        );
    }

    #[test]
    fn a_guard_that_fails_is_tried_on_what_is_there_and_then_given_up() {
        let (generator, op) = op();
        let read = |revision| ranges(false, vec![vec![kv("/append/k1", "3", revision)], vec![]]);
        let mut answers = vec![ranges(true, vec![vec![], vec![]])];
        for revision in [4, 5] {
            answers.push(read(revision));
            let Ok(Next::Ask(Call::Txn(request), _)) = generator.proceed(&op, &answers) else {
                panic!("another attempt")
            };
            assert_eq!(
                request.compare[0].target_union,
                Some(pb::compare::TargetUnion::ModRevision(revision))
            );
        }
        answers.push(read(6));
        let Ok(Next::Failed(cause)) = generator.proceed(&op, &answers) else {
            panic!("given up")
        };
        assert_eq!(cause.code, CauseCode::Conflict);
    }

    #[test]
    fn what_only_reads_is_one_request() {
        let generator = generator();
        let op = generator.read("k3");
        assert!(matches!(&op.call, Call::Range(range) if range.key == "/append/k3"));
        let answer = Response::Range(pb::RangeResponse {
            kvs: vec![kv("/append/k3", "7 007 x", 2)],
            ..pb::RangeResponse::default()
        });
        let list = Value::List(vec![Value::Int(7), "007".into(), "x".into()]);
        let expected = Value::List(vec![Value::List(vec!["r".into(), "k3".into(), list])]);
        assert_eq!(generator.proceed(&op, &[answer]), Ok(Next::Done(expected)));
        let other = Response::Put(pb::PutResponse::default());
        assert!(generator.proceed(&op, &[other]).is_err());
        let foreign = Response::Range(pb::RangeResponse {
            kvs: vec![kv("/append/k4", "7", 2)],
            ..pb::RangeResponse::default()
        });
        assert!(generator.proceed(&op, &[foreign]).is_err());
    }

    #[test]
    fn no_element_is_appended_twice_and_keys_are_left_for_fresh_ones() {
        let mut rng = seeded(
            7,
            0,
            Stream {
                purpose: Purpose::Test,
                a: 0,
                b: 0,
            },
        );
        let mut elements = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for index in 0..2 {
            let mut generator = Append::new(AppendSettings::default(), Lane { index, count: 2 });
            for _ in 0..200 {
                let op = generator.next(&mut rng);
                for step in steps_of(&op.input) {
                    if let Step::Append(_, element) = step {
                        assert!(elements.insert(element), "{element} twice");
                    }
                }
                assert_eq!(generator.touched(&op).first(), Some(&op.key));
                keys.extend(generator.touched(&op));
            }
        }
        assert!(elements.len() > 200, "{}", elements.len());
        assert!(keys.len() > 40, "{}", keys.len());
    }
}
