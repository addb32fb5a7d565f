//! Code that checks signatures, in the languages that people receive webhooks with.

use clap::ValueEnum;
use domain::key_pair::Signing;
use serde_json::json;

use crate::cli::Session;
use crate::exit::{Ended, Exit, Stop};

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
    /// The code that checks with the public key, and what is said beside it; `None` for a language of which there is none.
    fn code_with_key(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Python => Some(in_guide("#### Python, with the public key")),
            Self::Node => Some(in_guide("#### Node, with the public key")),
            Self::Openssl => Some((include_str!("example-ed25519.sh"), "")),
            Self::Go | Self::Rust | Self::Ruby | Self::Php | Self::Java | Self::Csharp => None,
        }
    }

    /// The code that checks with the secret, and what is said beside it.
    fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => in_guide("### Python"),
            Self::Node => in_guide("### Node"),
            Self::Go => in_guide("### Go"),
            Self::Rust => in_guide("### Rust"),
            Self::Ruby => in_guide("### Ruby"),
            Self::Php => in_guide("### PHP"),
            Self::Java => (include_str!("example.java"), ""),
            Self::Csharp => (include_str!("example.cs"), ""),
            Self::Openssl => (include_str!("example.sh"), ""),
        }
    }
}

/// The code below a heading of the guide, and the text that follows it.
fn in_guide(heading: &str) -> (&'static str, &'static str) {
    let section = GUIDE.split_once(&format!("\n{heading}\n")).map_or("", |(_, section)| section);
    let mut parts = section.split("```").skip(1);
    let code = parts.next().and_then(|fenced| fenced.split_once('\n')).map_or("", |(_, code)| code);
    (code, parts.next().unwrap_or_default().split("\n#").next().unwrap_or_default())
}

/// Prints the code.
///
/// # Errors
/// Where there is none for this language.
pub(super) fn show(language: Language, signing: Option<Signing>, session: &Session<'_>) -> Ended {
    let (code, note) = match signing {
        Some(Signing::Ed25519) => language.code_with_key().ok_or_else(|| {
            Stop::usage(
                "There is code that checks with the public key for python, node and openssl. For other languages take a library \
                 of Standard Webhooks that knows v1a, or ed25519 over webhook-id.webhook-timestamp.body.",
            )
        })?,
        Some(Signing::Hmac) | None => language.code(),
    };
    if session.console.json() {
        session.console.value(&json!({"code": code.trim_end(), "note": note.trim()}));
    } else {
        session.console.line(code.trim_end());
        if !note.trim().is_empty() {
            session.console.talk(&format!("\n{}", note.trim()));
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_for_the_public_key_is_of_the_key_and_whole() {
        let with_key: Vec<_> =
            Language::value_variants().iter().filter_map(|language| language.code_with_key()).collect();
        assert_eq!(with_key.len(), 3);
        for (code, _) in with_key {
            assert!(code.contains("whpk_") && code.contains("v1a") && !code.contains("hmac"), "{code}");
            assert!(!code.contains("```"), "{code}");
        }
    }

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
