//! A filter of deliveries in the numbers of the rows: what an index's entry can be judged by, and which indexes fit.

use std::time::Duration;

use domain::attempt::ErrorCode;
use domain::delivery::DeliveryStatus;
use domain::filter::{CodePattern, DeliveryFilter};
use domain::id::{DeliveryId, EventId};
use domain::store::DeliveryQuery;
use domain::time::Timestamp;

use super::delivery::{State, error_number};
use super::event_types::EventTypes;

/// How far a timestamp may lie after its key's microsecond, generously: see `stamps`.
pub(crate) const LEAD_MAX: Duration = Duration::from_secs(1);

/// What an index says about a delivery; `None` is what this index does not know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: DeliveryId,
    pub(crate) webhook: Option<u32>,
    pub(crate) event_type: Option<u32>,
    pub(crate) state: Option<State>,
    pub(crate) outcome: Option<Outcome>,
}

/// A code, or the error of an attempt without an answer, negative; `None` before the first attempt.
pub(crate) type Outcome = Option<i64>;

/// What is wanted, in numbers.
pub(crate) struct Wanted {
    webhook: Option<u32>,
    /// The numbers of the types; `None` for all.
    pub(crate) types: Option<Vec<u32>>,
    /// `None` for all.
    pub(crate) states: Option<Vec<State>>,
    pub(crate) codes: Vec<CodePattern>,
    pub(crate) errors: Vec<ErrorCode>,
}

impl Wanted {
    /// With `cancelling`, some of what waits is shown as cancelled.
    pub(crate) fn new(query: &DeliveryQuery, types: &EventTypes, cancelling: bool) -> Self {
        let filter = &query.filter;
        let mut states = states(filter);
        if let Some(states) = &mut states
            && cancelling
            && states.contains(&State::Cancelled)
            && !states.contains(&State::Waiting)
        {
            states.push(State::Waiting);
        }
        Self {
            webhook: query.webhook,
            types: types.matching(&filter.events),
            states,
            codes: filter.code.clone(),
            errors: filter.error.clone(),
        }
    }

    /// Whether the delivery behind an entry, or one without a row, may be meant.
    pub(crate) fn may_mean(&self, entry: &Entry) -> bool {
        fn one<T: PartialEq>(wanted: Option<&[T]>, known: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| known.is_none_or(|known| wanted.contains(known)))
        }
        self.webhook.is_none_or(|webhook| entry.webhook.is_none_or(|of| of == webhook))
            && one(self.types.as_deref(), entry.event_type.as_ref())
            && one(self.states.as_deref(), entry.state.as_ref())
            && entry.outcome.is_none_or(|outcome| self.means_outcome(outcome))
    }

    /// Whether this outcome is one that is asked for.
    pub(crate) fn means_outcome(&self, outcome: Outcome) -> bool {
        if self.codes.is_empty() && self.errors.is_empty() {
            return true;
        }
        let Some(outcome) = outcome else { return false };
        let code = u16::try_from(outcome).ok();
        (self.codes.is_empty() || code.is_some_and(|code| self.codes.iter().any(|pattern| pattern.matches(code))))
            && (self.errors.is_empty() || self.errors.iter().any(|error| errors_outcomes(*error).contains(&outcome)))
    }
}

/// The outcomes that an error means: the codes of its class, or its own.
fn errors_outcomes(error: ErrorCode) -> std::ops::RangeInclusive<i64> {
    match error {
        ErrorCode::Http3xx => 300..=399,
        ErrorCode::Http4xx => 400..=499,
        ErrorCode::Http5xx => 500..=599,
        ErrorCode::DnsNotFound
        | ErrorCode::DnsTimeout
        | ErrorCode::DnsFailed
        | ErrorCode::ConnectRefused
        | ErrorCode::ConnectTimeout
        | ErrorCode::AddressBlocked
        | ErrorCode::TlsExpired
        | ErrorCode::TlsNameMismatch
        | ErrorCode::TlsUnknownIssuer
        | ErrorCode::TlsOther
        | ErrorCode::ResponseTimeout
        | ErrorCode::ConnectionReset
        | ErrorCode::BadHttp => -error_number(error)..=-error_number(error),
    }
}

/// The states that may be meant; `None` for all.
pub(crate) fn states(filter: &DeliveryFilter) -> Option<Vec<State>> {
    let mut states = Vec::new();
    for status in &filter.status {
        let state = match status {
            DeliveryStatus::Pending | DeliveryStatus::Sending | DeliveryStatus::Held => State::Waiting,
            DeliveryStatus::Delivered => State::Delivered,
            DeliveryStatus::Failed => State::Failed,
            DeliveryStatus::Cancelled => State::Cancelled,
        };
        if !states.contains(&state) {
            states.push(state);
        }
    }
    // What was delivered had a 2xx, unless it was sent again since.
    let success = |code: &CodePattern| (200..300).any(|status| code.matches(status));
    let no_success = !filter.error.is_empty() || (!filter.code.is_empty() && !filter.code.iter().any(success));
    if no_success {
        if states.is_empty() {
            states = vec![State::Waiting, State::Failed, State::Cancelled];
        }
        states.retain(|state| *state != State::Delivered);
        return Some(states);
    }
    (!states.is_empty()).then_some(states)
}

/// The keys between which events of these times lie: from the first one on, below the second.
pub(crate) fn keys(since: Option<Timestamp>, until: Option<Timestamp>) -> (i64, Option<EventId>) {
    let key = |at: Timestamp| EventId::first_at(at.0.max(0));
    (since.map_or(0, |since| key(since.minus(LEAD_MAX)).0 as i64), until.map(key))
}
