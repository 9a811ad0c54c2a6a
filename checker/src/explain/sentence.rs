//! The story in a sentence or two: keys, clients, nodes, times.

use tribunal_history::{AnomalyClass, Ending, NodeId, Operation, Value};

use super::story::{Fate, Story};
use super::{Case, class, seconds};
use crate::spec::{Class, Recorded};

/// Most operations that a sentence lists.
const LISTED_MAX: usize = 6;

/// The sentence for a story.
pub fn sentence<S: Recorded>(case: &Case<'_, S>, story: &Story) -> String {
    let key = case.key();
    match story {
        Story::Phantom {
            observer,
            observed,
            value,
            later,
        } => {
            let later = later.map(|id| &case.operations[id]).map_or_else(
                || format!("nobody ever asked to write {value}"),
                |later| {
                    let (who, when) = (client(later), seconds(later.invoked_ns));
                    format!("nobody had asked to write {value} by then; {who} first did at {when}")
                },
            );
            let from = if observed == value {
                String::new()
            } else {
                format!(", which can only have been made from {value}")
            };
            format!(
                "{}{from}, but {later}: a value out of nowhere.",
                capital(&did(case, *observer))
            )
        }
        Story::FailedTookEffect {
            observer,
            observed,
            value,
            failed,
        } => {
            let operation = &case.operations[*failed];
            let cause = operation
                .cause
                .as_ref()
                .map_or_else(String::new, |cause| format!(" ({})", cause.text));
            let from = if observed == value {
                String::new()
            } else {
                format!(", which can only have been made from {value}")
            };
            format!(
                "{}{from}, but the only request that could have made it {value}, {} by {}, had been answered with a \
                 definite failure{cause}{}: it took effect all the same.",
                capital(&did(case, *observer)),
                S::label(operation),
                client(operation),
                operation
                    .completed_ns
                    .map_or_else(String::new, |time| format!(" at {}", seconds(time))),
            )
        }
        Story::ExecutedTwice { operation, value } => format!(
            "{}, which is what this very operation was to make of {key}, and nobody else had asked for {value} by then: it \
             took effect, was done once more, and failed against its own value.",
            capital(&did(case, *operation)),
        ),
        Story::Replaced {
            observer,
            branch,
            newer,
            new,
            fate,
        } => {
            let late = &case.operations[*observer];
            let early = &case.operations[*newer];
            let gap = gap(early, late);
            let wrote = class_of(case, *newer).is_some_and(|class| class.made().is_some());
            let had_been = had_been(case, *newer, new);
            let made_from = made_from(branch, new, class_of(case, *observer).as_ref());
            let count = case.minimal.entries.len();
            match fate {
                Fate::Lost => {
                    let what = if wrote { "a lost write" } else { "a lost value" };
                    let back = match branch.as_slice() {
                        [old] => format!("; {key} went back to {old}"),
                        _ => String::new(),
                    };
                    format!(
                        "{had_been}, but {gap} later {}{made_from}, and {new} was not seen again. No order of these {count} \
                         operations explains both: {what}{back}.",
                        did(case, *observer),
                    )
                }
                Fate::Overwritten => format!(
                    "{}{made_from}, but {had_been}, {gap} before {}. No order of these {count} operations explains both: an \
                     update was made on a value that was gone, a lost update.",
                    capital(&did(case, *observer)),
                    began(class_of(case, *observer)),
                ),
                Fate::Hidden => format!(
                    "{}{made_from}, but {had_been}, {gap} before {}. No order of these {count} operations explains both: a \
                     stale read.",
                    capital(&did(case, *observer)),
                    began(class_of(case, *observer)),
                ),
            }
        }
        Story::LostUpdate { first, second, from } => format!(
            "{}, and {}; but {key} held {from} only once, so one of the two was made on a state that was gone: a lost \
             update.",
            capital(&did(case, *first)),
            did(case, *second),
        ),
        Story::Crossed { one, other } => format!(
            "{}, when {}; and {}, when {}. {key} cannot have held {} and {} each before the other: {}.",
            capital(&did(case, one.late)),
            had_been(case, other.early, &other.value),
            did(case, other.late),
            had_been(case, one.early, &one.value),
            one.value,
            other.value,
            match story.class(case) {
                AnomalyClass::StaleRead => "a stale read",
                _ => "a lost update",
            }
        ),
        Story::Other => {
            let entries = &case.minimal.entries;
            let listed: Vec<String> = entries
                .iter()
                .take(LISTED_MAX)
                .map(|entry| {
                    let operation = case.recorded(entry);
                    let end = operation.completed_ns.map_or_else(|| "no end".to_owned(), seconds);
                    let label = S::label(operation);
                    format!(
                        "{label} by {} ({} to {end})",
                        client(operation),
                        seconds(operation.invoked_ns)
                    )
                })
                .collect();
            let more = match entries.len().saturating_sub(LISTED_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "No order of these {} operations on {key} explains them all: {}{more}.",
                entries.len(),
                listed.join(", ")
            )
        }
    }
}

/// `client 4 (on n2)`, without the node where a foreign history does not tell it.
fn client(operation: &Operation) -> String {
    match operation.node {
        NodeId(0) => format!("client {}", operation.process),
        node => format!("client {} (on {node})", operation.process),
    }
}

/// `k2 = 1131 had been acknowledged to client 4 (on n2) at 0.003 s`, of an operation that shows `value`.
fn had_been<S: Recorded>(case: &Case<'_, S>, id: usize, value: &Value) -> String {
    let operation = &case.operations[id];
    let how = match class_of(case, id) {
        Some(class) if class.made() == Some(value) => "acknowledged to",
        Some(Class::Update { .. }) => "found by",
        _ => "read by",
    };
    let when = seconds(operation.completed_ns.unwrap_or(operation.invoked_ns));
    format!(
        "{} = {value} had been {how} {} at {when}",
        case.key(),
        client(operation)
    )
}

/// Where the value that begins `branch` comes from, if it is not itself the old one.
fn made_from(branch: &[Value], new: &Value, observer: Option<&Class>) -> String {
    let [observed, between @ .., old] = branch else {
        return String::new();
    };
    let way: Vec<String> = between.iter().rev().map(ToString::to_string).collect();
    let way = match way.as_slice() {
        [] => String::new(),
        way => format!(" by way of {}", way.join(", ")),
    };
    let which = match observer {
        Some(Class::Read(_)) => "which was".to_owned(),
        _ => format!("{observed} having been"),
    };
    format!(", {which} made from {old}{way}, the value before {new}")
}

/// What somebody did, with its time: `client 0 (on n1) read k2 → 1844 at 36.481 s`.
fn did<S: Recorded>(case: &Case<'_, S>, id: usize) -> String {
    let operation = &case.operations[id];
    let (who, when, key) = (client(operation), seconds(operation.invoked_ns), case.key());
    let is_open = operation.ending == Ending::Info;
    match S::parse(operation).map(|(op, ret)| (S::class(&op, None), S::class(&op, ret.as_ref()))) {
        Ok((Class::Update { .. }, Class::Read(Some(value)))) => {
            format!("{who} compared {key} and found {value} at {when}")
        }
        Ok((_, Class::Read(Some(value)))) => format!("{who} read {key} → {value} at {when}"),
        Ok((_, Class::Update { from, to })) if is_open => {
            format!("{who} asked to change {key} from {from} to {to} at {when}, which took effect")
        }
        Ok((_, Class::Update { from, to })) => format!("{who} changed {key} from {from} to {to} at {when}"),
        Ok((_, Class::Write(value))) if is_open => {
            format!("{who} asked to write {key} = {value} at {when}, which took effect")
        }
        Ok((_, Class::Write(value))) => format!("{who} wrote {key} = {value} at {when}"),
        _ => format!("{who} did {} at {when}", S::label(operation)),
    }
}

fn class_of<S: Recorded>(case: &Case<'_, S>, id: usize) -> Option<Class> {
    case.minimal.entries.iter().find(|entry| entry.id == id).map(class)
}

fn began(class: Option<Class>) -> &'static str {
    match class {
        Some(Class::Read(_)) => "the read began",
        _ => "that began",
    }
}

/// The time between the end of one operation and the beginning of another: `2.4 s`, `213 ms`, or finer where it is
/// shorter.
fn gap(early: &Operation, late: &Operation) -> String {
    let end = early.completed_ns.unwrap_or(early.invoked_ns);
    match late.invoked_ns.saturating_sub(end) {
        ns if ns >= 1_000_000_000 => format!("{:.1} s", ns as f64 / 1e9),
        ns if ns >= 10_000_000 => format!("{} ms", (ns + 500_000) / 1_000_000),
        ns => format!("{:.3} ms", ns as f64 / 1e6),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
