//! What a change of a webhook comes to, in the audit log's words: from the webhook as it was and as it is to be.

use serde_json::{Value, json};

use super::{Act, Action, Detail, insert_change};
use crate::time::write_span;
use crate::webhook::{Held, Pause, PauseCause, Webhook};

/// What is done by putting `after` in the place of `before`; at least one act.
#[must_use]
pub fn acts(before: Option<&Webhook>, after: &Webhook) -> Vec<Act> {
    let act = |action| act(action, after);
    let Some(before) = before else {
        let mut detail = Detail::new();
        detail.extend(fields(after).into_iter().map(|(name, value)| (name.to_owned(), value)));
        return vec![Act { detail, ..act(Action::WebhookCreated) }];
    };
    let mut acts = Vec::new();
    match (&before.pause, &after.pause) {
        (None, Some(pause)) => acts.push(Act { detail: why(pause), ..act(Action::WebhookPaused) }),
        (Some(_), None) => acts.push(act(Action::WebhookResumed)),
        (None, None) | (Some(_), Some(_)) => {}
    }
    if before.secrets.current != after.secrets.current {
        let until = after.secrets.previous.as_ref().map(|(_, until)| until.to_string());
        acts.push(act(Action::SecretRotated).with("previous_until", until));
    } else if before.secrets.previous.is_some() && after.secrets.previous.is_none() {
        acts.push(act(Action::SecretConfirmed));
    }
    let mut changes = Detail::new();
    for ((name, from), (_, to)) in fields(before).into_iter().zip(fields(after)) {
        // Values of headers are compared, and not told.
        if from != to || name == "headers" && before.headers != after.headers {
            insert_change(&mut changes, name, from, to);
        }
    }
    if acts.is_empty() || !changes.is_empty() {
        acts.push(act(Action::WebhookUpdated).with("changes", changes));
    }
    acts
}

/// Adds to a resumption what happens to what was held.
pub fn resumed(acts: &mut [Act], held: Held, rate: Option<u32>) {
    for act in acts.iter_mut().filter(|act| act.action == Action::WebhookResumed) {
        act.detail.insert("held".to_owned(), json!(held));
        act.detail.insert("rate".to_owned(), json!(rate));
    }
}

/// An act on a webhook, without particulars.
#[must_use]
pub fn act(action: Action, webhook: &Webhook) -> Act {
    Act::new(action, Some(webhook.account), &webhook.id).named(&webhook.name)
}

fn why(pause: &Pause) -> Detail {
    let mut detail = Detail::new();
    detail.insert("cause".to_owned(), pause.cause.as_str().into());
    if let PauseCause::Key { reason: Some(reason), .. } = &pause.cause {
        detail.insert("reason".to_owned(), reason.clone().into());
    }
    detail
}

/// What a person sets, as it may be shown: always the same names in the same order. Whoever adds a field to a webhook has
/// to say here whether it is told.
fn fields(webhook: &Webhook) -> Vec<(&'static str, Value)> {
    let Webhook {
        number: _,
        id: _,
        account: _,
        account_id: _,
        name,
        url,
        events,
        headers,
        secrets,
        pause: _,
        timeout,
        retry_schedule,
        rate_limit,
        max_in_flight,
        http2,
        order,
        created_at: _,
        updated_at: _,
        version: _,
        failing_since: _,
        held_rate: _,
        leave_alone_until: _,
        temporary,
    } = webhook;
    vec![
        ("name", json!(name)),
        ("url", json!(url.as_str())),
        ("events", json!(events.texts().collect::<Vec<_>>())),
        ("headers", json!(headers.names().collect::<Vec<_>>())),
        ("timeout", json!(timeout.map(write_span))),
        ("retry_schedule", json!(retry_schedule)),
        ("rate_limit", json!(rate_limit)),
        ("max_in_flight", json!(max_in_flight)),
        ("http2", json!(http2)),
        // Of the secrets no more than what kind of signature they make.
        ("signing", json!(secrets.signing())),
        ("order", json!(order)),
        ("temporary", json!(temporary)),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::custom_headers::CustomHeaders;
    use crate::endpoint_url::EndpointUrl;
    use crate::event_filter::EventFilter;
    use crate::key::Account;
    use crate::key_pair::KeyPair;
    use crate::secret::SigningSecret;
    use crate::signature::KeyPairs;
    use crate::time::Timestamp;

    fn webhook() -> Webhook {
        let account = Account { number: 1, ..Account::new("acme".parse().expect("an id"), "Acme", Timestamp(0)) };
        let url = Arc::new(EndpointUrl::stored("https://example.com/in").expect("a URL"));
        let secret = SigningSecret::from_bytes(&[9; 32]);
        let events = EventFilter::stored(vec!["*".to_owned()]);
        let headers = CustomHeaders::stored(vec![("X-Api-Key".to_owned(), "canary-header".to_owned())]);
        Webhook { headers, ..Webhook::new(&account, "wh_a".parse().expect("an id"), url, events, secret, Timestamp(0)) }
    }

    fn said(before: Option<&Webhook>, after: &Webhook) -> Vec<(&'static str, String)> {
        let told = |act: &Act| (act.action.as_str(), Value::Object(act.detail.clone()).to_string());
        acts(before, after).iter().map(told).collect()
    }

    #[test]
    fn each_change_is_called_by_its_name_and_tells_no_secret() {
        let before = webhook();
        let created = said(None, &before);
        assert_eq!(created[0].0, "webhook.created");
        assert!(created[0].1.contains("X-Api-Key") && !created[0].1.contains("canary"), "{created:?}");

        let mut renamed = before.clone();
        renamed.name = "CRM".to_owned();
        renamed.headers = CustomHeaders::stored(vec![("X-Api-Key".to_owned(), "canary-two".to_owned())]);
        let changes = r#"{"changes":{"headers":{"from":["X-Api-Key"],"to":["X-Api-Key"]},"name":{"from":"example.com","to":"CRM"}}}"#;
        assert_eq!(said(Some(&before), &renamed), [("webhook.updated", changes.to_owned())]);
        assert_eq!(said(Some(&before), &before), [("webhook.updated", r#"{"changes":{}}"#.to_owned())]);

        let mut paused = before.clone();
        paused.pause = Some(Pause { since: Timestamp(5), cause: PauseCause::Gone });
        assert_eq!(said(Some(&before), &paused), [("webhook.paused", r#"{"cause":"gone"}"#.to_owned())]);
        assert_eq!(said(Some(&paused), &before), [("webhook.resumed", "{}".to_owned())]);

        let mut rotated = before.clone();
        let pair = |fill| KeyPair::from_seed(&[fill; 32]);
        rotated.secrets.pairs = Some(KeyPairs::new(pair(1)));
        let changes = r#"{"changes":{"signing":{"from":"hmac","to":"ed25519"}}}"#;
        assert_eq!(said(Some(&before), &rotated), [("webhook.updated", changes.to_owned())]);
        let before = rotated.clone();
        rotated.secrets.rotate(SigningSecret::from_bytes(&[8; 32]), pair(2), Some(Timestamp(0)));
        let until = r#"{"previous_until":"1970-01-01T00:00:00.000000Z"}"#;
        assert_eq!(said(Some(&before), &rotated), [("webhook.secret_rotated", until.to_owned())]);
        let mut confirmed = rotated.clone();
        confirmed.secrets.confirm();
        assert_eq!(said(Some(&rotated), &confirmed), [("webhook.secret_confirmed", "{}".to_owned())]);
    }
}
