//! Lists of the API: one page, or page after page.

use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::client::path::query;
use crate::exit::Stop;
use crate::output::Console;
use crate::output::table::Table;

/// For how long a search goes on by itself.
const SEARCHED_FOR: Duration = Duration::from_secs(10);
/// The largest page that the API gives.
const PAGE_MAX: u32 = 100;

/// How much of a list is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct Paging {
    /// How many rows at most
    #[arg(long, default_value_t = 25, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Paging {
    /// Everything, as far as a person would want to see it.
    pub(crate) const fn all() -> Self {
        Self { limit: 10_000, cursor: None }
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
    searched_until: Option<String>,
}

/// The rows of a list, and where it goes on.
#[derive(Debug, Serialize)]
pub(crate) struct Rows {
    /// The rows, as they came.
    data: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
    /// Set when the search ended since it had looked for long enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_until: Option<String>,
}

/// Fetches the list at `parts`, as many pages as the limit asks for; a search that finds little for as long as somebody
/// would wait.
///
/// # Errors
/// As [`Client::send`].
pub(crate) async fn fetch(
    client: &Client,
    parts: &[&str],
    filter: Vec<(String, String)>,
    paging: &Paging,
) -> Result<Rows, Stop> {
    let mut rows = Rows { data: Vec::new(), next_cursor: paging.cursor.clone(), searched_until: None };
    let started = Instant::now();
    let mut left = paging.limit;
    loop {
        let mut pairs = filter.clone();
        pairs.push(("limit".to_owned(), left.min(PAGE_MAX).to_string()));
        pairs.extend(rows.next_cursor.take().map(|cursor| ("cursor".to_owned(), cursor)));
        let page: Page = client.get(&query(parts, &pairs)).await?.read()?;
        left = left.saturating_sub(u32::try_from(page.data.len()).unwrap_or(u32::MAX));
        // Only a search may find nothing and have more to look through.
        let nothing = page.data.is_empty() && page.searched_until.is_none();
        let tired = page.searched_until.is_some() && started.elapsed() > SEARCHED_FOR;
        let ended = nothing || page.next_cursor.is_none() || left == 0 || tired;
        rows.data.extend(page.data);
        rows.next_cursor = page.next_cursor;
        rows.searched_until = page.searched_until;
        if ended {
            return Ok(rows);
        }
    }
}

impl Rows {
    /// The rows, read.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.data.iter().filter_map(|row| serde_json::from_str(row.get()).ok()).collect()
    }

    /// Prints the rows: as a table, or as the API's own JSON.
    pub(crate) fn show(self, console: &Console, table: impl Fn(&[Value]) -> Table, nothing: &str) {
        if console.json() {
            console.line(&serde_json::to_string(&self).unwrap_or_default());
            return;
        }
        table(&self.values()).print(console, nothing);
        if let (Some(cursor), Some(until)) = (&self.next_cursor, &self.searched_until) {
            console.talk(&format!("Searched back to {until}; go on with --cursor {cursor}"));
        } else if let Some(cursor) = self.next_cursor {
            console.talk(&format!("There is more: --limit {}, or --cursor {cursor}", self.data.len() * 2));
        }
    }
}
