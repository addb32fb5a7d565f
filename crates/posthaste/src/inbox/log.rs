//! What came to one box: the latest requests, and how often each delivery has come.

use std::collections::{HashMap, VecDeque};

use domain::time::Timestamp;
use serde::Serialize;

use crate::inbox::answer::{Answer, Reply};
use crate::inbox::verdict::Verdict;

/// How many requests are kept.
const REQUESTS_MAX: usize = 500;
/// How many deliveries are counted.
const DELIVERIES_MAX: usize = 10_000;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Received {
    /// Counts the box's requests, from 1.
    pub(super) number: u64,
    /// When it had come whole.
    pub(super) received_at: Timestamp,
    /// Its headers, in order; bytes that are no text are replaced.
    pub(super) headers: Vec<(String, String)>,
    /// Its body; bytes that are no text are replaced.
    pub(super) body: String,
    /// The event's type, as its header says.
    pub(super) event: Option<String>,
    /// The delivery's id, as its header says.
    pub(super) delivery: Option<String>,
    /// The attempt's number, as its header says.
    pub(super) attempt: Option<u16>,
    /// What the check of the signature found.
    pub(super) signature: Verdict,
    /// [`Verdict::said`].
    pub(super) signature_said: &'static str,
    /// The status that it was answered with; `None` for no answer.
    pub(super) answered: Option<u16>,
}

/// One box.
#[derive(Debug)]
pub(super) struct Log {
    answer: Answer,
    count: u64,
    requests: VecDeque<Received>,
    seen: HashMap<String, u32>,
    seen_in_order: VecDeque<String>,
}

impl Log {
    pub(super) fn new(answer: Answer) -> Self {
        let (seen, seen_in_order) = (HashMap::new(), VecDeque::new());
        Self { answer, count: 0, requests: VecDeque::new(), seen, seen_in_order }
    }

    pub(super) const fn answer(&self) -> Answer {
        self.answer
    }

    /// From now on it answers so, and every delivery counts as new.
    pub(super) fn switch(&mut self, answer: Answer) {
        self.answer = answer;
        self.seen.clear();
        self.seen_in_order.clear();
    }

    /// Keeps a request, and says what it is answered with.
    pub(super) fn take(&mut self, mut received: Received) -> Reply {
        self.count += 1;
        let reply = self.answer.reply(self.nth(received.delivery.as_deref().unwrap_or_default()));
        received.number = self.count;
        received.answered = reply.status;
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(received);
        reply
    }

    fn nth(&mut self, delivery: &str) -> u32 {
        if let Some(count) = self.seen.get_mut(delivery) {
            *count += 1;
            return *count;
        }
        if self.seen_in_order.len() == DELIVERIES_MAX
            && let Some(oldest) = self.seen_in_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.seen.insert(delivery.to_owned(), 1);
        self.seen_in_order.push_back(delivery.to_owned());
        1
    }

    /// How many requests have come.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The latest requests, newest first.
    pub(super) fn latest(&self, limit: usize) -> Vec<Received> {
        self.requests.iter().rev().take(limit).cloned().collect()
    }

    /// What was found of this attempt.
    pub(super) fn verdict(&self, delivery: &str, attempt: u16) -> Option<Verdict> {
        let is_it = |r: &&Received| r.attempt == Some(attempt) && r.delivery.as_deref() == Some(delivery);
        self.requests.iter().rev().find(is_it).map(|received| received.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(delivery: &str, attempt: u16) -> Received {
        Received {
            number: 0,
            received_at: Timestamp(0),
            headers: Vec::new(),
            body: String::new(),
            event: None,
            delivery: Some(delivery.to_owned()),
            attempt: Some(attempt),
            signature: Verdict::Verified,
            signature_said: Verdict::Verified.said(),
            answered: None,
        }
    }

    #[test]
    fn each_delivery_fails_twice_by_itself() {
        let mut log = Log::new(Answer::FailTwice);
        let mut status = |delivery, attempt| log.take(request(delivery, attempt)).status;
        assert_eq!(
            [status("a", 1), status("b", 1), status("a", 2), status("a", 3)],
            [Some(500), Some(500), Some(500), Some(200)]
        );
        assert_eq!(log.latest(1)[0].number, 4);
        log.switch(Answer::Hang);
        assert_eq!(log.take(request("a", 4)).status, None);
        assert_eq!(log.verdict("a", 3), Some(Verdict::Verified));
        assert_eq!(log.verdict("a", 5), None);
    }

    #[test]
    fn it_keeps_no_more_than_it_should() {
        let mut log = Log::new(Answer::Ok);
        for number in 0..DELIVERIES_MAX + 10 {
            log.take(request(&number.to_string(), 1));
        }
        assert_eq!(log.requests.len(), REQUESTS_MAX);
        assert_eq!(log.seen.len(), DELIVERIES_MAX);
        assert_eq!(log.seen_in_order.len(), DELIVERIES_MAX);
    }
}
