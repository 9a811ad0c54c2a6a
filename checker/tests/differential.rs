//! The engine answers to slow twins: trying every order, walking over exact sets, and stateright's tester.
//!
//! Histories are small and drawn from fixed seeds: some results are lies, values repeat, operations fail or stay
//! in doubt, compares fail, keys are absent.

mod support;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use support::Small;
use tribunal_checker::Options;
use tribunal_checker::judge::{self, judge};
use tribunal_checker::linearizability::{Answer, Entry, Frontier, Partition, Search, Wgl, brute, verify};
use tribunal_checker::spec::{Many, Recorded, Register, Spec};
use tribunal_history::operation::pair;
use tribunal_history::{Ending, Event, Operation, Outcome};

fn partitions(events: &[Event]) -> (Vec<Operation>, Vec<Partition<Register>>) {
    let operations = pair(events).expect("generated histories are well formed");
    let partitions = judge::partitions(&operations).expect("and of registers");
    (operations, partitions)
}

/// Fewer without optimisation, where each takes ten times as long.
fn rounds(optimised: usize) -> usize {
    if cfg!(debug_assertions) {
        optimised / 6
    } else {
        optimised
    }
}

/// What both searches say; their certificates are checked on the way.
fn engine<S: Spec + std::fmt::Debug>(partition: &Partition<S>) -> bool {
    let depth_first = verdict(partition, Wgl::new(partition));
    let breadth_first = verdict(partition, Frontier::new(partition));
    assert_eq!(
        depth_first, breadth_first,
        "depth first and breadth first: {partition:#?}"
    );
    depth_first
}

/// Small steps, so that stopping and going on is part of the test.
fn verdict<S: Spec>(partition: &Partition<S>, mut search: impl Search) -> bool {
    loop {
        match search.advance(3) {
            None => {}
            Some(Answer::NotLinearizable) => return false,
            Some(Answer::Linearizable(order)) => {
                verify(&partition.entries, &order).expect("a certificate that holds");
                return true;
            }
        }
    }
}

#[test]
fn the_engine_agrees_with_trying_every_order() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut legal = [0, 0];
    for round in 0..rounds(30_000) {
        let history = Small::any(&mut rng, 7).history(&mut rng);
        for partition in partitions(&history.events).1 {
            let expected = brute::try_every_order(&partition.entries);
            legal[usize::from(expected)] += 1;
            assert_eq!(engine(&partition), expected, "round {round}: {partition:#?}");
            assert_eq!(
                brute::by_sets(&partition.entries, usize::MAX),
                Some(expected),
                "round {round}: {partition:#?}"
            );
        }
    }
    assert!(
        legal.iter().all(|count| *count > rounds(4_000)),
        "both kinds are there: {legal:?}"
    );
}

/// Up to 20 operations with much concurrency, where trying every order takes too long.
#[test]
fn the_engine_agrees_with_exact_sets_on_wider_histories() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut legal = [0, 0];
    for round in 0..rounds(2_000) {
        let shape = Small {
            operations: rng.random_range(8..=20),
            processes: 6,
            keys: 1,
            lies: [0, 3, 10][rng.random_range(0..3)],
            ..Small::any(&mut rng, 8)
        };
        let history = shape.history(&mut rng);
        for partition in partitions(&history.events).1 {
            let Some(expected) = brute::by_sets(&partition.entries, 200_000) else {
                continue;
            };
            legal[usize::from(expected)] += 1;
            assert_eq!(engine(&partition), expected, "round {round}: {partition:#?}");
        }
    }
    assert!(
        legal.iter().all(|count| *count >= rounds(300)),
        "both kinds are there: {legal:?}"
    );
}

/// Judging takes keys apart; here they stay together.
#[test]
fn judging_by_key_agrees_with_judging_all_keys_at_once() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for round in 0..rounds(5_000) {
        let history = Small::any(&mut rng, 7).history(&mut rng);
        let (operations, by_key) = partitions(&history.events);
        let together: Vec<Entry<Many<Register>>> = together(&by_key);
        let expected = brute::try_every_order(&together);
        assert_eq!(by_key.iter().all(engine), expected, "round {round}: {operations:#?}");
        let judgement = judge("register", &history.events, &Options::default()).expect("judged");
        match judgement.outcome {
            Outcome::Pass | Outcome::Vacuous => assert!(expected, "round {round}: {operations:#?}"),
            Outcome::Fail => assert!(!expected, "round {round}: {operations:#?}"),
            other => panic!("round {round}: {other:?}: {}", judgement.detail),
        }
    }
}

fn together(by_key: &[Partition<Register>]) -> Vec<Entry<Many<Register>>> {
    let entries = by_key
        .iter()
        .flat_map(|partition| &partition.entries)
        .map(|entry| Entry {
            id: entry.id,
            op: entry.op.clone(),
            ret: entry.ret.clone(),
            call: entry.call,
            end: entry.end,
        });
    Partition::new(None, entries.collect()).entries
}

/// Our specification as stateright wants it.
#[derive(Clone)]
struct Adapted<S>(S);

impl<S: Spec> SequentialSpec for Adapted<S> {
    type Op = S::Op;
    type Ret = S::Ret;

    fn invoke(&mut self, op: &S::Op) -> S::Ret {
        self.0.invoke(op)
    }

    fn is_valid_step(&mut self, op: &S::Op, ret: &S::Ret) -> bool {
        self.0.is_valid_step(op, ret)
    }
}

#[test]
fn the_engine_agrees_with_stateright() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut legal = [0, 0];
    for round in 0..rounds(20_000) {
        let history = Small::any(&mut rng, 7).history(&mut rng);
        let (operations, by_key) = partitions(&history.events);
        let expected = by_stateright(&operations);
        legal[usize::from(expected)] += 1;
        assert_eq!(by_key.iter().all(engine), expected, "round {round}: {operations:#?}");
    }
    assert!(
        legal.iter().all(|count| *count > rounds(3_000)),
        "both kinds are there: {legal:?}"
    );
}

/// What stateright's tester says of all keys together. An operation in doubt stays in flight there; its process
/// asks nothing more, as in our histories.
fn by_stateright(operations: &[Operation]) -> bool {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (id, operation) in operations.iter().enumerate() {
        if operation.ending == Ending::Fail {
            continue;
        }
        events.push((operation.invoked.0, id, false));
        if let Some(end) = operation.completed.filter(|_| operation.ending == Ending::Ok) {
            events.push((end.0, id, true));
        }
    }
    events.sort_unstable();
    let mut tester = LinearizabilityTester::new(Adapted(Many::<Register>::default()));
    for (_, id, ends) in events {
        let operation = &operations[id];
        let (op, ret) = Register::parse(operation).expect("a register's operation");
        let told = if ends {
            tester
                .on_return(operation.process, ret.expect("it ended ok"))
                .map(|_| ())
        } else {
            tester.on_invoke(operation.process, op).map(|_| ())
        };
        told.expect("a well-formed history");
    }
    tester.is_consistent()
}

/// A queue whose operations have no class: nothing is known of values, so every rule about them is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Queue(Vec<u8>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum QueueOp {
    Push(u8),
    Pop,
}

impl Spec for Queue {
    type Op = QueueOp;
    type Ret = Option<u8>;

    fn invoke(&mut self, op: &QueueOp) -> Option<u8> {
        match op {
            QueueOp::Push(value) => {
                self.0.push(*value);
                None
            }
            QueueOp::Pop if self.0.is_empty() => None,
            QueueOp::Pop => Some(self.0.remove(0)),
        }
    }
}

/// Results are drawn at random or erased, and operations stay open at random.
#[test]
fn the_engine_agrees_with_trying_every_order_where_no_class_is_known() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut legal = [0, 0];
    for round in 0..rounds(20_000) {
        let operations = rng.random_range(1..=7);
        let mut times: Vec<u64> = (0..2 * operations as u64).collect();
        for place in (1..times.len()).rev() {
            times.swap(place, rng.random_range(0..=place));
        }
        let entries = (0..operations)
            .map(|id| {
                let (a, b) = (times[2 * id], times[2 * id + 1]);
                let op = match rng.random_range(0..2) {
                    0 => QueueOp::Push(rng.random_range(1..=2)),
                    _ => QueueOp::Pop,
                };
                let is_open = rng.random_range(0..4) == 0;
                let erased = is_open || rng.random_range(0..6) == 0;
                let popped = rng.random_range(0..=2);
                let ret = match op {
                    QueueOp::Pop if popped > 0 => Some(popped),
                    _ => None,
                };
                Entry {
                    id,
                    op,
                    ret: (!erased).then_some(ret),
                    call: a.min(b),
                    end: (!is_open).then_some(a.max(b)),
                }
            })
            .collect();
        let partition: Partition<Queue> = Partition::new(None, entries);
        let expected = brute::try_every_order(&partition.entries);
        legal[usize::from(expected)] += 1;
        assert_eq!(engine(&partition), expected, "round {round}: {partition:#?}");
    }
    assert!(
        legal.iter().all(|count| *count > rounds(2_000)),
        "both kinds are there: {legal:?}"
    );
}
