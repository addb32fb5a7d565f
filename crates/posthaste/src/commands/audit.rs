//! `posthaste audit`: what was changed, when and by whom.

use clap::Args;
use serde_json::Value;

use crate::cli::Session;
use crate::client::known::Server;
use crate::client::list::{self, Paging};
use crate::commands::deliveries::pairs;
use crate::exit::{Ended, Exit};
use crate::output::table::Table;
use crate::output::value::{instant, text};

/// What to show of the audit log.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which entries: action=webhook.* actor=key_… target=wh_… since=24h until=…
    #[arg(value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Of all accounts and the platform itself, not of one account
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// The keys of the filter of the audit log.
const KEYS: [&str; 5] = ["action", "actor", "target", "since", "until"];

/// Lists what was changed, newest first.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    let Session { console, client, account, .. } = session;
    let filter = pairs(&options.filter, &KEYS)?;
    let parts = if options.all { vec!["audit"] } else { vec!["accounts", account, "audit"] };
    let entries = list::fetch(client, &parts, filter, &options.paging).await?;
    entries.show(console, table, "There is nothing in the audit log that this asks for.");
    Ok(Exit::Ok)
}

fn table(entries: &[Value]) -> Table {
    let mut table = Table::new(&["WHEN", "WHO", "WHAT", "ACCOUNT", "TARGET", "PARTICULARS"]);
    for entry in entries {
        let (actor, target) = (&entry["actor"], &entry["target"]);
        let name = text(target, "name");
        let target = match (text(target, "id"), name) {
            (id, "") => id.to_owned(),
            (id, name) => format!("{id} ({name})"),
        };
        let cells = [
            instant(entry, "at"),
            text(actor, "name").to_owned(),
            text(entry, "action").to_owned(),
            text(entry, "account").to_owned(),
            target,
            particulars(&entry["detail"]),
        ];
        table.row(cells.into_iter().map(Into::into).collect());
    }
    table
}

/// The particulars in one line: `name: "CRM" → "CRM Sync"` for a change, `reason="maintenance"` for the rest.
fn particulars(detail: &Value) -> String {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let changes = members(&detail["changes"]).into_iter();
    let changes = changes.map(|(name, change)| format!("{name}: {} → {}", change["from"], change["to"]));
    let others = members(detail).into_iter().filter(|(name, value)| name != "changes" && !value.is_null());
    let others = others.map(|(name, value)| format!("{name}={value}"));
    changes.chain(others).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use domain::audit::AuditFilter;
    use domain::time::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_keys_are_those_of_the_filter() {
        let known = AuditFilter::parse([("none", "x")], Timestamp(0)).expect_err("no key");
        assert!(known[0].detail.ends_with(&format!("those are {}.", KEYS.join(", "))), "{}", known[0].detail);
    }

    #[test]
    fn particulars_are_one_line() {
        let detail =
            json!({"changes": {"name": {"from": "CRM", "to": "CRM Sync"}, "rate_limit": {"from": null, "to": 5}}});
        assert_eq!(particulars(&detail), r#"name: "CRM" → "CRM Sync", rate_limit: null → 5"#);
        assert_eq!(particulars(&json!({"cause": "gone", "rate": null})), r#"cause="gone""#);
        assert_eq!(particulars(&json!({})), "");
    }
}
