//! The zones answer to trying every order, and to the depth-first engine on long histories.

mod support;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Long, Planted};
use tribunal_checker::judge;
use tribunal_checker::linearizability::{Answer, Entry, Search, Wgl, brute, verify, zones};
use tribunal_checker::spec::register::{Action, Op, Ret};
use tribunal_checker::spec::{Register, Spec};
use tribunal_history::Value;
use tribunal_history::operation::pair;

/// Up to seven operations of a few clients on a register; each value is new, now and then one is not. Some results are
/// lies, some operations are in doubt.
fn entries(rng: &mut ChaCha8Rng) -> Vec<Entry<Register>> {
    let mut store = Register::default();
    let mut entries: Vec<Entry<Register>> = Vec::new();
    let mut open: Vec<Option<usize>> = vec![None; rng.random_range(1..=4)];
    let lies = [0, 10, 30][rng.random_range(0..3)];
    let doubts = [0, 20, 50][rng.random_range(0..3)];
    let repeats = [0, 0, 10][rng.random_range(0..3)];
    let operations = rng.random_range(1..=7);
    let mut last = 0i64;
    // Nil among them.
    let known = |rng: &mut ChaCha8Rng, last: i64| -> Value {
        let value = rng.random_range((last - 3).max(0)..=last + 1);
        (value > 0).then_some(value).into()
    };
    for now in 0..operations * 3 {
        let client = rng.random_range(0..open.len());
        let Some(id) = open[client].take() else {
            if entries.len() < operations {
                open[client] = Some(entries.len());
                let mut value = || {
                    last += 1;
                    last
                };
                let repeated = rng.random_range(0..100) < repeats;
                let op = match rng.random_range(0..3) {
                    0 => Op::read("k"),
                    1 if repeated => Op::write("k", 1),
                    1 => Op::write("k", value()),
                    _ => {
                        let value = value();
                        Op::cas("k", known(rng, value - 1), value)
                    }
                };
                entries.push(Entry {
                    id: entries.len(),
                    op,
                    ret: None,
                    call: now as u64,
                    end: None,
                });
            }
            continue;
        };
        let told = store.invoke(&entries[id].op);
        if rng.random_range(0..100) >= doubts {
            let lie = rng.random_range(0..100) < lies;
            let ret = match &entries[id].op.action {
                _ if !lie => told,
                Action::Read => Ret::Value(known(rng, last)),
                Action::Write(_) => Ret::Written,
                Action::Cas { .. } if rng.random_range(0..2) == 0 => Ret::Swapped,
                Action::Cas { expect, .. } => match known(rng, last) {
                    actual if actual == *expect => Ret::Swapped,
                    actual => Ret::Differs(actual),
                },
                Action::Delete => Ret::Deleted(rng.random_range(0..2) == 0),
            };
            entries[id].ret = Some(ret);
            entries[id].end = Some(now as u64);
        }
    }
    entries
}

#[test]
fn the_zones_agree_with_trying_every_order() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut legal, mut open) = ([0, 0], 0);
    for round in 0..30_000 {
        let entries = entries(&mut rng);
        let expected = brute::try_every_order(&entries);
        match zones::decide(&entries) {
            None => open += 1,
            Some(Answer::Linearizable(order)) => {
                legal[1] += 1;
                assert!(expected, "round {round}: {entries:#?}");
                verify(&entries, &order).expect("a certificate that holds");
            }
            Some(Answer::NotLinearizable) => {
                legal[0] += 1;
                assert!(!expected, "round {round}: {entries:#?}");
            }
        }
    }
    assert!(
        legal.iter().all(|count| *count > 3_000),
        "both kinds are there: {legal:?}"
    );
    // Only repeated values are left to others.
    assert!(open > 100 && open < 3_000, "{open}");
}

#[test]
fn the_zones_agree_with_the_search_on_long_histories() {
    for (seed, planted) in (0..30).zip(
        [Planted::Nothing, Planted::StaleReads, Planted::LostWrites]
            .into_iter()
            .cycle(),
    ) {
        let shape = Long {
            operations: 600,
            clients: 4,
            keys: 2,
            info: 10,
            seed,
        };
        let operations = pair(&shape.history(planted).events).expect("well formed");
        for partition in judge::partitions::<Register>(&operations).expect("registers") {
            let by_zones = zones::decide(&partition.entries).expect("all values are different");
            let by_search = Wgl::new(&partition).advance(5_000_000).expect("a short search");
            let is_legal = |answer: &Answer| matches!(answer, Answer::Linearizable(_));
            assert_eq!(is_legal(&by_zones), is_legal(&by_search), "seed {seed}, {planted:?}");
        }
    }
}

#[test]
fn values_that_repeat_are_left_to_others() {
    let entry = |id: usize, op: Op, call: u64| Entry::<Register> {
        id,
        op,
        ret: Some(Ret::Written),
        call,
        end: Some(call + 1),
    };
    let twice = [entry(0, Op::write("k", 1), 0), entry(1, Op::write("k", 1), 2)];
    assert_eq!(zones::decide(&twice), None);
    assert_eq!(zones::decide(&twice[..1]), Some(Answer::Linearizable(vec![0])));
    // A value that the register begins with is there twice as well.
    assert_eq!(zones::decide(&[entry(0, Op::write("k", Value::Null), 0)]), None);
}
