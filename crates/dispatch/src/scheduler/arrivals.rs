//! What other nodes have accepted for the shards that this one holds. They name it, and it is read by its name, since it may have been
//! sent or cancelled by the time that its name is heard. What they say may be lost: the disk is looked at as well, now and then, by
//! what has come due within the last moments.

use std::collections::HashSet;
use std::time::Duration;

use domain::attempt::Reason;
use domain::cluster::Arrival;
use domain::delivery::Due;
use domain::id::{DeliveryId, EventId};
use domain::time::Timestamp;

use super::planned::first_at_once;
use super::{Known, Output, Scheduler};
use crate::horizon::LoadDue;
use crate::lane::{Job, keeps_order};

/// What was accepted so short a time ago is named, and an ordinary look leaves it out: much of it is known, and being sent.
const NAMED_WITHIN: Duration = Duration::from_secs(1);
/// Looks take a tenth of the time at most: where much waits, each of them takes long.
const SHARE_OF_LOOKS: u32 = 10;
/// How far back a look goes, and how often there is one like it.
const LOOKED_BACK: Duration = Duration::from_secs(5);
const LOOKED_BACK_EVERY: Duration = Duration::from_millis(900);
/// How far a look in between goes back before the end of the last one: what is accepted meanwhile is on disk by then, but for what
/// commits slowly. With much under way, to go back further each time would be to read all of it again and again.
const OVERLAP: Duration = Duration::from_millis(250);
/// How far back a deep look goes, for what came late to the disk, and how often there is one.
const DEEP: Duration = Duration::from_secs(60);
const DEEP_EVERY: Duration = Duration::from_secs(15);
/// How often everything that is planned is read again: what came later still is found then.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(300);
/// How far the ids of events may lie apart that were accepted one after the other, by different nodes.
const APART: Duration = Duration::from_secs(30);
/// How many deliveries one load by their names brings at most.
const NAMED_AT_ONCE: usize = 1_000;
/// How long after a load by names the next one begins: with much under way, what is named meanwhile is gathered.
const GATHERED_FOR: Duration = Duration::from_millis(10);

/// The looks at what has arrived.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// When a look goes back for [`LOOKED_BACK`] again, and up to when the last one has looked.
    back_at: Timestamp,
    looked_until: Timestamp,
    deep_at: Timestamp,
    read_again_at: Timestamp,
    /// The number of the load under way, when the look began, and up to when it goes.
    loading: Option<(u64, Timestamp, Timestamp)>,
    /// A look is to be begun once the one under way has ended, but not before an instant; and whether it goes up to that.
    wanted: bool,
    up_to_now: bool,
    not_before: Timestamp,
    /// Deliveries that were recorded while the load was under way: what it brings of them is out of date.
    settled_meanwhile: HashSet<DeliveryId>,
    /// What was named and is not asked for yet.
    named: Vec<Arrival>,
    /// The number of the load of named ones under way, and what was recorded meanwhile.
    asking: Option<u64>,
    asked_at: Timestamp,
    settled_since_asked: HashSet<DeliveryId>,
}

impl Arrivals {
    /// When what was named is asked for.
    pub(super) fn ask_at(&self) -> Option<Timestamp> {
        (self.asking.is_none() && !self.named.is_empty()).then(|| self.asked_at.plus(GATHERED_FOR))
    }

    /// When a look is begun.
    pub(super) fn look_at(&self) -> Option<Timestamp> {
        (self.wanted && self.loading.is_none()).then_some(self.not_before)
    }

    /// Wants a look; `up_to_now` if it is for what was not named.
    pub(super) const fn want_look(&mut self, up_to_now: bool) {
        self.wanted = true;
        self.up_to_now |= up_to_now;
    }

    /// A webhook has become known, of which other nodes may have accepted something before.
    pub(super) const fn look_back(&mut self) {
        self.back_at = Timestamp(0);
        self.want_look(true);
    }

    /// The wall clock has stepped: the next look is a deep one.
    pub(super) const fn clock_stepped(&mut self) {
        (self.asked_at, self.not_before) = (Timestamp(0), Timestamp(0));
        (self.back_at, self.deep_at, self.read_again_at) = (Timestamp(0), Timestamp(0), Timestamp(1));
    }

    pub(super) fn settled(&mut self, delivery: DeliveryId) {
        if self.loading.is_some() {
            self.settled_meanwhile.insert(delivery);
        }
        if self.asking.is_some() {
            self.settled_since_asked.insert(delivery);
        }
    }
}

impl Scheduler {
    /// Wants a look for what has arrived; `up_to_now` if it is for what was not named.
    pub(super) fn want_look(&mut self, up_to_now: bool) {
        if let Some(parts) = &mut self.parts {
            parts.arrivals.want_look(up_to_now);
        }
    }

    /// Looks for what has arrived, if that is wanted, unless it is being done, or memory is full.
    pub(super) fn look_for_arrivals(&mut self, now: Timestamp) {
        let crowded = self.crowded();
        let Some(parts) = &mut self.parts else { return };
        if parts.arrivals.look_at().is_none_or(|at| at > now) {
            return;
        }
        parts.arrivals.wanted = false;
        if crowded || !parts.holds_any() {
            return;
        }
        let up_to_now = std::mem::take(&mut parts.arrivals.up_to_now);
        let until = if up_to_now { now } else { now.minus(NAMED_WITHIN) };
        let deep = parts.arrivals.deep_at <= now;
        if deep {
            parts.arrivals.deep_at = now.plus(DEEP_EVERY);
        }
        if parts.arrivals.read_again_at <= now {
            // At the first look everything has just been read, or is being read.
            let first = parts.arrivals.read_again_at == Timestamp(0);
            parts.arrivals.read_again_at = now.plus(READ_AGAIN_EVERY);
            if !first {
                self.horizon.start_over();
            }
        }
        let last = parts.arrivals.looked_until.min(now).minus(OVERLAP);
        let from = if deep || parts.arrivals.back_at <= now {
            parts.arrivals.back_at = now.plus(LOOKED_BACK_EVERY);
            // Where much waits, the last look may have been before that.
            if deep { now.minus(DEEP) } else { now.minus(LOOKED_BACK).min(last.max(now.minus(DEEP))) }
        } else {
            last
        };
        if from < until {
            self.load_arrivals((from, DeliveryId { event: EventId(0), place: 0 }), now, until);
        }
    }

    fn load_arrivals(&mut self, after: (Timestamp, DeliveryId), began: Timestamp, until: Timestamp) {
        let Some(parts) = &mut self.parts else { return };
        self.loads += 1;
        parts.arrivals.loading = Some((self.loads, began, until));
        parts.arrivals.settled_meanwhile.clear();
        // What is due at this very moment has come.
        let until = until.plus(Duration::from_micros(1));
        self.out.push(Output::LoadArrivals(LoadDue { after: Some(after), until, limit: self.bounds.due }));
    }

    /// A look has ended; `None` if it could not be done.
    pub(super) fn arrived(&mut self, now: Timestamp, rows: Option<Vec<Due>>) {
        let Some(arrivals) = self.parts.as_mut().map(|parts| &mut parts.arrivals) else { return };
        let Some((load, began, until)) = arrivals.loading.take() else { return };
        arrivals.not_before = now.plus((now.since(began) * (SHARE_OF_LOOKS - 1)).min(LOOKED_BACK));
        let settled = std::mem::take(&mut arrivals.settled_meanwhile);
        match &rows {
            Some(_) => arrivals.looked_until = until,
            // Nothing is known of this look: the next one goes back.
            None => arrivals.back_at = Timestamp(0),
        }
        let rows = rows.unwrap_or_default();
        let next = rows.last().filter(|_| rows.len() >= self.bounds.due).map(|last| (last.due_at, last.delivery));
        for due in rows.into_iter().filter(|due| !settled.contains(&due.delivery)) {
            self.take_in(now, due, load);
        }
        if let Some(after) = next.filter(|_| !self.crowded()) {
            self.load_arrivals(after, began, until);
        }
    }

    /// Other nodes have accepted these.
    pub(super) fn accepted_elsewhere(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            if !self.known.contains_key(&arrival.delivery) {
                self.name(arrival.webhook, arrival.delivery);
            }
        }
    }

    /// The row of a delivery is to be read that is known to have changed, or may be. Of a webhook that is not known yet, the look finds it that
    /// follows once it is.
    pub(super) fn name(&mut self, webhook: u32, delivery: DeliveryId) {
        let Some(account) = self.lanes.get(&webhook).map(|lane| lane.webhook.account) else { return };
        if self.lease(account, webhook).is_some()
            && let Some(parts) = &mut self.parts
        {
            parts.arrivals.named.push(Arrival { account, webhook, delivery });
        }
    }

    /// Asks for what was named, unless that is being done or was a moment ago.
    pub(super) fn ask_for_named(&mut self, now: Timestamp) {
        let crowded = self.crowded();
        let Some(arrivals) = self.parts.as_mut().map(|parts| &mut parts.arrivals) else { return };
        if crowded {
            // As what was accepted here and has no room: it is found on disk.
            arrivals.named.clear();
        }
        if arrivals.ask_at().is_none_or(|at| at > now) {
            return;
        }
        arrivals.asked_at = now;
        self.loads += 1;
        arrivals.asking = Some(self.loads);
        let most = arrivals.named.len().min(NAMED_AT_ONCE);
        self.out.push(Output::LoadNamed(arrivals.named.drain(..most).collect()));
    }

    /// A load of named deliveries has ended; `None` if it could not be done.
    pub(super) fn named(&mut self, now: Timestamp, rows: Option<Vec<Due>>) {
        let Some(arrivals) = self.parts.as_mut().map(|parts| &mut parts.arrivals) else { return };
        let Some(load) = arrivals.asking.take() else { return };
        let settled = std::mem::take(&mut arrivals.settled_since_asked);
        if rows.is_none() {
            // A look finds them.
            arrivals.back_at = Timestamp(0);
            arrivals.up_to_now = true;
        }
        for due in rows.into_iter().flatten().filter(|due| !settled.contains(&due.delivery)) {
            self.take_in(now, first_at_once(now, due), load);
        }
    }

    /// Takes in a row that a load has brought.
    fn take_in(&mut self, now: Timestamp, due: Due, load: u64) {
        if !self.read_since_held(due.webhook, load) || !self.is_news(now, &due) {
            return;
        }
        let in_order = self.lanes.get(&due.webhook).is_some_and(|lane| lane.ordered.is_some());
        if in_order && keeps_order(&due) {
            self.grown_in_order(now, due.webhook, due.delivery.event);
        } else {
            self.learn_of_loaded(now, Job::on_disk(due));
        }
    }

    /// Whether a row tells of something that memory does not know. A delivery that it knows may have been replayed on another
    /// node since.
    fn is_news(&mut self, now: Timestamp, due: &Due) -> bool {
        let replayed = due.reason == Reason::Replay;
        match self.known.get_mut(&due.delivery) {
            None => true,
            Some(Known::Recording { .. }) => false,
            Some(Known::Sending { due: sent, again, .. }) => {
                if replayed && sent != due && sent.attempts_made == due.attempts_made {
                    *again = Some(*due);
                }
                false
            }
            Some(Known::Planned(_) | Known::Waiting) => {
                if replayed {
                    self.drop_waiting(now, due.delivery, due.webhook);
                }
                replayed
            }
        }
    }

    /// A webhook with an order has a new row. Other nodes may have accepted older ones: it goes on only once the rows around it have
    /// been looked at.
    pub(super) fn grown_in_order(&mut self, now: Timestamp, webhook: u32, event: EventId) {
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            let earliest = EventId::first_at(super::facts::accepted_at(event).minus(APART).0.max(0));
            lane.grown(DeliveryId { event: earliest, place: 0 }, DeliveryId { event, place: 0 });
        }
        self.enqueue(now, webhook);
    }

    /// Whether what a load has brought of a webhook was read since its shard is held: what was read before may have been sent
    /// by another node since.
    pub(super) fn read_since_held(&self, webhook: u32, load: u64) -> bool {
        self.parts.is_none() || self.lanes.get(&webhook).is_some_and(|lane| lane.loads_before < load)
    }
}
