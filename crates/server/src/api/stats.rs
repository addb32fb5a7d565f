//! Figures of a webhook, of an account, and of the rows of the list of webhooks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use domain::key::Scope;
use domain::stats::{BadWindow, Health, Stats, StatsQuery, Step, Subjects, Window};
use domain::time::{Timestamp, parse_span};
use http::{Method, Uri};

use super::stats_json::{ShortStats, Standing, StatsJson};
use crate::app::Api;
use crate::auth::InAccount;
use crate::json;
use crate::operation::{Operation, shape};
use crate::page;
use crate::problem::Problem;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const WINDOW: &str = "How far back: a span such as 1h, 24h or 7d, at most 366d; 24h if not given.";
const STEP: &str = "The length of a step: 1m, 5m, 10m, 15m, 30m, 1h, 2h, 3h, 6h, 12h or 1d; one that fits the window if not \
                    given. Steps under 1h reach back 48h.";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            &Method::GET,
            "/v1/accounts/{account}/webhooks/{id}/stats",
            "get_webhook_stats",
            of_webhook,
            "Get a webhook's figures",
        )
        .scope(Scope::WebhooksRead)
        .about("Read from what is summed up by minute and by hour: as fast at ten million deliveries as at ten.")
        .query("window", WINDOW)
        .query("step", STEP)
        .answers(200, "The figures.", Some(shape::<StatsJson>())),
        Operation::new(
            &Method::GET,
            "/v1/accounts/{account}/stats",
            "get_account_stats",
            of_account,
            "Get an account's figures",
        )
        .scope(Scope::WebhooksRead)
        .about("Of all its webhooks together, those deleted meanwhile included.")
        .query("window", WINDOW)
        .query("step", STEP)
        .answers(200, "The figures.", Some(shape::<StatsJson>())),
    ]
}

/// What a request for figures asks for.
struct Asked {
    length: Duration,
    window: Window,
}

fn read(now: Timestamp, uri: &Uri) -> Result<Asked, Problem> {
    let (mut length, mut step) = (DAY, None);
    for (name, value) in page::pairs(uri.query()) {
        match name.as_str() {
            "window" => length = read_window(&name, &value)?,
            "step" => step = Some(Step::parse(&value).map_err(|fault| bad("step", &fault))?),
            _ => page::no_parameters(&[(name, value)])?,
        }
    }
    let window = Window::back(now, length, step).map_err(|fault| match fault {
        BadWindow::Length(_) => bad("window", &fault),
        BadWindow::Step | BadWindow::Minutes | BadWindow::Steps => bad("step", &fault),
    })?;
    Ok(Asked { length, window })
}

fn read_window(name: &str, text: &str) -> Result<Duration, Problem> {
    parse_span(text).map_err(|fault| page::bad_parameter(name, "window_invalid", format!("{name}: {fault}.")))
}

fn bad(name: &str, fault: &BadWindow) -> Problem {
    let code = if name == "step" { "step_invalid" } else { "window_invalid" };
    page::bad_parameter(name, code, format!("{name}: {fault}."))
}

async fn of_webhook(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let webhook = at.webhook(&api)?;
    let now = api.now();
    let Asked { length, window } = read(now, &uri)?;
    let numbers = [webhook.number];
    let found = each(&api, webhook.account, &numbers, window).await?;
    let health = healths(&api, webhook.account, &numbers, now).await?;
    let (Some(stats), Some(&health)) = (found.first(), health.first()) else { return Err(Problem::not_found()) };
    let standing = Standing { health, certificate_ends_at: api.names.certificate_ends_at(&webhook.url) };
    Ok(json::ok(&StatsJson::new(length, &window, stats, Some(&standing))))
}

async fn of_account(State(api): State<Arc<Api>>, at: InAccount, uri: Uri) -> Result<Response, Problem> {
    let Asked { length, window } = read(api.now(), &uri)?;
    let query = StatsQuery { account: at.account.number, subjects: Subjects::Account, window };
    let found = api.store.stats(query).await?;
    let stats = found.first().ok_or_else(Problem::not_found)?;
    Ok(json::ok(&StatsJson::new(length, &window, stats, None)))
}

/// The figures that go with the rows of a list of webhooks, in their order, for `stats=WINDOW`.
pub(super) async fn of_rows(api: &Api, account: u32, webhooks: &[u32], text: &str) -> Result<Vec<ShortStats>, Problem> {
    let (now, length) = (api.now(), read_window("stats", text)?);
    let window = Window::back(now, length, None).map_err(|fault| bad("stats", &fault))?;
    let found = each(api, account, webhooks, window).await?;
    let healths = healths(api, account, webhooks, now).await?;
    let rows = found.iter().zip(healths);
    Ok(rows.map(|(stats, health)| ShortStats::new(length, &window, stats, health)).collect())
}

/// How each webhook fares.
async fn healths(api: &Api, account: u32, webhooks: &[u32], now: Timestamp) -> Result<Vec<Health>, Problem> {
    let back = |length, step| Window::back(now, length, Some(step)).map_err(|fault| bad("window", &fault));
    let day = each(api, account, webhooks, back(DAY, Step::HOUR)?).await?;
    let hour = each(api, account, webhooks, back(HOUR, Step::MINUTE)?).await?;
    Ok(day.iter().zip(&hour).map(|(day, hour)| Health::judge(&day.total(), &hour.total())).collect())
}

async fn each(api: &Api, account: u32, webhooks: &[u32], window: Window) -> Result<Vec<Stats>, Problem> {
    let query = StatsQuery { account, subjects: Subjects::Webhooks(webhooks.to_vec()), window };
    Ok(api.store.stats(query).await?)
}
