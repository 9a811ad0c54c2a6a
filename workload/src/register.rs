//! The workload `register`: independent keys, each holding nothing or a whole number.
//!
//! | function | input | output | request |
//! |---|---|---|---|
//! | `read` | `{"key":"k3"}` | null or the number | linearizable range of one key |
//! | `write` | `{"key":"k3","value":7}` | null | put |
//! | `cas` | `{"key":"k3","expect":5,"value":7}`, `expect` null for absent | `{"swapped":true}` or `{"swapped":false,"actual":6}` | txn: compare, then put, else get |
//! | `delete` | `{"key":"k3"}` | `{"deleted":true}` or `{"deleted":false}` | delete range of one key |
//!
//! Every value is written at most once in a run, so that each read names the one write that it saw. A
//! compare-and-set whose compare fails reads the value in its else branch: it is a read, not a failure.
//!
//! Compare-and-sets mostly follow an operation of the same client on the same key and expect what that one saw, so
//! that many succeed; a key under the hands of many clients would otherwise have moved on.
//!
//! Nothing is deleted unless the mix says so: where a key is absent again and again, its states are not all different. Such a
//! key is followed by the store's revisions, which know no violation as it comes; the judge at the end does.
//!
//! Values may be padded with spaces in the store, so that one fills several sectors of a disk; in the history each is a
//! number.
//!
//! Left out: serializable reads.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Bytes;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tribunal_history::Value;
use tribunal_proto::etcdserverpb as pb;
use tribunal_proto::mvccpb;

use crate::classify::Access;
use crate::client::{Call, Response};
use crate::generator::{BadReply, Generator, Lane, Op};
use crate::recorder::Completion;

/// How much of each function, as weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Of `read`.
    pub reads: u32,
    /// Of `write`.
    pub writes: u32,
    /// Of `cas`.
    pub swaps: u32,
    /// Of `delete`.
    pub deletes: u32,
}

impl Default for Mix {
    /// Reads find violations, writes make values to lose; half and half, with some of the writes conditional.
    fn default() -> Self {
        Self {
            reads: 50,
            writes: 30,
            swaps: 20,
            deletes: 0,
        }
    }
}

/// How the registers are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterSettings {
    /// What every key begins with in the store and not in the history; one for each run, so that two runs against
    /// one store do not mix.
    pub prefix: String,
    /// How many keys are in use at a time.
    pub keys: NonZeroU32,
    /// After so many operations of a client it turns to fresh keys; none for never. Bounds the length of a key's
    /// history, which bounds the cost of checking it.
    pub rotate_after: Option<NonZeroU32>,
    /// How much of each function. If all weights are 0, everything is a read.
    pub mix: Mix,
    /// How long the longest values are; a value is its number, or that padded to one of eight lengths up to this.
    pub value_bytes: u32,
}

impl Default for RegisterSettings {
    /// Ten keys: enough that operations in doubt spread, few enough that clients meet on them.
    fn default() -> Self {
        Self {
            prefix: "/register/".to_owned(),
            keys: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            rotate_after: None,
            mix: Mix::default(),
            value_bytes: 0,
        }
    }
}

/// How many of a hundred compare-and-sets are about the key that the client used last.
const SWAPS_ON_LAST_KEY_PERCENT: u32 = 75;

/// The generator of one client.
#[derive(Clone, Debug)]
pub struct Register {
    settings: RegisterSettings,
    lane: Lane,
    /// Operations made by [`Generator::next`].
    made: u64,
    /// Values given out.
    values: i64,
    /// What this client last saw of each key.
    seen: BTreeMap<String, Option<i64>>,
    /// The key of this client's last answer that showed a value.
    last_key: Option<String>,
}

impl Register {
    /// The generator of one lane.
    pub fn new(settings: RegisterSettings, lane: Lane) -> Self {
        assert!(lane.index < lane.count, "lane {} of {}", lane.index, lane.count);
        Self {
            settings,
            lane,
            made: 0,
            values: 0,
            seen: BTreeMap::new(),
            last_key: None,
        }
    }

    /// A value that no other call and no other lane gives out: 1 + index, and then every `count`-th number.
    fn fresh_value(&mut self) -> i64 {
        let value = 1 + i64::from(self.lane.index) + self.values * i64::from(self.lane.count);
        self.values += 1;
        value
    }

    fn any_key(&self, rng: &mut ChaCha8Rng) -> String {
        let keys = u64::from(self.settings.keys.get());
        let generation = self
            .settings
            .rotate_after
            .map_or(0, |operations| self.made / u64::from(operations.get()));
        key_name(generation * keys + rng.random_range(0..keys))
    }

    fn swap(&mut self, rng: &mut ChaCha8Rng) -> Op {
        let any = self.any_key(rng);
        let on_last = rng.random_range(0..100) < SWAPS_ON_LAST_KEY_PERCENT;
        let key = self.last_key.clone().filter(|_| on_last).unwrap_or(any);
        let expect = self.seen.get(&key).copied().flatten();
        let value = self.fresh_value();
        let wire = self.wire_key(&key);
        let compare = match expect {
            Some(expect) => pb::Compare {
                result: pb::compare::CompareResult::Equal as i32,
                target: pb::compare::CompareTarget::Value as i32,
                key: wire.clone(),
                target_union: Some(pb::compare::TargetUnion::Value(self.encode(expect))),
                ..pb::Compare::default()
            },
            // A key that does not exist has the create revision 0.
            None => pb::Compare {
                result: pb::compare::CompareResult::Equal as i32,
                target: pb::compare::CompareTarget::Create as i32,
                key: wire.clone(),
                target_union: Some(pb::compare::TargetUnion::CreateRevision(0)),
                ..pb::Compare::default()
            },
        };
        let put = pb::request_op::Request::RequestPut(self.put(wire.clone(), value));
        let get = pb::request_op::Request::RequestRange(range(wire));
        Op {
            function: "cas",
            input: Value::map([
                ("key", key.as_str().into()),
                ("expect", expect.into()),
                ("value", value.into()),
            ]),
            key,
            access: Access::Write,
            call: Call::Txn(pb::TxnRequest {
                compare: vec![compare],
                success: vec![pb::RequestOp { request: Some(put) }],
                failure: vec![pb::RequestOp { request: Some(get) }],
            }),
        }
    }

    fn delete(&self, key: &str) -> Op {
        Op {
            function: "delete",
            input: Value::map([("key", key.into())]),
            key: key.to_owned(),
            access: Access::Write,
            call: Call::DeleteRange(pb::DeleteRangeRequest {
                key: self.wire_key(key),
                ..pb::DeleteRangeRequest::default()
            }),
        }
    }

    fn put(&self, key: Bytes, value: i64) -> pb::PutRequest {
        pb::PutRequest {
            key,
            value: self.encode(value),
            ..pb::PutRequest::default()
        }
    }

    /// Decimal text, so that a person with etcdctl can read it, padded at its end.
    fn encode(&self, value: i64) -> Bytes {
        let mut text = value.to_string().into_bytes();
        text.resize(text.len().max(self.length_of(value)), b' ');
        text.into()
    }

    /// How long the text of a value is at least, in bytes.
    fn length_of(&self, value: i64) -> usize {
        let length = u64::from(self.settings.value_bytes) * (value.unsigned_abs() % LENGTHS) / (LENGTHS - 1);
        usize::try_from(length).unwrap_or(0)
    }

    /// The number, if it is written as [`Register::encode`] would; otherwise the text, which nobody wrote and which must
    /// not pass for a number.
    fn decode(&self, bytes: &[u8]) -> Value {
        let digits = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        let (digits, padding) = bytes.split_at(digits);
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        let is_encoded = |number: &i64| {
            number.to_string().as_bytes() == digits
                && bytes.len() == digits.len().max(self.length_of(*number))
                && padding.iter().all(|byte| *byte == b' ')
        };
        match number.filter(is_encoded) {
            Some(number) => Value::Int(number),
            None => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }

    fn wire_key(&self, key: &str) -> Bytes {
        format!("{}{key}", self.settings.prefix).into()
    }

    /// What `kvs`, the result of reading the key of `op`, say of it.
    fn value_of(&self, op: &Op, kvs: &[mvccpb::KeyValue]) -> Result<Value, BadReply> {
        match kvs {
            [] => Ok(Value::Null),
            [kv] if kv.key == self.wire_key(&op.key) => Ok(self.decode(&kv.value)),
            [kv] => Err(BadReply(format!(
                "asked for {:?}, the answer has {:?}",
                op.key,
                String::from_utf8_lossy(&kv.key)
            ))),
            _ => Err(BadReply(format!("asked for one key, the answer has {}", kvs.len()))),
        }
    }
}

impl Generator for Register {
    fn next(&mut self, rng: &mut ChaCha8Rng) -> Op {
        let Mix {
            reads,
            writes,
            swaps,
            deletes,
        } = self.settings.mix;
        let total = u64::from(reads) + u64::from(writes) + u64::from(swaps) + u64::from(deletes);
        let card = rng.random_range(0..total.max(1));
        let op = if total == 0 || card < u64::from(reads) {
            self.read(&self.any_key(rng))
        } else if card < u64::from(reads) + u64::from(writes) {
            let key = self.any_key(rng);
            self.write(&key)
        } else if card >= total - u64::from(deletes) {
            self.delete(&self.any_key(rng))
        } else {
            self.swap(rng)
        };
        self.made += 1;
        op
    }

    fn read(&self, key: &str) -> Op {
        Op {
            function: "read",
            input: Value::map([("key", key.into())]),
            key: key.to_owned(),
            access: Access::Read,
            call: Call::Range(range(self.wire_key(key))),
        }
    }

    fn write(&mut self, key: &str) -> Op {
        let value = self.fresh_value();
        Op {
            function: "write",
            input: Value::map([("key", key.into()), ("value", value.into())]),
            key: key.to_owned(),
            access: Access::Write,
            call: Call::Put(self.put(self.wire_key(key), value)),
        }
    }

    fn understand(&self, op: &Op, response: &Response) -> Result<Value, BadReply> {
        use pb::response_op::Response as Part;
        match (op.function, response) {
            ("read", Response::Range(response)) => self.value_of(op, &response.kvs),
            ("write", Response::Put(_)) => Ok(Value::Null),
            ("delete", Response::DeleteRange(response)) => match response.deleted {
                0 | 1 => Ok(Value::map([("deleted", (response.deleted == 1).into())])),
                several => Err(BadReply(format!(
                    "one key was to be deleted, the answer says {several}"
                ))),
            },
            ("cas", Response::Txn(txn)) => {
                let [pb::ResponseOp { response: Some(part) }] = txn.responses.as_slice() else {
                    return Err(BadReply(format!(
                        "a txn of one operation has {} answers",
                        txn.responses.len()
                    )));
                };
                match (txn.succeeded, part) {
                    (true, Part::ResponsePut(_)) => Ok(Value::map([("swapped", true.into())])),
                    (false, Part::ResponseRange(range)) => Ok(Value::map([
                        ("swapped", false.into()),
                        ("actual", self.value_of(op, &range.kvs)?),
                    ])),
                    (succeeded, _) => Err(BadReply(format!(
                        "the answer in a txn with succeeded = {succeeded} is of the other branch"
                    ))),
                }
            }
            (function, _) => Err(BadReply(format!("the answer is of another kind than a {function}"))),
        }
    }

    fn observe(&mut self, op: &Op, completion: &Completion) {
        let Completion::Ok(reply) = completion else {
            return;
        };
        let written = op.input.get("value");
        let shown = match op.function {
            "read" => Some(&reply.output),
            "write" => written,
            "delete" => Some(&Value::Null),
            _ if reply.output.get("swapped").and_then(Value::as_bool) == Some(true) => written,
            _ => reply.output.get("actual"),
        };
        let number = match shown {
            Some(Value::Null) => None,
            Some(Value::Int(number)) => Some(*number),
            // Nobody writes anything else; there is nothing to expect.
            _ => return,
        };
        self.seen.insert(op.key.clone(), number);
        self.last_key = Some(op.key.clone());
    }

    fn keys(&self) -> Vec<String> {
        (0..u64::from(self.settings.keys.get())).map(key_name).collect()
    }
}

fn key_name(number: u64) -> String {
    format!("k{number}")
}

fn range(key: Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key,
        ..pb::RangeRequest::default()
    }
}

/// The lengths that values are padded to are so many.
const LENGTHS: u64 = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tribunal_env::{Purpose, Stream, seeded};

    use super::*;
    use crate::recorder::Reply;

    fn rng(seed: u64) -> ChaCha8Rng {
        seeded(
            seed,
            0,
            Stream {
                purpose: Purpose::Test,
                a: 0,
                b: 0,
            },
        )
    }

    fn register(settings: RegisterSettings) -> Register {
        Register::new(settings, Lane { index: 0, count: 1 })
    }

    fn ok(output: Value) -> Completion {
        Completion::Ok(Reply {
            output,
            ..Reply::default()
        })
    }

    fn kv(key: &str, value: &str) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..mvccpb::KeyValue::default()
        }
    }

    fn range_response(kvs: Vec<mvccpb::KeyValue>) -> pb::RangeResponse {
        pb::RangeResponse {
            count: kvs.len() as i64,
            kvs,
            ..pb::RangeResponse::default()
        }
    }

    fn txn(succeeded: bool, parts: Vec<pb::response_op::Response>) -> Response {
        Response::Txn(pb::TxnResponse {
            succeeded,
            responses: parts
                .into_iter()
                .map(|part| pb::ResponseOp { response: Some(part) })
                .collect(),
            ..pb::TxnResponse::default()
        })
    }

    /// A swap on k0 after k0 was seen to hold `seen`.
    fn swap_after(seen: Value) -> (Register, Op) {
        let mut register = register(RegisterSettings {
            keys: NonZeroU32::MIN,
            ..RegisterSettings::default()
        });
        register.observe(&register.read("k0"), &ok(seen));
        let op = register.swap(&mut rng(1));
        (register, op)
    }

    #[test]
    fn inputs_and_requests_have_their_written_form() {
        let mut register = register(RegisterSettings::default());
        let read = register.read("k3");
        assert_eq!(read.input, Value::map([("key", "k3".into())]));
        assert_eq!((read.function, read.access), ("read", Access::Read));
        let Call::Range(request) = &read.call else {
            panic!("{read:?}")
        };
        assert_eq!((&request.key[..], request.serializable), (&b"/register/k3"[..], false));

        let write = register.write("k3");
        assert_eq!(write.input, Value::map([("key", "k3".into()), ("value", 1.into())]));
        assert_eq!((write.function, write.access), ("write", Access::Write));
        assert!(matches!(&write.call, Call::Put(put) if put.value == "1"), "{write:?}");
    }

    #[test]
    fn a_swap_expects_what_the_client_saw_and_reads_otherwise() {
        let (_, op) = swap_after(Value::Int(41));
        assert_eq!(
            op.input,
            Value::map([("key", "k0".into()), ("expect", 41.into()), ("value", 1.into())])
        );
        assert_eq!(op.access, Access::Write);
        let Call::Txn(request) = &op.call else { panic!("{op:?}") };
        let compare = &request.compare[0];
        assert_eq!(compare.target(), pb::compare::CompareTarget::Value);
        assert_eq!(compare.target_union, Some(pb::compare::TargetUnion::Value("41".into())));
        assert!(matches!(
            request.success[0].request,
            Some(pb::request_op::Request::RequestPut(_))
        ));
        assert!(matches!(
            request.failure[0].request,
            Some(pb::request_op::Request::RequestRange(_))
        ));

        let (_, op) = swap_after(Value::Null);
        assert_eq!(op.input.get("expect"), Some(&Value::Null));
        let Call::Txn(request) = &op.call else { panic!("{op:?}") };
        assert_eq!(
            request.compare[0].target_union,
            Some(pb::compare::TargetUnion::CreateRevision(0))
        );
    }

    #[test]
    fn answers_are_understood() {
        let (register, swap) = swap_after(Value::Int(41));
        let read = register.read("k0");
        let shown = |kvs| register.understand(&read, &Response::Range(range_response(kvs)));
        assert_eq!(shown(vec![]), Ok(Value::Null));
        assert_eq!(shown(vec![kv("/register/k0", "7")]), Ok(Value::Int(7)));

        use pb::response_op::Response as Part;
        let swapped = txn(true, vec![Part::ResponsePut(pb::PutResponse::default())]);
        assert_eq!(
            register.understand(&swap, &swapped),
            Ok(Value::map([("swapped", true.into())]))
        );
        let kept = |kvs| txn(false, vec![Part::ResponseRange(range_response(kvs))]);
        let actual = |value: Value| Ok(Value::map([("swapped", false.into()), ("actual", value)]));
        assert_eq!(
            register.understand(&swap, &kept(vec![kv("/register/k0", "5")])),
            actual(5.into())
        );
        assert_eq!(register.understand(&swap, &kept(vec![])), actual(Value::Null));
    }

    /// A phantom must reach the checker: a value that nobody wrote is an output, and never taken for a number.
    #[test]
    fn values_that_nobody_wrote_stay_as_they_are() {
        let register = register(RegisterSettings::default());
        let read = register.read("k0");
        for text in ["", "WALUE0150", "007", "+7", " 7", "-0", "99999999999999999999"] {
            let response = Response::Range(range_response(vec![kv("/register/k0", text)]));
            assert_eq!(register.understand(&read, &response), Ok(Value::Text(text.to_owned())));
        }
    }

    #[test]
    fn answers_of_another_shape_are_not_understood() {
        use pb::response_op::Response as Part;
        let (register, swap) = swap_after(Value::Int(41));
        let read = register.read("k0");
        let put = || Part::ResponsePut(pb::PutResponse::default());
        let bad = |op: &Op, response: Response| {
            register
                .understand(op, &response)
                .expect_err("not an answer to this")
                .to_string()
        };
        assert_eq!(
            bad(&read, Response::Range(range_response(vec![kv("/register/k1", "7")]))),
            "asked for \"k0\", the answer has \"/register/k1\""
        );
        let two = vec![kv("/register/k0", "7"), kv("/register/k0", "8")];
        assert_eq!(
            bad(&read, Response::Range(range_response(two))),
            "asked for one key, the answer has 2"
        );
        assert_eq!(
            bad(&read, Response::Put(pb::PutResponse::default())),
            "the answer is of another kind than a read"
        );
        assert_eq!(bad(&swap, txn(true, vec![])), "a txn of one operation has 0 answers");
        assert_eq!(
            bad(&swap, txn(true, vec![put(), put()])),
            "a txn of one operation has 2 answers"
        );
        assert_eq!(
            bad(&swap, txn(false, vec![put()])),
            "the answer in a txn with succeeded = false is of the other branch"
        );
    }

    #[test]
    fn the_mix_is_kept() {
        let mut register = register(RegisterSettings::default());
        let rng = &mut rng(5);
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            *counts.entry(register.next(rng).function).or_default() += 1;
        }
        let near = |function, expected: u32| counts[function].abs_diff(expected) < 300;
        assert!(
            near("read", 5000) && near("write", 3000) && near("cas", 2000),
            "{counts:?}"
        );
    }

    #[test]
    fn a_mix_of_nothing_reads() {
        let mix = Mix {
            reads: 0,
            writes: 0,
            swaps: 0,
            deletes: 0,
        };
        let mut register = register(RegisterSettings {
            mix,
            ..RegisterSettings::default()
        });
        assert_eq!(register.next(&mut rng(1)).function, "read");
    }

    #[test]
    fn keys_rotate_and_never_come_back() {
        let mut register = register(RegisterSettings {
            keys: NonZeroU32::new(2).expect("not zero"),
            rotate_after: NonZeroU32::new(5),
            ..RegisterSettings::default()
        });
        let rng = &mut rng(1);
        let keys: Vec<String> = (0..20).map(|_| register.next(rng).key).collect();
        for (number, key) in keys.iter().enumerate() {
            let generation = number / 5;
            let allowed = [key_name(generation as u64 * 2), key_name(generation as u64 * 2 + 1)];
            assert!(allowed.contains(key), "operation {number} is about {key}");
        }
    }

    /// A store of one client that never loses anything: most swaps on what was just seen succeed.
    #[test]
    fn swaps_succeed_when_nobody_interferes() {
        let mut register = register(RegisterSettings::default());
        let rng = &mut rng(3);
        let mut store: BTreeMap<String, Value> = BTreeMap::new();
        let (mut swaps, mut swapped) = (0, 0);
        for _ in 0..2_000 {
            let op = register.next(rng);
            let held = store.get(&op.key).cloned().unwrap_or_default();
            let written = op.input.get("value").cloned().unwrap_or_default();
            let output = match op.function {
                "read" => held,
                "write" => {
                    store.insert(op.key.clone(), written);
                    Value::Null
                }
                _ => {
                    swaps += 1;
                    if op.input.get("expect") == Some(&held) {
                        swapped += 1;
                        store.insert(op.key.clone(), written);
                        Value::map([("swapped", true.into())])
                    } else {
                        Value::map([("swapped", false.into()), ("actual", held)])
                    }
                }
            };
            register.observe(&op, &ok(output));
        }
        assert!(swaps > 300, "{swaps} swaps");
        assert_eq!(swaps, swapped, "a lone client knows what the store holds");
    }

    proptest! {
        /// Unique values are what zones and witnesses rest on.
        #[test]
        fn no_value_is_written_twice_in_a_run(seed: u64, lanes in 1_u32..20, operations in 1_usize..200) {
            let mut values = BTreeSet::new();
            for index in 0..lanes {
                let mut register = Register::new(RegisterSettings::default(), Lane { index, count: lanes });
                let rng = &mut rng(seed.wrapping_add(u64::from(index)));
                for _ in 0..operations {
                    if let Some(value) = register.next(rng).input.get("value") {
                        prop_assert!(values.insert(value.clone()), "{} comes twice", value);
                    }
                }
                let probe = register.write("k0").input.get("value").cloned().expect("a value");
                prop_assert!(values.insert(probe.clone()), "{} comes twice", probe);
            }
        }

        #[test]
        fn the_same_stream_gives_the_same_operations(seed: u64) {
            let make = || {
                let mut register = register(RegisterSettings::default());
                let rng = &mut rng(seed);
                (0..50).map(|_| register.next(rng)).collect::<Vec<_>>()
            };
            prop_assert_eq!(make(), make());
        }

        /// Whatever a node answers, it is understood or refused, without a panic.
        #[test]
        fn no_answer_panics(key in ".*", value in proptest::collection::vec(any::<u8>(), 0..40), succeeded: bool, parts in 0_usize..3) {
            let (register, swap) = swap_after(Value::Int(1));
            let read = register.read("k0");
            let one = mvccpb::KeyValue { key: key.into(), value: value.into(), ..mvccpb::KeyValue::default() };
            let range = range_response(vec![one]);
            let part = pb::response_op::Response::ResponseRange(range.clone());
            for response in [Response::Range(range), txn(succeeded, vec![part; parts])] {
                let _ = register.understand(&read, &response);
                let _ = register.understand(&swap, &response);
            }
        }
    }
}
