//! Transactions: each anomaly in a history written by hand, the examples of the literature, and brute force.

mod against_brute_force;
mod elle;
mod history;
mod named;
