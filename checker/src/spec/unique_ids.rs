//! A source of ids, none of which it gives out twice.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `generate` | null | the id |
//!
//! Each id is an object of its own that can be given out once. A request in doubt says nothing: nobody knows which id it
//! got.
//!
//! ```
//! use tribunal_checker::spec::{Spec, UniqueIds, unique_ids::{Op, Ret}};
//!
//! let mut id = UniqueIds::default();
//! assert!(id.is_valid_step(&Op::generate(17.into()), &Ret::Fresh));
//! assert!(!id.is_valid_step(&Op::generate(17.into()), &Ret::Fresh), "it was given out");
//! ```

use std::sync::Arc;

use tribunal_history::{Operation, Value};

use super::fields::{label, name};
use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// Whether one id was given out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UniqueIds {
    is_given: bool,
}

/// A request, with the id that it got.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op(Option<Arc<str>>);

impl Op {
    /// A request that got this id.
    pub fn generate(id: Value) -> Self {
        Self(Some(name(&id).into()))
    }
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// An id that nobody has.
    Fresh,
    /// An id that was given out before.
    Again,
}

impl Spec for UniqueIds {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, _: &Op) -> Ret {
        match std::mem::replace(&mut self.is_given, true) {
            false => Ret::Fresh,
            true => Ret::Again,
        }
    }

    fn partition(op: &Op) -> Option<&str> {
        op.0.as_deref()
    }

    fn class(op: &Op, _: Option<&Ret>) -> Class {
        match op.0 {
            Some(_) => Class::Opaque,
            None => Class::Read(None),
        }
    }

    fn value(&self) -> Value {
        if self.is_given { "given out" } else { "unused" }.into()
    }
}

impl Recorded for UniqueIds {
    const NAME: &'static str = "unique-ids";
    const SUMMARY: &'static str = "a source of ids, none given out twice: generate";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        match (operation.function.as_str(), fields.is_done()) {
            ("generate", false) => Ok((Op(None), None)),
            ("generate", true) if operation.output.is_null() => Err(fields.wrong_output("an id as output")),
            ("generate", true) => Ok((Op::generate(operation.output.clone()), Some(Ret::Fresh))),
            _ => Err(fields.wrong_function("generate")),
        }
    }

    fn observes(_: &Op, _: &Ret) -> bool {
        true
    }

    fn label(operation: &Operation) -> String {
        label(operation)
    }

    fn refusal(&self, op: &Op, _: &Ret) -> Option<String> {
        let id = op.0.as_deref().filter(|_| self.is_given)?;
        Some(format!("{id} had been given out before"))
    }
}
