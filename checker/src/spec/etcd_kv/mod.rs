//! The keys of an etcd as one object with one revision.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `range` | `{"key":"a"}`, and if wanted `"end"`, `"limit"`, `"revision"`, `"serializable"`, `"count_only"` | `{"kvs":[KV],"count":1}` |
//! | `put` | `{"key":"a","value":1}`, and if wanted `"lease"` | null, or `{"prev":KV or null}` |
//! | `delete` | `{"key":"a"}`, and if wanted `"end"` | `{"deleted":1}`, and if asked for `"prev":[KV]` |
//! | `txn` | `{"if":[{"key":"a","target":"mod","is":"=","value":4}],"then":[REQUEST],"else":[REQUEST]}` | `{"succeeded":true,"responses":[OUTPUT]}` |
//! | `lease-grant`, `lease-revoke` | `{"lease":7}` | null |
//! | `compact` | `{"revision":4}` | null |
//! | `read`, `write`, `cas` | as of [`register`](super::register) | the same |
//!
//! A `REQUEST` is `{"range":INPUT}`, `{"put":INPUT}`, `{"delete":INPUT}` or `{"txn":INPUT}`; a `KV` is `{"key":"a","value":1}`
//! and, where they are known, `"mod"`, `"create"`, `"version"` and `"lease"`. Targets are `value`, `mod`, `create`, `version`
//! and `lease`; comparisons are `=`, `!=`, `<` and `>`. The completion carries the revision of the reply's header. What is
//! not recorded is not judged.
//!
//! The contract (etcd's documentation, "KV API guarantees", and what its servers do): the store has one revision, 1 at
//! first. A request that changes something makes the next revision, however many keys it changes; one that changes nothing,
//! such as a delete of what is not there or a txn without writes, makes none. The header of its reply has the newest revision
//! at the moment when it took effect. A key carries the revision that made it and the one that changed it last, and counts
//! its changes; a delete ends this life.
//!
//! - **Header revisions** of ranges, puts, deletes and txns are trusted; those of lease requests and compactions are local to
//!   a member and say nothing ([`Spec::witness`]).
//! - **Serializable** ranges may show any earlier state: see [`Recorded::may_be_stale`](super::Recorded::may_be_stale), and
//!   the model [`SerializableReads`](crate::Consistency::SerializableReads).
//! - **A lease** may expire at any moment after its grant, for ever: all its keys go in one revision, none if it has no keys.
//!   When that is right is a matter of the lease check.
//! - **A compaction** changes no state: it only lets reads of older revisions fail.
//!
//! ```
//! use tribunal_checker::spec::{EtcdKv, Spec, etcd_kv::{Op, Txn}};
//!
//! let mut etcd = EtcdKv::default();
//! let ret = etcd.invoke(&Op::Txn(Txn::put("a", 1)));
//! assert_eq!(ret.revision, Some(2), "the first change makes revision 2");
//! assert_eq!(etcd.invoke(&Op::Txn(Txn::delete("b"))).revision, Some(2), "nothing was deleted");
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tribunal_history::Value;

use super::{Class, Spec};

mod plain;
mod record;
mod told;
mod values;

pub use values::{Values, erasable};

/// The keys, their histories, and the revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EtcdKv {
    revision: u64,
    keys: BTreeMap<Arc<str>, Arc<Vec<Version>>>,
    /// The keys that each lease holds.
    leases: BTreeMap<i64, BTreeSet<Arc<str>>>,
}

impl Default for EtcdKv {
    fn default() -> Self {
        Self {
            revision: 1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }
}

/// What a change left of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Version {
    modified: u64,
    created: u64,
    /// 0 where it was deleted.
    version: u64,
    value: Value,
    lease: i64,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Any request on keys; a plain one is a txn that compares nothing.
    Txn(Txn),
    /// A lease ends: it is revoked, or expires.
    End {
        /// Which.
        lease: i64,
    },
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is done then.
    pub then: Vec<Request>,
    /// What is done otherwise.
    pub otherwise: Vec<Request>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Compare {
    /// Of which key.
    pub key: Arc<str>,
    /// What of it.
    pub target: Target,
    /// How.
    pub is: Comparison,
    /// With what.
    pub value: Value,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Its value; a key that is not there has none, and no comparison with a value holds.
    Value,
    /// The revision that changed it last; 0 where it is not there.
    Modified,
    /// The revision that made it; 0 where it is not there.
    Created,
    /// How often it was changed in this life; 0 where it is not there.
    Version,
    /// Its lease; 0 where it has none.
    Lease,
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`.
    Equal,
    /// `!=`.
    Differs,
    /// `<`.
    Less,
    /// `>`.
    Greater,
}

/// One request of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Reads keys.
    Range(Range),
    /// Writes a key.
    Put {
        /// Which.
        key: Arc<str>,
        /// Its value from now on.
        value: Value,
        /// The lease that is to hold it; 0 for none.
        lease: i64,
    },
    /// Deletes keys.
    Delete {
        /// Which, or the first of them.
        key: Arc<str>,
        /// Behind the last of them; none for one key.
        end: Option<Arc<str>>,
    },
    /// A transaction in the transaction.
    Txn(Box<Txn>),
}

/// Which keys are read, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// Which, or the first of them.
    pub key: Arc<str>,
    /// Behind the last of them; none for one key.
    pub end: Option<Arc<str>>,
    /// The revision at which they are read; 0 for now.
    pub revision: u64,
    /// How many at most; 0 for all.
    pub limit: u64,
    /// Whether only their number is asked for.
    pub count_only: bool,
    /// Whether an earlier state will do.
    pub serializable: bool,
}

impl Txn {
    /// Reads one key.
    pub fn get(key: &str) -> Self {
        Self::one(Request::Range(Range::one(key)))
    }

    /// Writes one key.
    pub fn put(key: &str, value: impl Into<Value>) -> Self {
        Self::one(Request::Put {
            key: key.into(),
            value: value.into(),
            lease: 0,
        })
    }

    /// Deletes one key.
    pub fn delete(key: &str) -> Self {
        Self::one(Request::Delete {
            key: key.into(),
            end: None,
        })
    }

    /// One request on no condition.
    pub fn one(request: Request) -> Self {
        Self {
            then: vec![request],
            ..Self::default()
        }
    }

    /// All requests of both branches, those of inner transactions among them, and all comparisons.
    fn visit<'a>(&'a self, request: &mut impl FnMut(&'a Request), compare: &mut impl FnMut(&'a Compare)) {
        self.compares.iter().for_each(&mut *compare);
        for one in self.then.iter().chain(&self.otherwise) {
            request(one);
            if let Request::Txn(inner) = one {
                inner.visit(request, compare);
            }
        }
    }

    /// Whether it reads only.
    fn only_reads(&self) -> bool {
        let mut only = true;
        self.visit(
            &mut |request| only &= matches!(request, Request::Range(_) | Request::Txn(_)),
            &mut |_| {},
        );
        only
    }

    /// Whether it reads only, and any state will do.
    fn may_be_stale(&self) -> bool {
        let mut stale = true;
        self.visit(
            &mut |request| stale &= !matches!(request, Request::Range(range) if !range.serializable),
            &mut |_| {},
        );
        stale && self.only_reads() && self.then.len() + self.otherwise.len() > 0
    }

    /// The keys that it may write; none if those are not single keys.
    pub(crate) fn may_write(&self) -> Option<Vec<(&Arc<str>, Option<&Value>)>> {
        let mut keys = Some(Vec::new());
        self.visit(
            &mut |request| match (request, &mut keys) {
                (Request::Put { key, value, .. }, Some(keys)) => keys.push((key, Some(value))),
                (Request::Delete { key, end: None }, Some(keys)) => keys.push((key, None)),
                (Request::Delete { end: Some(_), .. }, _) => keys = None,
                _ => {}
            },
            &mut |_| {},
        );
        keys
    }
}

impl Range {
    /// One key, now.
    pub fn one(key: &str) -> Self {
        Self {
            key: key.into(),
            end: None,
            revision: 0,
            limit: 0,
            count_only: false,
            serializable: false,
        }
    }
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ret {
    /// The revision in the reply's header, where it is known and can be trusted.
    pub revision: Option<u64>,
    /// The rest; none of a lease's end.
    pub txn: Option<TxnRet>,
}

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxnRet {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// One for each request of the branch that was taken.
    pub answers: Vec<Answer>,
}

/// The answer to a request; none stands for what is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To a range.
    Range {
        /// The keys.
        kvs: Vec<Kv>,
        /// How many there are, those beyond the limit counted.
        count: Option<u64>,
    },
    /// To a put: what was there before.
    Put {
        /// Null, or the key.
        prev: Option<Option<Kv>>,
    },
    /// To a delete.
    Delete {
        /// How many there were.
        deleted: u64,
        /// The keys.
        prev: Option<Vec<Kv>>,
    },
    /// To a transaction.
    Txn(TxnRet),
}

/// A key as a reply shows it; none stands for what is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kv {
    /// Its name.
    pub key: Arc<str>,
    /// Its value.
    pub value: Option<Value>,
    /// The revision that changed it last.
    pub modified: Option<u64>,
    /// The revision that made it.
    pub created: Option<u64>,
    /// How often it was changed in this life.
    pub version: Option<u64>,
    /// Its lease.
    pub lease: Option<i64>,
}

impl TxnRet {
    /// Whether a change was made, so that there is a revision of its own.
    pub fn has_written(&self) -> bool {
        self.answers.iter().any(|answer| match answer {
            Answer::Range { .. } => false,
            Answer::Put { .. } => true,
            Answer::Delete { deleted, .. } => *deleted > 0,
            Answer::Txn(inner) => inner.has_written(),
        })
    }

    /// Whether `seen`, which may be only a part of it, is this.
    fn shows(&self, seen: &Self) -> bool {
        let answers = self.answers.iter().zip(&seen.answers);
        self.succeeded == seen.succeeded
            && self.answers.len() == seen.answers.len()
            && answers.into_iter().all(|(now, seen)| now.shows(seen))
    }
}

impl Answer {
    fn shows(&self, seen: &Self) -> bool {
        fn all(now: &[Kv], seen: &[Kv]) -> bool {
            now.len() == seen.len() && now.iter().zip(seen).all(|(now, seen)| now.shows(seen))
        }
        match (self, seen) {
            (
                Self::Range { kvs, count },
                Self::Range {
                    kvs: seen,
                    count: seen_count,
                },
            ) => all(kvs, seen) && fits(count, seen_count),
            (Self::Put { prev }, Self::Put { prev: seen }) => match (prev, seen) {
                (Some(Some(now)), Some(Some(seen))) => now.shows(seen),
                (Some(now), Some(seen)) => now.is_none() == seen.is_none(),
                _ => true,
            },
            (
                Self::Delete { deleted, prev },
                Self::Delete {
                    deleted: count,
                    prev: seen,
                },
            ) => {
                let known = prev.as_ref().zip(seen.as_ref());
                deleted == count && known.is_none_or(|(now, seen)| all(now, seen))
            }
            (Self::Txn(now), Self::Txn(seen)) => now.shows(seen),
            _ => false,
        }
    }
}

fn fits<T: PartialEq>(now: &Option<T>, seen: &Option<T>) -> bool {
    seen.is_none() || now == seen
}

impl Kv {
    fn shows(&self, seen: &Self) -> bool {
        self.key == seen.key
            && fits(&self.value, &seen.value)
            && fits(&self.modified, &seen.modified)
            && fits(&self.created, &seen.created)
            && fits(&self.version, &seen.version)
            && fits(&self.lease, &seen.lease)
    }
}

impl EtcdKv {
    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A key as it was at a revision, if it was there.
    fn at(&self, key: &str, revision: u64) -> Option<&Version> {
        let versions = self.keys.get(key)?;
        let version = match versions.last() {
            Some(last) if last.modified <= revision => last,
            _ => versions[..versions.partition_point(|version| version.modified <= revision)].last()?,
        };
        (version.version > 0).then_some(version)
    }

    fn select(&self, key: &Arc<str>, end: Option<&Arc<str>>, revision: u64) -> Vec<Kv> {
        let shown = |key: &Arc<str>| self.at(key, revision).map(|version| version.shown(key));
        match end {
            None => shown(key).into_iter().collect(),
            // An end of one zero byte means all that follow.
            Some(end) if &**end == "\0" => self
                .keys
                .range(key.clone()..)
                .filter_map(|(key, _)| shown(key))
                .collect(),
            Some(end) if end <= key => Vec::new(),
            Some(end) => {
                let keys = self.keys.range(key.clone()..end.clone());
                keys.filter_map(|(key, _)| shown(key)).collect()
            }
        }
    }

    /// Does a txn as a part of the change that would make `next`. All comparisons, those of inner transactions too, look
    /// at the state before it.
    fn txn(&mut self, txn: &Txn, next: u64) -> TxnRet {
        let mut held = Vec::new();
        self.compare(txn, &mut held);
        self.apply(txn, next, &mut held.into_iter())
    }

    /// Which comparisons hold, in the order in which the branches taken come to them.
    fn compare(&self, txn: &Txn, held: &mut Vec<bool>) {
        let holds = txn.compares.iter().all(|compare| self.holds(compare));
        held.push(holds);
        let requests = if holds { &txn.then } else { &txn.otherwise };
        for request in requests {
            if let Request::Txn(inner) = request {
                self.compare(inner, held);
            }
        }
    }

    fn apply(&mut self, txn: &Txn, next: u64, held: &mut std::vec::IntoIter<bool>) -> TxnRet {
        let succeeded = held.next().expect("each txn on the way was compared");
        let requests = if succeeded { &txn.then } else { &txn.otherwise };
        TxnRet {
            succeeded,
            answers: requests
                .iter()
                .map(|request| self.answer(request, next, held))
                .collect(),
        }
    }

    fn answer(&mut self, request: &Request, next: u64, held: &mut std::vec::IntoIter<bool>) -> Answer {
        match request {
            Request::Range(range) => {
                let revision = if range.revision == 0 { next } else { range.revision };
                let mut kvs = self.select(&range.key, range.end.as_ref(), revision);
                let count = Some(kvs.len() as u64);
                if range.count_only {
                    kvs.clear();
                } else if range.limit > 0 {
                    kvs.truncate(usize::try_from(range.limit).unwrap_or(usize::MAX));
                }
                Answer::Range { kvs, count }
            }
            Request::Put { key, value, lease } => {
                let before = self.at(key, next).cloned();
                let prev = before.as_ref().map(|version| version.shown(key));
                self.let_go(key, before.as_ref());
                if *lease != 0 {
                    self.leases.entry(*lease).or_default().insert(key.clone());
                }
                let (created, version) = before.map_or((next, 1), |before| (before.created, before.version + 1));
                self.change(
                    key,
                    Version {
                        modified: next,
                        created,
                        version,
                        value: value.clone(),
                        lease: *lease,
                    },
                );
                Answer::Put { prev: Some(prev) }
            }
            Request::Delete { key, end } => {
                let prev = self.select(key, end.as_ref(), next);
                for kv in &prev {
                    self.delete(&kv.key, next);
                }
                Answer::Delete {
                    deleted: prev.len() as u64,
                    prev: Some(prev),
                }
            }
            Request::Txn(inner) => Answer::Txn(self.apply(inner, next, held)),
        }
    }

    fn delete(&mut self, key: &Arc<str>, next: u64) {
        let before = self.at(key, next).cloned();
        self.let_go(key, before.as_ref());
        self.change(
            key,
            Version {
                modified: next,
                created: 0,
                version: 0,
                value: Value::Null,
                lease: 0,
            },
        );
    }

    fn let_go(&mut self, key: &Arc<str>, before: Option<&Version>) {
        let Some(lease) = before.map(|version| version.lease).filter(|lease| *lease != 0) else {
            return;
        };
        if let Some(keys) = self.leases.get_mut(&lease) {
            keys.remove(key);
            if keys.is_empty() {
                self.leases.remove(&lease);
            }
        }
    }

    /// Does `op` and says whether `ret` is its answer, or a part of it.
    fn step_by_answer(&mut self, op: &Op, ret: &Ret) -> bool {
        let now = self.invoke(op);
        fits(&now.revision, &ret.revision)
            && match (&now.txn, &ret.txn) {
                (Some(now), Some(seen)) => now.shows(seen),
                (now, seen) => now.is_none() == seen.is_none(),
            }
    }

    fn change(&mut self, key: &Arc<str>, version: Version) {
        match self.keys.get_mut(key) {
            Some(versions) => Arc::make_mut(versions).push(version),
            None => {
                self.keys.insert(key.clone(), Arc::new(vec![version]));
            }
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let now = self.at(&compare.key, u64::MAX);
        let number = |of: fn(&Version) -> u64| now.map_or(0, of) as i64;
        let now = match compare.target {
            Target::Value => match now {
                Some(version) => version.value.clone(),
                None => return false,
            },
            Target::Modified => number(|version| version.modified).into(),
            Target::Created => number(|version| version.created).into(),
            Target::Version => number(|version| version.version).into(),
            Target::Lease => now.map_or(0, |version| version.lease).into(),
        };
        compare.is.holds(&now, &compare.value)
    }
}

impl Comparison {
    fn holds(self, now: &Value, other: &Value) -> bool {
        match self {
            Self::Equal => now == other,
            Self::Differs => now != other,
            Self::Less => now < other,
            Self::Greater => now > other,
        }
    }
}

impl Version {
    fn shown(&self, key: &Arc<str>) -> Kv {
        Kv {
            key: key.clone(),
            value: Some(self.value.clone()),
            modified: Some(self.modified),
            created: Some(self.created),
            version: Some(self.version),
            lease: Some(self.lease),
        }
    }
}

impl Spec for EtcdKv {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        let next = self.revision + 1;
        let txn = match op {
            Op::Txn(txn) => {
                let ret = self.txn(txn, next);
                if ret.has_written() {
                    self.revision = next;
                }
                Some(ret)
            }
            Op::End { lease } => {
                let keys = self.leases.remove(lease).unwrap_or_default();
                for key in &keys {
                    self.delete(key, next);
                }
                if !keys.is_empty() {
                    self.revision = next;
                }
                None
            }
        };
        Ret {
            revision: txn.is_some().then_some(self.revision),
            txn,
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        match self.plain_step(op, ret) {
            Some(fits) => fits,
            None => self.step_by_answer(op, ret),
        }
    }

    fn class(op: &Op, ret: Option<&Ret>) -> Class {
        let reads = match (op, ret) {
            (Op::Txn(_), Some(Ret { txn: Some(txn), .. })) => !txn.has_written(),
            (Op::Txn(txn), None) => txn.only_reads(),
            _ => false,
        };
        if reads { Class::Read(None) } else { Class::Opaque }
    }

    fn witness(_: &Op, ret: &Ret) -> Option<u64> {
        ret.revision
    }

    fn value(&self) -> Value {
        let shown = |(key, _): (&Arc<str>, _)| Some((key.to_string(), self.at(key, u64::MAX)?.value.clone()));
        Value::Map(self.keys.iter().filter_map(shown).collect())
    }
}
