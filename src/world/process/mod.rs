//! Real processes on this machine, joined by links that can be cut.
//!
//! A [`Cluster`] starts the nodes of a [`System`] as children, each with an address block of its own, behind
//! [`Links`] through which its peers reach it. Its [`ClusterTarget`] lets a nemesis kill, pause and isolate them,
//! and proves that each fault took effect: a reaped pid, stopped threads, bytes held back. Whatever happens to
//! us, no child outlives us ([`children`]). Members are added and removed by an operator of ours, through the store's
//! API ([`crate::world::operator`]).
//!
//! Left out: namespaces, disk faults, clocks; several machines. Time here is the machine's own, so a run can be
//! repeated with the same schedule and not replayed exactly.

#![expect(
    clippy::disallowed_methods,
    reason = "processes, sockets and their timeouts are this world's own; no code under simulation is here"
)]

pub mod addresses;
pub mod children;
pub mod client;
pub mod cluster;
pub mod env;
pub mod error;
pub mod link;
mod procfs;
pub mod system;
mod world;

pub use addresses::Addresses;
pub use children::{CANNOT_EXECUTE, Child, Ending, Launch, NOT_FOUND, Process, Spawner, own_executable};
pub use client::TonicClient;
pub use cluster::{Cluster, ClusterConfig, ClusterTarget, NodeStatus, UnexpectedExit};
pub use env::{ToolClock, ToolEnv, ToolRuntime};
pub use error::WorldError;
pub use link::{Blocked, LinkEnd, Links};
pub use system::{Builtin, DiskMode, Etcd, Snapshots, System, sha256_file};
pub use world::ProcessWorld;
