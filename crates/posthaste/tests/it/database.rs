//! The database as it is met: encrypted or not, with a password or without, of another kind than what is needed, by many nodes
//! at once. Whoever is refused is told why, and never a password.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use store::conformance::cluster::Cluster;
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::room::start;
use crate::server::{ENCRYPTION_KEY, Launch};
use crate::wait;

const PASSWORD: &str = "canary of a password";

/// What the binary says in JSON to these arguments, whatever comes of it.
fn posthaste(folder: &TempDir, key: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(arguments).current_dir(folder.path()).env_clear().env("POSTHASTE_ENCRYPTION_KEY", key);
    let output = command.output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// What `doctor` finds of a database: whether a node could serve it, and what it says.
fn looks(folder: &TempDir, key: &str, database: &str) -> (bool, String) {
    let (_, said) = posthaste(folder, key, &["--json", "doctor", "--offline", "--database", database]);
    assert!(!said.contains("canary"), "{said}");
    let line = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = line.filter(|line| line["check"] == "database");
    let found = found.next().unwrap_or_else(|| panic!("nothing about the database: {said}"));
    (found["ok"] == true, found["found"].as_str().expect("a text").to_owned())
}

/// What `serve` says on a database that it refuses; `doctor` says the same.
fn refused(folder: &TempDir, database: &str, why: &str) {
    let (ok, said) = looks(folder, ENCRYPTION_KEY, database);
    assert!(!ok && said.contains(why), "{why:?} is not in {said:?}");
    not_served(database, why);
}

fn not_served(database: &str, why: &str) {
    let refused = Launch::new().on(database).try_start().expect_err(why);
    assert!(matches!(refused.status.code(), Some(1 | 2)), "{}", refused.status);
    assert!(refused.said.contains(why), "{why:?} is not in {:?}", refused.said);
    assert!(refused.said.contains("database") && !refused.said.contains("canary"), "{}", refused.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_encrypted_as_its_address_says() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().expect("a folder"));
    let cluster = Cluster::start(&[]);
    let plain = cluster.database();
    let name = plain.rsplit('/').next().expect("a name").to_owned();
    let (_, port) =
        cluster.host().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).expect("a port");
    let address = |host: &str, query: &str| format!("postgres://posthaste@{host}:{port}/{name}{query}");
    refused(&folder, &address("localhost", "?sslmode=require"), "does not support TLS: have it speak TLS (ssl = on)");

    let pem = std::fs::read_to_string(authority.pem_file(folder.path())).expect("it was written");
    cluster.write("server.pem", &pem);
    for line in ["ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.pem'"] {
        cluster.run_sql("postgres", &format!("ALTER SYSTEM SET {line}"));
    }
    cluster.write(
        "pg_hba.conf",
        "local all all trust\nhost postgres all 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\n",
    );
    cluster.crash();
    let known = authority.write(folder.path());
    let stranger = folder.path().join("another ca.pem");
    std::fs::write(&stranger, &other.pem).expect("it is written");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").expect("it is written");
    let root = |mode: &str, file: &std::path::Path| {
        format!("?sslmode={mode}&sslrootcert={}", file.display().to_string().replace('/', "%2F").replace(' ', "%20"))
    };
    refused(&folder, &address("localhost", "?sslmode=disable"), "no encryption");
    refused(&folder, &address("localhost", &root("verify-full", &stranger)), "invalid peer certificate");
    refused(&folder, &address("localhost", &root("require", &stranger)), "invalid peer certificate");
    refused(&folder, &address("localhost", "?sslmode=verify-full"), "UnknownIssuer");
    refused(&folder, &address("127.0.0.1", &root("verify-full", &known)), "not valid for name");
    refused(&folder, &address("localhost", &root("verify-full", &empty)), "there is no certificate in it");
    refused(&folder, &address("localhost", &root("verify-full", &folder.path().join("none.pem"))), "none.pem");
    not_served(&address("localhost", &format!("?sslrootcert={}", known.display())), "add that");

    // A move into it is not tried again by itself: it says what is wrong with TLS, and what mends that.
    let embedded = Launch::embedded().environment("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY);
    let from = embedded.data().display().to_string();
    assert!(start(embedded.clone()).await.terminate().success(), "SIGTERM ends it well");
    for (to, why, mend) in [
        (address("localhost", "?sslmode=verify-full"), "UnknownIssuer", "by sslrootcert in the address"),
        (
            address("127.0.0.1", &root("verify-full", &known)),
            "not valid for name",
            "name the host as its certificate does",
        ),
    ] {
        for arguments in
            [&["migrate", "--from", &from, "--to", &to][..], &["migrate", "--from", &from, "--to", &to, "--abandon"]]
        {
            let (code, said) = posthaste(&folder, ENCRYPTION_KEY, arguments);
            assert!(code == Some(1) && said.contains(why) && said.contains(mend), "{arguments:?}: {code:?} {said}");
            assert!(!said.contains("run it again") && !said.contains("See that it runs"), "{said}");
        }
    }

    for query in ["", "?sslmode=require", &root("verify-full", &known), &root("require", &known)] {
        let (ok, said) = looks(&folder, ENCRYPTION_KEY, &address("localhost", query));
        assert!(ok && said.contains(", encrypted; it is empty"), "{query}: {said}");
    }
    let served = address("localhost", &root("verify-full", &known));
    let server = start(Launch::new().on(&served)).await;
    server.api.post("/v1/events", &json!({"event": "alert.rule_created", "data": {}})).await.expect(202);
    let ours = "SELECT count(*) > 2 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                WHERE application_name = 'posthaste'";
    assert_eq!(cluster.run_sql("postgres", ours), "t", "each of its connections is encrypted");
    assert!(server.terminate().success(), "SIGTERM ends it well");
}

/// What many make for a server inside: one certificate that nobody has issued, which those who connect are given.
#[test]
fn a_certificate_that_is_its_own_authority_s_can_be_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(&[]);
    let shows = |file: &std::path::Path| {
        cluster.write("server.pem", &std::fs::read_to_string(file).expect("it was written"));
        for line in ["ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.pem'"] {
            cluster.run_sql("postgres", &format!("ALTER SYSTEM SET {line}"));
        }
        cluster.crash();
    };
    let (host, name) = (cluster.host(), cluster.database().rsplit('/').next().expect("a name").to_owned());
    let port = host.rsplit(':').next().expect("a port").to_owned();
    let address = |host: &str, file: &std::path::Path| {
        let file = file.display().to_string().replace('/', "%2F");
        format!("postgres://posthaste@{host}:{port}/{name}?sslmode=verify-full&sslrootcert={file}")
    };
    let (known, with_key) = Authority::own(folder.path(), 2099);
    shows(&with_key);
    let (ok, said) = looks(&folder, ENCRYPTION_KEY, &address("localhost", &known));
    assert!(ok && said.contains(", encrypted; it is empty"), "{said}");
    refused(&folder, &address("127.0.0.1", &known), "not valid for name");
    let (another, _) = Authority::own(folder.path(), 2098);
    refused(&folder, &address("localhost", &another), "invalid peer certificate");
    let (old, with_key) = Authority::own(folder.path(), 2021);
    shows(&with_key);
    refused(&folder, &address("localhost", &old), "certificate expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(&["password_encryption = 'scram-sha-256'"]);
    cluster.run_sql("postgres", &format!("CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'"));
    cluster.run_sql("postgres", "CREATE DATABASE guarded OWNER guarded");
    cluster
        .write("pg_hba.conf", "host all guarded 127.0.0.1/32 scram-sha-256\nhost all posthaste 127.0.0.1/32 trust\n");
    cluster.crash();
    let host = cluster.host();
    refused(&folder, &format!("postgres://guarded:canary@{host}/guarded"), "password authentication failed");
    refused(&folder, &format!("postgres://guarded@{host}/guarded"), "password");
    let right = format!("postgres://guarded:{}@{host}/guarded", PASSWORD.replace(' ', "%20"));
    let elsewhere = format!("postgres://{host}/guarded?user=guarded&password={}", PASSWORD.replace(' ', "%20"));
    for address in [&right, &elsewhere] {
        let (ok, said) = looks(&folder, ENCRYPTION_KEY, address);
        assert!(ok, "{said}");
        let (code, shown) = posthaste(&folder, ENCRYPTION_KEY, &["config", "show", "--database", address]);
        assert!(code == Some(0) && shown.contains("guarded") && !shown.contains("canary"), "{shown}");
    }
    let server = start(Launch::new().on(&right)).await;
    server.api.post("/v1/events", &json!({"event": "alert.rule_created", "data": {}})).await.expect(202);
    assert!(!server.said().contains("canary"), "{}", server.said());
    wait::until("the node to be seen", Duration::from_secs(30), async || {
        let (ok, said) = looks(&folder, ENCRYPTION_KEY, &right);
        (ok && said.contains("the key opens it, 1 nodes live")).then_some(())
    })
    .await;
    assert!(server.terminate().success(), "SIGTERM ends it well");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_must_be_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(&[]);
    let host = cluster.host();
    let sql = |database: &str, sql: &str| cluster.run_sql(database, sql);
    sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    refused(&folder, &cluster.address("latin"), "encoded in LATIN1, and UTF8 is needed");
    // A server that says of itself that it is older.
    sql("postgres", "CREATE DATABASE older");
    sql(
        "older",
        "CREATE FUNCTION current_setting(text) RETURNS text LANGUAGE sql AS $$
             SELECT CASE $1 WHEN 'server_version_num' THEN '140011' WHEN 'server_version' THEN '14.11'
                            ELSE pg_catalog.current_setting($1) END $$",
    );
    let older = format!("{}?options=-csearch_path%3Dpublic%2Cpg_catalog", cluster.address("older"));
    refused(&folder, &older, "the server is PostgreSQL 14.11, and 15 or newer is needed");
    sql("postgres", "CREATE ROLE reader LOGIN");
    sql("postgres", "CREATE DATABASE theirs");
    sql("postgres", "CREATE DATABASE bare");
    refused(
        &folder,
        &format!("postgres://reader@{host}/theirs"),
        "the role has to own the database, or to have USAGE and CREATE",
    );
    let nowhere = format!("postgres://posthaste@{host}/nowhere");
    refused(&folder, &nowhere, "database \"nowhere\" does not exist: make it with createdb");
    sql("postgres", "CREATE DATABASE still");
    sql("postgres", "ALTER DATABASE still SET default_transaction_read_only = on");
    let still = cluster.address("still");
    refused(&folder, &still, "the database takes no writes: it follows another");
    let nobody = format!("postgres://nobody@{host}/theirs");
    refused(&folder, &nobody, "role \"nobody\" does not exist: the address has to name a role that may log in");
    sql("theirs", "CREATE TABLE accounts (id text)");
    let theirs = cluster.address("theirs");
    refused(&folder, &theirs, "tables that are not posthaste's (accounts): name an empty one");
    sql("postgres", "CREATE DATABASE laid_out");
    sql("laid_out", "CREATE TABLE layout (id text)");
    refused(&folder, &cluster.address("laid_out"), "tables that are not posthaste's (layout)");
    assert_eq!(sql("theirs", "SELECT to_regclass('layout') IS NULL"), "t", "nothing was made");
    // A port on which nobody listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    refused(&folder, &format!("postgres://posthaste@{gone}/x"), "refused");

    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name");
    let keyless = || {
        // An empty variable counts as not given.
        let (ok, said) = looks(&folder, "", &database);
        let (code, refused) = posthaste(&folder, "", &["serve", "--listen", "127.0.0.1:0", "--database", &database]);
        assert!(!ok && code == Some(2) && refused.contains("Setting encryption-key"), "{ok} {said} {code:?} {refused}");
        said
    };
    let said = keyless();
    assert!(said.contains("it is empty, and there is no key"), "{said}");
    let server = start(Launch::new().on(&database)).await;
    let said = keyless();
    assert!(said.contains("no key to open it: give POSTHASTE_ENCRYPTION_KEY"), "{said}");
    let other = data_encoding::BASE64.encode(&[9; 32]);
    let (ok, said) = looks(&folder, &other, &database);
    assert!(!ok && said.contains("made with another encryption key"), "{said}");
    // A later release has served it meanwhile: who runs goes on, who starts is told.
    let known: u32 = sql(name, "SELECT number FROM layout").parse().expect("a number");
    let later = known + 1;
    sql(name, &format!("UPDATE layout SET number = {later}"));
    let why =
        format!("has layout {later}, but this release knows layouts up to {known}: start the newer release again");
    refused(&folder, &database, &why);
    server.api.post("/v1/events", &json!({"event": "alert.rule_created", "data": {}})).await.expect(202);
    assert!(server.terminate().success(), "SIGTERM ends it well");

    // A store is moved into none of these, and is served on.
    sql(name, &format!("UPDATE layout SET number = {known}"));
    let embedded = Launch::embedded().environment("POSTHASTE_ENCRYPTION_KEY", ENCRYPTION_KEY);
    assert!(start(embedded.clone()).await.terminate().success(), "SIGTERM ends it well");
    let from = embedded.data().display().to_string();
    let latin = cluster.address("latin");
    let no_move = "no move that is unfinished";
    for (to, code, why, without) in [
        (&database, 5, "the database holds a store already: name an empty one", no_move),
        (&latin, 1, "UTF8 is needed", "UTF8 is needed"),
        (&nowhere, 1, "make it with createdb", "name the one that the move goes into"),
        (&still, 1, "takes no writes", "takes no writes"),
        (&nobody, 1, "name a role that may log in", "name a role that may log in"),
        (&theirs, 1, "not posthaste's (accounts): name an empty one", no_move),
        (&format!("postgres://reader@{host}/bare"), 1, "GRANT", "GRANT"),
    ] {
        let arguments = ["migrate", "--from", &from, "--to", to, "--abandon"];
        for (arguments, why) in [(&arguments[..5], why), (&arguments, without)] {
            let (ended, said) = posthaste(&folder, ENCRYPTION_KEY, arguments);
            assert!(said.contains(why) && !said.contains("un it again"), "{ended:?} {said}");
            assert!(ended == Some(code) || without == no_move && ended == Some(5), "{ended:?} {said}");
        }
    }
    assert!(start(embedded).await.terminate().success(), "SIGTERM ends it well");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_make_one_store() {
    let database = Cluster::shared().database();
    let launches: Vec<Launch> = (0..6).map(|_| Launch::new().on(&database)).collect();
    let starting: Vec<_> = launches.into_iter().map(|launch| tokio::spawn(start(launch))).collect();
    let mut nodes = Vec::new();
    for node in starting {
        nodes.push(node.await.expect("it starts"));
    }
    let made = nodes[0].api.post("/v1/accounts", &json!({"id": "made-by-one"})).await;
    made.expect(201);
    for node in &nodes {
        let body = json!({"account": "made-by-one", "event": "alert.rule_created", "data": {}});
        wait::until("what one made", Duration::from_secs(30), async || {
            (node.api.post("/v1/events", &body).await.status == 202).then_some(())
        })
        .await;
    }
    let name = database.rsplit('/').next().expect("a name");
    let sql = |sql: &str| Cluster::shared().run_sql(name, sql);
    assert_eq!(sql("SELECT count(*) FROM accounts"), "2");
    assert_eq!(sql("SELECT count(DISTINCT account) || ' ' || count(*) FROM events"), "1 6");
}
