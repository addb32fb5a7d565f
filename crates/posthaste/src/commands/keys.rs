//! `posthaste keys`: API keys, of one account or of the platform; and another key for what is encrypted at rest.

mod rotation;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::cli::Session;
use crate::client::Sending;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::client::path::path;
use crate::exit::{Ended, Exit};
use crate::output::table::Table;
use crate::output::value::{instant, text, texts};

/// What to do with keys.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The keys of the account, or with --platform the platform's own
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        paging: Paging,
    },
    /// A new key; it is shown once
    Create {
        /// A label
        name: String,
        /// What it may do, and nothing else, such as events:write; without any, an account key may do all but post
        /// events, and a platform key everything
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// When it ends, such as 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
        expires_at: Option<String>,
        /// In how long it ends, such as 90d
        #[arg(long, value_name = "SPAN", value_parser = ahead, allow_hyphen_values = true)]
        expires_in: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// End a key, at once
    Revoke {
        /// Its id, key_…
        id: String,
        #[command(flatten)]
        which: Which,
    },
    /// Seal every secret of the embedded store with another encryption key, while it is not served
    RotateEncryption(rotation::Options),
}

/// A span from now on; whether it is one, and not too long, the server says.
fn ahead(text: &str) -> Result<String, String> {
    if text.starts_with('-') {
        return Err("it counts from now on: write it without a sign, such as 90d".to_owned());
    }
    Ok(text.to_owned())
}

impl Options {
    /// The rotation of the encryption key, which needs no server, if that is asked for.
    pub(crate) const fn rotation(&self) -> Option<&rotation::Options> {
        match &self.what {
            What::RotateEncryption(options) => Some(options),
            What::List { .. } | What::Create { .. } | What::Revoke { .. } => None,
        }
    }
}

#[derive(Debug, Args)]
struct Which {
    /// The platform's own keys, not an account's
    #[arg(long)]
    platform: bool,
}

impl Which {
    fn parts<'a>(&self, account: &'a str) -> Vec<&'a str> {
        if self.platform { vec!["keys"] } else { vec!["accounts", account, "keys"] }
    }
}

pub(crate) use rotation::run as rotate_encryption;

/// Lists, makes or ends keys.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, account, .. } = session;
    match &options.what {
        What::List { which, paging } => {
            let keys = list::fetch(client, &which.parts(account), Vec::new(), paging).await?;
            keys.show(console, table, "There are no keys. `posthaste keys create NAME` makes one.");
        }
        What::Create { name, scopes, expires_at, expires_in, which } => {
            let mut body = json!({"name": name});
            if !scopes.is_empty() {
                body["scopes"] = json!(scopes);
            }
            if let Some(at) = expires_at {
                body["expires_at"] = json!(at);
            }
            if let Some(span) = expires_in {
                body["expires_in"] = json!(span);
            }
            let made = client.post(&path(&which.parts(account)), &body).await?;
            if console.json() {
                console.line(&made.text());
            } else {
                let made = made.value()?;
                console.line(text(&made, "key"));
                console.talk(&format!("✓ Key {:?} ({}). Keep it now: it is not shown again.", name, text(&made, "id")));
            }
        }
        What::Revoke { id, which } => {
            let mut parts = which.parts(account);
            parts.push(id);
            client.send(Method::DELETE, &path(&parts), Sending::default()).await?;
            console.talk(&format!("✓ Revoked {id}."));
        }
        // It has no session: `rotate_encryption` carries it out.
        What::RotateEncryption(_) => {}
    }
    Ok(Exit::Ok)
}

/// What a key may do: a platform key has no scopes, and may do everything.
fn may(key: &Value) -> String {
    let scopes = texts(key, "scopes");
    if scopes.is_empty() { "everything".to_owned() } else { scopes }
}

fn table(keys: &[Value]) -> Table {
    let mut table = Table::new(&["ID", "NAME", "KEY", "MAY", "CREATED", "LAST USED", "ENDS"]);
    for key in keys {
        let cells = [text(key, "id"), text(key, "name"), text(key, "hint"), &may(key), &instant(key, "created_at")];
        let mut row: Vec<_> = cells.into_iter().map(Into::into).collect();
        row.extend([instant(key, "last_used_at").into(), instant(key, "expires_at").into()]);
        table.row(row);
    }
    table
}
