//! Invented runs, consistent in themselves, for tests and for looking at.
//!
//! A register per key, eight clients pinned to three nodes, three faults in thirty seconds. The failing run has
//! a read, on a leader that was cut off, of a value that had been replaced 213 ms before.

#![allow(dead_code, reason = "each user needs a part of it")]

use std::collections::BTreeMap;

use tribunal_history::event::{Completion, Invocation, LeaderEvent, NodeEvent, PhaseEvent};
use tribunal_history::finding::Placed;
use tribunal_history::operation::pair;
use tribunal_history::picture::{Basis, Holding, MemberPicture, Picture, Standing};
use tribunal_history::report::{RunOutcome, RunSummary, RunVerdict};
use tribunal_history::{
    AnomalyClass, Blocked, Cause, CauseCode, Direction, DrawnOperation, Ending, Event, Fault, FaultKind, Finding,
    Incarnation, LogIndex, MemberId, Minimised, NemesisAction, NemesisEvent, NodeId, NodeState, Operation, Outcome,
    Phase, ProcessId, Property, PropertyClass, Report, Revision, Select, Seq, Term, Value,
};
use tribunal_reports::{fault_summaries, function_counts, leader_spans};

const MS: u64 = 1_000_000;
const END_NS: u64 = 36_400 * MS;

/// A run with a stale read.
pub fn failing() -> (Report, Vec<Event>) {
    let events = Run::new(11, 1).events(true);
    let finding = stale_read(&events);
    let mut report = judged(&events, "2026-11-22T06-20-01Z-11", 11);
    report.verdict = RunVerdict {
        outcome: RunOutcome::Violation,
        exit_code: 1,
        headline: "not linearizable · key k2: stale read".to_owned(),
    };
    report.properties[0].verdict = Outcome::Fail;
    report.properties[0].detail = format!(
        "1 of 20 keys cannot be explained: k2, {} operations",
        finding.minimised.from
    );
    report.findings = vec![finding];
    report.run.defect = Some("read-without-quorum".to_owned());
    (report, events)
}

/// A run in which everything holds.
pub fn passing() -> (Report, Vec<Event>) {
    let events = Run::new(12, 1).events(false);
    (judged(&events, "2026-11-22T06-25-44Z-12", 12), events)
}

/// A passing run with many times the operations.
pub fn busy(times: u64) -> (Report, Vec<Event>) {
    let events = Run::new(13, times).events(false);
    (judged(&events, "2026-11-22T06-31-08Z-13", 13), events)
}

/// A run that never came to anything.
pub fn empty() -> (Report, Vec<Event>) {
    let report = Report {
        run: RunSummary {
            name: "empty".to_owned(),
            seed: None,
            workload: "register".to_owned(),
            system: "etcd".to_owned(),
            nodes: 0,
            clients: 0,
            defect: None,
            started: None,
            duration_ns: 0,
            disk: None,
        },
        verdict: RunVerdict {
            outcome: RunOutcome::HarnessError,
            exit_code: 4,
            headline: "n1 did not become ready within 20 s".to_owned(),
        },
        properties: Vec::new(),
        findings: Vec::new(),
        operations: Vec::new(),
        faults: Vec::new(),
        leaders: Vec::new(),
        not_tried: Vec::new(),
        commands: Vec::new(),
        files: Vec::new(),
    };
    (report, Vec::new())
}

/// An operation for a drawing; it ends ok if it has an end, and is in doubt if not.
pub fn drawn(process: u32, node: u16, label: &str, seq: u64, from_ns: u64, to_ns: Option<u64>) -> DrawnOperation {
    DrawnOperation {
        process: ProcessId(process),
        node: NodeId(node),
        function: label.split(' ').next().unwrap_or_default().to_owned(),
        input: Value::map([("key", "k2".into())]),
        output: Value::Null,
        label: label.to_owned(),
        ending: if to_ns.is_some() { Ending::Ok } else { Ending::Info },
        cause: None,
        invoked: Seq(seq),
        invoked_ns: from_ns,
        completed: to_ns.map(|_| Seq(seq + 1)),
        completed_ns: to_ns,
        revision: None,
        term: None,
    }
}

/// A lost write with an indeterminate one and a failed one beside it.
pub fn lost_write() -> Finding {
    let mut failed = drawn(9, 3, "cas k7 4 → 6", 14, 12_003 * MS, Some(12_004 * MS));
    failed.ending = Ending::Fail;
    failed.cause = Some(Cause {
        code: CauseCode::Overloaded,
        text: "etcdserver: too many requests".to_owned(),
    });
    Finding {
        property: "linearizable".to_owned(),
        class: AnomalyClass::LostWrite,
        key: Some("k7".to_owned()),
        sentence: "Client 3 (on n2) wrote k7 = 5, acknowledged at 12.006 s; client 5 (on n1) read k7 → 4 at \
                   18.203 s, and nobody had written 4 again."
            .to_owned(),
        context: "Between them, at 14.000 s, all nodes were killed.".to_owned(),
        operations: vec![
            drawn(3, 2, "write k7 = 5", 10, 12_000 * MS, Some(12_006 * MS)),
            failed,
            drawn(8, 3, "write k7 = 9", 16, 12_005 * MS, None),
            drawn(5, 1, "read k7 → 4", 20, 18_200 * MS, Some(18_203 * MS)),
        ],
        state_before: Value::Int(4),
        longest_legal: vec![
            Placed {
                operation: 0,
                state: Value::Int(5),
            },
            Placed {
                operation: 2,
                state: Value::Int(9),
            },
        ],
        blocked: vec![Blocked {
            operation: 3,
            why: "the state is 5 or 9 here, and 4 was read".to_owned(),
        }],
        minimised: Minimised {
            from: 531,
            to: 4,
            proved_again: true,
        },
        time_ns: 18_203 * MS,
        picture: None,
    }
}

/// An acknowledgement that no quorum held, with who had what.
pub fn broken_promise() -> Finding {
    let member = |node: u16, holds, note: &str| MemberPicture {
        node: Some(NodeId(node)),
        member: MemberId(0xa0 + u64::from(node)),
        standing: Standing::Voter,
        is_up: Some(node != 3),
        term: Some(Term(2)),
        leads: (node == 1).then_some(Term(2)),
        durable_last: Some(LogIndex(40 + u64::from(node))),
        durable_chain: Some("27432252".to_owned()),
        holds,
        note: note.to_owned(),
        basis: Basis::DurableImage,
        ..MemberPicture::default()
    };
    Finding {
        property: "acknowledged-on-quorum".to_owned(),
        class: AnomalyClass::BrokenPromise,
        key: None,
        sentence: "n1 told a client ok for operation 7, which no majority held durably: only n1 has it".to_owned(),
        context: "At that instant n1 led term 2.".to_owned(),
        operations: Vec::new(),
        state_before: Value::Null,
        longest_legal: Vec::new(),
        blocked: Vec::new(),
        picture: Some(Picture {
            entry: Some(LogIndex(41)),
            term: Some(Term(2)),
            chain: Some("27432252".to_owned()),
            members: vec![
                member(1, Holding::Log, ""),
                member(2, Holding::No, "<b>its disk | lied"),
                member(3, Holding::Other, ""),
            ],
        }),
        ..lost_write()
    }
}

/// A run with many faults close together, some without a proved effect, and a finding with much overlap.
pub fn crowded() -> (Report, Vec<Event>) {
    let (mut report, events) = failing();
    let pattern = report.faults.clone();
    report.faults = (0..14_u32)
        .map(|n| {
            let mut fault = pattern[n as usize % 3].clone();
            fault.step = n;
            fault.start_ns = u64::from(n) * 2_300 * MS + 900 * MS;
            fault.stop_ns = (n != 13).then_some(fault.start_ns + 2_900 * MS);
            fault.effective = n % 5 != 4;
            fault
        })
        .collect();
    let us = 1_000;
    let at = 17_503 * MS;
    let mut gave_up = drawn(3, 2, "cas k13 5 → 6", 8, at + 300 * us, Some(at + 2_000 * MS));
    gave_up.ending = Ending::Info;
    let finding = Finding {
        operations: vec![
            drawn(1, 1, "write k13 = 5", 0, at, Some(at + 900 * us)),
            drawn(2, 3, "read k13 → 4", 2, at + 200 * us, Some(at + 450 * us)),
            gave_up,
            drawn(2, 3, "read k13 → 6", 10, at + 1_000 * us, Some(at + 1_080 * us)),
            drawn(2, 3, "read k13 → 6", 12, at + 1_090 * us, Some(at + 1_110 * us)),
            drawn(1, 1, "read k13 → 5", 14, at + 1_200 * us, Some(at + 2_300 * us)),
        ],
        key: Some("k13".to_owned()),
        class: AnomalyClass::NotLinearizable,
        state_before: Value::Int(4),
        longest_legal: [(1, 4), (0, 5), (2, 6), (3, 6), (4, 6)]
            .map(|(operation, state)| Placed {
                operation,
                state: Value::Int(state),
            })
            .to_vec(),
        blocked: vec![Blocked {
            operation: 5,
            why: "k13 is 6 here, and 5 was read".to_owned(),
        }],
        time_ns: at + 2_300 * us,
        ..lost_write()
    };
    report.findings = vec![finding];
    (report, events)
}

/// Text that tries to leave its place.
pub const HOSTILE: &str = "</script></title><img src=x onerror=alert(1)>\"'&{{ 7*7 }}\u{1b}[2J\u{202e}|`";

/// The failing run with hostile text wherever a system under test, or a file from elsewhere, can put it.
pub fn hostile() -> (Report, Vec<Event>) {
    let (mut report, mut events) = failing();
    let text = || HOSTILE.to_owned();
    report.run.name = text();
    report.run.workload = text();
    report.run.system = text();
    report.run.defect = Some(text());
    report.run.started = Some(text());
    report.run.disk = Some(text());
    report.verdict.headline = text();
    for property in &mut report.properties {
        property.title = text();
        property.detail = text();
    }
    for fault in &mut report.faults {
        fault.detail = text();
    }
    for counts in &mut report.operations {
        counts.function = text();
    }
    report.commands = vec![text()];
    report.files = vec![text()];
    let mut second = lost_write();
    second.key = None;
    report.findings.push(second);
    for finding in &mut report.findings {
        finding.key = finding.key.as_ref().map(|_| text());
        finding.sentence = text();
        finding.context = text();
        finding.state_before = Value::Text(text());
        for placed in &mut finding.longest_legal {
            placed.state = Value::map([(HOSTILE, Value::Text(text()))]);
        }
        for blocked in &mut finding.blocked {
            blocked.why = text();
        }
        for operation in &mut finding.operations {
            operation.label = text();
            operation.function = text();
            operation.input = Value::Text(text());
            operation.output = Value::Text(text());
            operation.cause = Some(Cause {
                code: CauseCode::Unknown,
                text: text(),
            });
        }
    }
    for event in &mut events {
        match event {
            Event::Invoke(invocation) => invocation.function = text(),
            Event::Node(change) => change.detail = text(),
            Event::Nemesis(nemesis) => nemesis.detail = text(),
            _ => {}
        }
    }
    (report, events)
}

fn judged(events: &[Event], name: &str, seed: u64) -> Report {
    let operations = pair(events).expect("the sample is a good history");
    let counts = function_counts(&operations);
    let total: u64 = counts.iter().map(tribunal_history::report::FunctionCounts::total).sum();
    let leaders = leader_spans(events, END_NS);
    let property = |id: &str, title: &str, class, detail: String| Property {
        id: id.to_owned(),
        title: title.to_owned(),
        class,
        verdict: Outcome::Pass,
        detail,
    };
    Report {
        run: RunSummary {
            name: name.to_owned(),
            seed: Some(seed),
            workload: "register".to_owned(),
            system: "builtin 0.1.0".to_owned(),
            nodes: 3,
            clients: 8,
            defect: None,
            started: Some("2026-11-22T06:20:01Z".to_owned()),
            duration_ns: END_NS,
            disk: Some("volatile: un-synced writes are lost with the process".to_owned()),
        },
        verdict: RunVerdict {
            outcome: RunOutcome::Pass,
            exit_code: 0,
            headline: format!(
                "{} operations linearizable on 20 keys, under 3 faults, 3 leader changes",
                thousands(total)
            ),
        },
        properties: vec![
            property(
                "linearizable",
                "Linearizable, each key",
                PropertyClass::Safety,
                format!(
                    "{} operations on 20 keys; each order found was verified again",
                    thousands(total)
                ),
            ),
            property(
                "progress",
                "Progress after the faults",
                PropertyClass::Liveness,
                "first ok write 340 ms after the last fault was undone; at most 10 s were allowed".to_owned(),
            ),
            property(
                "faults-effective",
                "Every fault took effect",
                PropertyClass::Coverage,
                "3 of 3: kill 1, pause 1, isolate 1".to_owned(),
            ),
            property(
                "leader-changes",
                "The leader changed",
                PropertyClass::Coverage,
                "3 times".to_owned(),
            ),
        ],
        findings: Vec::new(),
        operations: counts,
        faults: fault_summaries(events, END_NS),
        leaders,
        not_tried: vec![FaultKind::IsolateInbound, FaultKind::IsolateOutbound],
        commands: vec![
            format!("tribunal run --from runs/register/{name} --repeat 10"),
            format!("tribunal check runs/register/{name}/history.jsonl.gz"),
        ],
        files: [
            "run.json",
            "history.jsonl.gz",
            "schedule.json",
            "nodes/n1/log",
            "nodes/n2/log",
            "nodes/n3/log",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

fn thousands(number: u64) -> String {
    format!("{},{:03}", number / 1_000, number % 1_000)
}

fn stale_read(events: &[Event]) -> Finding {
    let operations = pair(events).expect("the sample is a good history");
    let on_k2: Vec<&Operation> = operations
        .iter()
        .filter(|operation| operation.input.get("key") == Some(&"k2".into()))
        .collect();
    let last = |function: &str, value: i64| {
        let of_value = |operation: &&&Operation| match function {
            "write" => operation.input.get("value") == Some(&value.into()),
            _ => operation.output == Value::Int(value) && operation.invoked_ns > 26_000 * MS,
        };
        let found = on_k2
            .iter()
            .rev()
            .filter(|operation| operation.function == function)
            .find(of_value);
        (*found.expect("the sample has it")).clone()
    };
    let draw = |operation: Operation, label: &str| DrawnOperation {
        process: operation.process,
        node: operation.node,
        function: operation.function,
        input: operation.input,
        output: operation.output,
        label: label.to_owned(),
        ending: operation.ending,
        cause: operation.cause,
        invoked: operation.invoked,
        invoked_ns: operation.invoked_ns,
        completed: operation.completed,
        completed_ns: operation.completed_ns,
        revision: operation.revision,
        term: operation.term,
    };
    let read = last("read", 1844);
    let time_ns = read.completed_ns.expect("it ended");
    Finding {
        property: "linearizable".to_owned(),
        class: AnomalyClass::StaleRead,
        key: Some("k2".to_owned()),
        sentence: "Client 0 (on n1) read k2 → 1844 at 26.481 s, but k2 = 1131 had been acknowledged to client 4 \
                   (on n2) at 26.268 s, 213 ms before the read began."
            .to_owned(),
        context: "At that moment isolate n1 was active since 24.000 s; n1 led term 3 until 25.312 s, n3 leads term \
                  4 since then."
            .to_owned(),
        operations: vec![
            draw(last("write", 1844), "write k2 = 1844"),
            draw(last("write", 1131), "write k2 = 1131"),
            draw(read, "read k2 → 1844"),
        ],
        state_before: Value::Int(1790),
        longest_legal: vec![
            Placed {
                operation: 0,
                state: Value::Int(1844),
            },
            Placed {
                operation: 1,
                state: Value::Int(1131),
            },
        ],
        blocked: vec![Blocked {
            operation: 2,
            why: "k2 is 1131 here, and 1844 was read".to_owned(),
        }],
        minimised: Minimised {
            from: on_k2.len(),
            to: 3,
            proved_again: true,
        },
        time_ns,
        picture: None,
    }
}

/// Makes the events of a run.
struct Run {
    random: u64,
    times: u64,
    /// Each with a time; the order of equal times is that in which they were added.
    events: Vec<Event>,
}

struct Window {
    kind: FaultKind,
    node: u16,
    from_ms: u64,
    to_ms: u64,
}

const WINDOWS: [Window; 3] = [
    Window {
        kind: FaultKind::Kill,
        node: 2,
        from_ms: 7_000,
        to_ms: 11_000,
    },
    Window {
        kind: FaultKind::Pause,
        node: 3,
        from_ms: 16_000,
        to_ms: 19_000,
    },
    Window {
        kind: FaultKind::Isolate,
        node: 1,
        from_ms: 24_000,
        to_ms: 29_000,
    },
];

impl Run {
    fn new(seed: u64, times: u64) -> Self {
        Self {
            random: seed * 2 + 1,
            times,
            events: Vec::new(),
        }
    }

    /// Xorshift: enough to look alive.
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn events(mut self, stale: bool) -> Vec<Event> {
        self.cluster();
        let mut values: BTreeMap<u64, i64> = BTreeMap::new();
        let mut processes = 8;
        for client in 0..8_u32 {
            let node = u16::try_from(client % 3).expect("small") + 1;
            let mut process = client;
            let mut at_ns = (300 + self.draw(100)) * MS;
            while at_ns < 35_500 * MS {
                at_ns += (5 + self.draw(90)) * MS / self.times;
                if stale && at_ns > 23_700 * MS && at_ns < 27_000 * MS && SPECIAL.iter().any(|one| one.0 == client) {
                    // These clients are kept free for what makes the stale read.
                    at_ns = 27_000 * MS;
                    continue;
                }
                let key = self.draw(20);
                let took_ns = MS + self.draw(240) * self.draw(240) * self.draw(240) * 3 / self.times.min(3);
                let quiet = stale && key == 2 && (22_000..28_000).contains(&(at_ns / MS));
                if quiet {
                    continue;
                }
                let hit = WINDOWS
                    .iter()
                    .find(|window| window.node == node && (window.from_ms..window.to_ms).contains(&(at_ns / MS)));
                let write = self.draw(2) == 0;
                let value = (at_ns / MS) as i64;
                let (ending, took_ns) = match hit.map(|window| window.kind) {
                    None => (Ending::Ok, took_ns),
                    Some(FaultKind::Kill) => (Ending::Fail, MS / 2),
                    Some(_) if write => (Ending::Info, 1_000 * MS),
                    Some(_) => (Ending::Fail, 1_000 * MS),
                };
                let output = if write {
                    Value::Null
                } else {
                    values.get(&key).copied().map(Value::Int).unwrap_or_default()
                };
                if write && ending == Ending::Ok {
                    values.insert(key, value);
                }
                let call = Call {
                    process,
                    node,
                    key: format!("k{key}"),
                    write: write.then_some(value),
                    output,
                };
                self.call(&call, ending, at_ns, at_ns + took_ns);
                if ending == Ending::Info {
                    process = processes;
                    processes += 1;
                }
                at_ns += took_ns;
            }
        }
        if stale {
            for (process, node, write, output, from_us, to_us) in SPECIAL {
                let output = output.map(Value::Int).unwrap_or_default();
                let call = Call {
                    process,
                    node,
                    key: "k2".to_owned(),
                    write,
                    output,
                };
                self.call(&call, Ending::Ok, from_us * 1_000, to_us * 1_000);
            }
        }
        self.events.sort_by_key(Event::time_ns);
        let mut events = self.events;
        for (place, event) in events.iter_mut().enumerate() {
            let place = Seq(place as u64);
            match event {
                Event::Invoke(e) => e.seq = place,
                Event::Ok(e) | Event::Fail(e) | Event::Info(e) => e.seq = place,
                Event::Nemesis(e) => e.seq = place,
                Event::Node(e) => e.seq = place,
                Event::Leader(e) => e.seq = place,
                Event::Phase(e) => e.seq = place,
            }
        }
        events
    }

    fn call(&mut self, call: &Call, ending: Ending, from_ns: u64, to_ns: u64) {
        let mut input = vec![("key".to_owned(), Value::Text(call.key.clone()))];
        input.extend(call.write.map(|value| ("value".to_owned(), Value::Int(value))));
        self.events.push(Event::Invoke(Invocation {
            seq: Seq(0),
            time_ns: from_ns,
            process: ProcessId(call.process),
            node: NodeId(call.node),
            function: if call.write.is_some() { "write" } else { "read" }.to_owned(),
            input: Value::Map(input.into_iter().collect()),
        }));
        let ok = ending == Ending::Ok;
        let completion = Completion {
            seq: Seq(0),
            time_ns: to_ns,
            process: ProcessId(call.process),
            output: if ok { call.output.clone() } else { Value::Null },
            revision: ok.then_some(Revision((to_ns / MS) as i64)),
            term: ok.then_some(Term(3)),
            member: None,
            cause: (!ok).then(|| Cause {
                code: CauseCode::Timeout,
                text: "no reply within 1 s".to_owned(),
            }),
        };
        self.events.push(match ending {
            Ending::Ok => Event::Ok(completion),
            Ending::Fail => Event::Fail(completion),
            Ending::Info => Event::Info(completion),
        });
    }

    fn cluster(&mut self) {
        let seq = Seq(0);
        let mut node = |ms: u64, node: u16, state, incarnation| {
            self.events.push(Event::Node(NodeEvent {
                seq,
                time_ns: ms * MS,
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                state,
                detail: String::new(),
            }));
        };
        for n in 1..=3 {
            node(0, n, NodeState::Started, 0);
            node(120 + u64::from(n) * 20, n, NodeState::Ready, 0);
        }
        node(7_001, 2, NodeState::Killed, 0);
        node(11_000, 2, NodeState::Started, 1);
        node(11_420, 2, NodeState::Ready, 1);
        node(16_000, 3, NodeState::Paused, 0);
        node(19_000, 3, NodeState::Resumed, 0);
        for (ms, node, term) in [(260, 2, 1), (7_900, 3, 2), (17_100, 1, 3), (25_312, 3, 4)] {
            self.events.push(Event::Leader(LeaderEvent {
                seq,
                time_ns: ms * MS,
                node: NodeId(node),
                term: Term(term),
            }));
        }
        for (ms, phase) in [
            (280, Phase::Safety),
            (30_000, Phase::Heal),
            (30_200, Phase::Liveness),
            (34_000, Phase::FinalReads),
            (36_400, Phase::End),
        ] {
            self.events.push(Event::Phase(PhaseEvent {
                seq,
                time_ns: ms * MS,
                phase,
            }));
        }
        for (step, window) in (0_u32..).zip(&WINDOWS) {
            let select = Select::Leader { otherwise: NodeId(1) };
            let (fault, proof) = match window.kind {
                FaultKind::Kill => (Fault::Kill { select }, "its process ended by signal 9"),
                FaultKind::Pause => (
                    Fault::Pause {
                        select: Select::Nodes {
                            nodes: vec![NodeId(window.node)],
                        },
                    },
                    "/proc says state T",
                ),
                _ => (
                    Fault::Isolate {
                        select,
                        direction: Direction::Both,
                    },
                    "18,204 bytes held on 4 links",
                ),
            };
            for (ms, action, detail) in [
                (window.from_ms, NemesisAction::Start, ""),
                (window.from_ms + 40, NemesisAction::Effective, proof),
                (window.to_ms, NemesisAction::Stop, ""),
            ] {
                self.events.push(Event::Nemesis(NemesisEvent {
                    seq,
                    time_ns: ms * MS,
                    step,
                    action,
                    kind: window.kind,
                    fault: fault.clone(),
                    nodes: vec![NodeId(window.node)],
                    detail: detail.to_owned(),
                }));
            }
        }
    }
}

struct Call {
    process: u32,
    node: u16,
    key: String,
    write: Option<i64>,
    output: Value,
}

/// Process, node, written, read, from and to in microseconds.
type Timed = (u32, u16, Option<i64>, Option<i64>, u64, u64);

/// What makes the stale read.
const SPECIAL: [Timed; 3] = [
    (7, 2, Some(1844), None, 23_829_000, 23_832_400),
    (4, 2, Some(1131), None, 26_264_000, 26_268_000),
    (0, 1, None, Some(1844), 26_481_000, 26_483_600),
];
