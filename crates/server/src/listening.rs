//! What becomes of a webhook that is listened to (`posthaste listen`) when nobody listens: it is paused, so that what it
//! gets is held on disk, and goes on when somebody comes again. A temporary one is deleted when nobody does for a while.

use std::sync::Arc;
use std::time::Duration;

use domain::audit::By;
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::store::{Change, ChangeError, Store};
use domain::time::Clock;
use domain::webhook::{Held, Pause, PauseCause, Webhook};

use crate::carrier::{Carrier, Turn, is_carried};

/// How often a node that is one of many looks after the webhooks of its shards.
const LOOKED_AFTER_EVERY: Duration = Duration::from_secs(5);
/// For how long a temporary webhook waits for its command to come again.
const GRACE: Duration = Duration::from_secs(60);

/// What is needed for that.
#[derive(Clone)]
pub struct Listening {
    /// Where webhooks are kept.
    pub store: Arc<dyn Store>,
    /// The webhooks in memory.
    pub directory: SharedDirectory,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Knows who listens.
    pub carrier: Carrier,
}

impl Listening {
    /// After a start: nobody listens yet. Temporary webhooks wait as long as for a command whose connection was lost.
    ///
    /// # Errors
    /// When a webhook can not be paused.
    pub async fn begin(self) -> Result<(), ChangeError> {
        if self.carrier.is_of_many() {
            tokio::spawn(self.look_after());
            return Ok(());
        }
        let carried: Vec<Arc<Webhook>> =
            self.directory.read().webhooks().filter(|webhook| is_carried(&webhook.url)).cloned().collect();
        for webhook in &carried {
            self.pause(webhook.number).await?;
        }
        let temporary: Vec<_> = carried.into_iter().filter(|webhook| webhook.temporary).collect();
        if !temporary.is_empty() {
            tokio::spawn(async move {
                tokio::time::sleep(GRACE).await;
                for webhook in temporary {
                    let _alone = self.carrier.changing.lock().await;
                    if !self.carrier.was_attended(&webhook.url) {
                        self.delete(webhook.number, &webhook.url).await;
                    }
                }
            });
        }
        Ok(())
    }

    /// Of many nodes, each looks after the webhooks whose requests it sends: at it they are listened to, or nowhere. What another
    /// node has left is found so too.
    async fn look_after(self) {
        loop {
            tokio::time::sleep(LOOKED_AFTER_EVERY).await;
            let here = |webhook: &&Arc<Webhook>| is_carried(&webhook.url) && self.carrier.serves(webhook);
            let carried: Vec<Arc<Webhook>> = self.directory.read().webhooks().filter(here).cloned().collect();
            for webhook in carried {
                let _alone = self.carrier.changing.lock().await;
                if self.carrier.is_attended(&webhook.url) {
                    continue;
                }
                match &webhook.pause {
                    None => {
                        if let Err(error) = self.pause(webhook.number).await {
                            tracing::warn!(webhook = webhook.number, %error, "a webhook that nobody listens to could not be paused");
                        }
                    }
                    Some(pause) if webhook.temporary && pause.cause == PauseCause::NobodyListens => {
                        if self.clock.now().since(pause.since) >= GRACE {
                            self.delete(webhook.number, &webhook.url).await;
                        }
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Somebody listens: what was held meanwhile is sent, oldest first. A pause by a person stays.
    pub(crate) async fn come(&self, number: u32, by: By) -> Result<(), ChangeError> {
        let resume = |webhook: Webhook| Change::Resume { webhook: Box::new(webhook), held: Held::Deliver, rate: None };
        self.change(number, by, |webhook| {
            matches!(&webhook.pause, Some(pause) if pause.cause == PauseCause::NobodyListens).then(|| {
                let mut webhook = webhook.clone();
                (webhook.pause, webhook.failing_since) = (None, None);
                resume(webhook)
            })
        })
        .await
    }

    /// The one who listened has gone.
    pub(crate) async fn left(self, turn: Turn, number: u32, temporary: bool, url: Arc<EndpointUrl>) {
        {
            let _alone = self.carrier.changing.lock().await;
            if !self.carrier.is_left(&turn) {
                return;
            }
            if let Err(error) = self.pause(number).await {
                tracing::warn!(webhook = number, %error, "a webhook that nobody listens to could not be paused");
            }
        }
        if temporary {
            tokio::time::sleep(GRACE).await;
            let _alone = self.carrier.changing.lock().await;
            // Of many nodes, the one that sends its requests by now sees to it.
            if self.carrier.is_left(&turn) && !self.carrier.is_of_many() {
                self.delete(number, &url).await;
            }
        }
    }

    async fn pause(&self, number: u32) -> Result<(), ChangeError> {
        let pause = Pause { since: self.clock.now(), cause: PauseCause::NobodyListens };
        self.change(number, By::us(), |webhook| {
            webhook.pause.is_none().then(|| {
                let mut webhook = webhook.clone();
                webhook.pause = Some(pause.clone());
                Change::PutWebhook(Box::new(webhook))
            })
        })
        .await
    }

    /// Makes a change of a webhook's next version, if there is the webhook, and something to change.
    async fn change(&self, number: u32, by: By, make: impl Fn(&Webhook) -> Option<Change>) -> Result<(), ChangeError> {
        loop {
            let Some(mut next) = self.directory.read().webhook_numbered(number).map(|webhook| (**webhook).clone())
            else {
                return Ok(());
            };
            next.version += 1;
            let Some(change) = make(&next) else { return Ok(()) };
            match self.store.change(change, by.clone(), None).await {
                // Somebody changed it meanwhile: read it again.
                Err(ChangeError::Stale) => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }

    async fn delete(&self, number: u32, url: &EndpointUrl) {
        self.carrier.forget(url);
        if self.directory.read().webhook_numbered(number).is_none() {
            return;
        }
        match self.store.change(Change::DeleteWebhook(number), By::us(), None).await {
            Ok(_) => tracing::info!(webhook = number, "deleted a temporary webhook that nobody listens to"),
            Err(error) => tracing::warn!(webhook = number, %error, "a temporary webhook was left behind"),
        }
    }
}
