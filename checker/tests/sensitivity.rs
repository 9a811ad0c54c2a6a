//! What a history could have shown: a history that was looked at shows every defect, one that nobody looked at none.

use tribunal_checker::generate::{self, Shape, Wrong};
use tribunal_checker::sensitivity::{Mutation, Sensitivity, sensitivity};
use tribunal_checker::{JudgeError, Options};
use tribunal_history::{Event, Phase, PhaseEvent, Seq};

fn history(wrong: Wrong, operations: usize) -> Vec<Event> {
    let shape = Shape {
        operations,
        clients: 5,
        info: 1,
        wrong,
        seed: 4,
    };
    let mut events = Vec::new();
    let made = generate::stream(&shape, 3, |event| {
        events.push(event.clone());
        Ok::<_, JudgeError>(())
    });
    made.expect("a sink that takes everything");
    events
}

fn of(events: &[Event]) -> Option<Sensitivity> {
    sensitivity("register", events, 10, &Options::default()).expect("a history of registers")
}

#[test]
fn defects_of_a_history_that_is_read_are_caught() {
    let sensitivity = of(&history(Wrong::Nothing, 3_000)).expect("it holds");
    assert_eq!(sensitivity.keys, 3);
    assert_eq!(sensitivity.unread_after_heal, None);
    let kinds: Vec<Mutation> = sensitivity.caught.iter().map(|caught| caught.mutation).collect();
    assert_eq!(kinds, Mutation::ALL);
    for caught in sensitivity.caught {
        assert_eq!((caught.tried, caught.undecided), (10, 0), "{caught:?}");
        // A write that was overwritten before anybody looked is not missed.
        assert!(caught.caught >= 5, "{caught:?}");
    }
}

#[test]
fn nothing_is_caught_where_nobody_looks() {
    let mut events = history(Wrong::Nothing, 600);
    let mut writes = std::collections::BTreeSet::new();
    events.retain(|event| match event {
        Event::Invoke(invocation) if invocation.function == "write" => {
            writes.insert(invocation.process);
            true
        }
        Event::Invoke(invocation) => {
            writes.remove(&invocation.process);
            false
        }
        Event::Ok(completion) | Event::Info(completion) | Event::Fail(completion) => {
            writes.contains(&completion.process)
        }
        _ => true,
    });
    let sensitivity = of(&events).expect("writes alone always hold");
    let caught: Vec<(usize, usize)> = sensitivity
        .caught
        .iter()
        .map(|caught| (caught.tried, caught.caught))
        .collect();
    assert_eq!(caught, [(0, 0), (10, 0), (10, 0)]);
}

#[test]
fn keys_that_nobody_read_after_the_heal_are_named() {
    let mut events = history(Wrong::Nothing, 300);
    let heal = Seq(events.last().expect("events").seq().0 + 1);
    events.push(Event::Phase(PhaseEvent {
        seq: heal,
        time_ns: 0,
        phase: Phase::Heal,
    }));
    let sensitivity = of(&events).expect("it holds");
    let unread = sensitivity.unread_after_heal.expect("it was healed");
    assert_eq!(unread, ["k0", "k1", "k2"]);
}

#[test]
fn what_does_not_hold_has_no_sensitivity() {
    assert_eq!(of(&history(Wrong::Stale, 3_000)), None);
    assert_eq!(
        sensitivity("etcd-kv", &history(Wrong::Nothing, 60), 10, &Options::default()),
        Ok(None)
    );
}
