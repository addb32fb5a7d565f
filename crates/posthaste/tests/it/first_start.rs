//! The first start of the shipped binary: what `dev` and `serve` say when nobody has run them before, piped, as a script
//! would read it.

use serde_json::Value;

use crate::running::{Running, run};

const DEV: [&str; 7] =
    ["dev", "--listen", "127.0.0.1:0", "--inbox-listen", "127.0.0.1:0", "--retry-schedule", "50ms,100ms,1s"];

#[test]
fn dev_says_what_it_does_and_does_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let dev = Running::start(directory.path(), &DEV);
    let banner = dev.until(&["✓ ready in", "Sent 1 sample event: alert.domain_matched"]).join("\n");
    for words in [
        "dev mode: short retries (50 ms, 100 ms, 1 s), loopback and http allowed, data in ./.posthaste",
        "Dashboard  http://127.0.0.1:",
        "/#t=phl_",
        "API        http://127.0.0.1:",
        "key phk_",
        "API docs   http://127.0.0.1:",
        "/inbox/demo",
        "answers 200",
        "/inbox/flaky",
        "answers 500, 500, then 200",
        "curl --cacert ./.posthaste/inbox-ca.pem",
    ] {
        assert!(banner.contains(words), "no {words:?} in\n{banner}");
    }
    let talk = dev.until(&["Stop with Ctrl-C."]).join("\n");
    let line = |words: &[&str]| {
        assert!(
            talk.lines().any(|line| words.iter().all(|word| line.contains(word))),
            "no line with {words:?} in\n{talk}"
        );
    };
    line(&["✓ 200", "alert.domain_matched  → Demo inbox", "attempt 1   signature verified"]);
    line(&["✕ 500", "alert.domain_matched  → Flaky inbox", "attempt 1   next in 50 ms"]);
    line(&["✕ 500", "alert.domain_matched  → Flaky inbox", "attempt 2   next in 100 ms"]);
    line(&["✓ 200", "alert.domain_matched  → Flaky inbox", "attempt 3   delivered after"]);
    line(&["send enrichment.completed"]);
    assert!(!banner.contains('\x1b') && !talk.contains('\x1b'), "there is no colour in a pipe");
    let (status, _) = dev.end("-INT");
    assert_eq!(status.code(), Some(0));

    // The store opens again, with the same key, and the webhooks are not made twice.
    let key = |banner: &str| banner.split("key ").nth(1).and_then(|rest| rest.split('\n').next()).map(str::to_owned);
    let again = Running::start(directory.path(), &[&DEV[..], &["--json"]].concat());
    let started = again.until(&["\"type\":\"ready\""]).join("\n");
    assert!(started.contains(&key(&banner).expect("a key")), "another key in\n{started}");
    // Where the encryption key is kept is said by the start that makes it.
    let file = ".posthaste/encryption.key";
    assert!(banner.contains(&format!("Encrypted  with a key made just now: ./{file}")), "{banner}");
    assert!(directory.path().join(file).is_file() && !started.contains(file), "{started}");
    assert!(started.contains("\"encryption_key_made\":null"), "{started}");
    let attempts: Vec<String> = (0..4).flat_map(|_| again.until(&["\"type\":\"attempt\""])).collect();
    assert!(attempts.last().is_some_and(|line| line.contains("\"signature\":\"verified\"")), "{attempts:?}");
    let (status, _) = again.end("-TERM");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn client_commands_find_what_dev_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let dev = Running::start(directory.path(), &DEV);
    dev.until(&["✓ ready in"]);
    let run = |arguments: &[&str]| run(directory.path(), arguments);
    let (code, out, err) = run(&["send", "watchlist.domain_changed", "--wait", "--within", "1m"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("watchlist.domain_changed  → 2 webhooks") && out.contains("All delivered in"), "{out}");
    let event = out.split_whitespace().next().expect("the event's id");
    let last = out.lines().last().expect("a last line");
    assert!(
        last.contains("http://127.0.0.1:") && last.ends_with(&format!("/accounts/default/events/{event}")),
        "{last}"
    );
    let (code, out, _) = run(&["webhooks", "list"]);
    assert!(code == Some(0) && out.contains("Demo inbox") && out.contains("✓ active"), "{out}");
    let id = out.split_whitespace().find(|word| word.starts_with("wh_")).expect("a webhook's id");
    let (_, out, _) = run(&["webhooks", "show", id]);
    let etag = out.lines().find_map(|line| line.strip_prefix("etag ")).expect("what --if-match takes").trim();
    for (etag, expected) in [("other", 5), (etag, 0)] {
        let (code, out, err) = run(&["webhooks", "edit", id, "--if-match", etag, "--timeout", "4s"]);
        assert_eq!(code, Some(expected), "{etag}: {out}{err}");
    }
    let (_, _, err) = run(&["webhooks", "rotate", id]);
    assert!(err.contains("webhook-signature is signed by the current and the previous secret"), "{err}");
    let (code, out, _) = run(&["deliveries", "list", "status=delivered", "event=watchlist.*", "--json"]);
    assert!(code == Some(0) && out.matches("\"status\":\"delivered\"").count() == 2, "{out}");
    for (arguments, expected) in [
        (&["deliveries", "list", "status=delivered", "--key", "phk_wrong_wrong_wrong"][..], 3),
        (&["webhooks", "show", "wh_nope"], 4),
        (&["webhooks", "create", "Bad", "https://10.0.0.1/"], 5),
        (&["webhooks", "list", "--server", "http://127.0.0.1:1"], 6),
        (&["webhooks"], 2),
        (&["deliveries", "list", "foo=1"], 2),
        (&["audit", "foo=1"], 2),
        (&["audit", "--all", "webhook.created"], 2),
        (&["audit", "action=nope"], 5),
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {out}{err}");
        assert!(out.is_empty() && !err.is_empty(), "{arguments:?}: faults are talk: {out}{err}");
    }
    let (code, _, err) = run(&["serve", "--data", ".posthaste", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(2) && err.contains("end that one, or name another directory"), "{code:?} {err}");
    assert_eq!(dev.end("-INT").0.code(), Some(0));
}

#[test]
fn serve_makes_its_keys_once_and_says_so_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || Running::start(directory.path(), &["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    let first = start();
    assert!(first.until(&["listening on http://127.0.0.1:"]).len() == 1, "nothing comes before it on stdout");
    let (status, said) = first.end("-TERM");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("encryption key made: data/encryption.key"), "{said}");
    assert!(said.contains("platform key made, shown this once: phk_"), "{said}");
    let second = start();
    second.until(&["listening on http://127.0.0.1:"]);
    let (status, said) = second.end("-TERM");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("phk_") && !said.contains("encryption key made"), "{said}");
}

/// What is wanted and cannot be written is no success: a key that is shown once would be gone.
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_posthaste"));
    let ended = command.args(["config", "show"]).current_dir(directory.path()).env_clear().stdout(full).output();
    let ended = ended.expect("the binary runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && said.contains("could not be written to stdout"), "{ended:?}");
}

#[test]
fn a_lone_word_that_is_no_level_is_no_filter_of_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    for (filter, code) in [("warning", 2), ("info,hyper", 2), ("WARN", 0), ("info,dispatch=debug", 0)] {
        let (ended, _, said) = run(directory.path(), &["config", "show", "--log", filter]);
        assert_eq!((ended, said.contains("is no level")), (Some(code), code == 2), "{filter}: {said}");
    }
}

#[test]
fn a_first_start_that_fails_says_where_the_key_is_that_it_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let metrics = taken.local_addr().expect("an address").to_string();
    let serve = ["serve", "--data", "data", "--listen", "127.0.0.1:0"];
    let (code, out, err) = run(directory.path(), &[&serve[..], &["--metrics-listen", &metrics]].concat());
    assert!(code == Some(2) && out.is_empty() && err.contains("Setting metrics-listen"), "{code:?} {out}{err}");
    assert!(directory.path().join("data/encryption.key").exists());
    assert!(err.contains("encryption key made: data/encryption.key"), "{err}");
    let second = Running::start(directory.path(), &serve);
    second.until(&["listening on http://127.0.0.1:"]);
    let (status, said) = second.end("-TERM");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("platform key made") && !said.contains("encryption key made"), "{said}");
}

#[test]
fn what_keeps_it_from_starting_is_told_with_the_way_out() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("keyless")).expect("it is made");
    std::fs::write(directory.path().join("keyless/posthaste.db"), "SQLite format 3").expect("it is written");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    let says = |arguments: &[&str], code: i32, words: &str| {
        let (ended, out, err) = run(directory.path(), arguments);
        assert!(ended == Some(code) && format!("{out}{err}").contains(words), "{arguments:?}: {ended:?} {out}{err}");
    };
    says(
        &["serve", "--data", "d", "--listen", &taken.1],
        2,
        "another process listens there; end it, or name another port",
    );
    // An address of documentation.
    says(
        &["serve", "--data", "d", "--listen", "192.0.2.1:8400"],
        2,
        "this machine has no such address; name one of its own",
    );
    says(&["config", "show", "--config", "none.toml"], 2, "name a settings file that can be read");
    let backup = ["backup", "--data", "keyless", "--to", "backup", "--with-key"];
    says(&backup, 2, "put the store's key back there, or give it by that variable");
    // What cannot be written is found before anything is begun, by whoever would change the store.
    std::fs::create_dir(directory.path().join("keyless/lock")).expect("it is made");
    let in_the_way = "keyless/lock is a directory where a file has to be: move it away";
    says(&["serve", "--data", "keyless", "--listen", "127.0.0.1:0"], 2, in_the_way);
    says(&["keys", "rotate-encryption", "--data", "keyless"], 2, in_the_way);
    says(&["migrate", "--from", "keyless", "--to", NOWHERE], 2, in_the_way);
    let on_one_line =
        "no resolver\" is not an address and port such as 127.0.0.1:8400 or [::1]:8400; given by: --resolver\n";
    says(&["doctor", "--offline", "--resolver", "no resolver"], 1, on_one_line);
}

/// A database's address that nobody answers at: it is refused before anybody asks.
const NOWHERE: &str = "postgres://posthaste@127.0.0.1:1/x";

#[test]
fn two_places_for_everything_are_a_fault_of_usage_wherever_both_can_be_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let says = |arguments: &[&str], words: &[&str]| {
        let (code, out, err) = run(directory.path(), arguments);
        assert!(code == Some(2) && out.is_empty(), "{arguments:?}: {code:?} {out}{err}");
        assert!(err.contains("Setting database: "), "{arguments:?}: {err}");
        assert!(words.iter().all(|word| err.contains(word)), "{arguments:?}: {words:?}: {err}");
    };
    let both = ["--data", "data", "--database", NOWHERE];
    for command in [&["serve"][..], &["doctor", "--offline"], &["doctor"]] {
        says(&[command, &both].concat(), &["leave one of the two out", "given by: --database"]);
    }
    // The directory has a default there.
    for command in [&["dev"][..], &["doctor", "--offline", "--dev"]] {
        for given in [&both[..], &both[2..]] {
            says(&[command, given].concat(), &["use `posthaste serve`", "given by: --database"]);
        }
    }
    std::fs::write(directory.path().join("posthaste.toml"), "data = \"data\"").expect("a file");
    for command in [&["serve"][..], &["doctor", "--offline"]] {
        says(&[command, &both[2..]].concat(), &["leave one of the two out"]);
    }
    assert!(!directory.path().join("data").exists(), "nothing was made");
}

#[test]
fn what_is_wrong_with_a_data_directory_is_told_in_words_whatever_is_asked_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("empty")).expect("a directory");
    std::fs::write(path("file"), "x").expect("a file");
    let says = |arguments: &str, code: i32, words: &str| {
        let listed: Vec<&str> = arguments.split(' ').collect();
        let (ended, out, err) = run(folder.path(), &listed);
        let said = format!("{out}{err}");
        assert_eq!(ended, Some(code), "{arguments}: {said}");
        assert!(said.contains(words), "{arguments}: {said}");
        for foreign in ["os error", "unable to open", "database file"] {
            assert!(!said.contains(foreign), "{arguments}: {said}");
        }
    };
    for (data, words) in [
        ("nope", "there is no directory nope: name the one"),
        ("empty", "there is no store in empty: name the directory"),
        ("file", "file is no directory: name the one"),
        ("file/below", "file/below is no directory: name the one"),
    ] {
        for command in
            ["backup --to copy --data", "backup --to copy --with-key --data", "keys rotate-encryption --data"]
        {
            says(&format!("{command} {data}"), 2, words);
        }
        says(&format!("migrate --to {NOWHERE} --from {data}"), 2, words);
        says(
            &format!("restore --data new --from {data}"),
            1,
            &format!("{data} is no backup: there is no manifest.json"),
        );
        says(&format!("backup verify {data}"), 1, &format!("{data} is no backup: there is no manifest.json"));
    }
    // Where a store may be made, only what is no directory is in the way.
    for data in ["file", "file/below"] {
        let words = format!("{data} is no directory");
        for command in ["serve --listen 127.0.0.1:0", "dev --listen 127.0.0.1:0", "dev --fresh", "restore --from empty"]
        {
            says(&format!("{command} --data {data}"), 2, &words);
        }
        says(&format!("doctor --offline --data {data}"), 1, &words);
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("the folder").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left.len(), 2, "nothing was made: {left:?}");
    assert_eq!(std::fs::read_dir(path("empty")).expect("a directory").count(), 0);
}

#[test]
fn faults_of_usage_are_json_where_results_are() {
    let directory = tempfile::tempdir().expect("a directory");
    for (arguments, words) in [
        (&["webhooks", "list", "--nope"][..], "unexpected argument '--nope'"),
        (&["send"], "<EVENT>"),
        (&["nope"], "unrecognized subcommand 'nope'"),
        (&["webhooks"], "requires a subcommand"),
        (&["webhooks", "list", "--limit", "many"], "invalid value 'many'"),
        // Not clap's, but ours.
        (&["verify"], "--body FILE"),
    ] {
        let (code, out, err) = run(directory.path(), &[arguments, &["--json"]].concat());
        let said: Value = serde_json::from_str(&err).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {err}"));
        assert!(code == Some(2) && out.is_empty(), "{arguments:?}: {code:?} {out}");
        assert_eq!(said["exit"], 2, "{said}");
        let error = said["error"].as_str().expect("a sentence");
        assert!(error.contains(words) && !error.starts_with("error:"), "{words:?} is not in {error:?}");
        let (code, _, err) = run(directory.path(), arguments);
        assert!(code == Some(2) && !err.starts_with('{') && !err.is_empty(), "{arguments:?}: {code:?} {err}");
    }
    for asked in ["--help", "--version"] {
        let (code, out, err) = run(directory.path(), &["--json", asked]);
        assert!(code == Some(0) && err.is_empty() && out.contains("posthaste"), "{code:?} {out}{err}");
        assert!(!out.starts_with('{'), "{out}");
    }
}
