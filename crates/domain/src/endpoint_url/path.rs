//! The path and query of a URL in their stored form.

/// Appends `raw` to `text`: at least `/`, segments of one or two dots resolved, and what HTTP cannot carry
/// percent-encoded. What is percent-encoded already stays as it was written, dots included.
pub(super) fn normalise_into(text: &mut String, raw: &str) {
    let (path, query) = raw.split_once('?').map_or((raw, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // A path that ends in dots names a directory, so it keeps its last slash.
                if segments.peek().is_none() {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    for segment in kept {
        text.push('/');
        encode_into(text, segment);
    }
    if let Some(query) = query {
        text.push('?');
        encode_into(text, query);
    }
}

/// Appends `raw` with everything percent-encoded that browsers encode in a path (WHATWG "path percent-encode set").
fn encode_into(text: &mut String, raw: &str) {
    for byte in raw.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>^`{}#".contains(&byte) {
            text.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            text.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
        }
    }
}
