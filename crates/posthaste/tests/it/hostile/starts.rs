//! Group T, starts of the server that must not come about, or not in silence.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use store::conformance::cluster::Cluster;

use super::seen::{Played, Seen};
use super::stage::Stage;
use crate::receiver::status;
use crate::room::{Room, start};
use crate::server::{Launch, Refused};
use crate::table::Row;

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    match row.id.as_str() {
        "T110" => {
            let mut launch = used(stage).await;
            if launch.database().is_some() {
                launch = launch.environment("POSTHASTE_ENCRYPTION_KEY", "");
            } else {
                fs::remove_file(key_file(&launch.data())).expect("the key that was made at the first start");
            }
            refuses(launch, "encryption-key").await
        }
        "T111" => {
            let launch = used(stage).await;
            refuses(launch.environment("POSTHASTE_ENCRYPTION_KEY", &BASE64.encode(&[8; 32])), "encryption-key").await
        }
        "T112" => refuses(Launch::new().flag("--allow-private", "0.0.0.0/0"), "allow-private").await,
        "T113" => refuses(Launch::new().flag("--retry-schedule", "soon"), "retry-schedule").await,
        "T114" => flipped_bit(stage).await,
        other => panic!("no start for {other}"),
    }
    .into()
}

/// How a server is started whose store has been used: one event, delivered.
async fn used(stage: &Stage) -> Launch {
    let server = start(stage.launch()).await;
    let room = Room::open(&server.api, "default").await;
    let receiver = stage.receiver(status(200)).await;
    room.webhook(&format!("https://used.example.com:{}/", receiver.port())).await;
    let event = room.post("").await;
    room.attempted(&event, 1).await;
    let launch = server.launch().clone();
    assert!(server.terminate().success(), "SIGTERM ends it well");
    launch
}

/// The file beside the data in which the encryption key lies, as `interfaces.md` wants it: mode 0600.
fn key_file(data: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let files = fs::read_dir(data).expect("the data").map(|entry| entry.expect("an entry").path());
    let mut keys: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().contains("key")).collect();
    let key = keys.pop().expect("a key beside the data");
    let mode = fs::metadata(&key).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key is for its owner alone");
    key
}

/// It must not start, and name the setting.
async fn refuses(launch: Launch, setting: &str) -> Seen {
    match tokio::task::spawn_blocking(move || launch.try_start()).await.expect("it ends") {
        Ok(_server) => Seen::word("it started"),
        Err(Refused { status, said }) => {
            let fine = matches!(status.code(), Some(1 | 2)) && said.contains(setting);
            Seen::default().check("refuses_start", fine, format!("ended with {status}, saying {said}"))
        }
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the data").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// T114: one bit of an event's bytes, in whichever files they lie.
async fn flipped_bit(stage: &Stage) -> Seen {
    const MARK: &str = "a-mark-that-is-nowhere-else";
    let mut launch = stage.launch();
    // Stopped for it, with everything written where it stays.
    let cluster = launch.database().is_some().then(|| Cluster::start(&[]));
    if let Some(cluster) = &cluster {
        launch = launch.on(&cluster.database());
    }
    let server = start(launch).await;
    let room = Room::open(&server.api, "default").await;
    let event = room.post(&format!(r#","mark":"{MARK}""#)).await;
    let path = room.path(&format!("events/{event}"));
    let before = server.api.get(&path).await.expect(200)["data"].clone();
    let launch = server.kill();
    let mut flipped = 0;
    let folder = match &cluster {
        Some(cluster) => {
            cluster.run_sql("postgres", "CHECKPOINT");
            cluster.stop();
            cluster.files().join("base")
        }
        None => launch.data(),
    };
    for file in files(&folder) {
        let Ok(mut bytes) = fs::read(&file) else { continue };
        let places: Vec<usize> = (0..bytes.len().saturating_sub(MARK.len()))
            .filter(|at| bytes[*at..].starts_with(MARK.as_bytes()))
            .collect();
        for at in &places {
            bytes[*at] ^= 1;
        }
        flipped += places.len();
        if !places.is_empty() {
            fs::write(&file, bytes).expect("the file is written");
        }
    }
    if let Some(cluster) = &cluster {
        cluster.start_again();
    }
    if flipped == 0 {
        return Seen::word("the event's bytes lie in no file as they are");
    }
    match tokio::task::spawn_blocking(move || launch.try_start()).await.expect("it ends") {
        Err(Refused { status, said }) => Seen::default().check(
            "refuses_start",
            matches!(status.code(), Some(1 | 2)),
            format!("ended with {status}: {said}"),
        ),
        Ok(server) => {
            let reply = server.api.get(&path).await;
            // Damaged bytes may be refused, or the write of which they were a part be taken for torn; never served.
            let served = reply.status == 200 && reply.json()["data"] != before;
            Seen::default().check("detected", !served, "the damaged event was served in silence")
        }
    }
}
