//! Named values of one operation.

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::value::Value;

/// Named values in the order of their names, each name once.
///
/// Most have two or three, and a history has as many of them as operations: so they are a sorted list, and a copy shares
/// it until one of them is changed.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fields(Arc<Vec<(Box<str>, Value)>>);

impl Fields {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    /// Puts a value under `name`, and returns the one that was there.
    pub fn insert(&mut self, name: impl Into<Box<str>>, value: Value) -> Option<Value> {
        let name = name.into();
        let place = self.place(&name);
        let list = Arc::make_mut(&mut self.0);
        match place {
            Ok(place) => Some(std::mem::replace(&mut list[place].1, value)),
            Err(place) => {
                list.insert(place, (name, value));
                None
            }
        }
    }

    /// Takes the value under `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let place = self.place(name).ok()?;
        Some(Arc::make_mut(&mut self.0).remove(place).1)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The values, in the order of their names.
    pub fn into_values(self) -> impl Iterator<Item = Value> {
        Arc::unwrap_or_clone(self.0).into_iter().map(|(_, value)| value)
    }

    /// The list itself, for whoever keeps it sorted.
    pub(crate) fn list(&mut self) -> &mut Vec<(Box<str>, Value)> {
        Arc::make_mut(&mut self.0)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(name))
    }
}

/// Of two values under one name the later one stays.
impl<N: Into<Box<str>>> FromIterator<(N, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let mut list = Vec::with_capacity(pairs.size_hint().0);
        list.extend(pairs.map(|(name, value)| (name.into(), value)));
        if list.is_sorted_by(|(before, _): &(Box<str>, Value), (after, _)| before < after) {
            return Self(Arc::new(list));
        }
        list.sort_by(|(before, _), (after, _)| before.cmp(after));
        list.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        Self(Arc::new(list))
    }
}

impl<N: Into<Box<str>>> Extend<(N, Value)> for Fields {
    fn extend<I: IntoIterator<Item = (N, Value)>>(&mut self, pairs: I) {
        for (name, value) in pairs {
            self.insert(name, value);
        }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(fields: &Fields) -> Vec<(&str, &Value)> {
        fields.iter().collect()
    }

    #[test]
    fn they_are_sorted_and_each_name_stands_once() {
        let made: Fields = [("b", 1), ("a", 2), ("b", 3), ("c", 4), ("a", 5)]
            .map(|(name, number)| (name, Value::Int(number)))
            .into_iter()
            .collect();
        let expected = [("a", &Value::Int(5)), ("b", &Value::Int(3)), ("c", &Value::Int(4))];
        assert_eq!(names(&made), expected);
        assert_eq!((made.get("b"), made.get("d")), (Some(&Value::Int(3)), None));
    }

    #[test]
    fn a_copy_does_not_change_with_the_original() {
        let mut first = Fields::new();
        assert_eq!(first.insert("key", Value::Int(1)), None);
        let copy = first.clone();
        assert_eq!(first.insert("key", Value::Int(2)), Some(Value::Int(1)));
        assert_eq!(first.insert("a", Value::Null), None);
        assert_eq!(names(&copy), [("key", &Value::Int(1))]);
        assert_eq!(names(&first), [("a", &Value::Null), ("key", &Value::Int(2))]);
        assert_eq!(first.remove("a"), Some(Value::Null));
        assert_eq!(first.remove("a"), None);
        assert_eq!(first.into_values().collect::<Vec<_>>(), [Value::Int(2)]);
    }
}
