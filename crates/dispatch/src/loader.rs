//! Events that attempts need, loaded together: what is wanted while one load is under way goes into the next. Where many nodes
//! share the work, most of what one sends was accepted by another, and a load for each attempt would be most of the database's work.

use std::collections::HashMap;
use std::sync::Arc;

use domain::event::Event;
use domain::id::EventId;
use domain::store::Store;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// How many events one load brings at most.
const AT_ONCE: usize = 256;

/// An event that is wanted, and who waits for it.
struct Wanted {
    account: u32,
    event: EventId,
    answer: oneshot::Sender<Option<Arc<Event>>>,
}

/// Loads events. It ends once nobody can ask it any more.
pub(crate) struct Loader(UnboundedSender<Wanted>);

impl Loader {
    /// A loader on the present runtime.
    pub(crate) fn start(store: Arc<dyn Store>) -> Self {
        let (wanted, queue) = unbounded_channel();
        tokio::spawn(run(store, queue));
        Self(wanted)
    }

    /// An event of an account; `None` if there is none, or it could not be read.
    pub(crate) async fn load(&self, account: u32, event: EventId) -> Option<Arc<Event>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Wanted { account, event, answer }).ok()?;
        answered.await.ok().flatten()
    }
}

async fn run(store: Arc<dyn Store>, mut queue: UnboundedReceiver<Wanted>) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    while queue.recv_many(&mut batch, AT_ONCE).await > 0 {
        let mut ids: Vec<_> = batch.iter().map(|wanted| (wanted.account, wanted.event)).collect();
        ids.sort_unstable();
        // One event may go to many webhooks.
        ids.dedup();
        let events = store.load(ids).await.unwrap_or_else(|error| {
            tracing::error!(events = batch.len(), %error, "events to be sent could not be read");
            Vec::new()
        });
        let events: HashMap<_, _> = events.into_iter().map(|event| ((event.account, event.id), event)).collect();
        for Wanted { account, event, answer } in batch.drain(..) {
            // Whoever asked may have gone.
            let _ = answer.send(events.get(&(account, event)).cloned());
        }
    }
}
