//! Sizes in bytes, as people write them: `50GiB`.

/// The text was not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a size: write a whole number with B, KiB, MiB, GiB or TiB, such as 50GiB")]
pub struct BadSize;

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `512MiB` or `50GiB`.
///
/// # Errors
/// [`BadSize`] for anything else: no sign, no fraction, no missing unit, no decimal unit.
pub fn parse_size(text: &str) -> Result<u64, BadSize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| BadSize)?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(BadSize)?;
    number.checked_mul(*bytes).ok_or(BadSize)
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that holds it whole.
#[must_use]
pub fn write_size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)).unwrap_or(&("B", 1));
    format!("{}{}", bytes / unit.1, unit.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_write() {
        for text in ["1B", "1023B", "1KiB", "64MiB", "50GiB", "3TiB"] {
            assert_eq!(write_size(parse_size(text).expect("a size")), text);
        }
        assert_eq!((parse_size("1024MiB").map(write_size), write_size(0)), (Ok("1GiB".to_owned()), "0B".to_owned()));
        for text in ["", "50", "GiB", "-1GiB", "1.5GiB", "50GB", "50gib", "50 GiB", "99999999999TiB"] {
            assert_eq!(parse_size(text), Err(BadSize), "{text}");
        }
    }
}
