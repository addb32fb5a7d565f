//! How many files and connections the process may have open: every request in flight and every client takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More are never asked for.
const WANTED: u64 = 65_536;
/// What the store, the log and the listeners take, generously.
const OURS: u64 = 128;

/// Raises the limit as far as the system lets it, and warns if that is not far enough for `slots` requests in flight and as
/// many clients.
pub(crate) fn raise(slots: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` stands for no limit.
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    let mut allowed = current;
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => allowed = raised.current,
            Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
        }
    }
    let needed = OURS + 2 * u64::try_from(slots).unwrap_or(u64::MAX / 4);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "few files may be open: under load connections will fail; raise the hard limit"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_the_system_lets_it() {
        raise(1_024);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let most = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
        assert!(current.is_none_or(|current| current >= most), "{current:?} of {maximum:?}");
    }
}
