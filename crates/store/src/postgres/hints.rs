//! Hints: what nodes tell each other beside what is kept, through `NOTIFY`, after the fact. A hint may be lost, and nothing
//! depends on it: whoever hears none finds out by looking, only later.
//!
//! Never inside a transaction that somebody waits for: `NOTIFY` makes commits wait for each other. So hints go out at once when it is quiet, are gathered when it
//! is not, and go out together through a connection of their own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::cluster::Hint;
use domain::shard::Shard;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::connection::{Connector, Link, Purpose};
use super::fault::Fault;

/// The channel.
const CHANNEL: &str = "posthaste";
/// How long after the last hints the next ones go out: what is said meanwhile is gathered.
const GATHERED_FOR: Duration = Duration::from_millis(10);
/// How many shards a hint names at most; more than that are all. The text of a notification has to be shorter than 8,000 bytes.
const NAMED_MAX: usize = 500;
/// How long after a lost connection the next one is tried.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Who is called with what others say.
type Hear = Arc<dyn Fn(Hint) + Send + Sync>;

/// The hints of a node.
pub(super) struct Hints {
    said: UnboundedSender<Hint>,
    tasks: [JoinHandle<()>; 2],
}

impl Hints {
    /// Listens, and says what it is told to say, until it is dropped.
    pub(super) fn start(connector: Connector, node: i64, hear: Hear) -> Self {
        let (said, to_say) = unbounded_channel();
        let listening = tokio::spawn(listen(connector.clone(), node, hear));
        let saying = tokio::spawn(say(connector, node, to_say));
        Self { said, tasks: [listening, saying] }
    }

    pub(super) fn tell(&self, hint: &Hint) {
        // Nobody is there to say it once it has been dropped.
        let _ = self.said.send(hint.clone());
    }

    pub(super) fn accepted(&self, shards: Vec<Shard>) {
        // As above.
        let _ = self.said.send(Hint::Accepted(shards));
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(connector: Connector, node: i64, hear: Hear) {
    loop {
        let heard = connector.listen(CHANNEL, |text| {
            if let Some(hint) = read(text, node) {
                hear(hint);
            }
        });
        if let Err(fault) = heard.await {
            tracing::debug!(%fault, "other nodes are not heard");
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Says what was gathered. What cannot be said is forgotten.
async fn say(connector: Connector, node: i64, mut to_say: UnboundedReceiver<Hint>) {
    let (mut link, mut next) = (None, tokio::time::Instant::now());
    while let Some(first) = to_say.recv().await {
        tokio::time::sleep_until(next).await;
        next = tokio::time::Instant::now() + GATHERED_FOR;
        let mut gathered = vec![first];
        while let Ok(hint) = to_say.try_recv() {
            gathered.push(hint);
        }
        if let Err(fault) = say_all(&connector, &mut link, &write(node, gathered)).await {
            tracing::debug!(%fault, "other nodes were not told");
            link = None;
        }
    }
}

async fn say_all(connector: &Connector, link: &mut Option<Link>, texts: &[String]) -> Result<(), Fault> {
    let link = match link.take().filter(|link| !link.is_closed()) {
        Some(known) => link.insert(known),
        // What is said is not kept: no commit waits for the disk.
        None => link.insert(connector.connect(Purpose::Read).await?),
    };
    for text in texts {
        link.rows("SELECT pg_notify($1, $2)", &[&CHANNEL, text]).await?;
    }
    Ok(())
}

/// What is said in one go, each text once.
fn write(node: i64, hints: Vec<Hint>) -> Vec<String> {
    let (mut accepted, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for hint in hints {
        match hint {
            Hint::Nodes => drop(texts.insert(format!("{node} nodes"))),
            Hint::Freed => drop(texts.insert(format!("{node} freed"))),
            Hint::Accepted(shards) => accepted.extend(shards),
        }
    }
    if accepted.len() > NAMED_MAX {
        texts.insert(format!("{node} accepted *"));
    } else if !accepted.is_empty() {
        let shards: Vec<String> = accepted.iter().map(Shard::to_string).collect();
        texts.insert(format!("{node} accepted {}", shards.join(",")));
    }
    texts.into_iter().collect()
}

/// What another node has said; `None` for this one's own words, and for what nobody understands.
fn read(text: &str, node: i64) -> Option<Hint> {
    let (by, what) = text.split_once(' ')?;
    if by.parse() == Ok(node) {
        return None;
    }
    match what.split_once(' ').unwrap_or((what, "")) {
        ("nodes", _) => Some(Hint::Nodes),
        ("freed", _) => Some(Hint::Freed),
        ("accepted", "*") => Some(Hint::Accepted(Shard::all().collect())),
        ("accepted", shards) => {
            Some(Hint::Accepted(shards.split(',').filter_map(|shard| shard.parse().ok().map(Shard)).collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_what_was_said_and_nobody_hears_himself() {
        let shards = |numbers: &[u16]| Hint::Accepted(numbers.iter().copied().map(Shard).collect());
        let said = write(7, vec![shards(&[3, 1]), Hint::Nodes, shards(&[3]), Hint::Nodes, Hint::Freed]);
        assert_eq!(said, ["7 accepted 1,3", "7 freed", "7 nodes"]);
        let heard: Vec<_> = said.iter().filter_map(|text| read(text, 8)).collect();
        assert_eq!(heard, [shards(&[1, 3]), Hint::Freed, Hint::Nodes]);
        assert!(said.iter().all(|text| read(text, 7).is_none()));
        let many = write(7, vec![Hint::Accepted(Shard::all().collect())]);
        assert!(many[0].len() < 8_000 && read(&many[0], 8) == Some(Hint::Accepted(Shard::all().collect())));
        assert_eq!((read("", 1), read("8 what", 1)), (None, None));
    }
}
