//! Which server, and which key: flags, environment, or what `posthaste dev` left in `./.posthaste`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::client::connect::Roots;
use crate::exit::Stop;
use crate::settings::BadSetting;
use crate::settings::source::{Environment, Origin};

/// Where `posthaste dev` keeps its data unless told otherwise.
const DEV_DATA: &str = ".posthaste";
/// In there, the file that tells clients URL and key.
const CLIENT_FILE: &str = "client.toml";
/// Where `posthaste serve` listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8400";

/// The flags that say which server to talk to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Server {
    /// The server's URL [env: POSTHASTE_URL] [default: ./.posthaste, then http://127.0.0.1:8400]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The key [env: POSTHASTE_KEY, POSTHASTE_KEY_FILE] [default: ./.posthaste]
    #[arg(long, global = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The account to act for [env: POSTHASTE_ACCOUNT] [default: default]
    #[arg(long, global = true, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
}

/// What `posthaste dev` tells the clients of its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The server's URL.
    pub(crate) url: String,
    /// The platform key.
    pub(crate) key: String,
}

impl Known {
    /// Reads what is known in a data directory, if anything is.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        toml::from_str(&std::fs::read_to_string(data.join(CLIENT_FILE)).ok()?).ok()
    }

    /// Writes it, for the owner's eyes only.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, data: &Path) -> std::io::Result<()> {
        let text = format!("url = {:?}\nkey = {:?}\n", self.url, self.key);
        crate::private_file::replace(&data.join(CLIENT_FILE), text.as_bytes())
    }
}

/// Whether client commands that are started here look into this data directory by themselves.
pub(crate) fn is_here(data: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(data).is_some() && real(data) == real(Path::new(DEV_DATA))
}

/// Whether anything says which server to talk to.
pub(crate) fn is_named(server: &Server, environment: &Environment) -> bool {
    let named = server.server.is_some() || environment.get("POSTHASTE_URL").is_some();
    named || Known::read(Path::new(DEV_DATA)).is_some()
}

/// The client that the flags, the environment or `./.posthaste` ask for.
///
/// # Errors
/// When the URL is none, or a key file cannot be read.
pub(crate) fn client(server: &Server, environment: &Environment) -> Result<Client, Stop> {
    let known = Known::read(Path::new(DEV_DATA));
    let named = server.server.as_deref().or_else(|| environment.get("POSTHASTE_URL"));
    let url = named.or(known.as_ref().map(|known| known.url.as_str())).unwrap_or(DEFAULT_URL);
    let base = Url::parse(url).ok().filter(|base| matches!(base.scheme(), "http" | "https") && base.has_host());
    let base = base.ok_or_else(|| Stop::usage(format!("Give a URL such as http://127.0.0.1:8400, not {url:?}.")))?;
    let given = match &server.key {
        Some(key) => Some(key.clone()),
        None => environment.secret("POSTHASTE_KEY").map_err(Stop::usage)?.map(|(key, _)| key),
    };
    // A key that was made for one server is not shown to another.
    let same = |known: &&Known| Url::parse(&known.url).is_ok_and(|its| its.origin() == base.origin());
    let key = given.or_else(|| known.as_ref().filter(same).map(|known| known.key.clone()));
    let files = environment.get("POSTHASTE_TRUST_CA").into_iter().flat_map(|files| files.split(',')).map(PathBuf::from);
    let roots = Roots::of(files);
    if base.scheme() == "https" {
        // Now, and not as a server that cannot be reached.
        let origin = Some(Origin::Variable("POSTHASTE_TRUST_CA".to_owned()));
        roots.read().map_err(|said| BadSetting { origin, ..BadSetting::new("trust-ca", said) })?;
    }
    Ok(Client::new(base, key.map(Zeroizing::new), roots))
}

/// The account to act for.
pub(crate) fn account(server: &Server, environment: &Environment) -> String {
    let given = server.account.as_deref().or_else(|| environment.get("POSTHASTE_ACCOUNT"));
    given.unwrap_or("default").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dev_leaves_is_read_back_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let known = Known { url: "http://127.0.0.1:8400".into(), key: "phk_\"x\"".into() };
        known.write(directory.path()).expect("it is written");
        assert_eq!(Known::read(directory.path()), Some(known));
        let mode = std::fs::metadata(directory.path().join(CLIENT_FILE)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn flags_go_before_the_environment() {
        let environment = Environment::from([("POSTHASTE_URL", "http://b.example:1"), ("POSTHASTE_ACCOUNT", "acme")]);
        let server = Server { server: Some("http://a.example:2/base/".into()), ..Server::default() };
        assert_eq!(client(&server, &environment).expect("a client").address("/v1"), "http://a.example:2/base/v1");
        let server = Server::default();
        assert_eq!(client(&server, &environment).expect("a client").address("/v1"), "http://b.example:1/v1");
        assert_eq!(account(&server, &environment), "acme");
        let server = Server { server: Some("ftp://a".into()), ..server };
        assert_eq!(client(&server, &environment).err().map(|stop| stop.exit), Some(crate::exit::Exit::Usage));
    }
}
