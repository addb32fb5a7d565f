//! Group A: addresses in DNS answers at delivery time. The name was public when the webhook was made.

use std::net::IpAddr;

use domain::address::AddressRules;

use super::seen::{Played, Seen};
use super::stage::{Stage, two_receivers};
use crate::dns::Script as Names;
use crate::receiver::status;
use crate::room::{Room, start};
use crate::table::Row;

/// A public address that stands for the operator's own in the list of source addresses. It is never dialled: a socket
/// bound to loopback cannot reach it.
const OWN_PUBLIC: &str = "11.22.33.44";

pub(super) async fn play(stage: &Stage, row: &Row) -> Played {
    if row.expected == ["accept"] {
        return classified(row).into();
    }
    if row.id == "A042" {
        return own_addresses(stage, row).await;
    }
    // The table's public address is an opened one of loopback, so that nothing leaves the machine.
    let addresses: Vec<String> = row
        .text()
        .split(' ')
        .map(|text| if text == "8.8.8.8" { "127.0.0.2".to_owned() } else { text.to_owned() })
        .collect();
    let room = stage.room(row).await;
    judged(stage, &room, &addresses.join(" ")).await.into()
}

/// What the classifier says; nothing is sent.
fn classified(row: &Row) -> Seen {
    let address: IpAddr = row.text().parse().expect("an address");
    match AddressRules::default().refusal(address) {
        None => Seen::word("accept"),
        Some(why) => Seen::word(format!("refused as {why}")),
    }
}

/// One delivery to a name that has come to lead to `addresses` since its webhook was made.
async fn judged(stage: &Stage, room: &Room, addresses: &str) -> Seen {
    let (public, private) = two_receivers(&stage.tls, status(200)).await;
    let name = format!("{}.example.com", room.account);
    // Not yet: every server takes a name that does not resolve.
    stage.dns.set(&name, Names::always(crate::dns::Say::Code(3)));
    room.webhook(&format!("https://{name}:{}/", public.port())).await;
    stage.dns.set(&name, Names::addresses(addresses));
    let event = room.post("").await;
    let attempt = room.attempted(&event, 1).await["attempts"][0].clone();
    let mut seen = Seen::attempt(&attempt);
    if seen.fits("delivered") {
        return seen;
    }
    seen.must(public.connections() + private.connections() == 0, "it was dialled");
    let told = attempt["error"]["message"].as_str().unwrap_or_default();
    let named = |address: &str| told.contains(&address.parse::<IpAddr>().expect("an address").to_string());
    seen.must(addresses.split(' ').any(named), format!("the message names no address: {told}"));
    seen
}

/// The addresses of this machine's own interfaces, and of `--egress-ip`.
async fn own_addresses(stage: &Stage, row: &Row) -> Played {
    let own = if_addrs::get_if_addrs().expect("the system lists its interfaces");
    let own: Vec<IpAddr> = own.iter().map(if_addrs::Interface::ip).filter(|address| !address.is_loopback()).collect();
    let room = stage.room(row).await;
    let mut seen = Seen::word("attempt_error:address_blocked");
    for (place, address) in own.iter().enumerate() {
        let room = Room::open(&room.api, &format!("a042-{place}")).await;
        seen = seen.and(judged(stage, &room, &address.to_string()).await);
    }
    let server = start(stage.launch().flag("--egress-ip", format!("127.0.0.2={OWN_PUBLIC}"))).await;
    let room = Room::open(&server.api, "a042-egress").await;
    seen.and(judged(stage, &room, OWN_PUBLIC).await).into()
}
