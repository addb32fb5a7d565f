//! Which indexes fit a filter of deliveries.

use domain::store::DeliveryQuery;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::Fault;
use super::streams::Source;
use crate::rows::delivery::State;
use crate::rows::wanted::Wanted;

/// How many parts of indexes one list is merged from at most.
const SOURCES_MAX: usize = 64;
/// The outcome that most deliveries have: what is delivered with it is in no index by outcome.
const OK: i64 = 200;

/// The lists of sources to choose from, the one most likely to be short first: each finds everything that is wanted.
pub(super) fn plans(wanted: &Wanted, conn: &Connection, query: &DeliveryQuery) -> Result<Vec<Vec<Source>>, Fault> {
    let account = query.account;
    if let Some(event) = query.event {
        return Ok(vec![vec![Source::Event(event)]]);
    }
    // Whatever else is asked for: there is nothing.
    if wanted.types.as_ref().is_some_and(Vec::is_empty) || wanted.states.as_ref().is_some_and(Vec::is_empty) {
        return Ok(vec![Vec::new()]);
    }
    let mut plans = Vec::new();
    let types = wanted.types.as_deref().filter(|types| types.len() <= SOURCES_MAX);
    if let Some(states) = wanted.states.as_deref().filter(|states| !states.contains(&State::Delivered)) {
        if let Some(webhook) = query.webhook {
            plans.push(states.iter().map(|&state| Source::WebhookState(webhook, state)).collect());
        }
        if let Some(types) = types {
            let each = types.iter().flat_map(|&of| states.iter().map(move |&state| (of, state)));
            plans.push(each.map(|(of, state)| Source::TypeState(account, of, state)).collect());
        }
        plans.extend(by_outcome(wanted, conn, account)?);
        if plans.is_empty() {
            plans.push(states.iter().map(|&state| Source::State(account, state)).collect());
        }
    } else {
        plans.extend(by_outcome(wanted, conn, account)?);
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
fn by_outcome(wanted: &Wanted, conn: &Connection, account: u32) -> Result<Option<Vec<Source>>, Fault> {
    if (wanted.codes.is_empty() && wanted.errors.is_empty()) || wanted.means_outcome(Some(OK)) {
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
        if wanted.means_outcome(Some(outcome)) {
            sources.push(Source::Outcome(account, outcome));
        }
        if sources.len() > SOURCES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(sources))
}
