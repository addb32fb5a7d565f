//! `posthaste deliveries export` against a server: the whole log, and a file that is gone on with.

use std::process::Output;

use serde_json::Value;

use crate::room::{Room, start};
use crate::server::{Launch, PLATFORM_KEY};

async fn posthaste(url: String, arguments: Vec<String>) -> Output {
    let run = move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command.args(arguments).env_clear().env("POSTHASTE_URL", url).env("POSTHASTE_KEY", PLATFORM_KEY);
        command.output().expect("the binary runs")
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_exported_and_an_interrupted_file_gone_on_with() {
    let server = start(Launch::new().flags("--allow-private 127.0.0.0/8 --allow-http")).await;
    let room = Room::open(&server.api, "default").await;
    // Nobody listens there: every delivery is tried, and waits.
    room.webhook("http://127.0.0.1:9/nobody").await;
    for n in 0..130 {
        room.post(&format!(r#","n":{n}"#)).await;
    }
    let url = format!("http://{}", server.api.address);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log.ndjson");
    let name = file.to_str().expect("a plain path");
    let export = async |more: &[&str]| {
        let arguments = ["deliveries", "export"].iter().chain(more).map(|&word| word.to_owned()).collect();
        let output = posthaste(url.clone(), arguments).await;
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("UTF-8"),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, whole, said) = export(&[]).await;
    assert_eq!((code, whole.lines().count()), (Some(0), 130), "{said}");
    let ids = |text: &str| -> Vec<String> {
        let id =
            |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
        text.lines().map(id).collect()
    };

    let (code, out, said) = export(&["event=watchlist.*", "--attempts", "--out", name]).await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("130 deliveries"), "{said}");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert_eq!(ids(&text), ids(&whole));
    assert!(text.lines().all(|line| line.contains("\"attempts\":[")));

    let (code, _, said) = export(&["--out", name]).await;
    assert_eq!(code, Some(5), "a file that exists is not written over: {said}");
    let nowhere = folder.path().join("none/log.ndjson");
    let (code, _, said) = export(&["--out", nowhere.to_str().expect("a plain path")]).await;
    assert!(code == Some(1) && said.contains("Take another file as --out"), "{code:?} {said}");
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let cut = lines[..40].concat() + &lines[40][..lines[40].len() / 2];
    std::fs::write(&file, cut).expect("it is cut");
    let (code, _, said) = export(&["--attempts", "--out", name, "--resume"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("90 deliveries"), "{said}");
    assert_eq!(ids(&std::fs::read_to_string(&file).expect("it is there")), ids(&whole));
    let refused = folder.path().join("refused.ndjson");
    let (code, _, _) = export(&["status=lost", "--out", refused.to_str().expect("a plain path")]).await;
    assert_eq!((code, refused.exists()), (Some(5), false), "what is refused leaves no file behind");
}
