//! Group N: what a name server can do to us.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::seen::{Played, Seen};
use super::stage::{Stage, two_receivers};
use crate::dns::{A, AAAA, Dns, Record, Say, Script, addresses};
use crate::receiver::status;
use crate::room::{Room, attempt, start};
use crate::table::Row;
use crate::wait;

const NXDOMAIN: u8 = 3;

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    let name = if row.id == "N016" {
        "localtest.me".to_owned()
    } else {
        format!("{}.example.com", row.id.to_ascii_lowercase())
    };
    let script = match row.id.as_str() {
        "N001" => return rebinding(stage, row, &name).await.into(),
        "N013" => return without_tcp(stage, row, &name).await.into(),
        "N017" => return hosts_file(stage, row).await,
        "N019" => return kept_connection(stage, row, &name).await.into(),
        "N020" | "N021" => return at_creation(stage, row, &name).await.into(),
        "N022" => return proxy_variables(stage, row).await.into(),
        _ => script(row),
    };
    let receiver = stage.receiver(status(200)).await;
    let room = stage.room(row).await;
    let url = format!("https://{name}:{}/", receiver.port());
    stage.dns.set(&name, Script::always(Say::Code(NXDOMAIN)));
    room.webhook(&url).await;
    stage.dns.set(&name, script);
    let event = room.post("").await;
    let delivery = room.attempted(&event, 1).await;
    let mut seen = Seen::attempt(&delivery["attempts"][0]);
    seen.must(
        seen.fits("delivered") == (receiver.connections() == 1),
        format!("{} connections", receiver.connections()),
    );
    match row.id.as_str() {
        "N006" => {
            let took = delivery["attempts"][0]["duration_ms"].as_f64().unwrap_or(f64::MAX);
            let ended = seen.in_time(took <= 2_000.0);
            seen.must(ended, format!("it took {took} ms"));
        }
        "N007" => seen.must(delivery["next_attempt_at"].is_string(), "no retry is planned"),
        "N011" => {
            let dns = delivery["attempts"][0]["timing"]["dns"].as_f64().unwrap_or_default();
            seen.must(dns >= 900.0, format!("the look-up is said to have taken {dns} ms"));
        }
        "N018" => {
            let again = room.post("").await;
            seen = seen.and(Seen::attempt(&room.attempted(&again, 1).await["attempts"][0]));
        }
        _ => {}
    }
    seen.into()
}

/// What the name server does in the rows that differ by that alone. The table's public address is an opened one.
fn script(row: &Row) -> Script {
    let public = || addresses("127.0.0.2");
    let alias = |name: &str, rest: &str| {
        let mut records = vec![Record::Alias(name.to_owned())];
        records.extend(addresses(rest));
        Say::Records(records)
    };
    let slow = |seconds| Script { delay: Duration::from_secs(seconds), ..Script::addresses("127.0.0.2") };
    Script::always(match row.id.as_str() {
        "N002" => Say::Records(addresses("127.0.0.2 127.0.0.1")),
        "N003" => Say::Records(addresses("127.0.0.2 ::1")),
        "N004" => alias("metadata.google.internal", "169.254.169.254"),
        "N005" => alias("localhost", ""),
        "N006" => {
            let mut records: Vec<Record> = (0..20).map(|n| Record::Alias(format!("c{n}.n006.example.com"))).collect();
            records.extend(public());
            Say::Records(records)
        }
        "N007" => Say::Code(NXDOMAIN),
        "N008" => Say::Code(2),
        "N009" => Say::Code(5),
        "N010" => return slow(6),
        "N011" => return slow(1),
        "N012" => {
            let many: String = (0..999).map(|n| format!("127.1.{}.{} ", n / 250, n % 250)).collect();
            Say::Records(addresses(&format!("{many}10.0.0.1")))
        }
        "N014" => Say::OtherName(public()),
        "N015" => Say::WrongIdFirst(addresses("127.0.0.1"), public()),
        "N016" => Say::Records(addresses("127.0.0.1")),
        "N018" => {
            let both = [addresses("127.0.0.2 127.1.0.1"), addresses("127.1.0.1 127.0.0.2")];
            return Script { say: both.map(Say::Records).to_vec(), ..Script::addresses("") };
        }
        other => panic!("no script for {other}"),
    })
}

/// N001: the second look-up would give another address.
async fn rebinding(stage: &Stage, row: &Row, name: &str) -> Seen {
    let (public, private) = two_receivers(&stage.tls, status(200)).await;
    let room = stage.room(row).await;
    room.webhook(&format!("https://{name}:{}/", public.port())).await;
    let first = Say::Records(addresses("127.0.0.2"));
    stage.dns.set(name, Script { say: vec![first, Say::Records(addresses("127.0.0.1"))], ..Script::addresses("") });
    let event = room.post("").await;
    let attempt = room.attempted(&event, 1).await["attempts"][0].clone();
    let asked = (stage.dns.asked(name, A), stage.dns.asked(name, AAAA));
    let mut seen =
        Seen::attempt(&attempt).check("one_lookup", asked.0 == 1 && asked.1 <= 1, format!("asked {asked:?} times"));
    seen.must(private.connections() == 0, "127.0.0.1 was dialled");
    seen.must(seen.fits("delivered") && public.requests().len() == 1, "not delivered to the checked address");
    seen
}

/// N013: the answer does not fit, and over TCP nobody listens.
async fn without_tcp(stage: &Stage, row: &Row, name: &str) -> Seen {
    let dns = Dns::start_without_tcp().await;
    dns.set(name, Script::always(Say::Truncated(Vec::new())));
    let server = start(stage.launch_asking(&dns)).await;
    let room = Room::open(&server.api, &row.id.to_ascii_lowercase()).await;
    Seen::attempt(&attempt(&room, &format!("https://{name}/")).await.1)
}

/// N017: a name that the hosts file knows, and no name server. In a name space of its own, so that no file is changed.
async fn hosts_file(stage: &Stage, row: &Row) -> Played {
    const NAME: &str = "victim.example.com";
    let (_, private) = two_receivers(&stage.tls, status(200)).await;
    let launch = stage.launch().flag("--allow-private", "127.0.0.0/8");
    let hosts = launch.folder().join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 {NAME}\n")).expect("the file is written");
    let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"];
    let probe = Command::new(wrapper[0]).args(&wrapper[1..]).args(["grep", NAME, "/etc/hosts"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return Played::left_out("this machine gives no mount name space, in which the hosts file could be another");
    }
    stage.dns.set(NAME, Script::always(Say::Code(NXDOMAIN)));
    let server = start(launch.under(&wrapper)).await;
    let room = Room::open(&server.api, &row.id.to_ascii_lowercase()).await;
    let seen = Seen::attempt(&attempt(&room, &format!("https://{NAME}:{}/", private.port())).await.1);
    let ignored = seen.fits("attempt_error:dns_not_found") && private.connections() == 0;
    seen.check("ignored", ignored, "the hosts file was read").into()
}

/// N019: a kept connection to an address that the name no longer leads to. The answer may be kept for longer than that.
async fn kept_connection(stage: &Stage, row: &Row, name: &str) -> Seen {
    let receiver = stage.receiver(status(500)).await;
    let room = stage.room(row).await;
    stage.dns.set(name, Script { ttl: 600, ..Script::addresses("127.0.0.2") });
    let more = json!({"retry_schedule": ["61s"]});
    room.try_webhook(&format!("https://{name}:{}/", receiver.port()), more).await.expect(201);
    let (mut event, mut reached) = (String::new(), false);
    // Beside all others an attempt may run out of time before it is sent.
    for _ in 0..5 {
        event = room.post("").await;
        let first = room.attempted(&event, 1).await["attempts"][0].clone();
        reached = Seen::attempt(&first).fits("attempt_error:http_5xx");
        if reached {
            break;
        }
    }
    stage.dns.set(name, Script::addresses("10.0.0.1"));
    // Longer than others wait for an attempt: the schedule of this one is a minute.
    let path = room.path(&format!("events/{event}"));
    wait::until("the second attempt", Duration::from_secs(90), async || {
        let made = room.api.get(&path).await.expect(200)["deliveries"][0]["attempts_made"].as_u64();
        (made >= Some(2)).then_some(())
    })
    .await;
    let mut seen = Seen::attempt(&room.attempted(&event, 2).await["attempts"][1]);
    seen.must(reached, "the first attempt did not reach the receiver");
    seen.must(receiver.requests().len() == 1, "the kept connection was used again");
    seen
}

/// N020, N021: what the name server does when the webhook is made is no reason to refuse it.
async fn at_creation(stage: &Stage, row: &Row, name: &str) -> Seen {
    let say = if row.id == "N020" { Say::Code(NXDOMAIN) } else { Say::Silence };
    stage.dns.set(name, Script::always(say));
    let room = stage.room(row).await;
    let began = Instant::now();
    let created = room.try_webhook(&format!("https://{name}/"), Value::Object(serde_json::Map::new())).await;
    let took = began.elapsed();
    let mut seen = Seen::reply(&created);
    let answered = seen.in_time(took <= Duration::from_millis(2_500));
    seen.must(answered, format!("it took {took:?}"));
    if row.id == "N020" {
        let checked = room.api.post(&room.path("url-check"), &json!({"url": format!("https://{name}/")})).await;
        seen.must(
            checked.status == 200 && checked.text().contains("dns_not_found"),
            format!("the URL check says {}", checked.text()),
        );
    }
    seen
}

/// N022: every server here has the variables.
async fn proxy_variables(stage: &Stage, row: &Row) -> Seen {
    let receiver = stage.receiver(status(200)).await;
    let room = stage.room(row).await;
    let (_, attempt) = attempt(&room, &format!("https://n022.example.com:{}/", receiver.port())).await;
    let seen = Seen::attempt(&attempt);
    let direct = seen.fits("delivered") && receiver.requests().len() == 1;
    seen.check("ignored", direct && stage.proxy.connections() == 0, "the proxy was asked")
}
