//! Shares a budget among all partitions.
//!
//! What [`zones`] or [`lists`] can decide costs no search. Every other undecided partition gets the same number of steps
//! in a round, and twice as many in the next. So a partition that cannot be explained is found although another one is
//! hard, at no more than about four times the cost of having known where to look.
//!
//! Two searches race in each partition (`race`), over its [`Table`] where it has few states.

use std::collections::BTreeSet;
use std::fmt;

use super::race::{Race, Searches};
use super::{Answer, HardSpot, Partition, Table, lists, zones};
use crate::budget::{Budget, Limit};
use crate::spec::Spec;

/// Steps for each partition in the first round: enough for most, at well under a millisecond or two.
const FIRST_ROUND_STEPS: u64 = 1 << 14;

/// Steps for each operation in a round at least. Five values and 20 clients, which is hard, take 40 of each operation when
/// all is well; a second search that begins before that only costs.
const STEPS_EACH_MIN: u64 = 64;

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

impl From<Answer> for Decision {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Linearizable(order) => Self::Linearizable(order),
            Answer::NotLinearizable => Self::NotLinearizable,
        }
    }
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
    /// The depth-first search ([`super::wgl`]).
    DepthFirst,
    /// The breadth-first search ([`super::frontier`]).
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
    let mut decided: Vec<Option<Decision>> = partitions.iter().map(|_| None).collect();
    let mut engines = BTreeSet::new();
    let mut limit = None;
    let mut illegal = false;
    for (partition, decision) in partitions.iter().zip(&mut decided) {
        limit = budget.reached(0);
        if limit.is_some() {
            break;
        }
        if let Some((answer, engine)) = without_search(partition, budget) {
            illegal |= answer == Answer::NotLinearizable;
            engines.insert(engine);
            *decision = Some(answer.into());
        }
    }
    let tables: Vec<Option<Partition<Table>>> = partitions
        .iter()
        .zip(&decided)
        .map(|(partition, decision)| match decision {
            None if limit.is_none() => Table::of(partition),
            _ => None,
        })
        .collect();
    let mut undecided: Vec<Undecided<'_>> = (0..partitions.len())
        .filter(|&place| decided[place].is_none())
        .map(|place| Undecided {
            place,
            searches: match &tables[place] {
                Some(table) => Box::new(Race::new(table)),
                None => Box::new(Race::new(&partitions[place])),
            },
        })
        .collect();
    let mut is_first_round = true;
    let mut steps = FIRST_ROUND_STEPS;
    while !undecided.is_empty() && (is_first_round || !illegal) && limit.is_none() {
        let mut held = undecided
            .iter()
            .map(|one| one.searches.memory_bytes())
            .fold(0, u64::saturating_add);
        let mut still = Vec::new();
        for mut one in undecided {
            if limit.is_some() {
                still.push(one);
                continue;
            }
            held = held.saturating_sub(one.searches.memory_bytes());
            let entries = partitions[one.place].entries.len() as u64;
            let steps = steps.max(entries * STEPS_EACH_MIN);
            match one.searches.advance(steps, held, budget) {
                Ok(Some((answer, engine))) => {
                    illegal |= answer == Answer::NotLinearizable;
                    engines.insert(engine);
                    decided[one.place] = Some(answer.into());
                    continue;
                }
                Ok(None) if one.searches.have_given_up() => {
                    decided[one.place] = Some(one.searches.unknown(Some(Limit::Memory)));
                    engines.extend([Engine::DepthFirst, Engine::BreadthFirst]);
                    continue;
                }
                Ok(None) => {}
                Err(reached) => limit = Some(reached),
            }
            held = held.saturating_add(one.searches.memory_bytes());
            still.push(one);
        }
        undecided = still;
        is_first_round = false;
        steps = steps.saturating_mul(2);
    }
    for one in undecided {
        if one.searches.steps() > 0 {
            engines.insert(Engine::DepthFirst);
        }
        decided[one.place] = Some(one.searches.unknown(limit));
    }
    Decisions {
        decisions: decided
            .into_iter()
            .map(|decision| decision.expect("each partition was decided or given up"))
            .collect(),
        engines,
    }
}

/// What costs no search.
fn without_search<S: Spec>(partition: &Partition<S>, budget: &mut Budget) -> Option<(Answer, Engine)> {
    let entries = &partition.entries;
    let decided = zones::decide(entries).map(|answer| (answer, Engine::Zones));
    let decided = decided.or_else(|| lists::decide(entries).map(|answer| (answer, Engine::Lists)));
    if decided.is_some() {
        budget.spend(entries.len() as u64);
    }
    decided
}

/// A partition that is to be searched.
struct Undecided<'a> {
    place: usize,
    searches: Box<dyn Searches + 'a>,
}
