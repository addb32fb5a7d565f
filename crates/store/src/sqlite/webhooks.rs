//! Rows of webhooks: what is no secret as JSON, secrets and header values sealed.
//!
//! A sealed text is bound to its account, webhook, field and version: moved to another row or field it does not open.

use std::sync::Arc;
use std::time::Duration;

use domain::custom_headers::CustomHeaders;
use domain::endpoint_url::EndpointUrl;
use domain::event_filter::EventFilter;
use domain::id::{AccountId, WebhookId};
use domain::key_pair::KeyPair;
use domain::order::Order;
use domain::retry::RetrySchedule;
use domain::secret::SigningSecret;
use domain::signature::{KeyPairs, SigningSecrets};
use domain::time::Timestamp;
use domain::vault::Vault;
use domain::webhook::{Pause, Webhook};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::fault::Fault;

/// What of a webhook is kept open, as JSON.
#[derive(Serialize, Deserialize)]
struct Profile {
    name: String,
    url: String,
    events: EventFilter,
    pause: Option<Pause>,
    timeout: Option<Duration>,
    retry_schedule: Option<RetrySchedule>,
    rate_limit: Option<u32>,
    max_in_flight: Option<u16>,
    http2: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// The end of a rotation's overlap.
    previous_until: Option<Timestamp>,
    #[serde(default)]
    temporary: bool,
    #[serde(default)]
    order: Option<Order>,
    #[serde(default)]
    held_rate: Option<u32>,
}

/// The sealed columns, and what else their checksum covers.
struct Columns {
    number: u32,
    account: u32,
    version: i64,
    failing_since: Option<i64>,
    profile: String,
    secret_version: i64,
    secret: Vec<u8>,
    previous_secret: Option<Vec<u8>>,
    headers: Vec<u8>,
    key_pair: Option<Vec<u8>>,
    previous_key_pair: Option<Vec<u8>>,
}

impl Columns {
    fn sum(&self, id: &str) -> i64 {
        let failing_since = self.failing_since.unwrap_or(i64::MIN);
        let sum = Checksum::of("webhooks")
            .numbers([self.number.into(), self.account.into(), self.version, failing_since, self.secret_version])
            .text(id)
            .text(&self.profile)
            .bytes(&self.secret)
            .bytes(self.previous_secret.as_deref().unwrap_or_default())
            .bytes(&self.headers);
        // Rows without key pairs have the sum that they had before there were any.
        let pairs = [&self.key_pair, &self.previous_key_pair];
        pairs.into_iter().flatten().fold(sum, |sum, pair| sum.bytes(pair)).sum()
    }
}

/// Compares the checksum of every row; no key is needed for that.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut count = 0;
    each(conn, |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// All webhooks, oldest first. `account_id` names an account by its number.
pub(super) fn load(
    conn: &Connection,
    vault: &Vault,
    account_id: impl Fn(u32) -> Option<AccountId>,
) -> Result<Vec<Webhook>, Fault> {
    let mut webhooks = Vec::new();
    each(conn, |id, columns| {
        let account_id = account_id(columns.account)
            .ok_or_else(|| Fault::damaged(format_args!("webhook {id}"), "without account"))?;
        webhooks.push(read(&columns, id, account_id, vault)?);
        Ok(())
    })?;
    Ok(webhooks)
}

/// Calls `take` with the id and the columns of every row, oldest first, after their checksum was compared.
fn each(conn: &Connection, mut take: impl FnMut(&str, Columns) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut statement = conn.prepare(
        "SELECT number, id, account, version, failing_since, profile, secret_version, secret, previous_secret, headers, crc,
                key_pair, previous_key_pair
         FROM webhooks ORDER BY number",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(1)?;
        let columns = Columns {
            number: row.get(0)?,
            account: row.get(2)?,
            version: row.get(3)?,
            failing_since: row.get(4)?,
            profile: row.get(5)?,
            secret_version: row.get(6)?,
            secret: row.get(7)?,
            previous_secret: row.get(8)?,
            headers: row.get(9)?,
            key_pair: row.get(11)?,
            previous_key_pair: row.get(12)?,
        };
        if columns.sum(&id) != row.get::<_, i64>(10)? {
            return Err(Fault::Damaged(format!("webhook {id}")));
        }
        take(&id, columns)?;
    }
    Ok(())
}

fn read(columns: &Columns, id: &str, account_id: AccountId, vault: &Vault) -> Result<Webhook, Fault> {
    let damaged = |why: &dyn std::fmt::Display| Fault::damaged(format_args!("webhook {id}"), why);
    let profile: Profile = serde_json::from_str(&columns.profile).map_err(|error| damaged(&error))?;
    let context = Context { account: &account_id, webhook: id, version: columns.secret_version };
    let secret = |field: &str, sealed: &[u8]| -> Result<SigningSecret, Fault> {
        let plain = vault.open(&context.of(field), sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|error| damaged(&error))?;
        SigningSecret::parse(text).map_err(|error| damaged(&error))
    };
    let previous = match (&columns.previous_secret, profile.previous_until) {
        (Some(sealed), Some(until)) => Some((secret("previous_secret", sealed)?, until)),
        _ => None,
    };
    let pair = |field: &str, sealed: &[u8]| -> Result<KeyPair, Fault> {
        let plain = vault.open(&context.of(field), sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|error| damaged(&error))?;
        KeyPair::parse(text).map_err(|error| damaged(&error))
    };
    let pairs = match &columns.key_pair {
        None => None,
        Some(sealed) => Some(KeyPairs {
            current: pair("key_pair", sealed)?,
            previous: match &columns.previous_key_pair {
                None => None,
                Some(sealed) => Some(pair("previous_key_pair", sealed)?),
            },
        }),
    };
    let secrets = SigningSecrets { current: secret("secret", &columns.secret)?, previous, pairs };
    let headers = vault.open(&context.of("headers"), &columns.headers)?;
    let headers: Vec<(String, String)> = serde_json::from_slice(&headers).map_err(|error| damaged(&error))?;
    Ok(Webhook {
        number: columns.number,
        id: id.parse().map_err(|error| damaged(&error))?,
        account: columns.account,
        account_id,
        name: profile.name,
        url: Arc::new(EndpointUrl::stored(&profile.url).map_err(|error| damaged(&error))?),
        events: profile.events,
        headers: CustomHeaders::stored(headers),
        secrets,
        pause: profile.pause,
        timeout: profile.timeout,
        retry_schedule: profile.retry_schedule,
        rate_limit: profile.rate_limit,
        max_in_flight: profile.max_in_flight,
        http2: profile.http2,
        created_at: profile.created_at,
        updated_at: profile.updated_at,
        version: columns.version as u64,
        failing_since: columns.failing_since.map(Timestamp),
        temporary: profile.temporary,
        order: profile.order,
        held_rate: profile.held_rate,
    })
}

/// Gives a new webhook its number; [`put`] follows.
pub(super) fn insert(conn: &Connection, webhook: &mut Webhook) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO webhooks (id, account, version, profile, secret_version, secret, headers, crc)
         VALUES (?1, ?2, 0, '', 0, x'', x'', 0)",
    )?
    .execute(params![webhook.id.as_str(), webhook.account])?;
    webhook.number = conn.last_insert_rowid() as u32;
    Ok(())
}

/// Writes a webhook in place of the one of the same number, everything sealed anew.
pub(super) fn put(
    conn: &Connection,
    vault: &Vault,
    mut nonce: impl FnMut() -> [u8; 24],
    webhook: &Webhook,
) -> Result<(), Fault> {
    let id = webhook.id.as_str();
    let damaged = |error: serde_json::Error| Fault::damaged(format_args!("webhook {id}"), error);
    let profile = Profile {
        name: webhook.name.clone(),
        url: webhook.url.as_str().to_owned(),
        events: webhook.events.clone(),
        pause: webhook.pause.clone(),
        timeout: webhook.timeout,
        retry_schedule: webhook.retry_schedule.clone(),
        rate_limit: webhook.rate_limit,
        max_in_flight: webhook.max_in_flight,
        http2: webhook.http2,
        created_at: webhook.created_at,
        updated_at: webhook.updated_at,
        previous_until: webhook.secrets.previous.as_ref().map(|(_, until)| *until),
        temporary: webhook.temporary,
        order: webhook.order.clone(),
        held_rate: webhook.held_rate,
    };
    let secret_version = webhook.version as i64;
    let context = Context { account: &webhook.account_id, webhook: id, version: secret_version };
    let headers = webhook.headers.pairs();
    let headers = zeroize::Zeroizing::new(serde_json::to_vec(headers).map_err(damaged)?);
    let mut seal = |field: &str, plain: &[u8]| vault.seal(&context.of(field), plain, nonce());
    let pairs = webhook.secrets.pairs.as_ref();
    let columns = Columns {
        number: webhook.number,
        account: webhook.account,
        version: webhook.version as i64,
        failing_since: webhook.failing_since.map(|at| at.0),
        profile: serde_json::to_string(&profile).map_err(damaged)?,
        secret_version,
        secret: seal("secret", webhook.secrets.current.reveal().as_bytes()),
        previous_secret: webhook
            .secrets
            .previous
            .as_ref()
            .map(|(secret, _)| seal("previous_secret", secret.reveal().as_bytes())),
        headers: seal("headers", &headers),
        key_pair: pairs.map(|pairs| seal("key_pair", pairs.current.reveal().as_bytes())),
        previous_key_pair: pairs
            .and_then(|pairs| pairs.previous.as_ref())
            .map(|pair| seal("previous_key_pair", pair.reveal().as_bytes())),
    };
    conn.prepare_cached(
        "UPDATE webhooks SET version = ?2, failing_since = ?3, profile = ?4, secret_version = ?5, secret = ?6,
                previous_secret = ?7, headers = ?8, crc = ?9, key_pair = ?10, previous_key_pair = ?11
         WHERE number = ?1",
    )?
    .execute(params![
        columns.number,
        columns.version,
        columns.failing_since,
        columns.profile,
        columns.secret_version,
        columns.secret,
        columns.previous_secret,
        columns.headers,
        columns.sum(id),
        columns.key_pair,
        columns.previous_key_pair,
    ])?;
    Ok(())
}

/// Deletes a webhook; with `keep_id` its id stays, since its log is kept.
pub(super) fn delete(conn: &Connection, webhook: &Webhook, keep_id: bool) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM webhooks WHERE number = ?1")?.execute([webhook.number])?;
    if keep_id {
        let (id, account) = (webhook.id.as_str(), webhook.account);
        conn.prepare_cached("INSERT INTO webhooks_gone (number, id, account, crc) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![webhook.number, id, account, sum_gone(webhook.number, id, account).sum()])?;
    }
    Ok(())
}

/// The ids of deleted webhooks whose log is kept, by number, with their accounts.
pub(super) fn load_gone(conn: &Connection) -> Result<Vec<(u32, u32, WebhookId)>, Fault> {
    let mut statement = conn.prepare("SELECT number, account, id, crc FROM webhooks_gone")?;
    let mut rows = statement.query([])?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, account, id): (u32, u32, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        sum_gone(number, &id, account).verify(row.get(3)?, || format!("deleted webhook {number}"))?;
        let id = id.parse().map_err(|error| Fault::damaged(format_args!("deleted webhook {number}"), error))?;
        gone.push((number, account, id));
    }
    Ok(gone)
}

/// Forgets an account's deleted webhooks.
pub(super) fn delete_gone_of_account(conn: &Connection, account: u32) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM webhooks_gone WHERE account = ?1")?.execute([account])?;
    Ok(())
}

fn sum_gone(number: u32, id: &str, account: u32) -> Checksum {
    Checksum::of("webhooks_gone").numbers([number.into(), account.into()]).text(id)
}

/// What a sealed text belongs to.
struct Context<'a> {
    account: &'a AccountId,
    webhook: &'a str,
    version: i64,
}

impl Context<'_> {
    fn of(&self, field: &str) -> String {
        format!("{}/{}/{field}/{}", self.account, self.webhook, self.version)
    }
}
