//! Following the stream of attempts: connected again when the connection is lost, from where it was.

use http::Method;
use tokio::sync::mpsc;

use crate::client::patience::{Away, Patience};
use crate::client::{Client, Sending};
use crate::exit::Stop;

/// How much may wait to be shown. A terminal that is slower than that lets the server wait, which then says what was missed.
const WAITING_MAX: usize = 256;

/// What is told.
#[derive(Debug)]
pub(super) enum News {
    /// The stream stands.
    Connected {
        /// After it was lost.
        again: bool,
    },
    /// An attempt was made: the stream's own JSON.
    Attempt(String),
    /// Some attempts were not told.
    Missed,
    /// The server is away, and asked again.
    Away(Away),
}

/// News as they come; an error is the last of them.
pub(super) type Receiver = mpsc::Receiver<Result<News, Stop>>;

/// Follows the stream at `path` for as long as somebody receives.
pub(super) fn follow(client: Client, path: String) -> Receiver {
    let (tell, told) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        // Who listened may have gone: then there is nobody to tell.
        let _gone = run(&client, &path, &tell).await;
    });
    told
}

/// `None` once nobody receives.
async fn run(client: &Client, path: &str, tell: &mpsc::Sender<Result<News, Stop>>) -> Option<()> {
    let (mut last_id, mut patience) = (None, Patience::new());
    loop {
        let away = match client.stream(Method::GET, path, resume(last_id.as_deref())).await {
            Ok(mut events) => {
                tell.send(Ok(News::Connected { again: patience.reached() })).await.ok()?;
                loop {
                    let event = tokio::select! {
                        event = events.next() => event,
                        () = tell.closed() => return None,
                    };
                    let Some(event) = event else { break };
                    last_id = event.id.or(last_id);
                    match event.name.as_str() {
                        "attempt" => tell.send(Ok(News::Attempt(event.data))).await.ok()?,
                        "reset" => tell.send(Ok(News::Missed)).await.ok()?,
                        _ => {}
                    }
                }
                patience.lost()
            }
            Err(stop) => match patience.after(stop) {
                Ok(away) => away,
                Err(stop) => return tell.send(Err(stop)).await.ok(),
            },
        };
        if let Some(away) = away {
            tell.send(Ok(News::Away(away))).await.ok()?;
        }
        tokio::select! {
            () = patience.wait() => {}
            () = tell.closed() => return None,
        }
    }
}

/// What asks for the stream from after the last event seen.
pub(in crate::commands) fn resume(last_id: Option<&str>) -> Sending {
    match last_id {
        Some(id) => Sending::default().with("last-event-id", id),
        None => Sending::default(),
    }
}
