//! Events that attempts need, loaded together: what is wanted while one load is under way goes into the next. Where many nodes
//! share the work, most of what one sends was accepted by another, and a load for each attempt would be most of the database's work. What
//! others have named comes with its events, which are kept here until then, as many as there is room for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use domain::delivery::Due;
use domain::event::Event;
use domain::id::EventId;
use domain::store::{Store, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::unread;

/// How many events one load brings at most.
const AT_ONCE: usize = 256;
/// The bytes of events that are kept at most, and what each counts beside its data.
const KEPT_MAX: usize = 16 * 1024 * 1024;
const KEPT_EACH: usize = 256;

/// An event could not be read: it may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unread;

/// An event that is wanted, and who waits for it.
struct Wanted {
    account: u32,
    event: EventId,
    answer: oneshot::Sender<Result<Option<Arc<Event>>, Unread>>,
}

/// Events that have come before they were wanted, each with how many deliveries will want it.
#[derive(Default)]
struct Kept {
    events: HashMap<(u32, EventId), (Arc<Event>, usize)>,
    /// In the order in which they came; some of them have been taken since.
    order: VecDeque<(u32, EventId)>,
    bytes: usize,
}

impl Kept {
    fn put(&mut self, event: Arc<Event>, wanted: usize) {
        let key = (event.account, event.id);
        self.take_out(key);
        self.bytes += event.data.len() + KEPT_EACH;
        self.events.insert(key, (event, wanted));
        self.order.push_back(key);
        while self.bytes > KEPT_MAX || self.order.len() > KEPT_MAX / KEPT_EACH {
            let Some(oldest) = self.order.pop_front() else { return };
            self.take_out(oldest);
        }
    }

    fn take(&mut self, key: (u32, EventId)) -> Option<Arc<Event>> {
        let (event, wanted) = self.events.get_mut(&key)?;
        *wanted = wanted.saturating_sub(1);
        if *wanted > 0 {
            return Some(Arc::clone(event));
        }
        self.take_out(key)
    }

    fn take_out(&mut self, key: (u32, EventId)) -> Option<Arc<Event>> {
        let (event, _) = self.events.remove(&key)?;
        self.bytes -= event.data.len() + KEPT_EACH;
        if self.events.is_empty() {
            self.order.clear();
        }
        Some(event)
    }
}

/// Loads events. It ends once nobody can ask it any more.
pub(crate) struct Loader {
    wanted: UnboundedSender<Wanted>,
    kept: Mutex<Kept>,
}

impl Loader {
    /// A loader on the present runtime.
    pub(crate) fn start(store: Arc<dyn Store>) -> Self {
        let (wanted, queue) = unbounded_channel();
        let load = move |ids| {
            let store = Arc::clone(&store);
            async move { store.load(ids).await }
        };
        tokio::spawn(run(load, queue));
        Self { wanted, kept: Mutex::default() }
    }

    /// Keeps the events of deliveries that are about to be sent.
    pub(crate) fn keep(&self, of: &[Due], events: Vec<Arc<Event>>) {
        let mut wanted: HashMap<EventId, usize> = HashMap::with_capacity(of.len());
        for due in of {
            *wanted.entry(due.delivery.event).or_default() += 1;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if let Some(wanted) = wanted.get(&event.id) {
                kept.put(event, *wanted);
            }
        }
    }

    /// An event of an account; `None` if there is none.
    pub(crate) async fn load(&self, account: u32, event: EventId) -> Result<Option<Arc<Event>>, Unread> {
        if let Some(event) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take((account, event)) {
            return Ok(Some(event));
        }
        let (answer, answered) = oneshot::channel();
        self.wanted.send(Wanted { account, event, answer }).map_err(|_| Unread)?;
        answered.await.unwrap_or(Err(Unread))
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
        let events = load(ids).await.map_err(|error| {
            unread::say(&error, "events to be sent could not be read");
            Unread
        });
        let by_key = |event: Arc<Event>| ((event.account, event.id), event);
        let events = events.map(|events| events.into_iter().map(by_key).collect::<HashMap<_, _>>());
        for Wanted { account, event, answer } in batch.drain(..) {
            // Whoever asked may have gone.
            let _ =
                answer.send(events.as_ref().map(|all| all.get(&(account, event)).cloned()).map_err(|unread| *unread));
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
        let loader = Loader { wanted, kept: Mutex::default() };
        let running = tokio::spawn(run(load, queue));
        let (loader, let_go) = (&loader, || go.send(()).expect("it runs"));
        let first = async {
            let found = loader.load(1, EventId(5)).await.expect("it is read");
            found.map(|event| event.id)
        };
        let later = async {
            // The first is under way.
            while asked.lock().expect("nobody panics").is_empty() {
                tokio::task::yield_now().await;
            }
            let meanwhile = async {
                let (one, gone, same) =
                    tokio::join!(loader.load(2, EventId(7)), loader.load(3, EventId(6)), loader.load(2, EventId(7)));
                [one, gone, same].map(|read| read.expect("it is read"))
            };
            tokio::join!(meanwhile, async {
                let_go();
                let_go();
            })
            .0
        };
        let (first, [one, gone, same]) = tokio::join!(first, later);
        assert_eq!(first, Some(EventId(5)));
        assert_eq!(
            (one.map(|event| event.account), gone, same.map(|event| event.id)),
            (Some(2), None, Some(EventId(7)))
        );
        let (unread, ()) = tokio::join!(loader.load(4, EventId(8)), async { let_go() });
        assert_eq!(unread.map(drop), Err(Unread), "which does not mean that it is gone");
        let all = [vec![(1, EventId(5))], vec![(2, EventId(7)), (3, EventId(6))], vec![(4, EventId(8))]];
        assert_eq!(*asked.lock().expect("nobody panics"), all);
        running.abort();
    }

    #[tokio::test]
    async fn what_came_before_it_was_wanted_is_given_to_each_that_wants_it() {
        let (wanted, mut queue) = unbounded_channel();
        let loader = Loader { wanted, kept: Mutex::default() };
        let due = |event: u64, place: u16| Due {
            delivery: domain::id::DeliveryId { event: EventId(event), place },
            webhook: 1,
            due_at: Timestamp(1),
            attempts_made: 0,
            retries_made: 0,
            reason: domain::attempt::Reason::First,
        };
        // Nothing of event 8 waits any more.
        loader.keep(&[due(7, 0), due(7, 3), due(9, 0)], vec![event(1, 7), event(1, 8), event(2, 9)]);
        for _ in 0..2 {
            assert_eq!(loader.load(1, EventId(7)).await.map(|event| event.map(|event| event.id)), Ok(Some(EventId(7))));
        }
        assert_eq!(loader.load(2, EventId(9)).await.map(|event| event.map(|event| event.account)), Ok(Some(2)));
        let kept = loader.kept.lock().expect("nobody panics");
        assert_eq!((kept.events.len(), kept.order.len(), kept.bytes), (0, 0, 0));
        drop(kept);
        assert!(queue.try_recv().is_err(), "nothing was loaded");
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let mut kept = Kept::default();
        let large = |id| Arc::new(Event { data: vec![b' '; KEPT_MAX / 4].into(), ..(*event(1, id)).clone() });
        (0..9).for_each(|id| kept.put(large(id), 1));
        let mut left: Vec<u64> = kept.events.keys().map(|(_, id)| id.0).collect();
        left.sort_unstable();
        assert_eq!(left, [6, 7, 8]);
        // One that is kept already is not counted twice.
        kept.put(large(8), 1);
        assert_eq!((kept.events.len(), kept.bytes), (3, 3 * (KEPT_MAX / 4 + KEPT_EACH)));
        for id in 6..9 {
            assert!(kept.take((1, EventId(id))).is_some());
        }
        assert_eq!((kept.bytes, kept.order.len()), (0, 0));
        // Those that were taken leave no trace that only grows, though one stays.
        kept.put(event(2, 1), 1);
        for id in 0..200_000 {
            kept.put(event(1, id), 1);
            kept.take((1, EventId(id)));
        }
        assert!(kept.order.len() <= KEPT_MAX / KEPT_EACH + 1);
    }
}
