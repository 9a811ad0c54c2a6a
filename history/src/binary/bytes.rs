//! Numbers in bytes.

/// Appends a number in seven bits a byte, the lowest first; the last byte is below 128.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number that may be negative: small ones of both kinds are short.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// What is left to read of a block.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads from `at`.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where it is.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How much is left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, &'static str> {
        let byte = *self
            .bytes
            .get(self.at)
            .ok_or("expected another byte, found the end of the block")?;
        self.at += 1;
        Ok(byte)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: u64) -> Result<&'a [u8], &'static str> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.bytes.get(self.at..self.at.checked_add(count)?))
            .ok_or("expected as many bytes as the length says, found the end of the block")?;
        self.at += taken.len();
        Ok(taken)
    }

    /// A number as [`put_number`] wrote it.
    pub fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("expected a number of 64 bits, found a longer one")
    }

    /// A number as [`put_signed`] wrote it.
    pub fn signed(&mut self) -> Result<i64, &'static str> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for number in [0, 1, 127, 128, 300, 1 << 35, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            put_signed(&mut bytes, number as i64);
            let mut cursor = Cursor::new(&bytes, 0);
            assert_eq!(cursor.number(), Ok(number));
            assert_eq!(cursor.signed(), Ok(number as i64));
            assert_eq!(cursor.left(), 0);
        }
        assert!(Cursor::new(&[0x80], 0).number().is_err());
        assert!(Cursor::new(&[0xff; 11], 0).number().is_err());
        assert!(Cursor::new(&[1, 2], 0).take(u64::MAX).is_err());
    }
}
