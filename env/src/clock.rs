//! Time as one node sees it.

use std::time::Duration;

/// A node's clock.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment; never goes back. Leases, deadlines and evidence use this.
    fn monotonic(&self) -> Duration;

    /// Time since the Unix epoch, as the node believes; for logs only.
    fn wall(&self) -> Duration;
}
