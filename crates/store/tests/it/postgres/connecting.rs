//! Connecting: what servers and roles are set up with, and what keeps a node out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::cluster::{Beat, Cluster as _, Report};
use domain::shard::{Holdings, Terms};
use domain::store::Store as _;
use domain::time::Clock as _;
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;
use store::postgres::{Address, Identity, Leases, look, migrate};

use super::support::{Base, Node, eventually};

/// A certificate of version 1, as `openssl req -new | openssl x509 -req -signkey` makes it, and its key: for these tests alone.
const VERSION_1: &str = include_str!("../../fixtures/certificate_v1.pem");

/// Encrypted, whoever's certificate it is: also where nobody could check it.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_version_1_is_anyones() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database();
    cluster.write("server.pem", VERSION_1);
    for line in ["ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.pem'"] {
        cluster.run_sql("postgres", &format!("ALTER SYSTEM SET {line}"));
    }
    for versions in ["TLSv1.3", "TLSv1.2"] {
        cluster.run_sql("postgres", &format!("ALTER SYSTEM SET ssl_max_protocol_version = '{versions}'"));
        cluster.crash();
        for mode in ["prefer", "require"] {
            let address = Address::parse(&format!("{database}?sslmode={mode}")).expect("an address");
            let found = look(&address, None).await.expect("it is connected to");
            assert!(found.encrypted, "{mode} with {versions}");
        }
        let checked = Address::parse(&format!("{database}?sslmode=verify-full")).expect("an address");
        assert!(look(&checked, None).await.is_err(), "whoever asks whose it is does not take it");
    }
}

/// A role whose idle sessions end is heard through one connection all the same.
#[tokio::test(flavor = "multi_thread")]
async fn who_listens_is_not_idle() {
    const HOLD: &str = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%LISTEN posthaste%' AND pid <> pg_backend_pid() ORDER BY pid";
    let cluster = Cluster::start(&["idle_session_timeout = '300ms'"]);
    let database = cluster.database();
    let address = Address::parse(&database).expect("an address");
    migrate(&address, domain::time::Timestamp(1_795_464_000_123_456)).await.expect("it is made");
    let heard = Arc::<AtomicUsize>::default();
    let node = |id, heard: &Arc<AtomicUsize>| {
        let identity = Identity { id, name: format!("node-{id}"), version: "1".to_owned() };
        let terms = Terms::for_deadline(std::time::Duration::from_secs(5));
        let heard = Arc::clone(heard);
        let hear = move |_| {
            heard.fetch_add(1, Ordering::Relaxed);
        };
        Leases::new(&address, identity, terms, Holdings::default(), hear).expect("leases")
    };
    let (_one, other) = (node(1, &heard), node(2, &Arc::default()));
    let listening = || cluster.run_sql("postgres", HOLD);
    let first = eventually(async || Some(listening()).filter(|pids| pids.lines().count() == 2)).await;
    // Until others that are as idle have been ended.
    for _ in 0..3 {
        let (_idle, ends) =
            tokio_postgres::connect(&database, tokio_postgres::NoTls).await.expect("it is connected to");
        assert!(ends.await.is_err(), "the server ends it");
    }
    assert_eq!(listening(), first, "the connections are those of before");
    let beat = Beat { number: 1, want: 1, patient: false, release: Vec::new(), leaving: false };
    other.beat(beat, Report::default()).await.expect("it beats");
    eventually(async || (heard.load(Ordering::Relaxed) > 0).then_some(())).await;
}

/// A search_path that leads nowhere is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_there_is_named() {
    let database = Cluster::shared().database();
    let address = format!("{database}?options=-csearch_path%3Dnowhere%2Celsewhere");
    let address = Address::parse(&address).expect("an address");
    let now = domain::time::Timestamp(1_795_464_000_123_456);
    for refused in [look(&address, None).await.err(), migrate(&address, now).await.err()] {
        let said = refused.expect("it is refused").to_string();
        assert!(said.contains("no schema of its search_path (nowhere,elsewhere) exists"), "{said}");
    }
}

/// A schema that comes first in the role's `search_path` gets no store of its own beside the one that is served, and a node that runs
/// stays where its tables are.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_comes_before_the_tables_is_refused() {
    let (base, clock) = (Base::new(), ManualClock::default());
    let node = Node::start(&base.0, &clock).await;
    let role = base.sql("CREATE SCHEMA \"In Front\"; SELECT current_user").lines().last().expect("a role").to_owned();
    let name = base.0.rsplit('/').next().expect("a name");
    base.sql(&format!("ALTER ROLE {role} IN DATABASE {name} SET search_path = \"In Front\", public"));
    let address = Address::parse(&base.0).expect("an address");
    for refused in [look(&address, None).await.err(), migrate(&address, clock.now()).await.err()] {
        let said = refused.expect("it is refused").to_string();
        assert!(said.contains("lie in the schema public, and In Front comes first"), "{said}");
        assert!(said.contains("options=-csearch_path%3Dpublic"), "{said}");
    }
    assert_eq!(base.sql("SELECT count(*) FROM pg_class WHERE relnamespace = '\"In Front\"'::regnamespace"), "0");
    let meant = Address::parse(&format!("{}?options=-csearch_path%3Dpublic", base.0)).expect("an address");
    assert!(look(&meant, None).await.expect("it can be served").layout.is_some());

    // Its connections are ended, and made anew with what is set now.
    base.sql("CREATE TABLE \"In Front\".events (key bigint); CREATE TABLE \"In Front\".idempotency (key bigint)");
    base.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    ));
    eventually(async || node.store.accept(vec![node.event()]).await.remove(0).ok()).await;
    assert_eq!(
        base.sql("SELECT (SELECT count(*) > 0 FROM public.events), (SELECT count(*) FROM \"In Front\".events)"),
        "t|0"
    );
}

/// Tables that a restore has left with another role.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_role_are_named() {
    let (base, now) = (Base::new(), domain::time::Timestamp(1_795_464_000_123_456));
    migrate(&Address::parse(&base.0).expect("an address"), now).await.expect("it is laid out");
    let name = base.0.rsplit('/').next().expect("a name");
    let role = format!("of_{name}");
    base.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let owner = base.sql("SELECT current_user");
    let theirs = Address::parse(&base.0.replacen(&format!("{owner}@"), &format!("{role}@"), 1)).expect("an address");
    for refused in [look(&theirs, None).await.err(), migrate(&theirs, now).await.err()] {
        let said = refused.expect("it is refused").to_string();
        assert!(said.contains(&format!("belongs to {owner}")) && said.contains(&format!("TO {role}")), "{said}");
    }
    base.sql(&format!("GRANT {owner} TO {role}"));
    look(&theirs, None).await.expect("what its own role owns is its own");
}

/// What keeps a node out is told with the way in.
#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_node_out_says_what_to_do() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database();
    let refused = async |address: &str| {
        let address = Address::parse(address).expect("an address");
        look(&address, None).await.expect_err("it is refused").to_string()
    };
    let said = refused(&format!("{database}?sslmode=require")).await;
    assert!(said.contains("does not support TLS: have it speak TLS (ssl = on)"), "{said}");
    cluster.run_sql("postgres", "CREATE ROLE guarded LOGIN PASSWORD 'it is'; CREATE ROLE few LOGIN CONNECTION LIMIT 0");
    cluster.write("server.pem", VERSION_1);
    for line in
        ["ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.pem'", "ssl_ca_file = 'server.pem'"]
    {
        cluster.run_sql("postgres", &format!("ALTER SYSTEM SET {line}"));
    }
    cluster.write(
        "pg_hba.conf",
        "hostssl all guarded 127.0.0.1/32 scram-sha-256\nhostssl all certified 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 trust\n",
    );
    cluster.crash();
    cluster.run_sql("postgres", "CREATE ROLE certified LOGIN");
    let of = |role: &str| database.replace("posthaste@", &format!("{role}@"));
    let said = refused(&of("guarded")).await;
    assert!(said.contains("asks for a password") && said.contains("role:password@"), "{said}");
    let said = refused(&of("certified")).await;
    assert!(said.contains("client certificate") && said.contains("by a password"), "{said}");
    assert!(!said.contains("with its password"), "{said}");
    let said = refused(&of("few")).await;
    assert!(said.contains("too many connections for role") && said.contains("CONNECTION LIMIT"), "{said}");
}
