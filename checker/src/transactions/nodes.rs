//! Which transactions happened, and when.

use std::collections::BTreeMap;

use tribunal_history::{Ending, Operation, ProcessId};

use super::circles::Times;
use super::graph::{Builder, NO_KEY, kind};

/// The transactions that happened, numbered in the order in which they began: those that ended ok, and those of unknown
/// outcome of which something was seen. Any other may be taken not to have happened, and nothing contradicts that.
pub(super) struct Nodes {
    of: Vec<u32>,
    /// The operation of each.
    pub operations: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Nodes {
    /// Numbers them.
    pub(super) fn new(operations: &[Operation], seen: &[bool]) -> Self {
        let mut nodes = Self {
            of: vec![NONE; operations.len()],
            operations: Vec::new(),
        };
        for (place, operation) in operations.iter().enumerate() {
            let happened = match operation.ending {
                Ending::Ok => true,
                Ending::Info => seen[place],
                Ending::Fail => false,
            };
            if happened {
                nodes.of[place] = nodes.operations.len() as u32;
                nodes.operations.push(place as u32);
            }
        }
        nodes
    }

    /// The node of an operation.
    pub(super) fn of(&self, operation: u32) -> Option<u32> {
        let node = self.of[operation as usize];
        (node != NONE).then_some(node)
    }

    /// When each began and ended.
    pub(super) fn times(&self, operations: &[Operation]) -> Times {
        let of = |node: &u32| &operations[*node as usize];
        Times {
            began: self.operations.iter().map(|node| of(node).invoked.0).collect(),
            ended: self.operations.iter().map(|node| ended(of(node))).collect(),
        }
    }

    /// What the order of each client's transactions says. One of unknown outcome may have happened later than its
    /// client gave it up.
    pub(super) fn order_of_clients(&self, operations: &[Operation], builder: &mut Builder) {
        let mut last: BTreeMap<ProcessId, u32> = BTreeMap::new();
        for (node, place) in (0..).zip(&self.operations) {
            let operation = &operations[*place as usize];
            if let Some(&last) = last.get(&operation.process) {
                builder.edge(last, node, kind::PROCESS, NO_KEY);
            }
            if operation.ending == Ending::Ok {
                last.insert(operation.process, node);
            }
        }
    }

    /// What had ended before what began: through a chain of helpers, one for each time at which transactions end and
    /// then others begin.
    pub(super) fn order_of_time(&self, times: &Times, builder: &mut Builder) {
        let mut moments: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * times.began.len());
        for (node, (&began, &ended)) in (0..).zip(times.began.iter().zip(&times.ended)) {
            moments.push((began, false, node));
            if ended != u64::MAX {
                moments.push((ended, true, node));
            }
        }
        moments.sort_unstable();
        let mut helper: Option<u32> = None;
        let mut is_used = true;
        for (_, is_end, node) in moments {
            match (is_end, helper) {
                (false, None) => {}
                (false, Some(helper)) => {
                    builder.edge(helper, node, kind::TIME, NO_KEY);
                    is_used = true;
                }
                (true, before) => {
                    let current = match before.filter(|_| !is_used) {
                        Some(current) => current,
                        None => {
                            let new = builder.helper();
                            if let Some(before) = before {
                                builder.edge(before, new, kind::TIME, NO_KEY);
                            }
                            helper = Some(new);
                            is_used = false;
                            new
                        }
                    };
                    builder.edge(node, current, kind::TIME, NO_KEY);
                }
            }
        }
    }
}

/// The place of an operation's completion, if it is one before which it certainly happened.
pub(super) fn ended(operation: &Operation) -> u64 {
    match (operation.ending, operation.completed) {
        (Ending::Ok, Some(seq)) => seq.0,
        _ => u64::MAX,
    }
}
