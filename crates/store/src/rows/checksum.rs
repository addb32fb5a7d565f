//! The checksum that every row carries: what was read is what was written, or it is not served.

use super::damaged::Damaged;

/// CRC-32 over the columns of a row, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// The checksum of a row of `table`: a row read in place of another table's has another one.
    pub(crate) fn of(table: &str) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(table.as_bytes());
        Self(hasher)
    }

    /// Adds whole numbers.
    pub(crate) fn numbers<const N: usize>(mut self, numbers: [i64; N]) -> Self {
        let mut bytes = [0u8; 128];
        let used = N * 8;
        for (slot, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        self.0.update(&bytes[..used]);
        self
    }

    /// Adds bytes, and how many they are, so that what belongs to one column cannot pass for the next one's.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a text.
    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// The sum, as it is stored.
    pub(crate) fn sum(self) -> i64 {
        i64::from(self.0.finalize())
    }

    /// Compares with what is stored.
    ///
    /// # Errors
    /// [`Damaged`], naming the row.
    pub(crate) fn verify(self, stored: i64, row: impl FnOnce() -> String) -> Result<(), Damaged> {
        if self.sum() == stored { Ok(()) } else { Err(Damaged(row())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_every_border_counts() {
        let sum = |a: &[u8], b: &[u8]| Checksum::of("t").numbers([1, 2]).bytes(a).bytes(b).sum();
        let right = sum(b"ab", b"c");
        assert_ne!(right, sum(b"a", b"bc"));
        assert_ne!(right, sum(b"ab", b"b"));
        assert_ne!(right, Checksum::of("u").numbers([1, 2]).bytes(b"ab").bytes(b"c").sum());
        assert_ne!(right, Checksum::of("t").numbers([1, 3]).bytes(b"ab").bytes(b"c").sum());
        let checked =
            Checksum::of("t").numbers([1, 2]).bytes(b"ab").bytes(b"c").verify(right + 1, || "row 1".to_owned());
        assert!(matches!(checked, Err(Damaged(row)) if row == "row 1"));
    }
}
