//! URLs that came in: what is taken, how it is stored, and which refusal each other one gets.

use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::attempt::ErrorCode;
use crate::time::Timestamp;
use crate::transport::Look;

fn rules(opened: &str, allow_http: bool) -> UrlRules {
    let opened = opened.split_whitespace().map(|range| range.parse().expect("a range")).collect();
    UrlRules { addresses: AddressRules { opened, own: Vec::new() }, allow_http, own_hosts: Vec::new() }
}

fn judged(text: &str, rules: &UrlRules) -> String {
    match EndpointUrl::parse(text, rules) {
        Ok(url) => url.as_str().to_owned(),
        Err(refusal) => {
            assert_eq!(refusal.pointer, "/url");
            assert!(refusal.detail.len() < 600, "{}", refusal.detail);
            refusal.code.to_owned()
        }
    }
}

fn check(text: &str, expect: &str) {
    assert_eq!(judged(text, &rules("", false)), expect, "{text:?}");
}

/// Rows U001–U035.
#[test]
fn scheme_and_form() {
    for (text, expect) in [
        ("http://example.com/", "url_scheme"),
        ("file:///etc/passwd", "url_scheme"),
        ("gopher://127.0.0.1:6379/_INFO", "url_scheme"),
        ("javascript:alert(1)", "url_scheme"),
        ("unix:///var/run/docker.sock", "url_scheme"),
        ("wss://example.com/", "url_scheme"),
        ("blob:https://example.com/x", "url_scheme"),
        ("view-source:https://example.com/", "url_scheme"),
        ("//example.com/", "url_invalid"),
        ("", "url_invalid"),
        ("https://", "url_invalid"),
        ("https:/example.com/", "url_invalid"),
        ("https:example.com/", "url_invalid"),
        ("https:/127.0.0.1/", "url_invalid"),
        ("https:///example.com/", "url_invalid"),
        ("https://?x", "url_invalid"),
        ("https://:443/", "url_invalid"),
        ("HTTPS://EXAMPLE.COM/", "https://example.com/"),
        ("https:\\\\127.0.0.1/", "url_invalid"),
        ("https://example.com\\@127.0.0.1/", "url_invalid"),
        ("https:/\\example.com/", "url_invalid"),
        ("https://example.com/a\\b", "url_invalid"),
        ("https://example.com/ ", "url_invalid"),
        (" https://example.com/", "url_invalid"),
        ("https://example.com/\t", "url_invalid"),
        ("https://exa\tmple.com/", "url_invalid"),
        ("https://exam\nple.com/", "url_invalid"),
        ("https://example.com/\r\nX-Injected: 1", "url_invalid"),
        ("https://example.com/%0d%0aHost:%20x", "https://example.com/%0d%0aHost:%20x"),
        ("https://example.com\0.evil.com/", "url_invalid"),
        ("https://example.com%0d%0a.evil.com/", "url_host_invalid"),
        ("https://example.com\u{7f}/", "url_invalid"),
        ("https://user:pass@example.com/", "url_userinfo"),
        ("https://example.com@127.0.0.1/", "url_userinfo"),
        ("https://127.0.0.1@example.com/", "url_userinfo"),
        ("https://:@example.com/", "url_userinfo"),
        ("https://user%40x@example.com/", "url_userinfo"),
        ("https://example.com/#x", "url_fragment"),
        ("https://example.com/#", "url_fragment"),
        ("https://example.com#", "url_fragment"),
    ] {
        check(text, expect);
    }
}

/// Rows U036–U051.
#[test]
fn ports() {
    for port in [0, 1, 22, 25, 80, 110, 143, 445, 1023, 6000, 6667, 10080] {
        check(&format!("https://example.com:{port}/"), "url_port");
    }
    for (port, expect) in [
        ("443", "https://example.com/"),
        ("0443", "https://example.com/"),
        ("8443", "https://example.com:8443/"),
        ("6379", "https://example.com:6379/"),
        ("65535", "https://example.com:65535/"),
        ("65536", "url_invalid"),
        ("-1", "url_invalid"),
        ("4a", "url_invalid"),
        ("+443", "url_invalid"),
        ("", "url_invalid"),
        ("443:443", "url_invalid"),
    ] {
        check(&format!("https://example.com:{port}/"), expect);
    }
}

/// Rows U052–U068 and U074–U086.
#[test]
fn hosts() {
    let long_host = format!("https://{}{}com/", "a.".repeat(63), "b.".repeat(64));
    let long_label = format!("https://{}.com/", "a".repeat(64));
    for (text, expect) in [
        ("https://\u{430}pple.com/", "url_host_not_ascii"),
        ("https://fa\u{df}.de/", "url_host_not_ascii"),
        ("https://example\u{3002}com/", "url_host_not_ascii"),
        ("https://ex\u{ad}ample.com/", "url_host_not_ascii"),
        ("https://\u{202e}moc.elpmaxe/", "url_host_not_ascii"),
        ("https://\u{1f600}.com/", "url_host_not_ascii"),
        ("https://xn--a.com/", "url_host_invalid"),
        ("https://xn--zzzzzz-.com/", "url_host_invalid"),
        ("https://xn--.com/", "url_host_invalid"),
        ("https://xn--pple-43d.com/", "https://xn--pple-43d.com/"),
        ("https://XN--MNCHEN-3YA.de/", "https://xn--mnchen-3ya.de/"),
        ("https://example..com/", "url_host_invalid"),
        ("https://example.com../", "url_host_invalid"),
        ("https://example.com./", "url_host_invalid"),
        ("https://example-.com/", "url_host_invalid"),
        ("https://ex_ample.com/", "url_host_invalid"),
        ("https://ex*mple.com/", "url_host_invalid"),
        (&long_label, "url_host_invalid"),
        (&long_host, "url_host_invalid"),
        ("https://single/", "url_host_invalid"),
        ("https://metadata/", "url_host_invalid"),
        ("https://postgres:5432/", "url_host_invalid"),
        ("https://redis:6379/", "url_host_invalid"),
        ("https://LOCALHOST/", "url_host_not_public"),
        ("https://foo.localhost/", "url_host_not_public"),
        ("https://instance-data.ec2.internal/", "url_host_not_public"),
        ("https://kubernetes.default.svc/", "url_host_not_public"),
        ("https://printer.local/", "url_host_not_public"),
        ("https://x.home.arpa/", "url_host_not_public"),
        ("https://x.test/", "url_host_not_public"),
        ("https://x.invalid/", "url_host_not_public"),
        ("https://router.lan/", "url_host_not_public"),
        ("https://x.onion/", "url_host_not_public"),
        ("https://x.example/", "url_host_not_public"),
        ("https://mytest.com/", "https://mytest.com/"),
    ] {
        check(text, expect);
    }
    let refusal = EndpointUrl::parse("https://\u{430}pple.com/", &rules("", false)).expect_err("Cyrillic");
    assert!(refusal.detail.contains("xn--pple-43d.com"), "{}", refusal.detail);
}

/// Rows U069–U073.
#[test]
fn paths() {
    let just_fits = format!("https://example.com/{}", "a".repeat(2_047));
    for (text, expect) in [
        (format!("https://example.com/{}", "a".repeat(2_049)), "url_too_long"),
        (format!("https://example.com/{}", "a".repeat(2_048)), "url_too_long"),
        (just_fits.clone(), just_fits.as_str()),
        (format!("https://example.com/?{}", "a".repeat(1_048_576)), "url_too_long"),
        (format!("https://example.com/{}", "é".repeat(1_000)), "url_too_long"),
        ("https://example.com/../../etc/passwd".into(), "https://example.com/etc/passwd"),
        ("https://example.com".into(), "https://example.com/"),
        ("https://example.com?a=b".into(), "https://example.com/?a=b"),
        ("https://example.com/?".into(), "https://example.com/?"),
        ("https://example.com/%2e%2e/%2f".into(), "https://example.com/%2e%2e/%2f"),
        ("https://example.com/a/./b/../c/.".into(), "https://example.com/a/c/"),
        ("https://example.com/a/..".into(), "https://example.com/"),
        ("https://example.com//a//".into(), "https://example.com//a//"),
        (
            "https://example.com/é\"{x}?q=<é>&a[]=1|2".into(),
            "https://example.com/%C3%A9%22%7Bx%7D?q=%3C%C3%A9%3E&a[]=1|2",
        ),
    ] {
        check(&text, expect);
    }
}

/// Rows U087–U089 and L041.
#[test]
fn opened_ranges_admit_hosts_and_ports() {
    for (text, opened, allow_http, expect) in [
        ("https://localhost:9443/", "127.0.0.0/8", false, "https://localhost:9443/"),
        ("http://localhost:9080/", "127.0.0.0/8", true, "http://localhost:9080/"),
        ("http://localhost:80/", "127.0.0.0/8", true, "http://localhost/"),
        ("http://example.com/", "", true, "http://example.com/"),
        ("http://localhost:9080/", "127.0.0.0/8", false, "url_scheme"),
        ("https://localhost:9443/", "10.0.0.0/8", false, "url_host_not_public"),
        ("https://a.localhost:22/", "::1", false, "https://a.localhost:22/"),
        ("https://127.0.0.1:9443/", "127.0.0.0/8", false, "https://127.0.0.1:9443/"),
        ("https://127.0.0.1:22/", "127.0.0.0/8", false, "https://127.0.0.1:22/"),
        ("https://127.0.0.1:0/", "127.0.0.0/8", false, "url_port"),
        ("https://127.1/", "127.0.0.0/8", false, "url_ip_literal"),
        ("https://[0:0::1]:9443/", "::1", false, "https://[::1]:9443/"),
        ("https://[::1]/", "127.0.0.0/8", false, "url_ip_literal"),
        ("https://10.0.0.1/", "127.0.0.0/8", false, "url_ip_literal"),
        ("https://169.254.169.254/", "169.254.0.0/16", false, "url_ip_literal"),
        ("https://x.test:22/", "127.0.0.0/8", false, "https://x.test:22/"),
        ("https://example.com:22/", "127.0.0.0/8", false, "url_port"),
        ("https://single/", "127.0.0.0/8", false, "url_host_invalid"),
    ] {
        assert_eq!(judged(text, &rules(opened, allow_http)), expect, "{text} with {opened}");
    }
}

/// Rows L001–L040.
#[test]
fn addresses_in_all_spellings() {
    let literals = "127.0.0.1 0x7f000001 017700000001 00000000177.0.0.1 0x7f.0.0.1 127.1 127.0.1 0x0 0.0.0.0 0xA9FEA9FE \
        2852039166 0251.0376.0251.0376 10.0.0.1 100.100.100.200 127.0.0.1. 256.0.0.1 4294967296 08.08.08.08 1.2.3 0x \
        [::1] [::] [::ffff:7f00:1] [0:0:0:0:0:ffff:a9fe:a9fe] [::ffff:0:7f00:1] [::5efe:7f00:1] [64:ff9b:1::7f00:1] \
        [2002:7f00:1::1] [fd00:ec2::254] [2606:4700:4700::1111] 8.8.8.8 a.1";
    for literal in literals.split_whitespace() {
        check(&format!("https://{literal}/"), "url_ip_literal");
    }
    for host in [
        "\u{2460}\u{2461}\u{2466}.\u{24ea}.\u{24ea}.\u{2460}",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "\u{661}\u{662}\u{667}.0.0.1",
    ] {
        check(&format!("https://{host}/"), "url_host_not_ascii");
    }
    for host in ["127%2e0%2e0%2e1", "%6c%6f%63%61%6c%68%6f%73%74"] {
        check(&format!("https://{host}/"), "url_host_invalid");
    }
    for host in ["[fe80::1%eth0]", "[v1.fe80]", "[::1]:443.evil.com", "::1", "[127.0.0.1]", "[::1", "[::1]x", "[]"] {
        check(&format!("https://{host}/"), "url_invalid");
    }
}

#[test]
fn the_service_itself_is_no_receiver() {
    let mut rules = rules("", false);
    rules.own_hosts = vec!["hooks.acme.com".into()];
    assert_eq!(judged("https://HOOKS.acme.com/x", &rules), "url_host_self");
    assert_eq!(judged("https://acme.com/x", &rules), "https://acme.com/x");
}

#[test]
fn parts_are_at_hand() {
    let url = EndpointUrl::parse("HTTPS://Hooks.Example.com:8443/a?b", &rules("", false)).expect("a URL");
    assert_eq!((url.https(), url.port(), url.authority()), (true, 8443, "hooks.example.com:8443"));
    assert_eq!((url.origin(), url.path_and_query()), ("https://hooks.example.com:8443", "/a?b"));
    assert_eq!(*url.host(), HostName::Name("hooks.example.com".into()));
    let url = EndpointUrl::parse("http://[::1]:80", &rules("::1", true)).expect("a URL");
    assert_eq!((url.https(), url.port(), url.authority(), url.path_and_query()), (false, 80, "[::1]", "/"));
}

#[test]
fn secrets_in_a_url_are_not_repeated() {
    let refusal = EndpointUrl::parse("https://user:hunter2@example.com/", &rules("", false)).expect_err("userinfo");
    assert!(!refusal.detail.contains("hunter2"));
}

/// A name server of its own, with 127.0.0.0/8 opened.
struct Opened(AddressRules);

#[async_trait]
impl Names for Opened {
    async fn resolve(&self, _: &str, _: Duration) -> Result<Vec<IpAddr>, ErrorCode> {
        Err(ErrorCode::DnsFailed)
    }

    fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        self.0.refusal(address)
    }

    fn opened(&self, address: IpAddr) -> bool {
        self.0.opens(address)
    }

    async fn look(&self, url: &EndpointUrl, _: &[(String, String)], _: Duration) -> Look {
        unreachable!("nobody looks at {url}")
    }

    fn certificate_ends_at(&self, _: &EndpointUrl) -> Option<Timestamp> {
        None
    }
}

#[test]
fn what_a_name_resolves_to_is_judged() {
    let rules = rules("127.0.0.0/8", false);
    let names = Opened(rules.addresses.clone());
    for (host, addresses, expect) in [
        ("example.com", "8.8.8.8", "ok"),
        ("example.com", "", "ok"),
        ("example.com", "127.0.0.1", "ok"),
        ("example.com", "8.8.8.8 10.0.0.1", "url_private_address"),
        ("x.test", "", "url_host_not_public"),
        ("x.test", "8.8.8.8", "url_host_not_public"),
        ("x.test", "127.0.0.1", "ok"),
        ("x.test", "127.0.0.1 10.0.0.1", "url_host_not_public"),
        ("localhost", "", "ok"),
        ("127.0.0.1", "", "ok"),
    ] {
        let url = EndpointUrl::parse(&format!("https://{host}/"), &rules).expect("a URL");
        let addresses: Vec<IpAddr> = addresses.split_whitespace().map(|ip| ip.parse().expect("an address")).collect();
        let found = url.judge_addresses(&addresses, &names).map_or_else(|refusal| refusal.code, |()| "ok");
        assert_eq!(found, expect, "{host} at {addresses:?}");
    }
}

proptest! {
    /// What is taken reads back as it is stored, and another parser sees the same host and port in it.
    #[test]
    fn the_stored_form_is_stable(text in "(https?|HTTPS)://[a-z0-9.\\-\\[\\]:@%]{1,30}(/[ -~é]{0,30})?") {
        let rules = rules("127.0.0.0/8 ::1", true);
        if let Ok(url) = EndpointUrl::parse(&text, &rules) {
            prop_assert_eq!(EndpointUrl::stored(url.as_str()), Ok(url.clone()));
            prop_assert_eq!(EndpointUrl::parse(url.as_str(), &rules), Ok(url.clone()));
            let other = url::Url::parse(&text).expect("another parser reads it, too");
            prop_assert_eq!(other.host_str().map(str::to_owned), Some(url.host().to_string()));
            prop_assert_eq!(other.port_or_known_default(), Some(url.port()));
        }
    }

    #[test]
    fn nothing_makes_it_panic(text in any::<String>()) {
        let _ = EndpointUrl::parse(&text, &rules("", false));
        let _ = EndpointUrl::parse(&format!("https://{text}"), &rules("127.0.0.0/8", true));
        let _ = EndpointUrl::stored(&text);
    }
}
