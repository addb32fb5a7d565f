//! A row that cannot be read: what every store says of it.

use domain::store::StoreError;
use domain::vault::Unopened;

/// A row whose checksum does not fit, or that cannot be read; the text says which.
#[derive(Debug)]
pub(crate) struct Damaged(pub(crate) String);

impl Damaged {
    /// A row that cannot be read, with what the reading code said.
    pub(crate) fn of(row: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self(format!("{row}: {why}"))
    }
}

impl From<Damaged> for StoreError {
    fn from(Damaged(row): Damaged) -> Self {
        Self::Damaged(row)
    }
}

impl From<Unopened> for Damaged {
    fn from(error: Unopened) -> Self {
        Self(error.to_string())
    }
}
