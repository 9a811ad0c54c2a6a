//! The drivers against a node that behaves as it is told, in virtual time: every request is one recorded operation,
//! with the ending that it deserves, under a process of its own.
#![expect(clippy::disallowed_methods, reason = "tests run in tokio's paused time")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use support::World;
use tribunal_history::event::{Completion as Ended, Invocation};
use tribunal_history::operation::pair;
use tribunal_history::{
    CauseCode, Ending, Event, MemberId, NodeId, Operation, Outcome, ProcessId, Revision, Seq, Term, Value,
};
use tribunal_proto::etcdserverpb as pb;
use tribunal_proto::mvccpb;
use tribunal_workload::{
    Call, Client, ClientReport, Completion, Failure, Generator as _, Lane, NodeProgress, NodeReads, Recorder, Register,
    RegisterSettings, Response, Settings, Worker, final_reads, liveness, progress_property, work,
};

const NODE: NodeId = NodeId(2);

/// Writes a history with virtual times.
#[derive(Clone)]
struct History {
    world: World,
    events: Arc<Mutex<Vec<Event>>>,
    processes: Arc<AtomicU64>,
}

impl History {
    fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            events: Arc::default(),
            processes: Arc::default(),
        }
    }

    fn add(&self, make: impl FnOnce(Seq, u64) -> Event) {
        let mut events = self.events.lock().expect("not poisoned");
        let event = make(Seq(events.len() as u64), self.world.now().as_nanos() as u64);
        events.push(event);
    }

    /// The operations; a history that contradicts itself fails the test.
    fn operations(&self) -> Vec<Operation> {
        let events = self.events.lock().expect("not poisoned");
        pair(events.iter()).expect("each process has one operation at a time")
    }
}

impl Recorder for History {
    fn invoked(&self, process: ProcessId, node: NodeId, function: &str, input: &Value) {
        self.add(|seq, time_ns| {
            Event::Invoke(Invocation {
                seq,
                time_ns,
                process,
                node,
                function: function.to_owned(),
                input: input.clone(),
            })
        });
    }

    fn completed(&self, process: ProcessId, completion: &Completion) {
        let ended = |seq, time_ns| Ended {
            seq,
            time_ns,
            process,
            output: Value::Null,
            revision: None,
            term: None,
            member: None,
            cause: None,
        };
        self.add(|seq, time_ns| match completion.clone() {
            Completion::Ok(reply) => Event::Ok(Ended {
                output: reply.output,
                revision: reply.revision,
                term: reply.term,
                member: reply.member,
                ..ended(seq, time_ns)
            }),
            Completion::Fail(cause) => Event::Fail(Ended {
                cause: Some(cause),
                ..ended(seq, time_ns)
            }),
            Completion::Info(cause) => Event::Info(Ended {
                cause: Some(cause),
                ..ended(seq, time_ns)
            }),
        });
    }

    fn new_process(&self) -> ProcessId {
        ProcessId(self.processes.fetch_add(1, Ordering::Relaxed) as u32)
    }
}

/// What the node does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// Answers after 10 ms.
    Healthy,
    /// Cannot be reached: dialling is refused.
    Down,
    /// Accepts connections and answers nothing; the client's deadline passes.
    Silent,
    /// As `Silent`, and the client forgets its deadline.
    SilentForEver,
    /// Breaks the connection after a request.
    Breaking,
    /// Answers with an empty answer of another kind.
    Nonsense,
    /// Refuses before proposing.
    Overloaded,
}

/// A node that holds keys, and a client of it.
struct Fake {
    world: World,
    /// From when on it does what, in order of time.
    habits: Vec<(Duration, Habit)>,
    /// Keys that it refuses to read.
    sick_keys: BTreeSet<Bytes>,
    store: BTreeMap<Bytes, Bytes>,
    revision: i64,
    connected: bool,
    calls: Arc<AtomicU64>,
}

impl Fake {
    fn new(world: &World, habits: &[(u64, Habit)]) -> Self {
        Self {
            world: world.clone(),
            habits: habits
                .iter()
                .map(|(ms, habit)| (Duration::from_millis(*ms), *habit))
                .collect(),
            sick_keys: BTreeSet::new(),
            store: BTreeMap::new(),
            revision: 1,
            connected: false,
            calls: Arc::default(),
        }
    }

    fn habit(&self) -> Habit {
        let now = self.world.now();
        let past = self.habits.iter().rev().find(|(since, _)| *since <= now);
        past.map_or(Habit::Healthy, |(_, habit)| *habit)
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: 1,
            member_id: 0xabc,
            revision: self.revision,
            raft_term: 3,
        })
    }

    fn range(&self, key: &Bytes) -> pb::RangeResponse {
        let held = self.store.get(key).map(|value| mvccpb::KeyValue {
            key: key.clone(),
            value: value.clone(),
            ..mvccpb::KeyValue::default()
        });
        pb::RangeResponse {
            header: self.header(),
            count: held.iter().count() as i64,
            kvs: held.into_iter().collect(),
            ..pb::RangeResponse::default()
        }
    }

    fn put(&mut self, put: &pb::PutRequest) -> pb::PutResponse {
        self.revision += 1;
        self.store.insert(put.key.clone(), put.value.clone());
        pb::PutResponse {
            header: self.header(),
            ..pb::PutResponse::default()
        }
    }

    fn answer(&mut self, call: Call) -> Result<Response, Failure> {
        match call {
            Call::Range(range) if self.sick_keys.contains(&range.key) => Err(Failure::Status {
                code: 14,
                message: "etcdserver: no leader".to_owned(),
                local: false,
            }),
            Call::Range(range) => Ok(Response::Range(self.range(&range.key))),
            Call::Put(put) => Ok(Response::Put(self.put(&put))),
            Call::DeleteRange(_) => panic!("no register is deleted"),
            Call::Txn(txn) => {
                use pb::compare::TargetUnion;
                use pb::request_op::Request;
                use pb::response_op::Response as Part;
                let compare = &txn.compare[0];
                let held = self.store.get(&compare.key);
                let succeeded = match &compare.target_union {
                    Some(TargetUnion::Value(value)) => held == Some(value),
                    Some(TargetUnion::CreateRevision(0)) => held.is_none(),
                    other => panic!("no register compares {other:?}"),
                };
                let branch = if succeeded { &txn.success } else { &txn.failure };
                let part = match &branch[0].request {
                    Some(Request::RequestPut(put)) => Part::ResponsePut(self.put(put)),
                    Some(Request::RequestRange(range)) => Part::ResponseRange(self.range(&range.key)),
                    other => panic!("no register asks for {other:?}"),
                };
                Ok(Response::Txn(pb::TxnResponse {
                    header: self.header(),
                    succeeded,
                    responses: vec![pb::ResponseOp { response: Some(part) }],
                }))
            }
        }
    }
}

impl Client for Fake {
    fn node(&self) -> NodeId {
        NODE
    }

    async fn connect(&mut self, _within: Duration) -> Result<(), Failure> {
        if self.habit() == Habit::Down {
            self.connected = false;
            return Err(Failure::NotSent("connection refused".to_owned()));
        }
        self.connected = true;
        Ok(())
    }

    async fn call(&mut self, call: Call, within: Duration) -> Result<Response, Failure> {
        assert!(self.connected, "an operation starts on an established connection");
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.habit() {
            Habit::Healthy => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                self.answer(call)
            }
            Habit::Down => Err(Failure::NotSent("connection refused".to_owned())),
            Habit::Silent => {
                tokio::time::sleep(within).await;
                Err(Failure::Deadline)
            }
            Habit::SilentForEver => pending().await,
            Habit::Breaking => Err(Failure::Broken("connection reset by peer".to_owned())),
            Habit::Nonsense => Ok(Response::DeleteRange(pb::DeleteRangeResponse::default())),
            Habit::Overloaded => Err(Failure::Status {
                code: 8,
                message: "etcdserver: too many requests".to_owned(),
                local: false,
            }),
        }
    }
}

const LANE: Lane = Lane { index: 0, count: 2 };

/// Ten operations a second.
fn settings() -> Settings {
    Settings::at_rate(10.0, 1)
}

/// Lets one client work on a node with these habits for `seconds`; stops it after `stop_ms`, if given.
fn run_work(seed: u64, habits: &[(u64, Habit)], seconds: u64, stop_ms: Option<u64>) -> (ClientReport, Vec<Operation>) {
    support::run(async {
        let world = World::new(seed);
        let history = History::new(&world);
        let mut client = Fake::new(&world, habits);
        let calls = client.calls.clone();
        let stop = Arc::new(AtomicBool::new(false));
        if let Some(ms) = stop_ms {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                stop.store(true, Ordering::Relaxed);
            });
        }
        let worker = Worker {
            env: &world,
            client: &mut client,
            recorder: &history,
            process: history.new_process(),
            lane: LANE,
            settings: settings(),
            stop: &stop,
            kept: None,
        };
        let mut register = Register::new(RegisterSettings::default(), LANE);
        let report = work(worker, &mut register, Duration::from_secs(seconds)).await;
        let operations = history.operations();
        assert_eq!(
            operations.len() as u64,
            calls.load(Ordering::Relaxed),
            "one request for each operation: nothing is retried"
        );
        let ended = |ending| operations.iter().filter(|operation| operation.ending == ending).count() as u64;
        assert_eq!(
            (report.counts.ok, report.counts.fail, report.counts.info),
            (ended(Ending::Ok), ended(Ending::Fail), ended(Ending::Info))
        );
        (report, operations)
    })
}

#[test]
fn a_healthy_node_is_worked_on_at_the_rate_that_was_asked_for() {
    let (report, operations) = run_work(1, &[], 60, None);
    assert!(
        (500..700).contains(&operations.len()),
        "{} operations",
        operations.len()
    );
    assert_eq!(report.counts.ok, operations.len() as u64);
    assert_eq!((report.processes, report.connects_failed), (1, 0));
    assert_eq!(report.keys.len(), 10);
    let functions: BTreeSet<&str> = operations.iter().map(|operation| operation.function.as_str()).collect();
    assert_eq!(functions, ["cas", "read", "write"].into());
    let swapped = |operation: &Operation| operation.output.get("swapped").and_then(Value::as_bool);
    assert!(operations.iter().any(|operation| swapped(operation) == Some(true)));
    for operation in &operations {
        assert_eq!(operation.node, NODE);
        assert_eq!(
            (operation.term, operation.member),
            (Some(Term(3)), Some(MemberId(0xabc)))
        );
        assert!(operation.revision >= Some(Revision(1)));
    }
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_seed_another() {
    let history = |seed| run_work(seed, &[(5_000, Habit::Silent), (9_000, Habit::Healthy)], 20, None).1;
    assert_eq!(history(4), history(4));
    assert_ne!(history(4), history(5));
}

#[test]
fn an_operation_in_doubt_retires_its_process_and_a_failed_read_does_not() {
    let (report, operations) = run_work(2, &[(1_000, Habit::Silent)], 20, None);
    let mut processes = BTreeSet::new();
    let mut previous: Option<&Operation> = None;
    for operation in &operations {
        let goes_on = previous.is_some_and(|previous| previous.ending != Ending::Info);
        assert_eq!(
            processes.insert(operation.process),
            !goes_on,
            "{operation:?} after {previous:?}"
        );
        match (operation.ending, operation.function.as_str()) {
            (Ending::Ok, _) => {}
            (Ending::Fail, "read") | (Ending::Info, "write" | "cas") => {
                let cause = operation.cause.as_ref().expect("a reason");
                assert_eq!(cause.code, CauseCode::Timeout);
                let took = operation.completed_ns.expect("completed") - operation.invoked_ns;
                assert_eq!(took, Settings::OPERATION_TIMEOUT.as_nanos() as u64);
            }
            other => panic!("{other:?}: {operation:?}"),
        }
        previous = Some(operation);
    }
    assert!(report.counts.info > 3 && report.counts.fail > 3, "{:?}", report.counts);
    assert_eq!(processes.len(), report.processes as usize);
}

#[test]
fn while_a_node_is_down_nothing_is_asked_and_afterwards_all_goes_on() {
    let (report, operations) = run_work(3, &[(2_000, Habit::Down), (6_000, Habit::Healthy)], 10, None);
    let at_ms = |operation: &Operation| operation.invoked_ns / 1_000_000;
    let refused: Vec<&Operation> = operations
        .iter()
        .filter(|operation| (2_000..6_000).contains(&at_ms(operation)))
        .collect();
    assert!(refused.is_empty(), "connecting is no operation: {refused:?}");
    assert_eq!(report.counts.total(), report.counts.ok);
    let attempts = report.connects_failed;
    assert!((10..80).contains(&attempts), "{attempts} attempts in four seconds");
    let back = operations
        .iter()
        .map(at_ms)
        .find(|ms| *ms >= 6_000)
        .expect("it goes on");
    assert!(back < 6_400, "back after {back} ms");
}

#[test]
fn a_client_that_forgets_its_deadline_does_not_hang_the_run() {
    let (report, operations) = run_work(4, &[(0, Habit::SilentForEver)], 5, None);
    assert!(report.counts.total() >= 3, "{:?}", report.counts);
    let codes: BTreeSet<CauseCode> = operations
        .iter()
        .filter_map(|operation| operation.cause.as_ref())
        .map(|cause| cause.code)
        .collect();
    assert_eq!(codes, [CauseCode::Timeout].into());
}

#[test]
fn nonsense_is_in_doubt_and_a_refusal_is_definite() {
    let (report, operations) = run_work(5, &[(0, Habit::Nonsense)], 5, None);
    assert_eq!(report.counts.info, operations.len() as u64);
    let cause = operations[0].cause.as_ref().expect("a reason");
    assert_eq!(cause.code, CauseCode::BadReply);
    assert!(cause.text.contains("of another kind"), "{}", cause.text);

    let (report, _) = run_work(5, &[(0, Habit::Overloaded)], 5, None);
    assert_eq!((report.counts.ok, report.counts.info), (0, 0));
    assert_eq!(report.processes, 1, "a definite failure retires nobody");
}

#[test]
fn a_connection_that_breaks_is_in_doubt_for_writes() {
    let (_, operations) = run_work(6, &[(0, Habit::Breaking)], 10, None);
    for operation in &operations {
        let expected = if operation.function == "read" {
            Ending::Fail
        } else {
            Ending::Info
        };
        assert_eq!(operation.ending, expected, "{operation:?}");
    }
}

#[test]
fn what_is_in_flight_when_the_time_is_over_is_awaited() {
    let (_, operations) = run_work(7, &[(0, Habit::Silent)], 10, None);
    let last = operations.last().expect("operations");
    assert!(last.completed.is_some());
    let latest = Duration::from_secs(10) + Settings::OPERATION_TIMEOUT;
    assert!(Duration::from_nanos(last.completed_ns.expect("completed")) <= latest);
}

#[test]
fn the_stop_flag_ends_the_work_at_once() {
    let (_, operations) = run_work(8, &[], 3600, Some(2_010));
    let last = operations.last().expect("operations");
    assert!(last.invoked_ns <= 2_010_000_000, "invoked at {} ns", last.invoked_ns);
    assert!(run_work(8, &[(0, Habit::Down)], 3600, Some(500)).1.is_empty());
}

fn run_liveness(habits: &[(u64, Habit)], bound: u64) -> (NodeProgress, Vec<Operation>) {
    support::run(async {
        let world = World::new(1);
        let history = History::new(&world);
        let mut client = Fake::new(&world, habits);
        let worker = Worker {
            env: &world,
            client: &mut client,
            recorder: &history,
            process: history.new_process(),
            lane: LANE,
            settings: settings(),
            stop: &AtomicBool::new(false),
            kept: None,
        };
        let mut register = Register::new(RegisterSettings::default(), LANE);
        let progress = liveness(worker, &mut register, Duration::from_secs(bound)).await;
        (progress, history.operations())
    })
}

#[test]
fn progress_is_one_write_and_one_read() {
    let (progress, operations) = run_liveness(&[], 10);
    assert_eq!(progress.write_after, Some(Duration::from_millis(10)));
    assert_eq!(progress.read_after, Some(Duration::from_millis(20)));
    let functions: Vec<&str> = operations.iter().map(|operation| operation.function.as_str()).collect();
    assert_eq!(functions, ["write", "read"]);
    let property = progress_property(&[progress], Duration::from_secs(10));
    assert_eq!(property.verdict, Outcome::Pass);
    assert_eq!(
        property.detail,
        "every node answered a write and a linearizable read within 0.02 s, n2 last"
    );
}

#[test]
fn progress_is_waited_for_with_operations_of_their_own() {
    let (progress, operations) = run_liveness(&[(0, Habit::Silent), (2_500, Habit::Healthy)], 10);
    let after = progress.read_after.expect("a read in the end");
    assert!(
        after > Duration::from_millis(2_500) && after < Duration::from_millis(4_000),
        "{after:?}"
    );
    let values: BTreeSet<&Value> = operations
        .iter()
        .filter(|operation| operation.function == "write")
        .filter_map(|operation| operation.input.get("value"))
        .collect();
    assert_eq!(values.len(), operations.len() - 1, "each attempt writes another value");
}

#[test]
fn a_node_that_never_answers_violates_progress_and_is_named() {
    let (progress, operations) = run_liveness(&[(0, Habit::Silent)], 5);
    assert_eq!((progress.write_after, progress.read_after), (None, None));
    assert!(operations.len() <= 6, "bounded: {}", operations.len());
    let property = progress_property(std::slice::from_ref(&progress), Duration::from_secs(5));
    assert_eq!(property.verdict, Outcome::Fail);
    assert_eq!(
        property.detail,
        "n2 answered neither a write nor a linearizable read within 5 s"
    );

    let stalled = NodeProgress {
        stall: Duration::from_secs(2),
        ..progress
    };
    let property = progress_property(&[stalled], Duration::from_secs(5));
    assert_eq!(property.verdict, Outcome::Unknown);
    assert!(property.detail.ends_with("but Tribunal itself was stalled for 2.0 s"));
    assert_eq!(progress_property(&[], Duration::from_secs(5)).verdict, Outcome::Vacuous);
}

fn run_final_reads(habits: &[(u64, Habit)], sick: &[&str]) -> (NodeReads, Vec<Operation>) {
    support::run(async {
        let world = World::new(1);
        let history = History::new(&world);
        let mut client = Fake::new(&world, habits);
        client.sick_keys = sick.iter().map(|key| Bytes::from(format!("/register/{key}"))).collect();
        client.store.insert("/register/k1".into(), "41".into());
        let worker = Worker {
            env: &world,
            client: &mut client,
            recorder: &history,
            process: history.new_process(),
            lane: LANE,
            settings: settings(),
            stop: &AtomicBool::new(false),
            kept: None,
        };
        let mut register = Register::new(RegisterSettings::default(), LANE);
        let keys: BTreeSet<String> = register.keys().into_iter().collect();
        let reads = final_reads(worker, &mut register, &keys, Duration::from_secs(5)).await;
        (reads, history.operations())
    })
}

#[test]
fn every_key_is_read_once_at_the_end() {
    let (reads, operations) = run_final_reads(&[], &[]);
    assert_eq!((reads.node, reads.read.len(), reads.unread.len()), (NODE, 10, 0));
    assert_eq!(operations.len(), 10);
    let k1 = operations
        .iter()
        .find(|operation| operation.input.get("key") == Some(&"k1".into()))
        .expect("k1 is read");
    assert_eq!(k1.output, Value::Int(41));
}

#[test]
fn final_reads_wait_for_the_node_and_not_for_one_key() {
    let (reads, operations) = run_final_reads(&[(0, Habit::Down), (1_000, Habit::Healthy)], &["k3"]);
    assert_eq!(reads.read.len(), 9);
    assert_eq!(reads.unread, ["k3".to_owned()].into());
    let of_k3 = |operation: &&Operation| operation.input.get("key") == Some(&"k3".into());
    let attempts = operations.iter().filter(of_k3).count();
    assert!((10..60).contains(&attempts), "{attempts} attempts within five seconds");
    assert_eq!(operations.len(), 9 + attempts, "what was read ok is not read again");
}
