//! What clients ask, and what they may conclude from the answers.
//!
//! A [`Generator`] is pure: from its stream of random numbers and the answers of its own client it makes the next
//! [`Op`], and it reads an answer's shape. The drivers ([`drive`]) send operations through a [`Client`] and write
//! both ends of each down through a [`Recorder`]. One operation is one request, or a few of which only the last may have
//! an effect; no request whose fate is unknown is ever repeated, and [`classify()`] alone decides whether an operation
//! without an answer failed or is in doubt.
//!
//! Everything is generic over [`tribunal_env::Env`], so the same clients work in real and in simulated time.

pub mod append;
pub mod classify;
pub mod client;
pub mod drive;
pub mod generator;
pub mod recorder;
pub mod register;
mod session;

pub use append::{Append, AppendSettings};
pub use classify::{Access, classify};
pub use client::{Call, Client, Failure, Response};
pub use drive::{ClientReport, NodeProgress, NodeReads, final_reads, liveness, progress_property, work};
pub use generator::{BadReply, Generator, Lane, Next, Op, ParseWorkload, Workload};
pub use recorder::{Completion, Recorder, Reply};
pub use register::{Mix, Register, RegisterSettings};
pub use session::{Counts, Settings, Worker};
