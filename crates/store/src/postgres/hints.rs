//! Hints: what nodes tell each other beside what is kept, through `NOTIFY`, after the fact. A hint may be lost, and nothing
//! depends on it: whoever hears none finds out by looking, only later.
//!
//! Never inside a transaction that somebody waits for: `NOTIFY` makes commits wait for each other. So hints go out at once when it is quiet, are gathered when it
//! is not, and go out together through a connection of their own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use domain::cluster::{Arrival, Hint};
use domain::id::{DeliveryId, EventId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::connection::{Connector, Link, Purpose};
use super::fault::Fault;

/// The channel.
const CHANNEL: &str = "posthaste";
/// How long after the last hints the next ones go out: what is said meanwhile is gathered.
const GATHERED_FOR: Duration = Duration::from_millis(10);
/// How many deliveries a notification names at most: its text has to be shorter than 8,000 bytes.
const NAMED_IN_ONE: usize = 320;
/// How many are named in one go at most; of more it is only said that they are there.
const NAMED_MAX: usize = 8 * NAMED_IN_ONE;
/// The bytes that name a delivery: account, webhook, event, place.
const NAME: usize = 4 + 4 + 8 + 2;
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

    pub(super) fn accepted(&self, arrivals: Vec<Arrival>) {
        // As above.
        let _ = self.said.send(Hint::Accepted(arrivals));
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
            Hint::Many => drop(texts.insert(format!("{node} many"))),
            Hint::Accepted(arrivals) => accepted.extend(arrivals),
        }
    }
    if accepted.len() > NAMED_MAX {
        texts.insert(format!("{node} many"));
    } else {
        let accepted: Vec<Arrival> = accepted.into_iter().collect();
        texts.extend(accepted.chunks(NAMED_IN_ONE).map(|part| format!("{node} accepted {}", name(part))));
    }
    texts.into_iter().collect()
}

fn name(arrivals: &[Arrival]) -> String {
    let mut bytes = Vec::with_capacity(arrivals.len() * NAME);
    for Arrival { account, webhook, delivery } in arrivals {
        bytes.extend_from_slice(&account.to_le_bytes());
        bytes.extend_from_slice(&webhook.to_le_bytes());
        bytes.extend_from_slice(&delivery.event.0.to_le_bytes());
        bytes.extend_from_slice(&delivery.place.to_le_bytes());
    }
    BASE64URL_NOPAD.encode(&bytes)
}

fn named(text: &str) -> Option<Vec<Arrival>> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (names, rest) = bytes.as_chunks::<NAME>();
    let read = |name: &[u8; NAME]| {
        let (account, rest) = name.split_first_chunk()?;
        let (webhook, rest) = rest.split_first_chunk()?;
        let (event, place) = rest.split_first_chunk()?;
        let delivery = DeliveryId {
            event: EventId(u64::from_le_bytes(*event)),
            place: u16::from_le_bytes(place.try_into().ok()?),
        };
        Some(Arrival { account: u32::from_le_bytes(*account), webhook: u32::from_le_bytes(*webhook), delivery })
    };
    if rest.is_empty() { names.iter().map(read).collect() } else { None }
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
        ("many", _) => Some(Hint::Many),
        ("accepted", names) => named(names).map(Hint::Accepted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(number: u64) -> Hint {
        let arrival = |n: u64| Arrival {
            account: 1 + n as u32 % 3,
            webhook: u32::MAX - n as u32,
            delivery: DeliveryId { event: EventId(u64::MAX - n), place: n as u16 },
        };
        let mut arrivals: Vec<_> = (0..number).map(arrival).collect();
        arrivals.sort_unstable();
        Hint::Accepted(arrivals)
    }

    #[test]
    fn others_read_what_was_said_and_nobody_hears_himself() {
        let said = write(7, vec![accepted(2), Hint::Nodes, accepted(2), Hint::Nodes, Hint::Freed]);
        let heard: Vec<_> = said.iter().filter_map(|text| read(text, 8)).collect();
        assert_eq!(heard, [accepted(2), Hint::Freed, Hint::Nodes]);
        assert!(said.iter().all(|text| read(text, 7).is_none()));
        assert_eq!((read("", 1), read("8 what", 1), read("8 accepted", 1)), (None, None, Some(Hint::Accepted(vec![]))));
        assert_eq!((read("8 accepted AAAA", 1), read("8 accepted 1,3", 1)), (None, None));
    }

    #[test]
    fn many_are_named_in_several_texts_and_very_many_in_none() {
        let said = write(7, vec![accepted(NAMED_MAX as u64)]);
        assert!(said.len() == 8 && said.iter().all(|text| text.len() < 8_000), "{}", said.len());
        let mut heard = Vec::new();
        for text in &said {
            let Some(Hint::Accepted(some)) = read(text, 8) else { panic!("{text}") };
            heard.extend(some);
        }
        heard.sort_unstable();
        assert_eq!(Hint::Accepted(heard), accepted(NAMED_MAX as u64));
        assert_eq!(write(7, vec![accepted(NAMED_MAX as u64 + 1)]), ["7 many"]);
        assert_eq!(read("7 many", 8), Some(Hint::Many));
    }
}
