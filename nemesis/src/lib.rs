//! Faults: which there are, when they come, whom they hit, and whether they took effect.
//!
//! The chooser is pure. [`draw`] makes a whole [`Schedule`](tribunal_history::Schedule) from a [`Plan`] before the
//! run starts: the same plan gives the same bytes, in every world. What depends on the moment (who leads) is left
//! as a [`Select`](tribunal_history::Select) and resolved by [`resolve()`] when the fault starts. Only [`drive()`]
//! touches the cluster, through a [`Target`]; it proves each fault's effect or records that there was none, and
//! [`Coverage`] judges afterwards whether every kind of fault was felt.
//!
//! Left out: shrinking a schedule to the steps that matter. For that each step's draws come from streams of its own, and
//! each resolves its own nodes, so that a step can be taken out of a schedule without moving the others.

mod aim;
pub mod catalogue;
mod climb;
pub mod coverage;
pub mod drive;
pub mod kinds;
pub mod plan;
pub mod resolve;
pub mod schedule;
pub mod target;

pub use catalogue::{Entry, catalogue, kinds_in};
pub use coverage::{Coverage, KindCoverage, is_certain};
pub use drive::{Driven, StepEnd, StepOutcome, drive};
pub use kinds::{ParseKinds, parse_kinds};
pub use plan::Plan;
pub use resolve::{ResolveError, View, resolve};
pub use schedule::{draw, together};
pub use target::{Effect, FaultError, NemesisRecorder, Target};
