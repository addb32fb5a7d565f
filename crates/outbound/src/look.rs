//! A look at a URL before it is saved: the way that an attempt goes, guard and all, up to the head of an answer to `HEAD`,
//! which asks the receiver to do nothing.

use std::time::Duration;

use domain::attempt::ErrorCode;
use domain::endpoint_url::EndpointUrl;
use domain::time::Timestamp;
use domain::transport::{Look, Seen};
use tokio::time::Instant;

use crate::attempt::{Progress, Stage, connect, dialable, plain, too_late};
use crate::dial::Stop;
use crate::http1::{Broken, Connection};
use crate::network::Inner;
use crate::stream::Stream;

/// The longest `Location` that is repeated.
const LOCATION_MAX: usize = 2_048;

/// Looks. Never takes noticeably longer than `within`.
pub(crate) async fn look(network: &Inner, url: &EndpointUrl, headers: &[(String, String)], within: Duration) -> Look {
    let mut progress = Progress::new(Instant::now());
    let mut certificate_ends_at = None;
    let run = run(network, url, headers, &mut progress, &mut certificate_ends_at);
    let ended = tokio::time::timeout(within, run).await;
    let result = ended.unwrap_or_else(|_| Err(too_late(progress.stage).into()));
    let result = result.map_err(|stop| stop.failure(ErrorCode::ConnectTimeout));
    Look { remote_address: progress.remote, certificate_ends_at, result }
}

async fn run(
    network: &Inner,
    url: &EndpointUrl,
    headers: &[(String, String)],
    progress: &mut Progress,
    certificate_ends_at: &mut Option<Timestamp>,
) -> Result<Seen, Stop> {
    let addresses = dialable(network, url, progress).await?;
    let (stream, peer, _) = connect(network, url, &addresses, false, progress).await?;
    if let Stream::Tls(_) = &stream {
        *certificate_ends_at = network.certificate_ends.of(url);
    }
    progress.enter(Stage::Answer);
    let head = Connection::new(stream, peer).look(url, headers).await.map_err(|broken| match broken {
        Broken::Failed(failure) => Stop::Failed(failure),
        Broken::NotSent => plain(ErrorCode::ConnectionReset).into(),
    })?;
    let location = head.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
    let location = location.filter(|(_, value)| value.len() <= LOCATION_MAX);
    Ok(Seen { status: head.status, location: location.map(|(_, value)| String::from_utf8_lossy(value).into_owned()) })
}
