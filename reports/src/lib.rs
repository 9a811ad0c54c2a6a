//! Reports: what a run showed, for people and for machines, from recorded data only.
//!
//! A [`Report`] and the events of its history go in; a page that explains itself, a JUnit file, a Markdown
//! summary and the closing lines of a terminal come out. Nothing here runs or judges anything, so a report can
//! be made again from its run directory at any time, byte for byte.
//!
//! The page answers three questions in this order: what failed, when, and under which fault. A violation is
//! always drawn: the operations that cannot be explained together, to scale, with the longest order that is
//! legal and the reason why the rest fits nowhere after it. A passing run gets the same page, with what it
//! tried and counted, so that green means something.
//!
//! Whatever came from a system under test (keys, values, messages) is hostile until escaped. Text reaches a
//! page through the escaping of the template engine or of `svg`, never otherwise; control and direction
//! characters are made visible on the way.
//!
//! Left out: an index over many runs, comparison of two runs.

mod collect;
mod html;
mod junit;
mod picture;
mod summary;
mod svg;
mod terminal;
mod words;
mod write;

pub use collect::{Counting, fault_summaries, function_counts, leader_spans};
pub use html::html;
pub use junit::{JunitError, junit};
pub use summary::{SUMMARY_BYTES_MAX, summary};
pub use svg::timeline::timeline_svg;
pub use terminal::last_lines;
pub use tribunal_history::Report;
pub use write::{RebuildError, rebuild, write};
