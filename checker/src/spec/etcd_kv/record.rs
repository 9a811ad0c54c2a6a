//! Reads recorded requests and answers.

use std::sync::Arc;

use tribunal_history::{Ending, Operation, Value};

use super::{Answer, Compare, Comparison, EtcdKv, Kv, Op, Range, Request, Ret, Target, Txn, TxnRet};
use crate::spec::fields::label;
use crate::spec::{Fields, ParseOperation, Recorded, Register, Spec};

/// Deepest nesting of transactions that is read; etcd's own limit is lower for any use that makes sense.
const DEPTH_MAX: usize = 16;

impl Recorded for EtcdKv {
    const NAME: &'static str = "etcd-kv";
    const SUMMARY: &'static str = "all keys of an etcd, with its revisions: range, put, delete, txn, leases";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        let input = &operation.input;
        let asks = || fields.wrong_input("a request on keys as the specification etcd-kv describes it");
        let txn = match operation.function.as_str() {
            "range" | "read" => Txn::one(Request::Range(range(input).ok_or_else(asks)?)),
            "put" | "write" => Txn::one(put(input).ok_or_else(asks)?),
            "delete" => Txn::one(delete(input).ok_or_else(asks)?),
            "txn" => txn(input, DEPTH_MAX).ok_or_else(asks)?,
            "cas" => cas(input).ok_or_else(asks)?,
            "lease-revoke" => {
                let lease = input.get("lease").and_then(Value::as_int).ok_or_else(asks)?;
                let ret = Ret {
                    revision: None,
                    txn: None,
                };
                return Ok((Op::End { lease }, fields.is_done().then_some(ret)));
            }
            "lease-grant" | "compact" => {
                lease_or_revision(operation).ok_or_else(asks)?;
                let ret = Ret {
                    revision: None,
                    txn: Some(TxnRet {
                        succeeded: true,
                        answers: Vec::new(),
                    }),
                };
                return Ok((Op::Txn(Txn::default()), fields.is_done().then_some(ret)));
            }
            _ => {
                return Err(fields.wrong_function(
                    "range, put, delete, txn, lease-grant, lease-revoke, compact, read, write or cas",
                ));
            }
        };
        if !fields.is_done() {
            return Ok((Op::Txn(txn), None));
        }
        let answered = match operation.function.as_str() {
            "read" => Some(one(true, read(input, &operation.output))),
            "write" if operation.output.is_null() => Some(one(true, Answer::Put { prev: None })),
            "cas" => swapped(input, &operation.output),
            "txn" => txn_answer(&txn, &operation.output),
            _ => answer(&txn.then[0], &operation.output).map(|answer| one(true, answer)),
        };
        let told = || fields.wrong_output("an answer as the specification etcd-kv describes it");
        let ret = Ret {
            revision: operation.revision.and_then(|revision| u64::try_from(revision.0).ok()),
            txn: Some(answered.ok_or_else(told)?),
        };
        Ok((Op::Txn(txn), Some(ret)))
    }

    fn observes(_: &Op, ret: &Ret) -> bool {
        // A put tells its revision.
        ret.revision.is_some()
            || ret.txn.as_ref().is_some_and(|txn| {
                !txn.answers
                    .iter()
                    .all(|answer| matches!(answer, Answer::Put { prev: None }))
            })
    }

    fn may_be_stale(op: &Op) -> bool {
        matches!(op, Op::Txn(txn) if txn.may_be_stale())
    }

    fn may_follow(operation: &Operation) -> Option<Op> {
        let lease = (operation.function == "lease-grant").then(|| operation.input.get("lease")?.as_int())??;
        Some(Op::End { lease })
    }

    fn answer_as_told(&mut self, op: &Op, recorded: &Ret) -> Ret {
        self.invoke(op).like(recorded)
    }

    fn label(operation: &Operation) -> String {
        let input = &operation.input;
        let key = input.get("key").map_or_else(String::new, ToString::to_string);
        let keys = match input.get("end") {
            Some(end) if !end.is_null() => format!("{key}..{end}"),
            _ => key,
        };
        let is_done = operation.ending == Ending::Ok;
        match operation.function.as_str() {
            "read" | "write" | "cas" => Register::label(operation),
            "put" => format!("put {keys} = {}", input.get("value").cloned().unwrap_or_default()),
            "range" if is_done => format!("range {keys} → {}", shown(&operation.output)),
            "delete" | "range" => format!("{} {keys}", operation.function),
            "txn" if is_done => {
                let held = operation.output.get("succeeded").and_then(Value::as_bool) == Some(true);
                format!("txn, its compares {}", if held { "held" } else { "did not hold" })
            }
            _ => label(operation),
        }
    }

    fn refusal(&self, op: &Op, ret: &Ret) -> Option<String> {
        let mut after = self.clone();
        if after.is_valid_step(op, ret) {
            return None;
        }
        let mut after = self.clone();
        let now = after.invoke(op);
        if let (Some(now), Some(seen)) = (now.revision, ret.revision)
            && now != seen
        {
            return Some(format!("the revision would be {now}, not {seen}"));
        }
        Some("the keys do not hold what it was answered".to_owned())
    }
}

/// The keys of a range's answer, for people.
fn shown(output: &Value) -> String {
    let Some(Value::List(kvs)) = output.get("kvs") else {
        return output.get("count").cloned().unwrap_or_default().to_string();
    };
    let pair = |kv: &Value| format!("{}={}", field(kv, "key"), field(kv, "value"));
    match kvs.as_slice() {
        [] => "nothing".to_owned(),
        kvs => kvs.iter().map(pair).collect::<Vec<_>>().join(" "),
    }
}

fn field(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or_default()
}

fn lease_or_revision(operation: &Operation) -> Option<i64> {
    let name = match operation.function.as_str() {
        "compact" => "revision",
        _ => "lease",
    };
    operation.input.get(name)?.as_int()
}

fn text(input: &Value, name: &str) -> Option<Arc<str>> {
    input.get(name)?.as_text().map(Arc::from)
}

/// A field that may be absent or null, and is whole and not negative otherwise.
fn number(input: &Value, name: &str) -> Option<Option<u64>> {
    match input.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::Int(number)) => u64::try_from(*number).ok().map(Some),
        Some(_) => None,
    }
}

fn truth(input: &Value, name: &str) -> Option<bool> {
    match input.get(name) {
        None | Some(Value::Null) => Some(false),
        Some(value) => value.as_bool(),
    }
}

fn end(input: &Value) -> Option<Option<Arc<str>>> {
    match input.get("end") {
        None | Some(Value::Null) => Some(None),
        Some(end) => end.as_text().map(|end| Some(end.into())),
    }
}

fn range(input: &Value) -> Option<Range> {
    Some(Range {
        key: text(input, "key")?,
        end: end(input)?,
        revision: number(input, "revision")?.unwrap_or(0),
        limit: number(input, "limit")?.unwrap_or(0),
        count_only: truth(input, "count_only")?,
        serializable: truth(input, "serializable")?,
    })
}

fn put(input: &Value) -> Option<Request> {
    Some(Request::Put {
        key: text(input, "key")?,
        value: input.get("value")?.clone(),
        lease: match input.get("lease") {
            None | Some(Value::Null) => 0,
            Some(lease) => lease.as_int()?,
        },
    })
}

fn delete(input: &Value) -> Option<Request> {
    Some(Request::Delete {
        key: text(input, "key")?,
        end: end(input)?,
    })
}

fn txn(input: &Value, depth: usize) -> Option<Txn> {
    let depth = depth.checked_sub(1)?;
    let list = |name: &str| match input.get(name) {
        None | Some(Value::Null) => Some(&[][..]),
        Some(Value::List(list)) => Some(list.as_slice()),
        Some(_) => None,
    };
    let requests = |name: &str| -> Option<Vec<Request>> { list(name)?.iter().map(|one| request(one, depth)).collect() };
    Some(Txn {
        compares: list("if")?.iter().map(compare).collect::<Option<_>>()?,
        then: requests("then")?,
        otherwise: requests("else")?,
    })
}

fn request(input: &Value, depth: usize) -> Option<Request> {
    let Value::Map(map) = input else { return None };
    let (name, input) = map.iter().next().filter(|_| map.len() == 1)?;
    match name {
        "range" => range(input).map(Request::Range),
        "put" => put(input),
        "delete" => delete(input),
        "txn" => txn(input, depth).map(|txn| Request::Txn(Box::new(txn))),
        _ => None,
    }
}

fn compare(input: &Value) -> Option<Compare> {
    let target = match input.get("target")?.as_text()? {
        "value" => Target::Value,
        "mod" => Target::Modified,
        "create" => Target::Created,
        "version" => Target::Version,
        "lease" => Target::Lease,
        _ => return None,
    };
    let is = match input.get("is")?.as_text()? {
        "=" => Comparison::Equal,
        "!=" => Comparison::Differs,
        "<" => Comparison::Less,
        ">" => Comparison::Greater,
        _ => return None,
    };
    let value = input.get("value")?.clone();
    (target == Target::Value || value.as_int().is_some()).then_some(Compare {
        key: text(input, "key")?,
        target,
        is,
        value,
    })
}

/// A register's compare-and-set, which compares the value, or that there is none.
fn cas(input: &Value) -> Option<Txn> {
    let key = text(input, "key")?;
    let expect = input.get("expect")?;
    let (target, value) = match expect {
        Value::Null => (Target::Created, 0.into()),
        expect => (Target::Value, expect.clone()),
    };
    Some(Txn {
        compares: vec![Compare {
            key: key.clone(),
            target,
            is: Comparison::Equal,
            value,
        }],
        then: vec![put(input)?],
        otherwise: vec![Request::Range(Range::one(&key))],
    })
}

fn one(succeeded: bool, answer: Answer) -> TxnRet {
    TxnRet {
        succeeded,
        answers: vec![answer],
    }
}

/// What a register's read says of its key.
fn read(input: &Value, output: &Value) -> Answer {
    let kv = |key| Kv {
        key,
        value: Some(output.clone()),
        modified: None,
        created: None,
        version: None,
        lease: None,
    };
    Answer::Range {
        kvs: text(input, "key")
            .filter(|_| !output.is_null())
            .map(kv)
            .into_iter()
            .collect(),
        count: None,
    }
}

fn swapped(input: &Value, output: &Value) -> Option<TxnRet> {
    match (output.get("swapped")?.as_bool()?, output.get("actual")) {
        (true, None) => Some(one(true, Answer::Put { prev: None })),
        (false, Some(actual)) => Some(one(false, read(input, actual))),
        _ => None,
    }
}

fn txn_answer(txn: &Txn, output: &Value) -> Option<TxnRet> {
    let succeeded = output.get("succeeded")?.as_bool()?;
    let requests = if succeeded { &txn.then } else { &txn.otherwise };
    let answers: &[Value] = match output.get("responses") {
        None if requests.is_empty() => &[],
        Some(Value::List(list)) if list.len() == requests.len() => list,
        _ => return None,
    };
    let answers = requests
        .iter()
        .zip(answers)
        .map(|(request, output)| answer(request, output));
    Some(TxnRet {
        succeeded,
        answers: answers.collect::<Option<_>>()?,
    })
}

fn answer(request: &Request, output: &Value) -> Option<Answer> {
    let kvs = |list: &Value| match list {
        Value::List(list) => list.iter().map(kv).collect::<Option<Vec<Kv>>>(),
        _ => None,
    };
    match request {
        Request::Range(range) => Some(Answer::Range {
            kvs: match output.get("kvs") {
                Some(list) => kvs(list)?,
                None if range.count_only => Vec::new(),
                None => return None,
            },
            count: number(output, "count")?,
        }),
        Request::Put { .. } => Some(Answer::Put {
            prev: match output.get("prev") {
                None => None,
                Some(Value::Null) => Some(None),
                Some(prev) => Some(Some(kv(prev)?)),
            },
        }),
        Request::Delete { .. } => Some(Answer::Delete {
            deleted: number(output, "deleted")??,
            prev: output.get("prev").map(kvs).map_or(Some(None), |prev| prev.map(Some))?,
        }),
        Request::Txn(inner) => txn_answer(inner, output).map(Answer::Txn),
    }
}

fn kv(value: &Value) -> Option<Kv> {
    let lease = value.get("lease").filter(|lease| !lease.is_null());
    Some(Kv {
        key: text(value, "key")?,
        value: value.get("value").cloned(),
        modified: number(value, "mod")?,
        created: number(value, "create")?,
        version: number(value, "version")?,
        lease: lease.map_or(Some(None), |lease| lease.as_int().map(Some))?,
    })
}
