//! A filter on one line: words of `key=value`, the value bare or, to hold white space, in double quotes, in which a
//! backslash takes the next character as it is.

use super::FILTER_INVALID;
use crate::event_filter::shown;
use crate::refusal::Refusal;

/// One word of a line: what [`split`] reads as this pair.
pub(super) fn word(key: &str, value: &str) -> String {
    if value.contains(|c: char| c.is_whitespace() || c == '"') {
        let escaped = value.replace('\\', r"\\").replace('"', r#"\""#);
        format!("{key}=\"{escaped}\"")
    } else {
        format!("{key}={value}")
    }
}

/// Cuts a line into its pairs; a word without `=`, or with open quotes, is refused with its key as pointer.
pub(super) fn split(line: &str) -> Result<Vec<(String, String)>, Vec<Refusal>> {
    let mut pairs = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            let detail =
                format!("{0} is no `key=value`; to search for it, write q={1}.", shown(key), key.trim_matches('"'));
            return Err(vec![Refusal::new(key, FILTER_INVALID, detail)]);
        };
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(|| {
                let detail = format!("the quotes after `{}=` are not closed, or are followed by more.", key.trim());
                vec![Refusal::new(key, FILTER_INVALID, detail)]
            })?,
            None => {
                let (value, after) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
                (value.to_owned(), after)
            }
        };
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// The value that ends at the closing quote, and what follows, which is white space or nothing.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
    let after = chars.as_str();
    (after.is_empty() || after.starts_with(char::is_whitespace)).then_some((value, after))
}
