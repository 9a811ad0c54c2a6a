//! What `--nemesis` means: a list of kinds and groups of faults.

use std::collections::BTreeSet;
use std::fmt;

use tribunal_history::FaultKind;

/// Kinds from a list such as `kill,partition`: single kinds, groups (`kill`, `pause`, `partition`, …), or one of
/// `all` and `none` alone. Groups and `all` mean those kinds that are `possible`.
pub fn parse_kinds(text: &str, possible: &BTreeSet<FaultKind>) -> Result<BTreeSet<FaultKind>, ParseKinds> {
    match text.trim() {
        "all" => return Ok(possible.clone()),
        "none" => return Ok(BTreeSet::new()),
        _ => {}
    }
    let mut kinds = BTreeSet::new();
    for name in text.split(',').map(str::trim) {
        match name {
            "" => return Err(ParseKinds::Empty(names(possible))),
            "all" | "none" => return Err(ParseKinds::NotAlone(name.to_owned(), names(possible))),
            _ => {}
        }
        let is_named = |kind: &FaultKind| kind.name() == name || kind.group() == name;
        let named: BTreeSet<FaultKind> = possible.iter().copied().filter(is_named).collect();
        if named.is_empty() {
            let refuse = if FaultKind::ALL.iter().any(is_named) {
                ParseKinds::NotHere
            } else {
                ParseKinds::Unknown
            };
            return Err(refuse(name.to_owned(), names(possible)));
        }
        kinds.extend(named);
    }
    Ok(kinds)
}

/// Every name that [`parse_kinds`] takes, in the order in which people read them.
pub fn names(possible: &BTreeSet<FaultKind>) -> Vec<&'static str> {
    let mut names = vec!["all", "none"];
    for kind in possible {
        for name in [kind.group(), kind.name()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Not a list of faults; each has the names that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseKinds {
    /// A name is missing, as in `kill,,pause`.
    Empty(Vec<&'static str>),
    /// `all` or `none` stands among other names.
    NotAlone(String, Vec<&'static str>),
    /// Nothing has this name.
    Unknown(String, Vec<&'static str>),
    /// Another world has a fault of this name.
    NotHere(String, Vec<&'static str>),
}

impl fmt::Display for ParseKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self {
            Self::Empty(names) => {
                f.write_str("a name is missing")?;
                names
            }
            Self::NotAlone(name, names) => {
                write!(f, "{name:?} stands alone or not at all")?;
                names
            }
            Self::Unknown(name, names) => {
                write!(f, "no fault is called {name:?}")?;
                if let Some(near) = nearest(name, names) {
                    write!(f, "; did you mean {near:?}?")?;
                }
                names
            }
            Self::NotHere(name, names) => {
                write!(f, "{name:?} is not possible in this world")?;
                names
            }
        };
        write!(f, " (there are: {})", names.join(", "))
    }
}

impl std::error::Error for ParseKinds {}

/// The known name with the fewest edits, if they are few enough to be a slip.
fn nearest(name: &str, names: &[&'static str]) -> Option<&'static str> {
    let (edits, near) = names
        .iter()
        .map(|known| (edits(name, known), *known))
        .min_by_key(|(edits, _)| *edits)?;
    (edits <= (near.len() / 3).max(1)).then_some(near)
}

/// How many insertions, removals and replacements of single characters make `b` of `a` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::kinds_in;

    #[test]
    fn kinds_and_groups_may_be_mixed() {
        let kinds = |text| parse_kinds(text, &kinds_in("process")).expect("known names");
        assert_eq!(kinds("all"), kinds_in("process"));
        assert_eq!(kinds("none"), BTreeSet::new());
        assert_eq!(kinds("kill, pause"), [FaultKind::Kill, FaultKind::Pause].into());
        assert_eq!(
            kinds("partition,isolate"),
            [
                FaultKind::Isolate,
                FaultKind::IsolateInbound,
                FaultKind::IsolateOutbound
            ]
            .into()
        );
        assert_eq!(kinds("isolate"), [FaultKind::Isolate].into());
        assert_eq!(kinds("kill,pause,partition,membership,maintenance"), kinds("all"));
        let everywhere = parse_kinds("kill", &FaultKind::ALL.into()).expect("a group");
        assert!(everywhere.len() > 1, "a group is as large as its world lets it be");
    }

    #[test]
    fn a_wrong_name_is_answered_with_what_there_is() {
        let error = |text| {
            parse_kinds(text, &kinds_in("process"))
                .expect_err("not a list of faults")
                .to_string()
        };
        let list = "(there are: all, none, kill, pause, partition, isolate, isolate-inbound, isolate-outbound, \
                    membership, member-replace, member-grow, member-shrink, maintenance, transfer-leader, compact, \
                    snapshot)";
        assert_eq!(
            error("partitoin"),
            format!("no fault is called \"partitoin\"; did you mean \"partition\"? {list}")
        );
        assert_eq!(error("weather"), format!("no fault is called \"weather\" {list}"));
        assert_eq!(
            error("clock"),
            format!("\"clock\" is not possible in this world {list}")
        );
        assert_eq!(error("kill,,pause"), format!("a name is missing {list}"));
        assert_eq!(error(""), format!("a name is missing {list}"));
        assert_eq!(
            error("kill,none"),
            format!("\"none\" stands alone or not at all {list}")
        );
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in [
            ("", "", 0),
            ("kill", "kill", 0),
            ("kil", "kill", 1),
            ("pasue", "pause", 2),
            ("", "abc", 3),
        ] {
            assert_eq!(edits(a, b), count, "{a} {b}");
            assert_eq!(edits(b, a), count, "{b} {a}");
        }
    }
}
