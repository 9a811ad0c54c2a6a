//! Each option of each request, by example; `store/tests/kv_model.rs` compares with a naive model at random.

use bytes::Bytes;
use tribunal_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use tribunal_proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, TxnRequest, TxnResponse, request_op,
};
use tribunal_proto::mvccpb::KeyValue;
use tribunal_proto::peer::{Command, command, command_reply};

use super::*;

mod checkpoint;
mod txn;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: bytes(key),
        value: bytes(value),
        ..PutRequest::default()
    }
}

fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        prev_kv: true,
    }
}

fn get(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        ..RangeRequest::default()
    }
}

fn apply(kv: &mut Kv, request: command::Request) -> command_reply::Response {
    kv.apply(&Command {
        operation: 0,
        request: Some(request),
    })
    .response
    .expect("a reply")
}

fn do_put(kv: &mut Kv, request: PutRequest) -> PutResponse {
    match apply(kv, command::Request::Put(request)) {
        command_reply::Response::Put(response) => response,
        other => panic!("{other:?}"),
    }
}

fn do_delete(kv: &mut Kv, request: DeleteRangeRequest) -> DeleteRangeResponse {
    match apply(kv, command::Request::DeleteRange(request)) {
        command_reply::Response::DeleteRange(response) => response,
        other => panic!("{other:?}"),
    }
}

fn do_txn(kv: &mut Kv, request: TxnRequest) -> TxnResponse {
    match apply(kv, command::Request::Txn(request)) {
        command_reply::Response::Txn(response) => response,
        other => panic!("{other:?}"),
    }
}

fn refused(kv: &mut Kv, request: command::Request) -> String {
    let before = kv.clone();
    match apply(kv, request) {
        command_reply::Response::Error(error) => {
            assert_eq!(*kv, before, "a refused command changed the state");
            error.text
        }
        other => panic!("{other:?}"),
    }
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn op_put(key: &str, value: &str) -> RequestOp {
    op(request_op::Request::RequestPut(put(key, value)))
}

fn op_get(key: &str) -> RequestOp {
    op(request_op::Request::RequestRange(get(key, "")))
}

fn op_delete(key: &str, range_end: &str) -> RequestOp {
    op(request_op::Request::RequestDeleteRange(delete(key, range_end)))
}

fn success(operations: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        success: operations,
        ..TxnRequest::default()
    }
}

fn keys(response: &RangeResponse) -> String {
    response
        .kvs
        .iter()
        .map(|kv| std::str::from_utf8(&kv.key).expect("text"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn revision(header: &Option<tribunal_proto::etcdserverpb::ResponseHeader>) -> i64 {
    header.expect("a header").revision
}

/// a (version 1, created at 2), b (version 3, created at 3), c (deleted at 7), d (version 1, created at 8).
fn filled() -> Kv {
    let mut kv = Kv::new();
    for (key, value) in [("a", "9"), ("b", "1"), ("b", "2"), ("c", "5"), ("b", "3")] {
        do_put(&mut kv, put(key, value));
    }
    do_delete(&mut kv, delete("c", ""));
    do_put(&mut kv, put("d", "4"));
    assert_eq!(kv.revision(), Revision(8));
    kv
}

#[test]
fn revisions_versions_and_lives() {
    let mut kv = Kv::new();
    assert_eq!(kv.revision(), Revision(1));
    assert_eq!(revision(&do_put(&mut kv, put("k", "1")).header), 2);
    assert_eq!(revision(&do_put(&mut kv, put("k", "2")).header), 3);
    let state = |kv: &Kv| {
        let found = kv.range(&get("k", "")).expect("reads").kvs;
        found
            .first()
            .map(|kv| (kv.create_revision, kv.mod_revision, kv.version, kv.lease))
    };
    assert_eq!(state(&kv), Some((2, 3, 2, 0)));
    let deleted = do_delete(&mut kv, delete("k", ""));
    assert_eq!(
        (revision(&deleted.header), deleted.deleted, deleted.prev_kvs[0].version),
        (4, 1, 2)
    );
    assert_eq!(state(&kv), None);
    let nothing = do_delete(&mut kv, delete("k", ""));
    assert_eq!(
        (revision(&nothing.header), nothing.deleted, nothing.prev_kvs),
        (4, 0, vec![])
    );
    assert_eq!(kv.revision(), Revision(4), "a delete of nothing makes no revision");
    do_put(&mut kv, put("k", "3"));
    assert_eq!(state(&kv), Some((5, 5, 1, 0)), "a new life");
}

#[test]
fn ranges_of_keys() {
    let mut kv = Kv::new();
    for key in ["a", "b", "ba", "bb", "c", "\u{7f}"] {
        do_put(&mut kv, put(key, ""));
    }
    for (key, end, expected) in [
        ("b", "", "b"),
        ("x", "", ""),
        ("b", "c", "b ba bb"),
        ("b", "bb", "b ba"),
        ("b", "b", ""),
        ("c", "a", ""),
        ("bb", "\0", "bb c \u{7f}"),
        ("\0", "\0", "a b ba bb c \u{7f}"),
    ] {
        let response = kv.range(&get(key, end)).expect("reads");
        assert_eq!(keys(&response), expected, "[{key:?}, {end:?})");
        assert_eq!(response.count as usize, response.kvs.len());
        let range = KeyRange::new(key.as_bytes(), end.as_bytes());
        let contained = ["a", "b", "ba", "bb", "c", "\u{7f}"]
            .into_iter()
            .filter(|key| range.contains(key.as_bytes()));
        assert_eq!(contained.collect::<Vec<_>>().join(" "), expected, "[{key:?}, {end:?})");
    }
}

#[test]
fn options_of_a_range() {
    let kv = filled();
    let all = get("\0", "\0");
    let descending = SortOrder::Descend as i32;
    let ascending = SortOrder::Ascend as i32;
    let cases = [
        ("everything", all.clone(), "a b d", false),
        (
            "limit",
            RangeRequest {
                limit: 2,
                ..all.clone()
            },
            "a b",
            true,
        ),
        (
            "limit reached exactly",
            RangeRequest {
                limit: 3,
                ..all.clone()
            },
            "a b d",
            false,
        ),
        (
            "a negative limit is none",
            RangeRequest {
                limit: -1,
                ..all.clone()
            },
            "a b d",
            false,
        ),
        (
            "the largest limit",
            RangeRequest {
                limit: i64::MAX,
                ..all.clone()
            },
            "a b d",
            false,
        ),
        (
            "descending",
            RangeRequest {
                sort_order: descending,
                ..all.clone()
            },
            "d b a",
            false,
        ),
        (
            "the limit follows the sort",
            RangeRequest {
                sort_order: descending,
                limit: 1,
                ..all.clone()
            },
            "d",
            true,
        ),
        (
            "min_mod_revision",
            RangeRequest {
                min_mod_revision: 6,
                ..all.clone()
            },
            "b d",
            false,
        ),
        (
            "max_mod_revision",
            RangeRequest {
                max_mod_revision: 6,
                ..all.clone()
            },
            "a b",
            false,
        ),
        (
            "min_create_revision",
            RangeRequest {
                min_create_revision: 3,
                ..all.clone()
            },
            "b d",
            false,
        ),
        (
            "max_create_revision",
            RangeRequest {
                max_create_revision: 3,
                ..all.clone()
            },
            "a b",
            false,
        ),
        (
            "the limit follows the filter",
            RangeRequest {
                min_mod_revision: 6,
                limit: 1,
                ..all.clone()
            },
            "b",
            true,
        ),
    ];
    for (what, request, expected, more) in cases {
        let response = kv.range(&request).expect("reads");
        assert_eq!((keys(&response).as_str(), response.more), (expected, more), "{what}");
        assert_eq!(response.count, 3, "{what}: the count knows neither limit nor filter");
        assert_eq!(revision(&response.header), 8, "{what}");
    }
    for (target, order, expected) in [
        (SortTarget::Key, ascending, "a b d"),
        (SortTarget::Version, ascending, "a d b"),
        (SortTarget::Version, descending, "b a d"),
        (SortTarget::Create, descending, "d b a"),
        (SortTarget::Mod, ascending, "a b d"),
        (SortTarget::Mod, descending, "d b a"),
        (SortTarget::Value, ascending, "b d a"),
        (SortTarget::Value, descending, "a d b"),
        (SortTarget::Value, SortOrder::None as i32, "b d a"),
    ] {
        let request = RangeRequest {
            sort_target: target.into(),
            sort_order: order,
            ..all.clone()
        };
        assert_eq!(
            keys(&kv.range(&request).expect("reads")),
            expected,
            "{target:?} {order}"
        );
    }
    let unordered = RangeRequest {
        sort_target: SortTarget::Value.into(),
        limit: 1,
        ..all.clone()
    };
    assert_eq!(
        keys(&kv.range(&unordered).expect("reads")),
        "b",
        "of the first two keys, as etcd fetches"
    );
}

#[test]
fn only_keys_and_only_the_count() {
    let kv = filled();
    let request = RangeRequest {
        keys_only: true,
        ..get("a", "")
    };
    let response = kv.range(&request).expect("reads");
    let expected = KeyValue {
        key: bytes("a"),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        ..KeyValue::default()
    };
    assert_eq!(response.kvs, [expected]);
    let request = RangeRequest {
        count_only: true,
        limit: 1,
        min_mod_revision: 99,
        ..get("\0", "\0")
    };
    let response = kv.range(&request).expect("reads");
    assert_eq!((response.kvs.len(), response.count, response.more), (0, 3, false));
}

#[test]
fn earlier_revisions() {
    let mut kv = filled();
    for (revision, expected) in [
        (1, ""),
        (2, "a=9"),
        (3, "a=9 b=1"),
        (4, "a=9 b=2"),
        (5, "a=9 b=2 c=5"),
        (6, "a=9 b=3 c=5"),
        (7, "a=9 b=3"),
        (8, "a=9 b=3 d=4"),
        (0, "a=9 b=3 d=4"),
        (-1, "a=9 b=3 d=4"),
    ] {
        let response = kv
            .range(&RangeRequest {
                revision,
                ..get("\0", "\0")
            })
            .expect("reads");
        let text = |kv: &KeyValue| format!("{}={}", kv.key.escape_ascii(), kv.value.escape_ascii());
        assert_eq!(
            response.kvs.iter().map(text).collect::<Vec<_>>().join(" "),
            expected,
            "at {revision}"
        );
        assert_eq!(
            response.header.expect("a header").revision,
            8,
            "the header has the newest one"
        );
    }
    assert_eq!(
        kv.range(&RangeRequest {
            revision: 9,
            ..get("a", "")
        }),
        Err(KvError::FutureRevision)
    );
    kv.compacted = 5;
    kv.reclaim(usize::MAX);
    assert_eq!(
        kv.range(&RangeRequest {
            revision: 4,
            ..get("a", "")
        }),
        Err(KvError::Compacted)
    );
    assert!(
        kv.range(&RangeRequest {
            revision: 5,
            ..get("a", "")
        })
        .is_ok()
    );
    let read = |revision| {
        op(request_op::Request::RequestRange(RangeRequest {
            revision,
            ..get("a", "")
        }))
    };
    assert_eq!(kv.read_txn(&success(vec![read(4)])), Err(KvError::Compacted));
    assert_eq!(kv.read_txn(&success(vec![read(9)])), Err(KvError::FutureRevision));
    let text = refused(&mut kv, command::Request::Txn(success(vec![op_put("x", ""), read(9)])));
    assert_eq!(
        text, "etcdserver: mvcc: required revision is a future revision",
        "not even its own revision"
    );
}

#[test]
fn options_of_a_put() {
    let mut kv = filled();
    assert_eq!(
        do_put(
            &mut kv,
            PutRequest {
                prev_kv: true,
                ..put("e", "1")
            }
        )
        .prev_kv,
        None
    );
    let response = do_put(
        &mut kv,
        PutRequest {
            prev_kv: true,
            ..put("a", "10")
        },
    );
    assert_eq!(response.prev_kv.expect("it was there").value, bytes("9"));
    let response = do_put(
        &mut kv,
        PutRequest {
            ignore_value: true,
            ..put("a", "")
        },
    );
    assert_eq!(
        (response.prev_kv, kv.range(&get("a", "")).expect("reads").kvs[0].version),
        (None, 3)
    );
    assert_eq!(kv.range(&get("a", "")).expect("reads").kvs[0].value, bytes("10"));
    do_put(
        &mut kv,
        PutRequest {
            ignore_lease: true,
            ..put("a", "11")
        },
    );
    assert_eq!(kv.range(&get("a", "")).expect("reads").kvs[0].value, bytes("11"));

    let keep = PutRequest {
        ignore_value: true,
        ..put("c", "")
    };
    assert_eq!(
        refused(&mut kv, command::Request::Put(keep.clone())),
        "etcdserver: key not found"
    );
    let in_txn = success(vec![op_put("a", "1"), op(request_op::Request::RequestPut(keep))]);
    assert_eq!(
        refused(&mut kv, command::Request::Txn(in_txn)),
        "etcdserver: key not found"
    );
    let leased = PutRequest {
        lease: 7,
        ..put("a", "")
    };
    assert_eq!(
        refused(&mut kv, command::Request::Put(leased.clone())),
        "etcdserver: requested lease not found"
    );
    let in_txn = success(vec![op_put("b", "1"), op(request_op::Request::RequestPut(leased))]);
    assert_eq!(
        refused(&mut kv, command::Request::Txn(in_txn)),
        "etcdserver: requested lease not found"
    );
}

#[test]
fn a_delete_takes_a_range() {
    let mut kv = filled();
    let deleted = do_delete(&mut kv, delete("a", "d"));
    let previous: Vec<_> = deleted.prev_kvs.iter().map(|kv| kv.key.clone()).collect();
    assert_eq!((deleted.deleted, previous), (2, vec![bytes("a"), bytes("b")]));
    assert_eq!(kv.revision(), Revision(9), "one revision for all");
    let quiet = DeleteRangeRequest {
        prev_kv: false,
        ..delete("\0", "\0")
    };
    assert_eq!(do_delete(&mut kv, quiet).prev_kvs, []);
    assert_eq!(kv.range(&get("\0", "\0")).expect("reads").count, 0);
}

/// Planted defect `reused-revision`: the last change was a delete, and the next one gets its revision again.
#[test]
fn a_state_without_its_deleted_keys_has_an_older_revision() {
    let mut kv = Kv::new();
    do_put(&mut kv, put("kept", "1"));
    do_put(&mut kv, put("gone", "2"));
    do_delete(&mut kv, delete("gone", ""));
    assert_eq!(kv.revision(), Revision(4));
    let loaded = Kv::decode(kv.encode()).expect("decodes");
    assert_eq!(loaded.revision(), Revision(4));
    kv.forget_deleted_keys();
    assert_eq!(kv.revision(), Revision(2));
    assert_eq!(
        do_put(&mut kv, put("next", "3")).header.map(|header| header.revision),
        Some(3)
    );
}
