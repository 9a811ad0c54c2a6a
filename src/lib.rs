//! Tribunal puts replicated key-value stores on trial.
//!
//! The library behind the binary of the same name: the worlds in which a cluster runs, campaigns from plan
//! to report, and the command line. What is generic lives in the crates beside it.

pub mod campaign;
pub mod cli;
pub mod world;
