//! An answer as a client would have recorded it, which records no more of it than it did of another one.

use super::{Answer, Kv, Ret, TxnRet};

impl Ret {
    /// As much of this answer as `recorded` tells of its own.
    pub(super) fn like(self, recorded: &Self) -> Self {
        Self {
            revision: self.revision.filter(|_| recorded.revision.is_some()),
            txn: self.txn.map(|txn| txn.like(recorded.txn.as_ref())),
        }
    }
}

impl TxnRet {
    fn like(self, recorded: Option<&Self>) -> Self {
        // Of the other branch nothing was recorded.
        let recorded = recorded.filter(|recorded| recorded.succeeded == self.succeeded);
        let answers = self.answers.into_iter().enumerate();
        let answers = answers.map(|(at, answer)| answer.like(recorded.and_then(|one| one.answers.get(at))));
        Self {
            succeeded: self.succeeded,
            answers: answers.collect(),
        }
    }
}

impl Answer {
    fn like(self, recorded: Option<&Self>) -> Self {
        match (self, recorded) {
            (Self::Range { kvs, count }, Some(Self::Range { kvs: seen, count: told })) => Self::Range {
                kvs: all(kvs, seen),
                count: count.filter(|_| told.is_some()),
            },
            (Self::Range { kvs, .. }, _) => Self::Range {
                kvs: all(kvs, &[]),
                count: None,
            },
            (Self::Put { prev }, Some(Self::Put { prev: Some(seen) })) => Self::Put {
                prev: prev.map(|prev| prev.map(|kv| kv.like(seen.as_ref()))),
            },
            (Self::Put { .. }, _) => Self::Put { prev: None },
            (Self::Delete { deleted, prev }, Some(Self::Delete { prev: Some(seen), .. })) => Self::Delete {
                deleted,
                prev: prev.map(|prev| all(prev, seen)),
            },
            (Self::Delete { deleted, .. }, _) => Self::Delete { deleted, prev: None },
            (Self::Txn(txn), Some(Self::Txn(seen))) => Self::Txn(txn.like(Some(seen))),
            (Self::Txn(txn), _) => Self::Txn(txn.like(None)),
        }
    }
}

fn all(kvs: Vec<Kv>, seen: &[Kv]) -> Vec<Kv> {
    kvs.into_iter().map(|kv| kv.like(seen.first())).collect()
}

impl Kv {
    /// Where no key was shown, its value alone: everybody looks at that.
    fn like(self, seen: Option<&Self>) -> Self {
        Self {
            key: self.key,
            value: self.value.filter(|_| seen.is_none_or(|seen| seen.value.is_some())),
            modified: self
                .modified
                .filter(|_| seen.is_some_and(|seen| seen.modified.is_some())),
            created: self.created.filter(|_| seen.is_some_and(|seen| seen.created.is_some())),
            version: self.version.filter(|_| seen.is_some_and(|seen| seen.version.is_some())),
            lease: self.lease.filter(|_| seen.is_some_and(|seen| seen.lease.is_some())),
        }
    }
}
