//! Reading keys: which, when, how many, in which order.
//!
//! Source: etcd, `Range` in `server/etcdserver/apply` and `rangeKeys` in `server/storage/mvcc`.

use std::ops::Bound;

use bytes::Bytes;
use tribunal_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use tribunal_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use tribunal_proto::mvccpb::KeyValue;

use super::history::Version;
use super::{Kv, KvError};

/// The keys that a request means by `key` and `range_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRange<'a> {
    /// Only this one.
    One(&'a [u8]),
    /// From this one to the end (`range_end` is one zero byte).
    From(&'a [u8]),
    /// From the first one up to but without the second. Empty if they are not in order.
    Between(&'a [u8], &'a [u8]),
}

impl<'a> KeyRange<'a> {
    /// Reads the two fields as etcd does (`mkGteRange`).
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::One(key),
            [0] => Self::From(key),
            _ => Self::Between(key, range_end),
        }
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &[u8]) -> bool {
        match *self {
            Self::One(only) => key == only,
            Self::From(first) => first <= key,
            Self::Between(first, end) => first <= key && key < end,
        }
    }

    fn bounds(self) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        match self {
            Self::One(key) => (Bound::Included(key), Bound::Included(key)),
            Self::From(first) => (Bound::Included(first), Bound::Unbounded),
            // A map does not take an end before its beginning.
            Self::Between(first, end) => (Bound::Included(first), Bound::Excluded(end.max(first))),
        }
    }
}

impl Kv {
    /// The keys in a range that exist at a revision, ascending.
    pub(super) fn select<'a>(
        &'a self,
        range: KeyRange<'a>,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Version)> {
        self.keys
            .range::<[u8], _>(range.bounds())
            .filter_map(move |(key, history)| Some((key, history.at(revision)?)))
    }
}

/// Reads with `current` as the newest revision: within a transaction that has written, that is the one it makes.
pub(super) fn range(kv: &Kv, request: &RangeRequest, current: i64) -> Result<RangeResponse, KvError> {
    if request.revision > current {
        return Err(KvError::FutureRevision);
    }
    let revision = if request.revision > 0 {
        request.revision
    } else {
        current
    };
    if revision < kv.compacted {
        return Err(KvError::Compacted);
    }
    let mut found = kv.select(KeyRange::new(&request.key, &request.range_end), revision);
    let header = Some(ResponseHeader {
        revision: current,
        ..ResponseHeader::default()
    });
    if request.count_only {
        return Ok(RangeResponse {
            header,
            count: found.count() as i64,
            ..RangeResponse::default()
        });
    }

    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let mut count = 0;
    let mut kvs = Vec::new();
    let fetched = if sees_all(request) {
        usize::MAX
    } else {
        limit.saturating_add(1)
    };
    for (key, version) in found.by_ref() {
        count += 1;
        if kvs.len() < fetched && passes(request, version) {
            kvs.push(version.key_value(key));
        }
    }
    sort(request, &mut kvs);
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(RangeResponse {
        header,
        kvs,
        more,
        count,
    })
}

/// Whether sorting and filters come before the limit. A sort target without an order is sorted after it, which is
/// how etcd has it.
fn sees_all(request: &RangeRequest) -> bool {
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    request.sort_order != SortOrder::None as i32 || filters.iter().any(|bound| *bound != 0)
}

fn passes(request: &RangeRequest, version: &Version) -> bool {
    let within = |value, min, max| (min == 0 || min <= value) && (max == 0 || value <= max);
    within(version.main, request.min_mod_revision, request.max_mod_revision)
        && within(
            version.create_revision,
            request.min_create_revision,
            request.max_create_revision,
        )
}

/// Sorts; the keys come ascending, and equal ones stay so.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let compare: fn(&KeyValue, &KeyValue) -> std::cmp::Ordering = match request.sort_target() {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match request.sort_order() {
        SortOrder::None if request.sort_target() == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(compare),
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a)),
    }
}
