//! Jepsen's log lines: process, type, function and value behind whatever the logger writes.
//!
//! ```text
//! INFO  jepsen.util - 2   :invoke :cas    [3 0]
//! INFO  jepsen.util - 2   :fail   :cas    [3 0]
//! INFO  jepsen.util - 0   :info   :write  :timed-out
//! ```
//!
//! Lines of other things, the nemesis' among them, are passed over. These logs tell a compare that did not hold from a
//! request that got lost: the first is `:fail`, the second `:info` with its reason. So a `:cas` that failed is read as a
//! compare that did not hold, which is how Porcupine reads these files too.

use std::io::BufRead;

use super::edn::{Edn, EdnError, Position, Reader};
use super::jepsen::{Row, RowError, ending_of, process_of};
use crate::event::Ending;

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Whether a line is one of an operation, of a client or the nemesis.
pub fn is_operation(line: &str) -> bool {
    Fields::of(line).is_some()
}

/// Where the parts of an operation stand in a line.
struct Fields<'a> {
    process: &'a str,
    ending: Option<Ending>,
    function: &'a str,
    /// Byte offset of what follows the function.
    rest: usize,
}

impl<'a> Fields<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let words: Vec<(usize, &str)> = words(line);
        words.windows(3).find_map(|three| {
            let [(_, process), (_, kind), (at, function)] = three else {
                return None;
            };
            let ending = ending_of(kind.strip_prefix(':')?)?;
            let name = function.strip_prefix(':').filter(|name| !name.is_empty())?;
            let is_process = *process == ":nemesis" || process.bytes().all(|byte| byte.is_ascii_digit());
            is_process.then_some(Self {
                process,
                ending,
                function: name,
                rest: at + function.len(),
            })
        })
    }
}

/// The words of a line with their byte offsets.
fn words(line: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut at = 0;
    for word in line.split(|char: char| char.is_ascii_whitespace()) {
        if !word.is_empty() {
            words.push((at, word));
        }
        at += word.len() + 1;
    }
    words
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The source failed, or a value is not EDN.
    #[error(transparent)]
    Edn(#[from] EdnError),
    /// A row is wrong.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// The rows of all operations of clients.
pub fn rows(mut source: impl BufRead) -> Result<Vec<Row>, LogError> {
    let mut rows = Vec::new();
    let mut text = Vec::new();
    for line in 1.. {
        let at = Position { line, column: 1 };
        text.clear();
        let read = std::io::Read::take(&mut source, LINE_BYTES_MAX)
            .read_until(b'\n', &mut text)
            .map_err(EdnError::from)?;
        if read == 0 {
            break;
        }
        if read as u64 == LINE_BYTES_MAX {
            let what = format!("a line of more than {LINE_BYTES_MAX} bytes");
            return Err(RowError { at, what }.into());
        }
        // What is not text is not an operation.
        let Ok(text) = std::str::from_utf8(&text) else { continue };
        let Some(fields) = Fields::of(text) else { continue };
        let Ok(number) = fields.process.parse() else { continue };
        let Some(process) = process_of(at, &Edn::Int(number))? else {
            continue;
        };
        let rest = Position {
            line,
            column: fields.rest + 1,
        };
        let mut values = Reader::at(&text.as_bytes()[fields.rest..], rest);
        let Some(value) = values.next_form()? else {
            let what = format!("expected a value after :{}", fields.function);
            return Err(RowError { at: rest, what }.into());
        };
        let error = values.next_form()?;
        // An operation in doubt has its reason where others have their value.
        let in_doubt = fields.ending == Some(Ending::Info);
        rows.push(Row {
            at,
            process: Some(process),
            ending: fields.ending,
            function: fields.function.to_owned(),
            error: error.or_else(|| in_doubt.then(|| value.clone())),
            value,
            key: None,
            time_ns: None,
            node: None,
        });
    }
    Ok(rows)
}
