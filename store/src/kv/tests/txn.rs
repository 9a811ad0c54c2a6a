//! Conditions, and several changes at once.

use tribunal_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use tribunal_proto::etcdserverpb::{Compare, response_op};

use super::*;

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
