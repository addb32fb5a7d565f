//! Starting: many nodes at once, and what is refused.

use domain::time::Timestamp;
use store::conformance::cluster::Cluster;
use store::postgres::{Address, OpenError, migrate};

const NOW: Timestamp = Timestamp(1_795_464_000_123_456);

/// Nodes that start at once on an empty database find one set of tables, and a later layout is refused.
#[tokio::test(flavor = "multi_thread")]
async fn many_start_at_once() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let address = Address::parse(&database).expect("an address");
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move { migrate(&address, NOW).await })
        })
        .collect();
    for node in nodes {
        node.await.expect("it does not panic").expect("it starts");
    }
    let name = database.rsplit('/').next().expect("a name");
    let days = cluster.run_sql(name, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass");
    assert_eq!(days, "4");
    cluster.run_sql(name, "UPDATE layout SET number = 99");
    let refused = migrate(&address, NOW).await;
    assert!(matches!(refused, Err(OpenError::Newer { found: 99, .. })), "{refused:?}");
}

/// A database as the first layout has it is brought to the present one, and what it holds is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_first_layout_is_brought_up() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let name = database.rsplit('/').next().expect("a name");
    let first = include_str!("../../../src/postgres/schema_1.sql");
    let layout = "CREATE TABLE layout (one boolean PRIMARY KEY DEFAULT true CHECK (one), number integer NOT NULL);
                  INSERT INTO layout (number) VALUES (1);";
    cluster.run_sql(name, &format!("{first}\n{layout}\nINSERT INTO slots VALUES (7, 9);"));
    let address = Address::parse(&database).expect("an address");
    migrate(&address, NOW).await.expect("it is brought up");
    let found = cluster.run_sql(
        name,
        "SELECT number FROM layout; SELECT count(*) FROM leases; SELECT reserved FROM slots; SELECT count(*) FROM chronicle",
    );
    assert_eq!(found.lines().collect::<Vec<_>>(), ["3", "1024", "9", "0"]);
}
