//! Shares a budget among all partitions.
//!
//! What [`zones`] can decide costs no search. Every other undecided partition gets the same number of steps in a round,
//! and twice as many in the next. So a partition that cannot be explained is found although another one is hard, at no
//! more than about four times the cost of having known where to look.

use super::{Answer, HardSpot, Partition, Search, Wgl, zones};
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
    /// How many of them the zones decided.
    pub by_zones: usize,
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
            by_zones: false,
            search: None,
        })
        .collect();
    let mut decisions: Vec<Option<Decision>> = partitions.iter().map(|_| None).collect();
    let mut by_zones = 0;
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
                Ok(Some(answer)) => {
                    illegal |= answer == Answer::NotLinearizable;
                    by_zones += usize::from(one.by_zones);
                    decisions[one.place] = Some(match answer {
                        Answer::Linearizable(order) => Decision::Linearizable(order),
                        Answer::NotLinearizable => Decision::NotLinearizable,
                    });
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
        decisions[one.place] = Some(Decision::Unknown {
            limit,
            steps: one.search.as_ref().map_or(0, |search| search.steps()),
            hard_spot: one.search.as_ref().map(|search| search.hard_spot()).unwrap_or_default(),
        });
    }
    Decisions {
        decisions: decisions
            .into_iter()
            .map(|decision| decision.expect("each partition was decided or given up"))
            .collect(),
        by_zones,
    }
}

/// A partition with its search, which begins when its turn comes.
struct Undecided<'a, S: Spec> {
    place: usize,
    partition: &'a Partition<S>,
    /// Whether the zones decided it.
    by_zones: bool,
    search: Option<Wgl<'a, S>>,
}

impl<S: Spec> Undecided<'_, S> {
    fn memory_bytes(&self) -> u64 {
        self.search.as_ref().map_or(0, |search| search.memory_bytes())
    }

    /// Goes on for `steps` steps, looking at the budget now and then; `held` is what the other searches hold.
    fn advance(&mut self, steps: u64, held: u64, budget: &mut Budget) -> Result<Option<Answer>, Limit> {
        if let Some(limit) = budget.reached(held.saturating_add(self.memory_bytes())) {
            return Err(limit);
        }
        if self.search.is_none()
            && let Some(answer) = zones::decide(&self.partition.entries)
        {
            self.by_zones = true;
            budget.spend(self.partition.entries.len() as u64);
            return Ok(Some(answer));
        }
        let search = self.search.get_or_insert_with(|| Wgl::new(self.partition));
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
}
