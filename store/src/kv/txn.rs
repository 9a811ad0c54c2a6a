//! Changes, alone and several at once.
//!
//! A transaction is planned first: its conditions, and those of transactions nested in it, are decided against
//! the state before any of its changes, and each operation of the branches that were chosen is checked. Only then
//! it is executed, which cannot fail. So a transaction that is refused changes nothing.
//!
//! Source: etcd, `Txn`, `compareToPath`, `checkRequests` and `applyTxn` in `server/etcdserver/apply`.

use std::cmp::Ordering;

use bytes::Bytes;
use tribunal_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use tribunal_proto::etcdserverpb::request_op::Request;
use tribunal_proto::etcdserverpb::response_op::Response;
use tribunal_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RequestOp, ResponseHeader,
    ResponseOp, TxnRequest, TxnResponse,
};

use super::history::Version;
use super::range::{self, KeyRange};
use super::{Kv, KvError};

/// Whether a transaction has only ranges in both branches, and so needs no log entry. One with a nested
/// transaction counts as writing, as in etcd.
pub fn is_read_only(txn: &TxnRequest) -> bool {
    let mut operations = txn.success.iter().chain(&txn.failure);
    operations.all(|operation| matches!(operation.request, Some(Request::RequestRange(_))))
}

/// Whether all conditions hold.
pub(super) fn conditions_hold(kv: &Kv, request: &TxnRequest) -> bool {
    request.compare.iter().all(|condition| holds(kv, condition))
}

/// A transaction whose conditions are decided.
pub(super) struct Plan<'r> {
    succeeded: bool,
    steps: Vec<Step<'r>>,
}

enum Step<'r> {
    Range(&'r RangeRequest),
    Put(&'r PutRequest),
    DeleteRange(&'r DeleteRangeRequest),
    Txn(Plan<'r>),
    /// An operation without a request; it has an answer without a response.
    Nothing,
}

impl<'r> Plan<'r> {
    /// Decides the conditions and checks the operations.
    pub fn new(kv: &Kv, request: &'r TxnRequest) -> Result<Self, KvError> {
        let plan = Self::decide(kv, request);
        plan.check_puts(kv)?;
        plan.check_ranges(kv)?;
        Ok(plan)
    }

    fn decide(kv: &Kv, request: &'r TxnRequest) -> Self {
        let succeeded = conditions_hold(kv, request);
        let operations = if succeeded { &request.success } else { &request.failure };
        let step = |operation: &'r RequestOp| match &operation.request {
            Some(Request::RequestRange(request)) => Step::Range(request),
            Some(Request::RequestPut(request)) => Step::Put(request),
            Some(Request::RequestDeleteRange(request)) => Step::DeleteRange(request),
            Some(Request::RequestTxn(request)) => Step::Txn(Self::decide(kv, request)),
            None => Step::Nothing,
        };
        Self {
            succeeded,
            steps: operations.iter().map(step).collect(),
        }
    }

    fn check_puts(&self, kv: &Kv) -> Result<(), KvError> {
        for step in &self.steps {
            match step {
                Step::Put(request) => {
                    kv.check_kept(request)?;
                    kv.check_lease(request.lease)?;
                }
                Step::Txn(plan) => plan.check_puts(kv)?,
                Step::Range(_) | Step::DeleteRange(_) | Step::Nothing => {}
            }
        }
        Ok(())
    }

    /// A range sees revisions up to the newest one before the transaction, not the one that it makes.
    fn check_ranges(&self, kv: &Kv) -> Result<(), KvError> {
        for step in &self.steps {
            match step {
                Step::Range(request) if request.revision > kv.revision => return Err(KvError::FutureRevision),
                Step::Range(request) if request.revision != 0 && request.revision < kv.compacted => {
                    return Err(KvError::Compacted);
                }
                Step::Txn(plan) => plan.check_ranges(kv)?,
                Step::Range(_) | Step::Put(_) | Step::DeleteRange(_) | Step::Nothing => {}
            }
        }
        Ok(())
    }

    /// The answer of a transaction that only reads.
    pub fn read(&self, kv: &Kv) -> Result<TxnResponse, KvError> {
        let mut responses = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let Step::Range(request) = step else {
                panic!("a transaction that only reads has only ranges")
            };
            let response = Response::ResponseRange(range::range(kv, request, kv.revision)?);
            responses.push(ResponseOp {
                response: Some(response),
            });
        }
        Ok(TxnResponse {
            header: header(kv.revision),
            succeeded: self.succeeded,
            responses,
        })
    }
}

/// Changes that become one revision.
pub(super) struct Transaction<'a> {
    kv: &'a mut Kv,
    /// Changes so far.
    changes: i64,
    before: i64,
}

impl<'a> Transaction<'a> {
    pub fn begin(kv: &'a mut Kv) -> Self {
        let before = kv.revision;
        Self { kv, changes: 0, before }
    }

    /// What a read within the transaction takes for the newest revision: with the first change it is the next one.
    fn current(&self) -> i64 {
        self.before + i64::from(self.changes > 0)
    }

    fn record(&mut self, key: &[u8], version: Version) {
        self.kv.record(key, version);
        self.changes += 1;
        self.kv.revision = self.before + 1;
    }

    pub fn execute(&mut self, plan: &Plan<'_>) -> TxnResponse {
        let responses = self.steps(plan);
        TxnResponse {
            header: header(self.current()),
            succeeded: plan.succeeded,
            responses,
        }
    }

    fn steps(&mut self, plan: &Plan<'_>) -> Vec<ResponseOp> {
        let step = |step: &Step<'_>| {
            let response = match step {
                Step::Range(request) => {
                    let response = range::range(self.kv, request, self.current());
                    Some(Response::ResponseRange(
                        response.expect("the plan has checked the revision"),
                    ))
                }
                Step::Put(request) => Some(Response::ResponsePut(self.put(request))),
                Step::DeleteRange(request) => Some(Response::ResponseDeleteRange(self.delete_range(request))),
                Step::Txn(plan) => {
                    // etcd leaves the revision of a nested answer empty.
                    let (header, responses) = (header(0), self.steps(plan));
                    Some(Response::ResponseTxn(TxnResponse {
                        header,
                        succeeded: plan.succeeded,
                        responses,
                    }))
                }
                Step::Nothing => None,
            };
            ResponseOp { response }
        };
        plan.steps.iter().map(step).collect()
    }

    pub fn put(&mut self, request: &PutRequest) -> PutResponse {
        let old = self.kv.version_at(&request.key, self.current());
        let prev_kv = old.filter(|_| request.prev_kv).map(|old| old.key_value(&request.key));
        // What is kept of an absent key is nothing: that is refused before, by `check_kept`.
        let value = match old {
            Some(old) if request.ignore_value => old.value.clone(),
            // The request's bytes are a part of the buffer that it came in; what stays does not hold on to that.
            _ => Bytes::copy_from_slice(&request.value),
        };
        let lease = if request.ignore_lease {
            old.map_or(0, |old| old.lease)
        } else {
            request.lease
        };
        let main = self.before + 1;
        let version = Version {
            main,
            sub: self.changes,
            create_revision: old.map_or(main, |old| old.create_revision),
            version: old.map_or(0, |old| old.version) + 1,
            lease,
            value,
        };
        self.record(&request.key, version);
        PutResponse {
            header: header(main),
            prev_kv,
        }
    }

    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let range = KeyRange::new(&request.key, &request.range_end);
        let (mut keys, mut prev_kvs) = (Vec::new(), Vec::new());
        for (key, version) in self.kv.select(range, self.current()) {
            keys.push(key.clone());
            if request.prev_kv {
                prev_kvs.push(version.key_value(key));
            }
        }
        for key in &keys {
            self.record(key, Version::deleted(self.before + 1, self.changes));
        }
        DeleteRangeResponse {
            header: header(self.current()),
            deleted: keys.len() as i64,
            prev_kvs,
        }
    }
}

impl Kv {
    /// A put that keeps value or lease needs a key.
    pub(super) fn check_kept(&self, request: &PutRequest) -> Result<(), KvError> {
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && self.version_at(&request.key, self.revision).is_none() {
            return Err(KvError::KeyNotFound);
        }
        Ok(())
    }

    /// There are no leases yet, so one that is named does not exist.
    pub(super) fn check_lease(&self, lease: i64) -> Result<(), KvError> {
        if lease == 0 {
            Ok(())
        } else {
            Err(KvError::LeaseNotFound)
        }
    }
}

/// Whether a condition holds for every key of its range. An absent key has version, revisions and lease 0; it has
/// no value, so no condition on a value holds for it.
fn holds(kv: &Kv, condition: &Compare) -> bool {
    let mut found = kv
        .select(KeyRange::new(&condition.key, &condition.range_end), kv.revision)
        .peekable();
    if found.peek().is_none() {
        let absent = Version::deleted(0, 0);
        return condition.target != CompareTarget::Value as i32 && compares(condition, &absent);
    }
    found.all(|(_, version)| compares(condition, version))
}

/// Compares one version. A number that stands for no target compares equal, one that stands for no result always
/// holds, and an operand of another kind counts as 0 or as the empty value: as etcd does.
fn compares(condition: &Compare, version: &Version) -> bool {
    let ordering = match (CompareTarget::try_from(condition.target), &condition.target_union) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(operand))) => version.version.cmp(operand),
        (Ok(CompareTarget::Version), _) => version.version.cmp(&0),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(operand))) => version.create_revision.cmp(operand),
        (Ok(CompareTarget::Create), _) => version.create_revision.cmp(&0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(operand))) => version.main.cmp(operand),
        (Ok(CompareTarget::Mod), _) => version.main.cmp(&0),
        (Ok(CompareTarget::Value), Some(TargetUnion::Value(operand))) => version.value.cmp(operand),
        (Ok(CompareTarget::Value), _) => version.value[..].cmp(&[]),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(operand))) => version.lease.cmp(operand),
        (Ok(CompareTarget::Lease), _) => version.lease.cmp(&0),
        (Err(_), _) => Ordering::Equal,
    };
    match CompareResult::try_from(condition.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Err(_) => true,
    }
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}
