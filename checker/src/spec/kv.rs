//! Texts under keys: get, put, append, delete.
//!
//! | function | input | output when ok |
//! |---|---|---|
//! | `get` | `{"key":"k"}` | the text; `""` or null where there is none |
//! | `put` | `{"key":"k","value":"x"}` | null |
//! | `append` | `{"key":"k","value":"y"}` | null |
//! | `delete` | `{"key":"k"}` | null |
//!
//! An absent key and an empty text are the same. A whole number is taken for its digits.
//!
//! ```
//! use tribunal_checker::spec::{Kv, Spec, kv::{Action, Op, Ret}};
//!
//! let op = |action| Op { key: "k".into(), action };
//! let mut kv = Kv::default();
//! kv.invoke(&op(Action::Put("x".into())));
//! kv.invoke(&op(Action::Append("y".into())));
//! assert_eq!(kv.invoke(&op(Action::Get)), Ret::Text("xy".into()));
//! ```

use std::sync::Arc;

use tribunal_history::{Operation, Value};

use super::fields::label;
use super::{Class, Fields, ParseOperation, Recorded, Spec};

/// What lies under one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kv(Arc<str>);

impl Default for Kv {
    fn default() -> Self {
        Self("".into())
    }
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// Under which key.
    pub key: Arc<str>,
    /// What is asked.
    pub action: Action,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// What lies there?
    Get,
    /// Put this there.
    Put(Arc<str>),
    /// Put this behind what lies there.
    Append(Arc<str>),
    /// Take away what lies there.
    Delete,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// Of a get.
    Text(Arc<str>),
    /// Of anything else.
    Done,
}

impl Spec for Kv {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match &op.action {
            Action::Get => return Ret::Text(self.0.clone()),
            Action::Put(text) => self.0 = text.clone(),
            Action::Append(text) => self.0 = [&*self.0, text].concat().into(),
            Action::Delete => self.0 = "".into(),
        }
        Ret::Done
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        match (&op.action, ret) {
            (Action::Get, Ret::Text(text)) => self.0 == *text,
            _ => self.invoke(op) == *ret,
        }
    }

    fn partition(op: &Op) -> Option<&str> {
        Some(&op.key)
    }

    fn class(op: &Op, ret: Option<&Ret>) -> Class {
        match (&op.action, ret) {
            (Action::Get, Some(Ret::Text(text))) => Class::Read(Some((&**text).into())),
            (Action::Get, None) => Class::Read(None),
            (Action::Put(text), _) => Class::Write((&**text).into()),
            (Action::Delete, _) => Class::Write("".into()),
            (Action::Append(text), _) => Class::Grow((&**text).into()),
            _ => Class::Opaque,
        }
    }

    fn grows(from: &Value, to: &Value) -> bool {
        match (from, to) {
            (Value::Text(from), Value::Text(to)) => to.starts_with(from),
            _ => true,
        }
    }

    fn may_grow_to(&self, to: &Value) -> bool {
        to.as_text().is_none_or(|to| to.starts_with(&*self.0))
    }

    fn value(&self) -> Value {
        (&*self.0).into()
    }
}

impl Recorded for Kv {
    const NAME: &'static str = "kv";
    const SUMMARY: &'static str = "a text under each key: get, put, append, delete";

    fn parse(operation: &Operation) -> Result<(Op, Option<Ret>), ParseOperation> {
        let fields = Fields::of::<Self>(operation);
        let key = fields.key()?.into();
        let given = || {
            let wrong = || fields.wrong_input("an input with \"value\", a text or a whole number");
            text(fields.value()?).ok_or_else(wrong)
        };
        let action = match operation.function.as_str() {
            "get" => Action::Get,
            "put" => Action::Put(given()?),
            "append" => Action::Append(given()?),
            "delete" => Action::Delete,
            _ => return Err(fields.wrong_function("get, put, append or delete")),
        };
        let ret = match (&action, fields.is_done()) {
            (_, false) => None,
            (Action::Get, true) => {
                let wrong = || fields.wrong_output("a text, a whole number or null as output");
                Some(Ret::Text(text(&operation.output).ok_or_else(wrong)?))
            }
            (_, true) => {
                fields.no_output()?;
                Some(Ret::Done)
            }
        };
        Ok((Op { key, action }, ret))
    }

    fn label(operation: &Operation) -> String {
        label(operation)
    }

    fn refusal(&self, op: &Op, ret: &Ret) -> Option<String> {
        match (&op.action, ret) {
            (Action::Get, Ret::Text(text)) if self.0 != *text => {
                Some(format!("{} is {:?}, not {text:?}", op.key, self.0))
            }
            _ => None,
        }
    }
}

/// A text as it is, digits of a number, nothing as the empty text.
fn text(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::Null => Some("".into()),
        Value::Text(text) => Some(text.as_str().into()),
        Value::Int(number) => Some(number.to_string().into()),
        _ => None,
    }
}
