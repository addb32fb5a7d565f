//! What a node lacks: connections, how many it needs and whether it may have them; and commits that return.
//!
//! Whichever connection cannot be made, and whatever is not committed, it is said here: what waits for that says nothing of its own.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::seldom::Seldom;
use domain::store::StoreError;

use super::connection::Link;
use super::fault::Fault;
use crate::figures::Lasting;

/// How many connections a node makes at most: see `docs/scale.md`.
pub(super) const NEEDED: i64 = 18;

/// For how long a commit may wait before that is said: as long as whoever asked for something is left without an answer.
pub(super) const COMMITS_WITHIN: Duration = Duration::from_secs(30);

/// Whose connection a node cannot work without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// What is written goes through it.
    Writer,
    /// Leases are taken and renewed through it: without them nothing is sent.
    Leases,
}

/// What is lacking at an address.
#[derive(Debug, Default)]
pub(super) struct Lack {
    untold: Seldom,
    missing: Mutex<BTreeMap<Whose, String>>,
    uncommitted: Seldom,
    /// A beat by which leases are renewed, and those after it, while none of them is committed.
    pub(super) beating: Lasting,
}

impl Lack {
    /// A connection could not be made, since there are too many. Says so, unless it has a moment ago; whether it has said it now.
    pub(super) fn met(&self, said: &str) -> bool {
        if self.untold.happened(Instant::now()).is_none() {
            return false;
        }
        tracing::warn!(
            %said,
            "a connection to the database could not be made, and what needs it waits: a node needs up to {NEEDED}; raise the CONNECTION \
             LIMIT of its role or its database, or the server's max_connections"
        );
        true
    }

    /// How the making of a connection has ended that a node cannot work without. Any other fault than the lack of connections says
    /// nothing about that.
    pub(super) fn note<T>(&self, whose: Whose, made: &Result<T, Fault>) {
        if made.is_ok() {
            self.missing().remove(&whose);
        } else if let Err(Fault::Crowded(said)) = made {
            self.missing().insert(whose, said.clone());
        }
    }

    /// What the server has said of the connection that is missing, if it is this one.
    pub(super) fn of(&self, whose: Whose) -> Option<String> {
        self.missing().get(&whose).cloned()
    }

    /// The same of any without which a node cannot work.
    pub(super) fn any(&self) -> Option<String> {
        self.missing().values().next().cloned()
    }

    /// Whether what is `writing`, or a beat, has not been committed for so long. Says so, unless it has a moment ago.
    pub(super) fn is_stuck(&self, writing: Option<&Lasting>, within: Duration) -> bool {
        let stuck = writing.into_iter().chain([&self.beating]).any(|lasting| lasting.is_over(within));
        if stuck && self.uncommitted.happened(Instant::now()).is_some() {
            let fault = StoreError::Stuck;
            tracing::error!(%fault, "nothing is accepted, recorded or sent until the database commits what is written");
        }
        stuck
    }

    fn missing(&self) -> MutexGuard<'_, BTreeMap<Whose, String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps a node from having all connections that it needs, by the limits of its role, its database and the server; `None` if nothing
/// does. How many of them others have is not looked at.
pub(super) async fn limits(link: &Link) -> Result<Option<String>, Fault> {
    // Limits of roles and databases do not hold for superusers, and what is reserved is for them.
    let sql = "SELECT role.rolname::text, base.datname::text, NOT role.rolsuper, role.rolconnlimit, base.datconnlimit,
                      current_setting('max_connections')::integer,
                      current_setting('superuser_reserved_connections')::integer
                          + coalesce(current_setting('reserved_connections', true)::integer, 0)
               FROM pg_roles AS role, pg_database AS base
               WHERE role.rolname = session_user AND base.datname = current_database()";
    let Some(row) = link.row(sql, &[]).await? else { return Ok(None) };
    let (role, base, is_bound): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
    let number = |place: usize| i64::from(row.get::<_, i32>(place));
    let lacks = |number: i64| is_bound && (0..NEEDED).contains(&number);
    let server = number(5) - if is_bound { number(6) } else { 0 };
    let needs = format!("and a node needs up to {NEEDED}");
    Ok(if lacks(number(3)) {
        Some(format!(
            "the role {role} may have {} connections at a time, {needs}: ALTER ROLE … CONNECTION LIMIT raises that",
            number(3)
        ))
    } else if lacks(number(4)) {
        Some(format!(
            "the database {base} may have {} connections at a time, {needs}: ALTER DATABASE … CONNECTION LIMIT raises that",
            number(4)
        ))
    } else if server < NEEDED {
        Some(format!("the server has {server} connections for all, {needs}: raise its max_connections"))
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_said_once_in_a_while_and_known_until_it_is_there() {
        let lack = Lack::default();
        assert!(lack.met("too many connections"));
        assert!(!lack.met("too many connections"), "it was said a moment ago");
        let crowded = || Err::<(), _>(Fault::Crowded("too many connections".to_owned()));
        lack.note(Whose::Leases, &crowded());
        lack.note(Whose::Writer, &Err::<(), _>(Fault::Lost("it is gone".to_owned())));
        assert_eq!((lack.of(Whose::Writer), lack.any().as_deref()), (None, Some("too many connections")));
        lack.note(Whose::Writer, &Ok(()));
        assert!(lack.of(Whose::Leases).is_some(), "one is no other");
        lack.note(Whose::Leases, &Ok(()));
        assert_eq!(lack.any(), None);
    }

    #[test]
    fn what_is_not_committed_in_time_is_known_until_it_is() {
        let (lack, writing) = (Lack::default(), Lasting::default());
        let stuck = |within| lack.is_stuck(Some(&writing), within);
        assert!(!stuck(Duration::ZERO), "nothing is written");
        for lasting in [&writing, &lack.beating] {
            lasting.begin();
            assert!(stuck(Duration::ZERO) && !stuck(Duration::MAX));
            lasting.end();
            assert!(!stuck(Duration::ZERO));
        }
    }
}
