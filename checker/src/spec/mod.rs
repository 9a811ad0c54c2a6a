//! What a sequential object may answer: trait [`Spec`].
//!
//! A specification is the state of one object together with the rule by which an operation changes it and what
//! it returns. The engines know nothing else of an object. A specification that also reads recorded operations
//! implements [`Recorded`] and can be judged by name; see [`register`].
//!
//! Where operations name a key, the object is what lies under one key: linearizability is local (Herlihy and
//! Wing 1990, theorem 1), so each key is judged by itself. [`Many`] puts the objects of all keys together again
//! for tools that know no keys.

use std::fmt;
use std::hash::{Hash, Hasher};

use tribunal_history::{Operation, Seq, Value};

pub mod cas_register;
pub mod counter;
pub mod etcd_kv;
mod fields;
pub mod fifo_queue;
pub mod kv;
mod many;
pub mod multi_register;
pub mod mutex;
pub mod reentrant_mutex;
pub mod register;
pub mod set;
pub mod unique_ids;
pub mod unordered_queue;

pub use cas_register::CasRegister;
pub use counter::Counter;
pub use etcd_kv::EtcdKv;
pub use fields::Fields;
pub use fifo_queue::FifoQueue;
pub use kv::Kv;
pub use many::Many;
pub use multi_register::MultiRegister;
pub use mutex::Mutex;
pub use reentrant_mutex::ReentrantMutex;
pub use register::Register;
pub use set::Set;
pub use unique_ids::UniqueIds;
pub use unordered_queue::UnorderedQueue;

/// A sequential object; the implementing type is its state, and `Default` is its initial state.
///
/// Shaped like stateright's `SequentialSpec`, so that one is an adapter of three lines away from the other.
pub trait Spec: Clone + Eq + Hash + Default {
    /// What can be asked. Two equal operations are interchangeable.
    type Op: Clone + Eq + Hash + fmt::Debug;
    /// What comes back.
    type Ret: Clone + Eq + Hash + fmt::Debug;

    /// Does `op` and returns its result.
    fn invoke(&mut self, op: &Self::Op) -> Self::Ret;

    /// Does `op` and says whether `ret` is a result that it may have. When it is not, the state is left
    /// unspecified: callers work on a copy.
    fn is_valid_step(&mut self, op: &Self::Op, ret: &Self::Ret) -> bool {
        self.invoke(op) == *ret
    }

    /// The key of the object that `op` concerns; none if all operations concern one object.
    fn partition(op: &Self::Op) -> Option<&str> {
        let _ = op;
        None
    }

    /// What `op` with this result does to the value of the object. Searches prune and counterexamples shrink
    /// by this, so it must be true; [`Class::Opaque`] always is.
    fn class(op: &Self::Op, ret: Option<&Self::Ret>) -> Class {
        let _ = (op, ret);
        Class::Opaque
    }

    /// The revision that the result shows, where the store numbers its states.
    fn witness(op: &Self::Op, ret: &Self::Ret) -> Option<u64> {
        let _ = (op, ret);
        None
    }

    /// An operation that asks less of the history: legal wherever `op` with `ret` is legal, with the same state
    /// after it. A compare-and-set that succeeded, for instance, as a plain write. Only shrinking uses it.
    fn weaken(op: &Self::Op, ret: Option<&Self::Ret>) -> Option<(Self::Op, Option<Self::Ret>)> {
        let _ = (op, ret);
        None
    }

    /// The value that the object holds, as [`Class`] and people name it.
    fn value(&self) -> Value {
        Value::Null
    }

    /// Whether an object that holds `from` can come to hold `to` by [`Class::Grow`] alone. Searches prune by this;
    /// *yes* is always right.
    fn grows(from: &Value, to: &Value) -> bool {
        let _ = (from, to);
        true
    }

    /// The same for this state: an override that makes no [`Value`] is faster.
    fn may_grow_to(&self, to: &Value) -> bool {
        Self::grows(&self.value(), to)
    }

    /// 128 bits that stand for the state. Two states that differ share one with a chance of 2^-128 or so.
    fn fingerprint(&self) -> u128 {
        fingerprint_of(self)
    }
}

/// What an operation does to the value of an object. The variants other than `Opaque` are promises.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Leaves the state as it is. With a value: legal nowhere but where the object holds it.
    Read(Option<Value>),
    /// Leaves the state as it is, and is legal nowhere but where the object holds another value than this.
    Differs(Value),
    /// The object holds this value afterwards, whatever it held before: legal everywhere, and the state after it does not
    /// depend on the state before it.
    Write(Value),
    /// With a result: legal nowhere but where the object holds `from`, and it holds `to` afterwards. Without a
    /// result: the same where the object holds `from`, elsewhere nothing happens.
    Update {
        /// What it compared with.
        from: Value,
        /// What it set.
        to: Value,
    },
    /// Adds to what the object holds, whatever that is: a text behind the text, an element to the set. A text is
    /// added as a text; what adds nothing that a value can name says null. See [`Spec::grows`].
    Grow(Value),
    /// Anything else.
    Opaque,
}

impl Class {
    /// The value that the object must hold before.
    pub fn observed(&self) -> Option<&Value> {
        match self {
            Self::Read(value) => value.as_ref(),
            Self::Update { from, .. } => Some(from),
            Self::Differs(_) | Self::Write(_) | Self::Grow(_) | Self::Opaque => None,
        }
    }

    /// Whether nothing is known of the values that it leads to.
    pub fn hides_values(&self) -> bool {
        matches!(self, Self::Grow(_) | Self::Opaque)
    }

    /// Whether it leaves every state as it is.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Differs(_))
    }

    /// The value that the object holds after.
    pub fn made(&self) -> Option<&Value> {
        match self {
            Self::Write(value) | Self::Update { to: value, .. } => Some(value),
            Self::Read(_) | Self::Differs(_) | Self::Grow(_) | Self::Opaque => None,
        }
    }
}

/// A specification that reads recorded operations, so that a history can be judged by its name.
pub trait Recorded: Spec {
    /// Its name in flags and files.
    const NAME: &'static str;
    /// What it says, in one line.
    const SUMMARY: &'static str;

    /// Reads what was asked, and what came back if the operation ended ok.
    fn parse(operation: &Operation) -> Result<(Self::Op, Option<Self::Ret>), ParseOperation>;

    /// Reads what came back of an operation that was [parsed](Self::parse) as `op` before it ended, if it ended ok. An
    /// override that does not read the question again is faster; only with one may `parse` call this.
    fn answer(op: &Self::Op, operation: &Operation) -> Result<Option<Self::Ret>, ParseOperation> {
        let _ = op;
        Ok(Self::parse(operation)?.1)
    }

    /// Whether this result could have been wrong, so that it tells something of the object. A history without any such
    /// result proves nothing.
    fn observes(op: &Self::Op, ret: &Self::Ret) -> bool {
        let class = Self::class(op, Some(ret));
        class.observed().is_some() || matches!(class, Class::Differs(_))
    }

    /// Whether any state before the end of this operation will do for it, as for a serializable read of etcd: then only
    /// its end counts.
    fn may_be_stale(op: &Self::Op) -> bool {
        let _ = op;
        false
    }

    /// What nobody asks for but what may happen once, at any time after this operation began: a lease that expires.
    fn may_follow(operation: &Operation) -> Option<Self::Op> {
        let _ = operation;
        None
    }

    /// Does `op` and returns what its client would have recorded, which was once told `recorded`: no more of the answer
    /// than that tells.
    fn answer_as_told(&mut self, op: &Self::Op, recorded: &Self::Ret) -> Self::Ret {
        let _ = recorded;
        self.invoke(op)
    }

    /// The operation for people, such as `read k2 → 17`.
    fn label(operation: &Operation) -> String;

    /// Why `op` with `ret` is not legal in this state, for people; none if it is.
    fn refusal(&self, op: &Self::Op, ret: &Self::Ret) -> Option<String>;
}

/// A recorded operation that a specification cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq}: {function:?} of specification {specification}: expected {expected}, found {found}")]
pub struct ParseOperation {
    /// Place of the invocation, or of the completion if its output is at fault.
    pub seq: Seq,
    /// The specification that was to read it.
    pub specification: &'static str,
    /// The operation's function.
    pub function: String,
    /// What would have been right.
    pub expected: &'static str,
    /// What is there.
    pub found: String,
}

/// 128 bits that stand for what `state` hashes: the default of [`Spec::fingerprint`].
pub fn fingerprint_of(state: &impl Hash) -> u128 {
    let mut bytes = HashedBytes(Vec::with_capacity(64));
    state.hash(&mut bytes);
    xxhash_rust::xxh3::xxh3_128(&bytes.0)
}

/// Collects what a `Hash` implementation feeds to its hasher.
struct HashedBytes(Vec<u8>);

impl Hasher for HashedBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}
