//! One node among many: the scheduler has the webhooks of the shards that its node holds, and no others.
//!
//! Where one process owns everything there is none of this: every webhook is in one shard that is held for good.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use domain::delivery::Settlement;
use domain::id::DeliveryId;
use domain::shard::{Epoch, Lease, Shard};
use domain::time::Timestamp;
use domain::webhook::Webhook;

use super::arrivals::Arrivals;
use super::{Known, Output, Ration, Scheduler};

/// The lease of all webhooks where one process owns everything.
const SOLE: Lease = Lease { shard: Shard(0), epoch: Epoch::SOLE };

/// The shards that are held.
#[derive(Debug)]
pub(super) struct Parts {
    /// How many there are in all.
    shards: u16,
    held: HashMap<Shard, Part>,
    /// Wound down, with nothing in flight any more; not said yet.
    quiet: Vec<Shard>,
    pub(super) arrivals: Arrivals,
}

impl Parts {
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// As if all that is held were held from now on.
    pub(super) fn held_since(&mut self, now: Timestamp) {
        self.held.values_mut().for_each(|part| part.since = now);
    }
}

#[derive(Debug)]
struct Part {
    epoch: Epoch,
    /// From when on it is held.
    since: Timestamp,
    /// How many deliveries are being sent or recorded.
    busy: usize,
    /// Nothing more is started.
    winding_down: bool,
}

impl Scheduler {
    /// The same as one of many: it has nothing before it is told that it holds shards, of so many that there are.
    #[must_use]
    pub fn sharing(mut self, shards: u16) -> Self {
        self.parts = Some(Parts { shards, held: HashMap::new(), quiet: Vec::new(), arrivals: Arrivals::default() });
        self
    }

    /// Whether attempts may start now. A node may not whose leases are about to end.
    pub const fn may_start(&mut self, may: bool) {
        self.still = !may;
    }

    /// The lease under which a webhook of this account is held, if it is.
    pub(super) fn lease(&self, account: u32, webhook: u32) -> Option<Lease> {
        let Some(parts) = &self.parts else { return Some(SOLE) };
        let shard = Shard::among(parts.shards, account, webhook);
        parts.held.get(&shard).map(|part| Lease { shard, epoch: part.epoch })
    }

    /// From when on the retries of a shard are made here: what has come due before was kept up by a process that was down.
    pub(super) fn here_since(&self, shard: Shard) -> Timestamp {
        let part = self.parts.as_ref().and_then(|parts| parts.held.get(&shard));
        part.map_or(self.started_at, |part| part.since)
    }

    /// Whether it is for this node to carry on the replays of an account: one node does.
    pub(super) fn replays_of(parts: Option<&Parts>, account: u32) -> bool {
        parts.is_none_or(|parts| parts.held.contains_key(&Shard::among(parts.shards, account, 0)))
    }

    /// A delivery is being sent, or recorded without having been sent.
    pub(super) fn begun(&mut self, lease: Lease) {
        if let Some(part) = self.part(lease) {
            part.busy += 1;
        }
    }

    /// It is recorded, or it is sent no more.
    pub(super) fn done(&mut self, lease: Lease) {
        if let Some(part) = self.part(lease) {
            part.busy = part.busy.saturating_sub(1);
            if part.winding_down && part.busy == 0 {
                self.said_quiet(lease.shard);
            }
        }
    }

    fn part(&mut self, lease: Lease) -> Option<&mut Part> {
        self.parts.as_mut()?.held.get_mut(&lease.shard).filter(|part| part.epoch == lease.epoch)
    }

    fn said_quiet(&mut self, shard: Shard) {
        self.parts.iter_mut().for_each(|parts| parts.quiet.push(shard));
    }

    /// Says which shards have come to rest.
    pub(super) fn come_to_rest(&mut self) {
        if let Some(parts) = &mut self.parts
            && !parts.quiet.is_empty()
        {
            self.out.push(Output::Quiet(std::mem::take(&mut parts.quiet)));
        }
    }

    /// This node holds shards from now on; `webhooks` are theirs. What is due of them is read from the disk.
    pub(super) fn hold(&mut self, now: Timestamp, leases: &[Lease], webhooks: Vec<Arc<Webhook>>) {
        self.let_go(&leases.iter().map(|lease| lease.shard).collect::<Vec<_>>());
        let Some(parts) = &mut self.parts else { return };
        for lease in leases {
            parts.held.insert(lease.shard, Part { epoch: lease.epoch, since: now, busy: 0, winding_down: false });
        }
        for webhook in webhooks {
            self.webhook_changed(now, webhook);
        }
        self.horizon.start_over();
    }

    /// Starts nothing more of these shards, and says so once nothing of them is in flight.
    pub(super) fn wind_down(&mut self, shards: &[Shard]) {
        let Some(parts) = &mut self.parts else { return };
        let mut wound_down = HashSet::with_capacity(shards.len());
        for shard in shards {
            if let Some(part) = parts.held.get_mut(shard)
                && !std::mem::replace(&mut part.winding_down, true)
            {
                wound_down.insert(*shard);
                if part.busy == 0 {
                    parts.quiet.push(*shard);
                }
            }
        }
        for webhook in self.webhooks_in(&wound_down) {
            self.leave_turns(webhook);
            if let Some(lane) = self.lanes.get_mut(&webhook) {
                lane.winding_down = true;
            }
        }
    }

    /// Forgets all that belongs to these shards: another node has them, or is about to. What is in flight comes to its end,
    /// and nothing is recorded of it.
    pub(super) fn let_go(&mut self, shards: &[Shard]) {
        let Some(parts) = &mut self.parts else { return };
        let gone: HashSet<Shard> = shards.iter().filter(|shard| parts.held.remove(shard).is_some()).copied().collect();
        if gone.is_empty() {
            return;
        }
        parts.quiet.retain(|shard| !gone.contains(shard));
        let webhooks: HashSet<u32> = self.webhooks_in(&gone).into_iter().collect();
        for webhook in &webhooks {
            self.leave_turns(*webhook);
            self.dissolve_order(*webhook);
            if let Some(mut lane) = self.lanes.remove(webhook) {
                let waiting: Vec<_> = lane.drain().into_iter().chain(lane.tests.drain(..)).collect();
                for job in waiting {
                    self.known.remove(&job.due.delivery);
                }
            }
        }
        for job in self.horizon.take_of_all(&webhooks) {
            self.known.remove(&job.due.delivery);
        }
        let lost = self.known.extract_if(|_, known| match known {
            Known::Sending { lease, .. } | Known::Recording { lease, .. } => gone.contains(&lease.shard),
            Known::Waiting | Known::Planned(_) => false,
        });
        for (_, known) in lost.collect::<Vec<_>>() {
            let slot = match known {
                Known::Sending { slot, .. } => Some(slot),
                Known::Recording { slot, .. } => {
                    self.unrecorded -= 1;
                    slot
                }
                Known::Waiting | Known::Planned(_) => None,
            };
            if let Some(slot) = slot {
                self.in_flight -= 1;
                if slot.ration == Ration::Failing {
                    self.failing_in_flight -= 1;
                }
            }
        }
    }

    fn webhooks_in(&self, shards: &HashSet<Shard>) -> Vec<u32> {
        let lanes = self.lanes.iter().filter(|(_, lane)| shards.contains(&lane.lease.shard));
        lanes.map(|(webhook, _)| *webhook).collect()
    }

    /// A delivery was recorded: what a load under way brings of it is out of date.
    pub(super) fn out_of_date(&mut self, delivery: DeliveryId) {
        self.horizon.settled(delivery);
        if let Some(parts) = &mut self.parts {
            parts.arrivals.settled(delivery);
        }
    }

    /// Whether an attempt that has ended is one that this scheduler waits for. Its shard may have been lost meanwhile.
    pub(super) fn waits_for(&self, delivery: DeliveryId, epoch: Epoch) -> bool {
        matches!(self.known.get(&delivery), Some(Known::Sending { lease, .. }) if lease.epoch == epoch)
    }

    /// Whether what was recorded concerns what is held now: not another node's, nor what this one held before.
    pub(super) fn concerns(&self, settlement: &Settlement) -> bool {
        let epoch = match self.known.get(&settlement.delivery) {
            Some(Known::Recording { lease, .. }) => Some(lease.epoch),
            Some(Known::Waiting | Known::Planned(_) | Known::Sending { .. }) | None => {
                self.lanes.get(&settlement.webhook).map(|lane| lane.lease.epoch)
            }
        };
        self.parts.is_none() || epoch == Some(settlement.epoch)
    }
}
