//! `GET …/deliveries/export`: the log that a filter means, a JSON document a line, as fast as it is read and no faster.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use domain::id::DeliveryId;
use domain::key::Scope;
use domain::store::DeliveryQuery;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Uri};
use serde::Serialize;

use super::deliveries;
use super::stream::Open;
use crate::app::Api;
use crate::auth::{Caller, InAccount};
use crate::json;
use crate::operation::{Operation, text, yes_or_no};
use crate::page;
use crate::problem::{Problem, RECORD_DAMAGED};

/// Deliveries that are read at once.
const PAGE: usize = 100;
/// For how long one page is looked for: however rare what is wanted is, an export that nobody waits for any more ends.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) fn operations() -> Vec<Operation> {
    let export = Operation::new(
        &Method::GET,
        "/v1/accounts/{account}/deliveries/export",
        "export_deliveries",
        export,
        "Export deliveries",
    )
    .scope(Scope::DeliveriesRead)
    .about(
        "Every delivery that the filter means, newest first, one JSON document a line: as in the list, or, with attempts, \
         as by itself. Whatever was accepted before the request is in it. If the connection ends without the end of the \
         answer, ask again with the last line's id as cursor. Where something that is kept is damaged, the last line is no \
         delivery but {status, code, detail}, and the export is not whole.",
    );
    vec![
        deliveries::takes_filter(export)
            .query_of("attempts", "true for the attempts of each delivery, with what was sent and answered.", yes_or_no)
            .query("cursor", "The id of the last line that came: the export goes on after it.")
            .answers(200, "The lines.", Some(text("application/x-ndjson"))),
    ]
}

async fn export(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let (mut attempts, mut cursor, mut rest) = (None, None, Vec::new());
    for (name, value) in page::pairs(uri.query()) {
        let twice = match name.as_str() {
            "attempts" => attempts.replace(read_attempts(&value)?).is_some(),
            "cursor" => cursor.replace(read_cursor(&value)?).is_some(),
            _ => {
                rest.push((name, value));
                continue;
            }
        };
        if twice {
            let detail = format!("{name} is given more than once.");
            return Err(page::bad_parameter(&name, "duplicate_parameter", detail));
        }
    }
    let query = deliveries::filtered(&api, at.account.number, &rest)?;
    let query = query.map(|query| DeliveryQuery { before: cursor, limit: PAGE, patience: PATIENCE, ..query });
    let open = api.streams.open(at.account.number)?;
    let export = Export { api, caller: at.caller, attempts: attempts.unwrap_or(false), query, _open: open };
    let mut response = Response::new(Body::from_stream(stream::try_unfold(export, Export::step)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn read_attempts(value: &str) -> Result<bool, Problem> {
    value.parse().map_err(|_| {
        page::bad_parameter("attempts", "attempts_invalid", format!("attempts is true or false, not {value:?}."))
    })
}

fn read_cursor(value: &str) -> Result<DeliveryId, Problem> {
    value.parse().map_err(|_| {
        let detail = "The cursor of an export is the id of a delivery, dlv_…: that of the last line that came.";
        page::bad_parameter("cursor", "cursor_invalid", detail)
    })
}

/// An export at its place; an error cuts the answer off, so that nobody takes it for whole.
struct Export {
    api: Arc<Api>,
    caller: Caller,
    attempts: bool,
    /// The next page; `None` after the last.
    query: Option<DeliveryQuery>,
    _open: Open,
}

impl Export {
    /// The lines of the next page that has any.
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, io::Error> {
        while let Some(mut query) = self.query.take() {
            if self.api.stopping.is_stopping() || !self.caller.is_still_valid(&self.api) {
                return Err(io::Error::other("the export was cut off"));
            }
            query.now = self.api.now();
            query.sending = self.api.in_flight.all();
            let mut lines = Vec::new();
            let page = match self.api.store.deliveries(query.clone()).await.map_err(Problem::from) {
                Ok(page) => page,
                Err(problem) => {
                    self.ends(&mut lines, &problem, None)?;
                    return Ok(Some((lines.into(), self)));
                }
            };
            if self.attempts {
                for row in &page.rows {
                    match deliveries::detail(&self.api, query.account, row.id).await {
                        Ok(detail) => push(&mut lines, &detail),
                        // It went meanwhile, since its retention has ended.
                        Err(problem) if problem.status().as_u16() == 404 => {}
                        Err(problem) => {
                            self.ends(&mut lines, &problem, Some(row.id))?;
                            return Ok(Some((lines.into(), self)));
                        }
                    }
                }
            } else {
                let rows = deliveries::rows_json(&self.api, query.account, &page.rows).await;
                rows.iter().for_each(|row| push(&mut lines, row));
            }
            self.query = page.next.map(|next| DeliveryQuery { before: Some(next), ..query });
            if !lines.is_empty() {
                return Ok(Some((lines.into(), self)));
            }
        }
        Ok(None)
    }
}

impl Export {
    /// The export ends before its end: of damage its last line tells, since asking again would end there again.
    ///
    /// # Errors
    /// What passes, by which the answer is cut off.
    fn ends(&self, lines: &mut Vec<u8>, problem: &Problem, at: Option<DeliveryId>) -> Result<(), io::Error> {
        if !problem.is_damage() {
            return Err(io::Error::other(problem.detail().to_owned()));
        }
        self.api.health.met_damage();
        let what = match at {
            Some(id) => format!("what is kept of {id} is damaged. cursor={id} goes on after it."),
            None => "what is kept here is damaged.".to_owned(),
        };
        let detail = format!("The export ends before its end: {what} The operator's log has the details.");
        push(lines, &Broken { status: problem.status().as_u16(), code: RECORD_DAMAGED, detail });
        Ok(())
    }
}

/// The last line of an export that damage has ended.
#[derive(Serialize)]
struct Broken {
    status: u16,
    code: &'static str,
    detail: String,
}

fn push(lines: &mut Vec<u8>, row: &impl Serialize) {
    lines.extend_from_slice(&json::write(row));
    lines.push(b'\n');
}
