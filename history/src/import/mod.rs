//! Histories that other tools recorded.
//!
//! [`read_any`] looks at a file, plain or compressed with gzip, and reads it as what it is: our own JSON Lines
//! ([`crate::jsonl`]) or binary form ([`crate::binary`]), EDN as Jepsen, Knossos and Porcupine's examples have it ([`edn`],
//! [`jepsen`]), Jepsen's log lines ([`log`]), or what etcd's robustness tests report ([`etcd`]). A file is read as it streams
//! in, so what is no history costs no memory, however large it is. [`Stream`] hands out the events of our own formats
//! as they come, without holding them.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use crate::event::Event;
use crate::{binary, jsonl};

pub mod edn;
pub mod etcd;
pub mod jepsen;
pub mod log;
mod stream;

pub use stream::Stream;

use edn::{EdnError, Position};
use jepsen::{Meaning, Row, RowError};
use log::LogError;

/// Bytes at the beginning of a file by which its format is recognised: enough for what a logger writes before the first
/// operation.
const HEAD_BYTES: usize = 1 << 16;

/// What a history is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tribunal's own lines of JSON.
    JsonLines,
    /// Tribunal's own binary form.
    Binary,
    /// EDN, Jepsen's `history.edn` among others.
    Edn,
    /// Jepsen's `jepsen.log`.
    JepsenLog,
    /// `operations.json` or `watch.json` of etcd's robustness tests.
    Etcd,
}

/// A history and what is known of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What it was written in.
    pub format: Format,
    /// What happened.
    pub events: Vec<Event>,
    /// The specification that its operations are usually meant for, if the format is foreign and one is.
    pub specification: Option<&'static str>,
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened or read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no history in any known format.
    #[error(
        "{path}:1: not a history: expected Tribunal's JSON Lines, which begin with \
         {{\"format\":\"tribunal-history\",…}}, its binary form, EDN such as \
         {{:process 0, :type :invoke, :f :read, :value nil}}, a Jepsen log, or operations.json of etcd's robustness tests",
        path = path.display()
    )]
    Unknown {
        /// Which file.
        path: PathBuf,
    },
    /// A history of our own is broken.
    #[error(transparent)]
    JsonLines(#[from] jsonl::ReadError),
    /// A history of our own in its binary form is broken.
    #[error(transparent)]
    Binary(#[from] binary::BinaryError),
    /// A foreign history is broken.
    #[error("{path}:{at}: {what}", path = path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        at: Position,
        /// What was expected and what is there.
        what: String,
    },
}

/// Which format a file has that begins with `head`; none if it has none that is known.
pub fn recognise(head: &[u8]) -> Option<Format> {
    if head.starts_with(&binary::MAGIC) {
        return Some(Format::Binary);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    // A cut at the end of the head may go through a letter.
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) if text.len() - error.valid_up_to() < 4 => {
            std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    if text.lines().any(log::is_operation) {
        return Some(Format::JepsenLog);
    }
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|char: char| char.is_ascii_whitespace() || char == ',');
        match rest.strip_prefix(';') {
            Some(comment) => rest = comment.split_once('\n').map_or("", |(_, after)| after),
            None => break,
        }
    }
    let inside = rest.get(1..).unwrap_or_default().trim_start();
    match rest.as_bytes().first()? {
        b'{' if etcd::FIRST_NAMES.iter().any(|name| inside.starts_with(name)) => Some(Format::Etcd),
        // A map with keys in quotes is JSON, any other is EDN.
        b'{' if inside.starts_with('"') => Some(Format::JsonLines),
        b'{' | b'(' => Some(Format::Edn),
        b'#' if inside.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_') => Some(Format::Edn),
        // So is a list of JSON's objects, which none of the formats is.
        b'[' => {
            let first = inside.strip_prefix('{').unwrap_or_default().trim_start();
            (!first.starts_with('"')).then_some(Format::Edn)
        }
        _ => None,
    }
}

/// Reads the history at `path`, whatever it is written in.
pub fn read_any(path: &Path) -> Result<Imported, ImportError> {
    let mut stream = Stream::open(path)?;
    let events = stream.by_ref().collect::<Result<_, _>>()?;
    Ok(Imported {
        format: stream.format(),
        events,
        specification: stream.specification(),
    })
}

/// The events of a history in EDN.
fn from_edn(source: impl BufRead) -> Result<Vec<Event>, Wrong> {
    let mut reader = edn::Reader::new(source);
    let mut rows = Vec::new();
    while let Some((at, row)) = reader.next_row()? {
        rows.extend(Row::read(at, &row)?);
    }
    let meaning = Meaning {
        failed_cas_compared: false,
    };
    Ok(jepsen::events(rows, meaning)?)
}

/// The events of a Jepsen log.
fn from_log(source: impl BufRead) -> Result<Vec<Event>, Wrong> {
    let meaning = Meaning {
        failed_cas_compared: true,
    };
    Ok(jepsen::events(log::rows(source)?, meaning)?)
}

/// What is wrong with a foreign history, whose path is not known here.
enum Wrong {
    Io(io::Error),
    Foreign(Position, String),
}

impl Wrong {
    fn at(self, path: &Path) -> ImportError {
        let path = path.to_owned();
        match self {
            Self::Io(source) => ImportError::Io { path, source },
            Self::Foreign(at, what) => ImportError::Foreign { path, at, what },
        }
    }
}

impl From<EdnError> for Wrong {
    fn from(error: EdnError) -> Self {
        match error {
            EdnError::Io(error) => Self::Io(error),
            EdnError::Syntax { at, what } => Self::Foreign(at, what),
        }
    }
}

impl From<RowError> for Wrong {
    fn from(error: RowError) -> Self {
        Self::Foreign(error.at, error.what)
    }
}

impl From<LogError> for Wrong {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Edn(error) => error.into(),
            LogError::Row(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::pair;
    use crate::value::Value;

    fn imported(text: &[u8]) -> Result<Imported, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        std::fs::write(&path, text).expect("writes");
        let folder = format!("{}/", folder.path().display());
        read_any(&path).map_err(|error| error.to_string().replace(&folder, ""))
    }

    /// Function, input, ending and output of each operation.
    fn told(text: &str) -> Vec<String> {
        let imported = imported(text.as_bytes()).expect("a history");
        pair(&imported.events)
            .expect("importers pair")
            .iter()
            .map(|operation| {
                let (function, input, output) = (&operation.function, &operation.input, &operation.output);
                format!("{function} {input} {:?} {output}", operation.ending)
            })
            .collect()
    }

    #[test]
    fn formats_are_recognised_by_their_beginning() {
        for (head, format) in [
            (r#"{"format":"tribunal-history","version":1}"#, Some(Format::JsonLines)),
            ("{:process 0, :type :invoke}", Some(Format::Edn)),
            ("{:process 0 :type :invoke :f :read}", Some(Format::Edn)),
            ("{:type :invoke :f :read :process 0}", Some(Format::Edn)),
            ("; a comment\n[{:process 0}]", Some(Format::Edn)),
            ("({:process 0})", Some(Format::Edn)),
            ("#jepsen.history.Op{:process 0}", Some(Format::Edn)),
            ("INFO  jepsen.util - 0\t:invoke\t:read\tnil", Some(Format::JepsenLog)),
            (
                "something\nINFO [x] jepsen.util :nemesis\t:info\t:start\tnil",
                Some(Format::JepsenLog),
            ),
            ("[{\"process\": 0}]", None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(recognise(head.as_bytes()), format, "{head}");
        }
        assert_eq!(recognise(b"\x00\xff\xfe\xfd\xfc\xfb"), None);
    }

    #[test]
    fn operations_of_jepsen_become_ours() {
        let text = "[{:process 0, :type :invoke, :f :write, :value 3}
            {:process :nemesis, :type :info, :f :start, :value nil}
            {:process 1, :type :invoke, :f :cas, :value [3 4]}
            {:process 2, :type :invoke, :f :read}
            {:process 0, :type :ok, :f :write, :value 3}
            {:process 1, :type :fail, :f :cas, :value [3 4], :error :not-equal}
            {:process 2, :type :ok, :f :read, :value nil}
            {:process 3, :type :invoke, :f :cas, :value [3 4]}
            {:process 3, :type :ok, :f :cas, :value [3 4]}
            {:process 4, :type :invoke, :f :write, :value 9}
            {:process 4, :type :info, :f :write, :value 9, :error [:timeout]}]";
        assert_eq!(
            told(text),
            [
                "write {value 3} Ok nil",
                "cas {expect 3, value 4} Fail nil",
                "read nil Ok nil",
                "cas {expect 3, value 4} Ok {swapped true}",
                "write {value 9} Info nil",
            ]
        );
        assert_eq!(
            imported(text.as_bytes()).expect("reads").specification,
            Some("cas-register")
        );
    }

    #[test]
    fn independent_tuples_and_keys_name_the_object() {
        let tuples = "{:process 0, :type :invoke, :f :read, :value [:r nil]}
            {:process 0, :type :ok, :f :read, :value [:r 5]}
            {:process 0, :type :invoke, :f :cas, :value [:r [5 6]]}
            {:process 0, :type :ok, :f :cas, :value [:r [5 6]]}";
        assert_eq!(
            told(tuples),
            [
                "read {key :r} Ok 5",
                "cas {expect 5, key :r, value 6} Ok {swapped true}"
            ]
        );
        let keys = "{:process 0, :type :invoke, :f :append, :key \"7\", :value \"x\"}
            {:process 0, :type :ok, :f :append, :key \"7\", :value \"x\"}
            {:process 0, :type :invoke, :f :get, :key \"7\", :value nil}
            {:process 0, :type :ok, :f :get, :key \"7\", :value \"x\"}";
        assert_eq!(told(keys), ["append {key 7, value x} Ok nil", "get {key 7} Ok x"]);
        assert_eq!(imported(keys.as_bytes()).expect("reads").specification, Some("kv"));
    }

    #[test]
    fn a_log_tells_a_failed_compare_from_a_lost_request() {
        let text = "INFO  jepsen.core - Test started\n\
            INFO  jepsen.util - 0\t:invoke\t:cas\t[3 0]\n\
            INFO  jepsen.util - :nemesis\t:info\t:start\tnil\n\
            INFO  jepsen.util - 0\t:fail\t:cas\t[3 0]\n\
            INFO  jepsen.util - 1\t:invoke\t:write\t2\n\
            INFO  jepsen.util - 1\t:info\t:write\t:timed-out\n";
        assert_eq!(
            told(text),
            ["cas {expect 3, value 0} Ok {swapped false}", "write {value 2} Info nil"]
        );
        let imported = imported(text.as_bytes()).expect("reads");
        let Some(Event::Info(completion)) = imported.events.last() else {
            panic!("{:?}", imported.events);
        };
        assert_eq!(
            completion.cause.as_ref().map(|cause| cause.text.as_str()),
            Some(":timed-out")
        );
    }

    #[test]
    fn times_and_nodes_are_kept_where_all_rows_have_them() {
        let text = "{:process 0, :type :invoke, :f :read, :value nil, :time 70, :node \"n2\"}
            {:process 0, :type :ok, :f :read, :value 1, :time 90}";
        let events = imported(text.as_bytes()).expect("reads").events;
        assert_eq!(events.iter().map(Event::time_ns).collect::<Vec<_>>(), [70, 90]);
        assert_eq!(pair(&events).expect("pairs")[0].node.to_string(), "n2");
        assert_eq!(pair(&events).expect("pairs")[0].output, Value::Int(1));
    }

    #[test]
    fn contradictions_are_named_with_line_and_column() {
        let invoke = "{:process 0, :type :invoke, :f :read, :value nil}\n";
        for (text, expected) in [
            (
                format!("{invoke}{invoke}"),
                "x:2:1: process 0 invokes while its operation of line 1 is open",
            ),
            (
                "\n {:process 3, :type :ok, :f :read, :value 1}".to_owned(),
                "x:2:2: process 3 completes an operation that it never invoked",
            ),
            (
                format!("{invoke}{{:process 0, :type :ok, :f :write, :value 1}}"),
                "x:2:1: process 0 completes :write, but what it invoked at line 1 was :read",
            ),
            (
                "{:process 0, :type :invoke, :f :write, :value 1}\n{:process 0, :type :ok, :f :write, :value 2}"
                    .to_owned(),
                "x:2:1: the operation ends with 2, but what was invoked at line 1 carried 1",
            ),
            (
                "{:process 0, :f :read}".to_owned(),
                "x:1:1: expected :invoke, :ok, :fail or :info as :type, found none",
            ),
            (
                "{:process -1, :type :ok, :f :read}".to_owned(),
                "x:1:1: expected a number from 0 to 4294967295 as :process, found -1",
            ),
            (
                "{:process 0, :type :ok, :f 3}".to_owned(),
                "x:1:1: expected a keyword as :f, found 3",
            ),
            (
                "{:type :ok, :f :read}".to_owned(),
                "x:1:1: an operation without :process",
            ),
            (
                "[{:process 0, :type :invoke, :f :cas, :value 3}]".to_owned(),
                "x:1:2: expected [expected new] as :value of :cas, found 3",
            ),
            (
                "[[1 2]]".to_owned(),
                "x:1:2: expected an operation such as {:process 0, :type :invoke, :f :read, :value nil}, found [1 2]",
            ),
            (
                "{:process 0, :type".to_owned(),
                "x:1:19: the file ends within what began at 1:1",
            ),
            (
                "- 0\t:invoke\t:read\t[1\n".to_owned(),
                "x:2:1: the file ends within what began at 1:19",
            ),
            (
                "- 0\t:invoke\t:read\n".to_owned(),
                "x:1:18: expected a value after :read",
            ),
        ] {
            assert_eq!(
                imported(text.as_bytes()).map(|_| ()),
                Err(expected.to_owned()),
                "{text}"
            );
        }
        assert!(
            imported(b"hello")
                .expect_err("garbage")
                .starts_with("x:1: not a history: expected")
        );
    }

    #[test]
    fn compressed_histories_are_read_as_well() {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder
            .write_all(b"{:process 0, :type :invoke, :f :read, :value nil}")
            .expect("a vector takes everything");
        let bytes = encoder.finish().expect("a vector takes everything");
        assert_eq!(imported(&bytes).expect("reads").events.len(), 1);
    }

    proptest::proptest! {
        /// Whatever a file holds, it is read or refused with its name; histories with something changed, cut or moved
        /// above all.
        #[test]
        fn no_file_breaks_the_importers(
            seed in 0usize..3,
            changes in proptest::collection::vec((0usize..400, proptest::prelude::any::<u8>()), 0..6),
            cut in 0usize..500,
            garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        ) {
            let mut bytes = [
                b"; c\n[{:process 0, :type :invoke, :f :cas, :value [1 2]} #_ x #inst \"2020\" {:process 0, :type :ok, :f :cas, :value [1 2]}]".to_vec(),
                b"INFO  jepsen.util - 0\t:invoke\t:cas\t[3 0]\nINFO  jepsen.util - 0\t:fail\t:cas\t[3 0]\n".to_vec(),
                b"{:process 1, :type :invoke, :f :read, :value [:k nil], :time 3}\n{:process 1, :type :info, :f :read, :value [:k nil], :time 4}\n".to_vec(),
            ][seed].clone();
            for (place, byte) in changes {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            bytes.truncate(cut.max(1));
            bytes.extend(garbage);
            if let Err(error) = imported(&bytes) {
                proptest::prop_assert!(error.starts_with("x:") || error.starts_with("x cannot be read"), "{error}");
            }
        }
    }
}
