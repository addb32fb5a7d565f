//! Deliveries that a replay in bulk has handed over, as every store keeps them: which attempts are its own, and what came of
//! them.

use std::collections::HashMap;

use domain::attempt::{Attempt, ErrorCode, LoggedAttempt, Reason};
use domain::id::{DeliveryId, ReplayId};
use domain::replay::Standing;

use super::attempt;
use super::checksum::Checksum;
use super::delivery::error_number;

/// A delivery in a replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) delivery: DeliveryId,
    /// The replay's number.
    pub(crate) replay: u32,
    /// Attempts made before it was handed over.
    pub(crate) before: u16,
    pub(crate) standing: Standing,
    /// Its last error, unless it is delivered.
    pub(crate) error: Option<ErrorCode>,
}

impl Link {
    /// Whether nothing more will come of it.
    pub(crate) const fn ended(&self) -> bool {
        matches!(self.standing, Standing::Delivered | Standing::Failed | Standing::Cancelled)
    }

    /// The checksum of the row.
    pub(crate) fn sum(&self) -> Checksum {
        Checksum::of("replayed").numbers([
            self.delivery.event.0 as i64,
            self.delivery.place.into(),
            self.replay.into(),
            self.before.into(),
            standing_number(self.standing),
            self.error.map_or(0, error_number),
        ])
    }
}

/// The attempts of a delivery, each with the replay that it is part of: the first replay's attempt after a replay has
/// handed it over, and the retries that follow. `links` are in the order of the replays' numbers, `ids` name these.
pub(crate) fn part_of(
    id: DeliveryId,
    made: Vec<Attempt>,
    links: &[Link],
    ids: &HashMap<u32, ReplayId>,
) -> Vec<LoggedAttempt> {
    let mut links = links.iter().peekable();
    let mut present: Option<ReplayId> = None;
    let mut logged = Vec::with_capacity(made.len());
    for made in made {
        match made.reason {
            Reason::Replay => {
                let link = links.next_if(|link| link.before < made.number);
                present = link.and_then(|link| ids.get(&link.replay).cloned());
            }
            Reason::First | Reason::Test => present = None,
            Reason::Retry => {}
        }
        logged.push(attempt::logged(id, made, present.clone()));
    }
    logged
}

/// The numbers by which standings are stored: they never change.
pub(crate) const fn standing_number(standing: Standing) -> i64 {
    match standing {
        Standing::Waiting => 0,
        Standing::Delivered => 1,
        Standing::Retrying => 2,
        Standing::Failed => 3,
        Standing::Cancelled => 4,
    }
}

/// The standing that is stored as this number.
pub(crate) fn standing(number: i64) -> Option<Standing> {
    let all = [Standing::Waiting, Standing::Delivered, Standing::Retrying, Standing::Failed, Standing::Cancelled];
    all.into_iter().find(|standing| standing_number(*standing) == number)
}
