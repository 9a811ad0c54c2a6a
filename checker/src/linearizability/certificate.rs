//! Replays a linearization: the only reason to believe a valid verdict.
//!
//! Shares nothing with the engines but [`Entry`]. An order passes if
//! 1. each of its places names an entry, none twice;
//! 2. every required entry is in it;
//! 3. real time holds: no entry stands after one that began only when it had ended;
//! 4. every step is legal from the initial state on.
//!
//! Rule 3 by one sweep: going through the order, the latest call so far must lie before each end that follows.
//! An entry `b` placed before `a` breaks real time exactly if `a.end < b.call`.

use super::Entry;
use crate::spec::Spec;

/// What is wrong with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is no such entry.
    #[error("the order names entry {0}, which does not exist")]
    NoSuchEntry(u32),
    /// An entry stands in it twice.
    #[error("the order places entry {0} twice")]
    Twice(u32),
    /// An entry that ended ok is missing.
    #[error("the order leaves out entry {0}, which ended ok")]
    Missing(usize),
    /// Two entries stand against real time.
    #[error("the order places entry {first} before entry {second}, which had ended before the other began")]
    RealTime {
        /// Placed first, began later.
        first: u32,
        /// Placed second, had ended before.
        second: u32,
    },
    /// A result does not fit the state.
    #[error("the specification refuses entry {0} at its place")]
    Illegal(u32),
}

/// Checks that `order`, places in `entries`, is a linearization from the initial state.
pub fn verify<S: Spec>(entries: &[Entry<S>], order: &[u32]) -> Result<(), CertificateError> {
    let mut placed = vec![false; entries.len()];
    let mut latest_call: Option<(u64, u32)> = None;
    let mut state = S::default();
    for &place in order {
        let entry = entries
            .get(place as usize)
            .ok_or(CertificateError::NoSuchEntry(place))?;
        if std::mem::replace(&mut placed[place as usize], true) {
            return Err(CertificateError::Twice(place));
        }
        if let Some((call, first)) = latest_call
            && entry.end.is_some_and(|end| end < call)
        {
            return Err(CertificateError::RealTime { first, second: place });
        }
        if latest_call.is_none_or(|(call, _)| call < entry.call) {
            latest_call = Some((entry.call, place));
        }
        if !entry.step(&mut state) {
            return Err(CertificateError::Illegal(place));
        }
    }
    match entries
        .iter()
        .zip(&placed)
        .position(|(entry, placed)| entry.is_required() && !placed)
    {
        Some(missing) => Err(CertificateError::Missing(missing)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tribunal_history::Value;

    use super::*;
    use crate::spec::register::{Op, Register, Ret};

    fn entry(id: usize, op: Op, ret: Option<Ret>, call: u64, end: Option<u64>) -> Entry<Register> {
        Entry { id, op, ret, call, end }
    }

    /// Two writes in sequence, a read of the second, and a write in doubt.
    fn entries() -> Vec<Entry<Register>> {
        vec![
            entry(0, Op::write("k", 1), Some(Ret::Written), 0, Some(1)),
            entry(1, Op::write("k", 2), Some(Ret::Written), 2, Some(5)),
            entry(2, Op::read("k"), Some(Ret::Value(Value::Int(2))), 3, Some(4)),
            entry(3, Op::write("k", 9), None, 6, None),
        ]
    }

    #[test]
    fn a_linearization_passes_with_or_without_what_is_in_doubt() {
        assert_eq!(verify(&entries(), &[0, 1, 2]), Ok(()));
        assert_eq!(verify(&entries(), &[0, 1, 2, 3]), Ok(()));
    }

    #[test]
    fn every_kind_of_wrong_order_is_refused() {
        let wrong = |order: &[u32]| verify(&entries(), order).expect_err("a wrong order");
        assert_eq!(wrong(&[0, 1, 7]), CertificateError::NoSuchEntry(7));
        assert_eq!(wrong(&[0, 1, 2, 1]), CertificateError::Twice(1));
        assert_eq!(wrong(&[0, 1]), CertificateError::Missing(2));
        assert_eq!(wrong(&[1, 0, 2]), CertificateError::RealTime { first: 1, second: 0 });
        assert_eq!(wrong(&[0, 2, 1]), CertificateError::Illegal(2));
        assert_eq!(wrong(&[0, 3, 1, 2]), CertificateError::RealTime { first: 3, second: 1 });
    }
}
