//! The first platform key: where the settings give none, one is made at the first start, and printed once.

use domain::audit::By;
use domain::directory::SharedDirectory;
use domain::id;
use domain::key::{ApiKey, hash_key};
use domain::store::{Change, ChangeError, Store};
use domain::time::Timestamp;
use zeroize::Zeroizing;

use crate::chance;
use crate::exit::Stop;

/// The id of the key that is made at the first start: of nodes that start at once, one makes it.
const FIRST: &str = "key_0000000000000first";

/// How many of a key's first characters are kept to tell keys apart.
const HINT: usize = 8;

/// Whether the store knows any platform key.
pub(crate) fn any(directory: &SharedDirectory) -> bool {
    !directory.read().keys_of(None).is_empty()
}

/// Whether this key opens the platform.
pub(crate) fn is_valid(directory: &SharedDirectory, key: &str, now: Timestamp) -> bool {
    let directory = directory.read();
    let found = directory.key(&hash_key(key));
    found.is_some_and(|found| found.account.is_none() && found.expires_at.is_none_or(|end| now < end))
}

/// Makes the platform key of the first start; `None` if another node that starts at the same time has made it.
///
/// # Errors
/// When the store cannot take it.
pub(crate) async fn make_first(store: &dyn Store, now: Timestamp) -> Result<Option<Zeroizing<String>>, Stop> {
    match put(store, FIRST.to_owned(), "first start", now).await? {
        Ok(key) => Ok(Some(key)),
        Err(ChangeError::Exists) => Ok(None),
        Err(error) => Err(not_stored(&error)),
    }
}

/// Makes a platform key and stores its hash.
///
/// # Errors
/// When the store cannot take it.
pub(crate) async fn make(store: &dyn Store, name: &str, now: Timestamp) -> Result<Zeroizing<String>, Stop> {
    let text = id::make("key", now.0, u64::from_be_bytes(chance::bytes()));
    put(store, text, name, now).await?.map_err(|error| not_stored(&error))
}

fn not_stored(error: &ChangeError) -> Stop {
    Stop::failure(format!("The platform key could not be stored: {error}."))
}

async fn put(
    store: &dyn Store,
    text: String,
    name: &str,
    now: Timestamp,
) -> Result<Result<Zeroizing<String>, ChangeError>, Stop> {
    let key = Zeroizing::new(chance::platform_key());
    let stored = ApiKey {
        id: text.parse().map_err(|_| Stop::failure(format!("{text} is no id of a key")))?,
        name: name.to_owned(),
        account: None,
        scopes: Vec::new(),
        hash: hash_key(&key),
        hint: key.chars().take(HINT).collect(),
        created_at: now,
        expires_at: None,
        last_used_at: None,
    };
    Ok(store.change(Change::PutKey(stored), By::us(), None).await.map(|_| key))
}
