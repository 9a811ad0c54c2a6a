//! Histories for other tools.
//!
//! Our own formats are written by [`crate::jsonl::Writer`] and [`crate::binary::Writer`]; what others read is here: EDN
//! ([`edn`]) for Knossos, Elle and elle-cli.

pub mod edn;
