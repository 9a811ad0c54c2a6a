//! Who had what when a promise of the protocol was broken: one row a member, as texts for any kind of page.

use tribunal_history::picture::{Basis, Holding, MemberPicture};
use tribunal_history::{LogIndex, Picture, Term};

/// Members shown; a cluster with more is not drawn to its end.
pub const MEMBERS_MAX: usize = 15;

/// Heads of the columns.
pub const HEADS: [&str; 8] = [
    "node",
    "is",
    "state",
    "last vote",
    "on its disk",
    "had the entry",
    "committed · applied",
    "seen by",
];

/// A row, in the order of [`HEADS`].
pub fn row(member: &MemberPicture) -> [String; 8] {
    let name = match member.node {
        Some(node) => node.to_string(),
        None => format!("member {}", member.member),
    };
    let state = match (member.is_up, member.leads) {
        (Some(false), _) => "down".to_owned(),
        (_, Some(term)) => format!("leads term {term}"),
        (Some(true), None) => "up".to_owned(),
        (None, None) => "not known".to_owned(),
    };
    let mut disk = match (member.durable_last, &member.durable_chain) {
        (Some(last), Some(chain)) => format!("up to entry {last}, chain {chain}"),
        (Some(last), None) => format!("up to entry {last}"),
        (None, _) => "no entry".to_owned(),
    };
    if let Some(snapshot) = member.snapshot {
        disk.push_str(&format!(", snapshot up to {snapshot}"));
    }
    let entry = match (member.holds, member.at_entry) {
        (Holding::Other, Some(term)) => format!("another one, of term {term}"),
        (holds, _) => holds.title().to_owned(),
    };
    let mut basis = match member.basis {
        Basis::DurableImage => "the disk itself".to_owned(),
        Basis::Evidence => "its word".to_owned(),
    };
    if !member.note.is_empty() {
        basis.push_str(": ");
        basis.push_str(&member.note);
    }
    [
        name,
        member.standing.title().to_owned(),
        state,
        member
            .term
            .map_or_else(|| "none".to_owned(), |term| format!("term {term}")),
        disk,
        entry,
        format!("{} · {}", place(member.committed), place(member.applied)),
        basis,
    ]
}

/// Which entry it is about.
pub fn caption(picture: &Picture) -> String {
    let Some(entry) = picture.entry else {
        return "Who had what at that instant".to_owned();
    };
    let of_term = picture
        .term
        .map(|Term(term)| format!(" of term {term}"))
        .unwrap_or_default();
    let chain = picture
        .chain
        .as_ref()
        .map(|chain| format!(", chain {chain}"))
        .unwrap_or_default();
    format!("Who had entry {entry}{of_term}{chain} at that instant")
}

/// The tone of a row's answer to whether it had the entry.
pub fn tone(holds: Holding) -> &'static str {
    match holds {
        Holding::Log | Holding::Snapshot => "good",
        Holding::No | Holding::Other => "bad",
        Holding::Unknown => "none",
    }
}

fn place(index: Option<LogIndex>) -> String {
    index.map_or_else(|| "–".to_owned(), |index| index.to_string())
}
