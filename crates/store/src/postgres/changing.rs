//! Changes: each in a transaction of its own, after what others have changed is known.

use std::time::Instant;

use domain::audit::By;
use domain::store::{Change, ChangeError, Changed, Fact, Keep, StoreError};
use domain::webhook::Held;
use tokio::sync::oneshot;

use super::audit;
use super::cancelling::HeldUntil;
use super::fault::{Fault, Refusal};
use super::writer::{ATTEMPTS, Writer};

/// A pause that ends by cancelling: it does with the last of what it holds.
pub(super) struct Resuming {
    until: HeldUntil,
    asked: (Change, By, Option<Keep>),
    answer: oneshot::Sender<Result<Changed, ChangeError>>,
}

impl Writer {
    /// Makes a change, and answers.
    pub(super) async fn take_change(
        &mut self,
        asked: (Change, By, Option<Keep>),
        answer: oneshot::Sender<Result<Changed, ChangeError>>,
    ) {
        if matches!(&asked.0, Change::Resume { held: Held::Cancel, .. }) {
            let until = self.engine.held_until(self.clock.now());
            self.resuming.push_back(Resuming { until, asked, answer });
        } else {
            let told = self.change(asked).await;
            // Whoever asked may have gone.
            let _ = answer.send(told);
        }
    }

    async fn change(&mut self, (change, by, keep): (Change, By, Option<Keep>)) -> Result<Changed, ChangeError> {
        let started = Instant::now();
        for _ in 0..ATTEMPTS {
            self.connect().await.map_err(ChangeError::from)?;
            self.figures.writing.begin();
            let made = self.attempt_change(&change, &by, keep.as_ref()).await;
            let error = match made {
                Ok((changed, facts)) => {
                    self.committed(started, facts);
                    return Ok(changed);
                }
                Err(Refusal::ByRule(error)) => {
                    self.engine.rollback().await;
                    self.figures.writing.end();
                    return Err(error);
                }
                Err(Refusal::ByFault(fault)) => fault,
            };
            self.undo(&error).await;
            match error {
                Fault::Stale => self.poll().await,
                Fault::Conflict(_) => {}
                Fault::Taken(constraint) if constraint == audit::KEY => {}
                Fault::Taken(_) => return Err(ChangeError::Exists),
                Fault::Lost(_)
                | Fault::Crowded(_)
                | Fault::Damaged(_)
                | Fault::Full
                | Fault::NotPermitted(_)
                | Fault::NoDatabase(_)
                | Fault::NotLetIn(_)
                | Fault::NoTls(_)
                | Fault::Unfit(_)
                | Fault::Refused(_) => {
                    tracing::error!(fault = %error, "a change could not be made");
                    return Err(error.into());
                }
            }
        }
        self.figures.writing.end();
        Err(ChangeError::Store(StoreError::Busy))
    }

    async fn attempt_change(
        &mut self,
        change: &Change,
        by: &By,
        keep: Option<&Keep>,
    ) -> Result<(Changed, Vec<Fact>), Refusal> {
        // Others' changes first: a version that was raised since is met in the transaction.
        self.poll().await;
        self.engine.begin().await?;
        let changed = self.engine.change(self.clock.now(), change.clone(), by, keep).await?;
        Ok((changed, self.engine.commit().await?))
    }

    /// Cancels a bounded part of what a pause holds that is to end so; with the last of it, it ends.
    pub(super) async fn resume(&mut self) {
        let Some(Resuming { until, asked, answer }) = self.resuming.pop_front() else { return };
        let (mut more, at_once) = (false, self.engine.limits.cancelled_at_once);
        if let Change::Resume { webhook, .. } = &asked.0 {
            let stored = self.engine.shared.directory.read().webhook_numbered(webhook.number).cloned();
            // Else the resuming itself says why not.
            if stored.is_some_and(|stored| stored.pause.is_some() && stored.version + 1 == webhook.version) {
                let (now, of) = (self.clock.now(), (webhook.account, webhook.number));
                more = self
                    .apart(async |engine| Ok(engine.cancel_held_of(now, of, until, at_once).await? >= at_once))
                    .await
                    .unwrap_or(false);
            }
        }
        if more {
            self.resuming.push_front(Resuming { until, asked, answer });
            return;
        }
        self.engine.resuming = Some(until);
        let told = self.change(asked).await;
        self.engine.resuming = None;
        // Whoever asked may have gone.
        let _ = answer.send(told);
    }
}
