//! Each option of each request, by example; `store/tests/kv_model.rs` compares with a naive model at random.

use bytes::Bytes;
use tribunal_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use tribunal_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use tribunal_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp,
    TxnRequest, TxnResponse, request_op, response_op,
};
use tribunal_proto::mvccpb::KeyValue;
use tribunal_proto::peer::{Command, command, command_reply};

use super::*;

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

#[test]
fn every_compare() {
    let kv = filled();
    let versions = TargetUnion::Version;
    let value = |text| TargetUnion::Value(bytes(text));
    let (create, changed, lease) = (
        TargetUnion::CreateRevision,
        TargetUnion::ModRevision,
        TargetUnion::Lease,
    );
    // b: version 3, created at 3, changed at 6, value "3". The results are for =, >, <, !=.
    let cases = [
        (
            "b",
            "",
            CompareTarget::Version,
            Some(versions(3)),
            [true, false, false, false],
        ),
        (
            "b",
            "",
            CompareTarget::Version,
            Some(versions(2)),
            [false, true, false, true],
        ),
        (
            "b",
            "",
            CompareTarget::Version,
            Some(versions(4)),
            [false, false, true, true],
        ),
        (
            "b",
            "",
            CompareTarget::Create,
            Some(create(3)),
            [true, false, false, false],
        ),
        (
            "b",
            "",
            CompareTarget::Create,
            Some(create(2)),
            [false, true, false, true],
        ),
        (
            "b",
            "",
            CompareTarget::Mod,
            Some(changed(6)),
            [true, false, false, false],
        ),
        (
            "b",
            "",
            CompareTarget::Mod,
            Some(changed(7)),
            [false, false, true, true],
        ),
        (
            "b",
            "",
            CompareTarget::Value,
            Some(value("3")),
            [true, false, false, false],
        ),
        (
            "b",
            "",
            CompareTarget::Value,
            Some(value("2")),
            [false, true, false, true],
        ),
        (
            "b",
            "",
            CompareTarget::Value,
            Some(value("30")),
            [false, false, true, true],
        ),
        (
            "b",
            "",
            CompareTarget::Lease,
            Some(lease(0)),
            [true, false, false, false],
        ),
        (
            "b",
            "",
            CompareTarget::Lease,
            Some(lease(1)),
            [false, false, true, true],
        ),
        // Without an operand, or with one of another kind: 0, or the empty value.
        ("b", "", CompareTarget::Mod, None, [false, true, false, true]),
        (
            "b",
            "",
            CompareTarget::Value,
            Some(versions(3)),
            [false, true, false, true],
        ),
        // An absent key counts as 0 everywhere; its value compares with nothing.
        (
            "c",
            "",
            CompareTarget::Version,
            Some(versions(0)),
            [true, false, false, false],
        ),
        (
            "c",
            "",
            CompareTarget::Create,
            Some(create(0)),
            [true, false, false, false],
        ),
        (
            "c",
            "",
            CompareTarget::Mod,
            Some(changed(5)),
            [false, false, true, true],
        ),
        (
            "c",
            "",
            CompareTarget::Value,
            Some(value("")),
            [false, false, false, false],
        ),
        // All keys of a range must agree: a is at version 1, b at 3, d at 1.
        (
            "a",
            "\0",
            CompareTarget::Version,
            Some(versions(1)),
            [false, false, false, false],
        ),
        (
            "a",
            "\0",
            CompareTarget::Version,
            Some(versions(0)),
            [false, true, false, true],
        ),
        (
            "a",
            "b",
            CompareTarget::Version,
            Some(versions(1)),
            [true, false, false, false],
        ),
        (
            "x",
            "z",
            CompareTarget::Version,
            Some(versions(0)),
            [true, false, false, false],
        ),
    ];
    let results = [
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
    ];
    for (key, end, target, union, expected) in cases {
        let found = results.map(|result| {
            let condition = Compare {
                result: result.into(),
                target: target.into(),
                key: bytes(key),
                range_end: bytes(end),
                target_union: union.clone(),
            };
            let request = TxnRequest {
                compare: vec![condition],
                ..TxnRequest::default()
            };
            kv.read_txn(&request).expect("reads").succeeded
        });
        assert_eq!(found, expected, "{key:?} {end:?} {target:?} {union:?}");
    }
}

#[test]
fn a_transaction_is_one_revision() {
    let mut kv = filled();
    let request = success(vec![
        op_get("a"),
        op_put("a", "new"),
        op_get("a"),
        op_put("x", ""),
        op_delete("b", "c"),
        op_get("b"),
    ]);
    let response = do_txn(&mut kv, request);
    assert_eq!((revision(&response.header), kv.revision()), (9, Revision(9)));
    assert!(response.succeeded);
    let parts: Vec<_> = response
        .responses
        .into_iter()
        .map(|part| part.response.expect("a response"))
        .collect();
    let [
        response_op::Response::ResponseRange(before),
        response_op::Response::ResponsePut(put),
        response_op::Response::ResponseRange(after),
        response_op::Response::ResponsePut(_),
        response_op::Response::ResponseDeleteRange(deleted),
        response_op::Response::ResponseRange(gone),
    ] = &parts[..]
    else {
        panic!("{parts:?}")
    };
    assert_eq!((revision(&before.header), before.kvs[0].value.clone()), (8, bytes("9")));
    assert_eq!(revision(&put.header), 9);
    assert_eq!(
        (revision(&after.header), after.kvs[0].value.clone()),
        (9, bytes("new")),
        "it sees its own writes"
    );
    assert_eq!((revision(&deleted.header), deleted.deleted), (9, 1));
    assert_eq!(gone.count, 0);
    let all = kv.range(&get("\0", "\0")).expect("reads");
    assert_eq!(keys(&all), "a d x");
    assert_eq!(all.kvs[0].mod_revision, all.kvs[2].mod_revision);
}

#[test]
fn a_transaction_that_changes_nothing_makes_no_revision() {
    let mut kv = filled();
    for request in [
        TxnRequest::default(),
        success(vec![op_get("a")]),
        success(vec![op_delete("x", "z")]),
        TxnRequest {
            compare: vec![Compare {
                key: bytes("a"),
                ..Compare::default()
            }],
            success: vec![op_put("a", "never")],
            failure: vec![op_get("a")],
        },
    ] {
        let response = do_txn(&mut kv, request);
        assert_eq!(
            (revision(&response.header), kv.revision()),
            (8, Revision(8)),
            "{response:?}"
        );
    }
}

#[test]
fn nested_transactions_decide_before_anything_changes() {
    let mut kv = filled();
    let absent = |key: &str| Compare {
        key: bytes(key),
        target: CompareTarget::Version.into(),
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    };
    let inner = TxnRequest {
        compare: vec![absent("x")],
        success: vec![op_put("y", "x was absent")],
        failure: vec![op_put("y", "x was there")],
    };
    let response = do_txn(
        &mut kv,
        success(vec![op_put("x", ""), op(request_op::Request::RequestTxn(inner))]),
    );
    let Some(response_op::Response::ResponseTxn(nested)) = &response.responses[1].response else {
        panic!("{response:?}")
    };
    assert!(nested.succeeded);
    let y = kv.range(&get("y", "")).expect("reads").kvs.remove(0);
    assert_eq!(
        (y.value, y.mod_revision),
        (bytes("x was absent"), 9),
        "the outer put is of the same revision"
    );
}

#[test]
fn what_reads_only() {
    assert!(is_read_only(&TxnRequest::default()));
    assert!(is_read_only(&TxnRequest {
        failure: vec![op_get("a")],
        ..success(vec![op_get("b")])
    }));
    assert!(!is_read_only(&TxnRequest {
        failure: vec![op_put("a", "")],
        ..success(vec![op_get("b")])
    }));
    assert!(!is_read_only(&success(vec![op(request_op::Request::RequestTxn(
        TxnRequest::default()
    ))])));
    assert!(!is_read_only(&success(vec![RequestOp::default()])));
}

#[test]
fn a_command_without_a_request_is_refused() {
    let mut kv = filled();
    let reply = kv.apply(&Command::default());
    assert!(
        matches!(reply.response, Some(command_reply::Response::Error(_))),
        "{reply:?}"
    );
    assert_eq!(kv, filled());
}

#[test]
fn the_digest_tells_any_two_histories_apart() {
    let base = filled().digest();
    assert_eq!(base, filled().digest());
    let mut digests = vec![base];
    for change in [
        put("d", "4"),
        put("d", "5"),
        put("e", "4"),
        PutRequest {
            ignore_lease: true,
            ..put("d", "6")
        },
    ] {
        let mut kv = filled();
        do_put(&mut kv, change);
        digests.push(kv.digest());
    }
    let mut kv = filled();
    do_delete(&mut kv, delete("d", ""));
    digests.push(kv.digest());
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
    let mut kv = filled();
    do_txn(&mut kv, success(vec![op_get("a")]));
    assert_eq!(kv.digest(), base, "a read changes nothing");
}

/// A large value and a long history cross the borders of chunks.
fn large() -> Kv {
    let mut kv = filled();
    for round in 0..40 {
        do_put(&mut kv, put("b", &"x".repeat(100_000 + round)));
    }
    do_put(&mut kv, put("c", &"y".repeat(CHUNK_BYTES + 1)));
    do_delete(&mut kv, delete("c", "d"));
    do_put(&mut kv, put("e", ""));
    kv
}

#[test]
fn a_checkpoint_reads_back() {
    for kv in [Kv::new(), filled(), large()] {
        let chunks = kv.encode();
        let decoded = Kv::decode(chunks.clone()).expect("decodes");
        assert_eq!(decoded, kv);
        assert_eq!(decoded.encode(), chunks, "equal states make equal bytes");
        assert!(chunks.iter().all(|chunk| chunk.len() <= 2 * CHUNK_BYTES + 1024));
    }
    assert!(large().encode().len() > 5, "the large one has several chunks of keys");
}

#[test]
fn a_checkpoint_that_is_not_whole_is_refused() {
    let chunks = large().encode();
    for missing in 0..chunks.len() {
        let mut chunks = chunks.clone();
        chunks.remove(missing);
        assert!(Kv::decode(chunks).is_err(), "without chunk {missing}");
    }
    for place in 0..chunks.len() {
        let mut repeated = chunks.clone();
        repeated.insert(place, chunks[place].clone());
        assert!(Kv::decode(repeated).is_err(), "with chunk {place} twice");
    }
    let mut swapped = chunks.clone();
    swapped.swap(1, 2);
    assert!(Kv::decode(swapped).is_err());
    assert_eq!(Kv::decode([]), Err(CheckpointError::Cut { chunks: 0 }));
}

#[test]
fn a_checkpoint_with_a_flipped_bit_is_refused() {
    let chunks = filled().encode();
    for (place, chunk) in chunks.iter().enumerate() {
        for bit in 0..chunk.len() * 8 {
            let mut damaged = chunk.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut chunks = chunks.clone();
            chunks[place] = Bytes::from(damaged);
            assert!(Kv::decode(chunks).is_err(), "bit {bit} of chunk {place}");
        }
    }
}
