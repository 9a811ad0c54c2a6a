//! Errors as etcd's clients know them: code and text must match word for word, since clients compare both.
//!
//! Source: etcd, `api/v3rpc/rpctypes/error.go`.

use tribunal_proto::peer;

use crate::kv::KvError;

/// gRPC's status codes (gRPC documentation, `statuscodes.md`); a success is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// Anything else.
    Unknown = 2,
    /// The request is wrong, whatever the state.
    InvalidArgument = 3,
    /// The caller's deadline passed; the request may have taken effect.
    DeadlineExceeded = 4,
    /// Something that was asked for is absent.
    NotFound = 5,
    /// Something that was to be made is there.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A limit is reached.
    ResourceExhausted = 8,
    /// The state does not allow it.
    FailedPrecondition = 9,
    /// It was given up because of a conflict.
    Aborted = 10,
    /// Outside of what exists now.
    OutOfRange = 11,
    /// This server does not know how.
    Unimplemented = 12,
    /// An invariant is broken.
    Internal = 13,
    /// Nobody can answer now.
    Unavailable = 14,
    /// Data is lost or damaged.
    DataLoss = 15,
    /// Nobody knows who asks.
    Unauthenticated = 16,
}

impl Code {
    /// All of them, by number.
    const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of this number; `Unknown` for any that gRPC does not define, as gRPC demands.
    pub fn from_number(number: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| *code as u32 == number)
            .unwrap_or(Self::Unknown)
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ApiError {
    /// gRPC's code.
    pub code: Code,
    /// The text that etcd would send, if it knows this error.
    pub text: String,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident: $code:ident, $text:literal;)*) => {
        impl ApiError {
            $($(#[$doc])*
            pub fn $name() -> Self {
                Self::new(Code::$code, $text)
            })*
        }
    };
}

errors! {
    /// A request without a key.
    empty_key: InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on an absent key; also an operation of a txn that holds no request.
    key_not_found: InvalidArgument, "etcdserver: key not found";
    /// `ignore_value` together with a value.
    value_provided: InvalidArgument, "etcdserver: value is provided";
    /// `ignore_lease` together with a lease.
    lease_provided: InvalidArgument, "etcdserver: lease is provided";
    /// A sort order or sort target that does not exist.
    invalid_sort_option: InvalidArgument, "etcdserver: invalid sort option";
    /// More than 128 compares or operations in a txn.
    too_many_operations: InvalidArgument, "etcdserver: too many operations in txn request";
    /// A txn that changes a key twice.
    duplicate_key: InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// A revision whose state is gone.
    compacted: OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// A revision that does not exist yet.
    future_revision: OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// A lease that does not exist.
    lease_not_found: NotFound, "etcdserver: requested lease not found";
    /// A request of more than 1.5 MiB.
    too_large: InvalidArgument, "etcdserver: request is too large";
    /// Too much is waiting to be applied; nothing was proposed.
    too_many_requests: ResourceExhausted, "etcdserver: too many requests";
    /// No leader is known; nothing was proposed.
    no_leader: Unavailable, "etcdserver: no leader";
    /// Only the leader can do this.
    not_leader: FailedPrecondition, "etcdserver: not leader";
    /// The leader changed while the request was under way; it may have taken effect.
    leader_changed: Unavailable, "etcdserver: leader changed";
    /// The server is stopping; the request may have taken effect.
    stopped: Unavailable, "etcdserver: server stopped";
    /// It was not answered in time; it may have taken effect.
    timed_out: Unavailable, "etcdserver: request timed out";
    /// As [`ApiError::timed_out`], while the leader was being replaced.
    timed_out_leader_failed: Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    /// As [`ApiError::timed_out`], while most members could not be reached.
    timed_out_connection_lost: Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    /// The leader did not change within the time that a transfer may take.
    timed_out_leader_transfer: Unavailable, "etcdserver: request timed out, leader transfer took too long";
    /// The member that is to lead is no voter.
    bad_leader_transferee: FailedPrecondition, "etcdserver: bad leader transferee";
    /// There is no member of this id, or no more.
    member_not_found: NotFound, "etcdserver: member not found";
    /// Another member is reached there.
    peer_url_exists: FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// URLs that are none, or that hold more than a host and a port.
    bad_member_urls: InvalidArgument, "etcdserver: given member URLs are invalid";
    /// After the change too few of the voters would have started to be a quorum.
    not_enough_started: FailedPrecondition, "etcdserver: re-configuration failed due to not enough started members";
    /// Too few members can be reached to change the membership safely.
    unhealthy: Unavailable, "etcdserver: unhealthy cluster";
    /// A voter was to be promoted.
    member_not_learner: FailedPrecondition, "etcdserver: can only promote a learner member";
    /// A learner was to be promoted that is far behind.
    learner_not_ready: FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    /// There is a learner already.
    too_many_learners: FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// A learner was asked for what only voters answer.
    not_supported_for_learner: Unavailable, "etcdserver: rpc not supported for learner";
}

impl ApiError {
    /// An error with this code and text.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// A method that this server does not have.
    pub fn unimplemented(method: &str) -> Self {
        Self::new(Code::Unimplemented, format!("{method} is not implemented"))
    }
}

impl From<KvError> for ApiError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Compacted => Self::compacted(),
            KvError::FutureRevision => Self::future_revision(),
            KvError::KeyNotFound => Self::key_not_found(),
            KvError::LeaseNotFound => Self::lease_not_found(),
            KvError::EmptyCommand => Self::new(Code::InvalidArgument, error.to_string()),
        }
    }
}

impl From<ApiError> for peer::Error {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.code as u32,
            text: error.text,
        }
    }
}

impl From<KvError> for peer::Error {
    fn from(error: KvError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<peer::Error> for ApiError {
    fn from(error: peer::Error) -> Self {
        Self {
            code: Code::from_number(error.code),
            text: error.text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_grpcs_numbers() {
        for (place, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place + 1);
            assert_eq!(Code::from_number(code as u32), code);
        }
        assert_eq!(Code::from_number(0), Code::Unknown);
        assert_eq!(Code::from_number(99), Code::Unknown);
    }

    #[test]
    fn an_error_survives_the_way_between_members() {
        let error = ApiError::future_revision();
        assert_eq!(ApiError::from(peer::Error::from(error.clone())), error);
    }
}
