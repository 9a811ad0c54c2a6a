//! Who had what, at the instant at which a promise was broken.

use tribunal_history::LogIndex;
use tribunal_history::evidence::{Chain, Configuration};
use tribunal_history::picture::{Basis, Holding, MemberPicture, Picture, Standing};

use super::view::{Member, View};
use super::{Held, Witness};

/// Draws the members of a configuration and every other node that has said something.
pub fn draw(
    view: &View,
    witness: &mut dyn Witness,
    configuration: Option<&Configuration>,
    entry: Option<(LogIndex, Option<Chain>)>,
) -> Picture {
    let entry = entry.map(|(index, chain)| (index, chain.or_else(|| view.committed().chain(index))));
    let mut members = Vec::new();
    for (node, member) in view.nodes() {
        let mut drawn = MemberPicture {
            node: Some(node),
            member: member.member,
            standing: standing(configuration, member),
            is_up: witness.is_up(node),
            term: member.vote.map(|vote| vote.term),
            leads: member.leads,
            durable_last: member.log.last(),
            durable_chain: None,
            holds: Holding::Unknown,
            at_entry: None,
            snapshot: member.snapshot.map(|snapshot| snapshot.index),
            committed: member.commit.map(|(index, _)| index),
            applied: member.applied,
            basis: Basis::Evidence,
            note: member.suspect.clone().unwrap_or_default(),
        };
        if let Some((index, _)) = entry {
            drawn.at_entry = member.log.term(index);
            drawn.holds = match drawn.at_entry {
                Some(term) if Some(term) == view.committed().term(index) => Holding::Log,
                _ if member.snapshot.is_some_and(|snapshot| snapshot.index >= index) => Holding::Snapshot,
                _ if member.log.last().is_none_or(|last| last < index) => Holding::No,
                _ => Holding::Unknown,
            };
        }
        if let Some(log) = witness.log(node) {
            drawn.basis = Basis::DurableImage;
            drawn.durable_last = log.last().map(|last| last.index);
            drawn.durable_chain = log.last().map(|last| chain_text(last.chain));
            drawn.snapshot = log.snapshot().map(|snapshot| snapshot.index);
            if let Some(what) = log.ends_early() {
                drawn.note = what.to_owned();
            }
            if let Some((index, chain)) = entry {
                drawn.at_entry = log.position(index).map(|position| position.term);
                drawn.holds = match chain.map(|chain| log.holds(index, chain)) {
                    Some(Some(Held::Log(_))) => Holding::Log,
                    Some(Some(Held::Snapshot(_))) => Holding::Snapshot,
                    Some(None) if drawn.at_entry.is_some() => Holding::Other,
                    Some(None) => Holding::No,
                    None => Holding::Unknown,
                };
            }
        }
        members.push(drawn);
    }
    let silent = configuration.into_iter().flat_map(|configuration| {
        let sets = configuration.voters.iter().flatten();
        sets.chain(&configuration.learners).copied()
    });
    for id in silent {
        if members.iter().all(|drawn| drawn.member != id) {
            let nobody = Member {
                member: id,
                ..Member::default()
            };
            members.push(MemberPicture {
                node: None,
                member: id,
                standing: standing(configuration, &nobody),
                note: "it has never said anything".to_owned(),
                ..MemberPicture::default()
            });
        }
    }
    Picture {
        entry: entry.map(|(index, _)| index),
        term: entry.and_then(|(index, _)| view.committed().term(index)),
        chain: entry.and_then(|(_, chain)| chain).map(chain_text),
        members,
    }
}

fn standing(configuration: Option<&Configuration>, member: &Member) -> Standing {
    let Some(configuration) = configuration else {
        return Standing::Unknown;
    };
    let votes = |set: &Vec<_>| set.contains(&member.member);
    match configuration.voters.as_slice() {
        [_, new] if votes(new) => Standing::Voter,
        [old, _] if votes(old) => Standing::LeavingVoter,
        sets if sets.iter().any(votes) => Standing::Voter,
        _ if configuration.learners.contains(&member.member) => Standing::Learner,
        _ => Standing::Stranger,
    }
}

/// The first digits of a chain; enough to tell two apart.
pub fn chain_text(chain: Chain) -> String {
    let text = format!("{:032x}", chain.0);
    text[..8].to_owned()
}
