//! The hosts of an address: which one is connected to, and which one has fallen silent.
//!
//! The driver knows several hosts too, but waits for ever for one that takes connections and says nothing on them, as a host does that
//! hangs, or a process that was stopped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_postgres::config::{Host, LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};

use super::address::{BadAddress, CONNECT_WITHIN};
use super::fault::Fault;
use super::lack::Lack;

/// Where servers listen, unless they are told otherwise.
const PORT: u16 = 5432;

/// A connection of the driver's, and the place of its host.
type Connected<S> = (Client, Connection<Socket, S>, usize);

/// The hosts of an address, in its order.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Each as if it were the only one.
    configs: Vec<Config>,
    /// The one that was connected to last, or the next one where that one is silent.
    first: AtomicUsize,
    /// Connections that could not be made, since there were too many.
    lack: Lack,
    /// The schema that the tables lie in, once it is known.
    schema: OnceLock<String>,
}

impl Hosts {
    /// The hosts of a driver's address.
    pub(super) fn of(all: &Config) -> Result<Self, BadAddress> {
        let (names, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
        let count = names.len().max(addresses.len());
        let fits = |of: usize, least: usize| of <= least || of == count;
        if !fits(names.len(), 0) || !fits(addresses.len(), 0) || !fits(ports.len(), 1) {
            let numbers = format!("{} hosts, {} hostaddrs and {} ports", names.len(), addresses.len(), ports.len());
            return Err(BadAddress(format!("it names {numbers}: give as many of each, or one port for all")));
        }
        let one = |place: usize| {
            let mut one = without_hosts(all);
            match names.get(place) {
                Some(Host::Tcp(name)) => drop(one.host(name)),
                Some(Host::Unix(path)) => drop(one.host_path(path)),
                None => {}
            }
            if let Some(address) = addresses.get(place) {
                one.hostaddr(*address);
            }
            if let Some(port) = ports.get(place).or(ports.first()) {
                one.port(*port);
            }
            one
        };
        let first =
            if all.get_load_balance_hosts() == LoadBalanceHosts::Random { fastrand::usize(..count.max(1)) } else { 0 };
        Ok(Self {
            configs: (0..count).map(one).collect(),
            first: AtomicUsize::new(first),
            lack: Lack::default(),
            schema: OnceLock::new(),
        })
    }

    /// What holds for each of them.
    pub(super) fn any(&self) -> &Config {
        self.configs.first().expect("an address names a host")
    }

    /// Their names, for people: with their ports, where they are not the usual one.
    pub(super) fn names(&self) -> String {
        self.configs.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The schema that the tables lie in: the first one that is told stays, whatever a role's `search_path` is set to afterwards.
    pub(super) const fn schema(&self) -> &OnceLock<String> {
        &self.schema
    }

    /// A new connection to the first of them that takes one, the one of last time before the others; with `writes` to one that takes
    /// writes.
    pub(super) async fn connect<T>(&self, tls: &T, writes: bool) -> Result<Connected<T::Stream>, Fault>
    where
        T: MakeTlsConnect<Socket> + Clone,
    {
        let first = self.first.load(Ordering::Relaxed);
        let (mut lost, mut refused) = (Vec::new(), None);
        for place in (0..self.configs.len()).map(|step| (first + step) % self.configs.len()) {
            let mut config = self.configs[place].clone();
            if writes {
                config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
            // As long again as an address of it may take to be reached, for what is said then.
            match tokio::time::timeout(self.patience() * 2, config.connect(tls.clone())).await {
                Ok(Ok((client, connection))) => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok((client, connection, place));
                }
                Ok(Err(error)) => {
                    let fault = Fault::from(error);
                    if let Fault::Lost(why) = fault {
                        lost.push((place, why));
                    } else {
                        refused = refused.or(Some(fault));
                    }
                }
                Err(_) => lost.push((place, "it says nothing".to_owned())),
            }
        }
        // A server that refuses says more than others that are not there.
        let fault = refused.unwrap_or_else(|| match &lost[..] {
            [(_, why)] => Fault::Lost(why.clone()),
            all => {
                let each = |(place, why): &(usize, String)| format!("{}: {why}", self.name(*place));
                Fault::Lost(all.iter().map(each).collect::<Vec<_>>().join("; "))
            }
        });
        if let Fault::Crowded(said) = &fault {
            self.lack.met(said);
        }
        Err(fault)
    }

    /// Whether the host of this place answers somebody new. One that does not is not the first to be tried any more.
    pub(super) async fn answers<T>(&self, tls: &T, place: usize) -> bool
    where
        T: MakeTlsConnect<Socket> + Clone,
    {
        let asked = tokio::time::timeout(self.patience(), self.configs[place].connect(tls.clone())).await;
        let answers = match asked {
            Ok(Ok(_)) => true,
            // What it refuses, it has answered.
            Ok(Err(error)) => error.as_db_error().is_some(),
            Err(_) => false,
        };
        if !answers {
            let next = (place + 1) % self.configs.len();
            // Whoever has found another one before has found the right one.
            let _ = self.first.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        answers
    }

    /// What connections to them are lacking.
    pub(super) const fn lack(&self) -> &Lack {
        &self.lack
    }

    /// How long a server that lives may take to answer.
    pub(super) fn patience(&self) -> Duration {
        self.any().get_connect_timeout().copied().unwrap_or(CONNECT_WITHIN)
    }

    /// What a host is called.
    pub(super) fn name(&self, place: usize) -> String {
        name(&self.configs[place])
    }
}

/// What the host of an address with one is called.
fn name(config: &Config) -> String {
    let port = config.get_ports().first().filter(|port| **port != PORT);
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    match config.get_hosts() {
        [Host::Tcp(name), ..] => format!("{name}{port}"),
        [Host::Unix(path), ..] => path.display().to_string(),
        [] => config.get_hostaddrs().iter().map(|address| format!("{address}{port}")).collect(),
    }
}

/// All of an address but its hosts.
fn without_hosts(all: &Config) -> Config {
    let mut one = Config::new();
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(dbname) = all.get_dbname() {
        one.dbname(dbname);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    if let Some(name) = all.get_application_name() {
        one.application_name(name);
    }
    if let Some(within) = all.get_connect_timeout() {
        one.connect_timeout(*within);
    }
    if let Some(within) = all.get_tcp_user_timeout() {
        one.tcp_user_timeout(*within);
    }
    if let Some(interval) = all.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle())
        .ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .target_session_attrs(all.get_target_session_attrs())
        .channel_binding(all.get_channel_binding())
        .load_balance_hosts(all.get_load_balance_hosts());
    one
}

#[cfg(test)]
mod tests {
    use super::super::address::Address;
    use super::super::tls::Tls;

    #[tokio::test]
    async fn every_host_that_was_tried_says_why_it_was_not_taken() {
        let address = Address::parse("postgres://posthaste@127.0.0.1:1,127.0.0.1:2/posthaste").expect("an address");
        let tls = Tls::of(&address).expect("none is asked for");
        let said = address.hosts.connect(&tls, true).await.map(drop).expect_err("nobody listens there").to_string();
        assert!(said.contains("127.0.0.1:1: ") && said.contains("; 127.0.0.1:2: "), "{said}");
    }
}
