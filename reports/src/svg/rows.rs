//! Texts side by side in rows, so that none stands on another.

/// Room between two texts of a row.
const APART: f64 = 12.0;

/// How far each row is taken.
#[derive(Debug, Default)]
pub struct Rows {
    ends: Vec<f64>,
}

impl Rows {
    /// The first row that is free from `x` on; a new one if none is.
    pub fn free(&self, x: f64) -> usize {
        self.ends
            .iter()
            .position(|end| *end + APART <= x)
            .unwrap_or(self.ends.len())
    }

    /// Takes room in the first row that is free from `x` on.
    pub fn take(&mut self, x: f64, width: f64) -> usize {
        let row = self.free(x);
        if row == self.ends.len() {
            self.ends.push(0.0);
        }
        self.ends[row] = x + width;
        row
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_the_first_row_with_room() {
        let mut rows = Rows::default();
        assert_eq!(rows.take(0.0, 100.0), 0);
        assert_eq!(rows.take(50.0, 100.0), 1);
        assert_eq!(rows.take(112.0, 10.0), 0);
        assert_eq!(rows.take(120.0, 10.0), 2, "both are taken there");
        assert_eq!((rows.free(200.0), rows.len()), (0, 3));
    }
}
