//! What happens on all nodes, for the streams of this one: while somebody here follows an account, what every node writes down
//! of it is read a few times a second, all accounts at once, and put into the feed. Nobody follows: nothing is read, and no
//! node writes anything down.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::chronicle::{Chronicle, Mark, News};
use domain::store::StoreError;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::live::{Cursor, Live, Placed, Reading};

/// How often it is looked what the others have done.
const EVERY: Duration = Duration::from_millis(500);
/// How soon after one look comes the next, when something was done here, or somebody has come.
const SOON: Duration = Duration::from_millis(100);
/// How often it is said that accounts are followed.
const SAID_EVERY: Duration = Duration::from_secs(20);

/// How far apart unknown names make this node look at what others have changed.
const LEARNT_EVERY: Duration = Duration::from_millis(20);

/// Who is told where the feed stood when he came.
type Comer = oneshot::Sender<Result<(u64, Mark), StoreError>>;

/// What is read for this node's streams.
pub(crate) struct Following {
    chronicle: Arc<dyn Chronicle>,
    state: Mutex<State>,
    look: Notify,
    /// Held while this node learns what others have changed, and for [`LEARNT_EVERY`] after it began.
    learning: Arc<tokio::sync::Mutex<()>>,
    /// How often it has begun to.
    begun: AtomicU64,
}

#[derive(Default)]
struct State {
    /// How many follow each account.
    followers: HashMap<u32, usize>,
    /// Who has come and waits for his place.
    coming: Vec<Comer>,
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}

/// Somebody who follows an account; nobody does any more once it is dropped.
pub(crate) struct Follows {
    following: Arc<Following>,
    account: u32,
}

impl Drop for Follows {
    fn drop(&mut self) {
        let mut state = self.following.state();
        if let Some(count) = state.followers.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                state.followers.remove(&self.account);
            }
        }
    }
}

/// Where a follower starts.
pub(crate) struct Start {
    /// The next place in the feed.
    pub(crate) place: u64,
    /// The mark there, where many nodes share the work.
    pub(crate) mark: Option<Mark>,
    /// What he has missed, which comes first.
    pub(crate) missed: Vec<Placed>,
    /// Whether he has missed more than can be told.
    pub(crate) lost: bool,
    /// Has the account followed for as long as he does.
    pub(crate) follows: Option<Follows>,
}

impl Following {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was committed here.
    pub(crate) fn look_soon(&self) {
        self.look.notify_one();
    }

    /// Follows an account; where the feed stands once it is.
    async fn come(self: &Arc<Self>, account: u32) -> Result<(Follows, u64, Mark), StoreError> {
        let (told, place) = oneshot::channel();
        {
            let mut state = self.state();
            *state.followers.entry(account).or_default() += 1;
            state.coming.push(told);
        }
        let follows = Follows { following: Arc::clone(self), account };
        self.look.notify_one();
        let stopped = |_| StoreError::Stopped("nobody reads what happens any more".to_owned());
        let (place, mark) = place.await.map_err(stopped)??;
        Ok((follows, place, mark))
    }

    /// What has happened in an account after a cursor, until a mark; `None` if that can no longer be told.
    async fn missed(&self, account: u32, after: Cursor, until: &Mark) -> Result<Option<Vec<Placed>>, StoreError> {
        let mut missed = Vec::new();
        let after = match after {
            Cursor::At(mark) => mark,
            Cursor::Within { after, until: end, count } => {
                let news = self.chronicle.read(vec![account], Some(after.clone()), Some(end.clone())).await?;
                if !news.whole {
                    return Ok(None);
                }
                let rest = news.happened.into_iter().filter(|happened| happened.place > count);
                missed.extend(rest.filter_map(|happened| Placed::of(happened, &after, &end)));
                end
            }
        };
        let news = self.chronicle.read(vec![account], Some(after.clone()), Some(until.clone())).await?;
        missed.extend(news.happened.into_iter().filter_map(|happened| Placed::of(happened, &after, until)));
        Ok(news.whole.then_some(missed))
    }
}

impl Live {
    /// From now on the feed is of what happens on all nodes. Needs a runtime.
    pub fn follow(&self, chronicle: Arc<dyn Chronicle>) {
        let following = Arc::new(Following {
            chronicle,
            state: Mutex::default(),
            look: Notify::new(),
            learning: Arc::default(),
            begun: AtomicU64::new(0),
        });
        if self.following().set(Arc::clone(&following)).is_ok() {
            tokio::spawn(read_all(following, self.clone()));
        }
    }

    /// Whether something may be there that this node does not know of yet: where other nodes make changes too, it has learnt
    /// of all that were committed before this was called. For requests with a name that is unknown; many of them learn together.
    pub(crate) async fn has_learnt(&self) -> bool {
        let Some(following) = self.following().get() else { return false };
        let before = following.begun.load(Ordering::SeqCst);
        let turn = Arc::clone(&following.learning).lock_owned().await;
        if following.begun.load(Ordering::SeqCst) == before {
            following.begun.fetch_add(1, Ordering::SeqCst);
            let next = Instant::now() + LEARNT_EVERY;
            // A database that is away has nothing new to say: the answer is as memory has it.
            let _away = following.chronicle.learn().await;
            tokio::spawn(async move {
                tokio::time::sleep_until(next).await;
                drop(turn);
            });
        }
        true
    }

    /// Where somebody starts who follows an account from now on, or goes on after what he was told `last`.
    pub(crate) async fn come(&self, account: u32, last: Option<&str>) -> Result<Start, StoreError> {
        let Some(following) = self.following().get() else { return Ok(self.come_alone(last)) };
        let (follows, place, mark) = following.come(account).await?;
        let missed = match last.map(Cursor::parse) {
            None => Some(Vec::new()),
            Some(None) => None,
            Some(Some(after)) => following.missed(account, after, &mark).await?,
        };
        let lost = missed.is_none();
        let missed = missed.unwrap_or_default();
        Ok(Start { place, mark: Some(mark), missed, lost, follows: Some(follows) })
    }

    /// The same where one process does all: its feed says what was missed.
    fn come_alone(&self, last: Option<&str>) -> Start {
        let end = self.end().0;
        let start = |place, lost| Start { place, mark: None, missed: Vec::new(), lost, follows: None };
        let Some(last) = last else { return start(end, false) };
        let seen = last
            .split_once('-')
            .and_then(|(epoch, place)| Some((epoch.parse::<u64>().ok()?, place.parse::<u64>().ok()?)));
        match seen {
            Some((epoch, place)) if epoch == self.epoch() && place <= end => match self.read(place) {
                Reading::Records(..) => start(place, false),
                Reading::Lost => start(end, true),
            },
            Some(_) | None => start(end, true),
        }
    }
}

/// What the reading task knows.
struct Reader {
    following: Arc<Following>,
    live: Live,
    /// Up to where it has read; nothing while nobody follows anything.
    mark: Option<Mark>,
    /// When it was said last that these are followed.
    said: Option<(Instant, Vec<u32>)>,
}

/// Reads for as long as the store is there.
async fn read_all(following: Arc<Following>, live: Live) {
    let mut reader = Reader { following, live, mark: None, said: None };
    loop {
        let (accounts, coming) = {
            let mut state = reader.following.state();
            let mut accounts: Vec<u32> = state.followers.keys().copied().collect();
            accounts.sort_unstable();
            (accounts, std::mem::take(&mut state.coming))
        };
        if accounts.is_empty() {
            (reader.mark, reader.said) = (None, None);
            reader.following.look.notified().await;
            continue;
        }
        let read = reader.look(accounts).await;
        if let Err(error) = &read {
            tracing::debug!(%error, "what happens on all nodes cannot be read now");
        }
        for comer in coming {
            // He may have gone again.
            let _ = comer.send(read.clone());
        }
        if matches!(read, Err(StoreError::Stopped(_))) {
            return;
        }
        tokio::time::sleep(SOON).await;
        // Whoever comes or commits wakes it; the others are looked at all the same.
        let _woken = tokio::time::timeout(EVERY - SOON, reader.following.look.notified()).await;
    }
}

impl Reader {
    /// Reads what has happened since the last look; where the feed stands then.
    async fn look(&mut self, accounts: Vec<u32>) -> Result<(u64, Mark), StoreError> {
        let mut whole = true;
        let is_said = |(at, of): &(Instant, Vec<u32>)| {
            at.elapsed() < SAID_EVERY && accounts.iter().all(|account| of.contains(account))
        };
        if !self.said.as_ref().is_some_and(is_said) {
            let at = Instant::now();
            let before = self.following.chronicle.follow(accounts.clone()).await?;
            // What was followed all along must not have been forgotten meanwhile.
            let known = self.said.take().map_or_else(Vec::new, |(_, known)| known);
            whole = known.iter().all(|account| before.contains(account) || !accounts.contains(account));
            self.said = Some((at, accounts.clone()));
        }
        let after = self.mark.clone();
        let News { happened, until, whole: all } = self.following.chronicle.read(accounts, after.clone(), None).await?;
        let place = match &after {
            Some(after) if whole && all => self.live.happened(happened, after, &until),
            Some(_) => self.live.lost(&until),
            // The first look is where the feed begins.
            None => self.live.happened(Vec::new(), &until, &until),
        };
        self.mark = Some(until.clone());
        Ok((place, until))
    }
}
