//! The closed sets of words in inputs and answers, each as the description lists it: from the same lists as the code that reads
//! and writes them.

use std::borrow::Cow;

use domain::attempt::{self, Reason};
use domain::audit;
use domain::catalogue;
use domain::delivery;
use domain::key;
use domain::key_pair;
use domain::replay::Cause;
use domain::session;
use domain::stats::Health;
use domain::waiting::Waits;
use domain::webhook::{self, Held};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{cluster, portal_sessions, replay_json, sessions, webhook_json};

/// By whom something is paused.
pub(super) const PAUSED_BY: [&str; 2] = [PERSON, US];
pub(super) const PERSON: &str = "person";
pub(super) const US: &str = "us";

macro_rules! closed_sets {
    ($($(#[doc = $about:literal])+ $name:ident = $words:expr;)*) => {
        $(
            $(#[doc = $about])+
            pub(crate) enum $name {}

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    one_of($words.into_iter(), concat!($($about),+))
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
            }
        )*
    };
}

closed_sets! {
    /// Whether a webhook sends.
    WebhookStatus = webhook_json::STATUSES;
    /// How a webhook fares, at a glance.
    WebhookHealth = webhook_json::HEALTH.map(Health::as_str);
    /// How a webhook fares, by its figures.
    StatsHealth = Health::ALL.map(Health::as_str);
    /// By whom something is paused or was stopped.
    PausedBy = PAUSED_BY;
    /// Why a webhook is paused.
    PauseCause = webhook::PauseCause::NAMES;
    /// Which signatures a webhook's requests carry.
    Signing = key_pair::Signing::ALL.map(key_pair::Signing::as_str);
    /// What becomes of what a paused webhook holds.
    HeldChoice = Held::ALL.map(Held::as_str);
    /// Where a delivery stands.
    DeliveryStatus = delivery::DeliveryStatus::ALL.map(delivery::DeliveryStatus::as_str);
    /// What a delivery waits for that is due.
    WaitingFor = Waits::WORDS;
    /// Why an attempt failed. Later versions may know more.
    ErrorCode = attempt::ErrorCode::ALL.map(attempt::ErrorCode::as_str);
    /// Why an attempt was made.
    AttemptReason = Reason::ALL.map(Reason::as_str);
    /// Where a replay stands.
    ReplayStatus = replay_json::STATUSES;
    /// Why a replay stands still.
    ReplayCause = Cause::NAMES;
    /// What becomes of an event that breaks its type's schema.
    Enforcement = catalogue::Enforcement::ALL.map(catalogue::Enforcement::as_str);
    /// What a key may do. Later versions may know more.
    KeyScope = key::Scope::ALL.iter().map(|scope| scope.as_str());
    /// What a customer may do in a portal.
    PortalAccess = portal_sessions::ACCESS;
    /// How a session is used.
    SessionKind = session::SessionKind::ALL.map(session::SessionKind::as_str);
    /// What one is signed in by.
    CallerKind = sessions::KINDS;
    /// What did something.
    ActorKind = audit::ActorKind::ALL.map(audit::ActorKind::as_str);
    /// What was done. Later versions may know more.
    AuditAction = audit::Action::ALL.iter().map(|action| action.as_str());
    /// What something was done to. Later versions may know more.
    TargetKind = audit::Action::kinds();
    /// How a node fares.
    NodeStatus = cluster::STATUSES;
}

fn one_of(words: impl Iterator<Item = &'static str>, about: &'static str) -> RefOr<Schema> {
    let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    Schema::from(words.description(Some(about.trim()))).into()
}
