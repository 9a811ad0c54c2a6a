//! Decides objects that only grow, a text by appended texts, in the time of sorting them.
//!
//! Such an object holds the appended tokens in the order in which they took effect, so what one read saw must be a prefix
//! of what any longer one saw: otherwise there is no legal order, whatever the tokens are. Where all tokens are different
//! and none begins another, the longest value that was read can be taken apart in one way only. That is the order of all
//! observed appends; a read stands behind the append that its value ends with, and what was never observed stands at the
//! end. Nothing else is open, so real time decides: each operation is to end after the last of those before it began.
//!
//! Appends in doubt that nobody observed are left out. The preconditions are verified from the operations, never assumed,
//! and an order is replayed before it is returned.

use std::collections::BTreeMap;

use tribunal_history::Value;

use super::{Answer, Entry, verify};
use crate::spec::{Class, Spec};

/// The answer for these entries, in order of their calls; none if the precondition does not hold.
pub fn decide<S: Spec>(entries: &[Entry<S>]) -> Option<Answer> {
    let Value::Text(initial) = S::default().value() else {
        return None;
    };
    if !initial.is_empty() {
        return None;
    }
    let mut reads: Vec<(String, u32)> = Vec::new();
    let mut appends: BTreeMap<String, u32> = BTreeMap::new();
    let mut is_different = true;
    for (place, entry) in (0u32..).zip(entries) {
        match S::class(&entry.op, entry.ret.as_ref()) {
            Class::Read(_) if !entry.is_required() => {}
            Class::Read(Some(Value::Text(text))) => reads.push((text, place)),
            Class::Grow(Value::Text(token)) if !token.is_empty() => {
                is_different &= appends.insert(token, place).is_none();
            }
            _ => return None,
        }
    }
    // By value and then by call; of two values of one chain the shorter comes first.
    reads.sort();
    if reads.windows(2).any(|pair| !pair[1].0.starts_with(&pair[0].0)) {
        return Some(Answer::NotLinearizable);
    }
    let begins = |pair: (&String, &String)| pair.1.starts_with(pair.0.as_str());
    if !is_different || appends.keys().zip(appends.keys().skip(1)).any(begins) {
        return None;
    }
    let Some(order) = order(entries, &reads, &mut appends) else {
        return Some(Answer::NotLinearizable);
    };
    // In this order or in none: a step that the specification refuses means that its classes say too little.
    match verify(entries, &order) {
        Ok(()) => Some(Answer::Linearizable(order)),
        Err(super::CertificateError::RealTime { .. }) => Some(Answer::NotLinearizable),
        Err(_) => None,
    }
}

/// The only order that is possible; none if a value is not made of the tokens. Takes out the appends that it places.
fn order<S: Spec>(
    entries: &[Entry<S>],
    reads: &[(String, u32)],
    appends: &mut BTreeMap<String, u32>,
) -> Option<Vec<u32>> {
    let mut order = Vec::with_capacity(entries.len());
    let longest = reads.last().map_or("", |(text, _)| text.as_str());
    let mut at = 0;
    let mut reads = reads.iter().peekable();
    loop {
        while let Some((_, place)) = reads.next_if(|(text, _)| text.len() == at) {
            order.push(*place);
        }
        let rest = &longest[at..];
        if rest.is_empty() {
            break;
        }
        // A value that ends inside a token.
        if reads.peek().is_some_and(|(text, _)| text.len() < at) {
            return None;
        }
        // No token begins another, so the last one that is not behind the rest is the only candidate.
        let (token, place) = appends
            .range::<str, _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(rest)))
            .next_back()
            .filter(|(token, _)| rest.starts_with(token.as_str()))
            .map(|(token, place)| (token.clone(), *place))?;
        appends.remove(&token);
        order.push(place);
        at += token.len();
    }
    if reads.next().is_some() {
        return None;
    }
    let mut rest: Vec<u32> = appends.values().copied().collect();
    rest.retain(|&place| entries[place as usize].is_required());
    rest.sort_unstable();
    order.extend(rest);
    Some(order)
}
