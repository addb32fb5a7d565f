//! JSON pointers (RFC 6901) into `data`, such as `/contact/emails/0`.

use std::fmt;

/// The longest pointer, in bytes.
pub const POINTER_LEN_MAX: usize = 256;

/// The text was no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no JSON pointer such as /contact/email: at most 256 bytes, each name after a `/`, with `~0` for `~` and `~1` for `/`"
)]
pub struct BadPointer;

/// A pointer to a value below the whole; its segments are decoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonPointer {
    segments: Vec<String>,
}

impl JsonPointer {
    /// Reads a pointer. The one to the whole, an empty text, is refused: whatever it would be for can be said more plainly.
    ///
    /// # Errors
    /// [`BadPointer`].
    pub fn parse(text: &str) -> Result<Self, BadPointer> {
        if text.len() > POINTER_LEN_MAX || text.chars().any(char::is_control) {
            return Err(BadPointer);
        }
        let rest = text.strip_prefix('/').ok_or(BadPointer)?;
        let segments = rest.split('/').map(decode).collect::<Result<_, _>>()?;
        Ok(Self { segments })
    }

    /// The names and places on the way, from the whole on; at least one.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

fn decode(segment: &str) -> Result<String, BadPointer> {
    let mut decoded = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(char) = chars.next() {
        decoded.push(match char {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some(_) | None => return Err(BadPointer),
            },
            other => other,
        });
    }
    Ok(decoded)
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_read_and_write() {
        for text in ["/a", "/", "/a/0/b", "/a~1b/~0c", "/ü/*", "//"] {
            assert_eq!(JsonPointer::parse(text).expect("a pointer").to_string(), text);
        }
        assert_eq!(JsonPointer::parse("/a~1b").expect("a pointer").segments(), ["a/b"]);
        for text in ["", "a", "/a~", "/a~2", "/a\n", &format!("/{}", "a".repeat(POINTER_LEN_MAX))] {
            assert_eq!(JsonPointer::parse(text), Err(BadPointer), "{text}");
        }
    }
}
