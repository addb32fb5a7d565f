//! A filter of deliveries in the numbers of the rows: what an index's entry can be judged by, and which indexes fit.

use domain::attempt::ErrorCode;
use domain::delivery::DeliveryStatus;
use domain::filter::{CodePattern, DeliveryFilter};
use domain::store::DeliveryQuery;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::deliveries::{State, error_number};
use super::event_types::EventTypes;
use super::fault::Fault;
use super::streams::{Entry, Outcome, Source};

/// How many parts of indexes one list is merged from at most.
const SOURCES_MAX: usize = 64;
/// The outcome that most deliveries have: what is delivered with it is in no index by outcome.
const OK: i64 = 200;

/// What is wanted, in numbers.
pub(super) struct Wanted {
    webhook: Option<u32>,
    /// The numbers of the types; `None` for all.
    types: Option<Vec<u32>>,
    /// `None` for all.
    states: Option<Vec<State>>,
    codes: Vec<CodePattern>,
    errors: Vec<ErrorCode>,
}

impl Wanted {
    /// With `cancelling`, some of what waits is shown as cancelled.
    pub(super) fn new(query: &DeliveryQuery, types: &EventTypes, cancelling: bool) -> Self {
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
    pub(super) fn may_mean(&self, entry: &Entry) -> bool {
        fn one<T: PartialEq>(wanted: Option<&[T]>, known: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| known.is_none_or(|known| wanted.contains(known)))
        }
        self.webhook.is_none_or(|webhook| entry.webhook.is_none_or(|of| of == webhook))
            && one(self.types.as_deref(), entry.event_type.as_ref())
            && one(self.states.as_deref(), entry.state.as_ref())
            && entry.outcome.is_none_or(|outcome| self.means_outcome(outcome))
    }

    fn means_outcome(&self, outcome: Outcome) -> bool {
        if self.codes.is_empty() && self.errors.is_empty() {
            return true;
        }
        let Some(outcome) = outcome else { return false };
        let code = u16::try_from(outcome).ok();
        (self.codes.is_empty() || code.is_some_and(|code| self.codes.iter().any(|pattern| pattern.matches(code))))
            && (self.errors.is_empty() || self.errors.iter().any(|error| errors_outcomes(*error).contains(&outcome)))
    }

    /// The lists of sources to choose from, the one most likely to be short first: each finds everything that is wanted.
    pub(super) fn plans(&self, conn: &Connection, query: &DeliveryQuery) -> Result<Vec<Vec<Source>>, Fault> {
        let account = query.account;
        if let Some(event) = query.event {
            return Ok(vec![vec![Source::Event(event)]]);
        }
        // Whatever else is asked for: there is nothing.
        if self.types.as_ref().is_some_and(Vec::is_empty) || self.states.as_ref().is_some_and(Vec::is_empty) {
            return Ok(vec![Vec::new()]);
        }
        let mut plans = Vec::new();
        let types = self.types.as_deref().filter(|types| types.len() <= SOURCES_MAX);
        if let Some(states) = self.states.as_deref().filter(|states| !states.contains(&State::Delivered)) {
            if let Some(webhook) = query.webhook {
                plans.push(states.iter().map(|&state| Source::WebhookState(webhook, state)).collect());
            }
            if let Some(types) = types {
                let each = types.iter().flat_map(|&of| states.iter().map(move |&state| (of, state)));
                plans.push(each.map(|(of, state)| Source::TypeState(account, of, state)).collect());
            }
            plans.extend(self.by_outcome(conn, account)?);
            if plans.is_empty() {
                plans.push(states.iter().map(|&state| Source::State(account, state)).collect());
            }
        } else {
            plans.extend(self.by_outcome(conn, account)?);
            if let Some(webhook) = query.webhook {
                plans.push(vec![Source::Webhook(webhook)]);
            }
            if let Some(types) = types {
                plans.push(types.iter().map(|&of| Source::Type(account, of)).collect());
            }
            if plans.is_empty() {
                plans.push(vec![Source::Account(account)]);
            }
        }
        Ok(plans)
    }

    /// The sources by outcome, if codes or errors are asked for that are not what most deliveries have.
    fn by_outcome(&self, conn: &Connection, account: u32) -> Result<Option<Vec<Source>>, Fault> {
        if (self.codes.is_empty() && self.errors.is_empty()) || self.means_outcome(Some(OK)) {
            return Ok(None);
        }
        let mut next = conn.prepare_cached(
            "SELECT ifnull(code, -error) FROM deliveries INDEXED BY deliveries_of_outcome
             WHERE account = ?1 AND ifnull(code, -error) > ?2 AND ifnull(code, -error) <> 200
             ORDER BY account, ifnull(code, -error) LIMIT 1",
        )?;
        let mut sources = Vec::new();
        let mut after = i64::MIN;
        // There are as many turns as there are outcomes: few.
        while let Some(outcome) = next.query_row(params![account, after], |row| row.get(0)).optional()? {
            after = outcome;
            if self.means_outcome(Some(outcome)) {
                sources.push(Source::Outcome(account, outcome));
            }
            if sources.len() > SOURCES_MAX {
                return Ok(None);
            }
        }
        Ok(Some(sources))
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
pub(super) fn states(filter: &DeliveryFilter) -> Option<Vec<State>> {
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
