//! Anomalies that need no circle: one transaction, or a few, show them alone.

use std::collections::BTreeMap;

use tribunal_history::{AnomalyClass, Value};

use super::parse::Parsed;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    /// What it is called.
    pub class: AnomalyClass,
    /// The key that it is about.
    pub key: u32,
    /// The transactions that show it, as places among the operations.
    pub operations: Vec<u32>,
    /// What happened, for people.
    pub sentence: String,
}

/// All of them: the first few of each class, and how many there are.
pub(super) struct Directs {
    /// Those that are told.
    pub told: Vec<Direct>,
    /// How many of each class there are.
    pub counts: BTreeMap<AnomalyClass, usize>,
    max: usize,
}

impl Directs {
    /// At most `max` of each class are told.
    pub(super) fn new(max: usize) -> Self {
        Self {
            told: Vec::new(),
            counts: BTreeMap::new(),
            max,
        }
    }

    /// One more.
    pub(super) fn add(&mut self, class: AnomalyClass, key: u32, operations: &[u32], sentence: impl FnOnce() -> String) {
        let count = self.counts.entry(class).or_insert(0);
        *count += 1;
        if *count <= self.max {
            self.told.push(Direct {
                class,
                key,
                operations: operations.to_vec(),
                sentence: sentence(),
            });
        }
    }
}

/// A transaction for people.
pub(super) fn told(parsed: &Parsed<'_>, operation: u32) -> String {
    let operation = &parsed.operations[operation as usize];
    format!(
        "the transaction of client {} on {} at {}",
        operation.process,
        operation.node,
        crate::explain::seconds(operation.invoked_ns)
    )
}

/// The same at the beginning of a sentence.
pub(super) fn told_first(parsed: &Parsed<'_>, operation: u32) -> String {
    told(parsed, operation).replacen('t', "T", 1)
}

/// Most elements of a list that are shown.
const ELEMENTS_MAX: usize = 8;

/// A value for people; of a long list, its end.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::List(list) => {
            let first = list.len().saturating_sub(ELEMENTS_MAX);
            let elements: Vec<String> = list[first..].iter().map(Value::to_string).collect();
            let before = if first > 0 { "… " } else { "" };
            format!("[{before}{}]", elements.join(" "))
        }
        other => other.to_string(),
    }
}
