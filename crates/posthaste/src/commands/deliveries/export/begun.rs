//! What an unfinished export was begun with, in a file beside its own: so that what another filter means never goes on in it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use domain::filter::DeliveryFilter;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What is put behind the name of the export's file.
const ENDING: &str = ".resume";

/// What an export is asked for. It is kept beside the file until that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    account: String,
    filter: Vec<(String, String)>,
    attempts: bool,
    /// When it was begun: spans such as 24h count back from then, also where it goes on.
    at: Timestamp,
}

impl Begun {
    /// An export that is begun at `at`.
    pub(super) fn new(account: &str, typed: &[(String, String)], attempts: bool, at: Timestamp) -> Self {
        let read = DeliveryFilter::parse(typed.iter().map(|(key, value)| (&**key, &**value)), at);
        let filter = match read {
            Ok(filter) => filter.pairs().into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            // The server says what is wrong with it, before a file is made.
            Err(_) => typed.to_vec(),
        };
        Self { account: account.to_owned(), filter, attempts, at }
    }

    /// When it was begun.
    pub(super) const fn at(&self) -> Timestamp {
        self.at
    }

    /// The query that it means.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        let attempts = self.attempts.then(|| ("attempts".to_owned(), "true".to_owned()));
        self.filter.iter().cloned().chain(attempts).collect()
    }

    /// The same in the words of the command line.
    pub(super) fn words(&self) -> String {
        let pair = |(key, value): &(String, String)| {
            // What a shell would take for something else.
            let plain = value.chars().all(|c| c.is_alphanumeric() || "-_.,:+".contains(c));
            let value = if plain { value.clone() } else { format!("'{}'", value.replace('\'', r"'\''")) };
            format!("{key}={value}")
        };
        let mut words: Vec<_> = self.filter.iter().map(pair).collect();
        words.extend(self.attempts.then(|| "--attempts".to_owned()));
        words.push(format!("--account {}", self.account));
        words.join(" ")
    }

    /// Keeps it beside the file at `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(beside(path), serde_json::to_vec(self)?)
    }

    /// What the file at `path` was begun with; `None` where nothing beside it says that.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(beside(path)) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The file that says what the one at `path` was begun with.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ENDING);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_command_means_the_same_later() {
        let typed = |text: &str| -> Vec<(String, String)> {
            let pair = |word: &str| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            text.split(' ').filter_map(pair).collect()
        };
        let begun = Begun::new("default", &typed("since=1h status=failed"), true, Timestamp(3_600_000_000));
        let again = |text: &str| Begun::new("default", &typed(text), true, begun.at());
        assert_eq!(again("status=failed since=1h"), begun);
        assert_eq!(begun.query()[1], ("since".to_owned(), Timestamp(0).to_string()));
        assert_eq!(again(&begun.words()), begun, "{}", begun.words());
        assert_ne!(again("status=failed since=2h"), begun);
        assert_ne!(again("status=failed"), begun);
        assert_ne!(Begun::new("default", &typed("status=failed since=1h"), false, begun.at()), begun);
        assert_ne!(Begun::new("other", &typed("status=failed since=1h"), true, begun.at()), begun);
        let words = Begun::new("acme", &typed("event=alert.* q=it's"), false, Timestamp(0)).words();
        assert_eq!(words, r"event='alert.*' q='it'\''s' --account acme");
    }
}
