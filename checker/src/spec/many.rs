//! The objects under all keys as one object: the slow way to look at a history with keys.
//!
//! Judging takes keys apart because linearizability is local. This type does not, which is what stateright's
//! tester and a test that wants to check that very claim need.

use std::collections::BTreeMap;

use tribunal_history::Value;

use super::Spec;

/// One `S` under each key. An operation without a key concerns the object under no key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Many<S>(BTreeMap<Option<String>, S>);

impl<S> Default for Many<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Spec> Many<S> {
    /// Runs `step` on the object that `op` concerns. An object in its initial state is not kept, so that equal
    /// states are equal.
    fn on<T>(&mut self, op: &S::Op, step: impl FnOnce(&mut S) -> T) -> T {
        let key = S::partition(op).map(str::to_owned);
        let mut object = self.0.remove(&key).unwrap_or_default();
        let result = step(&mut object);
        if object != S::default() {
            self.0.insert(key, object);
        }
        result
    }
}

impl<S: Spec> Spec for Many<S> {
    type Op = S::Op;
    type Ret = S::Ret;

    fn invoke(&mut self, op: &Self::Op) -> Self::Ret {
        self.on(op, |object| object.invoke(op))
    }

    fn is_valid_step(&mut self, op: &Self::Op, ret: &Self::Ret) -> bool {
        self.on(op, |object| object.is_valid_step(op, ret))
    }

    fn value(&self) -> Value {
        Value::Map(
            self.0
                .iter()
                .map(|(key, object)| (key.clone().unwrap_or_default(), object.value()))
                .collect(),
        )
    }
}
