//! Lists, a page at a time: `limit`, an opaque `cursor`, and what the answer says about the next page.

use std::time::Duration;

use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use domain::time::Timestamp;
use http::HeaderValue;
use http::header::LINK;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use crate::json;
use crate::problem::Problem;

/// Rows of a page when nothing is said.
const LIMIT_DEFAULT: usize = 25;
/// Rows of a page at most.
pub(crate) const LIMIT_MAX: usize = 100;
/// Bytes of the check in a cursor.
const CHECK: usize = 9;

/// Which list a cursor belongs to. It holds nothing secret, so its check is bound to the list, and not to a key: it need
/// only keep cursors of other lists and made-up ones out, and must be the same on every node and after a restart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a> {
    /// The list's name.
    pub(crate) name: &'a str,
    /// The number of the account that the list is of; 0 for the platform's.
    pub(crate) account: u32,
}

impl List<'_> {
    fn check(&self, position: &str) -> [u8; CHECK] {
        let mut hash = Sha256::new();
        hash.update(b"cursor\n");
        hash.update(self.name.as_bytes());
        hash.update(self.account.to_be_bytes());
        hash.update(position.as_bytes());
        let mut check = [0; CHECK];
        check.copy_from_slice(&hash.finalize()[..CHECK]);
        check
    }

    fn write(&self, position: &str) -> String {
        let mut bytes = self.check(position).to_vec();
        bytes.extend_from_slice(position.as_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn read(&self, cursor: &str) -> Option<String> {
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
        let (check, position) = bytes.split_first_chunk::<CHECK>()?;
        let position = std::str::from_utf8(position).ok()?;
        (self.check(position) == *check).then(|| position.to_owned())
    }
}

/// The query of a list's request.
#[derive(Debug)]
pub(crate) struct ListQuery {
    /// Rows wanted.
    pub(crate) limit: usize,
    /// Where the page starts, as [`respond`] was told.
    pub(crate) position: Option<String>,
    /// The other parameters, decoded.
    pub(crate) rest: Vec<(String, String)>,
}

/// The parameters of a query, decoded.
pub(crate) fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// A parameter's fault; its name stands where the pointer is.
pub(crate) fn bad_parameter(name: &str, code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::fault(name, code, detail)
}

impl ListQuery {
    /// Reads the query of a list.
    ///
    /// # Errors
    /// 422 for a bad `limit` or `cursor`.
    pub(crate) fn parse(query: Option<&str>, list: List<'_>) -> Result<Self, Problem> {
        let (mut limit, mut position, mut rest) = (None, None, Vec::new());
        for (name, value) in pairs(query) {
            match name.as_str() {
                "limit" if limit.is_none() => {
                    let wanted = value.parse().ok().filter(|wanted| (1..=LIMIT_MAX).contains(wanted));
                    limit = Some(wanted.ok_or_else(|| {
                        bad_parameter(
                            "limit",
                            "limit_invalid",
                            format!("limit is a whole number from 1 to 100, not {value:?}."),
                        )
                    })?);
                }
                "cursor" if position.is_none() => {
                    position = Some(list.read(&value).ok_or_else(|| {
                        bad_parameter(
                            "cursor",
                            "cursor_invalid",
                            "This cursor is not one of this list. Start without a cursor.",
                        )
                    })?);
                }
                "limit" | "cursor" => {
                    return Err(bad_parameter(
                        &name,
                        "duplicate_parameter",
                        format!("{name} is given more than once."),
                    ));
                }
                _ => rest.push((name, value)),
            }
        }
        Ok(Self { limit: limit.unwrap_or(LIMIT_DEFAULT), position, rest })
    }

    /// For lists without other parameters.
    ///
    /// # Errors
    /// 422 if there are any.
    pub(crate) fn nothing_else(&self) -> Result<(), Problem> {
        no_parameters(&self.rest)
    }

    /// The position as a `T`.
    ///
    /// # Errors
    /// 422 if it is none.
    pub(crate) fn before<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let read = |text: &String| {
            text.parse().map_err(|_| bad_parameter("cursor", "cursor_invalid", "This cursor is not one of this list."))
        };
        self.position.as_ref().map(read).transpose()
    }
}

/// # Errors
/// 422 if there are parameters.
pub(crate) fn no_parameters(pairs: &[(String, String)]) -> Result<(), Problem> {
    match pairs.first() {
        None => Ok(()),
        Some((name, _)) => {
            Err(bad_parameter(name, "unknown_parameter", format!("There is no parameter {name:?} here.")))
        }
    }
}

/// For how long a search looks before it answers: the first page at once with what is found among the newest, a further
/// one, which somebody has asked for, for longer. The first is so short that it hardly ever outlasts its turn on the
/// processor: on a busy machine 4 ms took 20 to 50.
pub(crate) const fn patience(further: bool) -> Duration {
    if further { Duration::from_millis(500) } else { Duration::from_millis(1) }
}

#[derive(Serialize)]
struct Written<'a, T> {
    data: &'a [T],
    next_cursor: Option<String>,
    /// `None` leaves it out; `Some(None)` is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_until: Option<Option<Timestamp>>,
}

/// The answer with a page of a list: `{data, next_cursor}`, and `Link: rel="next"` if there is more.
pub(crate) fn respond<T: Serialize>(list: List<'_>, uri: &http::Uri, rows: &[T], next: Option<String>) -> Response {
    write(list, uri, rows, next, None)
}

/// [`respond`] for a list that may have looked for long enough: `{data, next_cursor, searched_until}`.
pub(crate) fn respond_searched<T: Serialize>(
    list: List<'_>,
    uri: &http::Uri,
    rows: &[T],
    next: Option<String>,
    searched_until: Option<Timestamp>,
) -> Response {
    write(list, uri, rows, next, Some(searched_until))
}

fn write<T: Serialize>(
    list: List<'_>,
    uri: &http::Uri,
    rows: &[T],
    next: Option<String>,
    searched_until: Option<Option<Timestamp>>,
) -> Response {
    let next_cursor = next.map(|position| list.write(&position));
    let link = next_cursor.as_ref().map(|cursor| link(uri, cursor));
    let mut response = json::ok(&Written { data: rows, next_cursor, searched_until });
    if let Some(value) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(LINK, value);
    }
    response
}

/// The next page's address: relative, since the request's host decides nothing.
fn link(uri: &http::Uri, cursor: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs(uri.query()).into_iter().filter(|(name, _)| name != "cursor"));
    query.append_pair("cursor", cursor);
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish())
}

/// A page of rows that are in memory, newest first: those after `position`, which is a row's `key`.
pub(crate) fn cut<T>(rows: Vec<T>, query: &ListQuery, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let start = match &query.position {
        None => 0,
        // A row that has gone meanwhile ends the list rather than starting it again.
        Some(position) => rows.iter().position(|row| key(row) == *position).map_or(rows.len(), |at| at + 1),
    };
    let more = rows.len() > start + query.limit;
    let page: Vec<T> = rows.into_iter().skip(start).take(query.limit).collect();
    let next = if more { page.last().map(key) } else { None };
    (page, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_taken_by_their_own_list_only() {
        let (mine, yours) = (List { name: "deliveries", account: 1 }, List { name: "deliveries", account: 2 });
        let cursor = mine.write("dlv_1");
        assert_eq!(mine.read(&cursor), Some("dlv_1".to_owned()));
        assert_eq!(yours.read(&cursor), None);
        assert_eq!(List { name: "events", account: 1 }.read(&cursor), None);
        for garbage in ["", "AAAA", "é", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(mine.read(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn limits_are_judged() {
        let list = List { name: "events", account: 1 };
        for text in ["0", "-1", "1000000000", "NaN", "", "101", "1.5"] {
            assert!(ListQuery::parse(Some(&format!("limit={text}")), list).is_err(), "{text}");
        }
        assert_eq!(ListQuery::parse(Some("limit=100"), list).expect("a query").limit, 100);
        assert_eq!(ListQuery::parse(None, list).expect("a query").limit, 25);
        assert!(ListQuery::parse(Some("limit=1&limit=2"), list).is_err());
    }

    #[test]
    fn pages_in_memory_follow_each_other_to_the_end() {
        let list = List { name: "accounts", account: 0 };
        let (mut seen, mut position) = (Vec::new(), None);
        for _ in 0..3 {
            let query = ListQuery { limit: 2, position, rest: Vec::new() };
            let (page, next) = cut(vec!["e", "d", "c", "b", "a"], &query, |row| (*row).to_owned());
            seen.extend(page);
            position = next;
        }
        assert_eq!((seen, position), (vec!["e", "d", "c", "b", "a"], None));
        assert_eq!(
            link(&"/v1/x?limit=2&cursor=old&q=a%20b".parse().expect("a URI"), &list.write("c")),
            format!("</v1/x?limit=2&q=a+b&cursor={}>; rel=\"next\"", list.write("c"))
        );
    }
}
