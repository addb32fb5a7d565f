//! What `dev` starts with: two webhooks to the inbox, one sample event, and if wanted a stream of them. All of it goes
//! through the API, as anybody's would.

use std::sync::Arc;
use std::time::Duration;

use domain::catalogue::{Catalogue, EventType};
use http::Method;
use serde_json::json;
use serde_json::value::RawValue;

use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::client::{Client, Sending};
use crate::exit::Stop;
use crate::output::Console;
use crate::output::value::text;

/// The account of everything in `dev`.
pub(super) const ACCOUNT: &str = "default";

/// Makes sure that the webhook `name` is there and goes to `url`.
///
/// # Errors
/// What the API refuses.
pub(super) async fn webhook(client: &Client, name: &str, url: &str) -> Result<(), Stop> {
    let all = list::fetch(client, &["accounts", ACCOUNT, "webhooks"], Vec::new(), &Paging::all()).await?;
    match all.values().iter().find(|webhook| text(webhook, "name") == name) {
        None => {
            let body = json!({"name": name, "url": url, "events": ["*"]});
            client.post(&path(&["accounts", ACCOUNT, "webhooks"]), &body).await?;
        }
        // The inbox may listen on another port than last time.
        Some(there) if text(there, "url") != url => {
            let change = Sending::json(&json!({"url": url}));
            client.send(Method::PATCH, &path(&["accounts", ACCOUNT, "webhooks", text(there, "id")]), change).await?;
        }
        Some(_) => {}
    }
    Ok(())
}

/// Sends a type's example; the event's id.
///
/// # Errors
/// What the API refuses.
pub(super) async fn sample(client: &Client, event_type: &EventType) -> Result<String, Stop> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        account: &'a str,
        event: &'a str,
        data: &'a RawValue,
    }
    let body = Body { account: ACCOUNT, event: &event_type.name, data: &event_type.example };
    let body = serde_json::to_string(&body).map_err(|error| Stop::failure(error.to_string()))?;
    let accepted = client.send(Method::POST, &path(&["events"]), Sending::text(body)).await?.value()?;
    Ok(text(&accepted, "id").to_owned())
}

/// How often a sample is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(Duration);

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let number = written.strip_suffix("/s").unwrap_or(written).parse::<f64>().ok();
        match number.filter(|per_second| (0.01..=1_000.0).contains(per_second)) {
            Some(per_second) => Ok(Self(Duration::from_secs_f64(1.0 / per_second))),
            None => Err("write events per second, such as 2/s; 0.01/s to 1000/s".to_owned()),
        }
    }
}

/// Sends samples of all types, one after the other, for as long as it is polled.
pub(super) async fn traffic(client: &Client, catalogue: &Arc<Catalogue>, rate: Rate, console: &Console) {
    let mut ticks = tokio::time::interval(rate.0);
    for event_type in catalogue.types().iter().cycle() {
        ticks.tick().await;
        if let Err(stop) = sample(client, event_type).await {
            console.talk(&format!("A sample event was not taken: {}", stop.said));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_events_per_second() {
        assert_eq!("2/s".parse(), Ok(Rate(Duration::from_millis(500))));
        assert_eq!("0.5/s".parse(), Ok(Rate(Duration::from_secs(2))));
        for text in ["", "0/s", "-1/s", "many", "NaN/s", "1e9/s", "2/m"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
