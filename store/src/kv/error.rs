//! Why the state machine refuses a request.

/// A refusal; it depends on the state alone, so every member refuses alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The state at that revision is gone.
    #[error("the required revision has been compacted")]
    Compacted,
    /// That revision does not exist yet.
    #[error("the required revision is a future revision")]
    FutureRevision,
    /// A put was to keep value or lease of a key that is absent.
    #[error("the key is absent")]
    KeyNotFound,
    /// The lease does not exist.
    #[error("the lease does not exist")]
    LeaseNotFound,
    /// A log entry without a request.
    #[error("the command holds no request")]
    EmptyCommand,
}
