//! `posthaste deliveries export` against a server: the whole log, and a file that is gone on with.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::receiver::{Receiver, Request, Script, Step};
use crate::room::{Room, start};
use crate::server::{Launch, PLATFORM_KEY};
use crate::wait;

async fn posthaste(url: String, arguments: Vec<String>) -> Output {
    let run = move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command.args(arguments).env_clear().env("POSTHASTE_URL", url).env("POSTHASTE_KEY", PLATFORM_KEY);
        command.output().expect("the binary runs")
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_exported_and_nothing_written_over() {
    let server = start(Launch::new().flags("--allow-private 127.0.0.0/8 --allow-http")).await;
    let room = Room::open(&server.api, "default").await;
    // Nobody listens there: every delivery is tried, and waits.
    room.webhook("http://127.0.0.1:9/nobody").await;
    for n in 0..130 {
        room.post(&format!(r#","n":{n}"#)).await;
    }
    let url = format!("http://{}", server.api.address);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log.ndjson");
    let name = file.to_str().expect("a plain path");
    let export = async |more: &[&str]| {
        let arguments = ["deliveries", "export"].iter().chain(more).map(|&word| word.to_owned()).collect();
        let output = posthaste(url.clone(), arguments).await;
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("UTF-8"),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, whole, said) = export(&[]).await;
    assert_eq!((code, whole.lines().count()), (Some(0), 130), "{said}");
    let ids = |text: &str| -> Vec<String> {
        let id =
            |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
        text.lines().map(id).collect()
    };

    let (code, out, said) = export(&["event=watchlist.*", "--attempts", "--out", name]).await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("130 deliveries"), "{said}");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert_eq!(ids(&text), ids(&whole));
    assert!(text.lines().all(|line| line.contains("\"attempts\":[")));

    let (code, _, said) = export(&["--out", name]).await;
    assert_eq!(code, Some(5), "a file that exists is not written over: {said}");
    let nowhere = folder.path().join("none/log.ndjson");
    let (code, _, said) = export(&["--out", nowhere.to_str().expect("a plain path")]).await;
    assert!(code == Some(1) && said.contains("Take another file as --out"), "{code:?} {said}");
    let (code, _, said) = export(&["event=watchlist.*", "--attempts", "--out", name, "--resume"]).await;
    assert!(code == Some(5) && said.contains("is whole"), "{code:?} {said}");

    let refused = folder.path().join("refused.ndjson");
    let (code, _, _) = export(&["status=lost", "--out", refused.to_str().expect("a plain path")]).await;
    assert_eq!((code, refused.exists()), (Some(5), false), "what is refused leaves no file behind");
}

/// What of an export a server that dies has sent: whole lines, and half of another.
fn cut(text: &str) -> String {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    lines[..40].concat() + &lines[40][..lines[40].len() / 2]
}

/// Exports from a server that sends this and no more, and is killed once it has written it.
async fn interrupted(text: String, file: &Path, more: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let arguments = [&["deliveries", "export", "--out", file.to_str().expect("a plain path")], more].concat();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(arguments).env_clear().env("POSTHASTE_URL", url).env("POSTHASTE_KEY", PLATFORM_KEY);
    let mut running = command.spawn().expect("the binary runs");
    let (mut asked, _) = listener.accept().await.expect("it asks");
    let _its_first_bytes = asked.read(&mut [0; 1_024]).await.expect("a request");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{text}",
        text.len() + 1
    );
    asked.write_all(answer.as_bytes()).await.expect("it listens");
    let whole = text.rfind('\n').expect("lines") + 1;
    wait::until("the lines", Duration::from_secs(30), async || {
        std::fs::metadata(file).is_ok_and(|found| found.len() == whole as u64).then_some(())
    })
    .await;
    running.kill().await.expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_file_is_gone_on_with_by_the_filter_that_it_was_begun_with() {
    let server = start(Launch::new().flags("--allow-private 127.0.0.0/8 --allow-http")).await;
    let room = Room::open(&server.api, "default").await;
    room.webhook("http://127.0.0.1:9/nobody").await;
    for n in 0..50 {
        room.post(&format!(r#","n":{n}"#)).await;
    }
    let url = format!("http://{}", server.api.address);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log.ndjson");
    let name = file.to_str().expect("a plain path");
    let export = async |more: &str| {
        let arguments = ["deliveries", "export"].into_iter().chain(more.split_whitespace());
        let output = posthaste(url.clone(), arguments.map(str::to_owned).collect()).await;
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, whole, said) = export("").await;
    assert_eq!((code, whole.lines().count()), (Some(0), 50), "{said}");
    interrupted(cut(&whole), &file, &["event=watchlist.*", "since=24h"]).await;
    let begun = std::fs::read_to_string(&file).expect("it is there");
    for other in
        ["", "event=alert.* since=24h", "event=watchlist.* since=48h", "event=watchlist.* since=24h --attempts"]
    {
        let (code, _, said) = export(&format!("{other} --out {name} --resume")).await;
        assert_eq!(code, Some(5), "{other}: {said}");
        assert!(said.contains(name) && said.contains("begun with: event='watchlist.*' since="), "{other}: {said}");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), begun, "{other}: nothing is written");
    }
    // Half a line, as a machine leaves it that loses its power.
    std::fs::write(&file, cut(&whole)).expect("it is written");
    let (code, _, said) = export(&format!("since=24h event=watchlist.* --out {name} --resume")).await;
    assert!(code == Some(0) && said.contains("10 deliveries"), "{code:?} {said}");
    let ids = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split('"').nth(3).expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&std::fs::read_to_string(&file).expect("it is there")), ids(&whole));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "a whole export is one file");
}

/// A server that is away for a moment is no reason to end, once there is something to go on from.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_waits_for_a_server_that_went_away_and_says_how_to_go_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let name = folder.path().join("log.ndjson").to_str().expect("a plain path").to_owned();
    let running = tokio::spawn(posthaste(url, ["deliveries", "export", "--out", &name].map(str::to_owned).to_vec()));
    let (mut asked, _) = listener.accept().await.expect("it asks");
    // Nobody listens there any more.
    drop(listener);
    let _its_first_bytes = asked.read(&mut [0; 1_024]).await.expect("a request");
    let answer =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99\r\n\r\n{\"id\":\"dlv_1\"}\n";
    asked.write_all(answer).await.expect("it listens");
    drop(asked);
    let output = running.await.expect("no panic");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(6) && said.contains("Go on with --resume"), "{said}");
    assert_eq!(std::fs::read_to_string(&name).expect("it is there"), "{\"id\":\"dlv_1\"}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_ends_an_export_and_is_no_lost_connection() {
    // Each answer has a mark of its own.
    let count = AtomicUsize::new(1);
    let answer = move |_: &Request| {
        let text = format!("a-mark-of-answer-{}", count.fetch_add(1, Ordering::SeqCst));
        vec![Step::Write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into())]
    };
    let receiver = Receiver::start(Script::choosing(None, Arc::new(answer))).await;
    let launch = Launch::embedded().flags("--allow-private 127.0.0.0/8 --allow-http");
    let server = start(launch).await;
    let room = Room::open(&server.api, "default").await;
    room.webhook(&format!("http://{}/", receiver.address)).await;
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        let event = room.post("").await;
        deliveries.push(room.attempted(&event, 1).await["id"].as_str().expect("an id").to_owned());
    }
    // The second attempt has a row of its own; the first ones are in those of their deliveries.
    let damaged = &deliveries[1];
    server.api.post(&room.path(&format!("deliveries/{damaged}/replay")), &json!({})).await.expect(202);
    room.delivery(damaged, 2).await;
    let launch = server.launch().clone();
    let ended = tokio::task::spawn_blocking(move || server.terminate()).await.expect("it does not panic");
    assert!(ended.success(), "{ended}");
    let database = launch.data().join("posthaste.db");
    let mut bytes = std::fs::read(&database).expect("it is read");
    let mark = b"a-mark-of-answer-4";
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(mark)).collect();
    assert!(!places.is_empty(), "the answer lies in the file as it came");
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&database, bytes).expect("it is written");

    let server = start(launch).await;
    let trouble = async || server.api.get("/v1/system").await.expect(200)["trouble"].clone();
    assert_eq!(trouble().await, Value::Null);
    let text = server.api.get(&room.path("deliveries/export?attempts=true")).await;
    let lines: Vec<Value> = text.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["id"], &lines[1]["code"]), (2, &json!(deliveries[2]), &json!("record_damaged")));
    assert!(trouble().await.as_str().is_some_and(|said| said.contains("damaged")), "{}", trouble().await);
    server.api.get("/readyz").await.expect(200);
    let rest = server.api.get(&room.path(&format!("deliveries/export?attempts=true&cursor={damaged}"))).await;
    assert!(rest.text().contains(&deliveries[0]), "it goes on after what is damaged");

    let file = server.launch().folder().join("log.ndjson");
    let arguments = ["deliveries", "export", "--attempts", "--out", file.to_str().expect("a plain path")];
    let url = format!("http://{}", server.api.address);
    let output = posthaste(url, arguments.iter().map(|&word| word.to_owned()).collect()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains(damaged) && said.contains("damaged"), "{said}");
    let written = std::fs::read_to_string(&file).expect("it is there");
    assert_eq!((written.lines().count(), written.contains(&deliveries[2])), (1, true), "{written}");
}
