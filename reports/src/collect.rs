//! Counts what a report says about operations, faults and leaders.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use tribunal_history::report::{FaultSummary, FunctionCounts, LeaderSpan};
use tribunal_history::{Ending, Event, NemesisAction, NemesisEvent, NodeState, Operation, ProcessId};

/// Counts operations by function, in the order of the functions' names, with the latencies of those that ended
/// ok. Median and 99th percentile are read from a histogram that keeps three digits; the maximum is exact.
pub fn function_counts(operations: &[Operation]) -> Vec<FunctionCounts> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for operation in operations {
        tallies.entry(&operation.function).or_default().add(
            operation.ending,
            operation.invoked_ns,
            operation.completed_ns,
        );
    }
    tallies
        .into_iter()
        .map(|(function, tally)| tally.finish(function))
        .collect()
}

/// Counts the operations of a history while it is read, as [`function_counts`] counts those that are held.
#[derive(Default)]
pub struct Counting {
    tallies: BTreeMap<String, Tally>,
    /// What each process has asked for, and when.
    open: BTreeMap<ProcessId, (String, u64)>,
}

impl Counting {
    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        let (process, ending, time_ns) = match event {
            Event::Invoke(asked) => {
                self.open.insert(asked.process, (asked.function.clone(), asked.time_ns));
                return;
            }
            Event::Ok(end) => (end.process, Ending::Ok, end.time_ns),
            Event::Fail(end) => (end.process, Ending::Fail, end.time_ns),
            Event::Info(end) => (end.process, Ending::Info, end.time_ns),
            Event::Nemesis(_) | Event::Node(_) | Event::Leader(_) | Event::Phase(_) => return,
        };
        if let Some((function, invoked_ns)) = self.open.remove(&process) {
            self.tallies
                .entry(function)
                .or_default()
                .add(ending, invoked_ns, Some(time_ns));
        }
    }

    /// What was counted; what is open is in doubt.
    pub fn finish(mut self) -> Vec<FunctionCounts> {
        for (function, invoked_ns) in self.open.into_values() {
            self.tallies
                .entry(function)
                .or_default()
                .add(Ending::Info, invoked_ns, None);
        }
        let tallies = self.tallies.into_iter();
        tallies.map(|(function, tally)| tally.finish(&function)).collect()
    }
}

/// Operations of one function so far.
#[derive(Default)]
struct Tally {
    endings: BTreeMap<Ending, u64>,
    latencies_us: Vec<u64>,
}

impl Tally {
    fn add(&mut self, ending: Ending, invoked_ns: u64, completed_ns: Option<u64>) {
        *self.endings.entry(ending).or_default() += 1;
        if let (Ending::Ok, Some(completed_ns)) = (ending, completed_ns) {
            // An imported history may have a clock that steps back.
            self.latencies_us.push(completed_ns.saturating_sub(invoked_ns) / 1_000);
        }
    }

    fn finish(self, function: &str) -> FunctionCounts {
        let of = |ending| self.endings.get(&ending).copied().unwrap_or(0);
        FunctionCounts {
            function: function.to_owned(),
            ok: of(Ending::Ok),
            fail: of(Ending::Fail),
            info: of(Ending::Info),
            latency_us: quantiles(&self.latencies_us),
        }
    }
}

/// Median, 99th percentile and maximum; none of nothing.
fn quantiles(values: &[u64]) -> Option<[u64; 3]> {
    let max = *values.iter().max()?;
    // A histogram needs room for at least two; what a function took at most decides its size.
    let mut histogram: Histogram<u64> =
        Histogram::new_with_max(max.max(2), 3).expect("three digits and a maximum of at least 2 are allowed");
    for value in values {
        histogram.saturating_record(*value);
    }
    let quantile = |q| histogram.value_at_quantile(q).min(max);
    Some([quantile(0.5), quantile(0.99), max])
}

/// Who was seen to lead, and how long: until another was seen, or until its process ended, or until `end_ns`,
/// nanoseconds since the start of the run. A leader that starts again begins as a follower (Raft §5.2), so a
/// span never goes on behind a restart. A claim to lead an older term than was seen before is late news from a
/// node that does not know better, and is left out.
pub fn leader_spans(events: &[Event], end_ns: u64) -> Vec<LeaderSpan> {
    let mut spans: Vec<LeaderSpan> = Vec::new();
    let mut leads = false;
    for event in events {
        match event {
            Event::Leader(seen) => {
                if let Some(last) = spans.last_mut() {
                    if seen.term.0 < last.term || (seen.term.0, seen.node) == (last.term, last.node) {
                        continue;
                    }
                    if leads {
                        last.end_ns = seen.time_ns.max(last.start_ns);
                    }
                }
                spans.push(LeaderSpan {
                    node: seen.node,
                    term: seen.term.0,
                    start_ns: seen.time_ns,
                    end_ns: end_ns.max(seen.time_ns),
                });
                leads = true;
            }
            Event::Node(change) if matches!(change.state, NodeState::Killed | NodeState::Exited) => {
                if let Some(last) = spans.last_mut().filter(|last| leads && last.node == change.node) {
                    last.end_ns = change.time_ns.max(last.start_ns);
                    leads = false;
                }
            }
            _ => {}
        }
    }
    spans
}

/// What the nemesis lane tells of each fault, in order of their start, and how many operations ended ok while
/// each was active. `end_ns` is the end of the run in nanoseconds since its start, for faults without an end.
pub fn fault_summaries(events: &[Event], end_ns: u64) -> Vec<FaultSummary> {
    let mut oks_ns: Vec<u64> = Vec::new();
    let mut faults: BTreeMap<u32, FaultSummary> = BTreeMap::new();
    for event in events {
        match event {
            Event::Ok(completion) => oks_ns.push(completion.time_ns),
            Event::Nemesis(event) => {
                let fault = faults.entry(event.step).or_insert_with(|| begun(event));
                take(fault, event);
            }
            _ => {}
        }
    }
    oks_ns.sort_unstable();
    let mut faults: Vec<FaultSummary> = faults.into_values().collect();
    for fault in &mut faults {
        let from = oks_ns.partition_point(|ns| *ns < fault.start_ns);
        let to = oks_ns.partition_point(|ns| *ns <= fault.stop_ns.unwrap_or(end_ns));
        fault.ok_meanwhile = to.saturating_sub(from) as u64;
    }
    faults.sort_by_key(|fault| (fault.start_ns, fault.step));
    faults
}

/// A fault of which the first is heard.
fn begun(event: &NemesisEvent) -> FaultSummary {
    FaultSummary {
        step: event.step,
        kind: event.kind,
        fault: event.fault.clone(),
        nodes: event.nodes.clone(),
        start_ns: event.time_ns,
        stop_ns: None,
        effective: false,
        detail: "no proof of an effect was recorded".to_owned(),
        ok_meanwhile: 0,
    }
}

/// Adds what an event of its step says.
fn take(fault: &mut FaultSummary, event: &NemesisEvent) {
    if !event.nodes.is_empty() {
        fault.nodes.clone_from(&event.nodes);
    }
    match event.action {
        NemesisAction::Start => {}
        NemesisAction::Effective => {
            fault.effective = true;
            fault.detail.clone_from(&event.detail);
        }
        NemesisAction::NoEffect => fault.detail = format!("no effect: {}", event.detail),
        NemesisAction::Error => {
            fault.detail = format!("could not be applied: {}", event.detail);
            fault.stop_ns.get_or_insert(event.time_ns);
        }
        NemesisAction::Stop => fault.stop_ns = Some(event.time_ns),
    }
}

#[cfg(test)]
mod tests {
    use tribunal_history::event::{Completion, LeaderEvent, NodeEvent};
    use tribunal_history::{Fault, Incarnation, NodeId, ProcessId, Select, Seq, Term, Value};

    use super::*;

    fn operation(function: &str, ending: Ending, latency_us: Option<u64>) -> Operation {
        Operation {
            process: ProcessId(0),
            node: NodeId(1),
            function: function.to_owned(),
            input: Value::Null,
            invoked: Seq(0),
            invoked_ns: 1_000,
            ending,
            completed: latency_us.map(|_| Seq(1)),
            completed_ns: latency_us.map(|us| 1_000 + us * 1_000),
            output: Value::Null,
            revision: None,
            term: None,
            member: None,
            cause: None,
        }
    }

    #[test]
    fn latency_is_that_of_ok_operations() {
        let mut operations: Vec<Operation> = (1..=100)
            .map(|us| operation("write", Ending::Ok, Some(us * 10)))
            .collect();
        operations.push(operation("write", Ending::Info, Some(9_000_000)));
        operations.push(operation("read", Ending::Fail, None));
        let counts = function_counts(&operations);
        assert_eq!(counts.len(), 2);
        assert_eq!(
            (counts[0].function.as_str(), counts[0].fail, counts[0].latency_us),
            ("read", 1, None)
        );
        assert_eq!((counts[1].ok, counts[1].info, counts[1].total()), (100, 1, 101));
        assert_eq!(counts[1].latency_us, Some([500, 990, 1_000]));
    }

    #[test]
    fn latencies_of_nothing_and_of_zero_are_no_trouble() {
        assert_eq!(function_counts(&[]), []);
        let counts = function_counts(&[operation("read", Ending::Ok, Some(0))]);
        assert_eq!(counts[0].latency_us, Some([0, 0, 0]));
    }

    fn leader(time_ns: u64, node: u16, term: u64) -> Event {
        Event::Leader(LeaderEvent {
            seq: Seq(time_ns),
            time_ns,
            node: NodeId(node),
            term: Term(term),
        })
    }

    #[test]
    fn a_leader_leads_until_another_is_seen_or_its_process_ends() {
        let killed = Event::Node(NodeEvent {
            seq: Seq(60),
            time_ns: 60,
            node: NodeId(3),
            incarnation: Incarnation(0),
            state: NodeState::Killed,
            detail: String::new(),
        });
        let events = [
            leader(10, 1, 1),
            leader(20, 1, 1),
            leader(50, 3, 2),
            leader(55, 1, 1), // late news from the old leader
            killed,
            leader(80, 2, 3),
        ];
        let spans: Vec<_> = leader_spans(&events, 100)
            .iter()
            .map(|span| (span.node.0, span.term, span.start_ns, span.end_ns))
            .collect();
        assert_eq!(spans, [(1, 1, 10, 50), (3, 2, 50, 60), (2, 3, 80, 100)]);
    }

    fn nemesis(time_ns: u64, step: u32, action: NemesisAction, detail: &str) -> Event {
        let fault = Fault::Kill {
            select: Select::Leader { otherwise: NodeId(1) },
        };
        Event::Nemesis(NemesisEvent {
            seq: Seq(time_ns),
            time_ns,
            step,
            action,
            kind: fault.kind(),
            fault,
            nodes: vec![NodeId(2)],
            detail: detail.to_owned(),
        })
    }

    fn ok(time_ns: u64) -> Event {
        Event::Ok(Completion {
            seq: Seq(time_ns),
            time_ns,
            process: ProcessId(0),
            output: Value::Null,
            revision: None,
            term: None,
            member: None,
            cause: None,
        })
    }

    #[test]
    fn a_fault_is_told_from_its_start_to_its_end() {
        use NemesisAction::{Effective, Error, NoEffect, Start, Stop};
        let events = [
            ok(5),
            nemesis(10, 0, Start, ""),
            ok(11),
            nemesis(12, 0, Effective, "exit status: killed by signal 9"),
            ok(15),
            nemesis(20, 0, Stop, "started again"),
            nemesis(30, 1, Start, ""),
            nemesis(31, 1, NoEffect, "no bytes were blocked"),
            ok(40),
            nemesis(50, 2, Error, "not permitted"),
        ];
        let faults = fault_summaries(&events, 100);
        let told: Vec<_> = faults
            .iter()
            .map(|fault| {
                (
                    fault.start_ns,
                    fault.stop_ns,
                    fault.effective,
                    fault.ok_meanwhile,
                    fault.detail.as_str(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (10, Some(20), true, 2, "exit status: killed by signal 9"),
                (30, None, false, 1, "no effect: no bytes were blocked"),
                (50, Some(50), false, 0, "could not be applied: not permitted"),
            ]
        );
    }
}
