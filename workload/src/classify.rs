//! The one place where an error becomes an ending: fail or info (`docs/outcomes.md` is this table for people).
//!
//! `fail` claims that the operation took no effect and never will. A wrong `fail` accuses an innocent store, a
//! wrong `info` only makes the check weaker, so `fail` needs a proof: nothing was sent, or the node refused before
//! it proposed anything and said so in etcd's own words with etcd's own code. Everything else is in doubt. A code
//! alone proves nothing, since proxies and client stacks make the same codes (`OutOfRange` is a compacted revision
//! from the node, and an answer too long to decode from the client, whose write then did happen).
//!
//! A pure read has no effect however it ends, so in doubt it is `fail`; the doubt is kept in its cause.
//!
//! Sources: etcd's `api/v3rpc/rpctypes/error.go`, `server/etcdserver/v3_server.go` and
//! `server/etcdserver/api/v3rpc/{interceptor,util}.go` (3.4 and 3.5).

use tribunal_history::{Cause, CauseCode};

use crate::client::Failure;
use crate::recorder::Completion;

/// What an operation may do to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads, whatever happens.
    Read,
    /// It may write. A compare-and-set is of this kind, also when its compare fails.
    Write,
}

/// How an operation ended for which there is no answer.
pub fn classify(access: Access, failure: &Failure) -> Completion {
    let (code, proof) = match failure {
        Failure::NotSent(_) => (CauseCode::NotConnected, Proof::NoEffect),
        Failure::Deadline => (CauseCode::Timeout, Proof::None),
        Failure::Broken(_) => (CauseCode::ConnectionLost, Proof::None),
        Failure::Status { code, local: true, .. } => (made_by_the_client(*code), Proof::None),
        Failure::Status {
            code,
            message,
            local: false,
        } => said_by_the_node(*code, message),
    };
    let cause = Cause {
        code,
        text: text(failure),
    };
    match (access, proof) {
        (Access::Read, _) | (Access::Write, Proof::NoEffect) => Completion::Fail(cause),
        (Access::Write, Proof::None) => Completion::Info(cause),
    }
}

/// Whether it is certain that an operation had and will have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    NoEffect,
    None,
}

/// gRPC's codes, by number (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
mod grpc {
    pub const CANCELLED: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNAVAILABLE: i32 = 14;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// Requests that etcd refuses as malformed: checked by the API before proposing, or, for the two about keys and
/// leases that the state decides, before anything is applied.
const MALFORMED: [&str; 8] = [
    "etcdserver: key is not provided",
    "etcdserver: key not found",
    "etcdserver: value is provided",
    "etcdserver: lease is provided",
    "etcdserver: too many operations in txn request",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: invalid sort option",
    "etcdserver: request is too large",
];

/// Requests that etcd refuses for who asks: checked before proposing, and once more before anything is applied.
const NOT_ALLOWED: [(i32, &str); 7] = [
    (grpc::PERMISSION_DENIED, "etcdserver: permission denied"),
    (grpc::UNAUTHENTICATED, "etcdserver: invalid auth token"),
    (grpc::INVALID_ARGUMENT, "etcdserver: user name is empty"),
    (
        grpc::INVALID_ARGUMENT,
        "etcdserver: authentication failed, invalid user ID or password",
    ),
    (grpc::INVALID_ARGUMENT, "etcdserver: revision of auth store is old"),
    (grpc::INVALID_ARGUMENT, "etcdserver: invalid auth management"),
    (grpc::FAILED_PRECONDITION, "etcdserver: authentication is not enabled"),
];

/// Revisions that cannot be read. On a txn the contract is that nothing of it happens; where something does, that
/// is a finding (etcd #18667).
const UNREADABLE_REVISION: [&str; 2] = [
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
];

/// What etcd says when it stopped waiting for a proposal, which may be committed later all the same.
const GAVE_UP_WAITING: [&str; 7] = [
    "etcdserver: request timed out",
    "etcdserver: request timed out, possibly due to previous leader failure",
    "etcdserver: request timed out, possibly due to connection lost",
    "etcdserver: request timed out, waiting for the applied index took too long",
    "etcdserver: server stopped",
    "etcdserver: request cancelled",
    "etcdserver: leader changed",
];

fn said_by_the_node(code: i32, message: &str) -> (CauseCode, Proof) {
    match code {
        _ if NOT_ALLOWED.contains(&(code, message)) => (CauseCode::Unauthorized, Proof::NoEffect),
        grpc::INVALID_ARGUMENT if MALFORMED.contains(&message) => (CauseCode::InvalidRequest, Proof::NoEffect),
        grpc::OUT_OF_RANGE if UNREADABLE_REVISION.contains(&message) => (CauseCode::BadRevision, Proof::NoEffect),
        // The gap between what is committed and what is applied is looked at before proposing.
        grpc::RESOURCE_EXHAUSTED if message == "etcdserver: too many requests" => {
            (CauseCode::Overloaded, Proof::NoEffect)
        }
        // The quota is looked at by the applier too, which applies the request and then returns the error.
        grpc::RESOURCE_EXHAUSTED if message == "etcdserver: mvcc: database space exceeded" => {
            (CauseCode::NoSpace, Proof::None)
        }
        // etcd says this before proposing to those that demand a leader by metadata. Our clients do not, so it
        // comes from somewhere else, such as a member to which the request was forwarded, and proves nothing.
        grpc::UNAVAILABLE if message == "etcdserver: no leader" => (CauseCode::NoLeader, Proof::None),
        grpc::UNAVAILABLE | grpc::UNKNOWN | grpc::CANCELLED | grpc::DEADLINE_EXCEEDED
            if GAVE_UP_WAITING.contains(&message) =>
        {
            (CauseCode::Interrupted, Proof::None)
        }
        grpc::CANCELLED => (CauseCode::Interrupted, Proof::None),
        grpc::DEADLINE_EXCEEDED => (CauseCode::Timeout, Proof::None),
        _ => (CauseCode::Unknown, Proof::None),
    }
}

/// The client's own stack may make any code after the request was sent; none of them proves anything.
fn made_by_the_client(code: i32) -> CauseCode {
    match code {
        grpc::DEADLINE_EXCEEDED => CauseCode::Timeout,
        grpc::CANCELLED => CauseCode::Interrupted,
        grpc::UNAVAILABLE | grpc::UNKNOWN => CauseCode::ConnectionLost,
        // An answer came and could not be decoded: too long, or malformed.
        grpc::OUT_OF_RANGE => CauseCode::BadReply,
        _ => CauseCode::Unknown,
    }
}

fn text(failure: &Failure) -> String {
    match failure {
        Failure::NotSent(why) => format!("not sent: {why}"),
        Failure::Deadline => "no answer in time".to_owned(),
        Failure::Broken(why) => format!("connection lost: {why}"),
        Failure::Status { code, message, local } => {
            let maker = if *local { " (made by the client)" } else { "" };
            format!("{}{maker}: {message}", code_name(*code))
        }
    }
}

fn code_name(code: i32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code)
        .ok()
        .and_then(|place| NAMES.get(place))
        .map_or_else(|| format!("code {code}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a write ended to which the node answered so.
    fn write(code: i32, message: &str) -> (&'static str, CauseCode) {
        ending(
            Access::Write,
            &Failure::Status {
                code,
                message: message.to_owned(),
                local: false,
            },
        )
    }

    fn ending(access: Access, failure: &Failure) -> (&'static str, CauseCode) {
        match classify(access, failure) {
            Completion::Ok(_) => panic!("a failure is never ok"),
            Completion::Fail(cause) => ("fail", cause.code),
            Completion::Info(cause) => ("info", cause.code),
        }
    }

    fn local(code: i32, message: &str) -> Failure {
        Failure::Status {
            code,
            message: message.to_owned(),
            local: true,
        }
    }

    #[test]
    fn what_was_never_sent_never_happened() {
        let refused = Failure::NotSent("connection refused".to_owned());
        assert_eq!(ending(Access::Write, &refused), ("fail", CauseCode::NotConnected));
    }

    #[test]
    fn a_write_that_ran_out_of_time_may_still_happen() {
        assert_eq!(ending(Access::Write, &Failure::Deadline), ("info", CauseCode::Timeout));
        assert_eq!(write(4, "context deadline exceeded"), ("info", CauseCode::Timeout));
        assert_eq!(
            ending(Access::Write, &local(4, "Timeout expired")),
            ("info", CauseCode::Timeout)
        );
    }

    #[test]
    fn a_write_whose_connection_broke_may_have_arrived() {
        let broken = Failure::Broken("connection reset by peer".to_owned());
        assert_eq!(ending(Access::Write, &broken), ("info", CauseCode::ConnectionLost));
        for code in [2, 14] {
            assert_eq!(
                ending(Access::Write, &local(code, "transport error")),
                ("info", CauseCode::ConnectionLost)
            );
        }
    }

    /// The member stopped waiting; the entry may be in a log and be committed by the next leader.
    #[test]
    fn every_way_of_giving_up_the_wait_is_in_doubt() {
        for message in [
            "etcdserver: request timed out",
            "etcdserver: request timed out, possibly due to previous leader failure",
            "etcdserver: request timed out, possibly due to connection lost",
            "etcdserver: request timed out, waiting for the applied index took too long",
            "etcdserver: server stopped",
            "etcdserver: leader changed",
        ] {
            assert_eq!(write(14, message), ("info", CauseCode::Interrupted), "{message}");
        }
        assert_eq!(
            write(2, "etcdserver: request cancelled"),
            ("info", CauseCode::Interrupted)
        );
        assert_eq!(write(1, "context canceled"), ("info", CauseCode::Interrupted));
        assert_eq!(
            ending(Access::Write, &local(1, "operation was canceled")),
            ("info", CauseCode::Interrupted)
        );
    }

    /// Our clients do not send the metadata with which etcd refuses before proposing.
    #[test]
    fn no_leader_is_in_doubt() {
        assert_eq!(write(14, "etcdserver: no leader"), ("info", CauseCode::NoLeader));
    }

    /// etcd looks at the gap between committed and applied before it proposes.
    #[test]
    fn too_many_requests_was_refused_before_proposing() {
        assert_eq!(
            write(8, "etcdserver: too many requests"),
            ("fail", CauseCode::Overloaded)
        );
    }

    /// The same code as "too many requests". The quota's applier applies the request, then returns the error.
    #[test]
    fn a_full_database_may_have_taken_the_write() {
        assert_eq!(
            write(8, "etcdserver: mvcc: database space exceeded"),
            ("info", CauseCode::NoSpace)
        );
        assert_eq!(
            write(8, "grpc: received message larger than max"),
            ("info", CauseCode::Unknown)
        );
    }

    /// By contract nothing of such a txn happens; if something does, the definite failure makes it a finding.
    #[test]
    fn a_compacted_or_future_revision_fails_in_exactly_these_words() {
        for message in [
            "etcdserver: mvcc: required revision has been compacted",
            "etcdserver: mvcc: required revision is a future revision",
        ] {
            assert_eq!(write(11, message), ("fail", CauseCode::BadRevision), "{message}");
            assert_eq!(write(11, &format!("{message}!")), ("info", CauseCode::Unknown));
            assert_eq!(
                write(2, message),
                ("info", CauseCode::Unknown),
                "the code is not etcd's"
            );
        }
    }

    /// The client's decoder uses the code of a compacted revision for an answer that is too long: the write happened.
    #[test]
    fn an_answer_too_long_to_decode_is_in_doubt_whoever_seems_to_say_it() {
        let message = "Error, decoded message length too large: found 70000000 bytes, the limit is: 67108864 bytes";
        assert_eq!(
            ending(Access::Write, &local(11, message)),
            ("info", CauseCode::BadReply)
        );
        assert_eq!(write(11, message), ("info", CauseCode::Unknown));
    }

    #[test]
    fn malformed_requests_are_refused_before_anything_happens() {
        for message in MALFORMED {
            assert_eq!(write(3, message), ("fail", CauseCode::InvalidRequest), "{message}");
        }
        assert_eq!(
            write(3, "bad gateway"),
            ("info", CauseCode::Unknown),
            "not etcd's words"
        );
    }

    #[test]
    fn requests_that_are_not_allowed_are_refused_before_anything_happens() {
        for (code, message) in NOT_ALLOWED {
            assert_eq!(write(code, message), ("fail", CauseCode::Unauthorized), "{message}");
        }
        assert_eq!(
            write(7, "RBAC: access denied"),
            ("info", CauseCode::Unknown),
            "a proxy's words"
        );
    }

    /// gRPC gives this code to whatever a server did not map; etcd's own "raft proposal dropped" is among them.
    #[test]
    fn unknown_stays_unknown() {
        assert_eq!(write(2, "raft proposal dropped"), ("info", CauseCode::Unknown));
        assert_eq!(write(14, "upstream connect error"), ("info", CauseCode::Unknown));
    }

    /// No code outside the table makes a definite failure, nor does a known text under another code.
    #[test]
    fn only_etcds_own_pairs_of_code_and_text_are_definite() {
        let texts = MALFORMED
            .into_iter()
            .chain(UNREADABLE_REVISION)
            .chain(NOT_ALLOWED.map(|(_, text)| text))
            .chain([
                "",
                "etcdserver: too many requests",
                "etcdserver: not leader",
                "anything",
            ]);
        for message in texts {
            for code in -1..=20 {
                let known = match code {
                    3 if MALFORMED.contains(&message) => true,
                    8 => message == "etcdserver: too many requests",
                    11 if UNREADABLE_REVISION.contains(&message) => true,
                    _ => NOT_ALLOWED.contains(&(code, message)),
                };
                let expected = if known { "fail" } else { "info" };
                assert_eq!(write(code, message).0, expected, "code {code}, {message:?}");
            }
        }
    }

    /// What the client's own stack says is never the node's word, even if it sounds like it.
    #[test]
    fn nothing_that_the_client_made_is_definite_for_a_write() {
        for code in 0..=16 {
            for message in ["etcdserver: too many requests", "etcdserver: permission denied", "x"] {
                assert_eq!(ending(Access::Write, &local(code, message)).0, "info", "code {code}");
            }
        }
    }

    /// A read has no effect to be in doubt about; its cause still tells what happened.
    #[test]
    fn a_pure_read_fails_whatever_the_reason() {
        assert_eq!(ending(Access::Read, &Failure::Deadline), ("fail", CauseCode::Timeout));
        assert_eq!(
            ending(Access::Read, &Failure::Broken("reset".to_owned())),
            ("fail", CauseCode::ConnectionLost)
        );
        let changed = Failure::Status {
            code: 14,
            message: "etcdserver: leader changed".to_owned(),
            local: false,
        };
        assert_eq!(ending(Access::Read, &changed), ("fail", CauseCode::Interrupted));
    }

    #[test]
    fn causes_keep_what_was_said_word_for_word() {
        let text = |failure| match classify(Access::Write, &failure) {
            Completion::Info(cause) | Completion::Fail(cause) => cause.text,
            Completion::Ok(_) => panic!("a failure is never ok"),
        };
        let status = |code, local| Failure::Status {
            code,
            message: "etcdserver: no leader".to_owned(),
            local,
        };
        assert_eq!(text(status(14, false)), "UNAVAILABLE: etcdserver: no leader");
        assert_eq!(
            text(status(99, true)),
            "code 99 (made by the client): etcdserver: no leader"
        );
        assert_eq!(text(Failure::Deadline), "no answer in time");
    }

    #[test]
    fn the_manual_has_every_text() {
        let manual = include_str!("../../docs/outcomes.md");
        for text in MALFORMED
            .into_iter()
            .chain(NOT_ALLOWED.map(|(_, text)| text))
            .chain(UNREADABLE_REVISION)
            .chain(GAVE_UP_WAITING)
        {
            assert!(
                manual.contains(&format!("`{text}`")),
                "docs/outcomes.md does not have {text:?}"
            );
        }
    }
}
