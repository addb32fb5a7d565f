//! How a run goes: what happens when, and what each node makes of it.

use std::sync::Arc;
use std::time::Duration;

use dispatch::build_request;
use dispatch::leases;
use dispatch::scheduler::{Ended, Input, Output, Start};
use domain::attempt::Reason;
use domain::cluster::Arrival;
use domain::delivery::Due;
use domain::event::Event;
use domain::id::{DeliveryId, EventId};
use domain::order::OrderKey;
use domain::shard::Lease;
use domain::store::Fact;
use domain::time::Timestamp;

use super::shared::Recorded;
use super::{Action, Message, Mutation, Request, START, World};
use crate::ledger::Violation;

/// For how long everything is well at the end: longer than the schedule, and than anything stands still.
const HEALED: Duration = Duration::from_secs(600);
/// How long a request to the store takes at most, each way, and how long until a lost one is given up.
const LATENCY: Duration = Duration::from_millis(20);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3);
/// How often a node looks for what others have accepted.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn play(&mut self) -> Result<(), Violation> {
        for _ in 0..self.size.nodes {
            self.join()?;
        }
        self.plan(Duration::from_secs(1), Action::Post);
        self.plan(Duration::from_secs(30), Action::Trouble);
        self.until(START.plus(self.size.trouble))?;
        self.heal();
        self.until(START.plus(self.size.trouble + HEALED))?;
        self.judge_the_end()
    }

    fn until(&mut self, end: Timestamp) -> Result<(), Violation> {
        while let Some((&(at, id), _)) = self.agenda.first_key_value() {
            if at > end {
                break;
            }
            let Some(action) = self.agenda.remove(&(at, id)) else { break };
            self.now = at;
            self.act(action)?;
        }
        self.now = end;
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Post if self.healed => Ok(()),
            Action::Trouble if self.healed => Ok(()),
            Action::Post => {
                self.post();
                Ok(())
            }
            Action::Trouble => self.trouble(),
            Action::To(node, message) => self.receive(node, message),
            Action::Ask(node, request) => {
                self.ask(node, request);
                Ok(())
            }
            Action::Continue(node) => self.go_on(node),
            Action::StoreIsBack => {
                self.away_until = None;
                self.disturbed = self.now;
                self.tell("the store is back");
                Ok(())
            }
            Action::TakenOver { from, since } => self.judge_the_take_over(from, since),
            Action::Balanced { since } => self.judge_the_balance(since),
            Action::Left { node, since } => self.judge_the_leave(node, since),
        }
    }

    /// Some node accepts an event.
    fn post(&mut self) {
        let within = self.some_time(self.size.event_every * 2);
        self.plan(within, Action::Post);
        let standing = self.nodes.iter().filter(|(_, node)| node.stopped_until.is_none() && !node.leaving);
        let standing: Vec<u32> = standing.map(|(number, _)| *number).collect();
        if self.away_until.is_some() || standing.is_empty() {
            return;
        }
        let node = standing[self.chance.usize(..standing.len())];
        let id = EventId::first_at(self.now.0).max(EventId(self.last_event.0 + 1));
        self.last_event = id;
        let targets: Vec<u32> = (0..self.chance.usize(1..4)).map(|_| self.chance.u32(..self.size.webhooks)).collect();
        let due = |(place, webhook): (u16, &u32)| Due {
            delivery: DeliveryId { event: id, place },
            webhook: *webhook,
            due_at: self.now,
            attempts_made: 0,
            retries_made: 0,
            reason: Reason::First,
        };
        let rows: Vec<_> = (0u16..).zip(&targets).map(|it| (self.shard(*it.1), due(it))).collect();
        let event = Arc::new(Event {
            id,
            account: 1,
            event_type: "alert.rule_created".into(),
            timestamp: self.now,
            data: "{}".to_owned().into(),
            targets,
            test: false,
            flagged: false,
            trace: None,
        });
        self.shared.accept(&event, &rows);
        let arrival = |(_, due): &(_, Due)| {
            let account = self.webhooks[due.webhook as usize].account;
            Arrival { account, webhook: due.webhook, delivery: due.delivery }
        };
        let arrivals: Vec<Arrival> = rows.iter().map(arrival).collect();
        self.acknowledged.push((id, rows.len()));
        let fact = Fact::Accepted { on_disk: vec![false; rows.len()], event };
        self.plan(Duration::ZERO, Action::To(node, Message::Fact(fact)));
        // Owners are told after the commit; what is said may be lost.
        let mut owners: Vec<u32> = rows.iter().filter_map(|(shard, _)| self.shared.row(*shard).owner).collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in owners.into_iter().filter(|owner| *owner != node) {
            let within = self.some_time(LOOKS_EVERY);
            match self.chance.u8(..4) {
                0 => self.plan(within, Action::To(owner, Message::Many)),
                1 | 2 => self.plan(within, Action::To(owner, Message::Accepted(arrivals.clone()))),
                _ => {}
            }
        }
    }

    /// Something reaches a node.
    pub(super) fn receive(&mut self, number: u32, message: Message) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        if node.stopped_until.is_some() {
            node.inbox.push(message);
            return Ok(());
        }
        match message {
            Message::Beaten { beat, seen: Some(seen) } => self.lease(number, leases::Input::Answered { beat, seen }),
            Message::Beaten { beat, seen: None } => self.lease(number, leases::Input::Failed { beat }),
            Message::Nudged { freed: true } => self.lease(number, leases::Input::Freed),
            Message::Nudged { freed: false } => self.lease(number, leases::Input::Nudged),
            Message::LeaseTick => {
                node.lease_tick = None;
                if self.mutation == Some(Mutation::NotRenewedUnderLoad) && node.scheduler.in_flight() > 0 {
                    self.plan(Duration::from_secs(1), Action::To(number, Message::LeaseTick));
                    return Ok(());
                }
                self.lease(number, leases::Input::Tick)
            }
            Message::Leave => {
                node.leaving = true;
                node.scheduler.drain();
                self.lease(number, leases::Input::Drain)
            }
            Message::Settled(facts) => self.settled(number, facts),
            Message::Due(rows) => {
                node.loading = false;
                if rows.is_some() && !std::mem::take(&mut node.load_again) {
                    let served = node.to_serve.drain(..).map(|died| self.now.since(died)).max();
                    self.told.slowest_take_over = self.told.slowest_take_over.max(served.unwrap_or_default());
                }
                self.advance(number, rows.map_or(Input::DueFailed, Input::Due))
            }
            Message::Arrivals(rows) => self.advance(number, Input::Arrivals(rows)),
            Message::Backlog { webhook, load, rows } => self.advance(number, Input::Backlog { webhook, load, rows }),
            Message::Ended(ended) => self.advance(number, Input::Ended(ended)),
            Message::Fact(fact) => self.advance(number, Input::Fact(fact)),
            Message::Tick => {
                node.tick = None;
                self.advance(number, Input::Tick)
            }
            Message::Named(rows) => self.advance(number, Input::Named(rows)),
            Message::Accepted(arrivals) => self.advance(number, Input::Accepted(arrivals)),
            Message::Many => self.advance(number, Input::ManyAccepted),
            Message::Look => {
                self.plan(LOOKS_EVERY, Action::To(number, Message::Look));
                self.advance(number, Input::LookForArrivals)
            }
        }
    }

    fn settled(&mut self, number: u32, facts: Option<Vec<Fact>>) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        let Some(facts) = facts else {
            let again = Request::Settle(node.to_record[..node.recording].to_vec());
            self.plan(Duration::from_secs(1), Action::Ask(number, again));
            return Ok(());
        };
        node.to_record.drain(..node.recording);
        node.recording = 0;
        for fact in facts {
            if let Fact::Settled(settlement) = &fact
                && let Some(node) = self.nodes.get_mut(&number)
            {
                node.in_flight.remove(&settlement.delivery);
            }
            self.advance(number, Input::Fact(fact))?;
        }
        self.record(number);
        Ok(())
    }

    /// Sends what has ended to be recorded, unless that is being done.
    fn record(&mut self, number: u32) {
        let Some(node) = self.nodes.get_mut(&number).filter(|node| node.recording == 0) else { return };
        if !node.to_record.is_empty() {
            node.recording = node.to_record.len();
            let request = Request::Settle(node.to_record.clone());
            self.request(number, request);
        }
    }

    fn request(&mut self, number: u32, request: Request) {
        let within = self.some_time(LATENCY);
        self.plan(within, Action::Ask(number, request));
    }

    /// A request reaches the store; it may be away, and a connection may be lost before the request or after it.
    fn ask(&mut self, number: u32, request: Request) {
        let Some(node) = self.nodes.get(&number) else { return };
        let lost = !self.healed && self.chance.u32(..700 * u32::from(self.size.nodes)) == 0;
        let away = self.away_until.is_some();
        let undone = away || (lost && self.chance.bool());
        let (done, answered) = (!undone, !undone && !lost);
        if !answered {
            self.store_failed = self.now;
        }
        let holds = |shard| node.held.contains_key(&shard);
        let message = match request {
            Request::Beat(beat) => {
                let seen = done.then(|| self.shared.beat(self.now, number, &beat));
                self.taken_over(number);
                if done && (beat.number == 1 || beat.leaving) {
                    self.nudge(number, false);
                } else if done && !beat.release.is_empty() {
                    self.nudge(number, true);
                }
                Message::Beaten { beat: beat.number, seen: seen.filter(|_| answered) }
            }
            Request::Settle(settlements) => {
                let mut facts = Vec::new();
                for settlement in settlements.into_iter().filter(|_| done) {
                    let shard = self.shard(settlement.webhook);
                    if let Recorded::Yes = self.shared.settle(shard, &settlement) {
                        facts.push(Fact::Settled(Arc::new(settlement)));
                    }
                }
                Message::Settled(answered.then_some(facts))
            }
            Request::Due(load) => {
                let rows = answered.then(|| self.shared.due(holds, load.after, load.until, load.limit));
                Message::Due(rows)
            }
            Request::Arrivals(load) => {
                let rows = answered.then(|| self.shared.due(holds, load.after, load.until, load.limit));
                Message::Arrivals(rows)
            }
            Request::Named(arrivals) => {
                let unfinished = |arrival: &Arrival| self.shared.unfinished(arrival.delivery);
                Message::Named(answered.then(|| arrivals.iter().filter_map(unfinished).collect()))
            }
            Request::Backlog { webhook, load, after, until, limit } => {
                let rows = answered.then(|| self.shared.backlog(webhook, after, until, limit));
                let rows = rows.map(|rows| rows.into_iter().map(|due| (due, OrderKey::NONE)).collect());
                Message::Backlog { webhook, load, rows }
            }
        };
        let within = self.some_time(if answered { LATENCY } else { GIVEN_UP_AFTER });
        self.plan(within, Action::To(number, message));
    }

    /// Tells the other nodes that one has come or gone, or that shards are free; it may be lost.
    fn nudge(&mut self, by: u32, freed: bool) {
        let others: Vec<u32> = self.nodes.keys().copied().filter(|other| *other != by).collect();
        for other in others {
            if self.chance.u8(..10) > 0 {
                let within = self.some_time(LATENCY);
                self.plan(within, Action::To(other, Message::Nudged { freed }));
            }
        }
    }

    /// Remembers of what was just taken since when nobody had served it.
    fn taken_over(&mut self, number: u32) {
        for from in std::mem::take(&mut self.shared.taken_from) {
            let Some(fell) = self.fell.get(&from).copied() else { continue };
            let (dead, quiet) = (!self.nodes.contains_key(&from), self.quiet_since(fell));
            if let Some(node) = self.nodes.get_mut(&number)
                && dead
                && quiet
            {
                node.to_serve.push(fell);
            }
        }
    }

    fn lease(&mut self, number: u32, input: leases::Input) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        let answered = matches!(input, leases::Input::Answered { .. });
        for output in node.leases.step(node.steady(self.now), input) {
            match output {
                leases::Output::Beat(beat) => self.request(number, Request::Beat(beat)),
                leases::Output::Hold(leases) => self.hold(number, leases)?,
                leases::Output::LetGo(shards) => {
                    let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
                    node.held.retain(|shard, _| !shards.contains(shard));
                    let went_on = node.went_on;
                    if answered {
                        self.judge_the_loss(number, &shards, went_on)?;
                        self.tell(format!("node {number} has lost {} shards", shards.len()));
                    }
                    self.excuse(number, &shards);
                    self.advance(number, Input::LetGo(shards))?;
                }
                leases::Output::WindDown(shards) => self.advance(number, Input::WindDown(shards))?,
                leases::Output::StartUntil(at) => {
                    if let Some(node) = self.nodes.get_mut(&number) {
                        node.start_until = at;
                    }
                    self.advance(number, Input::Tick)?;
                }
                leases::Output::Left => {
                    self.tell(format!("node {number} has left"));
                    self.nodes.remove(&number);
                }
            }
        }
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        if let Some(at) = node.leases.wake_at().map(|at| node.began.plus(at).max(self.now))
            && node.lease_tick.is_none_or(|planned| at < planned)
        {
            node.lease_tick = Some(at);
            self.plan(at.since(self.now), Action::To(number, Message::LeaseTick));
        }
        Ok(())
    }

    fn hold(&mut self, number: u32, leases: Vec<Lease>) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        node.held.extend(leases.iter().map(|lease| (lease.shard, lease.epoch)));
        node.load_again = node.loading;
        let numbers = leases.iter().filter_map(|lease| self.in_shard.get(&lease.shard)).flatten();
        let webhooks = numbers.map(|number| Arc::clone(&self.webhooks[*number as usize])).collect();
        self.advance(number, Input::Hold { leases, webhooks })
    }

    /// What was in flight of a lost shard may be made again by its next owner.
    fn excuse(&mut self, number: u32, shards: &[domain::shard::Shard]) {
        let lost: Vec<DeliveryId> = self.nodes.get(&number).map_or_else(Vec::new, |node| {
            let lost = node.in_flight.iter().filter(|(_, webhook)| shards.contains(&self.shard(**webhook)));
            lost.map(|(delivery, _)| *delivery).collect()
        });
        self.excused += lost.len();
        if let Some(node) = self.nodes.get_mut(&number) {
            node.in_flight.retain(|delivery, _| !lost.contains(delivery));
        }
    }

    fn advance(&mut self, number: u32, input: Input) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        let unnoticed = self.mutation == Some(Mutation::StopUnnoticed);
        node.scheduler.may_start(node.steady(self.now) < node.start_until || unnoticed);
        for output in node.scheduler.step(self.now, input) {
            match output {
                Output::Start(start) => self.start(number, start)?,
                Output::Settle(settlement) => {
                    self.nodes.entry(number).and_modify(|node| node.to_record.push(*settlement));
                    self.record(number);
                }
                Output::LoadDue(load) => {
                    self.nodes.entry(number).and_modify(|node| node.loading = true);
                    self.request(number, Request::Due(load));
                }
                Output::LoadArrivals(load) => self.request(number, Request::Arrivals(load)),
                Output::LoadNamed(arrivals) => self.request(number, Request::Named(arrivals)),
                Output::LoadBacklog { webhook, load, after, until, limit, .. } => {
                    self.request(number, Request::Backlog { webhook, load, after, until, limit });
                }
                Output::Quiet(shards) => self.lease(number, leases::Input::Quiet(shards))?,
                Output::Dropped(_)
                | Output::Pause { .. }
                | Output::HandOver { .. }
                | Output::PauseReplay { .. }
                | Output::HeldSent { .. }
                | Output::LeaveAlone { .. }
                | Output::Failing { .. } => {}
            }
        }
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        if let Some(at) = node.scheduler.wake_at().map(|at| at.max(self.now))
            && node.tick.is_none_or(|planned| at < planned)
        {
            node.tick = Some(at);
            self.plan(at.since(self.now), Action::To(number, Message::Tick));
        }
        Ok(())
    }

    fn start(&mut self, number: u32, start: Start) -> Result<(), Violation> {
        let (delivery, webhook) = (start.due.delivery, start.due.webhook);
        let event = start.event.clone().or_else(|| self.shared.events.get(&delivery.event).cloned());
        let Some(event) = event else { return Err(Violation(format!("I1: the event of {delivery} is gone"))) };
        let (outgoing, request) = build_request(&self.policy, &start, &event, self.now);
        let outcome = self.moods[webhook as usize].answer(outgoing.timeout, &mut self.chance);
        self.judge_the_start(number, &start, outcome.duration)?;
        self.told.requests += 1;
        if !self.started.insert((delivery, start.number())) {
            self.told.repeats += 1;
        }
        self.nodes.entry(number).and_modify(|node| node.in_flight.extend([(delivery, webhook)]));
        let took = outcome.duration;
        let ended = Ended { delivery, request, started_at: self.now, outcome, epoch: start.epoch };
        self.plan(took, Action::To(number, Message::Ended(Box::new(ended))));
        Ok(())
    }
}
