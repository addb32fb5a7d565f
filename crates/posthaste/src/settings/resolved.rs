//! Settings resolved: every value judged, and shown with its origin.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use domain::address::IpRange;
use domain::brand::Brand;
use domain::key::AccountLimits;
use domain::policy::Policy;
use domain::retry::RetrySchedule;
use store::postgres::Address;
use url::Url;
use zeroize::Zeroizing;

use crate::settings::BadSetting;
use crate::settings::gather::Gathered;
use crate::settings::list::{Kind, Mode, SETTINGS};
use crate::settings::parse::{self, Judged};
use crate::settings::source::Origin;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What stands in a secret's place.
pub(crate) const MASK: &str = "••••••••";

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One row of `config show`: the value as text, a secret masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The setting's name.
    pub(crate) name: &'static str,
    /// Its value; empty where it has none.
    pub(crate) value: String,
    /// Where it was given.
    pub(crate) origin: Origin,
}

/// The settings of `serve` and `dev`, each value judged.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Where the embedded store keeps everything; `None` if it was not given.
    pub(crate) data: Option<PathBuf>,
    /// The database that keeps everything instead.
    pub(crate) database: Option<Address>,
    /// The platform key to accept.
    pub(crate) platform_key: Option<Zeroizing<String>>,
    /// The key that encrypts at rest.
    pub(crate) encryption_key: Option<Zeroizing<[u8; 32]>>,
    /// Brand, schedule, deadline and bounds of deliveries.
    pub(crate) policy: Policy,
    /// Ranges opened for webhooks.
    pub(crate) allow_private: Vec<IpRange>,
    /// Whether `http://` is allowed.
    pub(crate) allow_http: bool,
    /// PEM files of further roots.
    pub(crate) trust_ca: Vec<PathBuf>,
    /// The DNS server to ask.
    pub(crate) resolver: Option<SocketAddr>,
    /// Where `/metrics` is open.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Addresses to send from, each with how it looks from outside.
    pub(crate) egress_ips: Vec<(IpAddr, IpAddr)>,
    /// For how long ended deliveries are kept.
    pub(crate) retention: Duration,
    /// How many bytes are kept; `None` for as much as comes.
    pub(crate) retention_size: Option<u64>,
    /// The operator's event types.
    pub(crate) catalogue: Option<PathBuf>,
    /// How this server is reached from outside.
    pub(crate) public_url: Option<String>,
    /// Origins that may frame the portal.
    pub(crate) portal_origins: Vec<String>,
    /// Proxies that are believed.
    pub(crate) trusted_proxies: Vec<IpRange>,
    /// Where traces go.
    pub(crate) otlp_endpoint: Option<Url>,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// What is logged.
    pub(crate) log: String,
    /// Every setting as text, in the order of the list.
    pub(crate) shown: Vec<Shown>,
}

impl Settings {
    /// Judges every value.
    ///
    /// # Errors
    /// The first one that breaks its rule.
    pub(crate) fn judge(gathered: &Gathered, mode: Mode) -> Result<Self, BadSetting> {
        let from = Judge(gathered);
        let retry_schedule =
            from.whole("retry-schedule", |text| RetrySchedule::parse(text).map_err(|e| e.to_string()))?;
        let policy = Policy {
            brand: from.brand()?,
            timeout: from.one("timeout", |text| parse::span(text, Duration::from_millis(1), MINUTE / 2))?,
            retry_schedule,
            jitter: from.one("jitter", parse::share)?,
            max_in_flight: from.one("max-in-flight", |text| parse::count(text, 1_000))?,
            pause_after: from.one("pause-after", |text| parse::span(text, MINUTE, 365 * DAY))?,
            events_per_second: from
                .maybe("events-per-second", |text| parse::count(text, AccountLimits::EVENTS_PER_SECOND_MAX))?,
            webhooks_per_account: from
                .one("webhooks-per-account", |text| parse::count(text, AccountLimits::WEBHOOKS_MAX))?,
            replay_failures: from.one("replay-failures", |text| parse::count(text, 10_000))?,
            ..Policy::default()
        };
        Ok(Self {
            listen: from.one("listen", parse::socket_address)?,
            data: from.maybe("data", |text| Ok(PathBuf::from(text)))?,
            database: from.maybe("database", |text| Address::parse(text).map_err(|error| error.to_string()))?,
            platform_key: from.maybe("platform-key", parse::platform_key)?,
            encryption_key: from.maybe("encryption-key", parse::encryption_key)?,
            policy,
            allow_private: from.each("allow-private", parse::opened_range)?,
            allow_http: from.one("allow-http", parse::switch)?,
            trust_ca: from.each("trust-ca", |text| Ok(PathBuf::from(text)))?,
            resolver: from.maybe("resolver", parse::socket_address)?,
            metrics_listen: from.maybe("metrics-listen", parse::socket_address)?,
            egress_ips: from.each("egress-ip", parse::egress_ip)?,
            retention: from.one("retention", |text| parse::span(text, 60 * MINUTE, 3_650 * DAY))?,
            retention_size: from.maybe("retention-size", |text| parse::size(text, 1 << 20, 1 << 50))?,
            catalogue: from.maybe("catalogue", |text| Ok(PathBuf::from(text)))?,
            public_url: from.maybe("public-url", parse::public_url)?,
            portal_origins: from.each("portal-origin", parse::web_origin)?,
            trusted_proxies: from.each("trusted-proxy", parse::range)?,
            otlp_endpoint: from.maybe("otlp-endpoint", parse::collector)?,
            log_format: from.one("log-format", log_format)?,
            log: from.one("log", log_filter)?,
            shown: shown(gathered, mode),
        })
    }
}

fn log_format(text: &str) -> Judged<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

fn log_filter(text: &str) -> Judged<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // A word by itself would be taken for a module of that name, and everything else would be silent.
    let level =
        |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str()) || word.parse::<u8>().is_ok_and(|n| n <= 5);
    let lone = text.split(',').map(str::trim).find(|word| !word.is_empty() && !word.contains('=') && !level(word));
    if let Some(lone) = lone {
        return Err(format!(
            "{lone:?} is no level: {}; write one of them, or module=level by commas",
            LEVELS.join(", ")
        ));
    }
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?}: {error}; write a level such as info, or module=level by commas")),
    }
}

/// Reads settings out of what was gathered, so that a fault names the setting and its origin.
struct Judge<'a>(&'a Gathered);

impl Judge<'_> {
    fn bad(&self, name: &str, said: String) -> BadSetting {
        BadSetting { origin: Some(self.0.get(name).origin.clone()), ..BadSetting::new(name, said) }
    }

    /// Every text of a list by itself.
    fn each<T>(&self, name: &str, judge: impl Fn(&str) -> Judged<T>) -> Result<Vec<T>, BadSetting> {
        self.0.get(name).texts.iter().map(|text| judge(text).map_err(|said| self.bad(name, said))).collect()
    }

    /// The one text of a setting, if it is given.
    fn maybe<T>(&self, name: &str, judge: impl Fn(&str) -> Judged<T>) -> Result<Option<T>, BadSetting> {
        // The last one counts, as with most commands.
        self.0.get(name).texts.last().map(|text| judge(text).map_err(|said| self.bad(name, said))).transpose()
    }

    /// The one text of a setting that has a default.
    fn one<T>(&self, name: &str, judge: impl Fn(&str) -> Judged<T>) -> Result<T, BadSetting> {
        self.maybe(name, judge)?.ok_or_else(|| self.bad(name, "a value is missing".to_owned()))
    }

    /// A list that is judged as a whole.
    fn whole<T>(&self, name: &str, judge: impl Fn(&str) -> Judged<T>) -> Result<T, BadSetting> {
        judge(&self.0.get(name).texts.join(",")).map_err(|said| self.bad(name, said))
    }

    fn brand(&self) -> Result<Brand, BadSetting> {
        let name = self.one("brand", parse::token)?;
        let prefix = self.maybe("header-prefix", parse::header_prefix)?;
        Ok(Brand::new(&name, &prefix.unwrap_or_else(|| format!("X-{name}"))))
    }
}

/// A database's address without its password, wherever it stands in it.
fn masked(url: &str) -> String {
    let url = match url.rsplit_once('@') {
        Some((before, at)) => {
            let (scheme, user) = before.split_once("://").unwrap_or(("postgres", before));
            match user.split_once(':') {
                Some((user, _)) => format!("{scheme}://{user}:{MASK}@{at}"),
                None => url.to_owned(),
            }
        }
        None => url.to_owned(),
    };
    let Some((before, password)) = url.split_once("password=") else { return url };
    let rest = password.find('&').map_or("", |end| &password[end..]);
    format!("{before}password={MASK}{rest}")
}

fn shown(gathered: &Gathered, mode: Mode) -> Vec<Shown> {
    let row = |setting: &'static crate::settings::list::Setting| {
        let given = gathered.get(setting.name);
        let value = match setting.kind {
            Kind::Secret if given.texts.is_empty() => String::new(),
            Kind::Secret => MASK.to_owned(),
            Kind::One if setting.name == "database" => given.texts.last().map(|url| masked(url)).unwrap_or_default(),
            Kind::One | Kind::Switch => given.texts.last().cloned().unwrap_or_default(),
            Kind::List => given.texts.join(","),
        };
        debug_assert!(
            given.origin != Origin::Default || value == setting.default_in(mode),
            "defaults are shown as they are"
        );
        Shown { name: setting.name, value, origin: given.origin.clone() }
    };
    SETTINGS.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::resolve;
    use crate::settings::source::Environment;
    use crate::settings::typed::Typed;

    fn typed(texts: &[(&'static str, &str)]) -> Typed {
        let texts = texts.iter().map(|(name, text)| (*name, vec![(*text).to_owned()])).collect();
        Typed { texts, config: None }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("posthaste.toml");
        std::fs::write(&path, text).expect("the file is written");
        (directory, path)
    }

    fn origin(settings: &Settings, name: &str) -> String {
        settings.shown.iter().find(|shown| shown.name == name).expect("in the list").origin.to_string()
    }

    #[test]
    fn flag_before_environment_before_file_before_default() {
        let (_directory, path) =
            file("timeout = \"4s\"\njitter = 0.2\nretry-schedule = [\"1s\", \"2s\"]\nretention = \"9d\"");
        let environment =
            Environment::from([("POSTHASTE_TIMEOUT", "3s"), ("POSTHASTE_JITTER", "0.3"), ("POSTHASTE_RESOLVER", "")]);
        let mut typed = typed(&[("timeout", "2s")]);
        typed.config = Some(path.clone());
        let settings = resolve(&typed, &environment, Mode::Serve).expect("all are fine");
        assert_eq!(settings.policy.timeout, Duration::from_secs(2));
        assert_eq!(origin(&settings, "timeout"), "--timeout");
        assert!((settings.policy.jitter - 0.3).abs() < 1e-9);
        assert_eq!(origin(&settings, "jitter"), "POSTHASTE_JITTER");
        assert_eq!(settings.policy.retry_schedule, RetrySchedule::parse("1s,2s").expect("a schedule"));
        assert_eq!(origin(&settings, "retry-schedule"), path.display().to_string());
        assert_eq!(settings.retention, 9 * DAY);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8400");
        assert_eq!(origin(&settings, "listen"), "default");
        assert_eq!(settings.resolver, None);
    }

    #[test]
    fn secrets_come_from_files_too_and_are_masked() {
        let (_directory, path) = file("phk_from_a_file\n");
        let path = path.to_str().expect("a plain path");
        let environment = Environment::from([("POSTHASTE_PLATFORM_KEY_FILE", path)]);
        let settings = resolve(&Typed::default(), &environment, Mode::Serve).expect("all are fine");
        assert_eq!(settings.platform_key.as_ref().map(|key| key.as_str()), Some("phk_from_a_file"));
        assert!(settings.shown.iter().all(|shown| !shown.value.contains("phk_")));
        assert!(origin(&settings, "platform-key").starts_with("POSTHASTE_PLATFORM_KEY_FILE ("));
        let both =
            Environment::from([("POSTHASTE_PLATFORM_KEY_FILE", path), ("POSTHASTE_PLATFORM_KEY", "phk_other_one")]);
        assert_eq!(resolve(&Typed::default(), &both, Mode::Serve).expect_err("both are given").name, "platform-key");
    }

    #[test]
    fn a_database_s_password_is_masked_wherever_it_stands() {
        for (url, shown) in [
            (
                "postgres://ph:hush@db1:5433,db2/d?sslmode=require",
                "postgres://ph:••••••••@db1:5433,db2/d?sslmode=require",
            ),
            ("postgres://ph:hu?s@h@db/d", "postgres://ph:••••••••@db/d"),
            (
                "postgres://db/d?user=ph&password=hush&sslmode=require",
                "postgres://db/d?user=ph&password=••••••••&sslmode=require",
            ),
            ("postgres://ph@db/d?password=hu@sh", "postgres://ph@db/d?password=••••••••"),
            ("postgres://ph@db/d", "postgres://ph@db/d"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn what_is_unsafe_or_unreadable_is_refused_by_name() {
        for (name, text) in [
            ("retry-schedule", "soon"),
            ("retry-schedule", "30s,,2m"),
            ("allow-private", "0.0.0.0/0"),
            ("allow-private", "::/0"),
            ("allow-private", "8.0.0.0/7"),
            ("allow-private", "127.0.0.0/8,"),
            ("timeout", "0s"),
            ("timeout", "31s"),
            ("jitter", "2"),
            ("listen", "8400"),
            ("database", "mysql://localhost/x"),
            ("log-format", "xml"),
            ("egress-ip", "here"),
            ("header-prefix", "webhook"),
            ("portal-origin", "*"),
        ] {
            let bad = resolve(&typed(&[(name, text)]), &Environment::default(), Mode::Serve).expect_err(text);
            assert_eq!(bad.name, name, "{text}");
            assert!(bad.to_string().starts_with(&format!("Setting {name}: ")), "{bad}");
        }
        let (_directory, path) = file("timeuot = \"4s\"");
        let misspelt = Typed { config: Some(path), ..Typed::default() };
        assert_eq!(resolve(&misspelt, &Environment::default(), Mode::Serve).expect_err("misspelt").name, "timeuot");
    }

    #[test]
    fn dev_opens_loopback_and_shortens_the_schedule_and_serve_does_not() {
        let resolved = |mode| resolve(&Typed::default(), &Environment::default(), mode).expect("defaults are fine");
        let (serve, dev) = (resolved(Mode::Serve), resolved(Mode::Dev));
        assert_eq!(serve.policy.retry_schedule, RetrySchedule::page());
        assert!(serve.allow_private.is_empty() && !serve.allow_http && serve.data.is_none());
        assert_eq!(dev.policy.retry_schedule.delays().len(), 5);
        assert!(dev.allow_http && dev.allow_private.len() == 2 && dev.data.is_some());
        assert_eq!(serve.policy.brand, Brand::default());
    }
}
