//! A look at a URL: the head of an answer to `HEAD`, the certificate's end, and nothing that an attempt would not do.

use std::sync::{Arc, Mutex};

use domain::attempt::ErrorCode;
use domain::endpoint_url::EndpointUrl;
use domain::transport::{Look, Names as _, Seen};
use outbound::{Network, Settings};
use rcgen::date_time_ymd;
use tokio::io::AsyncWriteExt as _;

use crate::authority::{Authority, acceptor};
use crate::receiver::{Receiver, hang, read_request};
use crate::sending::{PATIENT, SHORT, network, with};

async fn look(network: &Network, url: &str) -> Look {
    let url = EndpointUrl::stored(url).expect("a URL in its stored form");
    network.look(&url, &[("User-Agent".to_owned(), "Test/1".to_owned())], PATIENT).await
}

fn code(look: &Look) -> ErrorCode {
    look.result.as_ref().expect_err("nothing answers").code
}

#[tokio::test]
async fn a_redirect_is_seen_and_not_followed() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hearing = Arc::clone(&heard);
    let receiver = Receiver::start(move |mut stream, _| {
        let heard = Arc::clone(&hearing);
        async move {
            let Some(request) = read_request(&mut stream).await else { return };
            heard.lock().expect("the lock").push(request.head);
            // A `HEAD` has no body, whatever the head says of one.
            let answer = b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /elsewhere\r\nContent-Length: 5000\r\n\r\n";
            stream.write_all(answer).await.expect("the sender reads");
        }
    })
    .await;
    let seen = look(&network(), &receiver.named("http", "localhost")).await;
    assert_eq!(seen.result, Ok(Seen { status: 308, location: Some("/elsewhere".to_owned()) }));
    assert!(seen.remote_address.is_some());
    assert_eq!(seen.certificate_ends_at, None);
    let heard = heard.lock().expect("the lock").clone();
    assert_eq!(heard.len(), 1, "one request: {heard:?}");
    assert!(heard[0].starts_with("HEAD "), "{heard:?}");
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_and_a_bad_one_is_refused() {
    let root = Authority::root();
    let trusting = with(Settings { trust_ca: vec![root.pem()], ..Settings::default() });
    let answering = async |chain| {
        let acceptor = acceptor(chain, &[]);
        Receiver::start(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if read_request(&mut stream).await.is_some() {
                    drop(stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n").await);
                }
            }
        })
        .await
    };
    let good = answering(root.sign(&["localhost"], |params| params.not_after = date_time_ymd(2999, 11, 21))).await;
    let seen = look(&trusting, &good.named("https", "localhost")).await;
    assert_eq!(seen.result, Ok(Seen { status: 405, location: None }));
    assert_eq!(seen.certificate_ends_at.expect("an end").to_string(), "2999-11-21T00:00:00.000000Z");
    // Whoever asks later is told without another handshake; of what was never reached nothing is known.
    let known = |receiver: &Receiver| {
        let url = EndpointUrl::stored(&receiver.named("https", "localhost")).expect("a URL in its stored form");
        trusting.certificate_ends_at(&url)
    };
    assert_eq!(known(&good), seen.certificate_ends_at);
    let other = answering(root.sign(&["acme.com"], |_| {})).await;
    let refused = look(&trusting, &other.named("https", "localhost")).await;
    assert_eq!((code(&refused), refused.certificate_ends_at), (ErrorCode::TlsNameMismatch, None));
    assert_eq!(known(&other), None);
}

#[tokio::test]
async fn what_an_attempt_would_not_dial_is_not_looked_at() {
    let blocked = look(&network(), "http://10.0.0.1/").await;
    assert_eq!(code(&blocked), ErrorCode::AddressBlocked);
}

#[tokio::test]
async fn a_look_ends_by_its_deadline() {
    let silent = Receiver::start(|stream, _| hang(stream)).await;
    let url = EndpointUrl::stored(&silent.named("http", "localhost")).expect("a URL in its stored form");
    let late = network().look(&url, &[], SHORT).await;
    assert_eq!(code(&late), ErrorCode::ResponseTimeout);
}
