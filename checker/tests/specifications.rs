//! Every specification: the engine against trying every order on random small histories, and judged examples.

mod support;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::History;
use tribunal_checker::linearizability::{Answer, Entry, Partition, Search, Wgl, brute, verify};
use tribunal_checker::minimise::minimise;
use tribunal_checker::spec::{
    CasRegister, Counter, FifoQueue, Kv, Many, MultiRegister, Mutex, Register, Set, Spec, UniqueIds, UnorderedQueue,
    cas_register, counter, fifo_queue, kv, multi_register, mutex, register, set, unique_ids, unordered_queue,
};
use tribunal_checker::{Options, judge, specifications};
use tribunal_history::{AnomalyClass, Outcome, Value};

/// Up to seven operations of up to four clients on one store; some results are those of another store, some operations
/// are in doubt.
fn entries<S: Spec>(
    rng: &mut ChaCha8Rng,
    draw: &impl Fn(&mut ChaCha8Rng) -> S::Op,
    forget: &impl Fn(&mut ChaCha8Rng, S::Ret) -> S::Ret,
) -> Vec<Entry<S>> {
    let (mut store, mut other) = (Many::<S>::default(), Many::<S>::default());
    let mut entries: Vec<Entry<S>> = Vec::new();
    let mut open: Vec<Option<usize>> = vec![None; rng.random_range(1..=4)];
    let lies = [0, 10, 30][rng.random_range(0..3)];
    let doubts = [0, 20, 40][rng.random_range(0..3)];
    let operations = rng.random_range(1..=7);
    for now in 0..operations * 3 {
        let client = rng.random_range(0..open.len());
        let Some(id) = open[client].take() else {
            if entries.len() < operations {
                open[client] = Some(entries.len());
                entries.push(Entry {
                    id: entries.len(),
                    op: draw(rng),
                    ret: None,
                    call: now as u64,
                    end: None,
                });
            }
            continue;
        };
        let told = store.invoke(&entries[id].op);
        // The other store has a past of its own.
        other.invoke(&draw(rng));
        let invented = other.invoke(&entries[id].op);
        if rng.random_range(0..100) >= doubts {
            let ret = if rng.random_range(0..100) < lies {
                invented
            } else {
                told
            };
            entries[id].ret = Some(forget(rng, ret));
            entries[id].end = Some(now as u64);
        }
    }
    entries
}

fn by_key<S: Spec>(entries: Vec<Entry<S>>) -> Vec<Partition<S>> {
    let mut partitions: Vec<Partition<S>> = Vec::new();
    for entry in entries {
        let key = S::partition(&entry.op).map(str::to_owned);
        match partitions.iter_mut().find(|partition| partition.key == key) {
            Some(partition) => partition.entries.push(entry),
            None => partitions.push(Partition::new(key, vec![entry])),
        }
    }
    partitions
}

/// The engine against trying every order, its certificates, its counterexamples; both kinds must be there.
fn agrees<S: Spec + std::fmt::Debug>(
    draw: impl Fn(&mut ChaCha8Rng) -> S::Op,
    forget: impl Fn(&mut ChaCha8Rng, S::Ret) -> S::Ret,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut legal = [0, 0];
    for round in 0..4_000 {
        for partition in by_key(entries::<S>(&mut rng, &draw, &forget)) {
            let expected = brute::try_every_order(&partition.entries);
            legal[usize::from(expected)] += 1;
            match Wgl::new(&partition)
                .advance(u64::MAX)
                .expect("a search without a limit ends")
            {
                Answer::Linearizable(order) => {
                    assert!(expected, "round {round}: {partition:#?}");
                    verify(&partition.entries, &order).expect("a certificate that holds");
                }
                Answer::NotLinearizable => {
                    assert!(!expected, "round {round}: {partition:#?}");
                    let minimal = minimise(&partition, 1_000_000);
                    assert_eq!(minimal.proved_again, Some(true), "round {round}: {minimal:#?}");
                }
            }
        }
    }
    assert!(
        legal.iter().all(|count| *count > 150),
        "both kinds are there: {legal:?}"
    );
}

fn small(rng: &mut ChaCha8Rng) -> Value {
    rng.random_range(1..=3i64).into()
}

fn as_told<R>(_: &mut ChaCha8Rng, ret: R) -> R {
    ret
}

/// What is deleted is absent again, so the states of a key are not all different.
#[test]
fn register_with_deletes() {
    use register::{Action, Op};
    let draw = |rng: &mut ChaCha8Rng| {
        let action = match rng.random_range(0..4) {
            0 => Action::Read,
            1 => Action::Write(small(rng)),
            2 => Action::Delete,
            _ => Action::Cas {
                expect: Value::Null,
                value: small(rng),
            },
        };
        Op {
            key: "k".into(),
            action,
        }
    };
    agrees::<Register>(draw, as_told);
}

#[test]
fn cas_register() {
    use cas_register::{Action, Op, Ret};
    let draw = |rng: &mut ChaCha8Rng| {
        let nil_or_small = |rng: &mut ChaCha8Rng| match rng.random_range(0..4i64) {
            0 => Value::Null,
            value => value.into(),
        };
        let action = match rng.random_range(0..3) {
            0 => Action::Read,
            1 => Action::Write(nil_or_small(rng)),
            _ => Action::Cas {
                expect: nil_or_small(rng),
                value: nil_or_small(rng),
            },
        };
        Op { key: None, action }
    };
    let forget = |rng: &mut ChaCha8Rng, ret| match ret {
        Ret::Differs(Some(_)) if rng.random_range(0..2) == 0 => Ret::Differs(None),
        ret => ret,
    };
    agrees::<CasRegister>(draw, forget);
}

#[test]
fn kv() {
    use kv::{Action, Op};
    let draw = |rng: &mut ChaCha8Rng| {
        let text = ["a", "b"][rng.random_range(0..2)];
        let action = match rng.random_range(0..5) {
            0..2 => Action::Get,
            2 => Action::Put(text.into()),
            3 => Action::Append(text.into()),
            _ => Action::Delete,
        };
        Op {
            key: ["k", "l"][rng.random_range(0..2)].into(),
            action,
        }
    };
    agrees::<Kv>(draw, as_told);
}

#[test]
fn multi_register() {
    use multi_register::{Op, Part};
    let draw = |rng: &mut ChaCha8Rng| {
        let part = |rng: &mut ChaCha8Rng| {
            let key = ["x", "y"][rng.random_range(0..2)];
            match rng.random_range(0..2) {
                0 => Part::read(key),
                _ => Part::write(key, rng.random_range(1..=3i64)),
            }
        };
        Op((0..rng.random_range(1..=3)).map(|_| part(rng)).collect())
    };
    let forget = |rng: &mut ChaCha8Rng, mut ret: Vec<Option<Value>>| {
        let place = rng.random_range(0..ret.len());
        match rng.random_range(0..8) {
            0 => ret[place] = None,
            1 => ret[place] = Some(small(rng)),
            _ => {}
        }
        ret
    };
    agrees::<MultiRegister>(draw, forget);
}

#[test]
fn mutex() {
    use mutex::{Op, Ret};
    let draw = |rng: &mut ChaCha8Rng| [Op::Acquire, Op::Release][rng.random_range(0..2)];
    // A lock says nothing but that it is done.
    let forget = |rng: &mut ChaCha8Rng, ret| if rng.random_range(0..2) == 0 { Ret::Done } else { ret };
    agrees::<Mutex>(draw, forget);
}

#[test]
fn set() {
    use set::Op;
    let draw = |rng: &mut ChaCha8Rng| match rng.random_range(0..2) {
        0 => Op::Read,
        _ => Op::Add(small(rng)),
    };
    let forget = |rng: &mut ChaCha8Rng, ret| match ret {
        set::Ret::Elements(elements) if rng.random_range(0..6) == 0 => {
            set::Ret::elements(elements.iter().skip(1).cloned())
        }
        ret => ret,
    };
    agrees::<Set>(draw, forget);
}

#[test]
fn counter() {
    use counter::{Op, Ret};
    let draw = |rng: &mut ChaCha8Rng| match rng.random_range(0..2) {
        0 => Op::Read,
        _ => Op::Add(rng.random_range(-1..=2)),
    };
    let forget = |rng: &mut ChaCha8Rng, ret| match ret {
        Ret::Sum(sum) if rng.random_range(0..6) == 0 => Ret::Sum(sum + 1),
        ret => ret,
    };
    agrees::<Counter>(draw, forget);
}

#[test]
fn fifo_queue() {
    use fifo_queue::{Op, Ret};
    let draw = |rng: &mut ChaCha8Rng| match rng.random_range(0..2) {
        0 => Op::Dequeue,
        _ => Op::Enqueue(small(rng)),
    };
    let forget = |rng: &mut ChaCha8Rng, ret| match ret {
        Ret::Out(_) if rng.random_range(0..6) == 0 => Ret::Out(Some(small(rng))),
        ret => ret,
    };
    agrees::<FifoQueue>(draw, forget);
}

#[test]
fn unordered_queue() {
    use unordered_queue::{Op, Ret};
    let draw = |rng: &mut ChaCha8Rng| match rng.random_range(0..2) {
        0 => Op::dequeue(small(rng)),
        _ => Op::enqueue(small(rng)),
    };
    agrees::<UnorderedQueue>(draw, |_, _| Ret::Done);
}

#[test]
fn unique_ids() {
    use unique_ids::{Op, Ret};
    let draw = |rng: &mut ChaCha8Rng| Op::generate(rng.random_range(0..8i64).into());
    agrees::<UniqueIds>(draw, |_, _| Ret::Fresh);
}

/// Function, value or null, output.
type Sequential = (&'static str, Value, Value);

/// One operation after another, given by function, value or null, and output.
fn outcome(specification: &str, operations: &[Sequential]) -> Outcome {
    let mut history = History::default();
    for (function, value, output) in operations {
        let input = match value {
            Value::Null => Value::Null,
            Value::Map(_) => value.clone(),
            value => Value::map([("value", value.clone())]),
        };
        history.invoke(0, function, input).ok(0, output.clone());
    }
    let judgement =
        judge(specification, &history.events, &Options::default()).expect("operations of the specification");
    for finding in &judgement.findings {
        assert!(finding.minimised.proved_again, "{finding:#?}");
        assert!(!finding.blocked.is_empty(), "{finding:#?}");
    }
    judgement.outcome
}

#[test]
fn recorded_operations_are_judged_by_name() {
    let nil = || Value::Null;
    let list = |elements: &[i64]| Value::List(elements.iter().map(|&element| element.into()).collect());
    let put = Value::map([("key", "k".into()), ("value", "x".into())]);
    let get = Value::map([("key", "k".into())]);
    let cas = Value::map([("expect", nil()), ("value", 4.into())]);
    let swapped = |swapped: bool| Value::map([("swapped", swapped.into())]);
    let txn = |function: &str, x: i64, y: i64| {
        let part =
            |key: &str, value: i64| Value::List(vec![function.into(), key.into(), (value > 0).then_some(value).into()]);
        Value::List(vec![part("x", x), part("y", y)])
    };
    let judged: [(&str, Vec<Sequential>, Outcome); 21] = [
        (
            "multi-register",
            vec![
                ("txn", txn("write", 1, 2), txn("write", 1, 2)),
                ("txn", txn("r", 0, 0), txn(":read", 1, 2)),
            ],
            Outcome::Pass,
        ),
        (
            "multi-register",
            vec![
                ("txn", txn("write", 1, 2), txn("write", 1, 2)),
                ("txn", txn("read", 0, 0), txn("read", 1, 1)),
            ],
            Outcome::Fail,
        ),
        (
            "cas-register",
            vec![("cas", cas.clone(), swapped(true)), ("read", nil(), 4.into())],
            Outcome::Pass,
        ),
        (
            "cas-register",
            vec![("cas", cas.clone(), swapped(false))],
            Outcome::Fail,
        ),
        ("cas-register", vec![("read", nil(), 4.into())], Outcome::Fail),
        (
            "kv",
            vec![
                ("put", put.clone(), nil()),
                ("append", put.clone(), nil()),
                ("get", get.clone(), "xx".into()),
            ],
            Outcome::Pass,
        ),
        (
            "kv",
            vec![
                ("put", put.clone(), nil()),
                ("delete", get.clone(), nil()),
                ("get", get, "x".into()),
            ],
            Outcome::Fail,
        ),
        ("kv", vec![("put", put, nil())], Outcome::Vacuous),
        (
            "mutex",
            vec![("acquire", nil(), nil()), ("release", nil(), nil())],
            Outcome::Pass,
        ),
        (
            "mutex",
            vec![("acquire", nil(), nil()), ("acquire", nil(), nil())],
            Outcome::Fail,
        ),
        (
            "reentrant-mutex",
            vec![
                ("acquire", 1.into(), nil()),
                ("acquire", 1.into(), nil()),
                ("release", 1.into(), nil()),
                ("release", 1.into(), nil()),
                ("acquire", 2.into(), nil()),
            ],
            Outcome::Pass,
        ),
        (
            "reentrant-mutex",
            vec![
                ("acquire", 1.into(), nil()),
                ("acquire", 1.into(), nil()),
                ("release", 1.into(), nil()),
                ("acquire", 2.into(), nil()),
            ],
            Outcome::Fail,
        ),
        (
            "set",
            vec![
                ("add", 1.into(), nil()),
                ("add", 2.into(), nil()),
                ("read", nil(), list(&[2, 1])),
            ],
            Outcome::Pass,
        ),
        (
            "set",
            vec![("add", 1.into(), nil()), ("read", nil(), list(&[]))],
            Outcome::Fail,
        ),
        (
            "counter",
            vec![
                ("add", i64::MAX.into(), nil()),
                ("add", 1.into(), nil()),
                ("read", nil(), 1.into()),
            ],
            Outcome::Fail,
        ),
        (
            "fifo-queue",
            vec![
                ("enqueue", 1.into(), nil()),
                ("dequeue", nil(), 1.into()),
                ("dequeue", nil(), nil()),
            ],
            Outcome::Pass,
        ),
        (
            "fifo-queue",
            vec![
                ("enqueue", 1.into(), nil()),
                ("enqueue", 2.into(), nil()),
                ("dequeue", nil(), 2.into()),
            ],
            Outcome::Fail,
        ),
        (
            "unordered-queue",
            vec![
                ("enqueue", 1.into(), nil()),
                ("enqueue", 2.into(), nil()),
                ("dequeue", nil(), 2.into()),
            ],
            Outcome::Pass,
        ),
        (
            "unordered-queue",
            vec![
                ("enqueue", 1.into(), nil()),
                ("dequeue", nil(), 1.into()),
                ("dequeue", nil(), 1.into()),
            ],
            Outcome::Fail,
        ),
        (
            "unique-ids",
            vec![("generate", nil(), 1.into()), ("generate", nil(), "1".into())],
            Outcome::Pass,
        ),
        (
            "unique-ids",
            vec![("generate", nil(), 1.into()), ("generate", nil(), 1.into())],
            Outcome::Fail,
        ),
    ];
    for (specification, operations, expected) in judged {
        assert_eq!(
            outcome(specification, &operations),
            expected,
            "{specification}: {operations:?}"
        );
    }
}

#[test]
fn what_is_no_operation_is_refused_by_every_specification() {
    for specification in specifications() {
        let mut history = History::default();
        history
            .invoke(0, "dance", Value::map([("key", "k".into())]))
            .ok(0, Value::Null);
        let error = judge(specification.name, &history.events, &Options::default()).expect_err("no such function");
        let start = format!("event 0: \"dance\" of specification {}: expected ", specification.name);
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

/// An append makes a text that no operation names, so nothing may be said of where it comes from.
#[test]
fn nobody_is_accused_of_reading_what_appends_made() {
    let put = |value: &str| Value::map([("key", "k".into()), ("value", value.into())]);
    let get = || Value::map([("key", "k".into())]);
    let mut history = History::default();
    history.invoke(0, "append", put("a")).ok(0, Value::Null);
    history.invoke(0, "append", put("b")).ok(0, Value::Null);
    history.invoke(1, "get", get()).ok(1, "ab".into());
    history.invoke(1, "get", get()).ok(1, "a".into());
    let judgement = judge("kv", &history.events, &Options::default()).expect("operations of the specification");
    assert_eq!(judgement.outcome, Outcome::Fail);
    assert_eq!(judgement.findings[0].class, AnomalyClass::NotLinearizable);
    assert!(
        judgement.findings[0]
            .sentence
            .starts_with("No order of these 3 operations on k")
    );
}
