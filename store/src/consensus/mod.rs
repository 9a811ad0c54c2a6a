//! Consensus: openraft between our log, our state machine and our services.
//!
//! [`Node`] implements [`crate::service::Consensus`]. What it promises beyond Raft:
//!
//! - A command is proposed at most once. A follower forwards it to the leader it knows, and does so again only
//!   where that one said itself that it appended nothing, since it does not lead. A command that got lost on the way
//!   is never sent again, not even where it surely was not sent: its client gets an error that leaves it in doubt.
//! - A linearizable read is served by any member from its own state, after the leader confirmed with a quorum that
//!   it leads (ReadIndex, Raft dissertation §6.4) and the member has applied everything up to the index that the
//!   leader named. A member that was just restarted is no exception: its state is behind until then, and a leader
//!   has no index to name before it committed an entry of its own term.
//! - A leader that restarts stands for election like any other (`enable_leader_restore` is off: openraft's default
//!   resumes leadership with a state machine that is behind).
//! - Nothing is answered before the evidence for it is with the system ([`tribunal_env::Env::settle`]).
//!
//! The state machine is in memory; a restart loads the last snapshot and replays the log up to the last commit
//! point that was written, and the leader says how much more is committed.
//!
//! Evidence of votes, persistence, truncation and purges comes from the writer of the log, of commits from
//! the log's adapter, of application from the state machine, of answers from here. Only `Role` comes from
//! openraft's metrics, which may skip a role that did not last.

mod handler;
mod identity;
mod log;
mod machine;
mod membership;
mod network;
mod node;
mod progress;
mod read;
mod types;
pub mod wire;
mod write;

pub use handler::{HandlerError, PeerHandler};
pub use identity::{Identity, Peer, cluster_id, member_id};
pub use log::LogStore;
pub use machine::Machine;
pub use node::{ENTRIES_KEPT, Node, NodeSettings, REMOVED, StartError};
pub use types::{Member, Proposal, Reply, Types};
pub use wire::MAY_ARRIVE_TWICE;
