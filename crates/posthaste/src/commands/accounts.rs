//! `posthaste accounts`: the customers of the platform.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::client::{Answer, Sending};
use crate::exit::{Ended, Exit, Stop};
use crate::output::table::Table;
use crate::output::value::{instant, text};

/// What to do with accounts.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All accounts
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// A new account
    Create {
        /// Its id, such as acme
        id: String,
        /// A label
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        limits: Limits,
    },
    /// Change an account; what is not given stays as it is
    Edit {
        /// Its id
        id: String,
        /// A label
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        limits: Limits,
    },
    /// One account
    Show {
        /// Its id
        id: String,
    },
    /// Give an account another label
    Rename {
        /// Its id
        id: String,
        /// The label
        name: String,
    },
    /// What of an account's log is kept and shown; options change it, and what is not named stays
    Log {
        /// Its id
        id: String,
        /// For how long ended deliveries are kept, such as 7d; default for the operator's value
        #[arg(long, value_name = "SPAN")]
        retention: Option<String>,
        /// How much is kept, such as 5GiB; default for as much as the operator's value leaves
        #[arg(long, value_name = "SIZE")]
        retention_size: Option<String>,
        /// JSON pointers into the events' data that the log does not show, such as /contact/email; none for all
        #[arg(long, value_name = "POINTERS", value_delimiter = ',')]
        redact: Option<Vec<String>>,
    },
    /// Delete an account, and for good everything that it owns
    Delete {
        /// Its id
        id: String,
        /// Its id again: there is no way back
        #[arg(long, value_name = "ID")]
        confirm: Option<String>,
    },
}

/// How much an account may ask for.
#[derive(Debug, Args)]
struct Limits {
    /// Events per second at most; `default` for the operator's
    #[arg(long, value_name = "COUNT")]
    events_per_second: Option<String>,
    /// Webhooks at most; `default` for the operator's
    #[arg(long, value_name = "COUNT")]
    max_webhooks: Option<String>,
}

impl Limits {
    /// Adds what was given to the body of a request.
    fn add_to(&self, body: &mut Value) -> Result<(), Stop> {
        for (field, given) in [("events_per_second", &self.events_per_second), ("max_webhooks", &self.max_webhooks)] {
            let Some(text) = given else { continue };
            body[field] =
                match text.as_str() {
                    "default" => Value::Null,
                    number => json!(number.parse::<u32>().map_err(|_| {
                        Stop::usage(format!("{field} is a whole number, or default, not {number:?}"))
                    })?),
                };
        }
        Ok(())
    }
}

/// Lists, makes, shows, changes or deletes accounts.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, .. } = session;
    match &options.what {
        What::List { paging } => {
            let accounts = list::fetch(client, &["accounts"], Vec::new(), paging).await?;
            accounts.show(console, table, "There are no accounts. `posthaste accounts create ID` makes one.");
        }
        What::Create { id, name, limits } => {
            let mut body = json!({"id": id});
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            limits.add_to(&mut body)?;
            show(session, &client.post(&path(&["accounts"]), &body).await?)?;
        }
        What::Show { id } => show(session, &client.get(&path(&["accounts", id])).await?)?,
        What::Edit { id, name, limits } => {
            let mut body = json!({});
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            limits.add_to(&mut body)?;
            show(session, &client.send(Method::PATCH, &path(&["accounts", id]), Sending::json(&body)).await?)?;
        }
        What::Rename { id, name } => {
            let sending = Sending::json(&json!({"name": name}));
            show(session, &client.send(Method::PATCH, &path(&["accounts", id]), sending).await?)?;
        }
        What::Log { id, retention, retention_size, redact } => {
            let mut body = json!({});
            for (name, given) in [("retention", retention), ("retention_size", retention_size)] {
                if let Some(given) = given {
                    body[name] = if given == "default" { Value::Null } else { json!(given) };
                }
            }
            if let Some(redact) = redact {
                body["redact"] = if *redact == ["none"] { json!([]) } else { json!(redact) };
            }
            let asked = path(&["accounts", id]);
            let account = if body == json!({}) {
                client.get(&asked).await?
            } else {
                client.send(Method::PATCH, &asked, Sending::json(&body)).await?
            };
            show_log(session, &account)?;
        }
        What::Delete { id, confirm } => {
            if confirm.as_ref() != Some(id) {
                let said =
                    format!("Say it again to delete {id} with its webhooks, keys, events and logs: --confirm {id}");
                return Err(Stop::usage(said));
            }
            client.send(Method::DELETE, &path(&["accounts", id]), Sending::default()).await?;
            console.talk(&format!("✓ Deleted {id} and everything that it owned."));
        }
    }
    Ok(Exit::Ok)
}

fn show(session: &Session<'_>, account: &Answer) -> Result<(), Stop> {
    if session.console.json() {
        session.console.line(&account.text());
    } else {
        table(&[account.value()?]).print(session.console, "");
    }
    Ok(())
}

/// What of an account's log is kept and shown, in words.
fn show_log(session: &Session<'_>, account: &Answer) -> Result<(), Stop> {
    let console = session.console;
    if console.json() {
        console.line(&account.text());
        return Ok(());
    }
    let account = account.value()?;
    let kept = |name: &str, default: &str| match account[name].as_str() {
        Some(value) => value.to_owned(),
        None => default.to_owned(),
    };
    let redacted = redacted(&account);
    console.line(&format!("retention       {}", kept("retention", "the operator's (`config show`)")));
    console.line(&format!("retention size  {}", kept("retention_size", "as much as the operator's leaves")));
    console
        .line(&format!("not shown       {}", if redacted.is_empty() { "nothing: all of data is" } else { &redacted }));
    Ok(())
}

fn table(accounts: &[Value]) -> Table {
    let headings = ["ID", "NAME", "EVENTS/S", "WEBHOOKS", "CREATED", "RETENTION", "SIZE", "REDACTED"];
    let mut table = Table::new(&headings);
    let limit = |value: &Value| value.as_u64().map_or("default".to_owned(), |limit| limit.to_string());
    for account in accounts {
        table.row(vec![
            text(account, "id").into(),
            text(account, "name").into(),
            limit(&account["events_per_second"]).into(),
            format!("{} of {}", account["webhooks"], limit(&account["max_webhooks"])).into(),
            instant(account, "created_at").into(),
            account["retention"].as_str().unwrap_or("default").into(),
            account["retention_size"].as_str().unwrap_or("default").into(),
            redacted(account).into(),
        ]);
    }
    table
}

fn redacted(account: &Value) -> String {
    let pointers = account["redact"].as_array().map_or(&[][..], Vec::as_slice);
    pointers.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}
