//! A history that is too long to be held: judged while its file is read, where that can be.
//!
//! What is kept of it is what a report draws, faults and lives and leaders; its operations are counted and forgotten. No
//! linearization of it is kept, so none is replayed. Where something is violated, or a key cannot be followed to its end,
//! the history is held after all, and judged as any other.

use std::path::Path;

use tribunal_checker::{Consistency, Judgement, online};
use tribunal_history::jsonl::{ReadError, Reader};
use tribunal_history::report::FunctionCounts;
use tribunal_history::{Event, Outcome};
use tribunal_reports::Counting;

use super::judge::{counted, grouped};

/// A history of more events than this is not held.
pub const EVENTS_HELD_MAX: u64 = 100_000;

/// What is kept of a history that holds.
pub struct Streamed {
    /// Its events that are no part of operations.
    pub marks: Vec<Event>,
    /// Its operations by function.
    pub counts: Vec<FunctionCounts>,
    /// That it holds, and what was counted.
    pub judgement: Judgement,
}

/// Judges the history at `path` while it is read, by the model that is asked for or by the specification's own. None if
/// it does not hold as far as it can be followed, or if nothing follows histories of its kind.
pub fn judge(specification: &str, asked: Option<Consistency>, path: &Path) -> Result<Option<Streamed>, ReadError> {
    let is_followed = asked.is_none_or(|model| model == Consistency::Linearizable);
    let Some(mut follow) = online::follow(specification).filter(|_| is_followed) else {
        return Ok(None);
    };
    let (mut marks, mut counting) = (Vec::new(), Counting::default());
    let mut reader = Reader::open(path)?;
    while let Some(mut event) = reader.next_event()? {
        counting.event(&event);
        match event {
            Event::Invoke(_) | Event::Ok(_) | Event::Fail(_) | Event::Info(_) => {}
            _ => marks.push(event.clone()),
        }
        if !matches!(follow.event(&mut event), Ok(None)) {
            return Ok(None);
        }
    }
    let followed = follow.followed();
    if followed.given_up > 0 || followed.reads == 0 {
        return Ok(None);
    }
    let counts = counting.finish();
    let sum = |of: fn(&FunctionCounts) -> u64| counts.iter().map(of).sum::<u64>();
    let (operations, failed, indeterminate) = (
        sum(FunctionCounts::total),
        sum(|count| count.fail),
        sum(|count| count.info),
    );
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let detail = format!(
        "{} on {}, {} of them observed a value, {} indeterminate, {} failed; judged while they were read, since a history \
         of more than {} events is not held: no linearization was kept to be replayed",
        counted(whole(operations), "operation"),
        counted(followed.keys, "key"),
        grouped(followed.reads),
        grouped(indeterminate),
        grouped(failed),
        grouped(EVENTS_HELD_MAX),
    );
    let judgement = Judgement {
        outcome: Outcome::Pass,
        consistency: Consistency::Linearizable,
        specification: specification.to_owned(),
        partitions: followed.keys,
        operations: whole(operations),
        reads: whole(followed.reads),
        indeterminate: whole(indeterminate),
        failed: whole(failed),
        certificates_verified: 0,
        steps: 0,
        engine: "online".to_owned(),
        detail,
        findings: Vec::new(),
    };
    Ok(Some(Streamed {
        marks,
        counts,
        judgement,
    }))
}

#[cfg(test)]
mod tests {
    use tribunal_history::jsonl::{Writer, read};

    use super::*;

    const HEAD: &str = r#"{"type":"phase","seq":0,"time_ns":1,"phase":"safety"}
{"type":"invoke","seq":1,"time_ns":1000,"process":0,"node":"n1","function":"write","input":{"key":"x","value":1}}
{"type":"ok","seq":2,"time_ns":5000,"process":0}
{"type":"invoke","seq":3,"time_ns":6000,"process":2,"node":"n1","function":"write","input":{"key":"x","value":2}}
{"type":"invoke","seq":4,"time_ns":7000,"process":1,"node":"n2","function":"read","input":{"key":"x"}}
"#;

    fn judged(output: &str) -> Option<Streamed> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        let header = Writer::new(Vec::new())
            .expect("a header")
            .into_inner()
            .expect("flushed");
        let header = String::from_utf8(header).expect("text");
        let end = format!(r#"{{"type":"ok","seq":5,"time_ns":9000,"process":1,"output":{output}}}"#);
        std::fs::write(&path, format!("{header}{HEAD}{end}\n")).expect("a file");
        assert_eq!(read(&path).expect("a history").len(), 6);
        judge("register", None, &path).expect("it can be read")
    }

    #[test]
    fn a_history_that_holds_is_counted_and_forgotten() {
        let streamed = judged("1").expect("it holds");
        assert_eq!(streamed.marks.len(), 1);
        let counts = streamed.counts.iter();
        let told: Vec<(&str, u64, u64, Option<[u64; 3]>)> = counts
            .map(|count| (count.function.as_str(), count.ok, count.info, count.latency_us))
            .collect();
        let expected = [("read", 1, 0, Some([2, 2, 2])), ("write", 1, 1, Some([4, 4, 4]))];
        assert_eq!(told, expected);
        let judgement = streamed.judgement;
        let numbers = (
            judgement.partitions,
            judgement.operations,
            judgement.reads,
            judgement.indeterminate,
        );
        assert_eq!((judgement.outcome, numbers), (Outcome::Pass, (1, 3, 1, 1)));
    }

    #[test]
    fn one_that_does_not_hold_is_left_to_the_judge() {
        assert!(judged("null").is_none(), "a stale read");
        assert!(judged("3").is_none(), "a value that nobody wrote");
    }
}
