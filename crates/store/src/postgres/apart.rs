//! What the writer cannot write: events are refused, ends of attempts are kept and tried again. What was sent is known here alone, and would
//! be sent again if it were forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use domain::delivery::Settlement;

use super::fault::Fault;
use super::writer::Writer;
use crate::batch::Batch;

/// How long after ends of attempts could not be recorded they are tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long after the database has refused one end of an attempt it is tried again, at first and at most.
const ASIDE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// An end of an attempt that the database refuses to record, while it records others. Its delivery keeps its slot, and is not sent again
/// until it is recorded, or the process starts anew.
pub(super) struct SetAside {
    settlement: Arc<Settlement>,
    /// Whether it may have been recorded.
    again: bool,
    /// When it is tried next, and how long after that the next time.
    at: Instant,
    patience: Duration,
}

impl Writer {
    /// Writes each request's events, and each end of an attempt, in a transaction of its own.
    pub(super) async fn write_apart(&mut self, batch: Batch) -> Batch {
        let mut events = batch.events.into_iter();
        for (number, answer) in batch.accepts {
            let accepts = vec![(number, answer)];
            let mut one = Batch { events: events.by_ref().take(number).collect(), accepts, ..Batch::default() };
            let started = Instant::now();
            match self.transact(&mut one).await {
                Ok((answers, facts)) => {
                    self.committed(started, facts);
                    for (_, answer) in one.accepts {
                        let _ = answer.send(answers.clone());
                    }
                }
                Err(fault) => {
                    self.give_up(one, fault);
                }
            }
        }
        let mut left = Batch { settles: batch.settles, again: batch.again, ..Batch::default() };
        let mut settlements = batch.settlements.into_iter();
        while let Some(settlement) = settlements.next() {
            let mut one = Batch { settlements: vec![Arc::clone(&settlement)], again: left.again, ..Batch::default() };
            let started = Instant::now();
            match self.transact(&mut one).await {
                Ok((_, facts)) => self.committed(started, facts),
                Err(fault) if fault.is_lost() => {
                    left.again = true;
                    left.settlements.push(settlement);
                }
                // What was sent is known here alone: it would be sent again.
                Err(fault) if fault.is_for_all() => {
                    self.put_off(&fault);
                    left.settlements.push(settlement);
                    left.settlements.extend(settlements);
                    break;
                }
                Err(fault @ (Fault::Conflict(_) | Fault::Stale)) => {
                    self.put_off(&fault);
                    left.settlements.push(settlement);
                }
                // One bad row must not keep the others from being recorded; nor may it be sent over and over.
                Err(fault) => {
                    self.tell_aside(&settlement, &fault);
                    let (at, again) = (Instant::now() + ASIDE[0], one.again);
                    self.set_aside.push(SetAside { settlement, again, at, patience: ASIDE[0] });
                }
            }
        }
        self.count_aside();
        if left.settlements.is_empty() {
            for answer in left.settles.drain(..) {
                let _ = answer.send(Ok(()));
            }
        }
        left
    }

    /// Whether it is time to try some of what the database has refused again.
    pub(super) fn is_aside_due(&self) -> bool {
        let now = Instant::now();
        !self.set_aside.is_empty() && self.set_aside.iter().any(|aside| aside.at <= now)
    }

    /// Tries again to record what the database has refused, each for itself.
    pub(super) async fn try_aside(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.set_aside).into_iter().partition(|aside| aside.at <= now);
        self.set_aside = later;
        let due: Vec<SetAside> = due;
        for mut aside in due {
            let settlements = vec![Arc::clone(&aside.settlement)];
            let mut one = Batch { settlements, again: aside.again, ..Batch::default() };
            let started = Instant::now();
            match self.transact(&mut one).await {
                Ok((_, facts)) => self.committed(started, facts),
                Err(fault) => {
                    self.figures.writing.end();
                    aside.again = one.again;
                    if !fault.is_lost() {
                        self.tell_aside(&aside.settlement, &fault);
                        aside.patience = (aside.patience * 2).min(ASIDE[1]);
                    }
                    aside.at = Instant::now() + aside.patience;
                    self.set_aside.push(aside);
                }
            }
        }
        self.count_aside();
    }

    fn count_aside(&self) {
        self.figures.set_aside.store(self.set_aside.len(), Ordering::Relaxed);
    }

    /// Refuses the events of a batch; gives back the ends of attempts, which are tried again.
    pub(super) fn give_up(&mut self, batch: Batch, fault: Fault) -> Batch {
        if fault.is_lost() {
            // The next connection is waited for.
        } else if batch.settlements.is_empty() {
            self.tell(&fault);
        } else {
            self.put_off(&fault);
        }
        self.figures.refused_events.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
        batch.refuse_events(&fault.into())
    }

    /// Ends of attempts could not be recorded, and are kept: they are tried again in a while.
    fn put_off(&mut self, fault: &Fault) {
        self.tell(fault);
        self.retry_at = Instant::now() + RETRY;
        self.figures.block(fault.is_refusal().then(|| fault.to_string()));
    }

    /// Says that a transaction could not be made, now and then.
    fn tell(&mut self, fault: &Fault) {
        if self.untold.happened(Instant::now()).is_some() {
            tracing::error!(%fault, "a transaction could not be made; ends of attempts wait until one can");
        }
    }

    /// Says that an end of an attempt could not be recorded, now and then.
    fn tell_aside(&mut self, settlement: &Settlement, fault: &Fault) {
        if self.untold.happened(Instant::now()).is_some() {
            tracing::error!(
                delivery = %settlement.delivery,
                others = self.set_aside.len(),
                %fault,
                "an attempt's end could not be recorded: its delivery waits until it can"
            );
        }
    }
}
