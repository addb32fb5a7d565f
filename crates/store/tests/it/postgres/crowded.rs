//! Too few connections: it is said what is lacking, by the look before a start and by a node that lacks them.

use domain::cluster::{Beat, Cluster as _, Report};
use domain::shard::{Holdings, Terms};
use domain::store::{Store as _, StoreError};
use store::conformance::ManualClock;
use store::conformance::cluster::Cluster;
use store::postgres::{Address, Identity, Leases, look};

use super::support::{Node, eventually};

/// A database that a role owns which is no superuser: its name, and its address.
fn of_role(cluster: &Cluster) -> (String, String) {
    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    cluster.run_sql("postgres", "CREATE ROLE few LOGIN");
    cluster.run_sql("postgres", &format!("ALTER DATABASE {name} OWNER TO few"));
    (name, database.replace("posthaste@", "few@"))
}

/// Whoever looks before a start is told which limit is too low.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_too_low_is_seen_before_a_start() {
    let cluster = Cluster::start(&[]);
    let (name, database) = of_role(&cluster);
    let address = Address::parse(&database).expect("an address");
    let short = async || look(&address, None).await.expect("it can be used").short;
    assert_eq!(short().await, None);
    cluster.run_sql("postgres", "ALTER ROLE few CONNECTION LIMIT 4");
    let said = short().await.expect("too few");
    assert!(said.contains("role few may have 4") && said.contains("18"), "{said}");
    cluster.run_sql("postgres", "ALTER ROLE few CONNECTION LIMIT 40");
    cluster.run_sql("postgres", &format!("ALTER DATABASE {name} CONNECTION LIMIT 17"));
    let said = short().await.expect("too few");
    assert!(said.contains(&format!("database {name} may have 17")), "{said}");
    let small = Cluster::start(&["max_connections = 20"]);
    let address = Address::parse(&of_role(&small).1).expect("an address");
    let said = look(&address, None).await.expect("it can be used").short.expect("too few");
    assert!(said.contains("has 17 connections"), "{said}");
}

/// A node that cannot make the connection by which it holds leases is not ready, and says why; it is once it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_leases_for_lack_of_connections_is_not_ready() {
    let cluster = Cluster::start(&[]);
    let (_, database) = of_role(&cluster);
    let node = Node::start(&database, &ManualClock::default()).await;
    // As many as it has: it makes none that it does not need yet.
    assert_eq!(node.store.ready().await, Ok(()));
    cluster.run_sql("postgres", "ALTER ROLE few CONNECTION LIMIT 1");
    let identity = Identity { id: 7, name: "node".to_owned(), version: "1".to_owned() };
    let terms = Terms::for_deadline(std::time::Duration::from_secs(5));
    let leases = Leases::new(&node.address, identity, terms, Holdings::default(), |_| {}).expect("leases");
    let beat = |number| Beat { number, want: 1024, patient: false, release: Vec::new(), leaving: false };
    let refused = leases.beat(beat(1), Report::default()).await;
    assert!(matches!(refused, Err(StoreError::Crowded(_))), "{refused:?}");
    let ready = node.store.ready().await;
    assert!(matches!(ready, Err(StoreError::Crowded(_))), "{ready:?}");
    node.accept().await;
    cluster.run_sql("postgres", "ALTER ROLE few CONNECTION LIMIT -1");
    assert_eq!(leases.beat(beat(2), Report::default()).await.expect("it beats").held.len(), 1024);
    assert_eq!(node.store.ready().await, Ok(()));
    // Its writer lacks one too: it is not the database that is away.
    cluster.run_sql("postgres", "ALTER ROLE few CONNECTION LIMIT 0");
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'few'";
    cluster.run_sql("postgres", end);
    let refused = eventually(async || node.store.ready().await.err()).await;
    let crowded = |error: &StoreError| matches!(error, StoreError::Crowded(_));
    if !crowded(&refused) {
        eventually(async || node.store.ready().await.err().filter(crowded)).await;
    }
    cluster.run_sql("postgres", "ALTER ROLE few CONNECTION LIMIT -1");
    eventually(async || leases.beat(beat(3), Report::default()).await.ok()).await;
    eventually(async || node.store.ready().await.ok()).await;
    node.store.stop().await;
}
