//! Goal: a renumbered field is noticed before an etcd client notices it.
//! Method: encode a message with every field set and compare the bytes with what etcd's numbers demand. Each
//! field's key is `number << 3 | wire type` (0 varint, 2 length-delimited).

use bytes::Bytes;
use prost::Message as _;
use tribunal_proto::etcdserverpb::{
    Compare, Member, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader, ResponseOp,
    StatusResponse, TxnRequest, TxnResponse, compare, request_op, response_op,
};
use tribunal_proto::mvccpb::{Event, KeyValue, event};
use tribunal_proto::peer::{Command, PeerCall, command};

#[test]
fn key_value_and_event() {
    let kv = KeyValue {
        key: Bytes::from_static(b"k"),
        create_revision: 1,
        mod_revision: 2,
        version: 3,
        value: Bytes::from_static(b"v"),
        lease: 4,
    };
    let bytes = [0x0a, 1, b'k', 0x10, 1, 0x18, 2, 0x20, 3, 0x2a, 1, b'v', 0x30, 4];
    assert_eq!(kv.encode_to_vec(), bytes);
    let event = Event {
        r#type: event::EventType::Delete.into(),
        kv: Some(KeyValue::default()),
        prev_kv: None,
    };
    assert_eq!(event.encode_to_vec(), [0x08, 1, 0x12, 0]);
}

#[test]
fn range() {
    let request = RangeRequest {
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"b"),
        limit: 1,
        revision: 2,
        sort_order: 2,
        sort_target: 4,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 3,
        max_mod_revision: 4,
        min_create_revision: 5,
        max_create_revision: 6,
    };
    let bytes = [
        0x0a, 1, b'a', 0x12, 1, b'b', 0x18, 1, 0x20, 2, 0x28, 2, 0x30, 4, 0x38, 1, 0x40, 1, 0x48, 1, 0x50, 3, 0x58, 4,
        0x60, 5, 0x68, 6,
    ];
    assert_eq!(request.encode_to_vec(), bytes);
    let response = RangeResponse {
        header: None,
        kvs: vec![KeyValue::default()],
        more: true,
        count: 9,
    };
    assert_eq!(response.encode_to_vec(), [0x12, 0, 0x18, 1, 0x20, 9]);
}

#[test]
fn put() {
    let request = PutRequest {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        lease: 7,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    };
    assert_eq!(
        request.encode_to_vec(),
        [0x0a, 1, b'k', 0x12, 1, b'v', 0x18, 7, 0x20, 1, 0x28, 1, 0x30, 1]
    );
}

#[test]
fn transaction() {
    let condition = Compare {
        result: compare::CompareResult::NotEqual.into(),
        target: compare::CompareTarget::Lease.into(),
        key: Bytes::from_static(b"k"),
        range_end: Bytes::from_static(b"l"),
        target_union: Some(compare::TargetUnion::Lease(5)),
    };
    let bytes = [0x08, 3, 0x10, 4, 0x1a, 1, b'k', 0x40, 5, 0x82, 0x04, 1, b'l'];
    assert_eq!(condition.encode_to_vec(), bytes);
    let targets = [
        (compare::TargetUnion::Version(1), vec![0x20, 1]),
        (compare::TargetUnion::CreateRevision(1), vec![0x28, 1]),
        (compare::TargetUnion::ModRevision(1), vec![0x30, 1]),
        (
            compare::TargetUnion::Value(Bytes::from_static(b"v")),
            vec![0x3a, 1, b'v'],
        ),
    ];
    for (target, bytes) in targets {
        let condition = Compare {
            target_union: Some(target),
            ..Compare::default()
        };
        assert_eq!(condition.encode_to_vec(), bytes);
    }

    let operations = [
        (request_op::Request::RequestRange(RangeRequest::default()), 0x0a),
        (request_op::Request::RequestPut(PutRequest::default()), 0x12),
        (request_op::Request::RequestDeleteRange(Default::default()), 0x1a),
        (request_op::Request::RequestTxn(TxnRequest::default()), 0x22),
    ];
    for (request, key) in operations {
        assert_eq!(RequestOp { request: Some(request) }.encode_to_vec(), [key, 0]);
    }
    let request = TxnRequest {
        compare: vec![Compare::default()],
        success: vec![RequestOp::default()],
        failure: vec![RequestOp::default()],
    };
    assert_eq!(request.encode_to_vec(), [0x0a, 0, 0x12, 0, 0x1a, 0]);

    let put = ResponseOp {
        response: Some(response_op::Response::ResponsePut(PutResponse::default())),
    };
    let response = TxnResponse {
        header: None,
        succeeded: true,
        responses: vec![put],
    };
    assert_eq!(response.encode_to_vec(), [0x10, 1, 0x1a, 2, 0x12, 0]);
}

#[test]
fn header_member_and_status() {
    let header = ResponseHeader {
        cluster_id: 1,
        member_id: 2,
        revision: 3,
        raft_term: 4,
    };
    assert_eq!(header.encode_to_vec(), [0x08, 1, 0x10, 2, 0x18, 3, 0x20, 4]);
    let member = Member {
        id: 1,
        name: "n".to_owned(),
        peer_ur_ls: vec!["p".to_owned()],
        client_ur_ls: vec!["c".to_owned()],
        is_learner: true,
    };
    assert_eq!(
        member.encode_to_vec(),
        [0x08, 1, 0x12, 1, b'n', 0x1a, 1, b'p', 0x22, 1, b'c', 0x28, 1]
    );
    let status = StatusResponse {
        header: None,
        version: "3".to_owned(),
        db_size: 1,
        leader: 2,
        raft_index: 3,
        raft_term: 4,
        raft_applied_index: 5,
        errors: vec!["e".to_owned()],
        db_size_in_use: 6,
        is_learner: true,
        storage_version: "s".to_owned(),
        db_size_quota: 7,
        downgrade_info: None,
    };
    let bytes = [
        0x12, 1, b'3', 0x18, 1, 0x20, 2, 0x28, 3, 0x30, 4, 0x38, 5, 0x42, 1, b'e', 0x48, 6, 0x50, 1, 0x5a, 1, b's',
        0x60, 7,
    ];
    assert_eq!(status.encode_to_vec(), bytes);
}

/// Log entries outlive the program that wrote them, so their numbers are fixed as well.
#[test]
fn a_command_reads_back_and_shares_its_buffer() {
    let put = PutRequest {
        key: Bytes::from_static(b"k"),
        value: Bytes::from(vec![7; 100]),
        ..PutRequest::default()
    };
    let command = Command {
        operation: 9,
        request: Some(command::Request::Put(put)),
    };
    let bytes = Bytes::from(command.encode_to_vec());
    assert_eq!(bytes[..4], [0x08, 9, 0x12, 105]);
    let decoded = Command::decode(bytes.clone()).expect("decodes");
    assert_eq!(decoded, command);
    let Some(command::Request::Put(put)) = decoded.request else {
        panic!("a put")
    };
    assert!(
        bytes.as_ptr_range().contains(&put.value.as_ptr()),
        "the value was copied"
    );
}

#[test]
fn a_peer_call_names_its_sender() {
    let call = PeerCall {
        from: 1,
        to: 2,
        incarnation: 3,
        seq: 4,
        method: "m".to_owned(),
        body: Bytes::from_static(b"b"),
    };
    let bytes = [
        0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0, 0, 0, 0x18, 3, 0x20, 4, 0x2a, 1, b'm', 0x32, 1, b'b',
    ];
    assert_eq!(call.encode_to_vec(), bytes);
}
