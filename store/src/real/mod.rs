//! The real world: a member as a process, with the system's clock, files and network.
//!
//! Everything that blocks is here. Reads, writes to the page cache and directory operations run where they are
//! called, since handing them to another thread costs more than they do; only `fdatasync` of the real disk, which
//! waits for the device, is handed to a thread of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the implementation of Env for real processes: clock, tasks and time come from the system here"
)]

mod clock;
mod config;
mod disk;
mod env;
mod evidence;
mod identity;
mod run;
mod server;
mod transport;
mod volatile;

pub use clock::RealClock;
pub use config::{DiskKind, NodeConfig, NodeError};
pub use disk::{AnyDisk, AnyFile};
pub use env::RealEnv;
pub use evidence::EvidenceFile;
pub use run::run;
pub use server::{AcceptedStream, Answers, serve_peers};
pub use transport::{GrpcStream, GrpcTransport};
