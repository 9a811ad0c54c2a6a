//! Reads the fields of a recorded operation, and says what is wrong with them.

use tribunal_history::{Ending, Operation, Seq, Value};

use super::{ParseOperation, Recorded};

/// The fields of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// The operation.
    pub operation: &'a Operation,
    specification: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of `operation`, as the specification `S` reads them.
    pub fn of<S: Recorded>(operation: &'a Operation) -> Self {
        Self {
            operation,
            specification: S::NAME,
        }
    }

    /// Whether it ended ok, so that its output counts.
    pub fn is_done(&self) -> bool {
        self.operation.ending == Ending::Ok
    }

    /// The key that it must name.
    pub fn key(&self) -> Result<&'a str, ParseOperation> {
        self.operation
            .input
            .get("key")
            .and_then(Value::as_text)
            .ok_or_else(|| self.wrong_input("an input with \"key\", a text"))
    }

    /// The key that it names, if it names one.
    pub fn key_if_any(&self) -> Result<Option<&'a str>, ParseOperation> {
        match self.operation.input.get("key") {
            Some(_) => self.key().map(Some),
            None => Ok(None),
        }
    }

    /// The value that it must carry, nil not counted as one.
    pub fn value(&self) -> Result<&'a Value, ParseOperation> {
        match self.operation.input.get("value") {
            Some(value) if !value.is_null() => Ok(value),
            _ => Err(self.wrong_input("an input with \"value\"")),
        }
    }

    /// Refuses an output where there is none to give.
    pub fn no_output(&self) -> Result<(), ParseOperation> {
        match self.is_done() && !self.operation.output.is_null() {
            true => Err(self.wrong_output("null as output")),
            false => Ok(()),
        }
    }

    /// The mistake of a function that the specification does not know.
    pub fn wrong_function(&self, expected: &'static str) -> ParseOperation {
        self.wrong(self.operation.invoked, expected, self.operation.function.clone())
    }

    /// The mistake of an input.
    pub fn wrong_input(&self, expected: &'static str) -> ParseOperation {
        self.wrong(self.operation.invoked, expected, self.operation.input.to_string())
    }

    /// The mistake of an output.
    pub fn wrong_output(&self, expected: &'static str) -> ParseOperation {
        let seq = self.operation.completed.unwrap_or(self.operation.invoked);
        self.wrong(seq, expected, self.operation.output.to_string())
    }

    fn wrong(&self, seq: Seq, expected: &'static str, found: String) -> ParseOperation {
        ParseOperation {
            seq,
            specification: self.specification,
            function: self.operation.function.clone(),
            expected,
            found,
        }
    }
}

/// A function for people, with what it was given and, once it ended ok, with what it returned: `enqueue 3`,
/// `dequeue → 3`, `get k → x`.
pub fn label(operation: &Operation) -> String {
    let mut label = operation.function.clone();
    let field = |name: &str| operation.input.get(name).filter(|value| !value.is_null());
    for value in [field("key"), field("value")].into_iter().flatten() {
        label.push_str(&format!(" {value}"));
    }
    if operation.ending == Ending::Ok && (!operation.output.is_null() || field("value").is_none()) {
        label.push_str(&format!(" → {}", operation.output));
    }
    label
}

/// A value as the name of an object: texts in quotes, so that `1` and `"1"` are two.
pub fn name(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        _ => value.to_string(),
    }
}
