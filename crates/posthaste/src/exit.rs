//! How a command ends: its exit code, and what it says when it could not do its part.

use std::process::ExitCode;
use std::time::Duration;

/// The exit codes of `interfaces.md`; scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// Failed in a way that has no code of its own.
    Failure,
    /// The command line or a setting was wrong.
    Usage,
    /// The key is missing, wrong, or may not do this.
    NotAllowed,
    /// What was asked for does not exist.
    NotFound,
    /// The server refused the request, or it conflicts with what is there.
    Refused,
    /// No server at the URL.
    Unreachable,
    /// Sent, but a delivery failed.
    DeliveryFailed,
    /// Not done in time.
    TimedOut,
    /// Stopped by Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The code as the shell sees it.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotAllowed => 3,
            Self::NotFound => 4,
            Self::Refused => 5,
            Self::Unreachable => 6,
            Self::DeliveryFailed => 7,
            Self::TimedOut => 8,
            Self::Interrupted => 130,
        }
    }

    /// Whether what led to it may be over in a moment.
    pub(crate) const fn may_pass(self) -> bool {
        matches!(self, Self::Unreachable | Self::Failure | Self::TimedOut)
    }

    /// The code for an HTTP status that is no success.
    pub(crate) const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::NotAllowed,
            404 => Self::NotFound,
            408 | 504 => Self::TimedOut,
            // Too many requests is a refusal for now, not a conflict: a script tries it again.
            429 => Self::Failure,
            400..=499 => Self::Refused,
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command could not do its part. The first line of `said` says what to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stop {
    /// The exit code.
    pub(crate) exit: Exit,
    /// A sentence for a person; further lines for the particulars.
    pub(crate) said: String,
    /// The problem document that the server answered with, if one did.
    pub(crate) problem: Option<serde_json::Value>,
    /// In how long it may be otherwise, by the server's word.
    pub(crate) retry_after: Option<Duration>,
    /// It stays so, though its exit code may pass: somebody has to mend something.
    pub(crate) lasts: bool,
}

impl Stop {
    /// Ends with `exit` and a sentence.
    pub(crate) fn new(exit: Exit, said: impl Into<String>) -> Self {
        Self { exit, said: said.into(), problem: None, retry_after: None, lasts: false }
    }

    /// The same, and waiting does not help.
    pub(crate) fn lasting(self) -> Self {
        Self { lasts: true, ..self }
    }

    /// Whether it may be over in a moment.
    pub(crate) const fn may_pass(&self) -> bool {
        self.exit.may_pass() && !self.lasts
    }

    /// Ends with [`Exit::Failure`] and a sentence.
    pub(crate) fn failure(said: impl Into<String>) -> Self {
        Self::new(Exit::Failure, said)
    }

    /// Ends with [`Exit::Usage`] and a sentence.
    pub(crate) fn usage(said: impl Into<String>) -> Self {
        Self::new(Exit::Usage, said)
    }
}

/// What every command comes to.
pub(crate) type Ended = Result<Exit, Stop>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let codes = [
            (Exit::Ok, 0),
            (Exit::Failure, 1),
            (Exit::Usage, 2),
            (Exit::NotAllowed, 3),
            (Exit::NotFound, 4),
            (Exit::Refused, 5),
            (Exit::Unreachable, 6),
            (Exit::DeliveryFailed, 7),
            (Exit::TimedOut, 8),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn statuses_have_their_code() {
        for (status, exit) in [
            (401, Exit::NotAllowed),
            (403, Exit::NotAllowed),
            (404, Exit::NotFound),
            (409, Exit::Refused),
            (412, Exit::Refused),
            (422, Exit::Refused),
            (429, Exit::Failure),
            (500, Exit::Failure),
            (503, Exit::Failure),
            (504, Exit::TimedOut),
        ] {
            assert_eq!(Exit::of_status(status), exit, "{status}");
        }
    }
}
