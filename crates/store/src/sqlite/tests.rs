//! What cannot be seen through the seam: a full disk, a failing one, and how lists are looked up.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use domain::audit::By;
use domain::delivery::{DeliveryStatus, Next, Settlement};
use domain::directory::SharedDirectory;
use domain::endpoint_url::EndpointUrl;
use domain::event::NewEvent;
use domain::event_filter::EventFilter;
use domain::filter::{CodePattern, DeliveryFilter};
use domain::id::{DeliveryId, EventId};
use domain::secret::SigningSecret;
use domain::store::{AcceptError, Accepted, Change, DeliveryQuery, StoreError};
use domain::time::{Clock, Timestamp};
use domain::vault::Vault;
use domain::webhook::Webhook;
use rusqlite::StatementStatus;
use tokio::sync::oneshot;

use super::checkpoint::Checkpoints;
use super::engine::{Engine, Parts};
use super::limits::Limits;
use super::list;
use super::writer::{self, Figures, Message, Writer};

const NOW: Timestamp = Timestamp(1_795_464_000_123_456);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        NOW
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
    let writer = Writer {
        engine,
        clock: Arc::new(Fixed),
        facts: Box::new(|_| {}),
        figures: Arc::<Figures>::default(),
        checkpoints,
        retention: None,
    };
    (writer, dir)
}

type Answered = oneshot::Receiver<Vec<Result<Accepted, AcceptError>>>;

fn accept(queue: &Sender<Message>, bytes: usize) -> Answered {
    let (answer, answered) = oneshot::channel();
    let event = NewEvent {
        account: 1,
        event_type: "alert.rule_created".into(),
        data: vec![b'x'; bytes].into(),
        test_for: None,
        flagged: false,
        trace: None,
        idempotency: None,
    };
    queue.send(Message::Accept(vec![event], answer)).expect("it is open");
    answered
}

fn settle(queue: &Sender<Message>, event: EventId) -> oneshot::Receiver<Result<(), StoreError>> {
    let (answer, answered) = oneshot::channel();
    let delivery = DeliveryId { event, place: 0 };
    let settlement = Settlement { delivery, webhook: 1, attempt: None, next: Next::Failed };
    queue.send(Message::Settle(vec![settlement], answer)).expect("it is open");
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
    let mut batch = writer::Batch::default();
    let message = messages.try_recv().expect("it was sent");
    assert!(writer::gather(message, &mut batch, &messages).is_none());
    assert!(writer.write(batch).expect("it is written").is_empty());
    let event = first.try_recv().expect("answered")[0].clone().expect("accepted").id;

    let pages: i64 = writer.engine.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("it is read");
    writer.engine.conn.pragma_update(None, "max_page_count", pages + 2).expect("it is set");
    let (mut refused, mut settled) = (accept(&queue, 100_000), settle(&queue, event));
    let mut batch = writer::Batch::default();
    let message = messages.try_recv().expect("it was sent");
    assert!(writer::gather(message, &mut batch, &messages).is_none());
    let full = writer.write(batch).expect("it goes on");
    assert_eq!(refused.try_recv().expect("answered"), [Err(AcceptError::Store(StoreError::Busy))]);
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

#[test]
fn no_list_sorts_or_reads_through_a_table() {
    let (writer, _dir) = writer();
    let conn = &writer.engine.conn;
    let filters = [
        DeliveryFilter::default(),
        DeliveryFilter { status: vec![DeliveryStatus::Failed, DeliveryStatus::Held], ..DeliveryFilter::default() },
        DeliveryFilter { code: vec![CodePattern::Class(5)], ..DeliveryFilter::default() },
        DeliveryFilter { status: vec![DeliveryStatus::Delivered], ..DeliveryFilter::default() },
    ];
    for filter in filters {
        for (webhook, event) in [(None, None), (Some(1), None), (None, Some(EventId(1)))] {
            let (filter, limit) = (filter.clone(), 10);
            let query =
                DeliveryQuery { account: 1, event, filter, webhook, before: None, limit, now: NOW, sending: vec![] };
            for (statement, _) in list::statements(conn, &query).expect("they are prepared") {
                let sql = statement.expanded_sql().expect("a text");
                let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is prepared");
                let lines = plan.query_map([], |row| row.get::<_, String>(3)).expect("it is planned");
                for line in lines {
                    let line = line.expect("a line");
                    assert!(line.starts_with("SEARCH"), "{line} in {sql}");
                }
                assert_eq!(statement.get_status(StatementStatus::Sort), 0);
            }
        }
    }
}
