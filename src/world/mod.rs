//! The worlds in which a cluster can run.
//!
//! A world starts the nodes, can fault them, and says what became of them. Workloads, nemesis, checks and reports
//! are the same in all of them.

pub mod process;
