//! The Compose file for three nodes, as far as it can be held against the binary without containers: what it gives to each of them
//! starts a node, and the three share the work.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use store::conformance::cluster::Cluster;

use crate::api::Api;
use crate::server::{ENCRYPTION_KEY, PLATFORM_KEY, READY};
use crate::wait;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a key of the file holds: the rest of its line, and the lines below that are further in.
fn below<'a>(text: &'a str, key: &str) -> (&'a str, Vec<&'a str>) {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| !line.trim_start().starts_with(&format!("{key}:")));
    let first = lines.next().unwrap_or_else(|| panic!("there is no {key}"));
    let inner = lines.take_while(|line| depth(line) > depth(first)).collect();
    (first.split_once(':').expect("a colon").1.trim(), inner)
}

fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap_or_else(|error| panic!("{list}: {error}"))
}

/// The environment of a node: the image's, and over it what the file gives, with our keys for what it asks for.
fn environment(compose: &str) -> BTreeMap<String, String> {
    let image = read("Dockerfile").replace("\\\n", " ");
    let of_image = image.lines().filter_map(|line| line.strip_prefix("ENV ")).flat_map(str::split_whitespace);
    let mut all: BTreeMap<String, String> = of_image
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let (_, node) = below(compose, "x-node");
    for line in below(&node.join("\n"), "environment").1 {
        let (name, value) = line.trim().split_once(": ").expect("a variable");
        let value = match value.strip_prefix("${") {
            // `:?` has the start refused unless it is given.
            Some(asked) if asked.contains(":?") => match name {
                "POSTHASTE_PLATFORM_KEY" => PLATFORM_KEY,
                "POSTHASTE_ENCRYPTION_KEY" => ENCRYPTION_KEY,
                other => panic!("who gives {other}?"),
            },
            Some(_) => panic!("{name} may be empty"),
            None => value,
        };
        all.insert(name.to_owned(), value.to_owned());
    }
    all
}

struct Node(Child);

impl Node {
    /// Where it listens, once it says so.
    fn address(&mut self) -> SocketAddr {
        let said = BufReader::new(self.0.stdout.take().expect("it is piped"));
        let mut lines = said.lines().map(|line| line.expect("text"));
        let address = lines.find_map(|line| Some(line.split_once(READY)?.1.to_owned()));
        address.expect("it has not ended").parse().expect("an address")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_compose_file_gives_to_its_nodes_starts_them() {
    let compose = read("compose.yml");
    let mut given = environment(&compose);
    // The database is where the file says, with the name and as the user that it makes.
    let (_, services) = below(&compose, "services");
    let services = services.join("\n");
    let database = below(&services, "database").1.join("\n");
    let made = |name: &str| below(&database, name).0.to_owned();
    let url = given["POSTHASTE_DATABASE"].clone();
    let (user, password) = (made("POSTGRES_USER"), made("POSTGRES_PASSWORD"));
    // The image of the database gives it the user's name.
    assert_eq!(url, format!("postgres://{user}:{password}@database/{user}"));
    let cluster = Cluster::shared();
    let own = cluster.database();
    given.insert("POSTHASTE_DATABASE".to_owned(), own.replace("posthaste@", &format!("{user}:{password}@")));
    assert!(given["POSTHASTE_LISTEN"].ends_with(":8400"));

    let (_, node) = below(&compose, "x-node");
    let node = node.join("\n");
    let mut line = words(below(&node, "entrypoint").0);
    line.extend(words(below(&node, "command").0));
    assert_eq!(line.iter().filter(|word| *word == "posthaste").count(), 1, "{line:?}");
    for word in &mut line {
        if word == "posthaste" {
            *word = env!("CARGO_BIN_EXE_posthaste").to_owned();
        }
    }
    let names: Vec<&str> = services.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':')).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.starts_with(' ') && *name != "database").collect();
    assert_eq!(names, ["a", "b", "c"]);
    // Each takes a free port by itself: one that was free a moment ago may be another test's by now.
    given.insert("POSTHASTE_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
    let (folder, mut nodes) = (tempfile::tempdir().expect("a folder"), Vec::new());
    for name in names {
        let service = below(&services, name).1.join("\n");
        assert!(service.contains("<<: *node"), "{service}");
        let ports = words(below(&service, "ports").0);
        assert!(ports[0].ends_with(":8400"), "{ports:?}");
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).current_dir(folder.path()).env_clear().envs(&given);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        nodes.push(Node(child.expect("it starts")));
    }
    let addresses: Vec<SocketAddr> = nodes.iter_mut().map(Node::address).collect();
    let healthy = format!("http://{}", addresses[0]);
    for address in addresses {
        let api = Api::new(address, PLATFORM_KEY);
        wait::until("three nodes that share every shard", Duration::from_secs(60), async || {
            let reply = api.try_send("GET", "/v1/cluster", &[], b"").await.ok().filter(|reply| reply.status == 200)?;
            let found = reply.json();
            let living = found["nodes"].as_array()?.iter().filter(|node| node["status"] == "live").count();
            (living == 3 && found["free"] == 0).then_some(())
        })
        .await;
    }
    // What the image asks to know whether it is well.
    let health = words(
        read("Dockerfile")
            .lines()
            .find_map(|line| line.trim().strip_prefix("CMD ").filter(|it| it.contains("ready")))
            .expect("a check"),
    );
    let asked: Vec<String> = health[1..].iter().map(|word| word.replace("http://127.0.0.1:8400", &healthy)).collect();
    let asked = Command::new(env!("CARGO_BIN_EXE_posthaste")).args(asked).env_clear().status().expect("it runs");
    assert!(asked.success(), "{asked}");
}
