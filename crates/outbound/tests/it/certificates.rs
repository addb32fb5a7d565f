//! Rows R061–R076: what can be wrong with TLS. No byte of a request is sent unless all is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::attempt::{ErrorCode, Outcome};
use outbound::{Network, Settings};
use rcgen::{DnType, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Chain, acceptor, self_signed};
use crate::receiver::{Receiver, hang, read_request, reset};
use crate::sending::{ANSWERED, GRACE, SHORT, failure, request, send, with, word};

const NAME: &str = "localhost";

fn trusting(root: &Authority) -> Network {
    with(Settings { trust_ca: vec![root.pem()], ..Settings::default() })
}

/// Sends to a receiver with this acceptor. Says whether a request came through, too.
async fn play(network: &Network, acceptor: TlsAcceptor) -> (Outcome, bool) {
    let came = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&came);
    let receiver = Receiver::start(move |stream, _| {
        let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while read_request(&mut stream).await.is_some() {
                heard.store(true, Ordering::SeqCst);
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
            }
        }
    })
    .await;
    let outcome = send(network, request(&receiver.named("https", NAME))).await;
    (outcome, came.load(Ordering::SeqCst))
}

async fn check(root: &Authority, chain: Chain, code: ErrorCode, detail: &str) {
    let (outcome, came) = play(&trusting(root), acceptor(chain, &[])).await;
    let (found, words) = failure(&outcome);
    assert_eq!(found, code, "{words}");
    assert!(words.contains(detail), "{words:?} has {detail:?}");
    assert!(!came, "no request byte is sent");
    assert!(outcome.timing.connect.is_some() && outcome.timing.tls.is_some() && outcome.timing.first_byte.is_none());
}

#[tokio::test]
async fn good_certificates_are_taken() {
    let root = Authority::root();
    for names in [&[NAME][..], &["other.test", NAME]] {
        let (outcome, came) = play(&trusting(&root), acceptor(root.sign(names, |_| {}), &[b"http/1.1"])).await;
        assert_eq!((word(&outcome).as_str(), came), ("200", true));
        assert!(outcome.timing.tls.is_some());
    }
    let below = root.intermediate();
    let (mut chain, key) = below.sign(&[NAME], |_| {});
    chain.push(below.der());
    assert_eq!(word(&play(&trusting(&root), acceptor((chain, key), &[])).await.0), "200");
    // R071, where the certificate is a wish only.
    let (outcome, _) = play(&trusting(&root), root.asking_acceptor(root.sign(&[NAME], |_| {}), false)).await;
    assert_eq!(word(&outcome), "200");
}

/// R061–R066, R071, R072.
#[tokio::test]
async fn bad_certificates_are_told_apart() {
    let root = Authority::root();
    check(&root, self_signed(NAME, false), ErrorCode::TlsUnknownIssuer, "").await;
    check(&root, self_signed(NAME, true), ErrorCode::TlsUnknownIssuer, "").await;
    check(&root, Authority::stranger().sign(&[NAME], |_| {}), ErrorCode::TlsUnknownIssuer, "").await;
    check(&root, root.intermediate().sign(&[NAME], |_| {}), ErrorCode::TlsUnknownIssuer, "").await;
    let expired = root.sign(&[NAME], |params| params.not_after = date_time_ymd(2021, 11, 21));
    check(&root, expired, ErrorCode::TlsExpired, "2021-11-21T00:00:00.000000Z").await;
    let early = root.sign(&[NAME], |params| params.not_before = date_time_ymd(4000, 1, 1));
    check(&root, early, ErrorCode::TlsExpired, "from 4000-01-01T00:00:00.000000Z").await;
    let other = root.sign(&["*.acme.com", "acme.com"], |_| {});
    check(&root, other, ErrorCode::TlsNameMismatch, "*.acme.com, acme.com").await;
    let common_name = root.sign(&[], |params| params.distinguished_name.push(DnType::CommonName, NAME));
    check(&root, common_name, ErrorCode::TlsNameMismatch, "").await;
    let mail = root.sign(&[], |params| {
        let address = "hooks@example.com".try_into().expect("an address");
        params.subject_alt_names = vec![rcgen::SanType::Rfc822Name(address)];
    });
    let (outcome, _) = play(&trusting(&root), acceptor(mail, &[])).await;
    assert_eq!(failure(&outcome), (ErrorCode::TlsNameMismatch, ""), "it has no name that a server can have");
    let numbered = root.sign(&["192.0.2.7"], |_| {});
    let (outcome, _) = play(&trusting(&root), acceptor(numbered, &[])).await;
    assert_eq!(failure(&outcome), (ErrorCode::TlsNameMismatch, "192.0.2.7"));
    let client = root.sign(&[NAME], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    check(&root, client, ErrorCode::TlsOther, "it is not for servers (extended key usage)").await;
    let narrow = Authority::constrained_to("acme.com");
    let words = "does not hold: an authority of its chain may not issue certificates for this name (name constraint)";
    check(&narrow, narrow.sign(&[NAME], |_| {}), ErrorCode::TlsOther, words).await;
    let (mut chain, key) = root.sign(&[NAME], |_| {});
    chain.extend(std::iter::repeat_n(root.der(), 1024 * 1024 / root.der().len()));
    check(&root, (chain, key), ErrorCode::TlsOther, "").await;

    let (outcome, came) = play(&trusting(&root), root.asking_acceptor(root.sign(&[NAME], |_| {}), true)).await;
    assert_eq!((failure(&outcome).0, came), (ErrorCode::TlsOther, false));
}

/// R068–R070, R074–R076: what stands at the port is no TLS that we speak, or stops speaking.
#[tokio::test]
async fn other_ends_of_a_handshake() {
    // An alert (protocol_version), and the hello of a server that knows TLS 1.1 only.
    let alert = b"\x15\x03\x01\x00\x02\x02\x46".to_vec();
    let mut hello = b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\xc0\x13\x00");
    let network = trusting(&Authority::root());
    for (bytes, code, detail) in [
        (alert, ErrorCode::TlsOther, "no TLS 1.2"),
        (hello, ErrorCode::TlsOther, "no TLS 1.2"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ErrorCode::TlsOther, "not TLS"),
        (Vec::new(), ErrorCode::ConnectionReset, ""),
    ] {
        let receiver = Receiver::start(move |mut stream, _| {
            let bytes = bytes.clone();
            async move {
                stream.read_u8().await.expect("a hello comes");
                stream.write_all(&bytes).await.expect("the sender reads");
                if !bytes.is_empty() {
                    hang(stream).await;
                }
            }
        })
        .await;
        let outcome = send(&network, request(&receiver.named("https", NAME))).await;
        let (found, words) = failure(&outcome);
        assert_eq!(found, code, "{words}");
        assert!(words.contains(detail), "{words:?} has {detail:?}");
    }
    let resetting = Receiver::start(|stream, _| async move { reset(&stream) }).await;
    let outcome = send(&network, request(&resetting.named("https", NAME))).await;
    assert_eq!(word(&outcome), "connection_reset");
    let silent = Receiver::start(|stream, _| hang(stream)).await;
    let mut outgoing = request(&silent.named("https", NAME));
    outgoing.timeout = ANSWERED;
    let outcome = send(&network, outgoing).await;
    assert_eq!(word(&outcome), "response_timeout", "TCP stands, so it is no connect_timeout");
}

/// R076, R083: the end of a connection after the handshake, and one clock over all stages.
#[tokio::test]
async fn after_the_handshake() {
    let root = Authority::root();
    let network = trusting(&root);
    let tls = acceptor(root.sign(&[NAME], |_| {}), &[]);
    let taking = tls.clone();
    let resetting = Receiver::start(move |stream, _| {
        let tls = taking.clone();
        async move {
            let stream = tls.accept(stream).await.expect("a handshake");
            reset(stream.get_ref().0);
        }
    })
    .await;
    let outcome = send(&network, request(&resetting.named("https", NAME))).await;
    assert_eq!(word(&outcome), "connection_reset");

    let slow = Receiver::start(move |stream, _| {
        let tls = tls.clone();
        async move {
            tokio::time::sleep(SHORT / 2).await;
            let mut stream = tls.accept(stream).await.expect("a handshake");
            read_request(&mut stream).await.expect("a request comes");
            tokio::time::sleep(SHORT * 3 / 4).await;
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
        }
    })
    .await;
    let mut outgoing = request(&slow.named("https", NAME));
    outgoing.timeout = SHORT;
    let outcome = send(&network, outgoing).await;
    assert_eq!(word(&outcome), "response_timeout");
    assert!(outcome.timing.tls.is_some_and(|span| span >= SHORT / 2 && span < SHORT + GRACE));
}

/// A kept TLS connection carries the next request, and a new one resumes the session.
#[tokio::test]
async fn tls_connections_are_kept() {
    let root = Authority::root();
    let tls = acceptor(root.sign(&[NAME], |_| {}), &[b"http/1.1"]);
    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |stream, number| {
        let (tls, say) = (tls.clone(), say.clone());
        async move {
            let mut stream = tls.accept(stream).await.expect("a handshake");
            say.send(stream.get_ref().1.handshake_kind()).expect("the test listens");
            for _ in 0..2 {
                read_request(&mut stream).await.expect("a request comes");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("the sender reads");
            }
            assert!(number <= 2);
            stream.shutdown().await.expect("a farewell");
        }
    })
    .await;
    let network = trusting(&root);
    for _ in 0..2 {
        assert_eq!(word(&send(&network, request(&receiver.named("https", NAME))).await), "200");
    }
    while network.waiting_connections() > 0 && receiver.accepted() == 1 {
        assert_eq!(word(&send(&network, request(&receiver.named("https", NAME))).await), "200");
    }
    assert_eq!(receiver.accepted(), 2);
    assert_eq!(heard.recv().await, Some(Some(rustls::HandshakeKind::Full)));
    assert_eq!(heard.recv().await, Some(Some(rustls::HandshakeKind::Resumed)));
}

#[tokio::test]
async fn bad_root_files_are_named() {
    let whole = Authority::root().pem();
    for (pem, expect) in [
        (&b"no certificate here"[..], "file 1: it holds no certificate"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "file 1: a certificate in it cannot be a root",
        ),
    ] {
        let settings = Settings { trust_ca: vec![whole.clone(), pem.to_vec()], ..Settings::default() };
        let error = Network::new(settings).err().expect("it cannot be used").to_string();
        assert!(error.starts_with("--trust-ca") && error.contains(expect), "{error}");
    }
}
