//! The list of settings: names, defaults and what each does. Flags, environment, file, `config show` and the guide all
//! follow it.

/// How a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One text.
    One,
    /// Several, by commas or by giving it again.
    List,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
    /// One text that is never shown, and is taken from the environment or a file, not from the command line.
    Secret,
}

/// For what the settings are resolved: the defaults differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `posthaste serve`.
    Serve,
    /// `posthaste dev`.
    Dev,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Its name: the flag without `--`, the key in `posthaste.toml`.
    pub(crate) name: &'static str,
    /// How it is written.
    pub(crate) kind: Kind,
    /// The placeholder in help.
    pub(crate) value: &'static str,
    /// The default of `serve`; empty for none.
    pub(crate) default: &'static str,
    /// The default of `dev`, where it is another.
    pub(crate) dev: Option<&'static str>,
    /// What it does, in one line.
    pub(crate) help: &'static str,
}

impl Setting {
    /// The environment variable that gives it.
    pub(crate) fn variable(&self) -> String {
        format!("POSTHASTE_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The default in `mode`; empty for none.
    pub(crate) fn default_in(&self, mode: Mode) -> &'static str {
        match mode {
            Mode::Serve => self.default,
            Mode::Dev => self.dev.unwrap_or(self.default),
        }
    }
}

const fn one(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, kind: Kind::One, value, default, dev: None, help }
}

const fn list(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { kind: Kind::List, ..one(name, value, default, help) }
}

const fn secret(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting { kind: Kind::Secret, ..one(name, value, "", help) }
}

const fn in_dev(setting: Setting, default: &'static str) -> Setting {
    Setting { dev: Some(default), ..setting }
}

/// Every setting, in the order in which they are shown.
pub(crate) const SETTINGS: &[Setting] = &[
    one("listen", "ADDR:PORT", "127.0.0.1:8400", "Where the API listens; port 0 takes any free one"),
    in_dev(one("data", "DIR", "", "Where the embedded store keeps everything"), ".posthaste"),
    one("database", "URL", "", "PostgreSQL instead of the embedded store: postgres://user@host/database"),
    secret("platform-key", "KEY", "The platform key to accept; otherwise one is made at first start and printed once"),
    secret("encryption-key", "BASE64", "32 bytes that encrypt secrets at rest; otherwise one is made beside the data"),
    in_dev(list("retry-schedule", "SPANS", "30s,2m,10m,1h,6h", "Delays between attempts"), "2s,5s,15s,30s,1m"),
    one("timeout", "SPAN", "5s", "Deadline of an attempt, at most 30s"),
    in_dev(one("jitter", "SHARE", "0.1", "Largest share of a delay that is added to it, 0 to 1"), "0"),
    in_dev(
        list("allow-private", "RANGES", "", "Ranges that are not public, opened for webhooks"),
        "127.0.0.0/8,::1/128",
    ),
    in_dev(
        Setting { kind: Kind::Switch, ..one("allow-http", "BOOL", "false", "Whether http:// URLs are allowed") },
        "true",
    ),
    list("trust-ca", "FILE", "", "PEM files of root certificates trusted besides the system's"),
    one("resolver", "ADDR:PORT", "", "DNS server to ask instead of the system's"),
    one("metrics-listen", "ADDR:PORT", "", "Where /metrics is open without a key"),
    list("egress-ip", "BIND[=PUBLIC]", "", "Source addresses of requests, and how they look from outside"),
    one("retention", "SPAN", "30d", "For how long ended deliveries are kept"),
    one("retention-size", "SIZE", "", "How much is kept, such as 50GiB: the oldest that has ended goes first"),
    one("max-in-flight", "COUNT", "10", "Requests in flight per webhook at most, 1 to 1000"),
    one(
        "events-per-second",
        "COUNT",
        "",
        "Events per second of one account at most, 1 to 1000000; no limit unless given",
    ),
    one("webhooks-per-account", "COUNT", "1000", "Webhooks of one account at most, 1 to 1024"),
    one("pause-after", "SPAN", "5d", "For how long every attempt must fail for a webhook to be paused"),
    one(
        "replay-failures",
        "COUNT",
        "20",
        "After how many failures in a row a replay in bulk pauses itself, 1 to 10000",
    ),
    one("brand", "NAME", "CronDB", "The platform's name: in User-Agent and in texts"),
    one("header-prefix", "PREFIX", "", "What our headers start with; X- and the brand unless given"),
    one("catalogue", "FILE", "", "Event types added to the built-in ones, or in their place"),
    one("public-url", "URL", "", "How this server is reached from outside; webhooks may not lead there"),
    list("trusted-proxy", "RANGES", "", "Proxies whose X-Forwarded-For and -Proto are believed"),
    list("portal-origin", "ORIGINS", "", "Origins that may frame the portal"),
    one("otlp-endpoint", "URL", "", "Collector that traces go to, in a build with the feature otel"),
    one("log-format", "FORMAT", "text", "text or json"),
    in_dev(
        one("log", "FILTER", "info", "What is logged: error, warn, info, debug or trace, per module if need be"),
        "warn",
    ),
];

/// The setting of this name.
pub(crate) fn named(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_settings() {
        let table: Vec<String> = SETTINGS
            .iter()
            .map(|s| {
                let dev = s.dev.map_or(String::new(), |dev| format!(" (dev {dev})"));
                format!("{} {:?} {}={:?}{dev}", s.variable(), s.kind, s.value, s.default)
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r#"
        POSTHASTE_LISTEN One ADDR:PORT="127.0.0.1:8400"
        POSTHASTE_DATA One DIR="" (dev .posthaste)
        POSTHASTE_DATABASE One URL=""
        POSTHASTE_PLATFORM_KEY Secret KEY=""
        POSTHASTE_ENCRYPTION_KEY Secret BASE64=""
        POSTHASTE_RETRY_SCHEDULE List SPANS="30s,2m,10m,1h,6h" (dev 2s,5s,15s,30s,1m)
        POSTHASTE_TIMEOUT One SPAN="5s"
        POSTHASTE_JITTER One SHARE="0.1" (dev 0)
        POSTHASTE_ALLOW_PRIVATE List RANGES="" (dev 127.0.0.0/8,::1/128)
        POSTHASTE_ALLOW_HTTP Switch BOOL="false" (dev true)
        POSTHASTE_TRUST_CA List FILE=""
        POSTHASTE_RESOLVER One ADDR:PORT=""
        POSTHASTE_METRICS_LISTEN One ADDR:PORT=""
        POSTHASTE_EGRESS_IP List BIND[=PUBLIC]=""
        POSTHASTE_RETENTION One SPAN="30d"
        POSTHASTE_RETENTION_SIZE One SIZE=""
        POSTHASTE_MAX_IN_FLIGHT One COUNT="10"
        POSTHASTE_EVENTS_PER_SECOND One COUNT=""
        POSTHASTE_WEBHOOKS_PER_ACCOUNT One COUNT="1000"
        POSTHASTE_PAUSE_AFTER One SPAN="5d"
        POSTHASTE_REPLAY_FAILURES One COUNT="20"
        POSTHASTE_BRAND One NAME="CronDB"
        POSTHASTE_HEADER_PREFIX One PREFIX=""
        POSTHASTE_CATALOGUE One FILE=""
        POSTHASTE_PUBLIC_URL One URL=""
        POSTHASTE_TRUSTED_PROXY List RANGES=""
        POSTHASTE_PORTAL_ORIGIN List ORIGINS=""
        POSTHASTE_OTLP_ENDPOINT One URL=""
        POSTHASTE_LOG_FORMAT One FORMAT="text"
        POSTHASTE_LOG One FILTER="info" (dev warn)
        "#);
    }

    #[test]
    fn the_guide_has_a_row_for_each() {
        let guide = include_str!("../../../../docs/guides/operating.md");
        for setting in SETTINGS {
            assert!(guide.contains(&format!("| `{}` |", setting.name)), "{} is not in the guide", setting.name);
        }
    }
}
