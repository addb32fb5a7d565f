//! Reading JSON that is known to be well-formed, from its bytes: no number is changed, no depth overflows the stack.
//!
//! `serde_json::Value` is not read by `serde_json` here: with `arbitrary_precision` it takes an object with one certain
//! key for a number, and it refuses escapes of half a surrogate pair, which JSON allows.

use serde_json::{Map, Number, Value};

/// How deep `data` may nest: the body that carries it is one level deeper, and common parsers read 127.
pub const NESTING_MAX: usize = 126;

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It nests deeper than [`NESTING_MAX`].
    TooDeep,
    /// This reader cannot say; for a well-formed text only the shapes' walk stops so.
    Unsure,
}

/// A place in a text of JSON.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The start of `text`.
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes have been consumed.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space, not consumed.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<u8, Stop> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(Stop::Unsure)
    }

    /// Consumes the byte that [`Self::peek`] showed.
    #[inline]
    pub(crate) const fn advance(&mut self) {
        self.at += 1;
    }

    /// What was consumed since `start` was a copy of this.
    pub(crate) fn since(&self, start: &Self) -> Result<&'a str, Stop> {
        self.text.get(start.at..self.at).ok_or(Stop::Unsure)
    }

    /// Consumes one byte, which must be `wanted`.
    #[inline]
    pub(crate) fn expect(&mut self, wanted: u8) -> Result<(), Stop> {
        if self.peek()? != wanted {
            return Err(Stop::Unsure);
        }
        self.advance();
        Ok(())
    }

    /// Consumes what follows an element: true for a comma, false for `close`.
    #[inline]
    pub(crate) fn more(&mut self, close: u8) -> Result<bool, Stop> {
        let byte = self.peek()?;
        self.advance();
        if byte == b',' {
            Ok(true)
        } else if byte == close {
            Ok(false)
        } else {
            Err(Stop::Unsure)
        }
    }

    /// Consumes a string; what stands between its quotes, and whether there is an escape in it.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<(&'a str, bool), Stop> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut escaped = false;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return Err(Stop::Unsure),
            }
        }
        let raw = self.text.get(start..self.at).ok_or(Stop::Unsure)?;
        self.advance();
        Ok((raw, escaped))
    }

    /// Consumes a number, `true`, `false` or `null`, as it is written.
    #[inline]
    pub(crate) fn word(&mut self) -> Result<&'a str, Stop> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        self.text.get(start..self.at).filter(|word| !word.is_empty()).ok_or(Stop::Unsure)
    }

    /// Consumes one value that may nest `depth_left` levels.
    pub(crate) fn skip(&mut self, depth_left: usize) -> Result<(), Stop> {
        match self.peek()? {
            b'"' => return self.string().map(drop),
            b'{' | b'[' => {}
            _ => return self.word().map(drop),
        }
        let mut open = 0;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' if open == depth_left => return Err(Stop::TooDeep),
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.advance();
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Consumes one value that may nest `depth_left` levels, as a tree. Of equal keys the last one counts.
    pub(crate) fn read(&mut self, depth_left: usize) -> Result<Value, Stop> {
        match self.peek()? {
            b'"' => {
                let (raw, escaped) = self.string()?;
                Ok(Value::String(if escaped { unescape(raw) } else { raw.to_owned() }))
            }
            b'{' | b'[' if depth_left == 0 => Err(Stop::TooDeep),
            b'{' => self.read_object(depth_left - 1).map(Value::Object),
            b'[' => self.read_array(depth_left - 1).map(Value::Array),
            _ => match self.word()? {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                "null" => Ok(Value::Null),
                number => number.parse::<Number>().map(Value::Number).map_err(|_| Stop::Unsure),
            },
        }
    }

    fn read_object(&mut self, depth_left: usize) -> Result<Map<String, Value>, Stop> {
        let mut members = Map::new();
        self.advance();
        if self.peek()? == b'}' {
            self.advance();
            return Ok(members);
        }
        loop {
            self.peek()?;
            let (raw, escaped) = self.string()?;
            self.expect(b':')?;
            let value = self.read(depth_left)?;
            members.insert(if escaped { unescape(raw) } else { raw.to_owned() }, value);
            if !self.more(b'}')? {
                return Ok(members);
            }
        }
    }

    fn read_array(&mut self, depth_left: usize) -> Result<Vec<Value>, Stop> {
        let mut items = Vec::new();
        self.advance();
        if self.peek()? == b']' {
            self.advance();
            return Ok(items);
        }
        loop {
            items.push(self.read(depth_left)?);
            if !self.more(b']')? {
                return Ok(items);
            }
        }
    }
}

/// The text that `raw` stands for. Half a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(raw: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    let mut buffer = [0; 2];
    while let Some(char) = chars.next() {
        let plain = match char {
            '\\' => match chars.next() {
                Some('u') => {
                    let digits = chars.as_str().get(..4).unwrap_or_default();
                    units.push(u16::from_str_radix(digits, 16).unwrap_or(0xfffd));
                    chars = chars.as_str().get(4..).unwrap_or_default().chars();
                    continue;
                }
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Value, Stop> {
        Cursor::new(text).read(NESTING_MAX)
    }

    #[test]
    fn numbers_keep_every_digit() {
        for text in ["1e+400", "9223372036854775808", "123456789012345678901234567890", "-0.1000000000000000000000001"]
        {
            assert_eq!(read(text).map(|value| value.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_serde_json_cannot_read() {
        assert_eq!(read(r#""\ud800x""#), Ok(Value::String("\u{fffd}x".to_owned())));
        assert!(read(r#"{"$serde_json::private::Number":"x"}"#).is_ok_and(|value| value.is_object()));
    }

    #[test]
    fn depth_is_counted_exactly() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        for levels in [1, NESTING_MAX] {
            assert!(read(&nested(levels)).is_ok());
            assert_eq!(Cursor::new(&nested(levels)).skip(NESTING_MAX), Ok(()));
        }
        for levels in [NESTING_MAX + 1, 10_000, 1_000_000] {
            assert_eq!(read(&nested(levels)), Err(Stop::TooDeep));
            assert_eq!(Cursor::new(&nested(levels)).skip(NESTING_MAX), Err(Stop::TooDeep));
        }
    }

    #[test]
    fn broken_text_stops_and_never_panics() {
        for text in ["", "{", "{\"", "{\"a\\", "\"\\", "[1", "[1 2]", "{\"a\" 1}", "nul", "\"é\\u00"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_strings_like_serde_json(text in "\\PC*", escapes in prop::collection::vec(any::<char>(), 0..8)) {
            let escaped: String = escapes
                .iter()
                .flat_map(|char| char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect::<Vec<_>>())
                .collect();
            let quoted = Value::String(text).to_string();
            let json = format!("[{quoted} , \"{escaped}\\\"\\\\\\/\\b\\f\\n\\r\\t\"]");
            prop_assert_eq!(read(&json).ok(), serde_json::from_str::<Value>(&json).ok());
        }
    }
}
