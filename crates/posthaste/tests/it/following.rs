//! `posthaste tail` and `posthaste replay` as processes that follow a server which is not always there.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::certificates::{Authority, Leaf};
use crate::receiver::{Receiver, Request, Script, status};
use crate::room::{Room, start};
use crate::running::Running;
use crate::server::{Launch, PLATFORM_KEY};

/// An address of this machine where nothing listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port")
}

fn posthaste(folder: &Path, url: &str, arguments: &[&str]) -> Running {
    Running::start_with(folder, arguments, &[("POSTHASTE_URL", url), ("POSTHASTE_KEY", PLATFORM_KEY)])
}

/// Reads lines of a process without holding up what runs beside it.
fn wait_for<T>(look: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(look)
}

/// A server that answers each request with this, for as long as the test takes.
async fn answering(answer: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut asked, _)) = listener.accept().await {
            if asked.read(&mut [0; 4_096]).await.is_ok() {
                // Who asked may have gone.
                let _gone = asked.write_all(answer.as_bytes()).await;
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_waits_for_a_server_that_is_not_there_yet() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = nobody();
    let url = format!("http://{address}");
    let tail = posthaste(folder.path(), &url, &["tail"]);
    let named = posthaste(folder.path(), &url, &["tail", "--webhook", "hostile", "--json"]);
    let listen = posthaste(folder.path(), &url, &["listen", "http://127.0.0.1:9/"]);
    wait_for(|| listen.talks(&["Trying again until it is there; Ctrl-C ends that."]));
    let said = wait_for(|| tail.talks(&["Trying again until it is there; Ctrl-C ends that."]));
    assert!(said[0].contains(&format!("no server at {url}")) && said.len() == 2, "{said:?}");
    wait_for(|| named.talks(&["{\"error\":", "no server at"]));
    let server = start(Launch::new().flags("--allow-private 127.0.0.0/8 --allow-http").at(address)).await;
    let said = wait_for(|| tail.talks(&["Connected. Waiting for attempts."]));
    assert_eq!(said.len(), 1, "said once: {said:?}");
    wait_for(|| listen.talks(&["Connecting… connected. Waiting for events."]));
    assert_eq!(wait_for(|| listen.end("-INT")).0.code(), Some(130));
    let room = Room::open(&server.api, "default").await;
    // It had no webhook of this name when it was asked at first.
    assert_eq!(wait_for(|| named.ended()).0.code(), Some(4));
    room.webhook("http://127.0.0.1:9/nobody").await;
    room.post("").await;
    wait_for(|| tail.until(&["connect_refused", "watchlist.domain_changed"]));
    assert_eq!(wait_for(|| tail.end("-INT")).0.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_waits_over_an_outage_and_ends_where_waiting_does_not_help() {
    let folder = tempfile::tempdir().expect("a folder");
    let problem = "HTTP/1.1 503 Away\r\nContent-Length: 33\r\n\r\n{\"title\":\"The database is away.\"}";
    let away = answering(problem).await;
    let tail = posthaste(folder.path(), &format!("http://{away}"), &["tail"]);
    let said = wait_for(|| tail.talks(&["Trying again until it is there"]));
    assert!(said[0].contains("The database is away."), "{said:?}");
    assert_eq!(wait_for(|| tail.end("-INT")).0.code(), Some(130));

    let moved = answering("HTTP/1.1 301 Moved\r\nLocation: https://x.example/\r\nContent-Length: 0\r\n\r\n").await;
    let refused = answering("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}").await;
    let other = answering("220 mail.example ESMTP\r\n").await;
    let page = answering("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<p>").await;
    for (url, code, why) in [
        (format!("http://{refused}"), 3, "Give a key that is valid here"),
        (format!("http://{moved}"), 1, "Check the URL"),
        (format!("http://{other}"), 6, "does not speak HTTP"),
        (format!("http://{page}"), 6, "with text/html is not posthaste"),
        (format!("https://{refused}"), 6, "no TLS with the server"),
        (format!("ftp://{refused}"), 2, "Give a URL such as"),
    ] {
        for command in [&["tail"][..], &["listen", "http://127.0.0.1:9/"]] {
            let (status, said) = wait_for(|| posthaste(folder.path(), &url, command).ended());
            assert!(status.code() == Some(code) && said.contains(why), "{command:?} {url}: {status} {said}");
        }
    }
}

/// Who rotates the file while a command runs may have it away for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_roots_is_read_once() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let file = authority.write(folder.path());
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let answer = move |_: &Request| status(if back.load(Ordering::SeqCst) { 401 } else { 503 });
    let script = Script::choosing(Some(authority.config(Leaf::Good)), Arc::new(answer));
    let receiver = Receiver::start_at("127.0.0.1:0", script).await;
    let url = format!("https://localhost:{}", receiver.address.port());
    let variables = [("POSTHASTE_URL", &*url), ("POSTHASTE_TRUST_CA", file.to_str().expect("a plain path"))];
    let tail = Running::start_with(folder.path(), &["tail"], &variables);
    wait_for(|| tail.talks(&["Trying again until it is there"]));
    std::fs::remove_file(&file).expect("it is ours");
    is_back.store(true, Ordering::SeqCst);
    let (status, said) = wait_for(|| tail.ended());
    assert!(status.code() == Some(3) && said.contains("Give a key that is valid here"), "{status} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_followed_over_an_end_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(Launch::new().flags("--allow-private 127.0.0.0/8 --allow-http")).await;
    let room = Room::open(&server.api, "default").await;
    let receiver = Receiver::start_at("127.0.0.1:0", Script::answering(None, status(200))).await;
    room.webhook(&format!("http://{}/hook", receiver.address)).await;
    for _ in 0..10 {
        let event = room.post("").await;
        room.attempted(&event, 1).await;
    }
    let address = server.api.address;
    let arguments = ["replay", "--status", "delivered", "--rate", "5"];
    let replay = posthaste(folder.path(), &format!("http://{address}"), &arguments);
    wait_for(|| replay.talks(&["10 deliveries to send again."]));
    let launch = server.kill().at(address);
    wait_for(|| replay.talks(&["The connection was lost; trying again."]));
    let _server = start(launch).await;
    wait_for(|| replay.until(&["done: 10 of 10 sent."]));
    let (status, said) = wait_for(|| replay.ended());
    assert_eq!((status.code(), &*said), (Some(0), ""), "said once, and nothing after it");
}
