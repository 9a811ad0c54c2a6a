//! What every workload can do, and which workloads there are.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use tribunal_history::{Cause, Value};

use crate::append::{Append, AppendSettings};
use crate::classify::Access;
use crate::client::{Call, Response};
use crate::recorder::Completion;
use crate::register::{Register, RegisterSettings};

/// One operation: what is recorded, and its first request, which mostly is its only one.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// The name that the specification knows it by.
    pub function: &'static str,
    /// Its arguments, in the form that the specification parses.
    pub input: Value,
    /// The key that it is about.
    pub key: String,
    /// Whether the request may have an effect.
    pub access: Access,
    /// The request.
    pub call: Call,
}

/// What follows from the answers to an operation's requests so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// It is done, with this output.
    Done(Value),
    /// It needs one more request, which may have this effect. None before had one.
    Ask(Call, Access),
    /// It failed: none of its requests had an effect, and none will.
    Failed(Cause),
}

/// Makes one client's operations. The same stream of random numbers and the same answers give the same operations.
pub trait Generator: Send + 'static {
    /// The next operation.
    fn next(&mut self, rng: &mut ChaCha8Rng) -> Op;

    /// A linearizable read of `key`.
    fn read(&self, key: &str) -> Op;

    /// An unconditional write to `key`, of a value that nobody else writes.
    fn write(&mut self, key: &str) -> Op;

    /// The output of `op` that `response` carries, in the form that the specification parses. An absurd value is an
    /// output, and evidence; an error is for an answer whose shape is not that of an answer to `op`.
    fn understand(&self, op: &Op, response: &Response) -> Result<Value, BadReply>;

    /// What follows from the answers to an operation's requests, of which there is one at least. Most operations are one
    /// request.
    fn proceed(&self, op: &Op, responses: &[Response]) -> Result<Next, BadReply> {
        match responses {
            [.., last] => self.understand(op, last).map(Next::Done),
            [] => Err(BadReply("there is no answer".to_owned())),
        }
    }

    /// The keys that an operation is about.
    fn touched(&self, op: &Op) -> Vec<String> {
        vec![op.key.clone()]
    }

    /// Learns how an operation of its own client ended.
    fn observe(&mut self, op: &Op, completion: &Completion);

    /// Keys that exist from the start, for probing the cluster.
    fn keys(&self) -> Vec<String>;
}

/// An answer that is no answer to what was asked; what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadReply(pub String);

/// Which of several generators one is. Generators of a run share nothing; what must be unique across the run (values)
/// is told apart by the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// From 0.
    pub index: u32,
    /// How many there are in the run, those of the liveness phase included. More than `index`.
    pub count: u32,
}

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Independent registers: read, write, compare-and-set.
    Register,
    /// Transactions over lists.
    Append,
}

impl Workload {
    /// Every workload.
    pub const ALL: [Self; 2] = [Self::Register, Self::Append];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Append => "append",
        }
    }

    /// What it does, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Register => "reads, writes and compare-and-sets of unique values on independent keys",
            Self::Append => "transactions that append to lists and read them, several keys at once",
        }
    }

    /// The specification that judges it, by the name that the checker knows.
    pub fn specification(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Append => "list-append",
        }
    }

    /// The generator of one client.
    pub fn generator(self, settings: &RegisterSettings, lane: Lane) -> Box<dyn Generator> {
        match self {
            Self::Register => Box::new(Register::new(settings.clone(), lane)),
            Self::Append => {
                let settings = AppendSettings {
                    keys: settings.keys,
                    ..AppendSettings::default()
                };
                Box::new(Append::new(settings, lane))
            }
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No workload has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no workload is called {name:?} (there are: {})", Workload::ALL.map(Workload::name).join(", "))]
pub struct ParseWorkload {
    /// The name.
    name: String,
}

impl FromStr for Workload {
    type Err = ParseWorkload;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.name() == text)
            .ok_or_else(|| ParseWorkload { name: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_found_by_name() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse(), Ok(workload));
        }
        let error = "registre".parse::<Workload>().expect_err("no such workload");
        assert_eq!(
            error.to_string(),
            "no workload is called \"registre\" (there are: register, append)"
        );
    }
}
