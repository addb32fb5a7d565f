//! Waiting for a condition, with a deadline; and the turns of tests that need the machine for themselves.

use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

/// The first and the longest pause between two looks. Growing, so that a hundred waiting rows do not load the server.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));

/// Looks again and again until `look` gives something.
///
/// # Panics
/// When `within` has passed; says what was waited for.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    look: impl FnMut() -> F,
) -> T {
    maybe(within, look).await.unwrap_or_else(|| panic!("waited {within:?} in vain for {what}"))
}

/// As [`until`], but `None` when `within` has passed.
pub(crate) async fn maybe<T, F: Future<Output = Option<T>>>(
    within: Duration,
    mut look: impl FnMut() -> F,
) -> Option<T> {
    let (mut pause, longest) = PAUSES;
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 3 / 2).min(longest);
    }
}

static MACHINE: Mutex<()> = Mutex::const_new(());

/// The machine for one test: those that load it, and those with a deadline of seconds to keep, take turns.
pub(crate) async fn the_machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().await
}
