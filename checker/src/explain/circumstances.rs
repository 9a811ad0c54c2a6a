//! Which faults were active when it happened, and who led.

use tribunal_history::{Event, FaultKind, LeaderEvent, NemesisAction, NemesisEvent};

use super::seconds;

/// Most faults that are named.
const FAULTS_MAX: usize = 3;

/// Most leaders that are named.
const LEADERS_MAX: usize = 3;

/// The circumstances of operations of which the first began at `begun_ns`, of what began to go wrong at `from_ns`, and
/// was seen at `moment_ns`, when the operation that does not fit began.
///
/// Named are the faults active between the last two: those still active at the moment first, then those that ended
/// most recently; and who led since the first operation.
pub fn context(events: &[Event], begun_ns: u64, from_ns: u64, moment_ns: u64) -> String {
    let mut parts = faults(events, from_ns, moment_ns);
    parts.extend(leaders(events, begun_ns, moment_ns));
    if parts.is_empty() {
        return String::new();
    }
    parts.join(" ")
}

/// A fault from its start to its stop.
struct Span<'a> {
    start: &'a NemesisEvent,
    stop_ns: Option<u64>,
    /// The nodes as they were resolved last.
    nodes: String,
    /// The proof of its effect, once there is one.
    detail: &'a str,
}

impl Span<'_> {
    fn is_active_at(&self, time_ns: u64) -> bool {
        self.start.time_ns <= time_ns && self.stop_ns.is_none_or(|stop| stop > time_ns)
    }

    fn describe(&self, moment_ns: u64) -> String {
        let name = format!("{} {}", self.start.kind, self.nodes);
        let start = seconds(self.start.time_ns);
        let when = match self.stop_ns.filter(|stop| *stop <= moment_ns) {
            Some(stop) => format!("{name} was active from {start} to {}", seconds(stop)),
            None => format!("{name} was active since {start}"),
        };
        if self.detail.is_empty() {
            when
        } else {
            format!("{when} ({})", self.detail)
        }
    }
}

fn spans(events: &[Event]) -> Vec<Span<'_>> {
    let mut spans: Vec<Span<'_>> = Vec::new();
    for event in events {
        let Event::Nemesis(event) = event else { continue };
        if event.action == NemesisAction::Start {
            spans.push(Span {
                start: event,
                stop_ns: None,
                nodes: nodes(event),
                detail: "",
            });
            continue;
        }
        let Some(place) = spans
            .iter()
            .rposition(|span| span.start.step == event.step && span.stop_ns.is_none())
        else {
            continue;
        };
        match event.action {
            NemesisAction::Stop => spans[place].stop_ns = Some(event.time_ns),
            NemesisAction::Effective => {
                spans[place].detail = &event.detail;
                spans[place].nodes = nodes(event);
            }
            // What had no effect explains nothing.
            NemesisAction::NoEffect | NemesisAction::Error => {
                spans.remove(place);
            }
            NemesisAction::Start => unreachable!("handled above"),
        }
    }
    spans
}

fn nodes(event: &NemesisEvent) -> String {
    if event.nodes.is_empty() {
        return event.fault.select().to_string();
    }
    let names: Vec<String> = event.nodes.iter().map(ToString::to_string).collect();
    names.join(" ")
}

fn faults(events: &[Event], from_ns: u64, moment_ns: u64) -> Vec<String> {
    let mut spans = spans(events);
    spans.retain(|span| span.start.time_ns <= moment_ns);
    let (mut relevant, over): (Vec<_>, Vec<_>) = spans
        .into_iter()
        .partition(|span| span.stop_ns.is_none_or(|stop| stop >= from_ns));
    // Of those that are over, a kill explains most: what a node forgets is missing from then on.
    relevant.sort_by_key(|span| {
        let is_over = !span.is_active_at(moment_ns);
        let is_kill = span.start.kind == FaultKind::Kill;
        (is_over, is_over && !is_kill, std::cmp::Reverse(span.start.time_ns))
    });
    if relevant.is_empty() {
        let last = over.iter().max_by_key(|span| span.stop_ns);
        return match last {
            Some(last) => vec![format!(
                "No fault was active then; the last one before, {} {}, had ended at {}.",
                last.start.kind,
                last.nodes,
                seconds(last.stop_ns.unwrap_or_default())
            )],
            None if events.iter().any(|event| matches!(event, Event::Nemesis(_))) => {
                vec!["No fault had been active yet.".to_owned()]
            }
            None => Vec::new(),
        };
    }
    let (now, earlier): (Vec<_>, Vec<_>) = relevant
        .iter()
        .take(FAULTS_MAX)
        .partition(|span| span.is_active_at(moment_ns));
    let list = |spans: Vec<&Span<'_>>| -> String {
        let described: Vec<String> = spans.iter().map(|span| span.describe(moment_ns)).collect();
        described.join("; ")
    };
    let mut parts = Vec::new();
    if !now.is_empty() {
        parts.push(format!("At that moment the fault {}.", list(now)));
    }
    if !earlier.is_empty() {
        parts.push(format!("In between the fault {}.", list(earlier)));
    }
    parts
}

/// Who led from the first drawn operation to the moment, as far as it was seen.
fn leaders(events: &[Event], from_ns: u64, moment_ns: u64) -> Option<String> {
    let mut seen: Vec<&LeaderEvent> = Vec::new();
    for event in events {
        let Event::Leader(event) = event else { continue };
        let known = seen
            .iter()
            .any(|leader| leader.node == event.node && leader.term == event.term);
        if event.time_ns <= moment_ns && !known {
            seen.push(event);
        }
    }
    seen.sort_by_key(|leader| (leader.term, leader.time_ns));
    // The last one that was seen before the first operation led when it began.
    let first = seen.iter().rposition(|leader| leader.time_ns <= from_ns).unwrap_or(0);
    let first = first.max(seen.len().saturating_sub(LEADERS_MAX));
    let described: Vec<String> = seen[first..]
        .iter()
        .enumerate()
        .map(|(place, leader)| {
            let (node, term) = (leader.node, leader.term);
            match seen.get(first + place + 1) {
                Some(next) => format!("{node} led term {term} until {}", seconds(next.time_ns)),
                None => format!("{node} leads term {term} since {}", seconds(leader.time_ns)),
            }
        })
        .collect();
    (!described.is_empty()).then(|| format!("{}.", described.join("; ")))
}
