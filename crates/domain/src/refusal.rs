//! A refusal of something that came in: what, where, and how to mend it.

use serde::Serialize;

/// One fault of an input: a row of a problem document's `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// A JSON pointer to the faulty value, such as `/url`; empty for the whole input.
    pub pointer: String,
    /// The refusal's code, such as `url_scheme`: those in the head of the table of hostile inputs, or a code in its style.
    pub code: &'static str,
    /// One sentence that names the value, the rule, and the way out.
    pub detail: String,
}

impl Refusal {
    /// A refusal of the value at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}
