//! Which transaction depends on which, and the parts in which they depend on each other in circles.
//!
//! Nodes are transactions, and helpers that stand for many edges at once: "each of these before each of those" goes
//! through one helper, and "what had ended before what began" through a chain of them, so that edges are as many as
//! steps and not as many as pairs of transactions.

/// What an edge means.
pub(super) mod kind {
    /// The source wrote what the target overwrote.
    pub const WW: u8 = 1;
    /// The target read what the source wrote.
    pub const WR: u8 = 1 << 1;
    /// The source missed what the target wrote.
    pub const RW: u8 = 1 << 2;
    /// From a helper that an [`RW`] edge led to.
    pub const RW_ON: u8 = 1 << 3;
    /// From a helper that a [`WW`] edge led to.
    pub const WW_ON: u8 = 1 << 4;
    /// The source is the transaction of the same client before the target.
    pub const PROCESS: u8 = 1 << 5;
    /// From a transaction that ended to a helper, or from it to one that began later.
    pub const TIME: u8 = 1 << 6;
    /// Beside what else it means: known only by what had ended before what began.
    pub const BY_TIME: u8 = 1 << 7;

    /// Any dependency.
    pub const DEPENDENCIES: u8 = WW | WR | RW | RW_ON | WW_ON;
}

/// An edge of a [`Builder`].
#[derive(Clone, Copy, Debug)]
struct Given {
    from: u32,
    edge: Edge,
}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// Where it leads.
    pub to: u32,
    /// The key that it is about; [`NO_KEY`] if none.
    pub key: u32,
    /// One of [`kind`], perhaps with [`kind::BY_TIME`].
    pub kind: u8,
}

/// The key of an edge that is about none.
pub(super) const NO_KEY: u32 = u32::MAX;

/// Collects edges.
pub(super) struct Builder {
    /// How many nodes are transactions; they come first.
    transactions: u32,
    nodes: u32,
    edges: Vec<Given>,
}

impl Builder {
    /// A graph of `transactions` and no edges.
    pub(super) fn new(transactions: usize) -> Self {
        Self {
            transactions: transactions as u32,
            nodes: transactions as u32,
            edges: Vec::new(),
        }
    }

    /// A new helper.
    pub(super) fn helper(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    /// A new edge; one that leads back to its source says nothing and is left out.
    pub(super) fn edge(&mut self, from: u32, to: u32, kind: u8, key: u32) {
        if from != to {
            self.edges.push(Given {
                from,
                edge: Edge { to, key, kind },
            });
        }
    }

    /// The graph.
    pub(super) fn build(self) -> Graph {
        let nodes = self.nodes as usize;
        let mut begins = vec![0u32; nodes + 1];
        for given in &self.edges {
            begins[given.from as usize + 1] += 1;
        }
        for node in 0..nodes {
            begins[node + 1] += begins[node];
        }
        let mut next = begins.clone();
        let empty = Edge {
            to: 0,
            key: NO_KEY,
            kind: 0,
        };
        let mut edges = vec![empty; self.edges.len()];
        for given in self.edges {
            let place = &mut next[given.from as usize];
            edges[*place as usize] = given.edge;
            *place += 1;
        }
        Graph {
            transactions: self.transactions,
            begins,
            edges,
        }
    }
}

/// A graph, its edges by their sources.
pub(super) struct Graph {
    /// How many nodes are transactions; they come first.
    pub transactions: u32,
    begins: Vec<u32>,
    edges: Vec<Edge>,
}

impl Graph {
    /// How many nodes there are, helpers included.
    pub(super) fn nodes(&self) -> usize {
        self.begins.len() - 1
    }

    /// The edges that leave a node.
    pub(super) fn edges(&self, node: u32) -> &[Edge] {
        &self.edges[self.begins[node as usize] as usize..self.begins[node as usize + 1] as usize]
    }

    /// Whether a node is a helper.
    pub(super) fn is_helper(&self, node: u32) -> bool {
        node >= self.transactions
    }
}

/// What part of a graph is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The kinds of edges that count. Edges with [`kind::BY_TIME`] count only if it is among them.
    pub kinds: u8,
    /// Whether an edge that missed something leads from where a transaction began to where another committed, and
    /// any other from where one committed to where another began: then exactly those circles are left in which no
    /// two such edges are neighbours.
    pub is_split: bool,
}

impl View {
    /// Whether an edge of this kind counts.
    pub(super) fn has(self, kind: u8) -> bool {
        let by_time = kind & kind::BY_TIME;
        (kind & !kind::BY_TIME) & self.kinds != 0 && (by_time == 0 || self.kinds & kind::BY_TIME != 0)
    }
}

/// The parts of a view in which every node reaches every other, as a number for each node.
pub(super) struct Components {
    /// Of a node, or of where it begins and where it commits, one after the other, in a split view.
    of: Vec<u32>,
    is_split: bool,
    transactions: u32,
    /// How many transactions, or halves of some, each has; helpers are not counted.
    sizes: Vec<u32>,
}

impl Components {
    /// The parts with a circle in them, by number.
    pub(super) fn circular(&self) -> impl Iterator<Item = u32> {
        (0..self.sizes.len() as u32).filter(|part| self.sizes[*part as usize] > 1)
    }

    /// Whether there is no circle.
    pub(super) fn is_acyclic(&self) -> bool {
        self.circular().next().is_none()
    }

    /// Whether a node is in the part, with any half.
    pub(super) fn has(&self, part: u32, node: u32) -> bool {
        if self.is_split {
            self.of[2 * node as usize] == part || self.of[2 * node as usize + 1] == part
        } else {
            self.of[node as usize] == part
        }
    }

    /// The transactions of each circular part.
    pub(super) fn members(&self) -> Vec<(u32, Vec<u32>)> {
        let mut place = vec![u32::MAX; self.sizes.len()];
        let mut members: Vec<(u32, Vec<u32>)> = Vec::new();
        for part in self.circular() {
            place[part as usize] = members.len() as u32;
            members.push((part, Vec::new()));
        }
        for node in 0..self.transactions {
            let halves: &[u32] = if self.is_split {
                &self.of[2 * node as usize..2 * node as usize + 2]
            } else {
                &self.of[node as usize..=node as usize]
            };
            for (number, part) in halves.iter().enumerate() {
                let place = place[*part as usize];
                if place != u32::MAX && (number == 0 || halves[0] != *part) {
                    members[place as usize].1.push(node);
                }
            }
        }
        members
    }
}

/// Finds the parts (Tarjan 1972), without recursion.
pub(super) fn components(graph: &Graph, view: View) -> Components {
    const NEW: u32 = u32::MAX;
    let halves = if view.is_split { 2 } else { 1 };
    let states = graph.nodes() * halves;
    let is_transaction = |state: u32| state / (halves as u32) < graph.transactions;
    let mut index = vec![NEW; states];
    let mut low = vec![0u32; states];
    let mut of = vec![NEW; states];
    let mut sizes: Vec<u32> = Vec::new();
    let mut stack: Vec<u32> = Vec::new();
    let mut path: Vec<(u32, u32)> = Vec::new();
    let mut counter = 0;
    for start in 0..states as u32 {
        if index[start as usize] != NEW {
            continue;
        }
        path.push((start, 0));
        while let Some(&mut (state, ref mut next)) = path.last_mut() {
            let at = state as usize;
            if *next == 0 && index[at] == NEW {
                index[at] = counter;
                low[at] = counter;
                counter += 1;
                stack.push(state);
            }
            match successor(graph, view, state, next) {
                Some(to) => {
                    let to_at = to as usize;
                    if index[to_at] == NEW {
                        path.push((to, 0));
                    } else if of[to_at] == NEW {
                        low[at] = low[at].min(index[to_at]);
                    }
                }
                None => {
                    path.pop();
                    if let Some(&(parent, _)) = path.last() {
                        low[parent as usize] = low[parent as usize].min(low[at]);
                    }
                    if low[at] == index[at] {
                        let part = sizes.len() as u32;
                        let mut size = 0;
                        while let Some(member) = stack.pop() {
                            of[member as usize] = part;
                            size += u32::from(is_transaction(member));
                            if member == state {
                                break;
                            }
                        }
                        sizes.push(size);
                    }
                }
            }
        }
    }
    Components {
        of,
        is_split: view.is_split,
        transactions: graph.transactions,
        sizes,
    }
}

/// The successor of a state from place `next` on, which moves behind it.
fn successor(graph: &Graph, view: View, state: u32, next: &mut u32) -> Option<u32> {
    if !view.is_split {
        let edges = graph.edges(state);
        while let Some(edge) = edges.get(*next as usize) {
            *next += 1;
            if view.has(edge.kind) {
                return Some(edge.to);
            }
        }
        return None;
    }
    let (node, is_commit) = (state / 2, state % 2 == 1);
    let is_helper = graph.is_helper(node);
    // Place 0 is the way from where a transaction begins to where it commits.
    if *next == 0 {
        *next = 1;
        if !is_helper && !is_commit {
            return Some(state + 1);
        }
    }
    if is_helper && is_commit {
        return None;
    }
    let edges = graph.edges(node);
    while let Some(edge) = edges.get(*next as usize - 1) {
        *next += 1;
        let misses = edge.kind & (kind::RW | kind::RW_ON) != 0;
        if view.has(edge.kind) && (is_helper || misses != is_commit) {
            let to_commit = misses && !graph.is_helper(edge.to);
            return Some(2 * edge.to + u32::from(to_commit));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(edges: &[(u32, u32, u8)], is_split: bool) -> bool {
        let mut builder = Builder::new(4);
        for &(from, to, kind) in edges {
            builder.edge(from, to, kind, 0);
        }
        let view = View {
            kinds: kind::DEPENDENCIES,
            is_split,
        };
        components(&builder.build(), view).is_acyclic()
    }

    #[test]
    fn circles_are_found_and_two_neighbours_that_missed_do_not_count_in_a_split_view() {
        use kind::{RW, WR, WW};
        assert!(parts(&[(0, 1, WW), (1, 2, WR), (0, 3, RW)], false));
        assert!(!parts(&[(0, 1, WW), (1, 2, WR), (2, 0, RW)], false));
        assert!(!parts(&[(0, 1, WW), (1, 2, WR), (2, 0, RW)], true));
        assert!(!parts(&[(0, 1, RW), (1, 0, RW)], false));
        assert!(parts(&[(0, 1, RW), (1, 0, RW)], true));
        assert!(!parts(&[(0, 1, RW), (1, 2, WR), (2, 3, RW), (3, 0, WW)], true));
        assert!(parts(&[(0, 1, RW), (1, 2, RW), (2, 3, RW), (3, 0, WW)], true));
    }
}
