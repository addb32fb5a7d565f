//! The audit log: what was changed, when, by whom, and through which request.
//!
//! Nobody writes an entry by hand: the store makes it from the change itself, in the transaction of the change, so that
//! neither can be there without the other. What a webhook's change comes to is judged in [`mod@of_webhook`]. An entry
//! never holds a secret, a header's value or a key.

pub mod of_webhook;

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::event_filter::shown;
use crate::filter::instant;
use crate::id::{AuditId, DeliveryId, WebhookId};
use crate::key::{Account, ApiKey};
use crate::refusal::Refusal;
use crate::replay::Replay;
use crate::session::Session;
use crate::time::Timestamp;

/// Who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// The id of the key or session; `None` for the key of the settings, and for us.
    pub id: Option<String>,
    /// The name of the key or session, or what stands for it.
    pub name: String,
}

/// The kinds of actors. Their names are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// The platform key that the settings give.
    Settings,
    /// A key, of the platform or of an account.
    Key,
    /// A session: a browser that is signed in, or a portal.
    Session,
    /// We ourselves, such as when a webhook is paused after 410.
    Us,
}

impl ActorKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Settings, Self::Key, Self::Session, Self::Us];

    /// Its name, in the API and on disk.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Key => "key",
            Self::Session => "session",
            Self::Us => "posthaste",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// By whom a change is made, and through which request: every change has to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// The id of the request, as its answer carries it.
    pub request: Option<String>,
    /// The address that the request came from.
    pub address: Option<IpAddr>,
}

impl By {
    /// By us.
    #[must_use]
    pub fn us() -> Self {
        let actor = Actor { kind: ActorKind::Us, id: None, name: "posthaste".to_owned() };
        Self { actor, request: None, address: None }
    }

    /// By a key, and nothing else known: for tools and tests that use the store without a request.
    #[must_use]
    pub fn key(key: &ApiKey) -> Self {
        let actor = Actor { kind: ActorKind::Key, id: Some(key.id.to_string()), name: key.name.clone() };
        Self { actor, request: None, address: None }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What was done. The names are in the API and on disk; the part before the dot is the kind of the target.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }

        impl Action {
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

actions! {
    /// An account was created.
    AccountCreated = "account.created",
    /// An account was changed.
    AccountUpdated = "account.updated",
    /// An account was erased, its part of this log too.
    AccountDeleted = "account.deleted",
    /// A webhook was created.
    WebhookCreated = "webhook.created",
    /// A webhook was changed.
    WebhookUpdated = "webhook.updated",
    /// A webhook was paused.
    WebhookPaused = "webhook.paused",
    /// A webhook was resumed.
    WebhookResumed = "webhook.resumed",
    /// A webhook was deleted.
    WebhookDeleted = "webhook.deleted",
    /// A webhook's secret was shown.
    SecretRevealed = "webhook.secret_revealed",
    /// A webhook got a new secret.
    SecretRotated = "webhook.secret_rotated",
    /// The overlap of a rotation was ended.
    SecretConfirmed = "webhook.secret_confirmed",
    /// A key was created.
    KeyCreated = "key.created",
    /// A key was revoked.
    KeyRevoked = "key.revoked",
    /// A session, or a link to one, was opened.
    SessionOpened = "session.opened",
    /// A session was ended before its time.
    SessionEnded = "session.ended",
    /// A delivery was sent again.
    DeliveryReplayed = "delivery.replayed",
    /// A delivery was cancelled.
    DeliveryCancelled = "delivery.cancelled",
    /// A replay in bulk was started.
    ReplayStarted = "replay.started",
    /// A replay was paused.
    ReplayPaused = "replay.paused",
    /// A replay was resumed.
    ReplayResumed = "replay.resumed",
    /// A replay was stopped.
    ReplayStopped = "replay.stopped",
}

impl Action {
    /// The action of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == name)
    }

    /// The kinds of all targets, in the order of their actions.
    #[must_use]
    pub fn kinds() -> Vec<&'static str> {
        let mut kinds: Vec<_> = Self::ALL.iter().map(|action| action.kind()).collect();
        kinds.dedup();
        kinds
    }

    /// The kind of its target: `webhook` for `webhook.paused`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        self.as_str().split('.').next().unwrap_or_default()
    }
}

/// The particulars of an act, as a JSON object.
pub type Detail = Map<String, Value>;

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What.
    pub action: Action,
    /// The number of the account that it concerns; `None` for what is the platform's own.
    pub account: Option<u32>,
    /// The id of what it was done to; its kind is [`Action::kind`].
    pub target: String,
    /// What it was done to, by its name, where it has one.
    pub name: Option<String>,
    /// The particulars.
    pub detail: Detail,
}

impl Act {
    /// An act without particulars.
    #[must_use]
    pub fn new(action: Action, account: Option<u32>, target: impl fmt::Display) -> Self {
        Self { action, account, target: target.to_string(), name: None, detail: Detail::new() }
    }

    /// With the target's name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// With a particular.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// An account was created (`before` is `None`) or changed.
    #[must_use]
    pub fn of_account(before: Option<&Account>, after: &Account) -> Self {
        let action = if before.is_some() { Action::AccountUpdated } else { Action::AccountCreated };
        let act = Self::new(action, Some(after.number), &after.id).named(&after.name);
        let Some(before) = before else { return act };
        let mut changes = Detail::new();
        if before.name != after.name {
            insert_change(&mut changes, "name", before.name.as_str().into(), after.name.as_str().into());
        }
        let before = before.log.shown().into_iter().chain(before.limits.shown());
        let after = after.log.shown().into_iter().chain(after.limits.shown());
        for ((field, from), (_, to)) in before.zip(after) {
            if from != to {
                insert_change(&mut changes, field, from, to);
            }
        }
        act.with("changes", changes)
    }

    /// An account was erased: the entry is the platform's, since what was the account's is erased with it.
    #[must_use]
    pub fn account_deleted(account: &Account) -> Self {
        Self::new(Action::AccountDeleted, None, &account.id).named(&account.name)
    }

    /// A key was created or revoked.
    #[must_use]
    pub fn of_key(action: Action, key: &ApiKey) -> Self {
        let scopes: Vec<Value> = key.scopes.iter().map(|scope| scope.as_str().into()).collect();
        let expires_at = key.expires_at.map(|at| at.to_string());
        Self::new(action, key.account, &key.id).named(&key.name).with("scopes", scopes).with("expires_at", expires_at)
    }

    /// A replay in bulk was started, paused, resumed or stopped; it is told as it was before.
    #[must_use]
    pub fn of_replay(action: Action, replay: &Replay) -> Self {
        Self::new(action, Some(replay.account), &replay.id)
            .with("filter", replay.filter.to_string())
            .with("deliveries", replay.total)
            .with("handed_over", replay.handed_over)
    }

    /// A session was opened or ended.
    #[must_use]
    pub fn of_session(action: Action, session: &Session) -> Self {
        let act = Self::new(action, session.account, &session.id).named(&session.name);
        act.with("kind", session.kind.as_str())
            .with("portal", session.portal)
            .with("expires_at", session.expires_at.to_string())
    }

    /// A delivery was replayed or cancelled.
    #[must_use]
    pub fn of_delivery(action: Action, account: u32, delivery: DeliveryId, webhook: Option<&WebhookId>) -> Self {
        let act = Self::new(action, Some(account), delivery);
        match webhook {
            Some(webhook) => act.with("webhook", webhook.to_string()),
            None => act,
        }
    }
}

fn insert_change(changes: &mut Detail, field: &str, from: Value, to: Value) {
    changes.insert(field.to_owned(), serde_json::json!({ "from": from, "to": to }));
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id, which holds its time.
    pub id: AuditId,
    /// By whom.
    pub by: By,
    /// What.
    pub act: Act,
}

/// Which entries a list shows, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The number of the account; `None` for all, and the platform's own.
    pub account: Option<u32>,
    /// The filter.
    pub filter: AuditFilter,
    /// Only entries before this one.
    pub before: Option<AuditId>,
    /// How many rows at most.
    pub limit: usize,
}

/// The filter of a list of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// An action's name, or a kind of target and `.*`; it has been checked, and no other character stands for others.
    pub action: Option<String>,
    /// The id or kind of an actor.
    pub actor: Option<String>,
    /// The id of a target.
    pub target: Option<String>,
    /// Only entries from this instant on.
    pub since: Option<Timestamp>,
    /// Only entries before this instant.
    pub until: Option<Timestamp>,
}

/// The code of every refusal of a filter of this log.
const FILTER_INVALID: &str = crate::filter::FILTER_INVALID;

impl AuditFilter {
    /// Reads the parameters of a query; spans count back from `now`.
    ///
    /// # Errors
    /// A refusal for each fault; the pointer is the key, such as `since`.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<Self, Vec<Refusal>> {
        let (mut filter, mut refusals) = (Self::default(), Vec::new());
        for (key, value) in pairs {
            if let Err(detail) = filter.take(key, value, now) {
                refusals.push(Refusal::new(key, FILTER_INVALID, detail));
            }
        }
        if refusals.is_empty() { Ok(filter) } else { Err(refusals) }
    }

    fn take(&mut self, key: &str, value: &str, now: Timestamp) -> Result<(), String> {
        let twice = match key {
            "action" => {
                let group = value.strip_suffix(".*");
                let known = Action::parse(value).is_some()
                    || group.is_some_and(|group| Action::ALL.iter().any(|action| action.kind() == group));
                if !known {
                    let all: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
                    return Err(format!("{} is no action; those are {}.", shown(value), all.join(", ")));
                }
                self.action.replace(value.to_owned()).is_some()
            }
            "actor" | "target" if value.is_empty() => return Err(format!("`{key}` needs a value.")),
            "actor" => self.actor.replace(value.to_owned()).is_some(),
            "target" => self.target.replace(value.to_owned()).is_some(),
            "since" => self.since.replace(instant(value, now)?).is_some(),
            "until" => self.until.replace(instant(value, now)?).is_some(),
            _ => return Err(format!("{} is no key here; those are action, actor, target, since, until.", shown(key))),
        };
        if twice { Err(format!("`{key}` is given twice.")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_name_the_kind_of_their_target() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(*action));
            let kinds = ["account", "webhook", "key", "session", "delivery", "replay"];
            assert!(kinds.contains(&action.kind()), "{action:?}");
        }
        for kind in ActorKind::ALL {
            assert_eq!(ActorKind::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn filters_are_judged() {
        let now = Timestamp(100_000_000_000);
        let filter = AuditFilter::parse([("action", "webhook.*"), ("since", "1s"), ("actor", "key_1")], now);
        let filter = filter.expect("a filter");
        assert_eq!(filter.since, Some(Timestamp(99_999_000_000)));
        assert_eq!(filter.action.as_deref(), Some("webhook.*"));
        for (key, value) in [
            ("action", "*"),
            ("action", "webhook.gone"),
            ("action", "w*.*"),
            ("since", "soon"),
            ("x", "1"),
            ("actor", ""),
        ] {
            let refused = AuditFilter::parse([(key, value)], now).expect_err(value);
            assert_eq!((refused[0].pointer.as_str(), refused[0].code), (key, FILTER_INVALID));
        }
        assert!(AuditFilter::parse([("target", "a"), ("target", "a")], now).is_err());
    }
}
