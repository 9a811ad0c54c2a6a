//! Findings have narrow names, and sentences with keys, clients, nodes and times.
//!
//! A store of three nodes with much compare-and-set, many requests in doubt and one thing wrong with it makes histories
//! from seeds; whatever is found in them must not be called *not linearizable*, the name for want of a better one.

mod support;

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{History, cas, differs, read, swapped, write};
use tribunal_checker::{Options, judge};
use tribunal_history::{
    AnomalyClass, Direction, Event, Fault, Finding, NemesisAction, NemesisEvent, NodeId, Outcome, Select, Seq, Value,
};

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// A kill of all nodes takes the end of the log with it.
    LostSuffix,
    /// A leader that was cut off goes on to acknowledge, and gives it all up when it is back.
    DeposedLeader,
    /// A node that was cut off goes on to answer reads.
    StaleReads,
}

/// The registers.
type Store = BTreeMap<&'static str, Value>;

struct Open {
    key: &'static str,
    action: Action,
    output: Option<Value>,
}

#[derive(Clone, Copy)]
enum Action {
    Read,
    Write(i64),
    Cas(Option<i64>, i64),
}

fn act(store: &mut Store, key: &'static str, action: Action) -> Value {
    let now = store.get(key).cloned().unwrap_or_default();
    match action {
        Action::Read => now,
        Action::Write(value) => {
            store.insert(key, value.into());
            Value::Null
        }
        Action::Cas(expect, value) if now == expect.into() => {
            store.insert(key, value.into());
            swapped()
        }
        Action::Cas(..) => differs(now),
    }
}

fn nemesis(history: &mut History, wrong: Wrong, action: NemesisAction) {
    let place = history.events.len() as u64;
    let all = || Select::Nodes {
        nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
    };
    let (fault, nodes) = match wrong {
        Wrong::LostSuffix => (Fault::Kill { select: all() }, vec![NodeId(1), NodeId(2), NodeId(3)]),
        _ => (
            Fault::Isolate {
                select: Select::Leader { otherwise: NodeId(1) },
                direction: Direction::Both,
            },
            vec![NodeId(1)],
        ),
    };
    history.events.push(Event::Nemesis(NemesisEvent {
        seq: Seq(place),
        time_ns: place * 1_000_000,
        step: 0,
        action,
        kind: fault.kind(),
        fault,
        nodes,
        detail: String::new(),
    }));
}

const KEYS: [&str; 3] = ["k0", "k1", "k2"];
const CLIENTS: usize = 6;
const OPERATIONS: usize = 400;

fn history(wrong: Wrong, seed: u64) -> History {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut history = History::default();
    let mut store = Store::new();
    // States after each change, for the end of the log to be lost from.
    let mut past: Vec<Store> = vec![store.clone()];
    // What the first node believes while it is cut off.
    let mut apart: Option<Store> = None;
    let mut clients: Vec<Option<Open>> = (0..CLIENTS).map(|_| None).collect();
    let mut processes: Vec<u32> = (0..CLIENTS as u32).collect();
    let mut seen: Vec<BTreeMap<&'static str, i64>> = vec![BTreeMap::new(); CLIENTS];
    let mut late: Vec<(&'static str, Action)> = Vec::new();
    let mut next_process = CLIENTS as u32;
    let (mut begun, mut value) = (0, 0i64);
    let (from, to) = (OPERATIONS / 3, OPERATIONS / 2);
    let mut phase = 0;
    while begun < OPERATIONS || clients.iter().any(Option::is_some) {
        if phase == 0 && begun >= from {
            phase = 1;
            nemesis(&mut history, wrong, NemesisAction::Start);
            if wrong == Wrong::LostSuffix {
                let lost = rng.random_range(1..12).min(past.len() - 1);
                past.truncate(past.len() - lost);
                store = past[past.len() - 1].clone();
                // Nobody hears of what was under way, and some of it is in what is left.
                for place in 0..CLIENTS {
                    if let Some(open) = clients[place].take() {
                        history.info(processes[place]);
                        history.nodes.insert(next_process, 1 + (place % 3) as u16);
                        processes[place] = next_process;
                        next_process += 1;
                        if rng.random_range(0..2) == 0 {
                            late.push((open.key, open.action));
                        }
                    }
                }
            } else {
                apart = Some(store.clone());
            }
        }
        let ends = if wrong == Wrong::LostSuffix { from + 1 } else { to };
        if phase == 1 && begun >= ends {
            phase = 2;
            nemesis(&mut history, wrong, NemesisAction::Stop);
            apart = None;
        }
        let place = rng.random_range(0..CLIENTS);
        let process = processes[place];
        match clients[place].take() {
            None if begun < OPERATIONS => {
                begun += 1;
                value += 1;
                let key = KEYS[rng.random_range(0..KEYS.len())];
                let (action, function, input) = match rng.random_range(0..10) {
                    0..4 => (Action::Read, "read", read(key)),
                    4..6 => (Action::Write(value), "write", write(key, value)),
                    _ => {
                        let expect = seen[place].get(key).copied();
                        (Action::Cas(expect, value), "cas", cas(key, expect, value))
                    }
                };
                history.invoke(process, function, input);
                clients[place] = Some(Open {
                    key,
                    action,
                    output: None,
                });
            }
            None => {}
            Some(open) if open.output.is_none() => {
                if rng.random_range(0..12) == 0 {
                    history.info(process);
                    history.nodes.insert(next_process, 1 + (place % 3) as u16);
                    processes[place] = next_process;
                    next_process += 1;
                    if rng.random_range(0..2) == 0 {
                        late.push((open.key, open.action));
                    }
                    continue;
                }
                let is_apart = place % 3 == 0 && (wrong == Wrong::DeposedLeader || matches!(open.action, Action::Read));
                let output = match &mut apart {
                    Some(apart) if is_apart => act(apart, open.key, open.action),
                    _ => {
                        let output = act(&mut store, open.key, open.action);
                        past.push(store.clone());
                        output
                    }
                };
                let shown = match (open.action, &output) {
                    (Action::Write(value), _) => Some(value),
                    (Action::Read, Value::Int(value)) => Some(*value),
                    (Action::Cas(_, value), output) => match output.get("actual") {
                        Some(Value::Int(actual)) => Some(*actual),
                        Some(_) => None,
                        None => Some(value),
                    },
                    _ => None,
                };
                if let Some(shown) = shown {
                    seen[place].insert(open.key, shown);
                }
                clients[place] = Some(Open {
                    output: Some(output),
                    ..open
                });
            }
            Some(open) => {
                history.ok(process, open.output.expect("it acted"));
            }
        }
        if rng.random_range(0..3) == 0
            && let Some((key, action)) = late.pop()
        {
            act(&mut store, key, action);
            past.push(store.clone());
        }
    }
    history
}

/// What is found over many seeds, each of it checked for what every finding must have.
fn found(wrong: Wrong) -> Vec<Finding> {
    let mut found = Vec::new();
    for seed in 0..60 {
        let history = history(wrong, seed);
        let judgement = judge("register", &history.events, &Options::default()).expect("a history of registers");
        for finding in &judgement.findings {
            assert_eq!(judgement.outcome, Outcome::Fail);
            let at = format!("{wrong:?}, seed {seed}: {finding:#?}");
            assert_ne!(finding.class, AnomalyClass::NotLinearizable, "{at}");
            assert!(finding.minimised.proved_again, "{at}");
            assert!(finding.operations.len() <= 6, "{at}");
            let key = finding.key.as_deref().expect("registers have keys");
            assert!(finding.sentence.contains(&format!("{key} ")), "{at}");
            for named in ["lient ", "(on n", " s"] {
                assert!(finding.sentence.contains(named), "no {named:?}: {at}");
            }
        }
        found.extend(judgement.findings);
    }
    assert!(found.len() >= 40, "{wrong:?} is found {} times only", found.len());
    found
}

fn count(found: &[Finding], class: AnomalyClass) -> usize {
    found.iter().filter(|finding| finding.class == class).count()
}

#[test]
fn what_a_kill_of_all_nodes_took_away_is_a_lost_write() {
    let found = found(Wrong::LostSuffix);
    let lost = count(&found, AnomalyClass::LostWrite);
    assert!(lost * 10 > found.len() * 7, "{lost} of {}", found.len());
    for finding in &found {
        assert!(finding.context.contains("kill n1 n2 n3"), "{finding:#?}");
    }
}

#[test]
fn what_a_deposed_leader_acknowledged_is_named() {
    let found = found(Wrong::DeposedLeader);
    // Its own clients read what it acknowledged, until it gives that up.
    assert!(count(&found, AnomalyClass::LostWrite) > 0, "{}", found.len());
    assert!(count(&found, AnomalyClass::StaleRead) > 0, "{}", found.len());
    for finding in &found {
        assert!(finding.context.contains("isolate n1"), "{finding:#?}");
    }
}

#[test]
fn what_an_old_copy_answers_is_a_stale_read() {
    let found = found(Wrong::StaleReads);
    assert_eq!(count(&found, AnomalyClass::StaleRead), found.len());
    for finding in &found {
        assert!(finding.context.contains("isolate n1"), "{finding:#?}");
    }
}

/// An acknowledged write is followed by a kill; what is found then was made from the value before it by a request in
/// doubt.
#[test]
fn a_lost_write_is_told_through_what_was_made_from_the_value_before_it() {
    let mut history = History::default();
    history
        .write(0, "k7", 1731)
        .cas(0, "k7", 1731, 2365, swapped())
        .write(1, "k7", 2166);
    nemesis(&mut history, Wrong::LostSuffix, NemesisAction::Start);
    nemesis(&mut history, Wrong::LostSuffix, NemesisAction::Stop);
    history
        .invoke(3, "cas", cas("k7", 2365, 2401))
        .info(3)
        .cas(2, "k7", 2365, 2413, differs(2401));
    let judgement = judge("register", &history.events, &Options::default()).expect("a history of registers");
    let [finding] = judgement.findings.as_slice() else {
        panic!("one finding, not {:#?}", judgement.findings);
    };
    assert_eq!(finding.class, AnomalyClass::LostWrite);
    assert_eq!(
        finding.sentence,
        "k7 = 2166 had been acknowledged to client 1 (on n2) at 0.005 s, but 5.000 ms later client 2 (on n3) compared k7 \
         and found 2401 at 0.010 s, which was made from 2365, the value before 2166, and 2166 was not seen again. No order \
         of these 4 operations explains both: a lost write."
    );
    assert_eq!(
        finding.context,
        "In between the fault kill n1 n2 n3 was active from 0.006 s to 0.007 s."
    );
}

/// Two values that were written at the same time were each seen after the other.
#[test]
fn two_values_seen_each_after_the_other_are_a_stale_read() {
    let mut history = History::default();
    history
        .invoke(0, "write", write("a", 1))
        .invoke(1, "write", write("a", 2))
        .ok(0, Value::Null)
        .ok(1, Value::Null)
        .invoke(0, "read", read("a"))
        .invoke(1, "read", read("a"))
        .ok(0, 1.into())
        .ok(1, 2.into());
    let judgement = judge("register", &history.events, &Options::default()).expect("a history of registers");
    let [finding] = judgement.findings.as_slice() else {
        panic!("one finding, not {:#?}", judgement.findings);
    };
    assert_eq!(finding.class, AnomalyClass::StaleRead);
    assert!(
        finding
            .sentence
            .ends_with("a cannot have held 1 and 2 each before the other: a stale read."),
        "{}",
        finding.sentence
    );
}

#[test]
fn a_compare_that_failed_against_its_own_value_was_executed_twice() {
    let mut history = History::default();
    history.write(0, "k4", 565);
    history.cas(14, "k4", 565, 566, differs(566));
    let judgement = judge("register", &history.events, &Options::default()).expect("judged");
    assert_eq!(judgement.outcome, Outcome::Fail);
    let finding = &judgement.findings[0];
    assert_eq!(finding.class, AnomalyClass::ExecutedTwice, "{}", finding.sentence);
    assert!(
        finding.sentence.contains("failed against its own value"),
        "{}",
        finding.sentence
    );
    // Somebody else may have written it: then that is what it found.
    let mut history = History::default();
    history.write(0, "k4", 565);
    history.invoke(1, "write", write("k4", 566));
    history.cas(14, "k4", 565, 566, differs(566));
    let judgement = judge("register", &history.events, &Options::default()).expect("judged");
    assert_eq!(judgement.outcome, Outcome::Pass, "{}", judgement.detail);
}
