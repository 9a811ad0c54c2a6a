//! An object that can be in few states, as a table of what each operation does in each of them.
//!
//! A register that holds one of five values is in one of six states, however long its history is. Then a state is a
//! number, an operation is a row of numbers, and a step of a search is a look at that row: no value is cloned, compared
//! or hashed. Searches need not know: [`Table`] is a specification like any other, and the entry at each place of the
//! rewritten partition means the entry at the same place of the original one.
//!
//! Left out: objects whose operations grow what they find, which have better ways to prune (`wgl/growth.rs`).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tribunal_history::Value;

use super::{Entry, Partition};
use crate::spec::{Class, Spec};

/// Most states of a table. A row of them is as long as a 128-bit number.
pub const STATES_MAX: usize = 16;

/// Most different operations of a table: more of them hardly ever lead to few states, and are dear to try.
pub const OPERATIONS_MAX: usize = 1 << 10;

/// In a row: the operation is not legal there.
const ILLEGAL: u8 = u8::MAX;

/// The state of an object, by number; 0 is the initial one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Table(u8);

/// An operation with its result.
#[derive(Clone, Debug)]
pub struct Row {
    /// By state: the state after it, or `ILLEGAL`.
    next: [u8; STATES_MAX],
    /// Its number among the different ones.
    number: u32,
    class: Arc<Class>,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.number);
    }
}

impl Spec for Table {
    type Op = Row;
    type Ret = ();

    fn invoke(&mut self, row: &Row) {
        self.0 = row.next[usize::from(self.0)];
        assert!(
            self.0 != ILLEGAL,
            "an operation without a result is legal in every state"
        );
    }

    fn is_valid_step(&mut self, row: &Row, (): &()) -> bool {
        self.0 = row.next[usize::from(self.0)];
        self.0 != ILLEGAL
    }

    fn class(row: &Row, _: Option<&()>) -> Class {
        Class::clone(&row.class)
    }

    fn value(&self) -> Value {
        Value::Int(i64::from(self.0))
    }

    fn fingerprint(&self) -> u128 {
        // Odd multiples of two odd numbers: different for different states, and without a pattern in the low bits.
        let state = u128::from(self.0) + 1;
        state.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }
}

impl Table {
    /// The partition as a table; none if the object has too many states or operations, or grows.
    pub fn of<S: Spec>(partition: &Partition<S>) -> Option<Partition<Self>> {
        let mut numbers: HashMap<(&S::Op, &Option<S::Ret>), u32> = HashMap::new();
        let mut different: Vec<&Entry<S>> = Vec::new();
        let mut row_of: Vec<u32> = Vec::with_capacity(partition.entries.len());
        for entry in &partition.entries {
            let number = *numbers.entry((&entry.op, &entry.ret)).or_insert_with(|| {
                different.push(entry);
                different.len() as u32 - 1
            });
            if different.len() > OPERATIONS_MAX {
                return None;
            }
            row_of.push(number);
        }
        let classes: Vec<Class> = different
            .iter()
            .map(|entry| S::class(&entry.op, entry.ret.as_ref()))
            .collect();
        if classes.iter().any(|class| matches!(class, Class::Grow(_))) {
            return None;
        }
        let (states, nexts) = reachable(&different)?;
        let names = Names::new(&states);
        let rows: Vec<Row> = (0u32..)
            .zip(nexts.into_iter().zip(classes))
            .map(|(number, (next, class))| Row {
                next,
                number,
                class: Arc::new(names.renamed(class)),
            })
            .collect();
        let entries = partition.entries.iter().zip(row_of).map(|(entry, row)| Entry {
            id: entry.id,
            op: rows[row as usize].clone(),
            ret: entry.ret.as_ref().map(|_| ()),
            call: entry.call,
            end: entry.end,
        });
        Some(Partition {
            key: partition.key.clone(),
            entries: entries.collect(),
        })
    }
}

/// All states that these operations lead to, and for each of them the state after it by state before it.
fn reachable<S: Spec>(different: &[&Entry<S>]) -> Option<(Vec<S>, Vec<[u8; STATES_MAX]>)> {
    let mut states = vec![S::default()];
    let mut nexts = vec![[ILLEGAL; STATES_MAX]; different.len()];
    let mut at = 0;
    while at < states.len() {
        for (entry, next) in different.iter().zip(&mut nexts) {
            let mut state = states[at].clone();
            if !entry.step(&mut state) {
                continue;
            }
            let known = states.iter().position(|other| *other == state);
            let number = known.unwrap_or(states.len());
            if known.is_none() {
                if number == STATES_MAX {
                    return None;
                }
                states.push(state);
            }
            next[at] = number as u8;
        }
        at += 1;
    }
    Some((states, nexts))
}

/// The values of the states, each named by the number of its state.
struct Names {
    /// By state.
    values: Vec<Value>,
    /// Whether no two states have one value. Otherwise values say less than the states, and are not told.
    are_different: bool,
}

impl Names {
    fn new<S: Spec>(states: &[S]) -> Self {
        let values: Vec<Value> = states.iter().map(S::value).collect();
        let are_different = (1..values.len()).all(|place| !values[..place].contains(&values[place]));
        Self { values, are_different }
    }

    /// A value that no state has is as good as another one.
    fn of(&self, value: &Value) -> Value {
        let place = self.values.iter().position(|other| other == value);
        Value::Int(place.map_or(STATES_MAX as i64, |place| place as i64))
    }

    fn renamed(&self, class: Class) -> Class {
        if !self.are_different {
            return if class.is_read() {
                Class::Read(None)
            } else {
                Class::Opaque
            };
        }
        match class {
            Class::Read(value) => Class::Read(value.map(|value| self.of(&value))),
            Class::Differs(value) => Class::Differs(self.of(&value)),
            Class::Write(value) => Class::Write(self.of(&value)),
            Class::Update { from, to } => Class::Update {
                from: self.of(&from),
                to: self.of(&to),
            },
            Class::Grow(_) | Class::Opaque => Class::Opaque,
        }
    }
}
