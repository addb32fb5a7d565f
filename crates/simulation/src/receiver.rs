//! Scripted receivers: what each answers, and when.

use std::time::Duration;

use domain::attempt::{Answer, ErrorCode, Failure, Outcome, Timing};

/// How a receiver behaves for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// 200 after a few milliseconds.
    Well,
    /// 500 at once.
    Failing,
    /// Never answers: the deadline ends it.
    Hanging,
    /// Nothing listens.
    Refusing,
    /// 429 with `Retry-After`.
    Busy,
    /// 410.
    Gone,
    /// Any of the others, by chance, at each request.
    Flaky,
}

impl Mood {
    const ALL: [Self; 7] =
        [Self::Well, Self::Failing, Self::Hanging, Self::Refusing, Self::Busy, Self::Gone, Self::Flaky];

    /// A mood by chance; a receiver that is well more often than not.
    pub(crate) fn any(chance: &mut fastrand::Rng) -> Self {
        if chance.u8(..10) < 5 { Self::Well } else { Self::ALL[chance.usize(..Self::ALL.len())] }
    }

    /// What a request comes to.
    pub(crate) fn answer(self, deadline: Duration, chance: &mut fastrand::Rng) -> Outcome {
        let ms = Duration::from_millis(1 + chance.u64(..80));
        match self {
            Self::Well => answer(200, ms, &[]),
            Self::Failing => answer(500, ms, &[]),
            Self::Hanging => failure(ErrorCode::ResponseTimeout, deadline),
            Self::Refusing => failure(ErrorCode::ConnectRefused, Duration::from_millis(1)),
            Self::Busy => answer(429, ms, &[("Retry-After", "45")]),
            Self::Gone => answer(410, ms, &[]),
            Self::Flaky => {
                let moods = [Self::Well, Self::Failing, Self::Hanging, Self::Refusing, Self::Busy];
                moods[chance.usize(..moods.len())].answer(deadline, chance)
            }
        }
    }
}

fn answer(status: u16, duration: Duration, headers: &[(&str, &str)]) -> Outcome {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Outcome {
        result: Ok(Answer { status, headers, body: Vec::new(), truncated: false }),
        remote_address: None,
        timing: Timing::default(),
        duration,
    }
}

fn failure(code: ErrorCode, duration: Duration) -> Outcome {
    Outcome {
        result: Err(Failure { code, detail: String::new() }),
        remote_address: None,
        timing: Timing::default(),
        duration,
    }
}
