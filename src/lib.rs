//! Tribunal puts replicated key-value stores on trial.
//!
//! The library behind the binary of the same name: the worlds in which a cluster runs. What is generic lives in
//! the crates beside it.

pub mod world;
