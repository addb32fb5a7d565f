//! What waits in the order of a webhook that asked for one: of each key one delivery at a time, oldest first.
//!
//! A delivery's place is its event's id: ids grow in the order of acceptance. The oldest unfinished delivery of a key is its
//! head; nothing else of the key is sent until the head has ended. The rows on disk are read once in the order of events;
//! what of a key has no room in memory behind its head stays on disk, and is read again from where it begins once the key
//! wants it. So one blocked key, however long its backlog, takes a bounded part of memory, and stops no other.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use domain::attempt::Reason;
use domain::id::{DeliveryId, EventId};
use domain::order::{Order, OrderKey};
use domain::time::Timestamp;

use crate::lane::Job;

/// The first of all places.
const FIRST: DeliveryId = DeliveryId { event: EventId(0), place: 0 };
/// The last of all places.
const LAST: DeliveryId = DeliveryId { event: EventId(u64::MAX), place: u16::MAX };

/// What of one key is known.
#[derive(Debug, Default)]
struct Queue {
    /// The delivery that the others wait for: ready, planned for later, or in flight.
    head: Option<DeliveryId>,
    /// What waits behind it in memory, oldest first.
    behind: VecDeque<Job>,
    /// Rows of the key from here on may be on disk only.
    left: Option<DeliveryId>,
    /// The second reading that has passed over a row of the key.
    passed_over: u32,
}

impl Queue {
    fn idle(&self) -> bool {
        self.head.is_none() && self.behind.is_empty() && self.left.is_none()
    }

    /// Whether the next of this key has to be read from disk.
    fn wants(&self) -> Option<DeliveryId> {
        let left = self.left.filter(|_| self.head.is_none())?;
        self.behind.front().is_none_or(|next| next.due.delivery > left).then_some(left)
    }
}

/// A second reading of rows that had no room.
#[derive(Debug, Clone, Copy)]
struct Reading {
    number: u32,
    from: DeliveryId,
    at: DeliveryId,
}

/// Something has come to the disk.
#[derive(Debug, Clone, Copy)]
struct Grown {
    /// From where on there may be rows that are older than it, and are not known either.
    from: DeliveryId,
    /// Its own place: what is older was known before it.
    to: DeliveryId,
}

/// The deliveries of a webhook in their order.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) order: Order,
    keys: HashMap<OrderKey, Queue>,
    heads: HashMap<DeliveryId, OrderKey>,
    /// Heads that may be started, oldest first: first attempts, and retries that have come due.
    first: BTreeMap<DeliveryId, Job>,
    retries: BTreeMap<DeliveryId, Job>,
    /// Where the pass over the rows on disk goes on; `None`: there is none, and none is needed.
    unseen: Option<DeliveryId>,
    /// Whether the pass has begun: what comes to the disk from now on may be missed by it.
    passing: bool,
    /// Rows from here on have not been looked at, those apart that the present pass has: nothing that is newer may be started. `None`: all
    /// have been.
    unsure: Option<DeliveryId>,
    /// What has come to the disk since the pass began, and may have been missed by it.
    grown: Option<Grown>,
    /// Keys with [`Queue::left`], and those of them that want it now.
    left: HashSet<OrderKey>,
    wanting: HashSet<OrderKey>,
    readings: u32,
    again: Option<Reading>,
    /// Whether the load under way is one of [`Self::again`].
    loading_again: bool,
    /// What is in flight from before the order was made or made anew: nothing starts until it has ended.
    pub(crate) barrier: HashSet<DeliveryId>,
    /// How many heads are planned for later.
    pub(crate) planned: usize,
    /// Whether more heads may be planned: if not, no first attempt starts.
    pub(crate) room: bool,
    /// How many jobs in [`Queue::behind`] came from disk.
    behind_from_disk: usize,
}

impl Ordered {
    pub(crate) fn new(order: Order) -> Self {
        Self {
            order,
            keys: HashMap::new(),
            heads: HashMap::new(),
            first: BTreeMap::new(),
            retries: BTreeMap::new(),
            unseen: Some(FIRST),
            passing: false,
            unsure: Some(FIRST),
            grown: None,
            left: HashSet::new(),
            wanting: HashSet::new(),
            readings: 0,
            again: None,
            loading_again: false,
            barrier: HashSet::new(),
            planned: 0,
            room: true,
            behind_from_disk: 0,
        }
    }

    /// Whether a delivery is the head of its key.
    pub(crate) fn is_head(&self, delivery: DeliveryId) -> bool {
        self.heads.contains_key(&delivery)
    }

    /// Whether something waits for its turn: heads are in flight or planned for later.
    pub(crate) fn waits_for_turn(&self) -> bool {
        !self.barrier.is_empty() || self.heads.len() > self.first.len() + self.retries.len()
    }

    /// The head that may be started next.
    pub(crate) fn next(&self) -> Option<&Job> {
        if !self.barrier.is_empty() {
            return None;
        }
        let limit = self.limit();
        let seen = |job: &&Job| limit.is_none_or(|limit| job.due.delivery < limit);
        let first = self.first.values().next().filter(|_| self.room).filter(seen);
        let retry = self.retries.values().next().filter(seen);
        match (first, retry) {
            (Some(first), Some(retry)) if first.due.delivery < retry.due.delivery => Some(first),
            (first, None) => first,
            (_, retry) => retry,
        }
    }

    /// Takes out what [`Self::next`] shows. It stays the head of its key.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        let id = self.next()?.due.delivery;
        self.first.remove(&id).or_else(|| self.retries.remove(&id))
    }

    /// Takes a delivery in behind those of its key that are older. Returns it if it is the key's head now: then it is to be
    /// planned, or [`Self::ready`].
    pub(crate) fn take(&mut self, key: OrderKey, job: Job) -> Option<Job> {
        let id = job.due.delivery;
        self.make_way(key, id);
        let queue = self.keys.entry(key).or_default();
        let next_in_memory = queue.behind.front().is_none_or(|next| id < next.due.delivery);
        if queue.head.is_none() && next_in_memory && queue.left.is_none_or(|left| id < left) {
            return Some(self.lead(key, job));
        }
        self.behind_from_disk += usize::from(job.event.is_none());
        let place = queue.behind.partition_point(|other| other.due.delivery < id);
        queue.behind.insert(place, job);
        None
    }

    /// A head that is newer than `id` steps back. It cannot have been started: rows are looked at in their order, and what is
    /// newer than those that have been is not started.
    fn make_way(&mut self, key: OrderKey, id: DeliveryId) {
        let Some(queue) = self.keys.get_mut(&key) else { return };
        if let Some(head) = queue.head.filter(|head| id < *head)
            && let Some(job) = self.first.remove(&head)
        {
            queue.head = None;
            self.heads.remove(&head);
            self.behind_from_disk += usize::from(job.event.is_none());
            queue.behind.push_front(job);
        }
    }

    /// Makes a delivery the head of its key.
    fn lead(&mut self, key: OrderKey, job: Job) -> Job {
        self.keys.entry(key).or_default().head = Some(job.due.delivery);
        self.heads.insert(job.due.delivery, key);
        self.wanting.remove(&key);
        job
    }

    /// What follows in a key without a head: the next in memory, if nothing older is on disk only.
    fn follow(&mut self, key: OrderKey, now: Timestamp) -> Option<Job> {
        let queue = self.keys.get_mut(&key)?;
        if queue.idle() {
            self.keys.remove(&key);
            return None;
        }
        if queue.wants().is_some() {
            self.wanting.insert(key);
            return None;
        }
        let mut job = queue.behind.pop_front()?;
        job.in_turn_since = now;
        self.behind_from_disk -= usize::from(job.event.is_none());
        Some(self.lead(key, job))
    }

    /// Rows of a key from here on may be on disk only.
    fn leave(&mut self, key: OrderKey, from: DeliveryId) {
        let queue = self.keys.entry(key).or_default();
        queue.left = Some(queue.left.map_or(from, |left| left.min(from)));
        self.left.insert(key);
        if queue.wants().is_some() {
            self.wanting.insert(key);
        }
    }

    /// A head may be started.
    pub(crate) fn ready(&mut self, job: Job) {
        let heads = if job.due.reason == Reason::First { &mut self.first } else { &mut self.retries };
        heads.insert(job.due.delivery, job);
    }

    /// A head has ended: returns the next of its key, if that is in memory.
    pub(crate) fn ended(&mut self, delivery: DeliveryId, now: Timestamp) -> Option<Job> {
        let key = self.heads.remove(&delivery)?;
        self.keys.get_mut(&key)?.head = None;
        self.follow(key, now)
    }

    /// Takes out a delivery that waits: a head that may be started, or one behind. A head [`Self::ended`] with it.
    pub(crate) fn forget(&mut self, delivery: DeliveryId) {
        if self.first.remove(&delivery).or_else(|| self.retries.remove(&delivery)).is_some() {
            return;
        }
        for queue in self.keys.values_mut() {
            if let Some(place) = queue.behind.iter().position(|job| job.due.delivery == delivery) {
                let job = queue.behind.remove(place);
                self.behind_from_disk -= usize::from(job.is_some_and(|job| job.event.is_none()));
                return;
            }
        }
    }

    /// A row came to the disk that memory does not know, at the place `to`; from `from` on there may be others that came before it.
    pub(crate) fn grown(&mut self, from: DeliveryId, to: DeliveryId) {
        self.unsure = Some(self.unsure.map_or(to, |unsure| unsure.min(to)));
        if self.passing {
            // The pass goes on: with much coming all the time it would else never come to its end.
            let grown = self.grown.unwrap_or(Grown { from, to });
            self.grown = Some(Grown { from: grown.from.min(from), to: grown.to.min(to) });
        } else {
            self.unseen = Some(self.unseen.map_or(from, |unseen| unseen.min(from)));
        }
    }

    /// Nothing from here on may be started: there may be something older that is not known. `None` where everything is known.
    fn limit(&self) -> Option<DeliveryId> {
        let looked_at = self.unsure.zip(self.unseen).map(|(unsure, unseen)| unsure.max(unseen));
        looked_at.into_iter().chain(self.grown.map(|grown| grown.to)).min()
    }

    /// Whether everything on disk is in memory too.
    pub(crate) fn all_in_memory(&self) -> bool {
        self.unseen.is_none() && self.left.is_empty()
    }

    /// Whether nothing from disk waits in memory to be started.
    pub(crate) fn none_from_disk(&self) -> bool {
        self.behind_from_disk == 0 && self.first.values().chain(self.retries.values()).all(|job| job.event.is_some())
    }

    /// From after which delivery rows are to be read now, if they are: `Some(None)` from the beginning. `low` is how many
    /// heads may wait while more is read.
    pub(crate) fn next_read(&mut self, low: usize) -> Option<Option<DeliveryId>> {
        if !self.barrier.is_empty() {
            return None;
        }
        let main = self.unseen.filter(|_| self.room && self.few_ready(low));
        let again = self.reading();
        self.again = again;
        // Both take turns.
        let from = match (again, main) {
            (Some(reading), main) if main.is_none() || !self.loading_again => {
                self.loading_again = true;
                reading.at
            }
            (_, Some(unseen)) => {
                self.loading_again = false;
                self.passing = true;
                unseen
            }
            (_, None) => return None,
        };
        Some(before(from))
    }

    fn few_ready(&self, low: usize) -> bool {
        let limit = self.limit().unwrap_or(LAST);
        self.first.range(..limit).chain(self.retries.range(..limit)).take(low).count() < low
    }

    /// The second reading to go on with: the present one while it can still bring what a key wants, else one from the
    /// beginning of what is wanted.
    fn reading(&mut self) -> Option<Reading> {
        let wants = |key| self.keys.get(key).and_then(|queue| Some((queue.wants()?, queue.passed_over)));
        let wanted: Vec<_> = self.wanting.iter().filter_map(wants).collect();
        let from = wanted.iter().map(|(left, _)| *left).min()?;
        let useful = |reading: &Reading| {
            wanted.iter().any(|(left, passed_over)| *left >= reading.from && *passed_over != reading.number)
        };
        self.again.filter(useful).or_else(|| {
            self.readings = self.readings.wrapping_add(1);
            Some(Reading { number: self.readings, from, at: from })
        })
    }

    /// What a load has brought, oldest first, up to the delivery `end`; to the end of all if that is `None`. Returns the new
    /// heads, and what waits behind. `known` tells what is in memory already, `room_behind` is how many jobs from disk may
    /// wait behind heads.
    pub(crate) fn read(
        &mut self,
        rows: Vec<(Job, OrderKey)>,
        end: Option<DeliveryId>,
        now: Timestamp,
        room_behind: usize,
        known: impl Fn(DeliveryId) -> bool,
    ) -> (Vec<Job>, Vec<DeliveryId>) {
        let (mut heads, mut behind) = (Vec::new(), Vec::new());
        let end = end.map(after);
        let again = self.again.filter(|_| self.loading_again);
        for (mut job, key) in rows {
            let id = job.due.delivery;
            if again.is_some() && self.limit().is_some_and(|limit| id >= limit) {
                break;
            }
            if known(id) || self.barrier.contains(&id) {
                continue;
            }
            let fits = self.behind_from_disk < room_behind;
            if again.is_none() {
                self.make_way(key, id);
            }
            let queue = self.keys.get_mut(&key);
            match again {
                Some(reading) => {
                    // What this reading did not see from its beginning is for the next.
                    let within = |queue: &&mut Queue| queue.left.is_some_and(|left| reading.from <= left && left <= id);
                    let Some(queue) = queue.filter(within) else { continue };
                    if queue.passed_over == reading.number || (queue.wants().is_none() && !fits) {
                        queue.passed_over = reading.number;
                        continue;
                    }
                    job.in_turn_since = now;
                    queue.left = Some(after(id));
                }
                None if queue.is_some_and(|queue| queue.left.is_some() || (queue.head.is_some() && !fits)) => {
                    self.leave(key, id);
                    continue;
                }
                None => {}
            }
            match self.take(key, job) {
                Some(head) => heads.push(head),
                None => {
                    behind.push(id);
                    if again.is_some() && self.keys.get(&key).is_some_and(|queue| queue.head.is_none()) {
                        // What is in memory already comes before it.
                        heads.extend(self.follow(key, now));
                    }
                }
            }
        }
        match again {
            Some(reading) => self.read_again(reading, end, now, &mut heads),
            None => self.pass_on(end),
        }
        (heads, behind)
    }

    /// The pass has come to `end`, or to its own end.
    fn pass_on(&mut self, end: Option<DeliveryId>) {
        match end {
            Some(end) => {
                self.unseen = Some(end);
                // What is not older than that is met by the pass as it goes on.
                self.grown = self.grown.filter(|grown| grown.from < end);
            }
            None => {
                let grown = self.grown.take();
                (self.unseen, self.unsure) = (grown.map(|grown| grown.from), grown.map(|grown| grown.to));
                self.passing = false;
            }
        }
    }

    /// A part of a second reading is done; at its end the keys of which nothing was passed over have nothing left on disk.
    fn read_again(&mut self, reading: Reading, end: Option<DeliveryId>, now: Timestamp, heads: &mut Vec<Job>) {
        let over = end.is_none_or(|end| self.limit().is_some_and(|limit| end >= limit));
        if let Some(at) = end.filter(|_| !over) {
            self.again = Some(Reading { at, ..reading });
            return;
        }
        self.again = None;
        let keys = &mut self.keys;
        let whole: Vec<OrderKey> = self
            .left
            .extract_if(|key| {
                let Some(queue) = keys.get_mut(key) else { return true };
                let whole = queue.passed_over != reading.number && queue.left.is_some_and(|left| left >= reading.from);
                queue.left = queue.left.filter(|_| !whole);
                whole
            })
            .collect();
        for key in whole {
            self.wanting.remove(&key);
            if self.keys.get(&key).is_some_and(|queue| queue.head.is_none()) {
                // It waited for rows that turned out to be none.
                heads.extend(self.follow(key, now));
            }
        }
    }

    /// Everything that waits in memory, oldest first, and the heads that are planned or in flight.
    pub(crate) fn dissolve(self) -> (Vec<Job>, Vec<DeliveryId>) {
        let mut jobs: Vec<Job> = self.first.into_values().chain(self.retries.into_values()).collect();
        let ready: HashSet<DeliveryId> = jobs.iter().map(|job| job.due.delivery).collect();
        jobs.extend(self.keys.into_values().flat_map(|queue| queue.behind));
        jobs.sort_by_key(|job| job.due.delivery);
        (jobs, self.heads.into_keys().filter(|id| !ready.contains(id)).collect())
    }

    /// The wall clock has stepped.
    pub(crate) fn shift(&mut self, shift: impl Fn(&mut Timestamp)) {
        let ready = self.first.values_mut().chain(self.retries.values_mut());
        for job in ready.chain(self.keys.values_mut().flat_map(|queue| &mut queue.behind)) {
            shift(&mut job.due.due_at);
        }
    }
}

/// The place just before one; `None` before the first.
const fn before(id: DeliveryId) -> Option<DeliveryId> {
    match (id.event.0, id.place) {
        (0, 0) => None,
        (event, 0) => Some(DeliveryId { event: EventId(event - 1), place: u16::MAX }),
        (_, place) => Some(DeliveryId { place: place - 1, ..id }),
    }
}

/// The place just after one.
const fn after(id: DeliveryId) -> DeliveryId {
    match id.place {
        u16::MAX => DeliveryId { event: EventId(id.event.0 + 1), place: 0 },
        place => DeliveryId { place: place + 1, ..id },
    }
}
