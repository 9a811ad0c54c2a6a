//! What etcd's robustness tests report (`tests/robustness` in etcd's repository): `operations.json` and `watch.json`.
//!
//! Both have one JSON object a line. A line of `operations.json` is an operation as Porcupine has it, with a request and an answer of
//! etcd's model; it is read as an operation of the specification `etcd-kv`. A line of `watch.json` is a watch with all that it was
//! sent: each event is read as a serializable range that shows its key at the event's revision, which is what it says. A
//! directory of reports has both for each client, in `client-1/`, `client-2/`, …; [`read_reports`] puts them together by
//! their times.
//!
//! The tests record a value of twenty bytes or more by its hash, and say of an operation in doubt only that it is. Ends
//! that coincide with beginnings count as overlapping, so that no order is assumed that was not seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::ImportError;
use super::edn::Position;
use crate::event::{Cause, CauseCode, Completion, Event, Invocation};
use crate::fields::Fields;
use crate::id::{NodeId, ProcessId, Revision, Seq};
use crate::jsonl::LINE_BYTES_MAX;
use crate::value::Value;

mod wire;

use wire::{Answer, Content, Kv, Line, Operation, Range, Request, Txn, WatchEvent};

/// How the first object of such a file begins.
pub(super) const FIRST_NAMES: [&str; 2] = ["\"ClientId\"", "\"Request\""];

/// Values of this many bytes and more are recorded by their hash.
const HASHED_BYTES_MIN: usize = 20;

/// The revision of an answer that may be stale.
const STALE: i64 = -1;

/// What was asked by whom and how it ended, before all are put in order.
struct Recorded {
    /// The client, or for a watch what no client is.
    client: Client,
    call: i64,
    end: i64,
    function: &'static str,
    input: Value,
    ended: Ended,
}

enum Ended {
    Ok { output: Value, revision: Option<i64> },
    Fail(String),
    Info(String),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    Id(i64),
    /// A watch, by its number.
    Watch(usize),
}

/// Reads one file.
pub(super) fn read(path: &Path, source: impl BufRead) -> Result<Vec<Event>, ImportError> {
    let mut recorded = Vec::new();
    lines(path, source, &mut recorded)?;
    order(path, recorded)
}

/// Whether a directory holds reports of clients.
pub fn is_reports(folder: &Path) -> bool {
    !files(folder).is_empty()
}

/// Reads the reports of all clients in a directory. Messages name the file that is at fault, or the directory.
pub fn read_reports(folder: &Path) -> Result<Vec<Event>, ImportError> {
    let mut recorded = Vec::new();
    for path in files(folder) {
        let file = File::open(&path).map_err(|source| ImportError::Io {
            path: path.clone(),
            source,
        })?;
        lines(&path, BufReader::new(file), &mut recorded)?;
    }
    order(folder, recorded)
}

/// The reports in a directory, in order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("client-") {
            let names = ["operations.json", "watch.json"];
            found.extend(
                names
                    .map(|name| entry.path().join(name))
                    .into_iter()
                    .filter(|path| path.is_file()),
            );
        }
    }
    found.sort();
    found
}

fn foreign(path: &Path, line: usize, column: usize, what: impl Into<String>) -> ImportError {
    ImportError::Foreign {
        path: path.to_owned(),
        at: Position { line, column },
        what: what.into(),
    }
}

fn lines(path: &Path, mut source: impl BufRead, recorded: &mut Vec<Recorded>) -> Result<(), ImportError> {
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = source.by_ref().take(limit).read_until(b'\n', &mut text);
        let read = read.map_err(|source| ImportError::Io {
            path: path.to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        if read as u64 == limit {
            let what = format!("a line of more than {LINE_BYTES_MAX} bytes");
            return Err(foreign(path, number, 1, what));
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line: Line = serde_json::from_slice(&text).map_err(|error| {
            foreign(
                path,
                number,
                error.column(),
                format!("not an operation of etcd: {error}"),
            )
        })?;
        let watches = recorded.len();
        one(line, watches, recorded).map_err(|what| foreign(path, number, 1, what))?;
    }
    Ok(())
}

fn one(line: Line, watches: usize, recorded: &mut Vec<Recorded>) -> Result<(), String> {
    if let (Some(_), Some(responses)) = (&line.request, line.responses) {
        let client = Client::Watch(watches);
        for response in responses {
            for event in response.events.into_iter().flatten() {
                recorded.push(seen(client, response.time, event)?);
            }
        }
        return Ok(());
    }
    let (Some(client), Some(input), Some(output)) = (line.client_id, line.input, line.output) else {
        return Err(
            "expected an object with ClientId, Input, Call, Output and Return, or with Request and Responses"
                .to_owned(),
        );
    };
    let Some((function, mut input, requests)) = request(input)? else {
        // A defragmentation changes nothing that is judged.
        return Ok(());
    };
    let ended = if !output.error.is_empty() {
        Ended::Info(output.error)
    } else if output.partial_response || output.persisted {
        Ended::Info("it took effect, but its answer was not recorded".to_owned())
    } else if !output.client_error.is_empty() {
        Ended::Fail(output.client_error)
    } else {
        if output.revision == STALE
            && let Value::Map(fields) = &mut input
        {
            fields.insert("serializable", true.into());
        }
        Ended::Ok {
            revision: Some(output.revision).filter(|revision| *revision > 0),
            output: answer(function, &requests, output)?,
        }
    };
    if matches!(ended, Ended::Ok { .. }) && line.r#return < line.call {
        return Err(format!(
            "the operation ends at {} and begins at {}",
            line.r#return, line.call
        ));
    }
    recorded.push(Recorded {
        client: Client::Id(client),
        call: line.call,
        end: line.r#return,
        function,
        input,
        ended,
    });
    Ok(())
}

/// An event of a watch: at its revision, its key is so.
fn seen(client: Client, time: i64, event: WatchEvent) -> Result<Recorded, String> {
    let revision: Value = event.revision.into();
    let kvs = match event.r#type.as_str() {
        "put-operation" => {
            let mut fields = Fields::from_iter([
                ("key", Value::Text(event.key.clone())),
                ("value", content(event.value)),
                ("mod", revision.clone()),
            ]);
            if event.is_create {
                fields.insert("create", revision);
                fields.insert("version", Value::Int(1));
            }
            vec![Value::Map(fields)]
        }
        "delete-operation" => Vec::new(),
        other => return Err(format!("expected put-operation or delete-operation, found {other:?}")),
    };
    Ok(Recorded {
        client,
        call: time,
        end: time,
        function: "range",
        input: Value::map([("key", event.key.into()), ("serializable", true.into())]),
        ended: Ended::Ok {
            output: Value::map([("kvs", Value::List(kvs))]),
            revision: Some(event.revision),
        },
    })
}

/// What the results of a txn are of.
#[derive(Clone, Copy)]
enum Asked {
    Range,
    Put,
    Delete,
}

type Branches = [Vec<Asked>; 2];

/// Function, input, and what the results of both branches are of; none if there is nothing to judge.
fn request(request: Request) -> Result<Option<(&'static str, Value, Branches)>, String> {
    let missing = || format!("a request of type {:?} without its content", request.r#type);
    let no_branches = [Vec::new(), Vec::new()];
    Ok(Some(match request.r#type.as_str() {
        "range" => ("range", range(request.range.ok_or_else(missing)?), no_branches),
        "leaseGrant" | "leaseRevoke" => {
            let is_grant = request.r#type == "leaseGrant";
            let lease = if is_grant {
                request.lease_grant
            } else {
                request.lease_revoke
            };
            let id = lease
                .ok_or_else(|| format!("a request of type {:?} without its content", request.r#type))?
                .id;
            let function = if is_grant { "lease-grant" } else { "lease-revoke" };
            (function, Value::map([("lease", id.into())]), no_branches)
        }
        "compact" => {
            let revision = request.compact.ok_or_else(missing)?.revision;
            ("compact", Value::map([("revision", revision.into())]), no_branches)
        }
        "defragment" => return Ok(None),
        "txn" => txn(request.txn.ok_or_else(missing)?)?,
        other => {
            return Err(format!(
                "expected a request of type range, txn, leaseGrant, leaseRevoke, compact or defragment, found {other:?}"
            ));
        }
    }))
}

fn txn(txn: Txn) -> Result<(&'static str, Value, Branches), String> {
    let conditions = txn.conditions.unwrap_or_default();
    let branch = |operations: Option<Vec<Operation>>| -> Result<(Vec<Value>, Vec<Asked>), String> {
        let operations = operations.unwrap_or_default().into_iter().map(operation);
        Ok(operations.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
    };
    let (mut then, then_asked) = branch(txn.operations_on_success)?;
    let (otherwise, otherwise_asked) = branch(txn.operations_on_failure)?;
    let asked = [then_asked, otherwise_asked];
    if conditions.is_empty()
        && otherwise.is_empty()
        && let [asked_for @ (Asked::Put | Asked::Delete)] = asked[0][..]
    {
        // The only operation of a txn that compares nothing is that operation.
        let function = if matches!(asked_for, Asked::Put) {
            "put"
        } else {
            "delete"
        };
        let input = match then.pop() {
            Some(Value::Map(fields)) => fields.into_values().next().unwrap_or_default(),
            _ => Value::Null,
        };
        return Ok((function, input, asked));
    }
    let compares = conditions.into_iter().map(|condition| {
        let (target, value) = match condition.expected_version {
            0 => ("mod", condition.expected_revision),
            version => ("version", version),
        };
        Value::map([
            ("key", condition.key.into()),
            ("target", target.into()),
            ("is", "=".into()),
            ("value", value.into()),
        ])
    });
    let input = Value::map([
        ("if", Value::List(compares.collect())),
        ("then", Value::List(then)),
        ("else", Value::List(otherwise)),
    ]);
    Ok(("txn", input, asked))
}

fn operation(operation: Operation) -> Result<(Value, Asked), String> {
    Ok(match operation.r#type.as_str() {
        "range-operation" => (Value::map([("range", range(operation.range))]), Asked::Range),
        "put-operation" => {
            let put = operation.put;
            let mut fields = Fields::from_iter([("key", Value::Text(put.key)), ("value", content(put.value))]);
            if put.lease != 0 {
                fields.insert("lease", put.lease.into());
            }
            (Value::map([("put", Value::Map(fields))]), Asked::Put)
        }
        "delete-operation" => {
            let input = Value::map([("key", operation.delete.key.into())]);
            (Value::map([("delete", input)]), Asked::Delete)
        }
        other => {
            return Err(format!(
                "expected range-operation, put-operation or delete-operation, found {other:?}"
            ));
        }
    })
}

fn range(range: Range) -> Value {
    let mut fields = Fields::from_iter([("key", Value::Text(range.start))]);
    if !range.end.is_empty() {
        fields.insert("end", range.end.into());
    }
    for (name, number) in [("limit", range.limit), ("revision", range.revision)] {
        if number != 0 {
            fields.insert(name, number.into());
        }
    }
    Value::Map(fields)
}

/// A value, or its hash where it is long.
fn content(content: Content) -> Value {
    let Content { value, hash } = content;
    if hash == 0 && value.len() < HASHED_BYTES_MIN {
        return Value::Text(value);
    }
    // FNV-1a of 32 bits (Fowler, Noll and Vo), as the tests hash.
    let fnv = |text: &str| {
        text.bytes().fold(0x811c_9dc5u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
    };
    let hash = if hash == 0 { fnv(&value) } else { hash };
    Value::map([("hash", i64::from(hash).into())])
}

fn answer(function: &str, requests: &Branches, answer: Answer) -> Result<Value, String> {
    Ok(match function {
        "range" => {
            let range = answer.range.ok_or("a range without its answer")?;
            ranged(range.kvs, range.count)
        }
        "put" | "delete" | "txn" => {
            let txn = answer.txn.ok_or("a txn without its answer")?;
            let asked = &requests[usize::from(txn.failure)];
            let results = txn.results.unwrap_or_default();
            if results.len() != asked.len() {
                return Err(format!(
                    "a txn of {} operations with {} results",
                    asked.len(),
                    results.len()
                ));
            }
            let mut responses: Vec<Value> = asked
                .iter()
                .zip(results)
                .map(|(asked, result)| match asked {
                    Asked::Range => ranged(result.kvs, result.count),
                    Asked::Put => Value::Null,
                    Asked::Delete => Value::map([("deleted", result.deleted.into())]),
                })
                .collect();
            if function == "txn" {
                Value::map([
                    ("succeeded", (!txn.failure).into()),
                    ("responses", Value::List(responses)),
                ])
            } else {
                responses.pop().unwrap_or_default()
            }
        }
        _ => Value::Null,
    })
}

fn ranged(kvs: Option<Vec<Kv>>, count: i64) -> Value {
    let kv = |kv: Kv| {
        let mut fields = Fields::from_iter([("key", Value::Text(kv.key)), ("value", content(kv.value))]);
        for (name, number) in [("mod", kv.mod_revision), ("version", kv.version)] {
            if number != 0 {
                fields.insert(name, number.into());
            }
        }
        Value::Map(fields)
    };
    Value::map([
        ("kvs", Value::List(kvs.into_iter().flatten().map(kv).collect())),
        ("count", count.into()),
    ])
}

/// The events of all operations in one order: by time, beginnings before ends.
fn order(path: &Path, recorded: Vec<Recorded>) -> Result<Vec<Event>, ImportError> {
    let mut moments: Vec<(i64, bool, usize)> = Vec::with_capacity(2 * recorded.len());
    for (place, one) in recorded.iter().enumerate() {
        moments.push((one.call, false, place));
        if matches!(one.ended, Ended::Ok { .. } | Ended::Fail(_)) && !matches!(one.client, Client::Watch(_)) {
            moments.push((one.end, true, place));
        }
    }
    moments.sort_unstable();
    let first_ns = moments.first().map_or(0, |(time, ..)| *time);
    let mut made = Made {
        events: Vec::with_capacity(2 * recorded.len()),
        processes: BTreeMap::new(),
        open: BTreeMap::new(),
        next: 0,
    };
    let mut recorded: Vec<Option<Recorded>> = recorded.into_iter().map(Some).collect();
    let mut ends: BTreeMap<usize, (ProcessId, Ended)> = BTreeMap::new();
    for (time, is_end, place) in moments {
        let time_ns = u64::try_from(time.saturating_sub(first_ns)).unwrap_or(0);
        if is_end {
            if let Some((process, ended)) = ends.remove(&place) {
                made.end(process, time_ns, ended);
            }
            continue;
        }
        let Some(one) = recorded[place].take() else {
            continue;
        };
        let process = made.process(one.client);
        let is_watch = matches!(one.client, Client::Watch(_));
        let in_doubt = matches!(one.ended, Ended::Info(_));
        made.begin(process, time_ns, one.function, one.input);
        if is_watch || in_doubt {
            made.end(process, time_ns, one.ended);
        } else {
            ends.insert(place, (process, one.ended));
        }
        if made.next > u64::from(u32::MAX) {
            return Err(foreign(path, 1, 1, "more clients than can be numbered"));
        }
    }
    Ok(made.events)
}

struct Made {
    events: Vec<Event>,
    /// The process that each client is now.
    processes: BTreeMap<Client, ProcessId>,
    open: BTreeMap<ProcessId, ()>,
    next: u64,
}

impl Made {
    /// The process of a client: a new one where its last operation is still open or in doubt.
    fn process(&mut self, client: Client) -> ProcessId {
        match self.processes.get(&client) {
            Some(process) if !self.open.contains_key(process) => *process,
            _ => {
                let process = ProcessId(self.next as u32);
                self.next += 1;
                self.processes.insert(client, process);
                process
            }
        }
    }

    fn begin(&mut self, process: ProcessId, time_ns: u64, function: &str, input: Value) {
        self.open.insert(process, ());
        self.events.push(Event::Invoke(Invocation {
            seq: Seq(self.events.len() as u64),
            time_ns,
            process,
            // Node 0 stands for one that nobody recorded.
            node: NodeId(0),
            function: function.to_owned(),
            input,
        }));
    }

    fn end(&mut self, process: ProcessId, time_ns: u64, ended: Ended) {
        let empty = Completion {
            seq: Seq(self.events.len() as u64),
            time_ns,
            process,
            output: Value::Null,
            revision: None,
            term: None,
            member: None,
            cause: None,
        };
        let because = |text| {
            Some(Cause {
                code: CauseCode::Unknown,
                text,
            })
        };
        self.events.push(match ended {
            Ended::Ok { output, revision } => Event::Ok(Completion {
                output,
                revision: revision.map(Revision),
                ..empty
            }),
            Ended::Fail(text) => Event::Fail(Completion {
                cause: because(text),
                ..empty
            }),
            // Its client goes on as another process, since it may still take effect.
            Ended::Info(text) => {
                self.events.push(Event::Info(Completion {
                    cause: because(text),
                    ..empty
                }));
                return;
            }
        });
        self.open.remove(&process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::pair;

    const OPERATIONS: &str = r#"{"ClientId":4,"Input":{"Type":"txn","LeaseGrant":null,"Range":null,"Txn":{"Conditions":null,"OperationsOnSuccess":[{"Type":"put-operation","Range":{"Start":"","End":"","Limit":0},"Put":{"Key":"a","Value":{"Value":"1","Hash":0},"LeaseID":0},"Delete":{"Key":""}}],"OperationsOnFailure":null}},"Call":10,"Output":{"Txn":{"Failure":false,"Results":[{"KVs":null,"Count":0,"Deleted":0}]},"Revision":2,"Error":""},"Return":20}
{"ClientId":4,"Input":{"Type":"txn","Txn":{"Conditions":[{"Key":"a","ExpectedRevision":2}],"OperationsOnSuccess":[{"Type":"delete-operation","Delete":{"Key":"a"}}],"OperationsOnFailure":[{"Type":"range-operation","Range":{"Start":"a"}}]}},"Call":30,"Output":{"Txn":{"Failure":true,"Results":[{"KVs":[{"Key":"a","Value":{"Value":"x"},"ModRevision":3}],"Count":1}]},"Revision":3},"Return":40}
{"ClientId":5,"Input":{"Type":"txn","Txn":{"OperationsOnSuccess":[{"Type":"put-operation","Put":{"Key":"a","Value":{"Value":"x"}}}]}},"Call":12,"Output":{"Error":"etcdserver: request timed out"},"Return":0}
{"ClientId":5,"Input":{"Type":"range","Range":{"Start":"a","End":"c","Limit":0,"Revision":0}},"Call":50,"Output":{"Range":{"KVs":[{"Key":"a","Value":{"Value":"x"},"ModRevision":3}],"Count":1},"Revision":-1},"Return":60}
{"ClientId":5,"Input":{"Type":"range","Range":{"Start":"a","Revision":99}},"Call":70,"Output":{"ClientError":"future rev"},"Return":80}
{"ClientId":5,"Input":{"Type":"defragment","Defragment":{}},"Call":90,"Output":{"Revision":3},"Return":95}
"#;

    const WATCH: &str = r#"{"Request":{"Key":"","Revision":1,"WithPrefix":true},"Responses":[{"Events":[{"Type":"put-operation","Key":"a","Value":{"Value":"1"},"Revision":2,"IsCreate":true},{"Type":"put-operation","Key":"a","Value":{"Value":"x"},"Revision":3,"IsCreate":false}],"Revision":3,"Time":45}]}
"#;

    fn told(events: &[Event]) -> Vec<String> {
        let one = |operation: crate::Operation| {
            let revision = operation
                .revision
                .map_or_else(String::new, |revision| format!(" @{revision}"));
            let (function, input, output) = (&operation.function, &operation.input, &operation.output);
            format!("{function} {input} {:?} {output}{revision}", operation.ending)
        };
        pair(events).expect("importers pair").into_iter().map(one).collect()
    }

    #[test]
    fn operations_of_the_robustness_tests_become_those_of_etcd_kv() {
        let events = read(Path::new("operations.json"), OPERATIONS.as_bytes()).expect("reads");
        assert_eq!(
            told(&events),
            [
                "put {key a, value 1} Ok nil @2",
                "put {key a, value x} Info nil",
                "txn {else [{range {key a}}], if [{is =, key a, target mod, value 2}], then [{delete {key a}}]} Ok \
                 {responses [{count 1, kvs [{key a, mod 3, value x}]}], succeeded false} @3",
                "range {end c, key a, serializable true} Ok {count 1, kvs [{key a, mod 3, value x}]}",
                "range {key a, revision 99} Fail nil",
            ]
        );
        let processes: Vec<u32> = pair(&events).expect("pairs").iter().map(|one| one.process.0).collect();
        assert_eq!(processes, [0, 1, 0, 2, 2], "an operation in doubt retires its process");
    }

    #[test]
    fn a_directory_of_reports_is_put_together() {
        let folder = tempfile::tempdir().expect("a folder");
        for (client, name, text) in [
            ("client-1", "watch.json", WATCH),
            ("client-2", "operations.json", OPERATIONS),
        ] {
            std::fs::create_dir(folder.path().join(client)).expect("a folder");
            std::fs::write(folder.path().join(client).join(name), text).expect("writes");
        }
        assert!(is_reports(folder.path()) && !is_reports(&folder.path().join("client-1")));
        let told = told(&read_reports(folder.path()).expect("reads"));
        assert_eq!(told.len(), 7, "{told:#?}");
        assert_eq!(
            told[3],
            "range {key a, serializable true} Ok {kvs [{create 2, key a, mod 2, value 1, version 1}]} @2"
        );
    }

    #[test]
    fn long_values_are_known_by_their_hash() {
        let long = |value: &str, hash| {
            content(Content {
                value: value.to_owned(),
                hash,
            })
        };
        // As Go's hash/fnv says.
        assert_eq!(long("", 7), Value::map([("hash", Value::Int(7))]));
        assert_eq!(
            long("aaaaaaaaaaaaaaaaaaaa", 0),
            long("", fnv_by_hand("aaaaaaaaaaaaaaaaaaaa"))
        );
        assert_eq!(long("short", 0), Value::Text("short".to_owned()));
        assert_eq!(fnv_by_hand("a"), 0xe40c_292c, "a published value of FNV-1a");
    }

    fn fnv_by_hand(text: &str) -> u32 {
        let mut hash = 2_166_136_261_u64;
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)) * 16_777_619 % (1 << 32);
        }
        hash as u32
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("{\"ClientId\":1}", "x:1:1: expected an object with ClientId"),
            ("\n{\"ClientId\":", "x:2:12: not an operation of etcd"),
            (
                r#"{"ClientId":1,"Input":{"Type":"nosuch"},"Output":{}}"#,
                "x:1:1: expected a request of type range",
            ),
            (
                r#"{"ClientId":1,"Input":{"Type":"range"},"Output":{}}"#,
                "x:1:1: a request of type \"range\" without its content",
            ),
            (
                r#"{"ClientId":1,"Input":{"Type":"range","Range":{}},"Call":5,"Output":{"Range":{}},"Return":4}"#,
                "x:1:1: the operation ends at 4 and begins at 5",
            ),
        ] {
            let error = read(Path::new("x"), text.as_bytes()).expect_err("wrong").to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
