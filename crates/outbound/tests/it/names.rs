//! Rows A and N of the table of hostile inputs: what name servers answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::attempt::ErrorCode;
use domain::transport::Names as _;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Record, RecordType};
use outbound::{Network, Settings};

use crate::name_server::{NameServer, Question, Reply, addresses, alias};
use crate::receiver::Receiver;
use crate::sending::{PATIENT, SHORT, failure, request, send, with, word};

const HOST: &str = "hooks.example.com";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn asking(server: &NameServer) -> Network {
    with(Settings { resolver: Some(server.address), ..Settings::default() })
}

/// A server that gives `HOST` these addresses, each to the question of its family.
async fn giving(ttl: u32, ips: &[&str]) -> NameServer {
    let all = addresses(HOST, ttl, ips);
    answering(move |question| Reply::Records(of_kind(&all, question.kind))).await
}

fn of_kind(records: &[Record], kind: RecordType) -> Vec<Record> {
    records.iter().filter(|record| record.record_type() == kind).cloned().collect()
}

async fn answering(answers: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> NameServer {
    NameServer::start(true, answers).await
}

/// Sends to `HOST` as `server` has it, where a receiver waits at 127.0.0.2; gives the outcome in a word.
async fn sent_by(server: &NameServer, timeout: Duration) -> (String, usize) {
    let receiver = Receiver::answering(OK).await;
    let mut outgoing = request(&receiver.named("http", HOST));
    outgoing.timeout = timeout;
    let outcome = send(&asking(server), outgoing).await;
    assert!(outcome.timing.dns.is_some() || outcome.duration >= timeout);
    (word(&outcome), receiver.accepted())
}

#[tokio::test]
async fn a_name_leads_to_its_receiver() {
    assert_eq!(sent_by(&giving(60, &["127.0.0.2"]).await, PATIENT).await, ("200".into(), 1));
}

/// Rows A001–A049, A063, A064, N002–N004.
#[tokio::test]
async fn one_address_that_is_not_public_blocks_all() {
    let alone = "0.0.0.0 10.0.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 168.63.129.16 192.168.0.1 \
        224.0.0.1 240.0.0.1 255.255.255.255 ::1 ::ffff:127.0.0.2 ::ffff:8.8.8.8 64:ff9b::127.0.0.1 2002:a9fe:a9fe::1 \
        fd00:ec2::254 fe80::1 4000::1";
    let receiver = Receiver::answering(OK).await;
    let mixed = [
        "127.0.0.2 127.0.0.1",
        "127.0.0.2 169.254.169.254",
        "127.0.0.2 ::1",
        "127.0.0.2 fe80::1",
        "10.0.0.1 127.0.0.2",
    ];
    for ips in alone.split_whitespace().chain(mixed) {
        let server = giving(60, &ips.split(' ').collect::<Vec<_>>()).await;
        let outcome = send(&asking(&server), request(&receiver.named("http", HOST))).await;
        let (code, detail) = failure(&outcome);
        assert_eq!(code, ErrorCode::AddressBlocked, "{ips}");
        let blocked = outcome.remote_address.expect("the address that would have been dialled");
        assert!(ips.split(' ').any(|ip| ip.parse() == Ok(blocked.ip())), "{ips}: {blocked}");
        assert!(detail.starts_with(&blocked.ip().to_string()), "{detail}");
        assert_eq!(blocked.port(), receiver.address.port());
    }
    assert_eq!(receiver.accepted(), 0);
}

/// N012: judged before it is cut to the number that is dialled; the answer comes over TCP.
#[tokio::test]
async fn a_long_answer_is_judged_whole() {
    let mut ips = vec!["127.0.0.2"; 999];
    ips.push("10.0.0.1");
    let all: Vec<Record> = ips.iter().flat_map(|ip| addresses(HOST, 60, &[ip])).collect();
    let server = answering(move |question| match (question.kind, question.is_tcp) {
        (RecordType::A, true) => Reply::Records(all.clone()),
        (RecordType::A, false) => Reply::Truncated,
        _ => Reply::Records(Vec::new()),
    })
    .await;
    assert_eq!(sent_by(&server, PATIENT).await, ("address_blocked".into(), 0));
    assert!(server.asked().iter().any(|question| question.is_tcp));
}

/// N005, N006, and aliases that are as they should be.
#[tokio::test]
async fn aliases_are_judged_by_where_they_end() {
    for (target, ip, expect) in [
        ("metadata.google.internal", "169.254.169.254", "address_blocked"),
        ("receiver.example.net", "127.0.0.2", "200"),
        ("receiver.example.net", "10.0.0.1", "address_blocked"),
    ] {
        // At once, and by a second question.
        for at_once in [true, false] {
            let server = answering(move |question| match (question.kind, question.name == HOST) {
                (RecordType::A, true) if at_once => {
                    Reply::Records([vec![alias(HOST, target)], addresses(target, 60, &[ip])].concat())
                }
                (_, true) => Reply::Records(vec![alias(HOST, target)]),
                (RecordType::A, false) => Reply::Records(addresses(target, 60, &[ip])),
                (_, false) => Reply::Records(Vec::new()),
            })
            .await;
            assert_eq!(sent_by(&server, PATIENT).await.0, expect, "{target} {ip} at once: {at_once}");
        }
    }
    let localhost = answering(|_| Reply::Records(vec![alias(HOST, "localhost")])).await;
    let found = sent_by(&localhost, PATIENT).await.0;
    assert!(found == "address_blocked" || found == "dns_not_found", "{found}");
    let link = |place: usize| if place == 0 { HOST.to_owned() } else { format!("c{place}.example.net") };
    let chain: Vec<Record> = (0..20).map(|place| alias(&link(place), &link(place + 1))).collect();
    let whole = [chain.clone(), addresses(&link(20), 60, &["127.0.0.2"])].concat();
    let at_once = answering(move |question| {
        if question.kind == RecordType::A { Reply::Records(whole.clone()) } else { Reply::Records(chain.clone()) }
    })
    .await;
    assert_eq!(sent_by(&at_once, PATIENT).await, ("dns_failed".into(), 0));
    let one_by_one = answering(move |question| {
        let place = (0..20).find(|place| link(*place) == question.name);
        place.map_or_else(
            || Reply::Records(of_kind(&addresses(&question.name, 60, &["127.0.0.2"]), question.kind)),
            |place| Reply::Records(vec![alias(&link(place), &link(place + 1))]),
        )
    })
    .await;
    let (found, accepted) = sent_by(&one_by_one, PATIENT).await;
    assert!(matches!(found.as_str(), "dns_failed" | "dns_not_found"), "{found}");
    assert_eq!(accepted, 0);
}

/// N007–N010, N014.
#[tokio::test]
async fn failures_are_told_apart() {
    for (reply, expect) in [
        (Reply::Code(ResponseCode::NXDomain), "dns_not_found"),
        (Reply::Records(Vec::new()), "dns_not_found"),
        (Reply::Code(ResponseCode::ServFail), "dns_failed"),
        (Reply::Code(ResponseCode::Refused), "dns_failed"),
        (Reply::Silence, "dns_timeout"),
        (Reply::Records(addresses("other.example.com", 60, &["127.0.0.2"])), "dns_not_found"),
    ] {
        let shown = format!("{reply:?}");
        let server = answering(move |_| reply.clone()).await;
        let (found, accepted) = sent_by(&server, if expect == "dns_timeout" { SHORT } else { PATIENT }).await;
        assert_eq!((found.as_str(), accepted), (expect, 0), "{shown}");
    }
    // N013: a truncated answer, and nobody at the TCP port.
    let server = NameServer::start(false, |_| Reply::Truncated).await;
    let (found, _) = sent_by(&server, SHORT).await;
    assert!(matches!(found.as_str(), "dns_failed" | "dns_timeout"), "{found}");
}

/// N015, N018, and a family that fails while the other has addresses.
#[tokio::test]
async fn odd_answers_that_still_are_answers() {
    let wrong_first = answering(|question| {
        if question.kind == RecordType::A {
            Reply::WrongIdThen(addresses(HOST, 60, &["127.0.0.2"]))
        } else {
            Reply::Records(Vec::new())
        }
    })
    .await;
    assert_eq!(sent_by(&wrong_first, PATIENT).await, ("200".into(), 1));
    let no_v6 = answering(|question| {
        if question.kind == RecordType::A {
            Reply::Records(addresses(HOST, 60, &["127.0.0.2"]))
        } else {
            Reply::Code(ResponseCode::ServFail)
        }
    })
    .await;
    assert_eq!(sent_by(&no_v6, PATIENT).await, ("200".into(), 1));
    let silent_v6 = answering(|question| {
        if question.kind == RecordType::A {
            Reply::Records(addresses(HOST, 60, &["127.0.0.2"]))
        } else {
            Reply::Silence
        }
    })
    .await;
    assert_eq!(sent_by(&silent_v6, PATIENT).await, ("200".into(), 1));
}

/// N001: one look-up per attempt, and only what it gave is dialled. A TTL is honoured, zero included.
#[tokio::test]
async fn one_look_up_per_attempt() {
    let receiver = Receiver::answering(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n").await;
    for (ttl, look_ups) in [(0, 3), (60, 1)] {
        let server = giving(ttl, &["127.0.0.2"]).await;
        let network = asking(&server);
        for _ in 0..3 {
            assert_eq!(word(&send(&network, request(&receiver.named("http", HOST))).await), "204");
        }
        assert_eq!(server.count(RecordType::A), look_ups, "TTL {ttl}");
        assert_eq!(server.count(RecordType::AAAA), look_ups, "TTL {ttl}");
    }
}

/// Rebinding, N001 and N019: a kept connection is of no use once the name leads elsewhere.
#[tokio::test]
async fn rebinding_gets_nowhere() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let server = answering(move |question| {
        if question.kind != RecordType::A {
            Reply::Records(Vec::new())
        } else if counter.fetch_add(1, Ordering::SeqCst) == 0 {
            Reply::Records(addresses(HOST, 0, &["127.0.0.2"]))
        } else {
            Reply::Records(addresses(HOST, 0, &["10.0.0.1"]))
        }
    })
    .await;
    let receiver = Receiver::answering(OK).await;
    let network = asking(&server);
    assert_eq!(word(&send(&network, request(&receiver.named("http", HOST))).await), "200");
    assert_eq!(network.waiting_connections(), 1);
    assert_eq!(word(&send(&network, request(&receiver.named("http", HOST))).await), "address_blocked");
    assert_eq!((receiver.accepted(), asked.load(Ordering::SeqCst)), (1, 2));
}

/// A kept connection is used again only if its peer is in the present answer, public or not.
#[tokio::test]
async fn a_name_that_moved_takes_its_connections_along() {
    let moved = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&moved);
    let server = answering(move |question| {
        if question.kind != RecordType::A {
            Reply::Records(Vec::new())
        } else if counter.fetch_add(1, Ordering::SeqCst) == 0 {
            Reply::Records(addresses(HOST, 0, &["127.0.0.2"]))
        } else {
            Reply::Records(addresses(HOST, 0, &["127.0.0.3"]))
        }
    })
    .await;
    let receiver = Receiver::answering(OK).await;
    let opened = ["127.0.0.2", "127.0.0.3"].map(|range| range.parse().expect("a range")).to_vec();
    let settings = Settings { opened, resolver: Some(server.address), ..Settings::default() };
    let network = Network::new(settings).expect("the settings are good");
    assert_eq!(word(&send(&network, request(&receiver.named("http", HOST))).await), "200");
    // Nobody listens at the new address, and the old connection is not taken instead.
    let outcome = send(&network, request(&receiver.named("http", HOST))).await;
    assert_eq!(word(&outcome), "connect_refused");
    assert_eq!(outcome.remote_address.map(|peer| peer.ip().to_string()).as_deref(), Some("127.0.0.3"));
}

/// One dead address of several costs little.
#[tokio::test]
async fn addresses_are_tried_in_turn() {
    let server = giving(60, &["127.0.0.3", "127.0.0.2"]).await;
    let receiver = Receiver::answering(OK).await;
    let opened = ["127.0.0.2", "127.0.0.3"].map(|range| range.parse().expect("a range")).to_vec();
    let settings = Settings { opened, resolver: Some(server.address), ..Settings::default() };
    let network = Network::new(settings).expect("the settings are good");
    let outcome = send(&network, request(&receiver.named("http", HOST))).await;
    assert_eq!((word(&outcome).as_str(), outcome.remote_address), ("200", Some(receiver.address)));
}

/// N017, and what the names of this machine are: nobody is asked.
#[tokio::test]
async fn this_machine_s_own_names() {
    let server = giving(60, &["127.0.0.2"]).await;
    let receiver = Receiver::answering(OK).await;
    for host in ["localhost", "a.localhost"] {
        let outcome = send(&asking(&server), request(&receiver.named("http", host))).await;
        assert_eq!(word(&outcome), "200", "127.0.0.2 is opened");
    }
    let settings = Settings { resolver: Some(server.address), ..Settings::default() };
    let closed = Network::new(settings).expect("the settings are good");
    let outcome = send(&closed, request(&receiver.named("http", "localhost"))).await;
    assert_eq!(failure(&outcome), (ErrorCode::AddressBlocked, "127.0.0.1 (loopback)"));
    assert_eq!(server.asked(), []);
    // The hosts file has this machine's own name, the name server has not: only the latter counts.
    let file = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names = file.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split_whitespace().skip(1));
    let nowhere = answering(|_| Reply::Code(ResponseCode::NXDomain)).await;
    for host in names.filter(|host| *host != "localhost" && !host.starts_with("ip6-")) {
        let outcome = send(&asking(&nowhere), request(&receiver.named("http", &host.to_lowercase()))).await;
        assert_eq!(word(&outcome), "dns_not_found", "{host}");
    }
}

/// What the API asks when a URL is saved: N020, N021.
#[tokio::test]
async fn look_ups_on_the_side() {
    let server = giving(60, &["127.0.0.2", "10.0.0.1", "2a00::1"]).await;
    let network = asking(&server);
    let found = network.resolve(HOST, PATIENT).await.expect("addresses");
    let judged: Vec<_> = found.iter().map(|ip| (ip.to_string(), network.refusal(*ip), network.opened(*ip))).collect();
    assert_eq!(
        judged,
        [
            ("127.0.0.2".to_owned(), None, true),
            ("10.0.0.1".to_owned(), Some("private"), false),
            ("2a00::1".to_owned(), None, false),
        ]
    );
    let nowhere = answering(|_| Reply::Code(ResponseCode::NXDomain)).await;
    assert_eq!(asking(&nowhere).resolve(HOST, PATIENT).await, Err(ErrorCode::DnsNotFound));
    let silent = answering(|_| Reply::Silence).await;
    assert_eq!(asking(&silent).resolve(HOST, SHORT).await, Err(ErrorCode::DnsTimeout));
}
