//! Code that checks signatures, in the languages that people receive webhooks with.

use clap::ValueEnum;
use serde_json::json;

use crate::cli::Session;
use crate::exit::Exit;

/// The guide for receivers: its code is tested there, and shown here.
const GUIDE: &str = include_str!("../../../../../docs/guides/receiving.md");

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Python, the page's own function
    Python,
    /// JavaScript on Node
    Node,
    /// Go
    Go,
    /// Rust
    Rust,
    /// Ruby
    Ruby,
    /// PHP
    Php,
    /// Java
    Java,
    /// C#
    Csharp,
    /// openssl in a shell
    Openssl,
}

impl Language {
    /// The code, and what is said beside it.
    fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => in_guide("Python"),
            Self::Node => in_guide("Node"),
            Self::Go => in_guide("Go"),
            Self::Rust => in_guide("Rust"),
            Self::Ruby => in_guide("Ruby"),
            Self::Php => in_guide("PHP"),
            Self::Java => (include_str!("example.java"), ""),
            Self::Csharp => (include_str!("example.cs"), ""),
            Self::Openssl => (include_str!("example.sh"), ""),
        }
    }
}

/// The code below a heading of the guide, and the text that follows it.
fn in_guide(heading: &str) -> (&'static str, &'static str) {
    let section =
        GUIDE.split("\n### ").find(|section| section.starts_with(&format!("{heading}\n"))).unwrap_or_default();
    let mut parts = section.split("```").skip(1);
    let code = parts.next().and_then(|fenced| fenced.split_once('\n')).map_or("", |(_, code)| code);
    (code, parts.next().unwrap_or_default().split("\n#").next().unwrap_or_default())
}

/// Prints the code.
pub(super) fn show(language: Language, session: &Session<'_>) -> Exit {
    let (code, note) = language.code();
    if session.console.json() {
        session.console.value(&json!({"code": code.trim_end(), "note": note.trim()}));
    } else {
        session.console.line(code.trim_end());
        if !note.trim().is_empty() {
            session.console.talk(&format!("\n{}", note.trim()));
        }
    }
    Exit::Ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_checks_the_page_s_header_with_hmac() {
        for language in Language::value_variants() {
            let code = language.code().0.to_ascii_lowercase();
            assert!(code.contains("sha256=") && code.contains("hmac"), "{language:?}");
            assert!(!code.contains("```"), "{language:?}");
        }
        // The page's own lines, word for word.
        let (python, _) = Language::Python.code();
        assert!(python.contains("computed = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()"));
        assert!(python.contains("return hmac.compare_digest(f\"sha256={computed}\", signature)"));
    }
}
