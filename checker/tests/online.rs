//! What follows a history says the same as those who judge it at its end, and says it with the event that makes it so.

#[path = "support/small.rs"]
mod small;

use small::{Odds, rounds, small};
use tribunal_checker::JudgeError;
use tribunal_checker::generate::{self, Draw, Shape, Wrong};
use tribunal_checker::judge::partitions;
use tribunal_checker::linearizability::{Answer, Entry, brute, zones};
use tribunal_checker::online::{Follow, Followed, Reason, Violation, Zones, follow};
use tribunal_checker::spec::register::Op;
use tribunal_checker::spec::{Register, Spec};
use tribunal_history::operation::{PairError, pair};
use tribunal_history::{Ending, Event, Value};

/// Follows all events; the violation, if there is one, with its place among them.
fn followed(events: &[Event]) -> (Option<(usize, Violation)>, Followed) {
    let mut zones = Zones::<Register>::default();
    for (place, event) in events.iter().enumerate() {
        if let Some(violation) = zones.event(&mut event.clone()).expect("a history of registers") {
            return (Some((place, violation)), zones.followed());
        }
    }
    (None, zones.followed())
}

/// What was known after the event at `until`.
fn known_at(entries: &[Entry<Register>], until: u64) -> Vec<Entry<Register>> {
    let begun = entries.iter().filter(|entry| entry.call <= until);
    begun
        .map(|entry| {
            let is_over = entry.end.is_some_and(|end| end <= until);
            Entry {
                ret: entry.ret.clone().filter(|_| is_over),
                end: entry.end.filter(|_| is_over),
                ..entry.clone()
            }
        })
        .collect()
}

/// A register's operations; each value is new, now and then one is not.
fn op(draw: &mut Draw, made: usize, repeats: u32) -> Op {
    let last = made as i64 + 1;
    let known = |draw: &mut Draw| -> Value {
        let value = last - draw.below(4) as i64;
        (value > 0).then_some(value).into()
    };
    let value = if draw.percent(repeats) { 1 } else { last };
    match draw.below(3) {
        0 => Op::read("k"),
        1 => Op::write("k", value),
        _ => Op::cas("k", known(draw), value),
    }
}

#[test]
fn following_agrees_with_trying_every_order_at_every_moment() {
    let mut counts = [0u64; 3];
    for round in 0..5 * rounds() {
        let mut draw = Draw::new(round);
        let odds = Odds {
            erased: 0,
            ..Odds::any(&mut draw)
        };
        let repeats = [0, 0, 10][draw.below(3) as usize];
        let entries = small::<Register>(&mut draw, 7, odds, |draw, made| op(draw, made, repeats));
        let events = generate::events(&entries);
        match followed(&events) {
            (Some((place, violation)), _) => {
                counts[0] += 1;
                let (now, before) = (
                    events[place].seq().0,
                    place.checked_sub(1).map(|place| events[place].seq().0),
                );
                assert!(
                    !brute::try_every_order(&known_at(&entries, now)),
                    "round {round}: {violation:?} is none: {entries:#?}"
                );
                if let Some(before) = before {
                    assert!(
                        brute::try_every_order(&known_at(&entries, before)),
                        "round {round}: {violation:?} was certain before: {entries:#?}"
                    );
                }
            }
            (None, Followed { given_up: 0, .. }) => {
                counts[1] += 1;
                assert!(brute::try_every_order(&entries), "round {round}: {entries:#?}");
            }
            (None, _) => counts[2] += 1,
        }
    }
    assert!(counts[0] > rounds() / 10 && counts[1] > rounds(), "{counts:?}");
    // Only repeated values are left to others.
    assert!(counts[2] > 0 && counts[2] < rounds(), "{counts:?}");
}

#[test]
fn definite_failures_are_followed() {
    let written = [
        Entry {
            id: 0,
            op: Op::write("k", 1),
            ret: Some(Register::default().invoke(&Op::write("k", 1))),
            call: 0,
            end: Some(3),
        },
        Entry {
            id: 1,
            op: Op::read("k"),
            ret: Some(tribunal_checker::spec::register::Ret::Value(Value::Int(1))),
            call: 1,
            end: Some(2),
        },
    ];
    let mut events = generate::events(&written);
    assert_eq!(followed(&events).0, None);
    let Some(Event::Ok(completion)) = events.pop() else {
        panic!("the write ends last");
    };
    events.push(Event::Fail(completion));
    let (found, _) = followed(&events);
    let (place, violation) = found.expect("it had been seen");
    assert_eq!((place, violation.reason), (3, Reason::DidNotHappen));
    // One that nobody saw did not happen, and its value may be written again.
    let failed = [events[0].clone(), events[3].clone()];
    let mut zones = Zones::<Register>::default();
    for event in &failed {
        assert_eq!(zones.event(&mut event.clone()), Ok(None));
    }
    let again = generate::events(&[Entry {
        call: 10,
        end: Some(11),
        ..written[0].clone()
    }]);
    for event in &again {
        assert_eq!(zones.event(&mut event.clone()), Ok(None));
    }
    assert_eq!(zones.followed().given_up, 0);
}

#[test]
fn long_histories_are_followed_in_little_memory() {
    for (seed, wrong) in (0..12).zip([Wrong::Nothing, Wrong::Stale, Wrong::Lost].into_iter().cycle()) {
        let shape = Shape {
            operations: 20_000,
            clients: 20,
            info: if seed % 2 == 0 { 0 } else { 1 },
            wrong,
            seed,
        };
        let mut events = Vec::new();
        let made = generate::stream(&shape, 1, |event| {
            events.push(event.clone());
            Ok::<_, JudgeError>(())
        });
        made.expect("a sink that takes everything");
        let operations = pair(&events).expect("well formed");
        let partitions = partitions::<Register>(&operations).expect("registers");
        let expected = zones::decide(&partitions[0].entries).expect("all values are different");
        let (found, seen) = followed(&events);
        assert_eq!(
            found.is_some(),
            expected == Answer::NotLinearizable,
            "seed {seed}, {wrong:?}: {found:?}"
        );
        assert_eq!(seen.given_up, 0);
        let in_doubt = operations.iter().filter(|one| one.ending == Ending::Info).count();
        assert!(
            seen.remembered_max < 200 + in_doubt,
            "{} values of {} operations",
            seen.remembered_max,
            seen.operations
        );
    }
}

#[test]
fn streams_of_many_keys_are_followed_and_hold_what_was_planted() {
    for (wrong, expected) in [(Wrong::Nothing, false), (Wrong::Stale, true), (Wrong::Lost, true)] {
        let shape = Shape {
            operations: 30_000,
            clients: 10,
            info: 1,
            wrong,
            seed: 3,
        };
        let mut zones = Zones::<Register>::default();
        let mut all = Vec::new();
        let mut found = None;
        let made = generate::stream(&shape, 20, |event| {
            all.push(event.clone());
            let violation = zones.event(event)?;
            found = found.take().or(violation);
            Ok::<_, JudgeError>(())
        });
        made.expect("a history of registers");
        assert_eq!(found.is_some(), expected, "{wrong:?}");
        assert_eq!(zones.followed().keys, 20);
        let judged = tribunal_checker::judge("register", &all, &tribunal_checker::Options::default());
        let is_violated = judged.expect("a history of registers").outcome == tribunal_history::Outcome::Fail;
        assert_eq!(is_violated, expected, "{wrong:?}");
    }
}

#[test]
fn contradictory_events_are_named() {
    let one = generate::events(&[Entry {
        id: 0,
        op: Op::read("k"),
        ret: None,
        call: 5,
        end: None,
    }]);
    let mut zones = follow("register").expect("registers are followed");
    assert_eq!(zones.event(&mut one[0].clone()), Ok(None));
    let error = zones.event(&mut one[0].clone()).expect_err("again").to_string();
    assert!(error.contains("ordered by seq"), "{error}");
    let mut zones = follow("cas-register").expect("registers are followed");
    let Event::Invoke(invocation) = &one[0] else {
        panic!("an invocation comes first");
    };
    let completion = tribunal_history::Completion {
        seq: invocation.seq,
        time_ns: 0,
        process: invocation.process,
        output: Value::Null,
        revision: None,
        term: None,
        member: None,
        cause: None,
    };
    let error = zones.event(&mut Event::Ok(completion)).expect_err("never invoked");
    assert!(matches!(error, JudgeError::Pair(PairError::NotInvoked { .. })));
    assert!(follow("etcd-kv").is_none());
}
