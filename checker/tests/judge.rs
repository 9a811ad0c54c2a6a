//! What a judgement says, at the boundary: outcomes, names, sentences, errors.

mod support;

use support::{History, cas, differs, read, swapped, write};
use tribunal_checker::{JudgeError, Judgement, Options, judge};
use tribunal_history::operation::PairError;
use tribunal_history::{
    AnomalyClass, Direction, Event, Fault, FaultKind, Finding, LeaderEvent, NemesisAction, NemesisEvent, NodeId,
    Outcome, ProcessId, Select, Seq, Term, Value,
};

fn judged(history: &History) -> Judgement {
    judge("register", &history.events, &Options::default()).expect("a history of registers")
}

fn only_finding(history: &History) -> Finding {
    let mut judgement = judged(history);
    assert_eq!(judgement.outcome, Outcome::Fail, "{}", judgement.detail);
    assert_eq!(judgement.findings.len(), 1, "{:#?}", judgement.findings);
    judgement.findings.pop().expect("counted")
}

#[test]
fn a_good_history_holds_and_says_what_was_counted() {
    let mut history = History::default();
    history
        .write(0, "a", 1)
        .read(1, "a", 1)
        .cas(0, "a", 1, 2, swapped())
        .cas(1, "a", 1, 3, differs(2))
        .read(1, "b", Value::Null);
    let judgement = judged(&history);
    assert_eq!(judgement.outcome, Outcome::Pass);
    assert_eq!(
        judgement.detail,
        "5 operations on 2 keys, 4 of them observed a value, 0 indeterminate, 0 failed; 2 linearizations replayed"
    );
}

#[test]
fn a_history_that_observes_nothing_is_vacuous() {
    let mut history = History::default();
    history.write(0, "a", 1);
    assert_eq!(judged(&history).outcome, Outcome::Vacuous);
    assert_eq!(judged(&History::default()).outcome, Outcome::Vacuous);
}

#[test]
fn an_operation_in_doubt_may_take_effect_late_or_never() {
    for seen in [1, 2] {
        let mut history = History::default();
        history
            .write(0, "a", 1)
            .invoke(1, "write", write("a", 2))
            .info(1)
            .read(0, "a", 1)
            .read(0, "a", seen);
        assert_eq!(judged(&history).outcome, Outcome::Pass, "{seen}");
    }
}

fn isolation(seq: u64, time_ns: u64, action: NemesisAction, detail: &str) -> Event {
    Event::Nemesis(NemesisEvent {
        seq: Seq(seq),
        time_ns,
        step: 0,
        action,
        kind: FaultKind::Isolate,
        fault: Fault::Isolate {
            select: Select::Leader { otherwise: NodeId(1) },
            direction: Direction::Both,
        },
        nodes: vec![NodeId(1)],
        detail: detail.to_owned(),
    })
}

fn leader(seq: u64, time_ns: u64, node: u16, term: u64) -> Event {
    Event::Leader(LeaderEvent {
        seq: Seq(seq),
        time_ns,
        node: NodeId(node),
        term: Term(term),
    })
}

/// Gives the events their places in the order they stand in.
fn renumber(events: &mut [Event]) {
    for (place, event) in events.iter_mut().enumerate() {
        let seq = Seq(place as u64);
        match event {
            Event::Invoke(e) => e.seq = seq,
            Event::Ok(e) | Event::Fail(e) | Event::Info(e) => e.seq = seq,
            Event::Nemesis(e) => e.seq = seq,
            Event::Leader(e) => e.seq = seq,
            Event::Node(_) | Event::Phase(_) => unreachable!("not used here"),
        }
    }
}

#[test]
fn a_stale_read_is_told_with_keys_clients_nodes_times_fault_and_leaders() {
    let mut history = History::default();
    history
        .write(1, "k2", 1844)
        .write(4, "k2", 1131)
        .read(0, "k2", 1844)
        .read(1, "k2", 1131);
    let mut events = history.events;
    events.insert(2, isolation(0, 1_500_000, NemesisAction::Start, ""));
    events.insert(3, isolation(0, 1_600_000, NemesisAction::Effective, "12 bytes held"));
    events.insert(0, leader(0, 0, 1, 1));
    events.insert(5, leader(0, 1_900_000, 3, 2));
    renumber(&mut events);
    let history = History {
        events,
        ..History::default()
    };
    let finding = only_finding(&history);
    assert_eq!(finding.class, AnomalyClass::StaleRead);
    assert_eq!(finding.key.as_deref(), Some("k2"));
    assert_eq!(
        finding.sentence,
        "Client 0 (on n1) read k2 → 1844 at 0.004 s, but k2 = 1131 had been acknowledged to client 4 (on n2) at 0.003 s, \
         1.000 ms before the read began. No order of these 3 operations explains both: a stale read."
    );
    assert_eq!(
        finding.context,
        "At that moment the fault isolate n1 was active since 0.002 s (12 bytes held). n1 led term 1 until 0.002 s; n3 leads \
         term 2 since 0.002 s."
    );
    let labels: Vec<&str> = finding
        .operations
        .iter()
        .map(|operation| operation.label.as_str())
        .collect();
    assert_eq!(labels, ["write k2 = 1844", "write k2 = 1131", "read k2 → 1844"]);
    assert_eq!(finding.state_before, Value::Null);
    let states: Vec<&Value> = finding.longest_legal.iter().map(|placed| &placed.state).collect();
    assert_eq!(states, [&Value::Int(1844), &Value::Int(1131)]);
    assert_eq!(finding.blocked.len(), 1);
    assert_eq!(finding.blocked[0].why, "k2 is 1131, not 1844");
    assert_eq!(finding.time_ns, 5_000_000);
}

#[test]
fn a_write_that_is_never_seen_again_is_lost() {
    let mut history = History::default();
    history
        .write(0, "a", 1)
        .write(1, "a", 2)
        .read(0, "a", 1)
        .read(1, "a", 1);
    let finding = only_finding(&history);
    assert_eq!(finding.class, AnomalyClass::LostWrite);
    assert!(
        finding.sentence.contains("a lost write; a went back to 1"),
        "{}",
        finding.sentence
    );
}

#[test]
fn two_updates_of_one_state_are_a_lost_update() {
    let mut history = History::default();
    history
        .write(0, "a", 1)
        .invoke(0, "cas", cas("a", 1, 2))
        .invoke(1, "cas", cas("a", 1, 3))
        .ok(0, swapped())
        .ok(1, swapped());
    let finding = only_finding(&history);
    assert_eq!(finding.class, AnomalyClass::LostUpdate);
    assert_eq!(finding.operations.len(), 3);
}

#[test]
fn a_value_that_nobody_wrote_is_a_phantom() {
    let mut history = History::default();
    history.write(0, "a", 1).read(1, "a", 9).write(0, "a", 9);
    let finding = only_finding(&history);
    assert_eq!(finding.class, AnomalyClass::PhantomValue);
    assert_eq!(finding.operations.len(), 1);
    assert!(
        finding.sentence.contains("client 0 (on n1) first did at 0.004 s"),
        "{}",
        finding.sentence
    );
}

#[test]
fn a_definite_failure_that_took_effect_is_named() {
    let mut history = History::default();
    history
        .write(0, "a", 1)
        .invoke(1, "write", write("a", 2))
        .fail(1)
        .read(0, "a", 2);
    let finding = only_finding(&history);
    assert_eq!(finding.class, AnomalyClass::FailedTookEffect);
    let labels: Vec<&str> = finding
        .operations
        .iter()
        .map(|operation| operation.label.as_str())
        .collect();
    assert_eq!(labels, ["write a = 2", "read a → 2"]);

    // Without an effect it is left out and nobody is accused.
    let mut history = History::default();
    history
        .write(0, "a", 1)
        .invoke(1, "write", write("a", 2))
        .fail(1)
        .read(0, "a", 1);
    assert_eq!(judged(&history).outcome, Outcome::Pass);
}

#[test]
fn an_illegal_key_is_found_beside_a_hard_one() {
    let mut history = hard();
    history.write(100, "b", 1).read(100, "b", Value::Null);
    let judgement = judged(&history);
    assert_eq!(judgement.outcome, Outcome::Fail, "{}", judgement.detail);
    assert_eq!(judgement.findings[0].key.as_deref(), Some("b"));
}

/// Many compare-and-sets in doubt over few values, and a read that only some order of most of them explains, or
/// none: the hardest kind of history.
fn hard() -> History {
    let mut history = History::default();
    for process in 0..40u32 {
        let (from, to) = (i64::from(process * 7 % 11), i64::from(process * 5 % 13));
        history
            .invoke(process, "cas", cas("a", (from > 0).then_some(from), to + 1))
            .info(process);
    }
    for round in 0..20i64 {
        history.read(90, "a", round * 3 % 13 + 1);
    }
    history
}

#[test]
fn a_budget_that_runs_out_is_unknown_and_says_what_to_raise() {
    let options = Options {
        steps: 50,
        ..Options::default()
    };
    let judgement = judge("register", &hard().events, &options).expect("a history of registers");
    assert_eq!(judgement.outcome, Outcome::Unknown);
    assert!(judgement.detail.contains("a is undecided"), "{}", judgement.detail);
    assert!(judgement.detail.contains("raise --check-steps"), "{}", judgement.detail);
}

fn error(history: &History) -> JudgeError {
    judge("register", &history.events, &Options::default()).expect_err("a history that contradicts itself")
}

#[test]
fn contradictions_are_named_by_event() {
    let mut history = History::default();
    history.invoke(3, "read", read("a")).invoke(3, "read", read("a"));
    assert_eq!(
        error(&history),
        JudgeError::Pair(PairError::StillOpen {
            seq: Seq(1),
            process: ProcessId(3),
            open: Seq(0)
        })
    );
    let mut history = History::default();
    history.ok(3, Value::Null);
    assert!(error(&history).to_string().starts_with("event 0: process 3 completes"));
}

#[test]
fn what_is_no_operation_of_a_register_is_named_with_what_was_expected() {
    let message = |function: &str, input: Value, output: Value| {
        let mut history = History::default();
        history.invoke(0, function, input).ok(0, output);
        error(&history).to_string()
    };
    assert_eq!(
        message("push", read("a"), Value::Null),
        "event 0: \"push\" of specification register: expected read, write, cas or delete, found push"
    );
    assert_eq!(
        message("read", Value::Null, Value::Null),
        "event 0: \"read\" of specification register: expected an input with \"key\", a text, found nil"
    );
    assert_eq!(
        message("read", read("a"), Value::Bool(true)),
        "event 1: \"read\" of specification register: expected a value or null as output, found true"
    );
    assert!(message("cas", cas("a", 1, 2), Value::Null).starts_with("event 1: \"cas\""));
    assert!(message("write", read("a"), Value::Null).contains("expected an input with \"value\""));
}

#[test]
fn an_unknown_specification_is_refused_with_those_that_there_are() {
    let error = judge("stack", &[], &Options::default()).expect_err("no such specification");
    assert_eq!(
        error.to_string(),
        "no specification is called \"stack\"; there are: cas-register, counter, etcd-kv, fifo-queue, kv, list-append, multi-register, mutex, reentrant-mutex, register, rw-register, set, unique-ids, unordered-queue"
    );
}
