//! Where a setting came from, and the environment as the process was given it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On the command line.
    Flag(&'static str),
    /// In an environment variable.
    Variable(String),
    /// In the file that an environment variable names.
    VariableFile(String, PathBuf),
    /// In a settings file.
    File(PathBuf),
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::VariableFile(name, path) => write!(f, "{name} ({})", path.display()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The variables of the process: read once, at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own. Variables that are no text are left out.
    pub(crate) fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// The variable's value; an empty one counts as not given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether colour is not wanted, or not understood.
    pub(crate) fn is_plain(&self) -> bool {
        self.get("NO_COLOR").is_some() || self.get("TERM") == Some("dumb")
    }

    /// A secret: the variable, or the first line of the file that `NAME_FILE` names.
    ///
    /// # Errors
    /// A sentence, when both are given or the file cannot be read.
    pub(crate) fn secret(&self, name: &str) -> Result<Option<(String, Origin)>, String> {
        let file_variable = format!("{name}_FILE");
        let value = self.get(name).map(|value| (value.to_owned(), Origin::Variable(name.to_owned())));
        let Some(path) = self.get(&file_variable) else { return Ok(value) };
        if value.is_some() {
            return Err(format!("{name} and {file_variable} are both given; keep one"));
        }
        let bad = |error| {
            format!("{file_variable}: the file {path} cannot be read ({error}): name one that holds the secret")
        };
        let text = std::fs::read_to_string(path).map_err(bad)?;
        let line = text.lines().next().unwrap_or_default().trim();
        Ok(Some((line.to_owned(), Origin::VariableFile(file_variable, path.into()))))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
