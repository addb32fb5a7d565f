//! Chance changes to what strangers send: requests, texts in them, answers of receivers, replies of name servers. Whatever comes, each gets an
//! answer of its kind, and nothing panics.
//!
//! A few thousand of each in `./test`, always the same. `FUZZ_CASES` plays so many, `FUZZ_SEED` others; a case that fails says how to play it
//! alone.

mod mutation;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::endpoint_url::EndpointUrl;
use domain::transport::{Names as _, Outgoing, Transport as _};
use outbound::{Network, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{Id, JoinError, JoinSet};

use crate::api::{Api, Reply};
use crate::dns::{Dns, Script as Names, reply_of_addresses};
use crate::room::{self, Room};
use crate::server::{Launch, PLATFORM_KEY, Server};
use mutation::{Mutation, pieces};

/// How many are under way at once.
const AT_ONCE: usize = 32;
/// After so long without a byte an answer waits for more of the request.
const SILENCE: Duration = Duration::from_millis(250);
/// For anything that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays cases, many at once; `play` says what was wrong. Gives what was played.
///
/// # Panics
/// When something was.
async fn play_all<F>(target: &str, usual: u64, play: impl Fn(Mutation) -> F) -> String
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (seed, first) = (setting("FUZZ_SEED").unwrap_or(0), setting("FUZZ_FIRST").unwrap_or(0));
    let cases = setting("FUZZ_CASES").unwrap_or(usual);
    let (mut under_way, mut numbers) = (JoinSet::new(), HashMap::new());
    let judge = |ended: Result<(Id, Result<(), String>), JoinError>, numbers: &mut HashMap<Id, u64>| {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(panicked) => (panicked.id(), Err(panicked.to_string())),
        };
        let case = numbers.remove(&id).expect("a case of this run");
        if let Err(fault) = outcome {
            let again = format!("FUZZ_SEED={seed} FUZZ_FIRST={case} FUZZ_CASES=1");
            panic!("{target}, case {case}: {fault}\nagain: {again} cargo test -p posthaste --test it {target}");
        }
    };
    for case in first..first + cases {
        if under_way.len() >= AT_ONCE
            && let Some(ended) = under_way.join_next_with_id().await
        {
            judge(ended, &mut numbers);
        }
        numbers.insert(under_way.spawn(play(Mutation::of(seed, case))).id(), case);
    }
    while let Some(ended) = under_way.join_next_with_id().await {
        judge(ended, &mut numbers);
    }
    format!("{target}: {cases} cases of seed {seed}")
}

#[expect(clippy::disallowed_methods, reason = "who runs the tests says how much of it")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Bytes as they can be read in a report.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.iter().take(2_000).flat_map(|byte| std::ascii::escape_default(*byte)) {
        text.push(char::from(part));
    }
    if bytes.len() > 2_000 {
        let _ = write!(text, " … ({} bytes)", bytes.len());
    }
    text
}

/// What is wrong with an answer, whatever the request was.
fn fault_of(reply: &Reply) -> Option<String> {
    if !(200..600).contains(&reply.status) || reply.status == 500 {
        return Some(format!("answered {}", reply.status));
    }
    let kind = reply.header("content-type").unwrap_or_default();
    let document = reply.json();
    if kind == "application/problem+json" {
        let told = ["type", "title", "detail"].iter().all(|name| document[*name].is_string());
        if !told || document["status"] != reply.status {
            return Some(format!("a problem that says too little: {}", reply.text()));
        }
    } else if kind.starts_with("application/json") && document.is_null() && reply.status != 204 {
        return Some(format!("JSON that cannot be read: {}", reply.text()));
    }
    None
}

/// A server for which names lead to an address of this machine where nobody listens.
async fn serve() -> (Dns, Server) {
    let dns = Dns::start().await;
    dns.fallback(Names::addresses("127.0.0.2"));
    let server =
        room::start(Launch::new().flag("--resolver", dns.address).flag("--allow-private", "127.0.0.2/32")).await;
    Room::open(&server.api, "quiet").await;
    (dns, server)
}

/// Ends a run against a server: it has not panicked, has no fault of its own to tell of, and accepts.
async fn judge(server: &Server) {
    let event = mutation::event("quiet", r#""more":1"#);
    server.api.send("POST", "/v1/events", &[], event.as_bytes()).await.expect(202);
    let said = server.said();
    let faults: Vec<&str> = said.lines().filter(|line| line.contains("panicked") || line.contains("ERROR")).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Sends bytes as they are, and reads what comes.
async fn converse(api: &Api, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut read, mut write) = api.connect().await?.into_split();
    let mut answer = Vec::new();
    // A server that has answered need not read on.
    let _ = tokio::time::timeout(PATIENCE, write.write_all(bytes)).await;
    loop {
        match tokio::time::timeout(SILENCE, read.read_buf(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return Ok(answer),
            Ok(Ok(_)) if Reply::parse(&answer).is_some() => return Ok(answer),
            Ok(Ok(_)) => {}
            Err(_) => break,
        }
    }
    // It waits for more: now there is none.
    let _ = write.shutdown().await;
    let rest = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)).await;
    match rest {
        Ok(_) => Ok(answer),
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the connection does not end")),
    }
}

/// Requests as bytes: each is answered, or its connection closed.
#[tokio::test(flavor = "multi_thread")]
async fn fuzz_requests() {
    let (_dns, server) = serve().await;
    let seeds = Arc::new(mutation::requests(PLATFORM_KEY));
    for sound in seeds.iter() {
        let reply = Reply::parse(&converse(&server.api, sound).await.expect("an answer")).expect("a whole one");
        assert!((200..300).contains(&reply.status), "{}: {}", shown(sound), reply.text());
    }
    let played = play_all("fuzz_requests", 3_000, |mut mutation| {
        let (api, seeds) = (server.api.clone(), Arc::clone(&seeds));
        async move {
            let bytes = mutation.of_one(&seeds, pieces::REQUEST);
            let answer = converse(&api, &bytes).await.map_err(|error| format!("{error}: {}", shown(&bytes)))?;
            // What is not even a request may be hung up on.
            let Some(reply) = Reply::parse(&answer) else {
                let cut = !answer.is_empty() && !answer.starts_with(b"HTTP/1.1 200");
                return if cut {
                    Err(format!("half an answer: {} to {}", shown(&answer), shown(&bytes)))
                } else {
                    Ok(())
                };
            };
            fault_of(&reply).map_or(Ok(()), |fault| Err(format!("{fault}, to {}", shown(&bytes))))
        }
    })
    .await;
    println!("{played}");
    judge(&server).await;
}

/// Texts in sound requests: URLs, headers, filters, types, documents.
#[tokio::test(flavor = "multi_thread")]
async fn fuzz_texts() {
    let (_dns, server) = serve().await;
    let played = play_all("fuzz_texts", 3_000, |mut mutation| {
        let api = server.api.clone();
        async move {
            let (method, path, body) = mutation::text_request(&mut mutation);
            let reply = api
                .try_send(method, &path, &[], &body)
                .await
                .map_err(|error| format!("{error}: {method} {path} {}", shown(&body)))?;
            fault_of(&reply).map_or(Ok(()), |fault| Err(format!("{fault}, to {method} {path} {}", shown(&body))))
        }
    })
    .await;
    println!("{played}");
    judge(&server).await;
}

fn network(resolver: Option<SocketAddr>) -> Network {
    let opened = vec!["127.0.0.0/24".parse().expect("a range")];
    Network::new(Settings { opened, resolver, ..Settings::default() }).expect("the settings are good")
}

/// Answers of receivers as bytes: each attempt has an outcome, and keeps no more of the answer than it may.
#[tokio::test(flavor = "multi_thread")]
async fn fuzz_answers() {
    let network = network(None);
    let seeds = Arc::new(mutation::answers());
    let played = play_all("fuzz_answers", 3_000, |mut mutation| {
        let (network, seeds) = (network.clone(), Arc::clone(&seeds));
        async move {
            let bytes = mutation.of_one(&seeds, pieces::ANSWER);
            // Ports that were used stay taken for a minute: many addresses have many.
            let host = [127, 0, 0, 2 + (mutation.case % 250) as u8];
            let listener = TcpListener::bind(SocketAddr::from((host, 0))).await.map_err(|error| error.to_string())?;
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            let sent = bytes.clone();
            let answering = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await?;
                stream.read_buf(&mut Vec::with_capacity(4096)).await?;
                // The sender may have enough before the end.
                let _ = stream.write_all(&sent).await;
                stream.shutdown().await?;
                // What is left of the request is read, so that the answer is not lost to a reset.
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            });
            let outgoing = Outgoing {
                url: Arc::new(
                    EndpointUrl::stored(&format!("http://{address}/hook")).map_err(|error| format!("{error:?}"))?,
                ),
                headers: vec![("X-Key".into(), "a b".into())],
                body: Bytes::from_static(b"{}"),
                timeout: PATIENCE,
                http2: false,
            };
            let outcome = network.send(outgoing).await.expect("this machine has what it takes");
            answering.abort();
            let fault = match outcome.result {
                Ok(answer) if !(200..600).contains(&answer.status) => Some(format!("a status of {}", answer.status)),
                Ok(answer) if answer.body.len() > domain::attempt::ANSWER_KEPT_MAX => {
                    Some(format!("{} bytes kept", answer.body.len()))
                }
                Ok(_) => None,
                Err(_) => None,
            };
            fault.map_or(Ok(()), |fault| Err(format!("{fault}, to {}", shown(&bytes))))
        }
    })
    .await;
    println!("{played}");
}

/// Replies of a name server as bytes: each look-up ends, and gives addresses or says why not.
#[tokio::test(flavor = "multi_thread")]
async fn fuzz_name_server() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let network = network(Some(socket.local_addr().expect("an address")));
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            // The name that is asked for says which case it is.
            let Some((name, reply)) = reply_of_addresses(&buffer[..length]) else { continue };
            let mut numbers = name.split(['-', '.']).filter_map(|part| part.parse().ok());
            let (Some(seed), Some(case)) = (numbers.next(), numbers.next()) else { continue };
            let mut mutation = Mutation::of(seed, case);
            let id: [u8; 2] = [reply[0], reply[1]];
            let mut bytes = mutation.of_one(&[reply], pieces::REPLY);
            // Under another number it would only be passed over.
            bytes.iter_mut().zip(id).for_each(|(byte, of_id)| *byte = of_id);
            bytes.truncate(4_000);
            let _asker_has_gone = socket.send_to(&bytes, peer).await;
        }
    });
    let played = play_all("fuzz_name_server", 1_000, |mutation| {
        let network = network.clone();
        async move {
            let name = format!("fuzz-{}-{}.example.com", mutation.seed, mutation.case);
            let looking = network.resolve(&name, Duration::from_millis(100));
            match tokio::time::timeout(PATIENCE, looking).await {
                Ok(Ok(addresses)) if addresses.is_empty() => Err("no address, and no reason".to_owned()),
                Ok(Ok(_) | Err(_)) => Ok(()),
                Err(_) => Err("a look-up does not end".to_owned()),
            }
        }
    })
    .await;
    println!("{played}");
}

#[test]
fn a_case_is_always_the_same() {
    let seeds = mutation::requests("phk_x");
    let of = |seed, case| Mutation::of(seed, case).of_one(&seeds, pieces::REQUEST);
    assert_eq!(of(1, 2), of(1, 2));
    let different = (0..100).filter(|case| of(1, *case) != of(2, *case)).count();
    assert!(different > 90, "{different}");
    assert_eq!(shown(b"\x00a"), "\\x00a");
}
