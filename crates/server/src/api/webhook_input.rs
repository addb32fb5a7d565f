//! What is given for a webhook, by create and by PATCH alike: one validator, which gathers every fault.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::ErrorCode;
use domain::custom_headers::CustomHeaders;
use domain::endpoint_url::{EndpointUrl, HostName};
use domain::event_filter::EventFilter;
use domain::key_pair::{KeyPair, Signing};
use domain::order::Order;
use domain::refusal::Refusal;
use domain::retry::RetrySchedule;
use domain::signature::KeyPairs;
use domain::time::parse_span;
use domain::webhook::Webhook;
use utoipa::ToSchema;

use super::closed_sets;
use super::webhook_json::{MASK, OrderJson};
use crate::app::Api;
use crate::json_input::{Given, Input, Members};

/// How long a look-up may take when a URL is saved.
pub(super) const LOOK_UP: Duration = Duration::from_secs(2);
/// The longest deadline of an attempt.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// The most requests in flight.
const IN_FLIGHT_MAX: u16 = 1_000;
/// The highest rate, in requests per second.
const RATE_MAX: u32 = 100_000;
/// The longest name, in characters.
pub(super) const NAME_MAX: usize = 200;

/// What a PATCH may hold; a new webhook needs `url` and `events`.
#[derive(ToSchema)]
#[schema(as = WebhookInput)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `Draft::read` reads")]
pub(crate) struct WebhookInput {
    /// A label: 1 to 200 characters. A new webhook without one is named after its host.
    #[schema(example = "CRM Sync", nullable = false, min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Where requests go: https, a public name.
    #[schema(example = "https://hooks.crm.example.com/crondb", nullable = false)]
    url: Option<String>,
    /// Which events it takes: names, groups such as `alert.*`, or `*`.
    #[schema(example = json!(["alert.*"]), nullable = false, min_items = 1)]
    events: Option<Vec<String>>,
    /// Headers that requests carry besides ours, at most 20. In a PATCH the mask as value keeps the value.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"X-Api-Key": "s3cr3t"}), nullable = false)]
    headers: Option<String>,
    /// The deadline of an attempt: over 0 s, at most 30 s; null for the operator's.
    #[schema(example = "5s")]
    timeout: Option<String>,
    /// 1 to 20 delays, each over 0 s and at most 7 d; null for the operator's.
    #[schema(example = json!(["30s", "2m", "10m", "1h", "6h"]), min_items = 1, max_items = 20)]
    retry_schedule: Option<Vec<String>>,
    /// Requests per second at most; null for no limit.
    #[schema(minimum = 1, maximum = 100000)]
    rate_limit: Option<u32>,
    /// Requests in flight at most: 1 to 1,000; null for the operator's.
    #[schema(minimum = 1, maximum = 1000)]
    max_in_flight: Option<u16>,
    /// Whether HTTP/2 is offered; HTTP/1.1 always is.
    #[schema(nullable = false)]
    http2: Option<bool>,
    /// `hmac`, or `ed25519` for a signature that a public key checks, beside the HMACs. Back to `hmac` forgets the key pair.
    #[schema(value_type = Option<closed_sets::Signing>, example = "hmac", nullable = false)]
    signing: Option<String>,
    /// In which order it gets its events; null where that does not matter.
    order: Option<OrderJson>,
}

/// The members of [`WebhookInput`].
pub(super) const FIELDS: [&str; 11] = [
    "name",
    "url",
    "events",
    "headers",
    "timeout",
    "retry_schedule",
    "rate_limit",
    "max_in_flight",
    "http2",
    "signing",
    "order",
];

/// What was given, judged. `None` was not given; an inner `None` was given as null: the operator's setting.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) name: Option<String>,
    pub(super) url: Option<Arc<EndpointUrl>>,
    pub(super) events: Option<EventFilter>,
    pub(super) headers: Option<CustomHeaders>,
    timeout: Option<Option<Duration>>,
    retry_schedule: Option<Option<RetrySchedule>>,
    rate_limit: Option<Option<u32>>,
    max_in_flight: Option<Option<u16>>,
    http2: Option<bool>,
    /// A key pair, for a webhook that has none yet; an inner `None` for the secret alone.
    pair: Option<Option<KeyPair>>,
    order: Option<Option<Order>>,
}

impl Draft {
    /// Reads what was given; faults are left in `input`. `before` is the webhook that is changed, if one is.
    pub(super) async fn read(api: &Api, input: &mut Input<'_>, before: Option<&Webhook>) -> Self {
        let mut draft = Self {
            name: read_name(input, "name"),
            events: read_events(api, input),
            headers: read_headers(api, input, before),
            timeout: read_timeout(input),
            retry_schedule: read_schedule(input),
            rate_limit: read_count(input, "rate_limit", "rate_limit_invalid", RATE_MAX),
            max_in_flight: read_count(input, "max_in_flight", "max_in_flight_invalid", u32::from(IN_FLIGHT_MAX))
                .map(|count| count.and_then(|count| u16::try_from(count).ok())),
            http2: not_null(input, "http2", "http2_invalid", "true or false"),
            pair: read_signing(api, input),
            order: read_order(input),
            url: None,
        };
        draft.url = read_url(api, input, before).await;
        draft
    }

    /// The webhook with what was given.
    pub(super) fn apply(self, webhook: &mut Webhook) {
        fn set<T>(field: &mut T, given: Option<T>) {
            if let Some(value) = given {
                *field = value;
            }
        }
        set(&mut webhook.name, self.name);
        set(&mut webhook.url, self.url);
        set(&mut webhook.events, self.events);
        set(&mut webhook.headers, self.headers);
        set(&mut webhook.timeout, self.timeout);
        set(&mut webhook.retry_schedule, self.retry_schedule);
        set(&mut webhook.rate_limit, self.rate_limit);
        set(&mut webhook.max_in_flight, self.max_in_flight);
        set(&mut webhook.http2, self.http2);
        set(&mut webhook.order, self.order);
        match self.pair {
            Some(Some(pair)) => {
                webhook.secrets.pairs.get_or_insert(KeyPairs::new(pair));
            }
            Some(None) => webhook.secrets.pairs = None,
            None => {}
        }
    }
}

/// A member that may be left out and may not be null.
pub(super) fn not_null<T: serde::de::DeserializeOwned>(
    input: &mut Input<'_>,
    name: &str,
    code: &'static str,
    expected: &str,
) -> Option<T> {
    match input.get(name, code, expected) {
        Given::Value(value) => Some(value),
        Given::Absent => None,
        Given::Null => {
            input.fault(name, code, format!("{name} must be {expected}, not null."));
            None
        }
    }
}

/// Whether a character can be seen. Those that Unicode has for joining, marking and hiding take no room.
fn shows(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}');
    !hidden && !c.is_whitespace()
}

/// A label under `name`: 1–200 characters, of which one can be seen, no control characters.
pub(super) fn read_name(input: &mut Input<'_>, name: &str) -> Option<String> {
    let text: String = not_null(input, name, "name_invalid", "text")?;
    let fits = (1..=NAME_MAX).contains(&text.chars().count()) && text.chars().any(shows);
    if !fits || text.chars().any(char::is_control) {
        input.fault(name, "name_invalid", format!("{name} has 1 to {NAME_MAX} characters, and no control characters."));
        return None;
    }
    Some(text)
}

fn read_events(api: &Api, input: &mut Input<'_>) -> Option<EventFilter> {
    let texts: Vec<String> = not_null(input, "events", "events_invalid", "a list of event types")?;
    match EventFilter::parse(&texts, &api.catalogue) {
        Ok(events) => Some(events),
        Err(faults) => {
            input.faults.extend(faults);
            None
        }
    }
}

fn read_timeout(input: &mut Input<'_>) -> Option<Option<Duration>> {
    let text = match input.text("timeout", "timeout_invalid") {
        Given::Absent => return None,
        Given::Null => return Some(None),
        Given::Value(text) => text,
    };
    match parse_span(&text) {
        Ok(span) if !span.is_zero() && span <= TIMEOUT_MAX => Some(Some(span)),
        Ok(_) | Err(_) => {
            let shown: String = text.chars().take(40).collect();
            let detail = format!("timeout is a span over 0 s and at most 30 s, such as \"5s\", not {shown:?}.");
            input.fault("timeout", "timeout_invalid", detail);
            None
        }
    }
}

fn read_schedule(input: &mut Input<'_>) -> Option<Option<RetrySchedule>> {
    let texts = match input.get::<Vec<String>>("retry_schedule", "schedule_invalid", "a list of spans such as \"30s\"")
    {
        Given::Absent => return None,
        Given::Null => return Some(None),
        Given::Value(texts) => texts,
    };
    match RetrySchedule::try_from(texts) {
        Ok(schedule) => Some(Some(schedule)),
        Err(fault) => {
            input.fault("retry_schedule", "schedule_invalid", format!("retry_schedule: {fault}."));
            None
        }
    }
}

fn read_signing(api: &Api, input: &mut Input<'_>) -> Option<Option<KeyPair>> {
    const CODE: &str = "signing_invalid";
    let text: String = not_null(input, "signing", CODE, "\"hmac\" or \"ed25519\"")?;
    match Signing::parse(&text) {
        Some(Signing::Hmac) => Some(None),
        Some(Signing::Ed25519) => Some(Some(KeyPair::from_seed(&api.chance()))),
        None => {
            let shown: String = text.chars().take(40).collect();
            input.fault("signing", CODE, format!("signing is \"hmac\" or \"ed25519\", not {shown:?}."));
            None
        }
    }
}

fn read_order(input: &mut Input<'_>) -> Option<Option<Order>> {
    const CODE: &str = "order_invalid";
    let given = match input.get::<OrderJson>("order", CODE, r#"null or {"by": "webhook"} or {"by": "/customer/id"}"#) {
        Given::Absent => return None,
        Given::Null => return Some(None),
        Given::Value(given) => given,
    };
    match Order::parse(&given.by) {
        Ok(order) => Some(Some(order)),
        Err(fault) => {
            input.faults.push(Refusal::new("/order/by", CODE, format!("order.by {fault}.")));
            None
        }
    }
}

/// A whole number from 1 to `most`.
pub(super) fn read_count(input: &mut Input<'_>, name: &str, code: &'static str, most: u32) -> Option<Option<u32>> {
    let expected = format!("a whole number from 1 to {most}");
    match input.get::<u32>(name, code, &expected) {
        Given::Absent => None,
        Given::Null => Some(None),
        Given::Value(count) if (1..=most).contains(&count) => Some(Some(count)),
        Given::Value(count) => {
            input.fault(name, code, format!("{name} must be {expected}, not {count}."));
            None
        }
    }
}

fn read_headers(api: &Api, input: &mut Input<'_>, before: Option<&Webhook>) -> Option<CustomHeaders> {
    let raw = input.raw("headers")?;
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        input.fault(
            "headers",
            "headers_invalid",
            "headers must be an object of at most 20 names, each with its value.",
        );
        return None;
    };
    let mut pairs = Vec::new();
    for (name, value) in members.iter() {
        match serde_json::from_str::<String>(value.get()) {
            // The mask keeps the value that the header has.
            Ok(value) if value == MASK => match before.and_then(|webhook| value_of(webhook, name)) {
                Some(kept) => pairs.push((name.to_owned(), kept.clone())),
                // Its name is judged all the same.
                None => {
                    input.faults.push(unknown_value(name));
                    pairs.push((name.to_owned(), String::new()));
                }
            },
            Ok(value) => pairs.push((name.to_owned(), value)),
            Err(_) => {
                let pointer = at_header(name);
                let detail = format!("The value of the header {name:?} must be text.");
                input.faults.push(Refusal::new(pointer, "header_value_invalid", detail));
            }
        }
    }
    match CustomHeaders::parse(pairs, &api.policy.brand.header_prefix) {
        Ok(headers) => Some(headers),
        Err(faults) => {
            input.faults_under("headers", faults);
            None
        }
    }
}

fn at_header(name: &str) -> String {
    format!("/headers{}", crate::json_input::pointer(name))
}

/// The mask stands for the value that a header of this name has, and there is none: it was renamed, or copied from what is shown.
fn unknown_value(name: &str) -> Refusal {
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    let detail = format!(
        "The value of {shown} is needed: {MASK} stands for what a header of the same name has, and there is none. A value is not \
         shown again and does not go along with a new name, so give it once more."
    );
    Refusal::new(at_header(name), "header_value_invalid", detail)
}

/// The value that a webhook's header has.
fn value_of<'a>(webhook: &'a Webhook, name: &str) -> Option<&'a String> {
    webhook.headers.pairs().iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

async fn read_url(api: &Api, input: &mut Input<'_>, before: Option<&Webhook>) -> Option<Arc<EndpointUrl>> {
    let text: String = not_null(input, "url", "url_invalid", "text")?;
    match EndpointUrl::parse(&text, &api.url_rules) {
        Ok(url) => {
            // The URL that it has already was judged when it was saved, and is judged again at every attempt.
            if before.is_none_or(|webhook| *webhook.url != url)
                && let Err(fault) = judge_addresses(api, &url).await
            {
                input.faults.push(fault);
                return None;
            }
            Some(Arc::new(url))
        }
        Err(fault) => {
            input.faults.push(Refusal { pointer: "/url".to_owned(), ..fault });
            None
        }
    }
}

/// Refuses a URL whose name leads to an address that may not be dialled; one that does not resolve yet passes. Gives the
/// addresses.
///
/// # Errors
/// `url_private_address`; `url_host_not_public` for a name that is public nowhere and does not lead to opened addresses.
pub(super) async fn judge_addresses(api: &Api, url: &EndpointUrl) -> Result<Vec<IpAddr>, Refusal> {
    let found = look_up(api, url).await.unwrap_or_default();
    url.judge_addresses(&found, api.names.as_ref())?;
    Ok(found)
}

/// The addresses of a URL's host.
///
/// # Errors
/// As [`domain::transport::Names::resolve`].
pub(super) async fn look_up(api: &Api, url: &EndpointUrl) -> Result<Vec<IpAddr>, ErrorCode> {
    match url.host() {
        HostName::Ip(address) => Ok(vec![*address]),
        HostName::Name(name) => api.names.resolve(name, LOOK_UP).await,
    }
}
