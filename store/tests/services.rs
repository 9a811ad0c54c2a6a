//! Goal: the services and their gRPC adapters behave as etcd's, whatever consensus is below.
//! Method: a single member that is always the leader and applies at once; requests enter through the generated
//! clients, whose transport is the router itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio_test::block_on;
use tonic::service::Routes;
use tonic::{Code, Request};
use tribunal_history::{LogIndex, MemberId, Revision, Term};
use tribunal_proto::etcdserverpb as pb;
use tribunal_proto::etcdserverpb::cluster_client::ClusterClient;
use tribunal_proto::etcdserverpb::kv_client::KvClient;
use tribunal_proto::etcdserverpb::lease_client::LeaseClient;
use tribunal_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tribunal_proto::etcdserverpb::request_op::Request as Op;
use tribunal_proto::peer::{Command, CommandReply, command_reply};
use tribunal_store::api::{self, OPERATION_KEY};
use tribunal_store::kv::Kv;
use tribunal_store::service::{ApiError, Applied, Barrier, Consensus, Context, MemberInfo, NodeStatus};

/// What the services asked for.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Propose(Context, Command),
    Barrier(Context),
    Reading(Context, Option<Barrier>, Revision),
}

/// A cluster of one, in term 7.
#[derive(Clone, Default)]
struct Single(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kv: Kv,
    index: u64,
    asked: Vec<Asked>,
    is_learner: bool,
    /// Every proposal and barrier ends like this.
    broken: Option<ApiError>,
    /// Every command has this answer.
    reply: Option<CommandReply>,
}

const CLUSTER: u64 = 0xc1;
const MEMBER: MemberId = MemberId(0xe1);
const TERM: Term = Term(7);

impl Consensus for Single {
    async fn propose(&self, context: Context, command: Command) -> Result<Applied, ApiError> {
        let mut state = self.0.lock().expect("unpoisoned");
        state.asked.push(Asked::Propose(context, command.clone()));
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        state.index += 1;
        let reply = state.kv.apply(&command);
        Ok(Applied {
            reply: state.reply.clone().unwrap_or(reply),
            term: TERM,
            index: LogIndex(state.index),
        })
    }

    async fn read_barrier(&self, context: Context) -> Result<Barrier, ApiError> {
        let mut state = self.0.lock().expect("unpoisoned");
        state.asked.push(Asked::Barrier(context));
        match &state.broken {
            Some(error) => Err(error.clone()),
            None => Ok(Barrier {
                term: TERM,
                index: LogIndex(state.index),
                read: 1,
            }),
        }
    }

    fn with_state<R>(&self, read: impl FnOnce(&Kv) -> R) -> R {
        read(&self.0.lock().expect("unpoisoned").kv)
    }

    async fn reading(&self, context: Context, barrier: Option<Barrier>, revision: Revision) -> Result<(), ApiError> {
        self.0
            .lock()
            .expect("unpoisoned")
            .asked
            .push(Asked::Reading(context, barrier, revision));
        Ok(())
    }

    fn status(&self) -> NodeStatus {
        let state = self.0.lock().expect("unpoisoned");
        NodeStatus {
            cluster: CLUSTER,
            member: MEMBER,
            leader: state.broken.is_none().then_some(MEMBER),
            term: TERM,
            applied: LogIndex(state.index),
            committed: LogIndex(state.index + 1),
            last: LogIndex(state.index + 2),
            is_learner: state.is_learner,
            size_bytes: 4096,
        }
    }

    fn members(&self) -> Vec<MemberInfo> {
        vec![MemberInfo {
            id: MEMBER,
            name: "n1".to_owned(),
            peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
            client_urls: vec!["http://127.0.0.1:2379".to_owned()],
            is_learner: false,
        }]
    }
}

impl Single {
    /// The clock stands at 100 s.
    fn routes(&self) -> Routes {
        api::router(self.clone(), || Duration::from_secs(100))
    }

    fn kv(&self) -> KvClient<Routes> {
        KvClient::new(self.routes())
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().expect("unpoisoned").asked)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().expect("unpoisoned"));
    }
}

fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.into(),
        value: value.into(),
        ..pb::PutRequest::default()
    }
}

fn get(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.into(),
        ..pb::RangeRequest::default()
    }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn success(operations: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest {
        success: operations,
        ..pb::TxnRequest::default()
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id: CLUSTER,
        member_id: MEMBER.0,
        revision,
        raft_term: TERM.0,
    })
}

#[test]
fn a_key_is_written_read_and_deleted() {
    block_on(async {
        let single = Single::default();
        let mut kv = single.kv();
        let response = kv.put(put("k", "v")).await.expect("put").into_inner();
        assert_eq!(
            response,
            pb::PutResponse {
                header: header(2),
                prev_kv: None
            }
        );
        let response = kv.range(get("k")).await.expect("range").into_inner();
        assert_eq!(
            (response.header, response.count, response.kvs[0].value.clone()),
            (header(2), 1, Bytes::from("v"))
        );
        let delete = pb::DeleteRangeRequest {
            key: "k".into(),
            prev_kv: true,
            ..pb::DeleteRangeRequest::default()
        };
        let response = kv.delete_range(delete).await.expect("delete").into_inner();
        assert_eq!(
            (response.header, response.deleted, response.prev_kvs.len()),
            (header(3), 1, 1)
        );
        let txn = success(vec![op(Op::RequestPut(put("k", "w"))), op(Op::RequestRange(get("k")))]);
        let response = kv.txn(txn).await.expect("txn").into_inner();
        assert_eq!(
            (response.header, response.succeeded, response.responses.len()),
            (header(4), true, 2)
        );
    });
}

#[test]
fn only_what_may_write_is_proposed_and_only_linearizable_reads_wait() {
    block_on(async {
        let single = Single::default();
        let mut kv = single.kv();
        let context = Context::default();
        let barrier = Barrier {
            term: TERM,
            index: LogIndex(0),
            read: 1,
        };
        let linearizable = [
            Asked::Barrier(context),
            Asked::Reading(context, Some(barrier), Revision(1)),
        ];
        let serializable = [Asked::Reading(context, None, Revision(1))];
        let local = pb::RangeRequest {
            serializable: true,
            ..get("k")
        };

        kv.range(get("k")).await.expect("range");
        assert_eq!(single.asked(), linearizable);
        kv.range(local.clone()).await.expect("range");
        assert_eq!(single.asked(), serializable);
        for (txn, expected) in [
            (success(vec![op(Op::RequestRange(get("k")))]), &linearizable[..]),
            (success(vec![op(Op::RequestRange(local.clone()))]), &serializable),
            (
                success(vec![op(Op::RequestRange(local)), op(Op::RequestRange(get("k")))]),
                &linearizable,
            ),
            // etcd: without a range nothing demands more than local state.
            (pb::TxnRequest::default(), &serializable),
        ] {
            kv.txn(txn).await.expect("txn");
            assert_eq!(single.asked(), expected);
        }
        let mut writes = success(vec![op(Op::RequestRange(get("k")))]);
        writes.failure = vec![op(Op::RequestPut(put("k", "v")))];
        kv.txn(writes).await.expect("txn");
        assert!(matches!(single.asked()[..], [Asked::Propose(..)]));
    });
}

#[test]
fn metadata_names_the_operation_and_the_deadline() {
    block_on(async {
        let single = Single::default();
        let mut kv = single.kv();
        let mut request = Request::new(put("k", "v"));
        request
            .metadata_mut()
            .insert(OPERATION_KEY, "18446744073709551615".parse().expect("ascii"));
        request.set_timeout(Duration::from_millis(2500));
        kv.put(request).await.expect("put");
        let [Asked::Propose(context, command)] = &single.asked()[..] else {
            panic!("one proposal")
        };
        assert_eq!(command.operation, u64::MAX);
        let deadline = Some(Duration::from_millis(102_500));
        assert_eq!(
            *context,
            Context {
                operation: u64::MAX,
                deadline,
                forwarded: false
            }
        );

        for (key, value, expected) in [
            (
                OPERATION_KEY,
                "-1",
                "tribunal-operation is not a decimal number of 64 bits",
            ),
            (
                OPERATION_KEY,
                "18446744073709551616",
                "tribunal-operation is not a decimal number of 64 bits",
            ),
            (
                "grpc-timeout",
                "soon",
                "grpc-timeout is not 1 to 8 digits and a unit of HMSmun",
            ),
        ] {
            let mut request = Request::new(put("k", "v"));
            request.metadata_mut().insert(key, value.parse().expect("ascii"));
            let status = kv.put(request).await.expect_err("refused");
            assert_eq!((status.code(), status.message()), (Code::InvalidArgument, expected));
        }
        assert_eq!(single.asked(), []);
    });
}

#[test]
fn refusals_have_etcds_codes_and_texts() {
    block_on(async {
        let single = Single::default();
        let mut kv = single.kv();
        kv.put(put("k", "v")).await.expect("put");
        single.asked();
        let large = pb::PutRequest {
            key: "k".into(),
            value: vec![0; 3 << 19].into(),
            ..pb::PutRequest::default()
        };
        let mut refused = Vec::new();
        refused.push(kv.put(put("", "v")).await.expect_err("no key"));
        refused.push(kv.range(get("")).await.expect_err("no key"));
        refused.push(kv.put(large).await.expect_err("too large"));
        let two = success(vec![
            op(Op::RequestPut(put("k", "1"))),
            op(Op::RequestPut(put("k", "2"))),
        ]);
        refused.push(kv.txn(two).await.expect_err("twice"));
        refused.push(
            kv.txn(success(vec![op(Op::RequestRange(get("k"))); 129]))
                .await
                .expect_err("too many"),
        );
        assert_eq!(single.asked(), [], "none of these reached consensus");
        refused.push(
            kv.range(pb::RangeRequest {
                revision: 3,
                ..get("k")
            })
            .await
            .expect_err("future"),
        );
        refused.push(
            kv.put(pb::PutRequest {
                lease: 1,
                ..put("k", "v")
            })
            .await
            .expect_err("no lease"),
        );
        refused.push(
            kv.put(pb::PutRequest {
                ignore_value: true,
                ..put("x", "")
            })
            .await
            .expect_err("absent"),
        );
        let found: Vec<_> = refused.iter().map(|status| (status.code(), status.message())).collect();
        let expected = [
            (Code::InvalidArgument, "etcdserver: key is not provided"),
            (Code::InvalidArgument, "etcdserver: key is not provided"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request"),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (Code::NotFound, "etcdserver: requested lease not found"),
            (Code::InvalidArgument, "etcdserver: key not found"),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            single.with_state(Kv::revision),
            Revision(2),
            "none of these changed anything"
        );
    });
}

#[test]
fn errors_of_consensus_reach_the_client_unchanged() {
    block_on(async {
        let single = Single::default();
        let mut kv = single.kv();
        for error in [
            ApiError::timed_out(),
            ApiError::timed_out_leader_failed(),
            ApiError::leader_changed(),
            ApiError::no_leader(),
            ApiError::stopped(),
            ApiError::too_many_requests(),
        ] {
            single.change(|state| state.broken = Some(error.clone()));
            let statuses = [
                kv.put(put("k", "v")).await.expect_err("broken"),
                kv.range(get("k")).await.expect_err("broken"),
                kv.txn(success(vec![op(Op::RequestRange(get("k")))]))
                    .await
                    .expect_err("broken"),
            ];
            for status in statuses {
                assert_eq!(
                    (status.code() as i32, status.message()),
                    (error.code as i32, &error.text[..])
                );
            }
            let local = pb::RangeRequest {
                serializable: true,
                ..get("k")
            };
            kv.range(local).await.expect("a serializable read needs nobody");
        }
    });
}

#[test]
fn a_client_can_demand_a_leader() {
    block_on(async {
        let single = Single::default();
        let request = || {
            let mut request = Request::new(pb::RangeRequest {
                serializable: true,
                ..get("k")
            });
            request
                .metadata_mut()
                .insert("hasleader", "true".parse().expect("ascii"));
            request
        };
        single.kv().range(request()).await.expect("there is one");
        single.change(|state| state.broken = Some(ApiError::no_leader()));
        let status = single.kv().range(request()).await.expect_err("there is none");
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "etcdserver: no leader")
        );
    });
}

#[test]
fn a_learner_answers_serializable_reads_only() {
    block_on(async {
        let single = Single::default();
        single.change(|state| state.is_learner = true);
        let mut kv = single.kv();
        for status in [
            kv.put(put("k", "v")).await.expect_err("a learner"),
            kv.range(get("k")).await.expect_err("a learner"),
        ] {
            assert_eq!(
                (status.code(), status.message()),
                (Code::Unavailable, "etcdserver: rpc not supported for learner")
            );
        }
        kv.range(pb::RangeRequest {
            serializable: true,
            ..get("k")
        })
        .await
        .expect("serializable");
    });
}

#[test]
fn a_reply_that_does_not_fit_is_an_error() {
    block_on(async {
        let single = Single::default();
        let other = command_reply::Response::DeleteRange(pb::DeleteRangeResponse::default());
        for reply in [CommandReply::default(), CommandReply { response: Some(other) }] {
            single.change(|state| state.reply = Some(reply));
            assert_eq!(
                single.kv().put(put("k", "v")).await.expect_err("no put").code(),
                Code::Internal
            );
        }
    });
}

#[test]
fn members_status_and_alarms() {
    block_on(async {
        let single = Single::default();
        single.kv().put(put("k", "v")).await.expect("put");
        single.asked();
        let mut cluster = ClusterClient::new(single.routes());
        let response = cluster
            .member_list(pb::MemberListRequest::default())
            .await
            .expect("list")
            .into_inner();
        assert_eq!(response.header, header(0), "etcd's has no revision");
        let [member] = &response.members[..] else {
            panic!("one member")
        };
        assert_eq!(
            (member.id, member.name.as_str(), member.is_learner),
            (MEMBER.0, "n1", false)
        );
        assert_eq!(
            (&member.peer_ur_ls[0][..], &member.client_ur_ls[0][..]),
            ("http://127.0.0.1:2380", "http://127.0.0.1:2379")
        );
        assert_eq!(single.asked(), []);
        cluster
            .member_list(pb::MemberListRequest { linearizable: true })
            .await
            .expect("list");
        assert_eq!(single.asked(), [Asked::Barrier(Context::default())]);

        let mut maintenance = MaintenanceClient::new(single.routes());
        let status = maintenance
            .status(pb::StatusRequest {})
            .await
            .expect("status")
            .into_inner();
        assert_eq!(
            (status.header, status.version.as_str(), status.leader),
            (header(2), "3.5.1", MEMBER.0)
        );
        assert_eq!(
            (status.raft_index, status.raft_applied_index, status.raft_term),
            (2, 1, TERM.0)
        );
        assert_eq!(
            (status.db_size, status.is_learner, status.errors),
            (4096, false, vec![])
        );
        assert!(status.db_size_in_use > 0);
        let alarms = maintenance
            .alarm(pb::AlarmRequest::default())
            .await
            .expect("alarms")
            .into_inner();
        assert_eq!((alarms.header, alarms.alarms), (header(2), vec![]));
        single.change(|state| state.broken = Some(ApiError::no_leader()));
        let status = maintenance
            .status(pb::StatusRequest {})
            .await
            .expect("status")
            .into_inner();
        assert_eq!(
            (status.leader, status.errors),
            (0, vec!["etcdserver: no leader".to_owned()])
        );
    });
}

/// What was compacted is refused, as is what is still to come; the newest state stays.
#[test]
fn states_before_a_compaction_are_gone() {
    block_on(async {
        let single = Single::default();
        let mut kv = single.kv();
        for value in ["1", "2", "3"] {
            let put = pb::PutRequest {
                key: "k".into(),
                value: value.into(),
                ..pb::PutRequest::default()
            };
            kv.put(put).await.expect("writes");
        }
        for (revision, refusal) in [
            (3, None),
            (3, Some("etcdserver: mvcc: required revision has been compacted")),
            (5, Some("etcdserver: mvcc: required revision is a future revision")),
        ] {
            let request = pb::CompactionRequest {
                revision,
                physical: true,
            };
            let answer = kv.compact(request).await;
            match refusal {
                None => assert_eq!(
                    answer.expect("compacts").into_inner().header.map(|h| h.revision),
                    Some(4)
                ),
                Some(text) => {
                    let status = answer.expect_err("refused");
                    assert_eq!((status.code(), status.message()), (Code::OutOfRange, text));
                }
            }
        }
        for (revision, expected) in [(2, None), (3, Some("2")), (4, Some("3")), (0, Some("3"))] {
            let request = pb::RangeRequest {
                key: "k".into(),
                revision,
                ..pb::RangeRequest::default()
            };
            let read = kv.range(request).await;
            match expected {
                Some(value) => assert_eq!(read.expect("reads").into_inner().kvs[0].value, value),
                None => assert_eq!(read.expect_err("is gone").code(), Code::OutOfRange),
            }
        }
    });
}

#[test]
fn what_is_missing_says_so() {
    block_on(async {
        let single = Single::default();
        let mut maintenance = MaintenanceClient::new(single.routes());
        let raise = pb::AlarmRequest {
            action: 1,
            ..pb::AlarmRequest::default()
        };
        assert_eq!(
            maintenance.alarm(raise).await.expect_err("unimplemented").code(),
            Code::Unimplemented
        );
        let snapshot = maintenance
            .snapshot(pb::SnapshotRequest {})
            .await
            .expect_err("unimplemented");
        assert_eq!(snapshot.code(), Code::Unimplemented);
        let grant = LeaseClient::new(single.routes())
            .lease_grant(pb::LeaseGrantRequest::default())
            .await;
        assert_eq!(grant.expect_err("unimplemented").code(), Code::Unimplemented);
    });
}
