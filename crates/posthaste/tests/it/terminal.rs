//! `posthaste tail --full` in a real pseudo-terminal: what its screen shows, what its keys do, and how it leaves.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::room::{Room, start};
use crate::server::{Launch, PLATFORM_KEY};

/// A command in a terminal; it is killed when this is dropped.
struct Terminal {
    driver: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Terminal {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal.py");
        let mut driver = Command::new("python3")
            .arg(script)
            .arg(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("TERM", "xterm-256color")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python is there");
        let (ask, told) = (driver.stdin.take().expect("piped"), driver.stdout.take().expect("piped"));
        Self { driver, ask, told: BufReader::new(told) }
    }

    fn ask(&mut self, what: &Value) -> Value {
        writeln!(self.ask, "{what}").expect("the driver reads");
        let mut line = String::new();
        self.told.read_line(&mut line).expect("the driver answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{what}: {error} in {line:?}"))
    }

    fn press(&mut self, keys: &str) {
        self.ask(&json!(["press", keys]));
    }

    /// The screen's lines, once one holds the text.
    fn expect(&mut self, text: &str) -> Vec<String> {
        self.found("expect", text)
    }

    fn found(&mut self, what: &str, text: &str) -> Vec<String> {
        let seen = self.ask(&json!([what, text]));
        let lines: Vec<String> = serde_json::from_value(seen["lines"].clone()).expect("lines");
        assert_eq!(seen["found"], true, "no {text:?} in\n{}", lines.join("\n"));
        lines
    }

    /// Waits for the end: the exit code, after the terminal was given back as it was.
    fn end(mut self) -> (i64, bool) {
        let end = self.ask(&json!(["end"]));
        assert_eq!(
            (&end["alternate"], &end["cursor"], &end["restored"]),
            (&json!(false), &json!(true), &json!(true)),
            "{end}"
        );
        (end["code"].as_i64().expect("a code"), end["coloured"].as_bool().expect("whether"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Without its terminal the command ends too.
        let _gone_already = self.driver.kill();
        let _reaped_already = self.driver.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_fills_the_terminal_and_gives_it_back() {
    let launch = Launch::new().flags("--allow-private 127.0.0.0/8 --allow-http --retry-schedule 1h --jitter 0");
    let server = start(launch).await;
    let room = Room::open(&server.api, "screen").await;
    // Nobody listens on port 1, so every attempt fails at once.
    room.webhook("http://127.0.0.1:1/hook").await;
    let folder = tempfile::tempdir().expect("a folder");
    let (opener, opened) = (folder.path().join("xdg-open"), folder.path().join("opened"));
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display())).expect("written");
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let url = format!("http://{}", server.api.address);
    let environment = [
        ("POSTHASTE_URL", &*url),
        ("POSTHASTE_KEY", PLATFORM_KEY),
        ("POSTHASTE_ACCOUNT", &*room.account),
        ("PATH", &*path),
    ];
    let (room, account) = (&room, room.account.clone());
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let mut screen = Terminal::start(&["tail", "--full", "event=watchlist.*"], &environment);
        screen.expect("● live");
        handle.block_on(room.post(""));
        let lines = screen.expect("connect_refused");
        assert!(
            lines[0].contains(&format!("posthaste tail   {account}")) && lines[0].contains("1 attempts"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with('›') && lines[1].contains("↻ connect_refused"), "{lines:?}");
        assert!(lines[23].contains("j k move") && lines[23].contains("q quit"), "{lines:?}");
        handle.block_on(room.post(""));
        let lines = screen.expect("2 attempts");
        assert!(lines[1].starts_with('›') && lines[2].starts_with(' '), "the newest is chosen: {lines:?}");
        screen.press("j");
        screen.expect("›");
        screen.press("\r");
        let lines = screen.expect("attempt 1 (first)");
        assert!(lines[2].starts_with('›') && lines.iter().any(|line| line.contains("dlv_")), "{lines:?}");
        screen.expect("attempt 2 is planned");
        screen.ask(&json!(["resize", 12, 70]));
        let lines = screen.expect("q quit");
        assert!(lines.iter().all(|line| line.chars().count() <= 70), "{lines:?}");
        screen.ask(&json!(["resize", 30, 120]));
        screen.expect(&"─".repeat(120));
        screen.press("r");
        screen.expect("attempt 2 (replay)");
        screen.press("c");
        screen.found("copied", "curl -X POST 'http://127.0.0.1:1/hook'");
        screen.press("o");
        screen.expect(&format!("Opened {url}/accounts/{account}/deliveries/dlv_"));
        assert!(std::fs::read_to_string(&opened).is_ok_and(|asked| asked.contains("/deliveries/dlv_")));
        screen.press("q");
        assert_eq!(screen.end(), (0, true));

        for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let mut screen = Terminal::start(&["tail", "--full"], &[&environment[..], &[plain]].concat());
            screen.expect("● live");
            screen.press("\u{3}");
            assert_eq!(screen.end(), (130, false), "Ctrl-C, and no colour with {plain:?}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_needs_a_terminal() {
    let done = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(["tail", "--full", "--server", "http://127.0.0.1:1"])
        .env_clear()
        .output()
        .expect("the binary starts");
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("--full"), "{done:?}");
}
