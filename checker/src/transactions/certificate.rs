//! Replays an order of all transactions over lists: what makes *valid* more than the absence of a complaint.

use std::collections::{BTreeMap, VecDeque};

use tribunal_history::{Ending, Value};

use super::circles::Times;
use super::graph::{Graph, View};
use super::nodes::Nodes;
use super::parse::{Parsed, Step, elements};

/// Puts the transactions into an order that the graph allows, and does them one after the other: every read must find
/// what it found. `kinds` are the edges that the model respects. With `times`, none may come before one that had ended when it began.
pub(super) fn replay(
    parsed: &Parsed<'_>,
    nodes: &Nodes,
    graph: &Graph,
    kinds: u8,
    times: Option<&Times>,
) -> Result<(), String> {
    let order = order(graph, kinds).ok_or("a graph without circles has no order")?;
    let mut lists: BTreeMap<u32, Vec<&Value>> = BTreeMap::new();
    let mut began_last = 0;
    for node in order {
        let place = nodes.operations[node as usize] as usize;
        let operation = &parsed.operations[place];
        if let Some(times) = times {
            if times.ended[node as usize] < began_last {
                return Err(format!(
                    "the order puts the transaction of event {} behind one that began after it had ended",
                    operation.invoked
                ));
            }
            began_last = began_last.max(times.began[node as usize]);
        }
        for step in parsed.steps(place) {
            match *step {
                Step::Write { key, value } => lists.entry(key).or_default().push(value),
                Step::Read { key, value } if operation.ending == Ending::Ok => {
                    let found = lists.get(&key).map_or(&[][..], Vec::as_slice);
                    if !found.iter().copied().eq(value.map_or(&[][..], elements)) {
                        return Err(format!(
                            "in this order the transaction of event {} does not read {} as it did",
                            operation.invoked, parsed.keys[key as usize]
                        ));
                    }
                }
                Step::Read { .. } => {}
            }
        }
    }
    Ok(())
}

/// An order in which every edge of these kinds leads forward; none if there is a circle.
fn order(graph: &Graph, kinds: u8) -> Option<Vec<u32>> {
    let view = View { kinds, is_split: false };
    let count = graph.nodes() as u32;
    let edges = |node: u32| graph.edges(node).iter().filter(|edge| view.has(edge.kind));
    let mut waits_for = vec![0u32; count as usize];
    for node in 0..count {
        for edge in edges(node) {
            waits_for[edge.to as usize] += 1;
        }
    }
    let mut ready: VecDeque<u32> = (0..count).filter(|node| waits_for[*node as usize] == 0).collect();
    let mut order = Vec::with_capacity(graph.transactions as usize);
    let mut done = 0;
    while let Some(node) = ready.pop_front() {
        done += 1;
        if !graph.is_helper(node) {
            order.push(node);
        }
        for edge in edges(node) {
            let waits = &mut waits_for[edge.to as usize];
            *waits -= 1;
            if *waits == 0 {
                ready.push_back(edge.to);
            }
        }
    }
    (done == count).then_some(order)
}
