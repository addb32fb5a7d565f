//! What cannot be seen through the seam: a full disk, a failing one, and how lists are looked up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::audit::By;
use domain::delivery::{Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::NewEvent;
use domain::event_filter::EventFilter;
use domain::filter::DeliveryFilter;
use domain::id::{DeliveryId, EventId};
use domain::secret::SigningSecret;
use domain::shard::Epoch;
use domain::store::{AcceptError, Accepted, Change, DeliveryQuery, Fact, NoSpace, StoreError};
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use domain::webhook::Webhook;
use tokio::sync::oneshot;

use super::checkpoint::Checkpoints;
use super::deliveries::State;
use super::engine::{Engine, Parts};
use super::event_types::{self, EventTypes};
use super::events;
use super::limits::Limits;
use super::streams::Source;
use super::writer::{self, Figures, Message, Retention, Writer};
use crate::batch::Batch;
use crate::rows::wanted::Wanted;

const NOW: Timestamp = Timestamp(1_795_464_000_123_456);

struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A directory that goes when this does.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the directory is ours");
    }
}

/// A writer with one webhook, number 1 of account 1.
fn writer() -> (Writer, Dir) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("posthaste-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = Dir(std::env::temp_dir().join(name));
    let directory = SharedDirectory::default();
    let parts = Parts {
        dir: &dir.0,
        vault: Vault::new(&[7; 32]),
        directory: directory.clone(),
        limits: Limits { durable: false, ..Limits::default() },
        chance: Box::new(|bytes| bytes.fill(1)),
        now: NOW,
    };
    let (mut engine, _) = Engine::open(parts).expect("it opens");
    engine.begin().expect("it begins");
    let account = directory.read().account_numbered(1).expect("it exists").clone();
    let url = Arc::new(EndpointUrl::stored("https://example.com/").expect("a URL"));
    let (events, secret) = (EventFilter::stored(vec!["*".to_owned()]), SigningSecret::from_bytes(&[9; 32]));
    let webhook = Webhook::new(&account, "wh_one".parse().expect("an id"), url, events, secret, NOW);
    engine.change(NOW, Change::PutWebhook(Box::new(webhook)), &By::us(), None).expect("a new webhook");
    engine.commit().expect("it commits");
    let checkpoints = Checkpoints::start(&engine.shared.file).expect("it starts");
    let (clock, figures) = (Arc::new(Fixed(NOW)), Arc::<Figures>::default());
    let writer = Writer::new(engine, clock, Box::new(|_| {}), figures, checkpoints, Retention::default());
    (writer, dir)
}

type Answered = oneshot::Receiver<Vec<Result<Accepted, AcceptError>>>;

fn event(bytes: usize) -> NewEvent {
    NewEvent {
        account: 1,
        event_type: "alert.rule_created".into(),
        data: vec![b'x'; bytes].into(),
        test_for: None,
        flagged: false,
        trace: None,
        idempotency: None,
        only_repeated: false,
    }
}

fn accept(queue: &Sender<Message>, bytes: usize) -> Answered {
    let (answer, answered) = oneshot::channel();
    queue.send(Message::Accept(vec![event(bytes)], answer)).expect("it is open");
    answered
}

fn failed(event: EventId) -> Settlement {
    Settlement {
        delivery: DeliveryId { event, place: 0 },
        webhook: 1,
        attempt: None,
        next: Next::Failed,
        epoch: Epoch::SOLE,
    }
}

fn settle(queue: &Sender<Message>, event: EventId) -> oneshot::Receiver<Result<(), StoreError>> {
    let (answer, answered) = oneshot::channel();
    queue.send(Message::Settle(vec![failed(event)], answer)).expect("it is open");
    answered
}

/// Lets the writer run over what was sent, until it is told to stop.
fn run(mut writer: Writer, send: impl FnOnce(&Sender<Message>, &mut Writer)) -> Result<(), String> {
    let (queue, messages) = writer::queue();
    send(&queue, &mut writer);
    queue.send(Message::Stop).expect("it is open");
    writer.run(&messages)
}

#[test]
fn a_full_disk_refuses_what_is_new_and_keeps_what_has_ended() {
    let (mut writer, _dir) = writer();
    let (queue, messages) = writer::queue();
    let mut first = accept(&queue, 10);
    let mut batch = Batch::default();
    let message = messages.try_recv().expect("it was sent");
    assert!(writer::gather(message, &mut batch, &messages).is_none());
    assert!(writer.write(batch).expect("it is written").is_empty());
    let event = first.try_recv().expect("answered")[0].clone().expect("accepted").id;

    let pages: i64 = writer.engine.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("it is read");
    writer.engine.conn.pragma_update(None, "max_page_count", pages + 2).expect("it is set");
    let (mut refused, mut settled) = (accept(&queue, 100_000), settle(&queue, event));
    let mut batch = Batch::default();
    let message = messages.try_recv().expect("it was sent");
    assert!(writer::gather(message, &mut batch, &messages).is_none());
    let full = writer.write(batch).expect("it goes on");
    assert_eq!(refused.try_recv().expect("answered"), [Err(AcceptError::Store(StoreError::NoSpace(NoSpace::Disk)))]);
    assert!(settled.try_recv().is_err() && !full.is_empty(), "an attempt's end waits for space");
    assert_eq!(writer.engine.fresh(), 1);

    writer.engine.conn.pragma_update(None, "max_page_count", 1_000_000).expect("it is set");
    assert!(writer.write(full).expect("it is written").is_empty());
    assert_eq!(settled.try_recv().expect("answered"), Ok(()));
    assert_eq!(writer.engine.fresh(), 0);
    let mut second = accept(&queue, 100_000);
    let ended = run(writer, |queue, _| {
        let message = messages.try_recv().expect("it was sent");
        queue.send(message).expect("it is open");
    });
    assert_eq!(ended, Ok(()));
    assert!(second.try_recv().expect("answered")[0].is_ok());
}

#[test]
fn a_fault_stops_the_writer_and_tells_everyone() {
    let (writer, _dir) = writer();
    let mut answers = Vec::new();
    let mut settled = None;
    let ended = run(writer, |queue, writer| {
        writer.engine.conn.execute_batch("DROP TABLE events").expect("it is dropped");
        answers.push(accept(queue, 10));
        answers.push(accept(queue, 10));
        settled = Some(settle(queue, EventId(1)));
    });
    assert!(ended.expect_err("it has stopped").contains("events"));
    for mut answer in answers {
        let told = answer.try_recv().expect("answered");
        assert!(matches!(&told[..], [Err(AcceptError::Store(StoreError::Stopped(_)))]), "{told:?}");
    }
    let told = settled.expect("it was sent").try_recv().expect("answered");
    assert!(matches!(told, Err(StoreError::Stopped(_))));
}

/// Whoever removes the data directory, a file in it, or puts another in its place, is told by the next answer: nothing is promised that
/// nobody finds again, and no second process is let in.
#[test]
fn nothing_is_accepted_into_a_file_that_is_no_longer_there() {
    for name in ["posthaste.db", "posthaste.db-wal", "lock"] {
        for replaced in [false, true] {
            let (mut writer, dir) = writer();
            let _answered = accept_one(&mut writer);
            let (file, elsewhere) = (dir.0.join(name), dir.0.join("elsewhere"));
            std::fs::rename(&file, &elsewhere).expect("it is ours");
            if replaced {
                std::fs::copy(&elsewhere, &file).expect("it is ours");
            }
            let mut answer = None;
            let ended = run(writer, |queue, _| answer = Some(accept(queue, 10))).expect_err("it has stopped");
            assert!(ended.contains(&format!("{name} was removed or replaced")), "{ended}");
            let told = answer.expect("it was sent").try_recv().expect("answered");
            assert!(matches!(&told[..], [Err(AcceptError::Store(StoreError::Stopped(_)))]), "{told:?}");
        }
    }
}

/// Accepts one event.
fn accept_one(writer: &mut Writer) -> EventId {
    writer.engine.begin().expect("it begins");
    let accepted = writer.engine.accept(NOW, &[event(10)]).expect("it is written").remove(0).expect("accepted").id;
    writer.engine.commit().expect("it commits");
    accepted
}

/// What is accepted while old events go waits for one batch of them at most, however many there are: counted, not timed.
#[test]
fn acceptance_goes_on_between_the_batches_of_retention() {
    const OLD: u64 = 2_600;
    let (mut writer, _dir) = writer();
    for _ in 0..OLD / 100 {
        writer.engine.begin().expect("it begins");
        let accepted = writer.engine.accept(NOW, &vec![event(100); 100]).expect("it is written");
        let ended: Vec<_> = accepted.into_iter().map(|one| Arc::new(failed(one.expect("it is accepted").id))).collect();
        writer.engine.commit().expect("it commits");
        writer.engine.begin().expect("it begins");
        writer.engine.settle(NOW, &ended).expect("it is written");
        writer.engine.commit().expect("it commits");
    }
    writer.clock = Arc::new(Fixed(NOW.plus(Duration::from_secs(7_200))));
    writer.retention = Retention { age: Some(Duration::from_secs(3_600)), size: None };
    let (queue, messages) = writer::queue();
    let _answered = accept(&queue, 10);
    // Each acceptance is followed by another one, until all that is old has gone.
    let gone_by = Arc::<Mutex<Vec<u64>>>::default();
    let (figures, seen) = (Arc::clone(&writer.figures), Arc::clone(&gone_by));
    writer.facts = Box::new(move |facts| {
        if !facts.iter().any(|fact| matches!(fact, Fact::Accepted { .. })) {
            return;
        }
        let gone = figures.retained_events.load(Ordering::Relaxed);
        let number = {
            let mut seen = seen.lock().expect("nobody panics");
            seen.push(gone);
            seen.len()
        };
        if gone < OLD && number < 20_000 {
            drop(accept(&queue, 10));
        } else {
            queue.send(Message::Stop).expect("it is open");
        }
    });
    assert_eq!(writer.run(&messages), Ok(()));
    let gone_by = gone_by.lock().expect("nobody panics");
    assert!(gone_by.windows(2).all(|pair| pair[1] - pair[0] <= 500), "one batch at most between two acceptances");
    assert_eq!((gone_by.first(), gone_by.last()), (Some(&0), Some(&OLD)));
    println!("{} acceptances while {OLD} old events went", gone_by.len());
}

/// How SQLite would carry a statement out, a line for each step.
fn plan(writer: &Writer, sql: &str) -> Vec<String> {
    let mut plan = writer.engine.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is prepared");
    let lines = plan.raw_query().mapped(|row| row.get::<_, String>(3)).map(|line| line.expect("a line"));
    lines.collect()
}

#[test]
fn no_list_sorts_or_reads_through_a_table() {
    let (writer, _dir) = writer();
    let sources = [
        (Source::Event(EventId(1)), ""),
        (Source::State(1, State::Failed), "COVERING INDEX deliveries_of_state (account=? AND state=? AND event"),
        (
            Source::WebhookState(1, State::Failed),
            "COVERING INDEX deliveries_of_webhook_state (webhook=? AND state=? AND event",
        ),
        (
            Source::TypeState(1, 1, State::Failed),
            "COVERING INDEX deliveries_of_type_state (account=? AND type=? AND state=? AND",
        ),
        (Source::Outcome(1, 503), "INDEX deliveries_of_outcome (account=? AND <expr>=? AND event"),
        (Source::Account(1), "COVERING INDEX events_of_account (account=? AND rowid>? AND rowid<?)"),
    ];
    for (source, index) in sources {
        let lines = plan(&writer, source.sql());
        assert!(lines.iter().all(|line| line.starts_with("SEARCH")), "{lines:?}");
        assert!(lines[0].contains(index), "{source:?}: {lines:?}");
    }
    let lines = plan(&writer, events::KEYS_OF_ACCOUNT);
    assert!(
        lines.len() == 1 && lines[0].starts_with("SEARCH events USING COVERING INDEX events_of_account"),
        "{lines:?}"
    );
    // Two tables, each read in its order, and merged.
    let merged = [
        (
            events::KEYS_OF_TYPE,
            "events_by_type USING PRIMARY KEY (account=? AND type=? AND key",
            "events_young USING INTEGER",
        ),
        (Source::Type(1, 1).sql(), "listed USING PRIMARY KEY (account=? AND type=? AND key", "listed USING INTEGER"),
        (Source::Webhook(1).sql(), "listed USING PRIMARY KEY (webhook=? AND event", "listed USING PRIMARY KEY (event"),
    ];
    for (sql, sorted, young) in merged {
        let lines = plan(&writer, sql);
        let reads: Vec<_> =
            lines.iter().filter(|line| !matches!(&***line, "MERGE (UNION ALL)" | "LEFT" | "RIGHT")).collect();
        assert!(reads.iter().all(|line| line.starts_with("SEARCH")), "{lines:?}");
        assert!([sorted, young].iter().all(|read| reads.iter().any(|line| line.contains(read))), "{lines:?}");
    }
}

/// The plans for a line of the filter, over an empty store with one webhook and one type.
fn plans(line: &str) -> Vec<Vec<Source>> {
    let (mut writer, _dir) = writer();
    let conn = &writer.engine.conn;
    let types = ["alert.rule_created", "alert.rule_deleted", "enrichment.failed"];
    let mut known = EventTypes::default();
    for name in types {
        event_types::add(&mut known, conn, &name.into()).expect("a new name");
    }
    let filter = DeliveryFilter::parse_line(line, NOW).expect("a filter");
    let webhook = filter.webhook.as_ref().map(|_| 1);
    let query = DeliveryQuery { webhook, ..DeliveryQuery::new(1, filter, NOW) };
    for (state, code) in [(1, 204), (2, 404), (2, 503)] {
        let sql = "INSERT INTO deliveries (event, place, account, webhook, type, lead, state, test, attempts_made,
                   retries_made, code, error, crc) VALUES (?1, 0, 1, 1, 0, 0, ?2, 0, 1, 0, ?1, NULL, 0)";
        writer.engine.conn.execute(sql, [code, state]).expect("it is written");
    }
    writer.engine.begin().expect("it begins");
    super::plans::plans(&Wanted::new(&query, &known, false), &writer.engine.conn, &query).expect("plans")
}

#[test]
fn each_filter_has_the_index_that_fits() {
    use Source::{Account, Outcome, Type, TypeState, Webhook, WebhookState};
    let [failed, waiting] = [State::Failed, State::Waiting];
    assert_eq!(plans(""), [[Account(1)]]);
    assert_eq!(plans("event=* since=24h"), [[Account(1)]]);
    assert_eq!(plans("status=delivered code=200"), [[Account(1)]]);
    assert_eq!(plans("webhook=wh_one"), [[Webhook(1)]]);
    assert_eq!(plans("event=alert.*"), [[Type(1, 0), Type(1, 1)]]);
    assert_eq!(plans("status=failed"), [[Source::State(1, failed)]]);
    assert_eq!(plans("status=failed,held"), [[Source::State(1, failed), Source::State(1, waiting)]]);
    assert_eq!(plans("code=204"), [[Outcome(1, 204)]]);
    assert_eq!(plans("code=4xx,204,418"), [[Outcome(1, 204), Outcome(1, 404)]]);
    assert_eq!(plans("error=http_5xx"), [[Outcome(1, 503)]]);
    assert_eq!(plans("error=response_timeout"), [[]]);
    assert_eq!(plans("event=sequence.*"), [[]]);
    assert_eq!(plans("webhook=wh_one status=failed"), [[WebhookState(1, failed)]]);
    assert_eq!(plans("event=enrichment.failed status=failed code=5xx"), [[TypeState(1, 2, failed)], [Outcome(1, 503)]]);
    assert_eq!(plans("webhook=wh_one event=enrichment.failed"), [[Webhook(1)], [Type(1, 2)]]);
}
