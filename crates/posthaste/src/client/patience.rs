//! Waiting for a server that is away: said once, and asked again at growing intervals, until it is back.

use std::time::Duration;

use crate::exit::Stop;
use crate::output::Console;

/// How long to wait before asking again; it doubles while the server is away.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(15);

/// What there is to say of a server that is away.
#[derive(Debug)]
pub(crate) enum Away {
    /// It has not been there yet, by this word of it: its address may be mistyped.
    NotYet(Stop),
    /// It was there.
    Lost,
}

impl Away {
    /// Says it.
    pub(crate) fn say(&self, console: &Console) {
        match self {
            Self::NotYet(stop) => {
                console.stop(stop);
                console.talk("Trying again until it is there; Ctrl-C ends that.");
            }
            Self::Lost => console.talk("The connection was lost; trying again."),
        }
    }
}

/// How a command that follows something waits for the server.
#[derive(Debug)]
pub(crate) struct Patience {
    reached: bool,
    away: bool,
    pause: Duration,
}

impl Patience {
    /// Before the first time that the server is asked.
    pub(crate) const fn new() -> Self {
        Self { reached: false, away: false, pause: AGAIN_FIRST }
    }

    /// The server has answered. Whether it had before.
    pub(crate) const fn reached(&mut self) -> bool {
        self.away = false;
        self.pause = AGAIN_FIRST;
        std::mem::replace(&mut self.reached, true)
    }

    /// It could not be asked; what to say of that, if it was not said already.
    ///
    /// # Errors
    /// `stop` itself, where waiting does not help: then this is the end.
    pub(crate) fn after(&mut self, stop: Stop) -> Result<Option<Away>, Stop> {
        // What once was there may come back as it was, whatever stands in its place now.
        if !(if self.reached { stop.exit.may_pass() } else { stop.may_pass() }) {
            return Err(stop);
        }
        let first = !std::mem::replace(&mut self.away, true);
        Ok(first.then_some(if self.reached { Away::Lost } else { Away::NotYet(stop) }))
    }

    /// Its answer has ended before it was to; what to say of that.
    pub(crate) const fn lost(&mut self) -> Option<Away> {
        if std::mem::replace(&mut self.away, true) { None } else { Some(Away::Lost) }
    }

    /// Waits until it is to be asked again.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(AGAIN_LAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn what_may_pass_is_said_once_and_waited_for() {
        let unreachable = || Stop::new(Exit::Unreachable, "no server");
        let mut patience = Patience::new();
        assert!(matches!(patience.after(unreachable()), Ok(Some(Away::NotYet(stop))) if stop == unreachable()));
        assert!(matches!(patience.after(Stop::failure("503")), Ok(None)));
        assert!(!patience.reached());
        assert!(matches!(patience.after(unreachable()), Ok(Some(Away::Lost))));
        assert!(patience.lost().is_none());
        assert!(patience.reached() && matches!(patience.lost(), Some(Away::Lost)));
    }

    #[test]
    fn what_stays_so_is_the_end() {
        for stop in [Stop::new(Exit::NotAllowed, "a key"), Stop::new(Exit::Unreachable, "no TLS").lasting()] {
            assert_eq!(Patience::new().after(stop.clone()).err(), Some(stop));
        }
        let mut patience = Patience::new();
        patience.reached();
        assert!(patience.after(Stop::new(Exit::NotAllowed, "a key")).is_err());
        assert!(patience.after(Stop::new(Exit::Unreachable, "no TLS").lasting()).is_ok(), "a proxy that starts again");
    }
}
