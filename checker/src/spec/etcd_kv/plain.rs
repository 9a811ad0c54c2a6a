//! The most common steps without making their answers: one get or one put of one key, on no condition.
//!
//! Nearly all that a workload of registers asks is of this kind, and a replay of it would spend most of its time on answers
//! that are compared and dropped. The slow twin is [`EtcdKv::step_by_answer`].

use std::sync::Arc;

use super::{Answer, EtcdKv, Kv, Op, Request, Ret, TxnRet, Version, fits};

impl EtcdKv {
    /// Does `op` if it is of this kind, and says whether `ret` fits; none if it is of another, of which nothing is done.
    pub(super) fn plain_step(&mut self, op: &Op, ret: &Ret) -> Option<bool> {
        let (Op::Txn(txn), Some(told)) = (op, &ret.txn) else {
            return None;
        };
        let ([], [request]) = (txn.compares.as_slice(), txn.then.as_slice()) else {
            return None;
        };
        let TxnRet {
            succeeded: true,
            answers,
        } = told
        else {
            return None;
        };
        let [answer] = answers.as_slice() else {
            return None;
        };
        match (request, answer) {
            (Request::Range(range), Answer::Range { kvs, count })
                if range.end.is_none() && range.revision == 0 && !range.count_only =>
            {
                let held = self.at(&range.key, self.revision);
                let is_shown = match (held, kvs.as_slice()) {
                    (None, []) => true,
                    (Some(version), [seen]) => version.is_shown_by(&range.key, seen),
                    _ => false,
                };
                let is_counted = count.is_none_or(|count| count == u64::from(held.is_some()));
                Some(is_shown && is_counted && fits(&Some(self.revision), &ret.revision))
            }
            (Request::Put { key, value, lease: 0 }, Answer::Put { prev }) => {
                let next = self.revision + 1;
                let versions = self.keys.get_mut(key)?;
                let before = versions.last().filter(|version| version.version > 0);
                if before.is_some_and(|before| before.lease != 0) {
                    return None;
                }
                let is_shown = match (prev, before) {
                    (None, _) | (Some(None), None) => true,
                    (Some(Some(seen)), Some(before)) => before.is_shown_by(key, seen),
                    _ => false,
                };
                let (created, version) = before.map_or((next, 1), |before| (before.created, before.version + 1));
                Arc::make_mut(versions).push(Version {
                    modified: next,
                    created,
                    version,
                    value: value.clone(),
                    lease: 0,
                });
                self.revision = next;
                Some(is_shown && fits(&Some(next), &ret.revision))
            }
            _ => None,
        }
    }
}

impl Version {
    /// Whether `seen`, which may be only a part of it, is this version of `key`.
    fn is_shown_by(&self, key: &Arc<str>, seen: &Kv) -> bool {
        *key == seen.key
            && seen.value.as_ref().is_none_or(|value| *value == self.value)
            && fits(&Some(self.modified), &seen.modified)
            && fits(&Some(self.created), &seen.created)
            && fits(&Some(self.version), &seen.version)
            && fits(&Some(self.lease), &seen.lease)
    }
}

#[cfg(test)]
mod tests {
    use tribunal_history::Value;

    use super::super::{Range, Txn};
    use super::*;
    use crate::generate::Draw;
    use crate::spec::Spec as _;

    /// Anything about one of three keys, mostly of the common kind.
    fn op(draw: &mut Draw) -> Op {
        let key: Arc<str> = ["a", "b", "c"][draw.below(3) as usize].into();
        let range = Range {
            revision: [0, 0, 0, 2][draw.below(4) as usize],
            limit: draw.below(2),
            count_only: draw.percent(10),
            ..Range::one(&key)
        };
        let lease = [0, 0, 7][draw.below(3) as usize];
        let value = Value::Int(draw.below(3) as i64);
        let mut txn = Txn::one(match draw.below(8) {
            0..3 => Request::Range(range.clone()),
            3..6 => Request::Put { key, value, lease },
            _ => Request::Delete { key, end: None },
        });
        if draw.percent(10) {
            txn.then.push(Request::Range(range));
        }
        if draw.percent(5) {
            Op::End { lease: 7 }
        } else {
            Op::Txn(txn)
        }
    }

    /// Forgets or changes a part of an answer.
    fn spoil(draw: &mut Draw, ret: &mut Ret) {
        let number = |draw: &mut Draw| draw.percent(50).then(|| draw.below(4));
        if draw.percent(30) {
            ret.revision = number(draw);
        }
        let answers = ret.txn.as_mut().map(|txn| {
            txn.succeeded ^= draw.percent(5);
            &mut txn.answers
        });
        for answer in answers.into_iter().flatten() {
            let spoil_kv = |draw: &mut Draw, kv: &mut Kv| match draw.below(7) {
                0 => kv.value = draw.percent(50).then(|| Value::Int(draw.below(3) as i64)),
                1 => kv.modified = number(draw),
                2 => kv.created = number(draw),
                3 => kv.version = number(draw),
                4 => kv.lease = draw.percent(50).then(|| draw.below(8) as i64),
                5 => kv.key = ["a", "b"][draw.below(2) as usize].into(),
                _ => {}
            };
            match answer {
                Answer::Range { kvs, count } => {
                    kvs.iter_mut().for_each(|kv| spoil_kv(draw, kv));
                    if draw.percent(20) {
                        *count = number(draw);
                    }
                    if draw.percent(10) {
                        kvs.clear();
                    }
                }
                Answer::Put { prev } => match draw.below(3) {
                    0 => *prev = draw.percent(50).then_some(None),
                    _ => prev.iter_mut().flatten().for_each(|kv| spoil_kv(draw, kv)),
                },
                _ => {}
            }
        }
    }

    #[test]
    fn plain_steps_are_as_their_answers_say() {
        let mut counts = [0; 3];
        for seed in 0..if cfg!(debug_assertions) { 3_000 } else { 100_000 } {
            let mut draw = Draw::new(seed);
            let mut etcd = EtcdKv::default();
            for _ in 0..12 {
                let op = op(&mut draw);
                let mut ret = etcd.clone().invoke(&op);
                spoil(&mut draw, &mut ret);
                let (mut quick, mut slow) = (etcd.clone(), etcd.clone());
                let fits = slow.step_by_answer(&op, &ret);
                match quick.plain_step(&op, &ret) {
                    Some(told) => {
                        counts[usize::from(told)] += 1;
                        assert_eq!(told, fits, "seed {seed}: {op:?} with {ret:?} in {etcd:?}");
                    }
                    None => {
                        counts[2] += 1;
                        assert_eq!(quick, etcd, "seed {seed}: what is not done changes nothing");
                        quick.invoke(&op);
                    }
                }
                assert_eq!(quick, slow, "seed {seed}: {op:?} with {ret:?} in {etcd:?}");
                etcd = slow;
            }
        }
        assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
    }
}
