//! From a host to addresses that may be dialled: one look-up, every address judged, the answer kept for as long as its
//! TTL allows, 60 s at most.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::attempt::{ErrorCode, Failure};
use domain::endpoint_url::HostName;
use domain::transport::Untried;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;

use crate::dial::{Stop, is_short};
use crate::guard::Guard;

/// The longest that an answer is kept, whatever its time to live: a receiver that moves is followed within a minute.
const KEPT_MAX: Duration = Duration::from_secs(60);
/// How many names are kept.
const NAMES_MAX: usize = 10_000;
/// How many addresses of an answer are dialled; all of them are judged.
const DIALLED_MAX: usize = 16;
/// How many aliases (CNAME) an answer may lead through.
const ALIASES_MAX: usize = 16;
/// How long the second family's answer is waited for once the first one's has addresses: a name server that never
/// answers AAAA must not stop a delivery over IPv4.
const OTHER_FAMILY_GRACE: Duration = Duration::from_secs(2);

/// What a host led to.
#[derive(Debug, Clone)]
pub(crate) enum Checked {
    /// All of its addresses may be dialled; these are the first, never none.
    Dial(Arc<[IpAddr]>),
    /// This address may not, and so the whole answer is refused.
    Blocked {
        /// The address.
        address: IpAddr,
        /// Why, in a phrase.
        why: &'static str,
    },
}

/// Looks hosts up. Reads no hosts file.
pub(crate) struct Resolver {
    asker: TokioResolver,
    guard: Arc<Guard>,
    kept: Mutex<HashMap<Box<str>, Kept>>,
}

struct Kept {
    checked: Checked,
    until: Instant,
}

impl Resolver {
    /// A resolver that asks `server` only, or the system's servers.
    ///
    /// # Errors
    /// Only when the resolver's own set-up fails.
    pub(crate) fn new(server: Option<SocketAddr>, guard: Arc<Guard>) -> Result<Self, NetError> {
        let config = server.map_or_else(system_servers, only);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        // The cache is ours: it keeps the verdict with the answer, and never longer than a minute.
        options.cache_size = 0;
        // The deadline is the attempt's own; these only have to be no shorter.
        options.timeout = Duration::from_secs(5);
        options.attempts = 1;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        Ok(Self { asker: builder.build()?, guard, kept: Mutex::default() })
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Box<str>, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the host leads to as far as that is known without asking anyone.
    pub(crate) fn known(&self, host: &HostName, now: Instant) -> Option<Checked> {
        match host {
            HostName::Ip(ip) => Some(self.judge(&[*ip])),
            HostName::Name(name) if is_localhost(name) => Some(self.judge(&self.guard.localhost())),
            HostName::Name(name) => {
                self.kept().get(name.as_str()).filter(|kept| now < kept.until).map(|kept| kept.checked.clone())
            }
        }
    }

    /// Asks the name servers for `name`, judges all addresses, and keeps the answer for its TTL.
    pub(crate) async fn ask(&self, name: &str) -> Result<Checked, Stop> {
        let now = Instant::now();
        if self.guard.refresh(now) {
            self.kept().clear();
        }
        let answer = self.addresses(name).await?;
        let checked = self.judge(&answer.addresses);
        self.keep(name, checked.clone(), answer.lifetime, now);
        Ok(checked)
    }

    fn keep(&self, name: &str, checked: Checked, lifetime: Duration, now: Instant) {
        let until = now + lifetime.min(KEPT_MAX);
        let mut kept = self.kept();
        if kept.len() >= NAMES_MAX {
            kept.retain(|_, other| now < other.until);
        }
        if now < until && kept.len() < NAMES_MAX {
            kept.insert(name.into(), Kept { checked, until });
        }
    }

    /// Every address must pass, before any is left out.
    fn judge(&self, addresses: &[IpAddr]) -> Checked {
        let refused = addresses.iter().find_map(|ip| self.guard.refusal(*ip).map(|why| (*ip, why)));
        match refused {
            Some((address, why)) => Checked::Blocked { address, why },
            None => Checked::Dial(addresses.iter().copied().take(DIALLED_MAX).collect()),
        }
    }

    /// All addresses of `name`, IPv4 first, unjudged.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Answer, Stop> {
        if is_localhost(name) {
            return Ok(Answer { addresses: self.guard.localhost(), lifetime: Duration::ZERO });
        }
        let mut asked = Name::from_ascii(name).map_err(|error| failed(&error.to_string()))?;
        asked.set_fqdn(true);
        let v4 = self.asker.lookup(asked.clone(), RecordType::A);
        let v6 = self.asker.lookup(asked.clone(), RecordType::AAAA);
        let (v4, v6) = both(async { read(&asked, v4.await) }, async { read(&asked, v6.await) }).await;
        let (v4, v6) = match (v4, v6) {
            (Ok(v4), Ok(v6)) => (v4, v6),
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.addresses.is_empty() => (some, Answer::none()),
            (Err(stop), Ok(_) | Err(_)) | (Ok(_), Err(stop)) => return Err(stop),
        };
        let lifetime = v4.lifetime.min(v6.lifetime);
        let mut addresses = v4.addresses;
        addresses.extend(v6.addresses);
        if addresses.is_empty() {
            let detail = "no address".to_owned();
            return Err(Failure { code: ErrorCode::DnsNotFound, detail }.into());
        }
        Ok(Answer { addresses, lifetime })
    }
}

/// The system's name servers; none if it has none, so that every look-up fails and says so.
fn system_servers() -> ResolverConfig {
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((config, _)) => ResolverConfig::from_name_servers(config.name_servers().to_vec()),
        Err(error) => {
            tracing::warn!(%error, "the system names no DNS servers; give one with --resolver");
            ResolverConfig::default()
        }
    }
}

/// The one server at `address`, by UDP, and by TCP for answers that are too long for that.
fn only(address: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(address.ip(), true, connections.to_vec())])
}

/// Whether the name means this machine (RFC 6761), so that nobody is asked.
fn is_localhost(name: &str) -> bool {
    name.strip_suffix("localhost").is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Addresses, and how long they may be kept.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) addresses: Vec<IpAddr>,
    lifetime: Duration,
}

impl Answer {
    const fn none() -> Self {
        Self { addresses: Vec::new(), lifetime: KEPT_MAX }
    }
}

type Asked = Result<Answer, Stop>;

/// Waits for both families; for the second one not much longer than for the first, if the first has addresses.
async fn both(v4: impl Future<Output = Asked>, v6: impl Future<Output = Asked>) -> (Asked, Asked) {
    tokio::pin!(v4, v6);
    let late = || Err(Failure { code: ErrorCode::DnsTimeout, detail: String::new() }.into());
    let has_addresses = |asked: &Asked| asked.as_ref().is_ok_and(|answer| !answer.addresses.is_empty());
    tokio::select! {
        first = &mut v4 => {
            let grace = if has_addresses(&first) { OTHER_FAMILY_GRACE } else { Duration::MAX };
            let second = tokio::time::timeout(grace, v6).await.unwrap_or_else(|_| late());
            (first, second)
        }
        first = &mut v6 => {
            let grace = if has_addresses(&first) { OTHER_FAMILY_GRACE } else { Duration::MAX };
            let second = tokio::time::timeout(grace, v4).await.unwrap_or_else(|_| late());
            (second, first)
        }
    }
}

/// The addresses in an answer to the question for `asked`. A name without addresses of this family is no failure.
fn read(asked: &Name, answer: Result<Lookup, NetError>) -> Asked {
    match answer {
        Ok(lookup) => read_records(asked, &lookup),
        Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code: ResponseCode::NoError, .. }))) => {
            Ok(Answer::none())
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code: ResponseCode::NXDomain, .. }))) => {
            Err(Failure { code: ErrorCode::DnsNotFound, detail: String::new() }.into())
        }
        Err(NetError::Dns(
            DnsError::NoRecordsFound(NoRecords { response_code, .. }) | DnsError::ResponseCode(response_code),
        )) => Err(failed(&response_code.to_string())),
        Err(NetError::Timeout) => Err(Failure { code: ErrorCode::DnsTimeout, detail: String::new() }.into()),
        Err(NetError::Io(error)) if is_short(&error) => Err(Stop::Untried(Untried(error.to_string()))),
        Err(error) => Err(failed(&error.to_string())),
    }
}

fn failed(detail: &str) -> Stop {
    Failure { code: ErrorCode::DnsFailed, detail: detail.to_owned() }.into()
}

/// The addresses at the end of the chain of aliases that starts at `asked`. What else an answer holds is not ours.
fn read_records(asked: &Name, lookup: &Lookup) -> Asked {
    let mut owners = vec![asked.clone()];
    let mut seconds = u32::MAX;
    // A chain need not be in order, so it is walked until nothing is added.
    while let Some((target, ttl)) = lookup.answers().iter().find_map(|record| {
        let RData::CNAME(target) = &record.data else { return None };
        (owners.contains(&record.name) && !owners.contains(target)).then_some((&target.0, record.ttl))
    }) {
        owners.push(target.clone());
        seconds = seconds.min(ttl);
        if owners.len() > ALIASES_MAX {
            return Err(failed("too many aliases (CNAME)"));
        }
    }
    let mut addresses = Vec::new();
    for record in lookup.answers().iter().filter(|record| owners.contains(&record.name)) {
        if let Some(ip) = record.data.ip_addr() {
            addresses.push(ip);
            seconds = seconds.min(record.ttl);
        }
    }
    Ok(Answer { addresses, lifetime: Duration::from_secs(seconds.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        let guard = Guard::new(Vec::new(), &[]).expect("interfaces can be listed");
        Resolver::new(None, Arc::new(guard)).expect("a resolver")
    }

    fn name(text: &str) -> HostName {
        HostName::Name(text.to_owned())
    }

    /// The TTL is honoured, and is 60 s at most.
    #[tokio::test]
    async fn answers_are_kept_for_a_minute_at_most() {
        let (resolver, now) = (resolver(), Instant::now());
        let is_known = |host: &str, seconds| resolver.known(&name(host), now + Duration::from_secs(seconds)).is_some();
        for (host, ttl, known_until) in [("a.com", 3_600, 60), ("b.com", 10, 10)] {
            let addresses: Arc<[IpAddr]> = Arc::from(["8.8.8.8".parse().expect("an address")]);
            resolver.keep(host, Checked::Dial(addresses), Duration::from_secs(ttl), now);
            assert!(is_known(host, known_until - 1) && !is_known(host, known_until), "{host}");
        }
        let blocked = Checked::Blocked { address: "10.0.0.1".parse().expect("an address"), why: "private" };
        resolver.keep("c.com", blocked, Duration::ZERO, now);
        assert!(!is_known("c.com", 0));
    }

    #[tokio::test]
    async fn a_flood_of_names_is_bounded() {
        let (resolver, now) = (resolver(), Instant::now());
        let keep = |host: &str, now| {
            let blocked = Checked::Blocked { address: "10.0.0.1".parse().expect("an address"), why: "private" };
            resolver.keep(host, blocked, KEPT_MAX, now);
        };
        for number in 0..NAMES_MAX + 10 {
            keep(&format!("h{number}.com"), now);
        }
        assert_eq!(resolver.kept().len(), NAMES_MAX);
        keep("late.com", now + KEPT_MAX);
        assert_eq!(resolver.kept().len(), 1);
    }
}
