//! What a history that holds could have shown, as a property of the report. It changes no outcome.

use std::time::Duration;

use tribunal_checker::sensitivity::{Sensitivity, sensitivity};
use tribunal_checker::{Judgement, Options};
use tribunal_history::{Event, Outcome, Property, PropertyClass};

use super::judge::{counted, grouped};

/// Defects of each kind that are put in: enough to tell often from seldom.
const EACH: usize = 20;

/// Time that this may take at most; what was tried by then is told.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Operations beyond which it is left out: a history of this length takes longer than that to judge again and again.
const OPERATIONS_MAX: usize = 2_000_000;

/// The property, if the history holds.
pub fn property(judgement: &Judgement, events: &[Event]) -> Option<Property> {
    if judgement.outcome != Outcome::Pass || judgement.operations > OPERATIONS_MAX {
        return None;
    }
    let options = Options {
        time: Some(TIME_MAX),
        ..Options::default()
    };
    let found = sensitivity(&judgement.specification, events, EACH, &options).ok()??;
    let verdict = match found.caught.iter().any(|caught| caught.tried > 0) {
        true => Outcome::Pass,
        false => Outcome::Vacuous,
    };
    Some(Property {
        id: "sensitivity".to_owned(),
        title: "What this history would have shown".to_owned(),
        class: PropertyClass::Coverage,
        verdict,
        detail: detail(&found),
    })
}

fn detail(found: &Sensitivity) -> String {
    let mut parts: Vec<String> = Vec::new();
    for caught in found.caught.iter().filter(|caught| caught.tried > 0) {
        let undecided = match caught.undecided {
            0 => String::new(),
            undecided => format!(", {undecided} undecided"),
        };
        parts.push(format!(
            "{} of {} {} put in afterwards would have been caught{undecided}",
            caught.caught,
            caught.tried,
            caught.mutation.title()
        ));
    }
    if parts.is_empty() {
        parts.push("there was no place to put a defect in".to_owned());
    }
    match found.unread_after_heal.as_deref() {
        None => {}
        Some([]) => parts.push("every key was read after the heal".to_owned()),
        Some(unread) => {
            let named: Vec<&str> = unread.iter().take(5).map(String::as_str).collect();
            let more = match unread.len() - named.len() {
                0 => String::new(),
                more => format!(" and {} more", grouped(more as u64)),
            };
            parts.push(format!(
                "{} never read after the heal: {}{more}",
                counted(unread.len(), "key"),
                named.join(", ")
            ));
        }
    }
    parts.join("; ")
}
