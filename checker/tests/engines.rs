//! Every engine and every specification answers to trying every order.
//!
//! `cargo test --release -p tribunal-checker --test engines` tries a hundred thousand small histories of each; more where
//! `TRIBUNAL_DIFFERENTIAL` names another number, and others of them for each `TRIBUNAL_DIFFERENTIAL_SLICE`. Besides, valid histories are changed in one place, and judged as the slow
//! twin says.

#[path = "support/small.rs"]
mod small;

use small::{Odds, rounds, small, small_of};
use tribunal_checker::generate::Draw;
use tribunal_checker::linearizability::witness::{self, Verdict};
use tribunal_checker::linearizability::{
    Answer, Entry, Frontier, Partition, Search, Table, Wgl, brute, lists, verify, zones,
};
use tribunal_checker::spec::etcd_kv::{self, Compare, Comparison, EtcdKv, Range, Request, Target, Txn};
use tribunal_checker::spec::multi_register::Part;
use tribunal_checker::spec::{
    CasRegister, Counter, FifoQueue, Kv, MultiRegister, Mutex, ReentrantMutex, Register, Set, Spec, UniqueIds,
    UnorderedQueue, cas_register, counter, fifo_queue, kv, multi_register, mutex, reentrant_mutex, register, set,
    unique_ids, unordered_queue,
};
use tribunal_history::Value;

/// Where the histories of a kind begin: at the kind's own number, and far from there for each slice of a long test that
/// `TRIBUNAL_DIFFERENTIAL_SLICE` names.
fn first(kind: u64) -> Draw {
    let slice = std::env::var("TRIBUNAL_DIFFERENTIAL_SLICE");
    let slice = slice.map_or(0_u64, |slice| {
        slice.parse().expect("TRIBUNAL_DIFFERENTIAL_SLICE is a number")
    });
    Draw::new(kind | (slice << 32))
}

/// What a search says, in small steps, with its certificate checked.
fn searched<S: Spec>(entries: &[Entry<S>], mut search: impl Search) -> bool {
    loop {
        if let Some(answer) = search.advance(7) {
            return is_legal(entries, &answer);
        }
    }
}

fn is_legal<S: Spec>(entries: &[Entry<S>], answer: &Answer) -> bool {
    match answer {
        Answer::NotLinearizable => false,
        Answer::Linearizable(order) => {
            verify(entries, order).expect("a certificate that holds");
            true
        }
    }
}

/// What the engines decided, and how.
#[derive(Debug, Default)]
struct Tally {
    legal: u64,
    illegal: u64,
    zones: u64,
    lists: u64,
    tables: u64,
}

impl Tally {
    /// Judges by every engine and by the slow twin.
    fn judge<S: Spec + std::fmt::Debug>(&mut self, entries: Vec<Entry<S>>) {
        let partition = Partition::new(None, entries);
        let entries = &partition.entries;
        let expected = brute::try_every_order(entries);
        *if expected { &mut self.legal } else { &mut self.illegal } += 1;
        assert_eq!(
            searched(entries, Wgl::new(&partition)),
            expected,
            "depth first: {entries:#?}"
        );
        assert_eq!(
            searched(entries, Frontier::new(&partition)),
            expected,
            "breadth first: {entries:#?}"
        );
        if let Some(table) = Table::of(&partition) {
            self.tables += 1;
            assert_eq!(
                searched(entries, Wgl::new(&table)),
                expected,
                "depth first over a table: {entries:#?}"
            );
            assert_eq!(
                searched(entries, Frontier::new(&table)),
                expected,
                "breadth first over a table: {entries:#?}"
            );
        }
        if let Some(answer) = zones::decide(entries) {
            self.zones += 1;
            assert_eq!(is_legal(entries, &answer), expected, "zones: {entries:#?}");
        }
        if let Some(answer) = lists::decide(entries) {
            self.lists += 1;
            assert_eq!(is_legal(entries, &answer), expected, "lists: {entries:#?}");
        }
    }

    fn both_kinds(&self) {
        let least = rounds() / 100;
        assert!(
            self.legal > least && self.illegal > least,
            "both kinds are there: {self:?}"
        );
    }
}

/// Judges histories of a specification, and each legal one again with one thing changed.
fn against_every_order<S: Spec + std::fmt::Debug>(kind: u64, mut op: impl FnMut(&mut Draw, usize) -> S::Op) -> Tally {
    let mut draw = first(kind);
    let mut tally = Tally::default();
    for _ in 0..rounds() {
        let odds = Odds::any(&mut draw);
        let entries = small::<S>(&mut draw, 6, odds, &mut op);
        if odds.lies == 0 {
            tally.judge(mutated(&mut draw, &entries));
        }
        tally.judge(entries);
    }
    tally.both_kinds();
    tally
}

/// One result in the place of another of the same kind, one interval shorter, or one effect twice.
fn mutated<S: Spec>(draw: &mut Draw, entries: &[Entry<S>]) -> Vec<Entry<S>> {
    let mut entries = entries.to_vec();
    let any = |draw: &mut Draw, entries: &[Entry<S>]| draw.below(entries.len() as u64) as usize;
    let (one, other) = (any(draw, &entries), any(draw, &entries));
    match draw.below(3) {
        0 if entries[one].end.is_some() && entries[other].end.is_some() => {
            entries[one].ret = entries[other].ret.clone();
        }
        1 if entries[one].end.is_some() => entries[one].end = Some(entries[one].call + 1),
        _ => {
            let mut again = entries[one].clone();
            again.id = entries.len();
            // Two events are never at one moment, and those of the others are at even ones.
            again.call += 1;
            again.end = again.end.map(|end| end + 1);
            entries.push(again);
        }
    }
    entries
}

/// Judges longer histories of an object with many operations in doubt by the searches, and by walking through all sets of
/// placed operations: what failed once condemns other configurations only where there is a past to differ in.
fn against_all_sets<S: Spec + std::fmt::Debug>(seed: u64, clients: u64, mut op: impl FnMut(&mut Draw, usize) -> S::Op) {
    let mut draw = Draw::new(seed);
    let (mut legal, mut illegal) = (0, 0);
    for round in 0..rounds() / 20 {
        let odds = Odds {
            lies: [5, 20][draw.below(2) as usize],
            doubts: [10, 30][draw.below(2) as usize],
            erased: 0,
        };
        let entries = small_of::<S>(&mut draw, 12, clients, odds, &mut op);
        let partition = Partition::new(None, entries);
        let entries = &partition.entries;
        let Some(expected) = brute::by_sets(entries, 10_000) else {
            continue;
        };
        *if expected { &mut legal } else { &mut illegal } += 1;
        assert_eq!(
            searched(entries, Wgl::new(&partition)),
            expected,
            "round {round}, depth first: {entries:#?}"
        );
        if let Some(table) = Table::of(&partition) {
            assert_eq!(
                searched(entries, Wgl::new(&table)),
                expected,
                "round {round}, depth first over a table: {entries:#?}"
            );
        }
        assert_eq!(
            searched(entries, Frontier::new(&partition)),
            expected,
            "round {round}, breadth first: {entries:#?}"
        );
    }
    let least = rounds() / 200;
    assert!(legal > least && illegal > least, "both kinds: {legal} and {illegal}");
}

#[test]
fn registers_with_much_in_doubt() {
    against_all_sets::<CasRegister>(21, 3, |draw, _| {
        let mut value = || Value::Int(draw.below(3) as i64);
        let (expect, to) = (value(), value());
        let action = match draw.below(4) {
            0..2 => cas_register::Action::Read,
            2 => cas_register::Action::Write(to),
            _ => cas_register::Action::Cas { expect, value: to },
        };
        cas_register::Op { key: None, action }
    });
}

#[test]
fn texts_with_much_in_doubt() {
    against_all_sets::<Kv>(22, 3, |draw, _| {
        let text = |draw: &mut Draw| ["a", "b", "ab", "ba"][draw.below(4) as usize].into();
        let action = match draw.below(20) {
            0..9 => kv::Action::Get,
            9..13 => kv::Action::Put(text(draw)),
            13 => kv::Action::Delete,
            _ => kv::Action::Append(text(draw)),
        };
        kv::Op {
            key: "k".into(),
            action,
        }
    });
}

#[test]
fn registers() {
    let tally = against_every_order::<Register>(1, |draw, _| {
        let value = draw.below(3) as i64;
        match draw.below(3) {
            0 => register::Op::read("k"),
            1 => register::Op::write("k", value),
            _ => register::Op::cas("k", draw.below(3) as i64, value),
        }
    });
    assert!(tally.zones > 0);
}

#[test]
fn registers_of_different_values() {
    let tally = against_every_order::<Register>(2, |draw, made| {
        let seen = |draw: &mut Draw| Some(draw.below(made as u64 + 1) as i64).filter(|value| *value > 0);
        match draw.below(3) {
            0 => register::Op::read("k"),
            1 => register::Op::write("k", made as i64 + 1),
            _ => register::Op::cas("k", seen(draw), made as i64 + 1),
        }
    });
    assert!(tally.zones > rounds() / 2, "{tally:?}");
}

#[test]
fn registers_as_jepsen_records_them() {
    let tally = against_every_order::<CasRegister>(3, |draw, _| {
        let mut value = || match draw.below(3) {
            0 => Value::Null,
            value => Value::Int(value as i64),
        };
        let (expect, to) = (value(), value());
        let action = match draw.below(3) {
            0 => cas_register::Action::Read,
            1 => cas_register::Action::Write(to),
            _ => cas_register::Action::Cas { expect, value: to },
        };
        cas_register::Op { key: None, action }
    });
    assert_eq!(tally.tables, tally.legal + tally.illegal, "three values are few");
}

#[test]
fn texts_that_are_appended_to() {
    against_every_order::<Kv>(4, |draw, _| {
        let text = || ["a", "b", "ab"][draw.clone().below(3) as usize].into();
        let action = match draw.clone().below(7) {
            0..3 => kv::Action::Get,
            3 => kv::Action::Put(text()),
            4 => kv::Action::Delete,
            _ => kv::Action::Append(text()),
        };
        draw.bits();
        kv::Op {
            key: "k".into(),
            action,
        }
    });
}

#[test]
fn lists_of_different_tokens() {
    let tally = against_every_order::<Kv>(5, |draw, made| kv::Op {
        key: "k".into(),
        action: match draw.below(2) {
            0 => kv::Action::Get,
            _ => kv::Action::Append(format!("{made},").into()),
        },
    });
    assert!(tally.lists > rounds() / 2, "{tally:?}");
}

#[test]
fn counters() {
    against_every_order::<Counter>(6, |draw, _| match draw.below(2) {
        0 => counter::Op::Read,
        _ => counter::Op::Add(draw.below(3) as i64 - 1),
    });
}

#[test]
fn sets() {
    against_every_order::<Set>(7, |draw, _| match draw.below(2) {
        0 => set::Op::Read,
        _ => set::Op::Add((draw.below(3) as i64).into()),
    });
}

#[test]
fn mutexes() {
    against_every_order::<Mutex>(8, |draw, _| match draw.below(2) {
        0 => mutex::Op::Acquire,
        _ => mutex::Op::Release,
    });
}

#[test]
fn reentrant_mutexes() {
    against_every_order::<ReentrantMutex>(8, |draw, _| {
        let who = (draw.below(2) as i64).into();
        match draw.below(2) {
            0 => reentrant_mutex::Op::Acquire(who),
            _ => reentrant_mutex::Op::Release(who),
        }
    });
}

#[test]
fn queues_in_order() {
    against_every_order::<FifoQueue>(9, |draw, _| match draw.below(2) {
        0 => fifo_queue::Op::Dequeue,
        _ => fifo_queue::Op::Enqueue((draw.below(3) as i64).into()),
    });
}

#[test]
fn queues_without_order() {
    against_every_order::<UnorderedQueue>(10, |draw, _| match draw.below(2) {
        0 => unordered_queue::Op::dequeue(1.into()),
        _ => unordered_queue::Op::enqueue(1.into()),
    });
}

#[test]
fn ids_that_are_unique() {
    against_every_order::<UniqueIds>(11, |_, _| unique_ids::Op::generate(1.into()));
}

#[test]
fn registers_read_and_written_together() {
    against_every_order::<MultiRegister>(12, |draw, _| {
        let parts = 1 + draw.below(2);
        let part = |draw: &mut Draw| {
            let key = ["x", "y"][draw.below(2) as usize];
            match draw.below(2) {
                0 => Part::read(key),
                _ => Part::write(key, draw.below(2) as i64),
            }
        };
        multi_register::Op((0..parts).map(|_| part(draw)).collect())
    });
}

/// A request on two keys.
fn request(draw: &mut Draw, made: usize) -> etcd_kv::Op {
    let key = |draw: &mut Draw| ["a", "b"][draw.below(2) as usize];
    // Values repeat now and then.
    let value = if draw.percent(70) {
        made as i64
    } else {
        draw.below(2) as i64
    };
    let put = |draw: &mut Draw| Request::Put {
        key: key(draw).into(),
        value: value.into(),
        lease: i64::from(draw.percent(15)) * 7,
    };
    etcd_kv::Op::Txn(match draw.below(10) {
        0..3 => Txn::get(key(draw)),
        3..6 => Txn::one(put(draw)),
        6 => Txn::one(Request::Range(Range {
            end: Some("c".into()),
            ..Range::one("a")
        })),
        7 => Txn::one(Request::Delete {
            key: key(draw).into(),
            end: draw.percent(30).then(|| "c".into()),
        }),
        8 if draw.percent(30) => return etcd_kv::Op::End { lease: 7 },
        _ => {
            let compared = key(draw);
            let (target, value) = match draw.below(3) {
                0 => (Target::Value, draw.below(made as u64 + 1) as i64),
                1 => (Target::Created, 0),
                _ => (Target::Modified, draw.below(4) as i64),
            };
            Txn {
                compares: vec![Compare {
                    key: compared.into(),
                    target,
                    is: [Comparison::Equal, Comparison::Differs][draw.below(2) as usize],
                    value: value.into(),
                }],
                then: vec![put(draw)],
                otherwise: vec![Request::Range(Range::one(compared))],
            }
        }
    })
}

/// Answers as different clients record them: some have all numbers, some have the values, some not even the revision.
fn recorded(draw: &mut Draw, entries: &mut [Entry<EtcdKv>]) {
    let erases_numbers = draw.percent(60);
    for entry in entries {
        if draw.percent(2)
            && let Some(ret) = &mut entry.ret
            && let Some(revision) = &mut ret.revision
        {
            // A lie that the specification would never tell.
            *revision += draw.below(2);
        }
        let answers = entry
            .ret
            .as_mut()
            .and_then(|ret| ret.txn.as_mut())
            .map(|txn| &mut txn.answers);
        for answer in answers.into_iter().flatten().filter(|_| erases_numbers) {
            match answer {
                etcd_kv::Answer::Range { kvs, .. } => kvs.iter_mut().for_each(|kv| {
                    (kv.modified, kv.created, kv.version, kv.lease) = (None, None, None, None);
                }),
                etcd_kv::Answer::Put { prev } => *prev = None,
                etcd_kv::Answer::Delete { prev, .. } => *prev = None,
                etcd_kv::Answer::Txn(_) => {}
            }
        }
    }
}

#[test]
fn revisions() {
    let mut draw = first(13);
    let (mut decided, mut legal, mut left) = (0, 0, 0);
    for round in 0..rounds() {
        let odds = Odds {
            erased: 0,
            ..Odds::any(&mut draw)
        };
        let mut entries = small::<EtcdKv>(&mut draw, 7, odds, request);
        recorded(&mut draw, &mut entries);
        let expected = brute::try_every_order(&entries);
        let told = |exclusive| witness::decide(&entries, exclusive, 1_000_000);
        match told(true) {
            Verdict::Linearizable(order) => {
                assert!(expected, "round {round}: {entries:#?}");
                verify(&entries, &order).expect("a certificate that holds");
                decided += 1;
                legal += 1;
            }
            Verdict::Conflict(conflict) => {
                assert!(!expected, "round {round}: {conflict:?} in {entries:#?}");
                decided += 1;
            }
            Verdict::NotApplicable => left += 1,
            other => panic!("round {round}: {other:?}: {entries:#?}"),
        }
        // Where others may have used the store, less is certain and nothing else.
        match told(false) {
            Verdict::Linearizable(_) => assert!(expected, "round {round}: {entries:#?}"),
            Verdict::Conflict(conflict) => assert!(!expected, "round {round}: {conflict:?} in {entries:#?}"),
            _ => {}
        }
        let partition = Partition::new(None, entries);
        if round % 8 == 0 {
            let entries = &partition.entries;
            assert_eq!(
                searched(entries, Wgl::new(&partition)),
                expected,
                "round {round}: {entries:#?}"
            );
            assert_eq!(
                searched(entries, Frontier::new(&partition)),
                expected,
                "round {round}: {entries:#?}"
            );
        }
    }
    assert!(
        legal > rounds() / 10 && decided - legal > rounds() / 20,
        "both kinds: {legal} of {decided}"
    );
    assert!(left < rounds() / 20, "{left} left to others");
}
