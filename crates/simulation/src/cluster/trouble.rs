//! What goes wrong: nodes die, come, go and stand still; the store is away.

use std::sync::Arc;
use std::time::Duration;

use dispatch::leases::Leases;
use dispatch::scheduler::Scheduler;
use domain::endpoint_url::EndpointUrl;
use domain::event_filter::EventFilter;
use domain::key::Account;
use domain::secret::SigningSecret;
use domain::time::Timestamp;
use domain::webhook::Webhook;

use super::judge::{BALANCED_WITHIN, LEFT_WITHIN, SERVED_WITHIN};
use super::{Action, Message, Node, START, World};
use crate::ledger::Violation;
use crate::receiver::Mood;

/// The webhook of this number; ten to an account.
pub(super) fn webhook(number: u32) -> Webhook {
    let id = "account".parse().expect("an id");
    let mut account = Account::new(id, "Account".to_owned(), Timestamp(0));
    account.number = 1 + number / 10;
    let id = format!("wh_{number}").parse().expect("an id");
    let url = Arc::new(EndpointUrl::stored("https://example.com/hook").expect("a URL"));
    let (events, secret) = (EventFilter::stored(vec!["*".to_owned()]), SigningSecret::from_bytes(&[3; 32]));
    Webhook { number, ..Webhook::new(&account, id, url, events, secret, START) }
}

/// How a receiver is: most are well.
pub(super) fn mood(chance: &mut fastrand::Rng) -> Mood {
    match chance.u8(..10) {
        0 => Mood::Hanging,
        1 => Mood::Failing,
        2 => Mood::Flaky,
        _ => Mood::Well,
    }
}

impl World {
    pub(super) fn join(&mut self) -> Result<(), Violation> {
        self.made += 1;
        let number = self.made;
        let scheduler = Scheduler::new(Arc::clone(&self.policy), self.chance.u64(..), self.now);
        let node = Node {
            leases: Leases::new(self.terms, self.size.shards),
            scheduler: scheduler.sharing(self.size.shards),
            began: self.now,
            start_until: Duration::ZERO,
            stopped_until: None,
            inbox: Vec::new(),
            held: std::collections::BTreeMap::new(),
            to_record: Vec::new(),
            recording: 0,
            in_flight: std::collections::BTreeMap::new(),
            to_serve: Vec::new(),
            loading: false,
            load_again: false,
            went_on: Timestamp(0),
            tick: None,
            lease_tick: None,
            leaving: false,
        };
        self.nodes.insert(number, node);
        let within = self.some_time(Duration::from_secs(1));
        self.plan(within, Action::To(number, Message::Look));
        self.receive(number, Message::LeaseTick)
    }

    /// The next trouble.
    pub(super) fn trouble(&mut self) -> Result<(), Violation> {
        let within = self.some_time(self.size.trouble_every * 2);
        self.plan(within, Action::Trouble);
        let standing: Vec<u32> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.stopped_until.is_none() && !node.leaving)
            .map(|(n, _)| *n)
            .collect();
        let few = standing.len() <= usize::from(self.size.nodes).div_ceil(2);
        let some = standing.get(self.chance.usize(..standing.len().max(1))).copied();
        match (self.chance.u8(..10), some) {
            (0..3, Some(node)) if !few => self.die(node),
            (3..5, Some(node)) if !few => self.stop(node),
            (5, Some(node)) if !few => return self.leave(node),
            (6, _) if self.away_until.is_none() => self.go_away(),
            _ if standing.len() < usize::from(self.size.nodes) * 3 / 2 => {
                self.told.joins += 1;
                self.tell("a node comes");
                self.disturbed = self.now;
                self.plan(BALANCED_WITHIN, Action::Balanced { since: self.now });
                return self.join();
            }
            _ => {}
        }
        Ok(())
    }

    fn die(&mut self, number: u32) {
        let Some(node) = self.nodes.remove(&number) else { return };
        self.tell(format!("node {number} dies with {} in flight and {} shards", node.in_flight.len(), node.held.len()));
        self.told.deaths += 1;
        self.excused += node.in_flight.len();
        self.running.values_mut().for_each(|running| running.retain(|request| request.node != number));
        self.falls(number);
        self.plan(BALANCED_WITHIN + SERVED_WITHIN, Action::Balanced { since: self.now });
    }

    /// `SIGSTOP`, and `SIGCONT` some time later.
    fn stop(&mut self, number: u32) {
        let span = Duration::from_secs(5) + self.some_time(Duration::from_secs(50));
        let until = self.now.plus(span);
        let Some(node) = self.nodes.get_mut(&number) else { return };
        node.stopped_until = Some(until);
        let in_flight = node.in_flight.len();
        self.tell(format!("node {number} stands still for {span:?} with {in_flight} in flight"));
        self.told.stops += 1;
        self.plan(span, Action::Continue(number));
        if span > SERVED_WITHIN + Duration::from_secs(5) {
            self.falls(number);
        }
        self.disturbed = self.now;
    }

    fn falls(&mut self, number: u32) {
        self.fell.insert(number, self.now);
        self.plan(SERVED_WITHIN, Action::TakenOver { from: number, since: self.now });
        self.disturbed = self.now;
    }

    pub(super) fn go_on(&mut self, number: u32) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&number) else { return Ok(()) };
        node.stopped_until = None;
        node.went_on = self.now;
        let inbox = std::mem::take(&mut node.inbox);
        self.tell(format!("node {number} goes on"));
        self.disturbed = self.now;
        // What its timers would have said, and what has reached it, in any order.
        let first = if self.chance.bool() { Message::Tick } else { Message::LeaseTick };
        self.receive(number, first)?;
        for message in inbox {
            self.receive(number, message)?;
        }
        self.receive(number, Message::LeaseTick)?;
        self.receive(number, Message::Tick)
    }

    /// `SIGTERM`.
    fn leave(&mut self, number: u32) -> Result<(), Violation> {
        self.tell(format!("node {number} leaves"));
        self.told.leaves += 1;
        self.disturbed = self.now;
        self.plan(LEFT_WITHIN, Action::Left { node: number, since: self.now });
        self.plan(BALANCED_WITHIN, Action::Balanced { since: self.now });
        self.receive(number, Message::Leave)
    }

    fn go_away(&mut self) {
        let span = Duration::from_secs(1) + self.some_time(Duration::from_secs(60));
        self.tell(format!("the store is away for {span:?}"));
        self.told.outages += 1;
        self.away_until = Some(self.now.plus(span));
        self.disturbed = self.now;
        self.plan(span, Action::StoreIsBack);
    }

    /// Receivers and store are well, and every node that stands still goes on by itself.
    pub(super) fn heal(&mut self) {
        self.tell("everything heals");
        self.healed = true;
        self.moods.iter_mut().for_each(|mood| *mood = Mood::Well);
    }
}
