//! Goal: the state machine answers like an obvious one.
//! Method: random requests to both, every answer compared. The model is a list of changes, `(revision, key, value)`;
//! the state at a revision is found by going through the list from the start, each time.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tribunal_proto::etcdserverpb::compare::TargetUnion;
use tribunal_proto::etcdserverpb::request_op::Request as Op;
use tribunal_proto::etcdserverpb::response_op::Response;
use tribunal_proto::etcdserverpb::{
    CompactionResponse, Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use tribunal_proto::mvccpb::KeyValue;
use tribunal_proto::peer::{Command, command, command_reply};
use tribunal_store::kv::{Kv, KvError, is_read_only};
use tribunal_store::service::validate;

mod requests;

use requests::Call;

/// About as many as 40 requests make.
const REVISIONS: i64 = 30;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        // The same cases each time.
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn answers_are_those_of_the_model(calls in vec(requests::call(REVISIONS), 1..40)) {
        let (mut kv, mut model) = (Kv::new(), Model { changes: Vec::new(), revision: 1, compacted: -1 });
        for call in calls {
            step(&mut kv, &mut model, call)?;
            prop_assert_eq!(kv.revision().0, model.revision);
        }
        for revision in 1..=model.revision {
            let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..RangeRequest::default() };
            prop_assert_eq!(kv.range(&all), model.range(&all, model.revision), "at {}", revision);
        }
        let copy = Kv::decode(kv.encode()).expect("decodes");
        prop_assert_eq!(copy.encode(), kv.encode());
        for revision in 1..=model.revision {
            let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..RangeRequest::default() };
            prop_assert_eq!(copy.range(&all), kv.range(&all), "a copy at {}", revision);
        }
    }
}

fn step(kv: &mut Kv, model: &mut Model, call: Call) -> Result<(), TestCaseError> {
    let request = match call {
        Call::Range(request) => {
            prop_assert_eq!(
                kv.range(&request),
                model.range(&request, model.revision),
                "{:?}",
                request
            );
            return Ok(());
        }
        Call::Txn(request) if validate::txn(&request).is_err() => return Ok(()),
        Call::Txn(request) => {
            if is_read_only(&request) {
                prop_assert_eq!(kv.read_txn(&request), model.clone().txn(&request), "{:?}", request);
            }
            command::Request::Txn(request)
        }
        Call::Put(request) => command::Request::Put(request),
        Call::DeleteRange(request) => command::Request::DeleteRange(request),
        Call::Compact(request) => command::Request::Compact(request),
    };
    let expected = match &request {
        command::Request::Put(request) => model.check(request, &model.now()).map(|()| {
            let response = model.put(request, model.revision + 1);
            model.revision += 1;
            command_reply::Response::Put(response)
        }),
        command::Request::DeleteRange(request) => {
            let response = model.delete(request, model.revision, model.revision + 1);
            model.revision += i64::from(response.deleted > 0);
            Ok(command_reply::Response::DeleteRange(response))
        }
        command::Request::Txn(request) => model.txn(request).map(command_reply::Response::Txn),
        command::Request::Compact(request) => model.compact(request.revision).map(command_reply::Response::Compact),
    };
    let expected = expected.unwrap_or_else(|error| command_reply::Response::Error(error.into()));
    let reply = kv.apply(&Command {
        operation: 0,
        request: Some(request.clone()),
    });
    prop_assert_eq!(reply.response, Some(expected), "{:?}", request);
    Ok(())
}

type State = BTreeMap<Bytes, KeyValue>;

#[derive(Clone)]
struct Model {
    changes: Vec<(i64, Bytes, Option<Bytes>)>,
    revision: i64,
    /// What came before is not told any more.
    compacted: i64,
}

impl Model {
    fn at(&self, revision: i64) -> State {
        let mut state = State::new();
        for (main, key, value) in self.changes.iter().filter(|(main, ..)| *main <= revision) {
            match value {
                None => drop(state.remove(key)),
                Some(value) => {
                    let fresh = KeyValue {
                        key: key.clone(),
                        create_revision: *main,
                        ..KeyValue::default()
                    };
                    let kv = state.entry(key.clone()).or_insert(fresh);
                    kv.version += 1;
                    kv.mod_revision = *main;
                    kv.value = value.clone();
                }
            }
        }
        state
    }

    fn now(&self) -> State {
        self.at(self.revision)
    }

    fn compact(&mut self, revision: i64) -> Result<CompactionResponse, KvError> {
        if revision <= self.compacted {
            return Err(KvError::Compacted);
        }
        if revision > self.revision {
            return Err(KvError::FutureRevision);
        }
        self.compacted = revision;
        Ok(CompactionResponse {
            header: header(self.revision),
        })
    }

    fn range(&self, request: &RangeRequest, current: i64) -> Result<RangeResponse, KvError> {
        if request.revision > current {
            return Err(KvError::FutureRevision);
        }
        let revision = if request.revision <= 0 {
            current
        } else {
            request.revision
        };
        if revision < self.compacted {
            return Err(KvError::Compacted);
        }
        let state = self.at(revision);
        let mut kvs = inside(&state, &request.key, &request.range_end);
        let count = kvs.len() as i64;
        let limit = if request.limit <= 0 {
            usize::MAX
        } else {
            request.limit as usize
        };
        if request.sort_order == 0 && kvs.len() > limit && unfiltered(request) {
            kvs.truncate(limit + 1);
        }
        if request.min_mod_revision != 0 {
            kvs.retain(|kv| kv.mod_revision >= request.min_mod_revision);
        }
        if request.max_mod_revision != 0 {
            kvs.retain(|kv| kv.mod_revision <= request.max_mod_revision);
        }
        if request.min_create_revision != 0 {
            kvs.retain(|kv| kv.create_revision >= request.min_create_revision);
        }
        if request.max_create_revision != 0 {
            kvs.retain(|kv| kv.create_revision <= request.max_create_revision);
        }
        let rank = |kv: &KeyValue| match request.sort_target {
            1 => (kv.version, Bytes::new()),
            2 => (kv.create_revision, Bytes::new()),
            3 => (kv.mod_revision, Bytes::new()),
            4 => (0, kv.value.clone()),
            _ => (0, kv.key.clone()),
        };
        match request.sort_order {
            2 => kvs.sort_by_key(|kv| std::cmp::Reverse(rank(kv))),
            _ => kvs.sort_by_key(rank),
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        for kv in &mut kvs {
            if request.keys_only {
                kv.value.clear();
            }
        }
        let (kvs, more) = if request.count_only {
            (Vec::new(), false)
        } else {
            (kvs, more)
        };
        Ok(RangeResponse {
            header: header(current),
            kvs,
            more,
            count,
        })
    }

    fn check(&self, request: &PutRequest, state: &State) -> Result<(), KvError> {
        let absent = !state.contains_key(&request.key);
        if request.lease != 0 {
            return Err(KvError::LeaseNotFound);
        }
        if (request.ignore_value || request.ignore_lease) && absent {
            return Err(KvError::KeyNotFound);
        }
        Ok(())
    }

    fn put(&mut self, request: &PutRequest, main: i64) -> PutResponse {
        let old = self.at(main).remove(&request.key);
        let kept = old
            .as_ref()
            .filter(|_| request.ignore_value)
            .map(|old| old.value.clone());
        self.changes.push((
            main,
            request.key.clone(),
            Some(kept.unwrap_or_else(|| request.value.clone())),
        ));
        PutResponse {
            header: header(main),
            prev_kv: old.filter(|_| request.prev_kv),
        }
    }

    fn delete(&mut self, request: &DeleteRangeRequest, current: i64, main: i64) -> DeleteRangeResponse {
        let kvs = inside(&self.at(main), &request.key, &request.range_end);
        let deleted = kvs.len() as i64;
        self.changes.extend(kvs.iter().map(|kv| (main, kv.key.clone(), None)));
        let header = header(if deleted > 0 { main } else { current });
        DeleteRangeResponse {
            header,
            deleted,
            prev_kvs: if request.prev_kv { kvs } else { Vec::new() },
        }
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, KvError> {
        let before = self.clone();
        let (length, state) = (self.changes.len(), self.now());
        // etcd checks all puts before all ranges.
        before.check_all(request, &state, &|operation| match operation {
            Op::RequestPut(put) if (put.ignore_value || put.ignore_lease) && !state.contains_key(&put.key) => {
                Err(KvError::KeyNotFound)
            }
            Op::RequestPut(put) if put.lease != 0 => Err(KvError::LeaseNotFound),
            _ => Ok(()),
        })?;
        before.check_all(request, &state, &|operation| match operation {
            Op::RequestRange(range) if range.revision > before.revision => Err(KvError::FutureRevision),
            Op::RequestRange(range) if range.revision != 0 && range.revision < before.compacted => {
                Err(KvError::Compacted)
            }
            _ => Ok(()),
        })?;
        let mut response = self.execute(request, &state, length);
        self.revision += i64::from(self.changes.len() > length);
        response.header = header(self.revision);
        Ok(response)
    }

    fn check_all(
        &self,
        request: &TxnRequest,
        state: &State,
        check: &dyn Fn(&Op) -> Result<(), KvError>,
    ) -> Result<(), KvError> {
        branch(request, state)
            .1
            .iter()
            .try_for_each(|operation| match &operation.request {
                Some(Op::RequestTxn(nested)) => self.check_all(nested, state, check),
                Some(operation) => check(operation),
                None => Ok(()),
            })
    }

    fn execute(&mut self, request: &TxnRequest, before: &State, length: usize) -> TxnResponse {
        let (succeeded, operations) = branch(request, before);
        let mut responses = Vec::new();
        for operation in operations {
            let main = self.revision + 1;
            let current = self.revision + i64::from(self.changes.len() > length);
            let response = operation.request.as_ref().map(|operation| match operation {
                Op::RequestRange(range) => Response::ResponseRange(self.range(range, current).expect("was checked")),
                Op::RequestPut(put) => Response::ResponsePut(self.put(put, main)),
                Op::RequestDeleteRange(delete) => Response::ResponseDeleteRange(self.delete(delete, current, main)),
                Op::RequestTxn(nested) => Response::ResponseTxn(self.execute(nested, before, length)),
            });
            responses.push(ResponseOp { response });
        }
        TxnResponse {
            header: header(0),
            succeeded,
            responses,
        }
    }
}

fn branch<'a>(request: &'a TxnRequest, state: &State) -> (bool, &'a [RequestOp]) {
    let succeeded = request.compare.iter().all(|condition| holds(condition, state));
    (succeeded, if succeeded { &request.success } else { &request.failure })
}

fn holds(condition: &Compare, state: &State) -> bool {
    let mut kvs = inside(state, &condition.key, &condition.range_end);
    if kvs.is_empty() {
        if condition.target == 3 {
            return false;
        }
        kvs.push(KeyValue::default());
    }
    kvs.iter().all(|kv| {
        let operand = match (condition.target, &condition.target_union) {
            (0, Some(TargetUnion::Version(operand))) => *operand,
            (1, Some(TargetUnion::CreateRevision(operand))) => *operand,
            (2, Some(TargetUnion::ModRevision(operand))) => *operand,
            (4, Some(TargetUnion::Lease(operand))) => *operand,
            _ => 0,
        };
        let ordering = match (condition.target, &condition.target_union) {
            (0, _) => kv.version.cmp(&operand),
            (1, _) => kv.create_revision.cmp(&operand),
            (2, _) => kv.mod_revision.cmp(&operand),
            (4, _) => kv.lease.cmp(&operand),
            (_, Some(TargetUnion::Value(operand))) => kv.value.cmp(operand),
            _ => kv.value.cmp(&Bytes::new()),
        };
        [ordering.is_eq(), ordering.is_gt(), ordering.is_lt(), ordering.is_ne()][condition.result as usize]
    })
}

fn inside(state: &State, key: &Bytes, end: &Bytes) -> Vec<KeyValue> {
    let member = |candidate: &Bytes| match &end[..] {
        b"" => candidate == key,
        b"\0" => candidate >= key,
        _ => candidate >= key && candidate < end,
    };
    state.values().filter(|kv| member(&kv.key)).cloned().collect()
}

fn unfiltered(request: &RangeRequest) -> bool {
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    bounds == [0; 4]
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}
