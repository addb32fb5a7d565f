//! Leases: which shards this node holds, and for how long. A state machine without I/O, as the scheduler is: what the
//! database has answered goes in, what to ask of it next and what to tell the scheduler comes out.
//!
//! Each node asks one thing, again and again, a **beat**: it says that it lives, renews what it holds, gives back what it has
//! wound down, and takes what is free, up to its share. Nobody decides for others. The shares of all nodes together are
//! exactly the shards, so a node that holds less than its share knows that another gives something up, or is dead.
//!
//! Time is the node's monotonic clock, as the span since it began. A lease counts from the moment at which the beat was sent
//! that renewed it, so it ends here before it ends in the database. A node that was stopped wakes up with leases that have ended:
//! it starts nothing until the database has said what it still holds. What nobody has taken meanwhile it goes on with, under
//! the same epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::cluster::{Beat, Seen};
use domain::shard::{Epoch, Lease, Shard, Terms};

#[cfg(test)]
mod tests;

/// How long after a beat that failed the next one comes, and after one that left the node below its share.
const SOON: Duration = Duration::from_secs(1);
/// How long after another node's lease has ended it is taken: their clocks are the database's, so this is for its own sake.
const AFTER_THE_END: Duration = Duration::from_millis(50);
/// A node that was told of a change of others does not ask more often than this.
const NUDGED_EVERY: Duration = Duration::from_millis(200);

/// Something has happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The database has answered a beat.
    Answered {
        /// The beat's number.
        beat: u64,
        /// What it has seen.
        seen: Seen,
    },
    /// A beat has failed, or has taken too long: nobody knows whether the database did it.
    Failed {
        /// The beat's number.
        beat: u64,
    },
    /// Nothing of these shards, which are wound down, is in flight, and everything that has ended is recorded.
    Quiet(Vec<Shard>),
    /// A hint: another node has come or has gone.
    Nudged,
    /// A hint: another node has given shards back.
    Freed,
    /// This node ends: everything is given back.
    Drain,
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Ask the database; [`Input::Answered`] or [`Input::Failed`] is expected.
    Beat(Beat),
    /// The scheduler has these shards from now on.
    Hold(Vec<Lease>),
    /// The scheduler has these shards no longer, whatever is in flight.
    LetGo(Vec<Shard>),
    /// The scheduler starts nothing more of these shards; [`Input::Quiet`] is expected of each.
    WindDown(Vec<Shard>),
    /// Attempts may be started before this instant of the node's monotonic clock, and not at it or after it.
    StartUntil(Duration),
    /// Everything is given back: the node may end.
    Left,
}

/// How a shard is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Its deliveries are sent.
    Served,
    /// What is in flight comes to its end.
    WoundDown,
    /// It is to be given back with the next beat.
    Quiet,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    number: u64,
    sent_at: Duration,
    want: u16,
    leaving: bool,
}

/// The leases of one node.
#[derive(Debug)]
pub struct Leases {
    terms: Terms,
    shards: u16,
    held: BTreeMap<Shard, (Epoch, How)>,
    /// How many shards this node should hold.
    share: u16,
    beats: u64,
    under_way: Option<UnderWay>,
    next_beat: Duration,
    /// When the last beat was sent that was answered.
    answered: Option<Duration>,
    /// Nothing is taken of others before this instant: after an outage of the database they come back too, and are not dead.
    patient_until: Duration,
    draining: bool,
    left: bool,
}

impl Leases {
    /// A node that holds nothing yet, of `shards` that there are.
    #[must_use]
    pub const fn new(terms: Terms, shards: u16) -> Self {
        Self {
            terms,
            shards,
            held: BTreeMap::new(),
            share: 0,
            beats: 0,
            under_way: None,
            next_beat: Duration::ZERO,
            answered: None,
            patient_until: Duration::ZERO,
            draining: false,
            left: false,
        }
    }

    /// When [`Input::Tick`] is due next; `None` while a beat is under way, and after the node has left.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        (self.under_way.is_none() && !self.left).then_some(self.next_beat)
    }

    /// How many shards are held, those that are wound down included.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes one thing that has happened, and says what is to be done about it.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Tick => {}
            Input::Answered { beat, seen } => self.answered(now, beat, seen, &mut out),
            Input::Failed { beat } => {
                if self.under_way.is_some_and(|under_way| under_way.number == beat) {
                    self.under_way = None;
                    self.next_beat = now + SOON;
                }
            }
            Input::Quiet(shards) => self.quiet(now, &shards, &mut out),
            Input::Freed if self.count() >= self.share => {}
            Input::Nudged | Input::Freed => self.sooner(self.answered.map_or(now, |at| now.max(at + NUDGED_EVERY))),
            Input::Drain => {
                self.draining = true;
                self.share = 0;
                self.next_beat = now;
                self.wind_down(&mut out);
            }
        }
        self.beat(now, &mut out);
        out
    }

    /// Asks the database, if it is time to.
    fn beat(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.under_way.is_some() || self.left || now < self.next_beat {
            return;
        }
        self.beats += 1;
        let patient = now < self.patient_until;
        let want = self.share;
        self.under_way = Some(UnderWay { number: self.beats, sent_at: now, want, leaving: self.draining });
        self.next_beat = now + self.terms.renewed_every;
        let quiet = self.held.iter().filter(|(_, (_, how))| *how == How::Quiet);
        let release = quiet.map(|(shard, (epoch, _))| Lease { shard: *shard, epoch: *epoch }).collect();
        out.push(Output::Beat(Beat { number: self.beats, want, patient, release, leaving: self.draining }));
    }

    fn answered(&mut self, now: Duration, beat: u64, seen: Seen, out: &mut Vec<Output>) {
        let Some(under_way) = self.under_way.filter(|under_way| under_way.number == beat) else { return };
        self.under_way = None;
        // For so long that others may have lost their leases in the same outage.
        let outage = self.terms.length.saturating_sub(self.terms.renewed_every);
        let away = self.answered.is_some_and(|last| under_way.sent_at >= last + outage);
        if away {
            self.patient_until = now + self.terms.renewed_every;
        }
        self.answered = Some(under_way.sent_at);
        self.learn(&seen.held, out);
        let until = under_way.sent_at + self.terms.length;
        out.push(Output::StartUntil(until.saturating_sub(self.terms.margin)));
        if self.draining {
            self.left = under_way.leaving && self.held.is_empty();
            if self.left {
                return out.push(Output::Left);
            }
            if !under_way.leaving {
                self.sooner(now);
            }
        } else {
            self.share = share(self.shards, seen.nodes, seen.place);
        }
        self.wind_down(out);
        if self.held.values().any(|(_, how)| *how == How::Quiet) {
            // What became quiet while this beat was under way.
            self.sooner(now);
        }
        if self.count() < self.share {
            // Asked for already, it was not to be had: somebody is about to give it up.
            let asked = under_way.want >= self.share;
            let at = if asked { now + SOON } else { now };
            self.sooner(at);
        }
        if let Some(end) = seen.next_end {
            self.sooner(now + end + AFTER_THE_END);
        }
    }

    /// Compares what is held here with what the database says.
    fn learn(&mut self, held: &[Lease], out: &mut Vec<Output>) {
        let theirs: BTreeMap<Shard, Epoch> = held.iter().map(|lease| (lease.shard, lease.epoch)).collect();
        let lost = self.held.extract_if(.., |shard, (epoch, _)| theirs.get(shard) != Some(epoch));
        // Of what is quiet the scheduler has let go already.
        let lost: Vec<_> = lost.filter(|(_, (_, how))| *how != How::Quiet).map(|(shard, _)| shard).collect();
        if !lost.is_empty() {
            out.push(Output::LetGo(lost));
        }
        let new: Vec<_> = held.iter().filter(|lease| !self.held.contains_key(&lease.shard)).copied().collect();
        self.held.extend(new.iter().map(|lease| (lease.shard, (lease.epoch, How::Served))));
        if !new.is_empty() {
            out.push(Output::Hold(new));
        }
    }

    /// Winds down what is held beyond the share.
    fn wind_down(&mut self, out: &mut Vec<Output>) {
        let served = self.held.values().filter(|(_, how)| *how == How::Served).count();
        let surplus = served.saturating_sub(self.share.into());
        let mut wound_down = Vec::with_capacity(surplus);
        for (shard, (_, how)) in self.held.iter_mut().rev().filter(|(_, (_, how))| *how == How::Served).take(surplus) {
            *how = How::WoundDown;
            wound_down.push(*shard);
        }
        if !wound_down.is_empty() {
            out.push(Output::WindDown(wound_down));
        }
    }

    fn quiet(&mut self, now: Duration, shards: &[Shard], out: &mut Vec<Output>) {
        let mut quiet = Vec::with_capacity(shards.len());
        for shard in shards {
            if let Some((_, how)) = self.held.get_mut(shard)
                && *how == How::WoundDown
            {
                *how = How::Quiet;
                quiet.push(*shard);
            }
        }
        if !quiet.is_empty() {
            out.push(Output::LetGo(quiet));
            self.sooner(now);
        }
    }

    fn count(&self) -> u16 {
        u16::try_from(self.held.len()).unwrap_or(u16::MAX)
    }

    fn sooner(&mut self, at: Duration) {
        self.next_beat = self.next_beat.min(at);
    }
}

/// How many of the shards belong to the node at this place of so many: all nodes' together are exactly the shards, and no
/// two differ by more than one.
#[must_use]
pub fn share(shards: u16, nodes: u16, place: u16) -> u16 {
    let nodes = nodes.max(1);
    shards / nodes + u16::from(place < shards % nodes)
}
