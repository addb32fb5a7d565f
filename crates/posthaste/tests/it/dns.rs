//! A name server of the tests, over UDP and TCP: what it answers is scripted per name and per question.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What fits into an answer over UDP without extensions.
const UDP_MAX: usize = 512;
/// The type of an IPv4 address record.
pub(crate) const A: u16 = 1;
const CNAME: u16 = 5;
/// The type of an IPv6 address record.
pub(crate) const AAAA: u16 = 28;

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// An address of the name that was asked for, or that the alias before it names.
    Address(IpAddr),
    /// The name is an alias of this one.
    Alias(String),
}

/// What is answered to a question.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    /// These records, as far as they are of the type that was asked for.
    Records(Vec<Record>),
    /// This response code, and no record.
    Code(u8),
    /// Nothing.
    Silence,
    /// Over UDP only the mark that there is more; over TCP these records.
    Truncated(Vec<Record>),
    /// These records, for another name than the one that was asked for.
    OtherName(Vec<Record>),
    /// First these records under a wrong id, then the second ones under the right one.
    WrongIdFirst(Vec<Record>, Vec<Record>),
}

/// The answers to the questions for a name: the first to the first question of each type, the last to all further ones.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// The answers.
    pub(crate) say: Vec<Say>,
    /// How long receivers may keep an answer, in seconds.
    pub(crate) ttl: u32,
    /// How long an answer takes.
    pub(crate) delay: Duration,
}

impl Script {
    /// Always this answer, at once, not to be kept.
    pub(crate) fn always(say: Say) -> Self {
        Self { say: vec![say], ttl: 0, delay: Duration::ZERO }
    }

    /// Always these addresses, a space between them.
    pub(crate) fn addresses(text: &str) -> Self {
        Self::always(Say::Records(addresses(text)))
    }
}

/// The addresses of a text, a space between them, as records.
pub(crate) fn addresses(text: &str) -> Vec<Record> {
    text.split_whitespace().map(|text| Record::Address(text.parse().expect("an address"))).collect()
}

#[derive(Debug, Default)]
struct Zone {
    scripts: HashMap<String, Script>,
    fallback: Option<Script>,
    asked: Vec<(String, u16)>,
}

/// A name server; it answers as long as the runtime lives.
#[derive(Debug, Clone)]
pub(crate) struct Dns {
    /// Where it is asked.
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl Dns {
    /// Starts it. Names without a script do not exist.
    pub(crate) async fn start() -> Self {
        loop {
            let dns = Self::start_without_tcp().await;
            // The port that UDP was given may be taken over TCP.
            if let Ok(listener) = TcpListener::bind(dns.address).await {
                tokio::spawn(dns.clone().serve_tcp(listener));
                return dns;
            }
        }
    }

    /// Starts it on UDP only: over TCP it refuses connections.
    pub(crate) async fn start_without_tcp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let dns = Self { address: socket.local_addr().expect("an address"), zone: Arc::default() };
        tokio::spawn(dns.clone().serve_udp(Arc::new(socket)));
        dns
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `name` a script, in the place of the one that it has; its questions are counted from here.
    pub(crate) fn set(&self, name: &str, script: Script) {
        let mut zone = self.zone();
        zone.asked.retain(|(asked, _)| asked != name);
        zone.scripts.insert(name.to_owned(), script);
    }

    /// What names below `example.com` without a script get.
    pub(crate) fn fallback(&self, script: Script) {
        self.zone().fallback = Some(script);
    }

    /// How often `name` was asked for, by type.
    pub(crate) fn asked(&self, name: &str, kind: u16) -> usize {
        self.zone().asked.iter().filter(|(asked, asked_kind)| asked == name && *asked_kind == kind).count()
    }

    async fn serve_udp(self, socket: Arc<UdpSocket>) {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let Some(question) = Question::read(&buffer[..length]) else { continue };
            let (dns, socket) = (self.clone(), Arc::clone(&socket));
            tokio::spawn(async move {
                for mut answer in dns.answers(&question, true).await {
                    if answer.len() > UDP_MAX {
                        answer = question.answer(&[], 0, 0, true);
                    }
                    let _asker_has_gone = socket.send_to(&answer, peer).await;
                }
            });
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let dns = self.clone();
            tokio::spawn(async move {
                let _asker_has_gone = dns.converse(stream).await;
            });
        }
    }

    async fn converse(self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = stream.read_u16().await?;
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await?;
            let Some(question) = Question::read(&bytes) else { return Ok(()) };
            for answer in self.answers(&question, false).await {
                stream.write_u16(u16::try_from(answer.len()).expect("answers are below 64 KiB")).await?;
                stream.write_all(&answer).await?;
            }
        }
    }

    /// The answers to a question, after the delay that its script asks for.
    async fn answers(&self, question: &Question, udp: bool) -> Vec<Vec<u8>> {
        let Some((say, ttl, delay)) = self.next(question, udp) else { return vec![question.answer(&[], 0, 3, false)] };
        tokio::time::sleep(delay).await;
        match say {
            Say::Records(records) => vec![question.answer(&records, ttl, 0, false)],
            Say::Code(code) => vec![question.answer(&[], 0, code, false)],
            Say::Silence => Vec::new(),
            Say::Truncated(_) if udp => vec![question.answer(&[], 0, 0, true)],
            Say::Truncated(records) => vec![question.answer(&records, ttl, 0, false)],
            Say::OtherName(records) => vec![question.renamed("other.example.com").answer(&records, ttl, 0, false)],
            Say::WrongIdFirst(wrong, right) => {
                let spoofed = Question { id: question.id.wrapping_add(1), ..question.clone() };
                vec![spoofed.answer(&wrong, ttl, 0, false), question.answer(&right, ttl, 0, false)]
            }
        }
    }

    /// What the script says to this question. A question asked again over TCP is the same question.
    fn next(&self, question: &Question, udp: bool) -> Option<(Say, u32, Duration)> {
        let mut zone = self.zone();
        if udp {
            zone.asked.push((question.name.clone(), question.kind));
        }
        let count = zone.asked.iter().filter(|(name, kind)| *name == question.name && *kind == question.kind).count();
        let below = question.name.ends_with(".example.com") || question.name == "example.com";
        let fallback = zone.fallback.as_ref().filter(|_| below);
        let script = zone.scripts.get(&question.name).or(fallback)?;
        let place = count.saturating_sub(1).min(script.say.len() - 1);
        Some((script.say[place].clone(), script.ttl, script.delay))
    }
}

/// The name that a message asks for, and a sound reply to it with an address of each kind; `None` if it is no question.
pub(crate) fn reply_of_addresses(message: &[u8]) -> Option<(String, Vec<u8>)> {
    let question = Question::read(message)?;
    let reply = question.answer(&addresses("127.0.0.2 ::1"), 60, 0, false);
    Some((question.name, reply))
}

/// A question, and what of it goes into the answer.
#[derive(Debug, Clone)]
struct Question {
    id: u16,
    /// In lower case.
    name: String,
    kind: u16,
    /// The question's own bytes: askers may mix upper and lower case, and compare.
    bytes: Vec<u8>,
}

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let id = u16::from_be_bytes([*message.first()?, *message.get(1)?]);
        let (mut labels, mut at) = (Vec::new(), 12);
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
        let bytes = message.get(12..at + 4)?.to_vec();
        Some(Self { id, name: labels.join("."), kind, bytes })
    }

    /// The same question for another name.
    fn renamed(&self, name: &str) -> Self {
        let mut bytes = wire_name(name);
        bytes.extend_from_slice(&self.bytes[self.bytes.len() - 4..]);
        Self { name: name.to_owned(), bytes, ..self.clone() }
    }

    fn answer(&self, records: &[Record], ttl: u32, code: u8, truncated: bool) -> Vec<u8> {
        let mut answers: Vec<Vec<u8>> = Vec::new();
        // A pointer to the name in the question, until an alias changes the owner.
        let mut owner = vec![0xc0, 12];
        for record in records {
            let (kind, data) = match record {
                Record::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
                Record::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
                Record::Alias(name) => (CNAME, wire_name(name)),
            };
            if kind == self.kind || kind == CNAME {
                answers.push(record_bytes(&owner, kind, ttl, &data));
            }
            if kind == CNAME {
                owner = data;
            }
        }
        let mut message = self.id.to_be_bytes().to_vec();
        // An answer, recursion was wanted and is offered.
        message.extend([0x81 | u8::from(truncated) << 1, 0x80 | code]);
        let count = u16::try_from(answers.len()).expect("at most 65,535 records");
        for count in [1, count, 0, 0] {
            message.extend(count.to_be_bytes());
        }
        message.extend_from_slice(&self.bytes);
        answers.iter().for_each(|answer| message.extend_from_slice(answer));
        message
    }
}

fn record_bytes(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The system's own resolver is no client that can be pointed at a port; a few bytes of the protocol are.
#[cfg(test)]
async fn ask(dns: &Dns, name: &str, kind: u16, tcp: bool) -> Option<(u16, u8, bool, Vec<Record>)> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(wire_name(name));
    message.extend(kind.to_be_bytes());
    message.extend(1_u16.to_be_bytes());
    let answer = if tcp {
        let mut stream = TcpStream::connect(dns.address).await.ok()?;
        stream.write_u16(u16::try_from(message.len()).expect("short")).await.ok()?;
        stream.write_all(&message).await.ok()?;
        let mut answer = vec![0; usize::from(stream.read_u16().await.ok()?)];
        stream.read_exact(&mut answer).await.ok()?;
        answer
    } else {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.send_to(&message, dns.address).await.expect("sent");
        let mut answer = vec![0; 4096];
        let within = Duration::from_millis(500);
        let length = tokio::time::timeout(within, socket.recv(&mut answer)).await.ok()?.ok()?;
        answer.truncate(length);
        answer
    };
    let count = usize::from(u16::from_be_bytes([answer[6], answer[7]]));
    let mut at = message.len();
    let mut records = Vec::new();
    for _ in 0..count {
        at = if answer[at] == 0xc0 { at + 2 } else { at + answer[at..].iter().position(|byte| *byte == 0)? + 1 };
        let kind = u16::from_be_bytes([answer[at], answer[at + 1]]);
        let length = usize::from(u16::from_be_bytes([answer[at + 8], answer[at + 9]]));
        let data = &answer[at + 10..at + 10 + length];
        records.push(match kind {
            A => Record::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
            AAAA => Record::Address(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            _ => Record::Alias(String::from_utf8_lossy(&data[1..5]).into_owned()),
        });
        at += 10 + length;
    }
    Some((u16::from_be_bytes([answer[0], answer[1]]), answer[3] & 15, answer[2] & 2 != 0, records))
}

#[tokio::test]
async fn the_name_server_answers_as_it_is_told() {
    let dns = Dns::start().await;
    assert_eq!(ask(&dns, "a.example.com", A, false).await, Some((0x1234, 3, false, vec![])), "no script, no name");
    dns.fallback(Script::addresses("127.0.0.2"));
    assert_eq!(ask(&dns, "a.Example.com", A, false).await.expect("an answer").3, addresses("127.0.0.2"));
    let then = |say| Script { say, ..Script::addresses("") };
    dns.set(
        "b.example.com",
        then(vec![Say::Records(addresses("127.0.0.2 ::1")), Say::Records(addresses("127.0.0.3"))]),
    );
    assert_eq!(ask(&dns, "b.example.com", A, false).await.expect("an answer").3, addresses("127.0.0.2"));
    assert_eq!(ask(&dns, "b.example.com", AAAA, false).await.expect("an answer").3, addresses("::1"));
    assert_eq!(ask(&dns, "b.example.com", A, false).await.expect("an answer").3, addresses("127.0.0.3"));
    assert_eq!((dns.asked("b.example.com", A), dns.asked("b.example.com", AAAA)), (2, 1));
    dns.set("c.example.com", Script::always(Say::Silence));
    assert_eq!(ask(&dns, "c.example.com", A, false).await, None);
    dns.set("d.example.com", Script::always(Say::Code(2)));
    assert_eq!(ask(&dns, "d.example.com", A, false).await.expect("an answer").1, 2);
    dns.set("e.example.com", Script::always(Say::WrongIdFirst(addresses("127.0.0.9"), addresses("127.0.0.2"))));
    assert_eq!(ask(&dns, "e.example.com", A, false).await.expect("an answer").0, 0x1235);
    let many = (0..1_000).map(|n| format!("127.1.{}.{} ", n / 250, n % 250)).collect::<String>();
    dns.set("f.example.com", Script::addresses(&many));
    assert_eq!(ask(&dns, "f.example.com", A, false).await, Some((0x1234, 0, true, vec![])), "too big for UDP");
    assert_eq!(ask(&dns, "f.example.com", A, true).await.expect("an answer").3, addresses(&many));
    let alias = vec![Record::Alias("real".to_owned()), Record::Address("127.0.0.2".parse().expect("an address"))];
    dns.set("g.example.com", Script::always(Say::Records(alias.clone())));
    assert_eq!(ask(&dns, "g.example.com", A, false).await.expect("an answer").3, alias);
    let without = Dns::start_without_tcp().await;
    without.set("h.example.com", Script::always(Say::Truncated(Vec::new())));
    assert!(ask(&without, "h.example.com", A, false).await.expect("an answer").2);
    assert_eq!(ask(&without, "h.example.com", A, true).await, None, "TCP is refused");
}
