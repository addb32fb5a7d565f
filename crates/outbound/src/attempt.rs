//! One attempt: its stages, and the one deadline over all of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::{Answer, ErrorCode, Failure, Outcome, Timing};
use domain::endpoint_url::{EndpointUrl, HostName};
use domain::transport::{Outgoing, Untried};
use tokio::time::Instant;

use crate::dial::Stop;
use crate::http1::{Broken, Connection};
use crate::network::Inner;
use crate::resolver::Checked;
use crate::stream::Stream;
use crate::tls::Handshake;

/// What is being waited for: the deadline's failure is named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The name servers.
    Name,
    /// A TCP connection.
    Connection,
    /// The TLS handshake.
    Tls,
    /// The head of the answer.
    Answer,
}

/// How far an attempt has come. It outlives the attempt's future, which the deadline may drop.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    /// When the stage began.
    since: Instant,
    timing: Timing,
    /// The address that is dialled, or would have been.
    pub(crate) remote: Option<SocketAddr>,
    /// The answer, once its head is complete: nothing that comes later can make the attempt a failure.
    pub(crate) answer: Option<Answer>,
}

impl Progress {
    pub(crate) const fn new(now: Instant) -> Self {
        let timing = Timing { queue: Duration::ZERO, dns: None, connect: None, tls: None, first_byte: None };
        Self { stage: Stage::Name, since: now, timing, remote: None, answer: None }
    }

    /// A stage begins.
    pub(crate) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }

    /// The present stage has ended, well or not: its time is taken.
    pub(crate) fn leave(&mut self) {
        let span = match self.stage {
            Stage::Name => &mut self.timing.dns,
            Stage::Connection => &mut self.timing.connect,
            Stage::Tls => &mut self.timing.tls,
            Stage::Answer => &mut self.timing.first_byte,
        };
        *span = Some(self.since.elapsed());
    }
}

/// Makes the attempt. Never takes noticeably longer than the request's deadline.
///
/// # Errors
/// This machine had nothing left to make it with.
pub(crate) async fn attempt(network: &Inner, request: &Outgoing) -> Result<Outcome, Untried> {
    let started = Instant::now();
    let mut progress = Progress::new(started);
    let ended = tokio::time::timeout_at(started + request.timeout, run(network, request, &mut progress)).await;
    if ended.is_err() && progress.answer.is_none() {
        progress.leave();
    }
    let Progress { stage, timing, remote, answer, .. } = progress;
    let result = match (answer, ended) {
        (Some(answer), _) => Ok(answer),
        (None, Ok(Err(Stop::Failed(failure)))) => Err(failure),
        (None, Ok(Err(Stop::Untried(untried)))) => {
            if let Some(times) = network.untried.happened(Instant::now().into_std()) {
                tracing::error!(
                    error = %untried, times,
                    "attempts cannot be made: this machine has nothing left for their connections; they wait and are tried again. \
                     Raise the limit of open files (LimitNOFILE, ulimit -n), or give the machine more memory or local ports"
                );
            }
            return Err(untried);
        }
        (None, Ok(Ok(())) | Err(_)) => Err(too_late(stage)),
    };
    Ok(Outcome { result, remote_address: remote, timing, duration: started.elapsed() })
}

pub(crate) fn too_late(stage: Stage) -> Failure {
    let code = match stage {
        Stage::Name => ErrorCode::DnsTimeout,
        Stage::Connection => ErrorCode::ConnectTimeout,
        Stage::Tls | Stage::Answer => ErrorCode::ResponseTimeout,
    };
    plain(code)
}

async fn run(network: &Inner, request: &Outgoing, progress: &mut Progress) -> Result<(), Stop> {
    let url = &*request.url;
    let addresses = dialable(network, url, progress).await?;
    let offers_http2 = request.http2 && url.https();
    if offers_http2 && let Some(shared) = network.http2.take(url.origin(), &addresses, Instant::now()) {
        progress.remote = Some(shared.peer);
        return Ok(shared.exchange(request, progress).await?);
    }
    while let Some(connection) = network.pool.take(url.origin(), &addresses, Instant::now()) {
        match over_http1(network, request, connection, progress).await {
            Ok(()) => return Ok(()),
            Err(Broken::Failed(failure)) => {
                if failure.code == ErrorCode::ConnectionReset {
                    network.pool.closes(url.origin(), Instant::now());
                }
                return Err(failure.into());
            }
            // Another kept one, or a new one: nothing of the request has left this machine.
            Err(Broken::NotSent) => {}
        }
    }
    let (stream, peer, is_http2) = connect(network, url, &addresses, offers_http2, progress).await?;
    if is_http2 {
        let shared = network.http2.start(url.origin(), stream, peer).await?;
        return Ok(shared.exchange(request, progress).await?);
    }
    over_http1(network, request, Connection::new(stream, peer), progress).await.map_err(|broken| match broken {
        Broken::Failed(failure) => failure.into(),
        Broken::NotSent => plain(ErrorCode::ConnectionReset).into(),
    })
}

/// The addresses that may be dialled: none of the host's may be one that may not.
pub(crate) async fn dialable(
    network: &Inner,
    url: &EndpointUrl,
    progress: &mut Progress,
) -> Result<Arc<[IpAddr]>, Stop> {
    match checked(network, url, progress).await? {
        Checked::Dial(addresses) => Ok(addresses),
        Checked::Blocked { address, why } => {
            progress.remote = Some(SocketAddr::new(address, url.port()));
            Err(Failure { code: ErrorCode::AddressBlocked, detail: format!("{address} ({why})") }.into())
        }
    }
}

/// The host's addresses, from what is known or by asking; only asking is timed.
async fn checked(network: &Inner, url: &EndpointUrl, progress: &mut Progress) -> Result<Checked, Stop> {
    if let Some(known) = network.resolver.known(url.host(), Instant::now()) {
        return Ok(known);
    }
    let HostName::Name(name) = url.host() else { unreachable!("an address needs no look-up") };
    progress.enter(Stage::Name);
    let checked = network.resolver.ask(name).await;
    progress.leave();
    checked
}

/// One exchange over `connection`, which is kept for the next one if it allows that.
async fn over_http1(
    network: &Inner,
    request: &Outgoing,
    mut connection: Connection,
    progress: &mut Progress,
) -> Result<(), Broken> {
    progress.remote = Some(connection.peer);
    if connection.exchange(request, progress).await? {
        network.pool.put(request.url.origin(), connection);
    }
    Ok(())
}

/// A new connection to one of the addresses, with TLS if the URL asks for it; also says whether HTTP/2 was agreed on.
pub(crate) async fn connect(
    network: &Inner,
    url: &EndpointUrl,
    addresses: &[IpAddr],
    offers_http2: bool,
    progress: &mut Progress,
) -> Result<(Stream, SocketAddr, bool), Stop> {
    progress.enter(Stage::Connection);
    let dialled = network.dialler.dial(addresses, url.port(), &mut progress.remote, || network.pool.clear()).await;
    progress.leave();
    let (tcp, peer) = dialled?;
    progress.remote = Some(peer);
    // The address was judged before; what stands at the other end is judged once more.
    if let Some(why) = network.guard.refusal(peer.ip()) {
        return Err(Failure { code: ErrorCode::AddressBlocked, detail: format!("{} ({why})", peer.ip()) }.into());
    }
    if !url.https() {
        return Ok((Stream::Plain(tcp), peer, false));
    }
    progress.enter(Stage::Tls);
    let shaken = network.tls.shake_hands(tcp, url.host(), offers_http2).await;
    progress.leave();
    let Handshake { stream, is_http2 } = shaken?;
    network.certificate_ends.shown(url, stream.get_ref().1.peer_certificates());
    Ok((Stream::Tls(Box::new(stream)), peer, is_http2))
}

/// A failure whose code says all.
pub(crate) const fn plain(code: ErrorCode) -> Failure {
    Failure { code, detail: String::new() }
}
