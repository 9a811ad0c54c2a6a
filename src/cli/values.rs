//! Values of flags that several verbs take.

use std::time::Duration;

use clap::ValueEnum;
use tribunal_checker::Consistency;

/// Names of worlds in flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorldName {
    /// Real processes
    Process,
    /// Virtual time
    Simulation,
}

/// `30s`, `2m`, `1500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 30s, 2m or 500ms"))
}

/// A consistency model by its name.
pub fn consistency(text: &str) -> Result<Consistency, String> {
    Consistency::named(text).ok_or_else(|| {
        let known: Vec<&str> = Consistency::ALL.iter().map(|model| model.name()).collect();
        format!("no model is called so; there are: {}", known.join(", "))
    })
}

/// A positive duration.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        longer => Ok(longer),
    }
}

/// A number of things, or that number for each node: `10`, `2n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerNode {
    number: u32,
    each: bool,
}

impl PerNode {
    /// This number in all.
    pub fn all(number: u32) -> Self {
        Self { number, each: false }
    }

    /// This number for each node.
    pub fn each(number: u32) -> Self {
        Self { number, each: true }
    }

    /// The number for a cluster of `nodes`.
    pub fn resolve(self, nodes: u16) -> u32 {
        if self.each {
            self.number.saturating_mul(u32::from(nodes))
        } else {
            self.number
        }
    }
}

impl std::fmt::Display for PerNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.number, if self.each { "n" } else { "" })
    }
}

/// Reads a [`PerNode`].
pub fn per_node(text: &str) -> Result<PerNode, String> {
    let (digits, each) = text.strip_suffix('n').map_or((text, false), |digits| (digits, true));
    match digits.parse() {
        Ok(number) if (1..=10_000).contains(&number) => Ok(PerNode { number, each }),
        _ => Err("expected a number from 1 to 10000, or one for each node such as 2n".to_owned()),
    }
}

/// A positive rate of operations a second.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 && rate <= 1_000_000.0 => Ok(rate),
        _ => Err("expected operations a second, more than 0 and at most 1000000".to_owned()),
    }
}

/// How many nodes a cluster may have.
pub fn nodes(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(nodes) if (1..=9).contains(&nodes) => Ok(nodes),
        _ => Err("expected a number from 1 to 9".to_owned()),
    }
}

/// Seeds from the first to the last, both of them included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// The last; not before the first.
    pub last: u64,
}

/// Reads `A..B`, both included, or one seed.
pub fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |digits: &str| {
        digits
            .parse::<u64>()
            .map_err(|_| format!("{digits:?} is not a seed: expected a number of 64 bits"))
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(format!("there is no seed from {first} to {last}"));
    }
    Ok(Seeds { first, last })
}

/// A size in bytes: `512MiB`, `4GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10_u32), ("MiB", 20), ("GiB", 30), ("B", 0)];
    let found = units
        .iter()
        .find_map(|(unit, shift)| text.strip_suffix(unit).map(|digits| (digits, *shift)));
    let (digits, shift) = found.unwrap_or((text, 0));
    let bytes = digits
        .trim()
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "expected a size such as 512MiB or 4GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_wrong_ones_say_what_was_expected() {
        assert_eq!(per_node("2n").map(|clients| clients.resolve(3)), Ok(6));
        assert_eq!(per_node("7").map(|clients| clients.resolve(3)), Ok(7));
        assert!(per_node("n").is_err() && per_node("0").is_err() && per_node("-1n").is_err());
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert_eq!(size("17"), Ok(17));
        assert!(size("4GB").is_err() && size("99999999999GiB").is_err());
        assert!(rate("0").is_err() && rate("NaN").is_err() && rate("200").is_ok());
        assert_eq!(seeds("3..5"), Ok(Seeds { first: 3, last: 5 }));
        assert_eq!(seeds("7"), Ok(Seeds { first: 7, last: 7 }));
        assert!(seeds("5..3").is_err() && seeds("a..3").is_err() && seeds("1..=3").is_err() && seeds("").is_err());
        assert!(nodes("0").is_err() && nodes("10").is_err() && nodes("5").is_ok());
        assert!(positive_duration("0s").is_err() && positive_duration("5").is_err() && duration("20s").is_ok());
    }
}
