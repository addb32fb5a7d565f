//! Events that attempts need, loaded together: what is wanted while one load is under way goes into the next. Where many nodes
//! share the work, most of what one sends was accepted by another, and a load for each attempt would be most of the database's work.

use std::collections::HashMap;
use std::sync::Arc;

use domain::event::Event;
use domain::id::EventId;
use domain::store::{Store, StoreError};
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
        let load = move |ids| {
            let store = Arc::clone(&store);
            async move { store.load(ids).await }
        };
        tokio::spawn(run(load, queue));
        Self(wanted)
    }

    /// An event of an account; `None` if there is none, or it could not be read.
    pub(crate) async fn load(&self, account: u32, event: EventId) -> Option<Arc<Event>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Wanted { account, event, answer }).ok()?;
        answered.await.ok().flatten()
    }
}

async fn run<L>(load: impl Fn(Vec<(u32, EventId)>) -> L, mut queue: UnboundedReceiver<Wanted>)
where
    L: Future<Output = Result<Vec<Arc<Event>>, StoreError>>,
{
    let mut batch = Vec::with_capacity(AT_ONCE);
    while queue.recv_many(&mut batch, AT_ONCE).await > 0 {
        let mut ids: Vec<_> = batch.iter().map(|wanted| (wanted.account, wanted.event)).collect();
        ids.sort_unstable();
        // One event may go to many webhooks.
        ids.dedup();
        let events = load(ids).await.unwrap_or_else(|error| {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use domain::time::Timestamp;

    use super::*;

    fn event(account: u32, id: u64) -> Arc<Event> {
        Arc::new(Event {
            id: EventId(id),
            account,
            event_type: "alert.rule_created".into(),
            timestamp: Timestamp(1),
            data: b"{}".as_slice().into(),
            targets: vec![1],
            test: false,
            flagged: false,
            trace: None,
        })
    }

    #[tokio::test]
    async fn what_is_wanted_meanwhile_is_loaded_together_and_each_event_once() {
        let (wanted, queue) = unbounded_channel();
        let asked = Arc::<Mutex<Vec<Vec<(u32, EventId)>>>>::default();
        let (asks, (go, goes)) = (Arc::clone(&asked), unbounded_channel::<()>());
        let goes = Arc::new(tokio::sync::Mutex::new(goes));
        let load = move |ids: Vec<(u32, EventId)>| {
            asks.lock().expect("nobody panics").push(ids.clone());
            let goes = Arc::clone(&goes);
            async move {
                goes.lock().await.recv().await.expect("it is let go");
                // The third account's event is gone, and the one after it cannot be read.
                if ids.iter().any(|(account, _)| *account == 4) {
                    return Err(StoreError::Busy);
                }
                Ok(ids.into_iter().filter(|(account, _)| *account != 3).map(|(of, id)| event(of, id.0)).collect())
            }
        };
        let loader = Loader(wanted);
        let running = tokio::spawn(run(load, queue));
        let (loader, let_go) = (&loader, || go.send(()).expect("it runs"));
        let first = async {
            let found = loader.load(1, EventId(5)).await;
            found.map(|event| event.id)
        };
        let later = async {
            // The first is under way.
            while asked.lock().expect("nobody panics").is_empty() {
                tokio::task::yield_now().await;
            }
            let meanwhile = async {
                tokio::join!(loader.load(2, EventId(7)), loader.load(3, EventId(6)), loader.load(2, EventId(7)))
            };
            tokio::join!(meanwhile, async {
                let_go();
                let_go();
            })
            .0
        };
        let (first, (one, gone, same)) = tokio::join!(first, later);
        assert_eq!(first, Some(EventId(5)));
        assert_eq!(
            (one.map(|event| event.account), gone, same.map(|event| event.id)),
            (Some(2), None, Some(EventId(7)))
        );
        let (unread, ()) = tokio::join!(loader.load(4, EventId(8)), async { let_go() });
        assert_eq!(unread, None);
        let all = [vec![(1, EventId(5))], vec![(2, EventId(7)), (3, EventId(6))], vec![(4, EventId(8))]];
        assert_eq!(*asked.lock().expect("nobody panics"), all);
        running.abort();
    }
}
