//! What is known of a partition before the search: identical operations, classes of unknown ones, who makes and
//! who observes which value.

use std::collections::{BTreeMap, HashMap};

use tribunal_history::Value;

use super::Partition;
use crate::spec::{Class, Spec};

/// Stands for "no value".
pub const NONE: u32 = u32::MAX;

/// A partition, indexed.
#[derive(Debug)]
pub struct Prepared {
    /// The required entries, in order of their ends: of two numbers the lower one ends first.
    pub required: Vec<Required>,
    /// The unknown entries, equal operations together.
    pub unknown: Vec<Unknown>,
    /// Who makes and observes which value; none if an operation's effect on the value is not known.
    pub values: Option<Values>,
}

/// An operation that must be placed.
#[derive(Clone, Copy, Debug)]
pub struct Required {
    /// Place in the partition's entries.
    pub entry: u32,
    /// When it ended.
    pub end: u64,
    /// Equal for operations with equal input and output.
    pub twin: u32,
    /// Whether it leaves every state as it is.
    pub reads: bool,
    /// Whether the state after it is the same whatever the state before it was.
    pub overwrites: bool,
    /// The value that it observes, or `NONE`.
    pub observes: u32,
    /// The value that it makes, or `NONE`.
    pub makes: u32,
    /// Stands for it in the number of a set.
    pub number: u128,
}

/// Operations in doubt that are equal. They are placed in order of call, which loses nothing: wherever a later
/// one may stand, an earlier one may stand in its place.
#[derive(Clone, Debug)]
pub struct Unknown {
    /// Places in the partition's entries, in order of call.
    pub entries: Vec<u32>,
    /// Their calls.
    pub calls: Vec<u64>,
    /// The value that they make if they take effect, or `NONE`.
    pub makes: u32,
    /// Whether the state after one is the same whatever the state before it was.
    pub overwrites: bool,
}

/// Values by number.
#[derive(Debug)]
pub struct Values {
    /// Required operations not yet placed that observe the value.
    pub observers: Vec<u32>,
    /// Operations not yet placed, required or unknown, that may make the value.
    pub makers: Vec<u32>,
    /// Whether an unknown operation compares with the value.
    pub compared_in_doubt: Vec<bool>,
    /// Whether an operation needs the object to hold anything but a certain value, so that a value may be needed that
    /// nothing observes.
    pub any_but_one: bool,
    /// The initial value.
    pub initial: u32,
}

impl Values {
    /// A value that must be observed and that nothing ever makes; none if there is none.
    pub fn phantom(&self) -> Option<u32> {
        (0..self.observers.len() as u32)
            .find(|&v| self.observers[v as usize] > 0 && self.makers[v as usize] == 0 && v != self.initial)
    }
}

impl Prepared {
    /// Indexes a partition.
    pub fn new<S: Spec>(partition: &Partition<S>) -> Self {
        let mut numbers = Numbers::default();
        let initial = numbers.of(&S::default().value());
        let mut known = true;
        let mut any_but_one = false;
        let mut required = Vec::new();
        let mut unknown: Vec<Unknown> = Vec::new();
        let mut compared: Vec<u32> = Vec::new();
        let mut twins: HashMap<(&S::Op, &Option<S::Ret>), u32> = HashMap::new();
        let mut classes: HashMap<&S::Op, usize> = HashMap::new();
        for (place, entry) in partition.entries.iter().enumerate() {
            let class = S::class(&entry.op, entry.ret.as_ref());
            let makes = class.made().map_or(NONE, |value| numbers.of(value));
            let observes = class.observed().map_or(NONE, |value| numbers.of(value));
            known &= !class.hides_values();
            any_but_one |= matches!(class, Class::Differs(_));
            if let Some(end) = entry.end {
                // Whether a comparison with an erased result held is open, and so is what it makes.
                known &= entry.ret.is_some() || !matches!(class, Class::Update { .. });
                let next = twins.len() as u32;
                required.push(Required {
                    entry: place as u32,
                    end,
                    twin: *twins.entry((&entry.op, &entry.ret)).or_insert(next),
                    reads: class.is_read(),
                    overwrites: matches!(class, Class::Write(_)),
                    observes,
                    makes,
                    number: number(place as u32),
                });
            } else if !class.is_read() {
                // A read in doubt changes nothing and says nothing.
                let place_of_class = *classes.entry(&entry.op).or_insert_with(|| {
                    unknown.push(Unknown {
                        entries: Vec::new(),
                        calls: Vec::new(),
                        makes,
                        overwrites: matches!(class, Class::Write(_)),
                    });
                    unknown.len() - 1
                });
                unknown[place_of_class].entries.push(place as u32);
                unknown[place_of_class].calls.push(entry.call);
                if observes != NONE {
                    compared.push(observes);
                }
            }
        }
        required.sort_unstable_by_key(|operation| operation.end);
        let values = known.then(|| {
            let mut values = Values {
                observers: vec![0; numbers.len()],
                makers: vec![0; numbers.len()],
                compared_in_doubt: vec![false; numbers.len()],
                any_but_one,
                initial,
            };
            for operation in &required {
                if operation.observes != NONE {
                    values.observers[operation.observes as usize] += 1;
                }
                if operation.makes != NONE {
                    values.makers[operation.makes as usize] += 1;
                }
            }
            for class in unknown.iter().filter(|class| class.makes != NONE) {
                values.makers[class.makes as usize] += class.entries.len() as u32;
            }
            for value in compared {
                values.compared_in_doubt[value as usize] = true;
            }
            values
        });
        Self {
            required,
            unknown,
            values,
        }
    }
}

/// The 128-bit number of the `place`-th entry: two outputs of splitmix64 (Steele, Lea and Flood 2014),
/// the same in every run.
fn number(place: u32) -> u128 {
    let half = |seed: u64| {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let place = u64::from(place);
    u128::from(half(place)) << 64 | u128::from(half(place | 1 << 40))
}

/// Gives each value a number.
#[derive(Default)]
struct Numbers(BTreeMap<Value, u32>);

impl Numbers {
    fn of(&mut self, value: &Value) -> u32 {
        if let Some(number) = self.0.get(value) {
            return *number;
        }
        let number = self.0.len() as u32;
        self.0.insert(value.clone(), number);
        number
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
