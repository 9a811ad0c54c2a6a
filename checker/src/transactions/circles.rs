//! Finds the shortest circle of each kind in a graph of dependencies.
//!
//! Whether there is a circle is answered exactly, in linear time, by taking a view of the graph apart
//! ([`super::graph::components`]). Which one is shortest is searched for breadth first from each transaction of a
//! part, and only as far as the best one so far reaches. Where that costs too much, a circle that is not the shortest
//! does.
//!
//! Of circles against real time only those with one step of time are looked for: what ended before what began is an
//! interval order, so with two such steps in a circle one of them leads right across it, and leaves a shorter one.

use std::collections::VecDeque;

use tribunal_history::AnomalyClass;

use super::graph::{Components, Graph, NO_KEY, View, components, kind};
use crate::consistency::Consistency;

/// When transactions began and ended, by node.
pub(super) struct Times {
    /// Places of the invocations.
    pub began: Vec<u64>,
    /// Places of the completions; the greatest number where there is none that counts.
    pub ended: Vec<u64>,
}

/// One step of a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The transaction that comes before, a node.
    pub from: u32,
    /// The one after it.
    pub to: u32,
    /// Why: one of [`kind`].
    pub kind: u8,
    /// The key that it is about; [`NO_KEY`] if none.
    pub key: u32,
}

/// Transactions each of which comes before the next, and the last before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circle {
    /// What it is called.
    pub class: AnomalyClass,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// Which circles are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Any,
    /// At most one transaction missed what the next one wrote.
    OneMissed,
    /// No two that did are neighbours.
    NoneAdjacent,
}

/// What makes the last step of a circle, beside dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Plain,
    Process,
    Realtime,
}

/// The kinds of circles of one level, those that more models forbid first.
struct Stage {
    class: AnomalyClass,
    level: Level,
    kinds: u8,
    rule: Rule,
}

fn stages() -> impl Iterator<Item = Stage> {
    use AnomalyClass as A;
    let levels = [
        (Level::Plain, 0, [A::G0, A::G1c, A::GSingle, A::GNonadjacent, A::G2Item]),
        (
            Level::Process,
            kind::PROCESS,
            [
                A::G0Process,
                A::G1cProcess,
                A::GSingleProcess,
                A::GNonadjacentProcess,
                A::G2ItemProcess,
            ],
        ),
        (
            Level::Realtime,
            kind::TIME | kind::BY_TIME,
            [
                A::G0Realtime,
                A::G1cRealtime,
                A::GSingleRealtime,
                A::GNonadjacentRealtime,
                A::G2ItemRealtime,
            ],
        ),
    ];
    let writes = kind::WW | kind::WW_ON;
    let rules = [
        (writes, Rule::Any),
        (writes | kind::WR, Rule::Any),
        (kind::DEPENDENCIES, Rule::OneMissed),
        (kind::DEPENDENCIES, Rule::NoneAdjacent),
        (kind::DEPENDENCIES, Rule::Any),
    ];
    levels.into_iter().flat_map(move |(level, more, classes)| {
        classes.into_iter().zip(rules).map(move |(class, (kinds, rule))| Stage {
            class,
            level,
            kinds: kinds | more,
            rule,
        })
    })
}

/// The view in which a circle shows that the model is violated.
pub(super) fn view_of(model: Consistency) -> View {
    let (kinds, is_split) = match model {
        Consistency::ReadUncommitted => (kind::WW | kind::WW_ON, false),
        Consistency::ReadCommitted => (kind::WW | kind::WW_ON | kind::WR, false),
        Consistency::SnapshotIsolation => (kind::DEPENDENCIES, true),
        Consistency::StrongSessionSnapshotIsolation => (kind::DEPENDENCIES | kind::PROCESS, true),
        Consistency::StrongSnapshotIsolation => (kind::DEPENDENCIES | kind::PROCESS | kind::TIME | kind::BY_TIME, true),
        Consistency::Serializable => (kind::DEPENDENCIES, false),
        Consistency::StrongSessionSerializable => (kind::DEPENDENCIES | kind::PROCESS, false),
        _ => (kind::DEPENDENCIES | kind::PROCESS | kind::TIME | kind::BY_TIME, false),
    };
    View { kinds, is_split }
}

/// Whether no circle stands against the model.
pub(super) fn allows(graph: &Graph, model: Consistency) -> bool {
    components(graph, view_of(model)).is_acyclic()
}

/// What is found already: its class, and the transactions in it.
pub(super) type Known = (AnomalyClass, Vec<u32>);

/// Circles that the model forbids, at most `max`, and how many more parts have one; the parts that are explained by
/// what is `known` or found are left out.
pub(super) fn find(
    graph: &Graph,
    times: &Times,
    model: Consistency,
    mut known: Vec<Known>,
    max: usize,
    steps: u64,
) -> (Vec<Circle>, usize) {
    let mut search = Search::new(graph, times, steps);
    let mut found: Vec<Circle> = Vec::new();
    let mut more = 0;
    let mut last: Option<(View, Components)> = None;
    for stage in stages().filter(|stage| model.forbids(stage.class)) {
        let view = View {
            kinds: stage.kinds,
            is_split: matches!(stage.rule, Rule::OneMissed | Rule::NoneAdjacent),
        };
        let parts = match last.take() {
            Some((same, parts)) if same == view => parts,
            _ => components(graph, view),
        };
        for (part, members) in parts.members() {
            let is_explained = known.iter().any(|(class, transactions)| {
                says_more(*class, stage.class) && transactions.iter().all(|node| parts.has(part, *node))
            });
            if is_explained {
                continue;
            }
            if found.len() >= max {
                more += 1;
                continue;
            }
            let circle = search.shortest(&stage, &parts, part, &members);
            if let Some(circle) = circle.filter(|circle| !found.contains(circle)) {
                known.push((circle.class, circle.steps.iter().map(|step| step.from).collect()));
                found.push(circle);
            }
        }
        last = Some((view, parts));
    }
    (found, more)
}

/// Whether every model that forbids `less` forbids `more`.
fn says_more(more: AnomalyClass, less: AnomalyClass) -> bool {
    Consistency::OF_TRANSACTIONS
        .into_iter()
        .all(|model| !model.forbids(less) || model.forbids(more))
}

/// How a state was reached.
#[derive(Clone, Copy)]
struct Came {
    from: u32,
    kind: u8,
    key: u32,
}

/// How many first members of a part are tried where looking at all of them costs too much.
const TRIED_WITHOUT_BUDGET: usize = 64;

struct Search<'a> {
    graph: &'a Graph,
    times: &'a Times,
    /// By state, which is a node and a flag: the search that saw it last.
    seen: Vec<u32>,
    came: Vec<Came>,
    stamp: u32,
    queue: VecDeque<(u32, u32)>,
    /// Where one step goes through helpers.
    through: Vec<u32>,
    steps_left: u64,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, times: &'a Times, steps: u64) -> Self {
        Self {
            graph,
            times,
            seen: Vec::new(),
            came: Vec::new(),
            stamp: 0,
            queue: VecDeque::new(),
            through: Vec::new(),
            steps_left: steps,
        }
    }

    /// The shortest circle of a stage in a part; none if none of this kind was found.
    fn shortest(&mut self, stage: &Stage, parts: &Components, part: u32, members: &[u32]) -> Option<Circle> {
        if self.seen.is_empty() {
            let states = 2 * self.graph.nodes();
            self.seen = vec![0; states];
            self.came = vec![
                Came {
                    from: 0,
                    kind: 0,
                    key: NO_KEY
                };
                states
            ];
        }
        let mut best: Option<Vec<Step>> = None;
        // Short ones first, so that no search goes far where a short one is elsewhere.
        let mut reach = 2;
        loop {
            for &start in members {
                if self.steps_left == 0 {
                    break;
                }
                let limit = best.as_ref().map_or(reach, |best| reach.min(best.len() as u32 - 1));
                if let Some(steps) = self.from(stage, parts, part, start, limit, true) {
                    best = Some(steps);
                }
            }
            let is_done = best.as_ref().is_some_and(|best| best.len() as u32 <= reach);
            if is_done || self.steps_left == 0 || reach as usize > members.len() {
                break;
            }
            reach = reach.saturating_mul(2);
        }
        if best.is_none() && self.steps_left == 0 {
            best = members
                .iter()
                .take(TRIED_WITHOUT_BUDGET)
                .find_map(|&start| self.from(stage, parts, part, start, u32::MAX, false));
        }
        let steps = merged(best?);
        Some(Circle {
            class: class(&steps, stage.level),
            steps,
        })
    }

    /// The shortest circle through `start` of at most `limit` transactions.
    fn from(
        &mut self,
        stage: &Stage,
        parts: &Components,
        part: u32,
        start: u32,
        limit: u32,
        is_budgeted: bool,
    ) -> Option<Vec<Step>> {
        let view = View {
            kinds: stage.kinds & !kind::TIME,
            is_split: false,
        };
        let is_timed = stage.level == Level::Realtime;
        self.stamp += 1;
        self.queue.clear();
        let first = 2 * start;
        let mut at = (first, 0);
        let mut is_first = true;
        loop {
            let (state, cost) = at;
            let (node, flag) = (state / 2, state % 2);
            if !is_first {
                let is_closed = if is_timed {
                    node != start && self.times.ended[node as usize] < self.times.began[start as usize]
                } else {
                    node == start && (stage.rule != Rule::NoneAdjacent || flag == 0)
                };
                let length = cost + u32::from(is_timed);
                if is_closed && length <= limit {
                    return Some(self.way(first, state, is_timed));
                }
            }
            if (is_first || node != start) && cost < limit {
                self.expand(stage, view, parts, part, state, cost + 1, is_budgeted);
            }
            is_first = false;
            at = self.queue.pop_front()?;
        }
    }

    /// Queues what a state leads to in one step. Helpers are gone through at once, since they cost nothing.
    #[expect(clippy::too_many_arguments, reason = "one search, told what it may do")]
    fn expand(
        &mut self,
        stage: &Stage,
        view: View,
        parts: &Components,
        part: u32,
        state: u32,
        cost: u32,
        is_budgeted: bool,
    ) {
        self.through.clear();
        self.through.push(state);
        while let Some(state) = self.through.pop() {
            let flag = state % 2;
            for edge in self.graph.edges(state / 2) {
                if is_budgeted {
                    self.steps_left = self.steps_left.saturating_sub(1);
                }
                if !view.has(edge.kind) || !parts.has(part, edge.to) {
                    continue;
                }
                let misses = edge.kind & kind::RW != 0;
                let goes_on = edge.kind & (kind::RW_ON | kind::WW_ON) != 0;
                let flag = match stage.rule {
                    Rule::Any => 0,
                    Rule::OneMissed | Rule::NoneAdjacent if misses && flag == 1 => continue,
                    Rule::OneMissed => flag | u32::from(misses),
                    Rule::NoneAdjacent if goes_on => flag,
                    Rule::NoneAdjacent => u32::from(misses),
                };
                let to = 2 * edge.to + flag;
                if self.seen[to as usize] == self.stamp {
                    continue;
                }
                self.seen[to as usize] = self.stamp;
                self.came[to as usize] = Came {
                    from: state,
                    kind: edge.kind,
                    key: edge.key,
                };
                if self.graph.is_helper(edge.to) {
                    self.through.push(to);
                } else {
                    self.queue.push_back((to, cost));
                }
            }
        }
    }

    /// The steps of the way from the first state to the last, and back by time if it was not closed by itself.
    fn way(&self, first: u32, last: u32, is_timed: bool) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut state = last;
        let mut to = last / 2;
        loop {
            let came = self.came[state as usize];
            state = came.from;
            if !self.graph.is_helper(state / 2) {
                steps.push(Step {
                    from: state / 2,
                    to,
                    kind: came.kind,
                    key: came.key,
                });
                to = state / 2;
            }
            if state == first {
                break;
            }
        }
        steps.reverse();
        if is_timed {
            steps.push(Step {
                from: last / 2,
                to: first / 2,
                kind: kind::TIME,
                key: NO_KEY,
            });
        }
        steps
    }
}

/// Two steps of one client after each other are one.
fn merged(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        match merged.last_mut() {
            Some(last) if last.kind == kind::PROCESS && step.kind == kind::PROCESS => last.to = step.to,
            _ => merged.push(step),
        }
    }
    if merged.len() > 2
        && let (Some(first), Some(last)) = (merged.first().copied(), merged.last().copied())
        && first.kind == kind::PROCESS
        && last.kind == kind::PROCESS
    {
        merged.remove(0);
        if let Some(last) = merged.last_mut() {
            last.to = first.to;
        }
    }
    merged
}

/// What a circle is called: by what is in it, whatever was looked for.
fn class(steps: &[Step], level: Level) -> AnomalyClass {
    use AnomalyClass as A;
    let misses = |step: &Step| step.kind & (kind::RW | kind::RW_ON) != 0;
    let missed = steps.iter().filter(|step| misses(step)).count();
    let adjacent = (0..steps.len()).any(|at| misses(&steps[at]) && misses(&steps[(at + 1) % steps.len()]));
    let reads = steps.iter().any(|step| step.kind & kind::WR != 0);
    let which = match missed {
        0 if !reads => 0,
        0 => 1,
        1 => 2,
        _ if !adjacent => 3,
        _ => 4,
    };
    let by_time = steps.iter().any(|step| step.kind & (kind::TIME | kind::BY_TIME) != 0);
    let by_process = steps.iter().any(|step| step.kind & kind::PROCESS != 0);
    let level = match level {
        _ if by_time => Level::Realtime,
        _ if by_process => Level::Process,
        _ => Level::Plain,
    };
    match level {
        Level::Plain => [A::G0, A::G1c, A::GSingle, A::GNonadjacent, A::G2Item][which],
        Level::Process => [
            A::G0Process,
            A::G1cProcess,
            A::GSingleProcess,
            A::GNonadjacentProcess,
            A::G2ItemProcess,
        ][which],
        Level::Realtime => [
            A::G0Realtime,
            A::G1cRealtime,
            A::GSingleRealtime,
            A::GNonadjacentRealtime,
            A::G2ItemRealtime,
        ][which],
    }
}
