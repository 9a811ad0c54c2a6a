//! Small random histories, judged by trying every order.
//!
//! Histories are made by doing transactions in some order, and half of them are then spoiled: a read shows another state
//! of its key. Over lists the verdict must be exact, for every model that is decided here; over registers *invalid* must
//! be right, and most of what is wrong must be found.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tribunal_checker::Consistency;
use tribunal_history::{Ending, Outcome};

use crate::history::{Txn, judged};

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Write(char, u8),
    Read(char, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Small {
    steps: Vec<Step>,
    began: u64,
    ended: u64,
    process: u32,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Objects {
    Lists,
    Registers,
}

fn apply(objects: Objects, state: &mut BTreeMap<char, Vec<u8>>, key: char, value: u8) {
    let held = state.entry(key).or_default();
    if objects == Objects::Registers {
        held.clear();
    }
    held.push(value);
}

/// Transactions done one after the other, each at some moment between its beginning and its end.
fn generate(rng: &mut ChaCha8Rng, objects: Objects) -> Vec<Small> {
    let count = rng.random_range(2..=5);
    let keys = ['x', 'y'];
    let mut state = BTreeMap::new();
    let mut value = 0;
    let mut txns: Vec<Small> = Vec::new();
    let mut busy: BTreeMap<u32, u64> = BTreeMap::new();
    for at in 0..count {
        let moment = 10 + 10 * at;
        let free: Vec<u32> = (0..4)
            .filter(|process| busy.get(process).is_none_or(|until| *until + 1 < moment))
            .collect();
        let Some(&process) = free.get(rng.random_range(0..free.len().max(1))) else {
            break;
        };
        let began = busy
            .get(&process)
            .map_or(0, |until| until + 1)
            .max(moment.saturating_sub(rng.random_range(1..25)));
        let ended = moment + rng.random_range(1..25);
        busy.insert(process, ended);
        let ending = match rng.random_range(0..10) {
            0 => Ending::Info,
            1 => Ending::Fail,
            _ => Ending::Ok,
        };
        if ending == Ending::Info {
            busy.insert(process, u64::MAX - 1);
        }
        let happens = ending == Ending::Ok || ending == Ending::Info && rng.random_bool(0.5);
        let mut own = state.clone();
        let mut steps = Vec::new();
        for _ in 0..rng.random_range(1..=3) {
            let key = keys[rng.random_range(0..keys.len())];
            if rng.random_bool(0.5) {
                value += 1;
                apply(objects, &mut own, key, value);
                steps.push(Step::Write(key, value));
            } else {
                steps.push(Step::Read(key, own.get(&key).cloned().unwrap_or_default()));
            }
        }
        if happens {
            state = own;
        }
        txns.push(Small {
            steps,
            began,
            ended,
            process,
            ending,
        });
    }
    txns
}

/// One read shows a state that another read showed, or a part of its own.
fn spoil(rng: &mut ChaCha8Rng, txns: &mut [Small]) {
    let mut shown: BTreeSet<(char, Vec<u8>)> = BTreeSet::new();
    for txn in txns.iter() {
        for step in &txn.steps {
            match step {
                Step::Read(key, value) => {
                    shown.insert((*key, value.clone()));
                    shown.insert((*key, Vec::new()));
                    if let Some((_, shorter)) = value.split_last() {
                        shown.insert((*key, shorter.to_vec()));
                    }
                }
                Step::Write(key, value) => {
                    shown.insert((*key, vec![*value]));
                }
            }
        }
    }
    let mut reads: Vec<&mut Step> = txns
        .iter_mut()
        .flat_map(|txn| &mut txn.steps)
        .filter(|step| matches!(step, Step::Read(..)))
        .collect();
    if reads.is_empty() {
        return;
    }
    let place = rng.random_range(0..reads.len());
    if let Step::Read(key, value) = &mut *reads[place] {
        let others: Vec<&Vec<u8>> = shown
            .iter()
            .filter(|(of, _)| of == key)
            .map(|(_, value)| value)
            .collect();
        *value = others[rng.random_range(0..others.len())].clone();
    }
}

fn written(txns: &[Small]) -> Vec<Txn> {
    let of = |txn: &Small| {
        let steps: Vec<String> = txn
            .steps
            .iter()
            .map(|step| match step {
                Step::Write(key, value) => format!("W{key}={value}"),
                Step::Read(key, value) => {
                    let values: Vec<String> = value.iter().map(u8::to_string).collect();
                    format!("r{key}={}", values.join(","))
                }
            })
            .collect();
        Txn {
            process: txn.process,
            began: txn.began,
            ended: txn.ended,
            ending: txn.ending,
            steps: steps.join(" "),
        }
    };
    txns.iter().map(of).collect()
}

/// Does the steps of one transaction; whether its reads find what they found.
fn does(objects: Objects, txn: &Small, state: &mut BTreeMap<char, Vec<u8>>) -> bool {
    txn.steps.iter().all(|step| match step {
        Step::Write(key, value) => {
            apply(objects, state, *key, *value);
            true
        }
        Step::Read(key, value) => {
            txn.ending != Ending::Ok || state.get(key).map_or(value.is_empty(), |held| held == value)
        }
    })
}

/// Whether one may come before the other under a model.
fn may_precede(model: Consistency, one: &Small, other: &Small) -> bool {
    let behind = other.ending == Ending::Ok && other.ended <= one.began;
    match model {
        Consistency::StrictSerializable | Consistency::StrongSnapshotIsolation => !behind,
        Consistency::StrongSessionSerializable | Consistency::StrongSessionSnapshotIsolation => {
            !(behind && one.process == other.process)
        }
        _ => true,
    }
}

/// Whether some order of those that happened explains everything.
fn has_order(objects: Objects, model: Consistency, txns: &[Small]) -> bool {
    fn place(
        objects: Objects,
        model: Consistency,
        txns: &[Small],
        placed: &mut Vec<usize>,
        state: &BTreeMap<char, Vec<u8>>,
    ) -> bool {
        let left = |at: &usize| !placed.contains(at) && txns[*at].ending != Ending::Fail;
        let waiting: Vec<usize> = (0..txns.len()).filter(left).collect();
        if waiting.iter().all(|at| txns[*at].ending == Ending::Info) {
            return true;
        }
        waiting.iter().any(|&at| {
            let is_allowed = waiting
                .iter()
                .filter(|other| **other != at)
                .all(|other| may_precede(model, &txns[at], &txns[*other]));
            let mut state = state.clone();
            if !is_allowed || !does(objects, &txns[at], &mut state) {
                return false;
            }
            placed.push(at);
            let found = place(objects, model, txns, placed, &state);
            placed.pop();
            found
        })
    }
    place(objects, model, txns, &mut Vec::new(), &BTreeMap::new())
}

/// Whether snapshots and commits in some order explain everything, with the first of two that meet on a key winning.
fn has_snapshots(model: Consistency, txns: &[Small]) -> bool {
    #[derive(Clone, Default)]
    struct At {
        state: BTreeMap<char, Vec<u8>>,
        /// When each key was written last, in commits.
        written: BTreeMap<char, usize>,
        commits: usize,
        open: BTreeMap<usize, (BTreeMap<char, Vec<u8>>, usize)>,
        done: BTreeSet<usize>,
    }
    fn go(model: Consistency, txns: &[Small], at: &At) -> bool {
        let is_new = |place: &usize| {
            txns[*place].ending != Ending::Fail && !at.done.contains(place) && !at.open.contains_key(place)
        };
        let new: Vec<usize> = (0..txns.len()).filter(is_new).collect();
        if at.open.is_empty() && new.iter().all(|place| txns[*place].ending == Ending::Info) {
            return true;
        }
        for &place in &new {
            // Its snapshot holds what must have come before it.
            let must_wait = (0..txns.len()).any(|other| {
                other != place
                    && txns[other].ending == Ending::Ok
                    && !at.done.contains(&other)
                    && !may_precede(model, &txns[place], &txns[other])
            });
            let mut own = at.state.clone();
            if must_wait || !does(Objects::Lists, &txns[place], &mut own) {
                continue;
            }
            let mut next = at.clone();
            next.open.insert(place, (own, at.commits));
            if go(model, txns, &next) {
                return true;
            }
        }
        let open: Vec<usize> = at.open.keys().copied().collect();
        for place in open {
            let mut next = at.clone();
            let Some((own, since)) = next.open.remove(&place) else {
                continue;
            };
            let keys: BTreeSet<char> = txns[place]
                .steps
                .iter()
                .filter_map(|step| match step {
                    Step::Write(key, _) => Some(*key),
                    Step::Read(..) => None,
                })
                .collect();
            if keys
                .iter()
                .any(|key| next.written.get(key).is_some_and(|when| *when > since))
            {
                continue;
            }
            next.commits += 1;
            for key in keys {
                next.state.insert(key, own[&key].clone());
                next.written.insert(key, next.commits);
            }
            next.done.insert(place);
            if go(model, txns, &next) {
                return true;
            }
        }
        false
    }
    go(model, txns, &At::default())
}

fn letters(txns: &[Small], objects: Objects) -> Vec<Txn> {
    let letter = match objects {
        Objects::Lists => "a",
        Objects::Registers => "w",
    };
    let mut txns = written(txns);
    for txn in &mut txns {
        txn.steps = txn.steps.replace('W', letter);
    }
    txns
}

fn histories(objects: Objects, count: u64) -> impl Iterator<Item = Vec<Small>> {
    (0..count).filter_map(move |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut txns = generate(&mut rng, objects);
        for _ in 0..seed % 3 {
            spoil(&mut rng, &mut txns);
        }
        let writes = |txn: &Small| txn.steps.iter().any(|step| matches!(step, Step::Write(..)));
        txns.iter().any(writes).then_some(txns)
    })
}

#[test]
fn over_lists_the_verdict_is_that_of_trying_every_order() {
    let models = [
        Consistency::Serializable,
        Consistency::StrongSessionSerializable,
        Consistency::StrictSerializable,
    ];
    let mut count = [0; 2];
    for txns in histories(Objects::Lists, 1500) {
        for model in models {
            let expected = has_order(Objects::Lists, model, &txns);
            let judgement = judged(&letters(&txns, Objects::Lists), model);
            assert_ne!(judgement.outcome, Outcome::Error, "{txns:?}: {}", judgement.detail);
            assert_eq!(
                judgement.outcome != Outcome::Fail,
                expected,
                "{model}: {}: {txns:#?}",
                judgement.detail
            );
            let proved = judgement.findings.iter().all(|finding| finding.minimised.proved_again);
            assert!(proved, "{model}: {:#?}", judgement.findings);
            count[usize::from(expected)] += 1;
        }
    }
    assert!(count[0] > 500 && count[1] > 500, "{count:?}");
}

#[test]
fn over_lists_snapshot_isolation_is_that_of_trying_every_snapshot() {
    let models = [
        Consistency::SnapshotIsolation,
        Consistency::StrongSessionSnapshotIsolation,
        Consistency::StrongSnapshotIsolation,
    ];
    let mut count = [0; 2];
    for txns in histories(Objects::Lists, 1000).filter(|txns| txns.len() <= 4) {
        for model in models {
            let expected = has_snapshots(model, &txns);
            let judgement = judged(&letters(&txns, Objects::Lists), model);
            assert_eq!(
                judgement.outcome != Outcome::Fail,
                expected,
                "{model}: {}: {txns:#?}",
                judgement.detail
            );
            count[usize::from(expected)] += 1;
        }
    }
    assert!(count[0] > 200 && count[1] > 200, "{count:?}");
}

#[test]
fn over_registers_what_is_called_invalid_is_invalid_and_most_of_it_is_found() {
    let models = [
        Consistency::Serializable,
        Consistency::StrongSessionSerializable,
        Consistency::StrictSerializable,
    ];
    let (mut invalid, mut found) = (0, 0);
    for txns in histories(Objects::Registers, 1500) {
        for model in models {
            let expected = has_order(Objects::Registers, model, &txns);
            let judgement = judged(&letters(&txns, Objects::Registers), model);
            if judgement.outcome == Outcome::Fail {
                assert!(!expected, "{model}: {}: {txns:#?}", judgement.detail);
                let proved = judgement.findings.iter().all(|finding| finding.minimised.proved_again);
                assert!(proved, "{model}: {:#?}", judgement.findings);
                found += 1;
            }
            invalid += usize::from(!expected);
        }
    }
    assert!(invalid > 500, "{invalid}");
    assert!(found * 10 > invalid * 9, "{found} of {invalid}");
}
