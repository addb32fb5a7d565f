//! Addresses at the borders of every block, and ranges that operators open.

use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn opening(ranges: &[&str]) -> AddressRules {
    AddressRules { opened: ranges.iter().map(|range| range.parse().expect("a range")).collect(), own: Vec::new() }
}

fn check(address: &str, expect: Option<&str>) {
    assert_eq!(AddressRules::default().refusal(ip(address)), expect, "{address}");
}

/// Rows A001–A049 of the table of hostile inputs, and both ends of each block.
#[test]
fn what_is_not_public_is_refused() {
    let refused = "0.0.0.0 0.255.255.255 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1 \
        127.255.255.254 169.254.0.0 169.254.169.254 168.63.129.16 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 \
        192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 \
        198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 \
        ::1 :: ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 ::5efe:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b:1::7f00:1 100::1 \
        100:0:0:1::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:1ff:ffff::1 2001:db8::1 2001:db8:ffff::1 \
        2002:a9fe:a9fe::1 2620:4f:8000::1 3ffe::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fd20:ce::254 \
        fe80::1 fec0::1 ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 1fff:ffff::1 ::ffff:0:7f00:1";
    for address in refused.split_whitespace() {
        assert!(AddressRules::default().refusal(ip(address)).is_some(), "{address}");
    }
}

/// Rows A050–A061, and the neighbours of each block.
#[test]
fn what_is_public_may_be_dialled() {
    let public = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 \
        169.255.0.0 168.63.129.15 168.63.129.17 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.31.195.255 192.31.197.0 \
        192.52.192.255 192.52.194.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 192.175.47.255 192.175.49.0 \
        198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 8.8.8.8 \
        2606:4700:4700::1111 2a00:1450:4001::1 2000::1 2001:200::1 2001:db7:ffff::1 2001:db9::1 2003::1 2620:4f:7fff::1 \
        2620:4f:8001::1 3ffd:ffff::1 3fff:1000::1";
    for address in public.split_whitespace() {
        check(address, None);
    }
}

#[test]
fn the_phrase_names_the_block() {
    check("127.0.0.1", Some("loopback"));
    check("10.0.0.7", Some("private"));
    check("169.254.169.254", Some("cloud metadata"));
    check("fd20:ce::254", Some("cloud metadata"));
    check("2002:a9fe:a9fe::1", Some("cloud metadata"));
    check("255.255.255.255", Some("broadcast"));
    check("2001:0:4136:e378:8000:63bf:3fff:fdd2", Some("Teredo"));
    check("4000::1", Some("not given out for the internet"));
}

#[test]
fn this_machine_is_refused_unless_opened() {
    let mut rules = AddressRules { opened: Vec::new(), own: vec![ip("8.8.4.4"), ip("2a00::1")] };
    assert_eq!(rules.refusal(ip("8.8.4.4")), Some("this machine's own"));
    assert_eq!(rules.refusal(ip("2a00::1")), Some("this machine's own"));
    assert_eq!(rules.refusal(ip("8.8.4.5")), None);
    rules.opened = vec!["8.8.4.4".parse().expect("a range")];
    assert_eq!(rules.refusal(ip("8.8.4.4")), None);
}

/// Rows A062–A064.
#[test]
fn an_opened_range_opens_itself_only() {
    let loopback = opening(&["127.0.0.0/8"]);
    assert_eq!(loopback.refusal(ip("127.0.0.1")), None);
    assert_eq!(loopback.refusal(ip("::ffff:127.0.0.1")), Some("IPv4 in IPv6"));
    assert_eq!(loopback.refusal(ip("::1")), Some("loopback"));
    assert_eq!(opening(&["10.0.0.0/8"]).refusal(ip("127.0.0.1")), Some("loopback"));
}

#[test]
fn metadata_is_opened_by_its_exact_address_only() {
    for (range, address) in [
        ("169.254.0.0/16", "169.254.169.254"),
        ("169.254.169.254/31", "169.254.169.254"),
        ("100.64.0.0/10", "100.100.100.200"),
        ("fd00::/8", "fd00:ec2::254"),
        ("64:ff9b::/96", "64:ff9b::169.254.169.254"),
        ("::ffff:0:0/96", "::ffff:169.254.169.254"),
    ] {
        assert_eq!(opening(&[range]).refusal(ip(address)), Some("cloud metadata"), "{address} in {range}");
        assert_eq!(opening(&[address]).refusal(ip(address)), None, "{address} by itself");
    }
    assert_eq!(opening(&["64:ff9b::/96"]).refusal(ip("64:ff9b::8.8.8.8")), None);
    assert_eq!(opening(&["169.254.0.0/16"]).refusal(ip("169.254.1.1")), None);
}

#[test]
fn loopback_may_be_opened_in_part() {
    for (range, opens) in [
        ("127.0.0.0/8", true),
        ("127.0.0.2", true),
        ("::1", true),
        ("::/64", true),
        ("10.0.0.0/8", false),
        ("fd00::/8", false),
    ] {
        assert_eq!(opening(&[range]).opens_loopback(), opens, "{range}");
    }
    assert!(!AddressRules::default().opens_loopback());
}

#[test]
fn ranges_read_and_write() {
    for (text, written) in [
        ("127.0.0.0/8", "127.0.0.0/8"),
        ("10.0.0.7", "10.0.0.7/32"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("FD00::/8", "fd00::/8"),
    ] {
        assert_eq!(text.parse::<IpRange>().map(|range| range.to_string()), Ok(written.to_owned()));
    }
    for text in ["", "x", "127.0.0.1/", "127.0.0.1/33", "::1/129", "127.0.0.1/+8", "127.1/8", "10.0.0.0/8 ", "::/0000"]
    {
        assert!(text.parse::<IpRange>().is_err(), "{text}");
    }
    let error = "10.0.0.7/8".parse::<IpRange>().expect_err("host bits").to_string();
    assert!(error.contains("write 10.0.0.0/8"), "{error}");
}

/// Row T112.
#[test]
fn opening_the_internet_is_absurd() {
    for (range, absurd) in [
        ("0.0.0.0/0", true),
        ("::/0", true),
        ("0.0.0.0/1", true),
        ("128.0.0.0/2", true),
        ("2000::/3", true),
        ("10.0.0.0/8", false),
        ("8.0.0.0/8", false),
        ("127.0.0.0/8", false),
        ("240.0.0.0/4", false),
        ("fc00::/7", false),
        ("2a00::/16", false),
    ] {
        assert_eq!(range.parse::<IpRange>().expect("a range").is_absurd(), absurd, "{range}");
    }
}

proptest! {
    #[test]
    fn v6_outside_the_global_block_is_refused(bits in any::<u128>()) {
        let address = IpAddr::V6(Ipv6Addr::from_bits(bits));
        if bits >> 125 != 1 {
            prop_assert!(AddressRules::default().refusal(address).is_some());
        }
    }

    #[test]
    fn a_range_holds_what_shares_its_prefix(bits in any::<u32>(), other in any::<u32>(), prefix in 0u8..=32) {
        let start = first(Ipv4Addr::from_bits(bits).into(), prefix);
        let range = IpRange { start, prefix };
        let shared = prefix == 0 || bits >> (32 - u32::from(prefix)) == other >> (32 - u32::from(prefix));
        prop_assert_eq!(range.contains(Ipv4Addr::from_bits(other).into()), shared);
    }

    #[test]
    fn an_opened_v4_range_opens_no_v6_spelling(bits in any::<u32>()) {
        let rules = opening(&["0.0.0.0/0"]);
        let v4 = Ipv4Addr::from_bits(bits);
        prop_assert!(rules.refusal(v4.to_ipv6_mapped().into()).is_some());
        prop_assert!(rules.refusal(v4.to_ipv6_compatible().into()).is_some());
    }
}
