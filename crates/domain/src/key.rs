//! Accounts, and the keys that open the API.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::id::{AccountId, KeyId, PLACES_MAX};
use crate::redaction::Redaction;
use crate::size::write_size;
use crate::time::{Timestamp, write_span};

/// A customer of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The store's number for it. 0 before it is stored.
    pub number: u32,
    /// Its id, chosen by the platform.
    pub id: AccountId,
    /// A label: 1–200 characters.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows with every change; the ETag.
    pub version: u64,
    /// What it keeps of its log, and how it shows it.
    pub log: LogRules,
    /// How much it may ask for.
    pub limits: AccountLimits,
}

impl Account {
    /// A new account, as it is before it is stored.
    #[must_use]
    pub fn new(id: AccountId, name: impl Into<String>, now: Timestamp) -> Self {
        Self {
            number: 0,
            id,
            name: name.into(),
            created_at: now,
            updated_at: now,
            version: 1,
            log: LogRules::default(),
            limits: AccountLimits::default(),
        }
    }
}

/// How much an account may ask for, where that is not what the operator's settings say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountLimits {
    /// Events per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
    /// How many webhooks it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_webhooks: Option<u32>,
}

impl AccountLimits {
    /// The highest rate that can be set.
    pub const EVENTS_PER_SECOND_MAX: u32 = 1_000_000;
    /// The most webhooks that can be allowed: as many as an event can go to.
    pub const WEBHOOKS_MAX: u32 = PLACES_MAX as u32;

    /// The fields as they are shown, by their names.
    #[must_use]
    pub fn shown(&self) -> [(&'static str, Value); 2] {
        [("events_per_second", self.events_per_second.into()), ("max_webhooks", self.max_webhooks.into())]
    }
}

/// What an account keeps of its log, where that is not what the operator's settings say, and what it shows of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRules {
    /// For how long what has ended is kept.
    #[serde(with = "crate::time::some_span_text", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// How many bytes are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_size: Option<u64>,
    /// What is not shown of the events' data.
    #[serde(skip_serializing_if = "Redaction::is_empty")]
    pub redact: Redaction,
}

impl LogRules {
    /// The fields as they are shown, by their names.
    #[must_use]
    pub fn shown(&self) -> [(&'static str, Value); 3] {
        [
            ("retention", self.retention.map(write_span).into()),
            ("retention_size", self.retention_size.map(write_size).into()),
            ("redact", self.redact.texts().collect()),
        ]
    }
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a key may do. The names are in the API and on disk.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Scope {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Scope {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

scopes! {
    /// Read and manage all that belongs to the account: every other scope but [`Scope::EventsWrite`].
    Account = "account",
    /// Post events.
    EventsWrite = "events:write",
    /// Read events.
    EventsRead = "events:read",
    /// Read webhooks and their figures.
    WebhooksRead = "webhooks:read",
    /// Create, change, pause, resume, test and delete webhooks; listen with a temporary one.
    WebhooksWrite = "webhooks:write",
    /// See signing secrets.
    SecretsRead = "secrets:read",
    /// Rotate signing secrets, and confirm; the answers show them.
    SecretsWrite = "secrets:write",
    /// Read deliveries and attempts, also as a stream.
    DeliveriesRead = "deliveries:read",
    /// Replay and cancel deliveries.
    DeliveriesWrite = "deliveries:write",
    /// List keys.
    KeysRead = "keys:read",
    /// Create keys that may do no more than this one, and revoke keys.
    KeysWrite = "keys:write",
    /// Read the audit log.
    AuditRead = "audit:read",
}

impl Scope {
    /// Whether a key with this scope may do what needs the scope `needed`.
    #[must_use]
    pub fn covers(self, needed: Self) -> bool {
        self == needed || self == Self::Account && needed != Self::EventsWrite
    }
}

/// An API key; the key itself is shown once and kept as its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// A label: 1–200 characters.
    pub name: String,
    /// The account that it is limited to; `None` for a platform key.
    pub account: Option<u32>,
    /// What it may do; a platform key without scopes may do everything, one with scopes does this for every account.
    pub scopes: Vec<Scope>,
    /// SHA-256 of the key's text.
    pub hash: [u8; 32],
    /// The key's first characters, by which people tell keys apart.
    pub hint: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, as far as that is written: about once a minute.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it may do everything, for every account.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.account.is_none() && self.scopes.is_empty()
    }

    /// Whether it may do what needs this scope, where it may do anything.
    #[must_use]
    pub fn may(&self, needed: Scope) -> bool {
        self.is_unlimited() || self.scopes.iter().any(|scope| scope.covers(needed))
    }

    /// Whether it has not ended at `now`.
    #[must_use]
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|ends| now < ends)
    }
}

/// For how long an idempotency key is remembered.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(86_400);

/// The hash under which a key is kept. Keys carry 160 bits of chance or more, so a plain hash is enough.
#[must_use]
pub fn hash_key(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
