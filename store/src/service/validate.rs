//! What is refused before it is proposed, because no state can make it right.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/key.go`; the limit of a request is its flag `--max-request-bytes`,
//! that of a transaction its flag `--max-txn-ops`.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use tribunal_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use tribunal_proto::etcdserverpb::request_op::Request;
use tribunal_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::error::ApiError;

/// Largest request to change something, in bytes: etcd's default.
pub const REQUEST_BYTES_MAX: usize = 3 << 19;

/// Most compares, and most operations of a branch, in a transaction: etcd's default.
pub const TXN_OPERATIONS_MAX: usize = 128;

/// Checks a range.
///
/// # Errors
/// No key, or an order or a target of sorting that does not exist.
pub fn range(request: &RangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::empty_key());
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(ApiError::invalid_sort_option());
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
/// No key, or a value or lease together with the wish to keep the present one.
pub fn put(request: &PutRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::lease_provided());
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// No key.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        Err(ApiError::empty_key())
    } else {
        Ok(())
    }
}

/// Checks a transaction.
///
/// # Errors
/// Too many compares or operations, a compare without key, an operation that is wrong by itself, a key that is put
/// twice, or put and deleted.
pub fn txn(request: &TxnRequest) -> Result<(), ApiError> {
    operations(request, TXN_OPERATIONS_MAX)?;
    Changes::of(&request.success)?;
    Changes::of(&request.failure)?;
    Ok(())
}

/// Checks that a request to change something is not too large.
///
/// # Errors
/// It is.
pub fn size(request: &impl Message) -> Result<(), ApiError> {
    if request.encoded_len() > REQUEST_BYTES_MAX {
        Err(ApiError::too_large())
    } else {
        Ok(())
    }
}

/// Nested transactions share the limit with those around them.
fn operations(request: &TxnRequest, max: usize) -> Result<(), ApiError> {
    let count = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let left = max.checked_sub(count).ok_or_else(ApiError::too_many_operations)?;
    if request.compare.iter().any(|condition| condition.key.is_empty()) {
        return Err(ApiError::empty_key());
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => operations(request, left)?,
            None => return Err(ApiError::key_not_found()),
        }
    }
    Ok(())
}

/// Keys that a list of operations puts and deletes (etcd's `checkIntervals`).
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Keys<'a>,
}

impl<'a> Changes<'a> {
    /// Collects them, unless a key would be put twice, or put and deleted; of the two branches of a nested
    /// transaction only one is done, so they may put the same key.
    fn of(operations: &'a [RequestOp]) -> Result<Self, ApiError> {
        let mut all = Self::default();
        let requests = || operations.iter().filter_map(|operation| operation.request.as_ref());
        for request in requests() {
            if let Request::RequestDeleteRange(request) = request {
                all.deletes.insert(request);
            }
        }
        for request in requests() {
            if let Request::RequestTxn(request) = request {
                let (success, failure) = (Self::of(&request.success)?, Self::of(&request.failure)?);
                for key in &success.puts {
                    all.put(key)?;
                }
                for key in failure.puts.difference(&success.puts) {
                    all.put(key)?;
                }
                all.deletes.merge(success.deletes);
                all.deletes.merge(failure.deletes);
            }
        }
        for request in requests() {
            if let Request::RequestPut(request) = request {
                all.put(&request.key)?;
            }
        }
        Ok(all)
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), ApiError> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(ApiError::duplicate_key());
        }
        Ok(())
    }
}

/// A set of keys: single ones, and intervals that do not touch, so that a lookup is quick however many there are.
#[derive(Default)]
struct Keys<'a> {
    single: BTreeSet<&'a [u8]>,
    /// End (without) by beginning (with).
    intervals: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Keys<'a> {
    /// A range that ends before it begins holds nothing. That is also true of one to the end of all keys, whose
    /// end is written `"\0"`: etcd lets a put follow such a delete, and then both happen, in order.
    fn insert(&mut self, request: &'a DeleteRangeRequest) {
        if request.range_end.is_empty() {
            self.single.insert(&request.key);
        } else if request.key < request.range_end {
            self.insert_interval(&request.key, &request.range_end);
        }
    }

    fn insert_interval(&mut self, mut begin: &'a [u8], mut end: &'a [u8]) {
        while let Some((&first, &last)) = self.intervals.range(..=end).next_back()
            && last >= begin
        {
            begin = begin.min(first);
            end = end.max(last);
            self.intervals.remove(first);
        }
        self.intervals.insert(begin, end);
    }

    fn merge(&mut self, other: Self) {
        self.single.extend(other.single);
        for (begin, end) in other.intervals {
            self.insert_interval(begin, end);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        let interval = self.intervals.range(..=key).next_back();
        self.single.contains(key) || interval.is_some_and(|(_, end)| key < *end)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tribunal_proto::etcdserverpb::Compare;

    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn op_put(key: &str) -> RequestOp {
        let request = PutRequest {
            key: bytes(key),
            ..PutRequest::default()
        };
        RequestOp {
            request: Some(Request::RequestPut(request)),
        }
    }

    fn op_delete(key: &str, range_end: &str) -> RequestOp {
        let request = DeleteRangeRequest {
            key: bytes(key),
            range_end: bytes(range_end),
            prev_kv: false,
        };
        RequestOp {
            request: Some(Request::RequestDeleteRange(request)),
        }
    }

    fn op_get(key: &str) -> RequestOp {
        let request = RangeRequest {
            key: bytes(key),
            ..RangeRequest::default()
        };
        RequestOp {
            request: Some(Request::RequestRange(request)),
        }
    }

    fn op_txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        RequestOp {
            request: Some(Request::RequestTxn(TxnRequest {
                compare: vec![],
                success,
                failure,
            })),
        }
    }

    fn check(success: Vec<RequestOp>) -> Result<(), ApiError> {
        txn(&TxnRequest {
            success,
            ..TxnRequest::default()
        })
    }

    #[test]
    fn a_range_needs_a_key_and_a_known_order() {
        let good = RangeRequest {
            key: bytes("k"),
            ..RangeRequest::default()
        };
        assert_eq!(range(&good), Ok(()));
        assert_eq!(range(&RangeRequest::default()), Err(ApiError::empty_key()));
        assert_eq!(
            range(&RangeRequest {
                sort_order: 3,
                ..good.clone()
            }),
            Err(ApiError::invalid_sort_option())
        );
        assert_eq!(
            range(&RangeRequest { sort_target: 5, ..good }),
            Err(ApiError::invalid_sort_option())
        );
    }

    #[test]
    fn a_put_keeps_or_gives_but_not_both() {
        let good = PutRequest {
            key: bytes("k"),
            value: bytes("v"),
            lease: 1,
            ..PutRequest::default()
        };
        assert_eq!(put(&good), Ok(()));
        assert_eq!(put(&PutRequest::default()), Err(ApiError::empty_key()));
        assert_eq!(
            put(&PutRequest {
                ignore_value: true,
                ..good.clone()
            }),
            Err(ApiError::value_provided())
        );
        assert_eq!(
            put(&PutRequest {
                ignore_lease: true,
                ..good.clone()
            }),
            Err(ApiError::lease_provided())
        );
        let keeps = PutRequest {
            ignore_value: true,
            ignore_lease: true,
            value: bytes(""),
            lease: 0,
            ..good
        };
        assert_eq!(put(&keeps), Ok(()));
    }

    #[test]
    fn a_transaction_has_at_most_128_operations() {
        let many = |count: usize| {
            (0..count)
                .map(|number| op_put(&format!("k{number}")))
                .collect::<Vec<_>>()
        };
        assert_eq!(check(many(128)), Ok(()));
        assert_eq!(check(many(129)), Err(ApiError::too_many_operations()));
        let compares = |count| TxnRequest {
            compare: vec![
                Compare {
                    key: bytes("k"),
                    ..Compare::default()
                };
                count
            ],
            ..TxnRequest::default()
        };
        assert_eq!(txn(&compares(128)), Ok(()));
        assert_eq!(txn(&compares(129)), Err(ApiError::too_many_operations()));
        assert_eq!(
            check(vec![op_txn(many(127), vec![])]),
            Ok(()),
            "one for the outer, 127 for the inner"
        );
        assert_eq!(
            check(vec![op_txn(many(128), vec![])]),
            Err(ApiError::too_many_operations())
        );
    }

    #[test]
    fn each_operation_of_a_transaction_is_checked() {
        assert_eq!(check(vec![op_get("")]), Err(ApiError::empty_key()));
        assert_eq!(check(vec![op_put("")]), Err(ApiError::empty_key()));
        assert_eq!(check(vec![op_delete("", "a")]), Err(ApiError::empty_key()));
        assert_eq!(
            check(vec![op_txn(vec![], vec![op_put("")])]),
            Err(ApiError::empty_key())
        );
        assert_eq!(check(vec![RequestOp::default()]), Err(ApiError::key_not_found()));
        let compare = TxnRequest {
            compare: vec![Compare::default()],
            ..TxnRequest::default()
        };
        assert_eq!(txn(&compare), Err(ApiError::empty_key()));
        let failure = TxnRequest {
            failure: vec![op_put("")],
            ..TxnRequest::default()
        };
        assert_eq!(txn(&failure), Err(ApiError::empty_key()));
    }

    /// The cases were tried on etcd 3.4.23.
    #[test]
    fn a_key_is_changed_once() {
        let twice = Err(ApiError::duplicate_key());
        for (what, operations, expected) in [
            ("nothing", vec![], Ok(())),
            ("two keys", vec![op_put("a"), op_put("b")], Ok(())),
            ("put twice", vec![op_put("a"), op_get("a"), op_put("a")], twice.clone()),
            (
                "put, then deleted",
                vec![op_put("a"), op_delete("a", "")],
                twice.clone(),
            ),
            (
                "deleted, then put",
                vec![op_delete("a", ""), op_put("a")],
                twice.clone(),
            ),
            (
                "in a deleted range",
                vec![op_delete("a", "c"), op_put("b")],
                twice.clone(),
            ),
            (
                "at the end of a deleted range",
                vec![op_delete("a", "c"), op_put("c")],
                Ok(()),
            ),
            (
                "in the first of two ranges",
                vec![op_delete("a", "c"), op_delete("e", "g"), op_put("b")],
                twice.clone(),
            ),
            (
                "between two ranges",
                vec![op_delete("a", "c"), op_delete("e", "g"), op_put("d")],
                Ok(()),
            ),
            (
                "in the union",
                vec![op_delete("e", "g"), op_delete("a", "f"), op_put("d")],
                twice.clone(),
            ),
            (
                "in a range around another",
                vec![op_delete("a", "g"), op_delete("b", "c"), op_put("f")],
                twice.clone(),
            ),
            (
                "deleted in the first branch",
                vec![op_txn(vec![op_delete("a", "")], vec![]), op_put("a")],
                twice.clone(),
            ),
            (
                "a delete to the end of all keys",
                vec![op_delete("a", "\0"), op_put("b")],
                Ok(()),
            ),
            ("deleted twice", vec![op_delete("a", ""), op_delete("a", "c")], Ok(())),
            (
                "in both branches",
                vec![op_txn(vec![op_put("a")], vec![op_put("a")])],
                Ok(()),
            ),
            (
                "in a branch and outside",
                vec![op_txn(vec![op_put("a")], vec![]), op_put("a")],
                twice.clone(),
            ),
            (
                "in two inner ones",
                vec![op_txn(vec![op_put("a")], vec![]), op_txn(vec![], vec![op_put("a")])],
                twice.clone(),
            ),
            (
                "put inside, deleted outside",
                vec![op_txn(vec![], vec![op_put("a")]), op_delete("a", "")],
                twice.clone(),
            ),
            (
                "deleted inside, put outside",
                vec![op_txn(vec![], vec![op_delete("a", "")]), op_put("a")],
                twice.clone(),
            ),
        ] {
            assert_eq!(check(operations.clone()), expected, "{what}");
            let failure = TxnRequest {
                failure: operations,
                ..TxnRequest::default()
            };
            assert_eq!(txn(&failure), expected, "{what}, in the other branch");
        }
    }

    #[test]
    fn a_request_has_at_most_one_and_a_half_mebibytes() {
        let request = |length| PutRequest {
            value: vec![0; length].into(),
            ..PutRequest::default()
        };
        let overhead = request(REQUEST_BYTES_MAX).encoded_len() - REQUEST_BYTES_MAX;
        assert_eq!(size(&request(REQUEST_BYTES_MAX - overhead)), Ok(()));
        assert_eq!(
            size(&request(REQUEST_BYTES_MAX - overhead + 1)),
            Err(ApiError::too_large())
        );
    }
}
