//! Sharing the work with other nodes, where everything is kept in a database.

use std::sync::Arc;

use dispatch::{Feed, Sharing};
use domain::cluster::{Arrival, Arrivals, Cluster};
use domain::directory::SharedDirectory;
use domain::id::DeliveryId;
use domain::shard::{Holdings, Shard, Terms};
use domain::store::Fact;
use store::postgres::{Identity, Leases};

use crate::chance;
use crate::exit::Stop;
use crate::keeping::Place;
use crate::settings::{BadSetting, Settings};

/// This node's part.
#[derive(Clone)]
pub(crate) struct Shared {
    holdings: Holdings,
    leases: Arc<Leases>,
}

impl Shared {
    /// This node's part, if its place is one that nodes share. `port` is where it listens: with its machine's name, that is what it is
    /// called.
    ///
    /// # Errors
    /// If the database's address cannot be used.
    pub(crate) fn of(place: &Place, settings: &Settings, port: u16, feed: &Feed) -> Result<Option<Self>, Stop> {
        let Place::Database(address) = place else { return Ok(None) };
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let machine = if machine.trim().is_empty() { "node" } else { machine.trim() };
        let identity = Identity {
            id: i64::from_le_bytes(chance::bytes()) & i64::MAX,
            name: format!("{machine}:{port}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (holdings, terms) = (Holdings::default(), Terms::for_deadline(settings.policy.timeout));
        let hears = feed.clone();
        let leases = Leases::new(address, identity, terms, holdings.clone(), move |hint| hears.hint(hint));
        let leases = leases.map_err(|error| BadSetting::new("database", error.to_string()))?;
        Ok(Some(Self { holdings, leases: Arc::new(leases) }))
    }

    /// The shards that this node holds.
    pub(crate) fn holdings(&self) -> Holdings {
        self.holdings.clone()
    }

    /// What all nodes share.
    pub(crate) fn cluster(&self) -> Arc<dyn Cluster> {
        self.leases.clone()
    }

    /// What the dispatcher shares the work through; it reads there what others have accepted.
    pub(crate) fn sharing(&self, arrivals: Arc<dyn Arrivals>) -> Sharing {
        Sharing { cluster: self.cluster(), arrivals, holdings: self.holdings() }
    }

    /// Tells the owners of what was accepted here, or is to be sent again, for webhooks of theirs.
    pub(crate) fn tell_owners(&self, facts: &[Fact], directory: &SharedDirectory) {
        let mut elsewhere = Vec::new();
        let mut tell = |account, webhook, delivery| {
            if self.holdings.epoch(Shard::of(account, webhook)).is_none() {
                elsewhere.push(Arrival { account, webhook, delivery });
            }
        };
        for fact in facts {
            match fact {
                Fact::Accepted { event, .. } => {
                    for (place, &webhook) in (0u16..).zip(&event.targets) {
                        tell(event.account, webhook, DeliveryId { event: event.id, place });
                    }
                }
                Fact::Replayed(due) => {
                    let account = directory.read().webhook_numbered(due.webhook).map(|webhook| webhook.account);
                    if let Some(account) = account {
                        tell(account, due.webhook, due.delivery);
                    }
                }
                Fact::Webhook(_)
                | Fact::Resumed { .. }
                | Fact::WebhookDeleted { .. }
                | Fact::BulkReplay(_)
                | Fact::Cancelled { .. }
                | Fact::Settled(_) => {}
            }
        }
        if !elsewhere.is_empty() {
            self.leases.tell_accepted(elsewhere);
        }
    }
}
