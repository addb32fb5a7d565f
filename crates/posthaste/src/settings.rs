//! Settings: as typed → gathered by precedence → judged. Each value remembers where it came from.
//!
//! Flag > `POSTHASTE_*` environment > `posthaste.toml` > default. A value that breaks a rule refuses to start, with a
//! sentence that names the setting and the place where it was given.

pub(crate) mod gather;
pub(crate) mod list;
pub(crate) mod parse;
pub(crate) mod resolved;
pub(crate) mod source;
pub(crate) mod typed;

use std::fmt;

pub(crate) use list::Mode;
pub(crate) use resolved::Settings;
pub(crate) use typed::Typed;

use crate::exit::Stop;
use gather::Gathered;
use source::{Environment, Origin};

/// A setting that cannot be used: its name, where it was given, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadSetting {
    /// The setting's name, as in the table.
    pub(crate) name: String,
    /// Where the value was given; `None` where it is missing.
    pub(crate) origin: Option<Origin>,
    /// What is wrong, and the way out.
    pub(crate) said: String,
}

impl BadSetting {
    /// The setting `name` is not given, or does not fit what is there.
    pub(crate) fn new(name: &str, said: impl Into<String>) -> Self {
        Self { name: name.to_owned(), origin: None, said: said.into() }
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting {}: {}", self.name, self.said)?;
        match &self.origin {
            Some(origin) => write!(f, "\n  given by: {origin}"),
            None => Ok(()),
        }
    }
}

impl From<BadSetting> for Stop {
    fn from(bad: BadSetting) -> Self {
        Self::usage(bad.to_string())
    }
}

/// Reads every source and judges every value.
///
/// # Errors
/// The first setting that cannot be used.
pub(crate) fn resolve(typed: &Typed, environment: &Environment, mode: Mode) -> Result<Settings, BadSetting> {
    Settings::judge(&Gathered::collect(typed, environment, mode)?, mode)
}
