//! The states that operations in doubt lead to from one configuration.

use std::collections::BTreeMap;

use super::Wgl;
use crate::linearizability::prepare::NONE;
use crate::spec::Spec;

/// Most nodes of a closure. A closure beyond it is a search that will not end in this lifetime.
const NODES_MAX: usize = 1 << 16;

/// Most attempts for one closure, well under a second.
const ATTEMPTS_MAX: usize = 1 << 23;

/// A state reached by placing operations in doubt only.
#[derive(Debug)]
pub struct Node<S> {
    /// The state.
    pub state: S,
    /// Number of its value, or `NONE`.
    pub value: u32,
    /// The classes of the operations placed, in order.
    pub classes: Vec<u32>,
}

impl<S: Spec> Wgl<'_, S> {
    /// What can be reached from the last configuration on the path by operations in doubt that begin before
    /// `deadline`, fewest operations first, starting with the configuration itself. Of two ways to one state
    /// the one that uses a part of the other is kept.
    ///
    /// The same configuration has the same closure each time, so a search that comes back computes it again
    /// instead of keeping it. None if it is too large.
    pub(super) fn closure(&mut self, deadline: u64) -> Option<Vec<Node<S>>> {
        // Looking through the classes costs a fraction of an attempt for each.
        self.steps += self.prepared.unknown.len() as u64 / 4;
        let here = &self.path[self.path.len() - 1];
        let begun: Vec<(u32, u32)> = (0..self.prepared.unknown.len())
            .map(|class| (class as u32, self.available(class, deadline) as u32))
            .filter(|&(class, begun)| begun > 0 && self.may_help(class))
            .collect();
        let mut nodes = vec![Node {
            state: here.state.clone(),
            value: here.value,
            classes: Vec::new(),
        }];
        let mut by_state: BTreeMap<u128, Vec<usize>> = BTreeMap::from([(here.state.fingerprint(), vec![0])]);
        let mut at = 0;
        while at < nodes.len() {
            if nodes.len() > NODES_MAX || at * begun.len() > ATTEMPTS_MAX {
                return None;
            }
            for &(class, begun) in &begun {
                let node = &nodes[at];
                let unknown = &self.prepared.unknown[class as usize];
                // What would be overwritten at once need not be placed.
                if unknown.overwrites && at > 0 {
                    continue;
                }
                self.steps += 1;
                let mut state = node.state.clone();
                state.invoke(&self.partition.entries[unknown.entries[0] as usize].op);
                if state == node.state
                    || (self.window.as_ref()).is_some_and(|window| window.is_dead(&state, &self.opens, None))
                {
                    continue;
                }
                let value = if unknown.makes == NONE {
                    node.value
                } else {
                    unknown.makes
                };
                let mut classes = node.classes.clone();
                classes.push(class);
                let fingerprint = state.fingerprint();
                let ways = by_state.get(&fingerprint).map_or(&[][..], |ways| ways);
                if ways.iter().any(|&way| uses_no_more(&nodes[way].classes, &classes)) {
                    continue;
                }
                if let Some(lost) = self.growth.as_ref().and_then(|growth| growth.lost(&state)) {
                    self.note_pinned(lost);
                    continue;
                }
                if value != node.value && self.is_still_needed(node.value, 0, &node.classes) {
                    self.note_needed(node.value, &node.classes);
                    continue;
                }
                let used_here = node.classes.iter().filter(|&&used| used == class).count() as u32;
                if self.used[class as usize] + used_here >= begun {
                    let top = self.path.len() - 1;
                    self.path[top].lack.note(class, begun - used_here);
                    continue;
                }
                by_state.entry(fingerprint).or_default().push(nodes.len());
                nodes.push(Node { state, value, classes });
            }
            at += 1;
        }
        Some(nodes)
    }
}

/// Whether `fewer` is a part of `more`, repeats counted.
fn uses_no_more(fewer: &[u32], more: &[u32]) -> bool {
    let count = |list: &[u32], class: u32| list.iter().filter(|&&other| other == class).count();
    fewer.iter().all(|&class| count(fewer, class) <= count(more, class))
}
