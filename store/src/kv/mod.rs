//! The state machine: keys, values and their history.

mod error;

use tribunal_history::Revision;

pub use error::KvError;

/// The state.
#[derive(Clone, Debug)]
pub struct Kv {
    revision: i64,
}

impl Default for Kv {
    fn default() -> Self {
        Self { revision: 1 }
    }
}

impl Kv {
    /// The newest revision.
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }
}
