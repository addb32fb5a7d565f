//! Rows of group E below HTTP's surface: framing, bytes that come slowly, connections that go away.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::seen::Seen;
use super::super::stage::Stage;
use super::{Poster, line};
use crate::api::Reply;
use crate::table::Row;
use crate::wait;

/// E055–E061: requests whose framing is hostile. A second request behind the first must never be read.
pub(super) async fn raw(poster: &Poster, row: &Row) -> Seen {
    let (line, key, address) = (line(), poster.api.key(), poster.api.address);
    let first = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    );
    let chunked = format!("{:x}\r\n{line}\r\n0\r\n\r\n", line.len());
    let length = line.len();
    let hostile = match row.id.as_str() {
        "E055" => format!("{first}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        "E056" => format!("{first}Transfer-Encoding: xchunked\r\n\r\n{chunked}"),
        "E057" => format!("{first}Transfer-Encoding : chunked\r\n\r\n{chunked}"),
        "E058" => format!("{first}Transfer-Encoding: chunked\r\n\r\n0x5\r\n{line}\r\n0\r\n\r\n"),
        "E059" => format!("{first}X-A: b\nContent-Length: {length}\r\n\r\n{line}"),
        "E060" => format!("{first}X-A: a\0b\r\nContent-Length: {length}\r\n\r\n{line}"),
        "E061" => format!("{first}Expect: 100-continue\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{line}"),
        other => panic!("no bytes for {other}"),
    };
    if row.id == "E061" {
        let mut seen = Seen::maybe_reply(poster.api.raw(&[hostile.as_bytes()]).await);
        poster.kept(1, &mut seen).await;
        return seen;
    }
    let second = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let bytes = poster.api.to_the_end(&[hostile.as_bytes(), second.as_bytes()]).await.unwrap_or_default();
    let answers = String::from_utf8_lossy(&bytes).matches("HTTP/1.1 ").count();
    let mut seen = match Reply::parse(&bytes) {
        Some(reply) => bare(&reply),
        None => Seen::word("closed"),
    };
    seen.must(answers <= 1, format!("{answers} answers: a second request was read"));
    poster.kept(0, &mut seen).await;
    seen
}

/// An answer to what was no HTTP: there is no request of which a problem document could tell.
fn bare(reply: &Reply) -> Seen {
    Seen::word(format!("status:{}", reply.status))
}

/// E062, E063: a byte a second, in the head or in the body. Others are served meanwhile.
pub(super) async fn slow(stage: &Stage, poster: &Poster, row: &Row) -> Seen {
    let line = line();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        poster.api.key(),
        line.len()
    );
    let (at_once, slowly, most) =
        if row.id == "E062" { ("", head.as_str(), 10) } else { (head.as_str(), line.as_str(), 30) };
    let began = Instant::now();
    let (mut read, mut write) = poster.api.connect().await.expect("a connection").into_split();
    let trickle = async {
        write.write_all(at_once.as_bytes()).await?;
        for byte in slowly.bytes() {
            write.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        io::Result::Ok(())
    };
    let mut answer = Vec::new();
    let ended = async {
        let _reset = read.read_to_end(&mut answer).await;
    };
    let meanwhile = async {
        // While the slow one is being served, another asks.
        let asked = Instant::now();
        stage.main.api.get("/readyz").await.expect(200);
        asked.elapsed()
    };
    tokio::pin!(trickle, ended);
    let race = async {
        tokio::select! {
            () = &mut ended => {}
            _ = &mut trickle => ended.await,
        }
    };
    let (raced, other) = tokio::join!(tokio::time::timeout(Duration::from_secs(most + 6), race), meanwhile);
    let took = began.elapsed();
    let mut seen = match Reply::parse(&answer) {
        Some(reply) => bare(&reply),
        None => Seen::word("closed"),
    };
    seen.must(raced.is_ok() && took <= Duration::from_secs(most + 5), format!("not ended after {took:?}"));
    seen.must(other < Duration::from_secs(most) / 2, format!("another client waited {other:?}"));
    poster.kept(0, &mut seen).await;
    seen
}

/// E064: gone in the middle of the body.
pub(super) async fn disconnect(poster: &Poster) -> Seen {
    let line = line();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
        poster.api.key(),
        line.len(),
        &line[..line.len() - 2]
    );
    let mut stream = poster.api.connect().await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("closed");
    // Until the server has seen the end: it answers, or closes too.
    let mut rest = Vec::new();
    let _either_way = stream.read_to_end(&mut rest).await;
    let mut seen = Seen::default();
    poster.kept(0, &mut seen).await;
    let next: Value = wait::until("the next event", Duration::from_secs(5), async || {
        let reply = poster.post(&[], line.as_bytes()).await;
        (reply.status == 202).then(|| reply.json())
    })
    .await;
    seen.must(next["id"].is_string(), "the next event is refused");
    poster.kept(1, &mut seen).await;
    seen.check("nothing_stored", true, "")
}
