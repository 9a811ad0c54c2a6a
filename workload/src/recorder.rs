//! Where operations are written down.

use tribunal_history::{Cause, MemberId, NodeId, ProcessId, Revision, Term, Value};

/// What an answer carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The result in the workload's words.
    pub output: Value,
    /// The revision in its header.
    pub revision: Option<Revision>,
    /// The term in its header.
    pub term: Option<Term>,
    /// The member that answered.
    pub member: Option<MemberId>,
}

/// How an operation ended, as far as its client can know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It took effect once, after its invocation and before this moment.
    Ok(Reply),
    /// It took no effect and never will.
    Fail(Cause),
    /// Nobody knows: it may take effect later, or never.
    Info(Cause),
}

/// Writes down operations in the one order of a run. Each method takes the next [`tribunal_history::Seq`].
pub trait Recorder: Clone + Send + Sync + 'static {
    /// To be called before the first byte is sent.
    fn invoked(&self, process: ProcessId, node: NodeId, function: &str, input: &Value);

    /// To be called after the answer was decoded, or given up.
    fn completed(&self, process: ProcessId, completion: &Completion);

    /// A process number that nobody had; for a client whose process retired with `info`.
    fn new_process(&self) -> ProcessId;
}
