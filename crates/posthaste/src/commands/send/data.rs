//! `--data`: JSON, a file, or stdin.

use std::io::Read;

use serde_json::value::RawValue;

use crate::exit::Stop;

/// The text that `--data` means: `@FILE`, `-` for stdin, or itself.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read(given: &str) -> Result<String, Stop> {
    if given == "-" {
        let mut text = String::new();
        return match std::io::stdin().lock().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Stop::usage(format!("Give JSON on stdin: {error}."))),
        };
    }
    match given.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Stop::usage(format!("Give a file that can be read: {file}: {error}."))),
        None => Ok(given.to_owned()),
    }
}

/// The text as JSON, byte for byte.
///
/// # Errors
/// When it is none.
pub(crate) fn json(text: &str) -> Result<&RawValue, Stop> {
    serde_json::from_str(text.trim()).map_err(|error| Stop::usage(format!("Give JSON as --data: {error}.")))
}
