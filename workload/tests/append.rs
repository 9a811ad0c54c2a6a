//! Transactions of two requests against a node that behaves as it is told, in virtual time: what is recorded of them.
#![expect(clippy::disallowed_methods, reason = "tests run in tokio's paused time")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use support::World;
use tribunal_history::{CauseCode, NodeId, ProcessId, Value};
use tribunal_proto::etcdserverpb as pb;
use tribunal_proto::mvccpb;
use tribunal_workload::{
    Append, AppendSettings, Call, Client, Completion, Failure, Lane, Recorder, Response, Settings, Worker, work,
};

/// Remembers inputs and endings.
#[derive(Clone, Default)]
struct Memory {
    open: Arc<Mutex<BTreeMap<ProcessId, Value>>>,
    ended: Arc<Mutex<Vec<(Value, Completion)>>>,
}

impl Recorder for Memory {
    fn invoked(&self, process: ProcessId, _node: NodeId, function: &str, input: &Value) {
        assert_eq!(function, "txn");
        let before = self.open.lock().expect("not poisoned").insert(process, input.clone());
        assert_eq!(before, None, "one at a time");
    }

    fn completed(&self, process: ProcessId, completion: &Completion) {
        let input = self
            .open
            .lock()
            .expect("not poisoned")
            .remove(&process)
            .expect("invoked");
        self.ended
            .lock()
            .expect("not poisoned")
            .push((input, completion.clone()));
    }

    fn new_process(&self) -> ProcessId {
        ProcessId(self.ended.lock().expect("not poisoned").len() as u32)
    }
}

/// How the node treats what puts.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Healthy,
    /// Does it and does not answer.
    Silent,
    /// Somebody else changed the keys right before.
    Contended,
}

/// A node that holds keys with their mod revisions, and a client of it.
struct Fake {
    habit: Habit,
    store: BTreeMap<Bytes, (Bytes, i64)>,
    revision: i64,
}

impl Fake {
    fn range(&self, key: &Bytes) -> pb::RangeResponse {
        let kvs = self.store.get(key).map(|(value, mod_revision)| mvccpb::KeyValue {
            key: key.clone(),
            value: value.clone(),
            mod_revision: *mod_revision,
            ..mvccpb::KeyValue::default()
        });
        pb::RangeResponse {
            kvs: kvs.into_iter().collect(),
            ..pb::RangeResponse::default()
        }
    }

    fn txn(&mut self, txn: &pb::TxnRequest) -> pb::TxnResponse {
        use pb::request_op::Request;
        use pb::response_op::Response as Part;
        let succeeded = txn.compare.iter().all(|compare| {
            let held = self.store.get(&compare.key).map_or(0, |(_, revision)| *revision);
            compare.target_union == Some(pb::compare::TargetUnion::ModRevision(held))
        });
        let branch = if succeeded { &txn.success } else { &txn.failure };
        self.revision += 1;
        let responses = branch.iter().map(|op| pb::ResponseOp {
            response: Some(match &op.request {
                Some(Request::RequestPut(put)) => {
                    self.store.insert(put.key.clone(), (put.value.clone(), self.revision));
                    Part::ResponsePut(pb::PutResponse::default())
                }
                Some(Request::RequestRange(range)) => Part::ResponseRange(self.range(&range.key)),
                other => panic!("no list asks for {other:?}"),
            }),
        });
        let responses = responses.collect();
        pb::TxnResponse {
            succeeded,
            responses,
            ..pb::TxnResponse::default()
        }
    }
}

impl Client for Fake {
    fn node(&self) -> NodeId {
        NodeId(1)
    }

    async fn connect(&mut self, _within: Duration) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&mut self, call: Call, within: Duration) -> Result<Response, Failure> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let txn = match call {
            Call::Range(range) => return Ok(Response::Range(self.range(&range.key))),
            Call::Txn(txn) => txn,
            other => panic!("no list asks for {other:?}"),
        };
        if !txn.compare.is_empty() && self.habit == Habit::Contended {
            for compare in &txn.compare {
                self.revision += 1;
                self.store.insert(compare.key.clone(), ("0".into(), self.revision));
            }
        }
        let answer = self.txn(&txn);
        if !txn.compare.is_empty() && self.habit == Habit::Silent {
            tokio::time::sleep(within).await;
            return Err(Failure::Deadline);
        }
        Ok(Response::Txn(answer))
    }
}

/// What is recorded of ten seconds of work on such a node.
fn worked(habit: Habit) -> Vec<(Value, Completion)> {
    support::run(async {
        let world = World::new(7);
        let memory = Memory::default();
        let mut client = Fake {
            habit,
            store: BTreeMap::new(),
            revision: 1,
        };
        let stop = AtomicBool::new(false);
        let lane = Lane { index: 0, count: 1 };
        let worker = Worker {
            env: &world,
            client: &mut client,
            recorder: &memory,
            process: ProcessId(1_000_000),
            lane,
            settings: Settings::at_rate(20.0, 1),
            stop: &stop,
            kept: None,
        };
        let mut append = Append::new(AppendSettings::default(), lane);
        let report = work(worker, &mut append, Duration::from_secs(10)).await;
        assert!(
            world.now() <= Duration::from_secs(12),
            "all its requests share one deadline"
        );
        let ended = memory.ended.lock().expect("not poisoned").clone();
        assert_eq!(report.counts.total(), ended.len() as u64);
        assert!(ended.len() > 10 && report.keys.len() > 5, "{report:?}");
        ended
    })
}

fn steps(value: &Value) -> Vec<(bool, String, Value)> {
    let Value::List(steps) = value else { panic!("{value}") };
    let of = |step: &Value| match step {
        Value::List(parts) => {
            let [function, key, value] = parts.as_slice() else {
                panic!("{step}")
            };
            (function.as_text() == Some("append"), key.to_string(), value.clone())
        }
        other => panic!("{other}"),
    };
    steps.iter().map(of).collect()
}

fn appends(input: &Value) -> bool {
    steps(input).iter().any(|(appends, ..)| *appends)
}

#[test]
fn one_client_alone_reads_what_it_appended() {
    let mut lists: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (input, completion) in worked(Habit::Healthy) {
        let Completion::Ok(reply) = completion else {
            panic!("{completion:?}")
        };
        assert_eq!(steps(&input).len(), steps(&reply.output).len());
        for (is_append, key, value) in steps(&reply.output) {
            let list = lists.entry(key).or_default();
            if is_append {
                list.push(value);
            } else {
                assert_eq!(value, Value::List(list.clone()));
            }
        }
    }
    assert!(lists.values().any(|list| list.len() > 3), "{lists:?}");
}

#[test]
fn a_put_without_an_answer_is_in_doubt_and_a_read_is_not() {
    for (input, completion) in worked(Habit::Silent) {
        match completion {
            Completion::Ok(_) => assert!(!appends(&input)),
            Completion::Info(cause) => {
                assert!(appends(&input));
                assert_eq!(cause.code, CauseCode::Timeout);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_that_finds_its_keys_changed_each_time_fails() {
    for (input, completion) in worked(Habit::Contended) {
        match completion {
            Completion::Ok(_) => assert!(!appends(&input)),
            Completion::Fail(cause) => {
                assert!(appends(&input));
                assert_eq!(cause.code, CauseCode::Conflict);
                assert!(cause.text.contains("3 attempts"), "{}", cause.text);
            }
            other => panic!("{other:?}"),
        }
    }
}
