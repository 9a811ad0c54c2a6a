//! Shares a budget among all partitions.
//!
//! What [`zones`] or [`lists`] can decide costs no search. Every other undecided partition gets the same number of steps
//! in a round, and twice as many in the next. So a partition that cannot be explained is found although another one is
//! hard, at no more than about four times the cost of having known where to look.
//!
//! From the second round on two searches race in each partition, a step of one for a step of the other: [`Wgl`] wins on
//! what is legal, [`Frontier`] on what is not, and which of them it is nobody knows before. The price of not knowing is
//! twice the steps of the better one.

use std::collections::BTreeSet;
use std::fmt;

use super::{Answer, Frontier, HardSpot, Partition, Search, Wgl, lists, zones};
use crate::budget::{Budget, Limit};
use crate::spec::Spec;

/// Steps for each partition in the first round: enough for most, at well under a millisecond or two.
const FIRST_ROUND_STEPS: u64 = 1 << 14;

/// Steps between two looks at the clock and the memory.
const STEPS_BETWEEN_LOOKS: u64 = 1 << 15;

/// What became of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This order explains it.
    Linearizable(Vec<u32>),
    /// Nothing explains it.
    NotLinearizable,
    /// It was given up.
    Unknown {
        /// What ran out; none if it was given up because another partition is illegal already.
        limit: Option<Limit>,
        /// Steps spent on it.
        steps: u64,
        /// How far it came.
        hard_spot: HardSpot,
    },
}

/// What became of all partitions, and which engines had a part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decisions {
    /// By partition.
    pub decisions: Vec<Decision>,
    /// The engines that decided, or tried to.
    pub engines: BTreeSet<Engine>,
}

/// The engines, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// The order of revisions (`witness`).
    Revisions,
    /// Clusters of different values ([`zones`]).
    Zones,
    /// Prefixes of a list ([`lists`]).
    Lists,
    /// The depth-first search ([`Wgl`]).
    DepthFirst,
    /// The breadth-first search ([`Frontier`]).
    BreadthFirst,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Revisions => "revisions",
            Self::Zones => "zones",
            Self::Lists => "lists",
            Self::DepthFirst => "wgl",
            Self::BreadthFirst => "frontier",
        })
    }
}

/// Decides every partition within `budget`. Once one is found that nothing explains, the others get the rest of
/// that round and no further one.
pub fn decide<S: Spec>(partitions: &[Partition<S>], budget: &mut Budget) -> Decisions {
    let mut undecided: Vec<Undecided<'_, S>> = partitions
        .iter()
        .enumerate()
        .map(|(place, partition)| Undecided {
            place,
            partition,
            has_begun: false,
            depth_first: None,
            breadth_first: None,
            gave_up: (false, false),
            spent: 0,
            hard_spot: HardSpot::default(),
        })
        .collect();
    let mut decisions: Vec<Option<Decision>> = partitions.iter().map(|_| None).collect();
    let mut engines = BTreeSet::new();
    let mut limit = None;
    let mut steps = FIRST_ROUND_STEPS;
    let mut illegal = false;
    while !undecided.is_empty() && !illegal && limit.is_none() {
        let mut held = undecided
            .iter()
            .map(Undecided::memory_bytes)
            .fold(0, u64::saturating_add);
        let mut still = Vec::new();
        for mut one in undecided {
            if limit.is_some() {
                still.push(one);
                continue;
            }
            held = held.saturating_sub(one.memory_bytes());
            match one.advance(steps, held, budget) {
                Ok(Some((answer, engine))) => {
                    illegal |= answer == Answer::NotLinearizable;
                    engines.insert(engine);
                    decisions[one.place] = Some(match answer {
                        Answer::Linearizable(order) => Decision::Linearizable(order),
                        Answer::NotLinearizable => Decision::NotLinearizable,
                    });
                    continue;
                }
                Ok(None) if one.gave_up == (true, true) => {
                    decisions[one.place] = Some(one.unknown(Some(Limit::Memory)));
                    engines.extend([Engine::DepthFirst, Engine::BreadthFirst]);
                    continue;
                }
                Ok(None) => {}
                Err(reached) => limit = Some(reached),
            }
            held = held.saturating_add(one.memory_bytes());
            still.push(one);
        }
        undecided = still;
        steps = steps.saturating_mul(2);
    }
    for one in undecided {
        if one.steps() > 0 {
            engines.insert(Engine::DepthFirst);
        }
        decisions[one.place] = Some(one.unknown(limit));
    }
    Decisions {
        decisions: decisions
            .into_iter()
            .map(|decision| decision.expect("each partition was decided or given up"))
            .collect(),
        engines,
    }
}

/// A partition with its searches, which begin when their turns come.
struct Undecided<'a, S: Spec> {
    place: usize,
    partition: &'a Partition<S>,
    has_begun: bool,
    depth_first: Option<Wgl<'a, S>>,
    breadth_first: Option<Frontier<'a, S>>,
    /// Which of the two met more than it can hold.
    gave_up: (bool, bool),
    /// Steps of those that gave up.
    spent: u64,
    /// How far the depth-first search came before it gave up.
    hard_spot: HardSpot,
}

impl<S: Spec> Undecided<'_, S> {
    fn memory_bytes(&self) -> u64 {
        let depth_first = self.depth_first.as_ref().map_or(0, |search| search.memory_bytes());
        let breadth_first = self.breadth_first.as_ref().map_or(0, |search| search.memory_bytes());
        depth_first.saturating_add(breadth_first)
    }

    fn steps(&self) -> u64 {
        let depth_first = self.depth_first.as_ref().map_or(0, |search| search.steps());
        self.spent + depth_first + self.breadth_first.as_ref().map_or(0, |search| search.steps())
    }

    fn unknown(&self, limit: Option<Limit>) -> Decision {
        Decision::Unknown {
            limit,
            steps: self.steps(),
            hard_spot: self
                .depth_first
                .as_ref()
                .map_or(self.hard_spot, |search| search.hard_spot()),
        }
    }

    /// Goes on for `steps` steps of each search, looking at the budget now and then; `held` is what the other partitions
    /// hold. A search that holds too much gives up, and the other one goes on alone.
    fn advance(&mut self, steps: u64, held: u64, budget: &mut Budget) -> Result<Option<(Answer, Engine)>, Limit> {
        if let Some(limit) = budget.reached(held.saturating_add(self.memory_bytes())) {
            return Err(limit);
        }
        let is_first_round = !std::mem::replace(&mut self.has_begun, true);
        if is_first_round {
            let entries = &self.partition.entries;
            let quick = zones::decide(entries).map(|answer| (answer, Engine::Zones));
            let quick = quick.or_else(|| lists::decide(entries).map(|answer| (answer, Engine::Lists)));
            if let Some(decided) = quick {
                budget.spend(entries.len() as u64);
                return Ok(Some(decided));
            }
        }
        if !self.gave_up.0 {
            let others = held.saturating_add(self.breadth_first.as_ref().map_or(0, |search| search.memory_bytes()));
            let search = self.depth_first.get_or_insert_with(|| Wgl::new(self.partition));
            match go_on(search, steps, others, budget) {
                Ok(None) => {}
                Ok(Some(answer)) => return Ok(Some((answer, Engine::DepthFirst))),
                Err(Limit::Memory) => {
                    self.spent += search.steps();
                    self.hard_spot = search.hard_spot();
                    self.depth_first = None;
                    self.gave_up.0 = true;
                }
                Err(limit) => return Err(limit),
            }
        }
        let waits = is_first_round && !self.gave_up.0;
        if !waits && !self.gave_up.1 {
            let others = held.saturating_add(self.depth_first.as_ref().map_or(0, |search| search.memory_bytes()));
            let search = self.breadth_first.get_or_insert_with(|| Frontier::new(self.partition));
            match go_on(search, steps, others, budget) {
                Ok(None) => {}
                Ok(Some(answer)) => return Ok(Some((answer, Engine::BreadthFirst))),
                Err(Limit::Memory) => {
                    self.spent += search.steps();
                    self.breadth_first = None;
                    self.gave_up.1 = true;
                }
                Err(limit) => return Err(limit),
            }
        }
        Ok(None)
    }
}

/// Goes on with one search for `steps` steps; `held` is what everything else holds.
fn go_on(search: &mut impl Search, steps: u64, held: u64, budget: &mut Budget) -> Result<Option<Answer>, Limit> {
    let begun = search.steps();
    loop {
        let before = search.steps();
        let left = steps.saturating_sub(before - begun);
        if left == 0 {
            return Ok(None);
        }
        let answer = search.advance(left.min(STEPS_BETWEEN_LOOKS).min(budget.steps_left()));
        budget.spend(search.steps() - before);
        if answer.is_some() {
            return Ok(answer);
        }
        if let Some(limit) = budget.reached(held.saturating_add(search.memory_bytes())) {
            return Err(limit);
        }
    }
}
