//! Changing a webhook by a POST: the answer is built before the change, and what came in between is kept.

use domain::event::Idempotency;
use domain::store::{Change, ChangeError};
use domain::webhook::Webhook;

use axum::response::Response;

use super::webhooks::next_version;
use crate::app::Api;
use crate::auth::InAccount;
use crate::idempotency::{self, Answer};
use crate::problem::Problem;

/// How often a change is tried again when another came in between.
const TRIES: usize = 8;

/// A change of a webhook.
pub(super) struct Act<M, S> {
    /// The key under which the request may come again.
    pub(super) idempotency: Option<Idempotency>,
    /// What the log says.
    pub(super) said: &'static str,
    /// Makes the change of the webhook's next version; `None` if there is nothing to do.
    pub(super) make: M,
    /// Makes the answer of the webhook as it is then.
    pub(super) show: S,
}

impl<M, S> Act<M, S>
where
    M: Fn(Webhook) -> Result<Option<Change>, Problem>,
    S: Fn(&Webhook) -> Answer,
{
    /// Changes the webhook that the path names.
    ///
    /// # Errors
    /// What `make` or the store refuses; 409 when others change it without end.
    pub(super) async fn run(self, api: &Api, at: &InAccount) -> Result<Response, Problem> {
        if let Some(response) = idempotency::repeated(api, self.idempotency.as_ref()).await? {
            return Ok(response);
        }
        for _ in 0..TRIES {
            let before = at.webhook(api)?;
            let Some(change) = (self.make)(next_version(api, &before))? else {
                return Ok((self.show)(&before).into_response());
            };
            let answer = (self.show)(after(&change).unwrap_or(&before));
            match idempotency::change(api, change, at.caller.by(), self.idempotency.clone(), answer).await {
                Ok((response, made)) => {
                    if made {
                        tracing::info!(account = %at.account.id, webhook = %before.id, by = at.caller.name(), "{}", self.said);
                    }
                    return Ok(response);
                }
                Err(ChangeError::Stale) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::conflict("changed_meanwhile", "It is being changed by others. Try again in a moment."))
    }
}

/// The webhook that a change leaves.
fn after(change: &Change) -> Option<&Webhook> {
    match change {
        Change::PutWebhook(webhook) | Change::Resume { webhook, .. } => Some(webhook),
        Change::PutAccount(_)
        | Change::DeleteAccount(_)
        | Change::DeleteWebhook(_)
        | Change::Failing { .. }
        | Change::HeldSent { .. }
        | Change::LeaveAlone { .. }
        | Change::PutKey(_)
        | Change::RevokeKey(_)
        | Change::OpenSessions { .. }
        | Change::EndSession(_)
        | Change::KeysUsed(_)
        | Change::Replay(..)
        | Change::BulkReplay(_)
        | Change::Cancel(..)
        | Change::Note(_) => None,
    }
}
