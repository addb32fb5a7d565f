//! Group R, R061 to R080: what a receiver does below HTTP: certificates, TLS, connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::seen::{Played, Seen};
use super::stage::Stage;
use crate::certificates::Leaf;
use crate::receiver::{Reading, Receiver, Script, Step, status};
use crate::room::attempt;
use crate::table::Row;

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    let Some(receiver) = receiver(stage, row).await else {
        return Played::left_out("the openssl command makes no SHA-1 certificate on this machine");
    };
    let room = stage.room(row).await;
    let url = format!("https://{}.example.com:{}/", room.account, receiver.port());
    room.webhook(&url).await;
    // 200 KiB where the body counts, so that it cannot lie in the sockets' buffers as a whole.
    let more =
        format!(r#","pad":"{}""#, "a".repeat(if matches!(row.id.as_str(), "R077" | "R080") { 200 * 1024 } else { 0 }));
    let event = room.post(&more).await;
    let delivery = room.attempted(&event, 1).await;
    let mut seen = Seen::attempt(&delivery["attempts"][0]);
    if row.input.starts_with("@tls") && !seen.fits("delivered") && row.id != "R071" {
        seen.must(receiver.bytes_read() == 0, format!("{} bytes of a request were sent", receiver.bytes_read()));
        seen.must(receiver.connections() > 0, "it was not dialled");
    }
    seen.into()
}

async fn receiver(stage: &Stage, row: &Row) -> Option<Receiver> {
    let shows = |leaf| Script::answering(Some(stage.authority.config(leaf)), status(200));
    let good = |steps| Script::answering(Some(Arc::clone(&stage.tls)), steps);
    let early = |steps| Script { before_tls: steps, ..good(status(200)) };
    let script = match row.id.as_str() {
        "R061" => shows(Leaf::SelfSigned),
        "R062" => shows(Leaf::IntermediateMissing),
        "R063" => shows(Leaf::Expired),
        "R064" => shows(Leaf::OtherName),
        "R065" => shows(Leaf::CommonNameOnly),
        "R066" => shows(Leaf::ConstraintBroken),
        "R067" => {
            let folder = tempfile::tempdir().expect("a folder");
            Script::answering(Some(stage.authority.sha1_config(folder.path())?), status(200))
        }
        "R068" => early(old_server_hello(1)),
        "R069" => early(old_server_hello(2)),
        "R070" => {
            early(vec![Step::Write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()), Step::Hang])
        }
        "R071" => shows(Leaf::ClientAsked),
        "R072" => shows(Leaf::HugeChain),
        "R073" => return Some(crowded(good(status(200))).await),
        "R074" => early(vec![Step::Hang]),
        "R075" => early(vec![Step::Reset]),
        "R076" => Script { before_request: vec![Step::Reset], ..good(status(200)) },
        "R077" => Script { reading: Reading::Part(20_000), ..good(vec![Step::Reset]) },
        "R078" => good(vec![Step::Write(b"HTTP/1.1 200 OK\r\nX-A".to_vec()), Step::Reset]),
        "R079" => good(vec![Step::HalfClose, Step::Hang]),
        "R080" => {
            let mut steps = status(500);
            steps.push(Step::Reset);
            Script { reading: Reading::Part(1), ..good(steps) }
        }
        other => panic!("no script for {other}"),
    };
    Some(Receiver::start(script).await)
}

/// A receiver to which no connection comes about, ever.
async fn crowded(script: Script) -> Receiver {
    Receiver::start_crowded(script, std::future::pending()).await
}

/// The answer of a server that knows nothing above TLS 1.`minor - 1`: its ServerHello, as RFC 2246 and 4346 write it. It
/// comes after the ClientHello has been sent, which nobody needs to read.
fn old_server_hello(minor: u8) -> Vec<Step> {
    let version = [3, minor];
    // The version, 32 bytes of chance, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    let hello = [&version[..], &[7; 32], &[0], &[0, 0x2f], &[0]].concat();
    let length = u8::try_from(hello.len()).expect("short");
    let message = [&[2, 0, 0, length][..], &hello].concat();
    let record = [&[22][..], &version, &[0, length + 4], &message].concat();
    vec![Step::Pause(Duration::from_millis(50)), Step::Write(record), Step::Hang]
}

/// R083: one clock over all stages. SYNs are dropped for two and a half seconds, so that the connection comes about with the
/// next one that is sent; TLS and the answer take one and a half seconds each.
pub(super) async fn every_stage_slow(stage: &Stage, row: &Row) -> Seen {
    let (release, released) = oneshot::channel::<()>();
    let mut steps = vec![Step::Pause(Duration::from_millis(1_500))];
    steps.extend(status(200));
    let mut script = Script::answering(Some(Arc::clone(&stage.tls)), steps);
    script.before_tls = vec![Step::Pause(Duration::from_millis(1_500))];
    let receiver = Receiver::start_crowded(script, async move {
        let _either_way = released.await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    })
    .await;
    let room = stage.room(row).await;
    release.send(()).expect("the receiver waits");
    let (_, attempt) = attempt(&room, &format!("https://{}.example.com:{}/", room.account, receiver.port())).await;
    let mut seen = Seen::attempt(&attempt);
    let connect = attempt["timing"]["connect"].as_f64().unwrap_or_default();
    seen.must(
        connect > 1_000.0 && receiver.connections() == 1,
        format!("the connection came about after {connect} ms"),
    );
    seen
}
