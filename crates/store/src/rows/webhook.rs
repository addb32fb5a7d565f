//! Webhooks as every store keeps them: what is no secret as JSON, secrets and header values sealed.
//!
//! A sealed text is bound to its account, webhook, field and version: moved to another row or field it does not open.

use std::sync::Arc;
use std::time::Duration;

use domain::custom_headers::CustomHeaders;
use domain::endpoint_url::EndpointUrl;
use domain::event_filter::EventFilter;
use domain::id::AccountId;
use domain::key_pair::KeyPair;
use domain::order::Order;
use domain::retry::RetrySchedule;
use domain::secret::SigningSecret;
use domain::signature::{KeyPairs, SigningSecrets};
use domain::time::Timestamp;
use domain::vault::Vault;
use domain::webhook::{Pause, Webhook};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::damaged::Damaged;

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
    #[serde(default)]
    leave_alone_until: Option<Timestamp>,
}

/// The sealed columns, and what else their checksum covers.
pub(crate) struct Columns {
    pub(crate) number: u32,
    pub(crate) account: u32,
    pub(crate) version: i64,
    pub(crate) failing_since: Option<i64>,
    pub(crate) profile: String,
    pub(crate) secret_version: i64,
    pub(crate) secret: Vec<u8>,
    pub(crate) previous_secret: Option<Vec<u8>>,
    pub(crate) headers: Vec<u8>,
    pub(crate) key_pair: Option<Vec<u8>>,
    pub(crate) previous_key_pair: Option<Vec<u8>>,
}

impl Columns {
    /// The checksum of the row of the webhook of this id.
    pub(crate) fn sum(&self, id: &str) -> i64 {
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

/// The webhook of a row.
pub(crate) fn read(columns: &Columns, id: &str, account_id: AccountId, vault: &Vault) -> Result<Webhook, Damaged> {
    let damaged = |why: &dyn std::fmt::Display| Damaged::of(format_args!("webhook {id}"), why);
    let profile: Profile = serde_json::from_str(&columns.profile).map_err(|error| damaged(&error))?;
    let context = Context { account: &account_id, webhook: id, version: columns.secret_version };
    let secret = |field: &str, sealed: &[u8]| -> Result<SigningSecret, Damaged> {
        let plain = vault.open(&context.of(field), sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|error| damaged(&error))?;
        SigningSecret::parse(text).map_err(|error| damaged(&error))
    };
    let previous = match (&columns.previous_secret, profile.previous_until) {
        (Some(sealed), Some(until)) => Some((secret("previous_secret", sealed)?, until)),
        _ => None,
    };
    let pair = |field: &str, sealed: &[u8]| -> Result<KeyPair, Damaged> {
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
        leave_alone_until: profile.leave_alone_until,
    })
}

/// The row of a webhook, everything sealed anew.
pub(crate) fn seal(vault: &Vault, mut nonce: impl FnMut() -> [u8; 24], webhook: &Webhook) -> Result<Columns, Damaged> {
    let id = webhook.id.as_str();
    let damaged = |error: serde_json::Error| Damaged::of(format_args!("webhook {id}"), error);
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
        leave_alone_until: webhook.leave_alone_until,
    };
    let secret_version = webhook.version as i64;
    let context = Context { account: &webhook.account_id, webhook: id, version: secret_version };
    let headers = webhook.headers.pairs();
    let headers = zeroize::Zeroizing::new(serde_json::to_vec(headers).map_err(damaged)?);
    let mut seal = |field: &str, plain: &[u8]| vault.seal(&context.of(field), plain, nonce());
    let pairs = webhook.secrets.pairs.as_ref();
    Ok(Columns {
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
    })
}

/// The checksum of the row of a deleted webhook.
pub(crate) fn sum_gone(number: u32, id: &str, account: u32) -> Checksum {
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
