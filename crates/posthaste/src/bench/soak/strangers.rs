//! Those who hang up: streams and exports that are left in the middle, requests that end half-way, connections that say nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::platform::account;
use super::pool::Pool;
use super::tally::Tally;
use crate::bench::Failed;

/// How long the first bytes of an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that it is done with.
#[derive(Clone)]
pub(super) struct Strangers {
    pub(super) pool: Arc<Pool>,
    pub(super) tally: Arc<Tally>,
    pub(super) accounts: u64,
}

impl Strangers {
    async fn connect(&self) -> Result<TcpStream, Failed> {
        Ok(TcpStream::connect(self.pool.target().address).await?)
    }

    fn head(&self, line: &str, more: &str) -> String {
        let key = self.pool.target().key.as_deref().unwrap_or_default();
        format!("{line} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {key}\r\n{more}\r\n")
    }

    /// Follows a stream for a while and leaves it; comes again where it was, and leaves that too.
    pub(super) async fn stream(self, n: u64) -> Result<(), Failed> {
        let account = account(n % self.accounts);
        let types = ["", "?types=attempt", "?types=delivery,webhook", "?types=replay"][n as usize % 4];
        let line = format!("GET /v1/accounts/{account}/stream{types}");
        let seen = self.follow(&line, "", Duration::from_millis(500 + n % 7 * 400)).await?;
        let last = seen.lines().rev().find_map(|line| line.strip_prefix("id:").or_else(|| line.strip_prefix("id: ")));
        if let Some(id) = last {
            let more = format!("last-event-id: {}\r\n", id.trim());
            self.follow(&line, &more, Duration::from_millis(n % 3 * 300)).await?;
            self.tally.did("streams gone on with");
        }
        self.tally.did("streams left");
        Ok(())
    }

    /// Opens a stream and reads for so long; what came.
    async fn follow(&self, line: &str, more: &str, during: Duration) -> Result<String, Failed> {
        let mut stream = self.connect().await?;
        stream.write_all(self.head(line, more).as_bytes()).await?;
        let (mut seen, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        let first = timeout_at(Instant::now() + PATIENCE, stream.read(&mut buffer)).await;
        let number = first.map_err(|_| Failed(format!("{line}: no answer within a minute")))??;
        if !buffer[..number].starts_with(b"HTTP/1.1 200") {
            let said = String::from_utf8_lossy(&buffer[..number]).into_owned();
            return Err(Failed(format!("{line}: {said}")));
        }
        let until = Instant::now() + during;
        while let Ok(read) = timeout_at(until, stream.read(&mut buffer)).await {
            let number = read?;
            if number == 0 {
                return Err(Failed(format!("{line}: the stream ended by itself")));
            }
            seen.extend_from_slice(&buffer[..number]);
            if self.tally.is_over() {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&seen).into_owned())
    }

    /// Begins something and hangs up, at another place each time.
    pub(super) async fn hang_up(self, n: u64) -> Result<(), Failed> {
        let account = account(n % self.accounts);
        let body = r#"{"event":"alert.domain_matched","account":"nobody-has-this","data":{"text":"cut off"}}"#;
        let length = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        let post = self.head("POST /v1/events", &length);
        let export = self.head(&format!("GET /v1/accounts/{account}/deliveries/export?attempts=true"), "");
        let list = self.head(&format!("GET /v1/accounts/{account}/deliveries?q=nothing-holds-this"), "");
        let webhooks = self.head(&format!("POST /v1/accounts/{account}/webhooks"), "content-length: 400\r\n");
        let (said, waits) = match n % 8 {
            0 => (String::new(), false),
            1 => (post[..post.len() / 2].to_owned(), false),
            2 => (format!("{post}{}", &body[..body.len() / 2]), false),
            3 => (format!("{post}{body}"), false),
            4 => (export, true),
            5 => (list, false),
            6 => (webhooks, false),
            _ => (format!("{post}{body}{post}"), true),
        };
        let mut stream = self.connect().await?;
        stream.write_all(said.as_bytes()).await?;
        if waits {
            // A little of the answer, and no more.
            let mut buffer = [0; 256];
            let first = timeout_at(Instant::now() + PATIENCE, stream.read(&mut buffer)).await;
            first.map_err(|_| Failed("a request that would be cut off got no answer within a minute".to_owned()))??;
        } else {
            self.tally.pause(Duration::from_millis(n % 5 * 100)).await;
        }
        self.tally.did("requests cut off");
        Ok(())
    }
}
