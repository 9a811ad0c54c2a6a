//! How much a judgement may cost: steps, time, memory.
//!
//! This is the only place of the crate that looks at a clock. Steps decide first: they are the same on every
//! machine, so a verdict that ran out of steps can be repeated exactly.
#![expect(
    clippy::disallowed_methods,
    reason = "a time limit needs the clock; no verdict but unknown depends on it"
)]

use std::time::{Duration, Instant};

/// What is left.
#[derive(Clone, Debug)]
pub struct Budget {
    steps_left: u64,
    steps_used: u64,
    started: Instant,
    time: Option<Duration>,
    memory_bytes_max: u64,
}

/// Which limit was reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The steps of the search.
    Steps,
    /// The time.
    Time,
    /// The memory for configurations that were tried.
    Memory,
}

impl Limit {
    /// What to raise, for people.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Steps => "--check-steps",
            Self::Time => "--check-time",
            Self::Memory => "--check-memory",
        }
    }
}

impl Budget {
    /// A budget that begins now.
    pub fn new(steps: u64, time: Option<Duration>, memory_bytes_max: u64) -> Self {
        Self {
            steps_left: steps,
            steps_used: 0,
            started: Instant::now(),
            time,
            memory_bytes_max,
        }
    }

    /// A budget of at most so many steps that ends when this one does.
    pub fn share(&self, steps: u64) -> Self {
        Self {
            steps_left: steps.min(self.steps_left),
            steps_used: 0,
            ..self.clone()
        }
    }

    /// Takes `steps` out of it.
    pub fn spend(&mut self, steps: u64) {
        self.steps_used = self.steps_used.saturating_add(steps);
        self.steps_left = self.steps_left.saturating_sub(steps);
    }

    /// Steps that are left.
    pub fn steps_left(&self) -> u64 {
        self.steps_left
    }

    /// Steps that were taken.
    pub fn steps_used(&self) -> u64 {
        self.steps_used
    }

    /// The limit that is reached when searches hold `memory_bytes`; none if there is room.
    pub fn reached(&self, memory_bytes: u64) -> Option<Limit> {
        if self.steps_left == 0 {
            Some(Limit::Steps)
        } else if memory_bytes > self.memory_bytes_max {
            Some(Limit::Memory)
        } else if self.time.is_some_and(|time| self.started.elapsed() >= time) {
            Some(Limit::Time)
        } else {
            None
        }
    }
}
