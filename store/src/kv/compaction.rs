//! Forgetting states before a revision.
//!
//! Of each key, the version that the revision sees stays, and all later ones; if that version is a delete, it goes
//! too. What can go is known beforehand: each change that takes the place of an older version, and each delete, is
//! noted with its revision, in order. So a compaction looks at what goes and at nothing else, and since it may be
//! much, each command that is applied takes away a bounded part. No answer depends on how far that has come, and a
//! checkpoint is the same before and after.
//!
//! Source: etcd, `Compact` in `server/storage/mvcc/kvstore.go` and `compact` in `key_index.go`; its documentation,
//! "History compaction".

use std::collections::VecDeque;

use bytes::Bytes;
use tribunal_proto::etcdserverpb::{CompactionRequest, CompactionResponse, ResponseHeader};

use super::{Kv, KvError};

/// Changes that one command takes away. More than a command makes as a rule, so that a compaction comes to an end.
pub(super) const STEPS: usize = 512;

/// Changes that leave something to forget, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Superseded(VecDeque<(i64, Bytes)>);

impl Superseded {
    /// Notes that the change at revision `main` took the place of a version of the key, or is a delete.
    pub fn add(&mut self, main: i64, key: Bytes) {
        self.0.push_back((main, key));
    }

    /// The next key of which versions can go, if states before `compacted` are forgotten.
    fn take(&mut self, compacted: i64) -> Option<Bytes> {
        self.0.pop_front_if(|(main, _)| *main <= compacted).map(|(_, key)| key)
    }
}

impl FromIterator<(i64, Bytes)> for Superseded {
    fn from_iter<T: IntoIterator<Item = (i64, Bytes)>>(changes: T) -> Self {
        Self(changes.into_iter().collect())
    }
}

impl Kv {
    /// The oldest revision that can be read; -1 before the first compaction.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Forgets states before a revision. The memory follows; at once if the request asks for that (`physical`).
    pub(super) fn compact(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, KvError> {
        if request.revision <= self.compacted {
            return Err(KvError::Compacted);
        }
        if request.revision > self.revision {
            return Err(KvError::FutureRevision);
        }
        self.compacted = request.revision;
        if request.physical {
            self.reclaim(usize::MAX);
        }
        Ok(CompactionResponse {
            header: Some(ResponseHeader {
                revision: self.revision,
                ..ResponseHeader::default()
            }),
        })
    }

    /// Takes away what can go, for at most so many changes.
    pub(super) fn reclaim(&mut self, steps: usize) {
        for _ in 0..steps {
            let Some(key) = self.superseded.take(self.compacted) else {
                return;
            };
            // An earlier step may have taken all of the key.
            let Some(history) = self.keys.get_mut(&key) else {
                continue;
            };
            let gone = history.forget(self.compacted);
            self.size_bytes -= gone.iter().map(|version| version.size_bytes(&key)).sum::<u64>();
            if history.versions().is_empty() {
                self.keys.remove(&key);
            }
        }
    }
}
