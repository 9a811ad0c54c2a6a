//! Random requests over few keys, so that they meet often.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tribunal_proto::etcdserverpb::compare::TargetUnion;
use tribunal_proto::etcdserverpb::request_op::Request as Op;
use tribunal_proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

/// A request to a store.
#[derive(Clone, Debug)]
pub enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
}

/// Any request that a client can make; some are refused. `revision` is the newest one that a read asks for; it and
/// those below it are asked for as often as each other, the present (0) half of the time.
pub fn call(revision: i64) -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => range(revision).prop_map(Call::Range),
        4 => put().prop_map(Call::Put),
        2 => delete_range().prop_map(Call::DeleteRange),
        5 => txn(revision, 2).prop_map(Call::Txn),
        1 => compact(revision).prop_map(Call::Compact),
    ]
}

/// Mostly of a revision that is not far behind, or else nothing would be left to read.
fn compact(revision: i64) -> impl Strategy<Value = CompactionRequest> {
    let at = prop_oneof![1 => -2..=revision + 1, 3 => (revision / 2)..=revision];
    (at, any::<bool>()).prop_map(|(revision, physical)| CompactionRequest { revision, physical })
}

fn key() -> impl Strategy<Value = Bytes> {
    select(vec!["a", "b", "c", "d", "e"]).prop_map(Bytes::from)
}

fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => Just(""),
        3 => Just("\0"),
        2 => select(vec!["b", "c", "d", "e", "f"]),
    ]
    .prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    select(vec!["", "0", "1", "2", "10"]).prop_map(Bytes::from)
}

fn seldom() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

/// 0 half of the time.
fn maybe(number: impl Strategy<Value = i64>) -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), number]
}

fn range(revision: i64) -> impl Strategy<Value = RangeRequest> {
    let bound = move || prop_oneof![4 => Just(0), 1 => 1..=revision];
    let limit = prop_oneof![2 => Just(0), 2 => Just(1), 1 => -1..5_i64];
    (
        (key(), range_end(), limit, maybe(-1..=revision)),
        (0..3_i32, 0..5_i32, any::<bool>(), seldom(), seldom()),
        (bound(), bound(), bound(), bound()),
    )
        .prop_map(|((key, range_end, limit, revision), options, bounds)| {
            let (sort_order, sort_target, serializable, keys_only, count_only) = options;
            let (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision) = bounds;
            RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            }
        })
}

fn put() -> impl Strategy<Value = PutRequest> {
    let lease = prop_oneof![20 => Just(0), 1 => Just(7_i64)];
    (key(), value(), lease, any::<bool>(), seldom(), seldom()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete_range() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn compare(revision: i64) -> impl Strategy<Value = Compare> {
    let union = prop_oneof![
        (0..4_i64).prop_map(TargetUnion::Version),
        (0..=revision).prop_map(TargetUnion::CreateRevision),
        (0..=revision).prop_map(TargetUnion::ModRevision),
        value().prop_map(TargetUnion::Value),
        (-1..2_i64).prop_map(TargetUnion::Lease),
    ];
    // The operand mostly fits the target.
    (
        0..4_i32,
        key(),
        range_end(),
        union,
        prop::option::weighted(0.1, 0..5_i32),
    )
        .prop_map(|(result, key, range_end, union, other)| {
            let fitting = match &union {
                TargetUnion::Version(_) => 0,
                TargetUnion::CreateRevision(_) => 1,
                TargetUnion::ModRevision(_) => 2,
                TargetUnion::Value(_) => 3,
                TargetUnion::Lease(_) => 4,
            };
            let (target, target_union) = (other.unwrap_or(fitting), Some(union));
            Compare {
                result,
                target,
                key,
                range_end,
                target_union,
            }
        })
}

fn txn(revision: i64, depth: u32) -> BoxedStrategy<TxnRequest> {
    let operation = prop_oneof![
        3 => range(revision).prop_map(Op::RequestRange),
        4 => put().prop_map(Op::RequestPut),
        2 => delete_range().prop_map(Op::RequestDeleteRange),
    ];
    let operation = match depth {
        0 => operation.boxed(),
        _ => prop_oneof![9 => operation, 1 => txn(revision, depth - 1).prop_map(Op::RequestTxn)].boxed(),
    };
    let operations = move || {
        vec(
            operation
                .clone()
                .prop_map(|request| RequestOp { request: Some(request) }),
            0..4,
        )
    };
    (vec(compare(revision), 0..3), operations(), operations())
        .prop_map(|(compare, success, failure)| TxnRequest {
            compare,
            success,
            failure,
        })
        .boxed()
}
