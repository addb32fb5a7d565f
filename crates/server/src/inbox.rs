//! The test receiver of the development mode, as the API shows it: the binary has it, and hands it in.

use serde::Serialize;
use utoipa::ToSchema;

use crate::operation::Pair;

/// One box of the inbox: an address that events can be sent to, and how it answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InboxBox {
    /// Its name.
    #[schema(example = "demo")]
    pub name: String,
    /// Where it receives.
    #[schema(example = "https://localhost:8401/inbox/demo")]
    pub url: String,
    /// How it answers: one of `answers`.
    #[schema(example = "200")]
    pub answer: String,
    /// The same in words.
    #[schema(example = "answers 200")]
    pub said: String,
    /// Every answer that it can be switched to.
    #[schema(value_type = Vec<String>, example = json!(["200", "500", "410", "429", "slow", "hang", "fail_twice"]))]
    pub answers: Vec<&'static str>,
    /// How many requests have come since the start.
    pub received: u64,
}

/// A request that a box has received.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InboxRequest {
    /// Counts the box's requests, from 1.
    pub number: u64,
    /// When it had come whole.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: domain::time::Timestamp,
    /// Its headers in the order in which they came: name and value.
    #[schema(value_type = Vec<Pair>)]
    pub headers: Vec<(String, String)>,
    /// Its body; bytes that are no text are replaced.
    pub body: String,
    /// The event's type, as its header says.
    #[schema(required)]
    pub event: Option<String>,
    /// The delivery's id, as its header says.
    #[schema(required)]
    pub delivery: Option<String>,
    /// The attempt's number, as its header says.
    #[schema(required)]
    pub attempt: Option<u16>,
    /// Whether the signature is good.
    pub verified: bool,
    /// What the check of the signature found.
    #[schema(example = "signature verified")]
    pub signature: String,
    /// The status that it was answered with; null for no answer.
    #[schema(required)]
    pub answered: Option<u16>,
}

/// The test receiver.
pub trait Inbox: Send + Sync {
    /// Its boxes, by name.
    fn boxes(&self) -> Vec<InboxBox>;

    /// The latest requests of a box, newest first; `None` if there is no such box.
    fn requests(&self, name: &str) -> Option<Vec<InboxRequest>>;

    /// Switches how a box answers from now on; `None` if there is no such box or answer.
    fn switch(&self, name: &str, answer: &str) -> Option<()>;
}
