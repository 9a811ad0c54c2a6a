//! What is left of etcd's contract without its revisions: values under keys.
//!
//! Where a history breaks the contract, this says whether the values break linearizability as well. Everything that speaks
//! of revisions, versions, or an earlier state is erased, which only ever asks less.

use std::collections::BTreeMap;
use std::sync::Arc;

use tribunal_history::{Operation, Value};

use super::{Answer, Compare, Comparison, EtcdKv, Kv, Op, Request, Ret, Target, Txn, TxnRet};
use crate::spec::{Class, Fields, ParseOperation, Recorded, Spec};

/// Values under keys. Where `LOCAL`, each operation concerns one key, and each key is judged by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Values<const LOCAL: bool>(BTreeMap<Arc<str>, Value>);

/// Whether an operation can be judged without its revisions; a lease, or a txn in doubt that compares revisions, cannot.
fn can_be_erased(op: &Op, ret: Option<&Ret>) -> bool {
    let Op::Txn(txn) = op else { return false };
    let (mut has_lease, mut is_nested, mut names_revisions) = (false, false, false);
    txn.visit(
        &mut |request| match request {
            // Nothing stands for no key here.
            Request::Put { lease, value, .. } => has_lease |= *lease != 0 || value.is_null(),
            Request::Txn(_) => is_nested = true,
            _ => {}
        },
        &mut |compare| names_revisions |= !is_about_values(compare),
    );
    !has_lease && !is_nested && (ret.is_some() || !names_revisions)
}

/// Whether a comparison concerns the value, or whether there is one.
fn is_about_values(compare: &Compare) -> bool {
    match compare.target {
        Target::Value => true,
        Target::Modified | Target::Created | Target::Version => {
            compare.value == Value::Int(0) && compare.is != Comparison::Less
        }
        Target::Lease => false,
    }
}

/// Whether operations can be judged by [`Values`], and if so, whether each concerns one key.
pub fn erasable(operations: &[(Op, Option<Ret>)]) -> Option<bool> {
    let mut is_local = true;
    for (op, ret) in operations {
        if !can_be_erased(op, ret.as_ref()) {
            return None;
        }
        is_local &= matches!(op, Op::Txn(txn) if only_key(txn).is_some() || txn.then.len() + txn.otherwise.len() == 0);
    }
    Some(is_local)
}

/// The one key that a txn concerns.
fn only_key(txn: &Txn) -> Option<&Arc<str>> {
    let mut keys: Vec<Option<&Arc<str>>> = Vec::new();
    let mut compared: Vec<Option<&Arc<str>>> = Vec::new();
    txn.visit(
        &mut |request| {
            keys.push(match request {
                Request::Range(range) => Some(&range.key).filter(|_| range.end.is_none()),
                Request::Put { key, .. } => Some(key),
                Request::Delete { key, end } => Some(key).filter(|_| end.is_none()),
                Request::Txn(_) => return,
            });
        },
        &mut |compare| compared.push(Some(&compare.key)),
    );
    let first = (*keys.first()?)?;
    let same = |key: &Option<&Arc<str>>| *key == Some(first);
    (keys.iter().all(same) && compared.iter().all(same)).then_some(first)
}

fn erase(op: Op, ret: Option<Ret>) -> (Txn, Option<TxnRet>) {
    let Op::Txn(mut txn) = op else {
        return (Txn::default(), None);
    };
    let Some(mut ret) = ret.and_then(|ret| ret.txn) else {
        return (txn, None);
    };
    if ret.succeeded {
        // All of them held, so those that are left did.
        txn.compares.retain(is_about_values);
    } else if !txn.compares.iter().all(is_about_values) {
        // One of them did not hold, and nobody knows which.
        txn = Txn {
            compares: Vec::new(),
            then: txn.otherwise,
            otherwise: Vec::new(),
        };
        ret.succeeded = true;
    }
    // Reads of an earlier state say nothing any more.
    let requests = if ret.succeeded {
        &mut txn.then
    } else {
        &mut txn.otherwise
    };
    let says_nothing =
        |request: &Request| matches!(request, Request::Range(range) if range.revision != 0 || range.serializable);
    let kept: Vec<bool> = requests.iter().map(|request| !says_nothing(request)).collect();
    let mut at = kept.iter();
    requests.retain(|_| at.next() == Some(&true));
    let mut at = kept.iter();
    ret.answers.retain(|_| at.next() == Some(&true));
    ret.answers.iter_mut().for_each(erase_answer);
    (txn, Some(ret))
}

fn erase_answer(answer: &mut Answer) {
    let erase = |kv: &mut Kv| {
        (kv.modified, kv.created, kv.version, kv.lease) = (None, None, None, None);
    };
    match answer {
        Answer::Range { kvs, .. } => kvs.iter_mut().for_each(erase),
        Answer::Put { prev: Some(Some(prev)) } => erase(prev),
        Answer::Put { .. } => {}
        Answer::Delete { prev, .. } => prev.iter_mut().flatten().for_each(erase),
        Answer::Txn(inner) => inner.answers.iter_mut().for_each(erase_answer),
    }
}

impl<const LOCAL: bool> Values<LOCAL> {
    fn kv(&self, key: &Arc<str>) -> Option<Kv> {
        self.0.get(key).map(|value| shown(key, value))
    }

    fn select(&self, key: &Arc<str>, end: Option<&Arc<str>>) -> Vec<Kv> {
        match end {
            None => self.kv(key).into_iter().collect(),
            Some(end) if &**end == "\0" => self
                .0
                .range(key.clone()..)
                .map(|(key, value)| shown(key, value))
                .collect(),
            Some(end) if end <= key => Vec::new(),
            Some(end) => {
                let keys = self.0.range(key.clone()..end.clone());
                keys.map(|(key, value)| shown(key, value)).collect()
            }
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let now = self.0.get(&compare.key);
        match compare.target {
            Target::Value => now.is_some_and(|now| compare.is.holds(now, &compare.value)),
            _ => (compare.is == Comparison::Equal) == now.is_none(),
        }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Range(range) => {
                let mut kvs = self.select(&range.key, range.end.as_ref());
                let count = Some(kvs.len() as u64);
                if range.count_only {
                    kvs.clear();
                } else if range.limit > 0 {
                    kvs.truncate(usize::try_from(range.limit).unwrap_or(usize::MAX));
                }
                Answer::Range { kvs, count }
            }
            Request::Put { key, value, .. } => {
                let prev = self.kv(key);
                self.0.insert(key.clone(), value.clone());
                Answer::Put { prev: Some(prev) }
            }
            Request::Delete { key, end } => {
                let prev = self.select(key, end.as_ref());
                for kv in &prev {
                    self.0.remove(&kv.key);
                }
                Answer::Delete {
                    deleted: prev.len() as u64,
                    prev: Some(prev),
                }
            }
            Request::Txn(inner) => Answer::Txn(self.invoke(inner)),
        }
    }
}

fn shown(key: &Arc<str>, value: &Value) -> Kv {
    Kv {
        key: key.clone(),
        value: Some(value.clone()),
        modified: None,
        created: None,
        version: None,
        lease: None,
    }
}

impl<const LOCAL: bool> Spec for Values<LOCAL> {
    type Op = Txn;
    type Ret = TxnRet;

    fn invoke(&mut self, txn: &Txn) -> TxnRet {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let requests = if succeeded { &txn.then } else { &txn.otherwise };
        TxnRet {
            succeeded,
            answers: requests.iter().map(|request| self.answer(request)).collect(),
        }
    }

    fn is_valid_step(&mut self, txn: &Txn, ret: &TxnRet) -> bool {
        self.invoke(txn).shows(ret)
    }

    fn partition(txn: &Txn) -> Option<&str> {
        if LOCAL { only_key(txn).map(|key| &**key) } else { None }
    }

    fn class(txn: &Txn, ret: Option<&TxnRet>) -> Class {
        if !LOCAL {
            return match ret {
                Some(ret) if !ret.has_written() => Class::Read(None),
                _ => Class::Opaque,
            };
        }
        let value_of = |kvs: &[Kv]| kvs.first().map_or(Some(Value::Null), |kv| kv.value.clone());
        let put = |requests: &[Request]| match requests {
            [Request::Put { value, .. }] => Some(value.clone()),
            [Request::Delete { .. }] => Some(Value::Null),
            _ => None,
        };
        let expected = match txn.compares.as_slice() {
            [] => None,
            [compare] if compare.is == Comparison::Equal => Some(match compare.target {
                Target::Value => compare.value.clone(),
                _ => Value::Null,
            }),
            _ => return Class::Opaque,
        };
        let Some(ret) = ret else {
            return match (expected, put(&txn.then), txn.otherwise.as_slice()) {
                (Some(from), Some(to), [] | [Request::Range(_)]) => Class::Update { from, to },
                (None, Some(to), _) => Class::Write(to),
                (None, None, _) if matches!(txn.then.as_slice(), [] | [Request::Range(_)]) => Class::Read(None),
                _ => Class::Opaque,
            };
        };
        match (ret.answers.as_slice(), ret.succeeded) {
            // A compare of its own would say more.
            ([], _) if txn.compares.is_empty() => Class::Read(None),
            ([Answer::Range { kvs, .. }], false) => Class::Read(value_of(kvs)),
            ([Answer::Range { kvs, count: _ }], true) if txn.compares.is_empty() => match &txn.then[0] {
                Request::Range(range) if range.count_only || range.limit != 0 => Class::Opaque,
                _ => Class::Read(value_of(kvs)),
            },
            ([Answer::Put { prev: None }], true) => match (expected, put(&txn.then)) {
                (Some(from), Some(to)) => Class::Update { from, to },
                (None, Some(to)) => Class::Write(to),
                _ => Class::Opaque,
            },
            ([Answer::Delete { deleted: 0, .. }], true) if expected.is_none() => Class::Read(Some(Value::Null)),
            _ => Class::Opaque,
        }
    }

    fn value(&self) -> Value {
        if LOCAL {
            return self.0.values().next().cloned().unwrap_or_default();
        }
        Value::Map(
            self.0
                .iter()
                .map(|(key, value)| (key.to_string(), value.clone()))
                .collect(),
        )
    }
}

impl<const LOCAL: bool> Recorded for Values<LOCAL> {
    const NAME: &'static str = "etcd-kv";
    const SUMMARY: &'static str = "the values under an etcd's keys, without revisions";

    fn parse(operation: &Operation) -> Result<(Txn, Option<TxnRet>), ParseOperation> {
        let (op, ret) = EtcdKv::parse(operation)?;
        if !can_be_erased(&op, ret.as_ref()) {
            return Err(
                Fields::of::<Self>(operation).wrong_function("an operation that says something without revisions")
            );
        }
        Ok(erase(op, ret))
    }

    fn label(operation: &Operation) -> String {
        EtcdKv::label(operation)
    }

    fn refusal(&self, op: &Txn, ret: &TxnRet) -> Option<String> {
        if self.clone().is_valid_step(op, ret) {
            return None;
        }
        match only_key(op) {
            Some(key) => Some(format!("{key} is {}", self.0.get(key).cloned().unwrap_or_default())),
            None => Some("the keys do not hold what it was answered".to_owned()),
        }
    }
}
