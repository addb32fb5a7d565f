//! The horizon: planned attempts of the next minutes are in memory, later ones on disk only.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use domain::delivery::Due;
use domain::id::{DeliveryId, EventId};
use domain::time::Timestamp;

use crate::lane::Job;

/// How far ahead planned attempts are kept in memory.
const AHEAD: Duration = Duration::from_secs(300);

/// Planned attempts in memory, and up to when they are complete.
#[derive(Debug, Default)]
pub(crate) struct Horizon {
    planned: BTreeMap<(Timestamp, DeliveryId), Job>,
    /// Every planned attempt before this instant is in memory, or will be brought by the load under way.
    covered: Timestamp,
    /// The last row that a load brought; the next load goes on after it.
    after: Option<(Timestamp, DeliveryId)>,
    /// The end of the load under way.
    loading: Option<Timestamp>,
    /// No load before this instant: the last one failed.
    not_before: Timestamp,
    settled_meanwhile: HashSet<DeliveryId>,
    /// The next load begins at the beginning.
    again: bool,
    beyond: Beyond,
}

/// The look at what is planned for later than anything can be: by a clock that was ahead.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// To be taken once what is due has been read.
    #[default]
    ToLook,
    Looking,
    /// To be gone on with after this row.
    After((Timestamp, DeliveryId)),
    Looked,
}

/// A load of planned attempts that the store is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadDue {
    /// From after this row on.
    pub after: Option<(Timestamp, DeliveryId)>,
    /// Only what is due before this instant.
    pub until: Timestamp,
    /// At most so many rows.
    pub limit: usize,
}

impl Horizon {
    /// What is due before this instant is brought by no load to come: it is due by now, or in memory, or was let go of. A load
    /// may have ended between two attempts that are planned for the same instant.
    pub(crate) fn until(&self, now: Timestamp) -> Timestamp {
        Timestamp(self.covered.max(now).0.saturating_add(1))
    }

    /// Keeps a planned attempt, if it lies within the horizon; returns whether it was kept.
    pub(crate) fn plan(&mut self, job: Job) -> bool {
        let within = job.due.due_at <= self.covered;
        if within {
            self.planned.insert((job.due.due_at, job.due.delivery), job);
        }
        within
    }

    /// Keeps an attempt until this instant, however far ahead that is.
    pub(crate) fn keep(&mut self, at: Timestamp, job: Job) {
        self.planned.insert((at, job.due.delivery), job);
    }

    /// Takes out the planned attempts of a webhook.
    pub(crate) fn take_of(&mut self, webhook: u32) -> Vec<Job> {
        self.planned.extract_if(.., |_, job| job.due.webhook == webhook).map(|(_, job)| job).collect()
    }

    /// Takes out the planned attempts of many webhooks.
    pub(crate) fn take_of_all(&mut self, webhooks: &HashSet<u32>) -> Vec<Job> {
        self.planned.extract_if(.., |_, job| webhooks.contains(&job.due.webhook)).map(|(_, job)| job).collect()
    }

    /// The disk has more than was read: it is read again from the beginning, once the load under way has ended.
    pub(crate) const fn start_over(&mut self) {
        self.again = self.loading.is_some();
        if !self.again {
            self.after = None;
            self.covered = Timestamp(0);
            self.beyond = Beyond::ToLook;
        }
    }

    /// Forgets a planned attempt.
    pub(crate) fn forget(&mut self, at: Timestamp, delivery: DeliveryId) -> Option<Job> {
        self.planned.remove(&(at, delivery))
    }

    /// The next planned attempt that has come due.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Job> {
        let first = self.planned.first_entry()?;
        if first.key().0 <= now { Some(first.remove()) } else { None }
    }

    /// When something is to be done next: an attempt comes due, or the horizon is to be moved on.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let load = self.loading.is_none().then(|| self.covered.minus(AHEAD / 2).max(self.not_before));
        self.next_planned().into_iter().chain(load).min()
    }

    /// When the next planned attempt comes due.
    pub(crate) fn next_planned(&self) -> Option<Timestamp> {
        self.planned.keys().next().map(|(at, _)| *at)
    }

    /// The load to ask for now, if one is needed and none is under way.
    pub(crate) fn load(&mut self, now: Timestamp, limit: usize) -> Option<LoadDue> {
        if self.loading.is_some() || self.covered.minus(AHEAD / 2).max(self.not_before) > now {
            return None;
        }
        let until = now.plus(AHEAD);
        self.loading = Some(until);
        self.covered = until;
        Some(LoadDue { after: self.after, until, limit })
    }

    /// Whether the load under way is one [`Self::load_beyond`].
    pub(crate) fn looks_beyond(&self) -> bool {
        self.loading.is_some() && self.beyond == Beyond::Looking
    }

    /// The load to ask for of what is planned for later than `furthest`, if it is to be asked for and there is nothing else to load.
    pub(crate) fn load_beyond(
        &mut self,
        now: Timestamp,
        furthest: impl FnOnce() -> Timestamp,
        limit: usize,
    ) -> Option<LoadDue> {
        if self.loading.is_some() || self.covered <= now {
            return None;
        }
        let after = match self.beyond {
            Beyond::ToLook => (furthest(), DeliveryId { event: EventId(0), place: 0 }),
            Beyond::After(row) => row,
            Beyond::Looking | Beyond::Looked => return None,
        };
        let until = Timestamp(i64::MAX);
        (self.loading, self.beyond) = (Some(until), Beyond::Looking);
        Some(LoadDue { after: Some(after), until, limit })
    }

    /// A load of at most `limit` rows has ended; returns what of it is up to date.
    pub(crate) fn loaded(&mut self, rows: Vec<Due>, limit: usize) -> Vec<Due> {
        if self.looks_beyond() {
            self.loading = None;
            self.beyond = match rows.last() {
                Some(last) if rows.len() >= limit => Beyond::After((last.due_at, last.delivery)),
                _ => Beyond::Looked,
            };
            return self.up_to_date(rows);
        }
        let Some(until) = self.loading.take() else { return Vec::new() };
        self.after = match rows.last() {
            Some(last) if rows.len() >= limit => Some((last.due_at, last.delivery)),
            _ => Some((until, DeliveryId { event: EventId(0), place: 0 })),
        };
        self.covered = self.after.map_or(until, |(at, _)| at);
        self.up_to_date(rows)
    }

    /// What of the rows of a load that has ended nothing has happened to meanwhile.
    fn up_to_date(&mut self, rows: Vec<Due>) -> Vec<Due> {
        if std::mem::take(&mut self.again) {
            self.start_over();
        }
        let settled = std::mem::take(&mut self.settled_meanwhile);
        rows.into_iter().filter(|row| !settled.contains(&row.delivery)).collect()
    }

    /// A load has failed: it is asked for again from `not_before` on.
    pub(crate) fn load_failed(&mut self, not_before: Timestamp) {
        if self.looks_beyond() {
            self.beyond = Beyond::ToLook;
        }
        self.loading = None;
        self.not_before = not_before;
        if std::mem::take(&mut self.again) {
            self.after = None;
        }
        self.covered = self.after.map_or(Timestamp(0), |(at, _)| at);
        self.settled_meanwhile.clear();
    }

    /// An attempt was recorded: what a load under way brings of its delivery may be out of date.
    pub(crate) fn settled(&mut self, delivery: DeliveryId) {
        if self.loading.is_some() {
            self.settled_meanwhile.insert(delivery);
        }
    }

    /// The wall clock has stepped by `micros`: what is planned keeps its distance from now.
    pub(crate) fn shift(&mut self, micros: i64) {
        let planned = std::mem::take(&mut self.planned);
        self.planned = planned
            .into_iter()
            .map(|((at, delivery), mut job)| {
                let shift = |at: Timestamp| Timestamp(at.0.saturating_add(micros));
                job.due.due_at = shift(job.due.due_at);
                ((shift(at), delivery), job)
            })
            .collect();
        if micros < 0 {
            // What was read ahead of now by the clock of before was read too far.
            self.start_over();
        }
    }
}
