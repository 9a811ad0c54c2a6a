//! Two searches over one partition, of which the better one wins.
//!
//! The first round belongs to [`Wgl`]. From the second on both go on, a step of one for a step of the other: [`Wgl`] wins
//! on what is legal, [`Frontier`] on what is not, and which of them it is nobody knows before. The price of not knowing is
//! twice the steps of the better one. Where [`Frontier`] has no prospects ([`Frontier::suits`]) it is not begun.

use super::rounds::{Decision, Engine};
use super::{Answer, Frontier, HardSpot, Partition, Search, Wgl};
use crate::budget::{Budget, Limit};
use crate::spec::Spec;

/// Steps between two looks at the clock and the memory.
const STEPS_BETWEEN_LOOKS: u64 = 1 << 15;

/// Searches over one partition, whatever its specification is.
pub trait Searches {
    /// Goes on for `steps` steps of each search, looking at the budget now and then; `held` is what everything else
    /// holds. A search that holds too much gives up, and the other one goes on alone.
    fn advance(&mut self, steps: u64, held: u64, budget: &mut Budget) -> Result<Option<(Answer, Engine)>, Limit>;

    /// Whether all of them hold more than they may, so that none goes on.
    fn have_given_up(&self) -> bool;

    /// Memory held, in bytes, roughly.
    fn memory_bytes(&self) -> u64;

    /// Steps of all of them.
    fn steps(&self) -> u64;

    /// What is known when they are stopped, by `limit` or because nobody asks any more.
    fn unknown(&self, limit: Option<Limit>) -> Decision;
}

/// The two searches, which begin when their turns come.
pub struct Race<'a, S: Spec> {
    partition: &'a Partition<S>,
    has_begun: bool,
    depth_first: Option<Wgl<'a, S>>,
    breadth_first: Option<Frontier<'a, S>>,
    /// Which of the two met more than it can hold, or has no prospects.
    gave_up: (bool, bool),
    /// Steps of those that gave up.
    spent: u64,
    /// How far the depth-first search came before it gave up.
    hard_spot: HardSpot,
}

impl<'a, S: Spec> Race<'a, S> {
    /// A race that has not begun.
    pub fn new(partition: &'a Partition<S>) -> Self {
        Self {
            partition,
            has_begun: false,
            depth_first: None,
            breadth_first: None,
            gave_up: (false, false),
            spent: 0,
            hard_spot: HardSpot::default(),
        }
    }
}

impl<S: Spec> Searches for Race<'_, S> {
    fn advance(&mut self, steps: u64, held: u64, budget: &mut Budget) -> Result<Option<(Answer, Engine)>, Limit> {
        if let Some(limit) = budget.reached(held.saturating_add(self.memory_bytes())) {
            return Err(limit);
        }
        let is_first_round = !std::mem::replace(&mut self.has_begun, true);
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
        if !waits && self.breadth_first.is_none() && !self.gave_up.1 {
            self.gave_up.1 = !Frontier::suits(self.partition);
        }
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
    fn have_given_up(&self) -> bool {
        self.gave_up == (true, true)
    }

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
