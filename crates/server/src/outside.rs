//! How this server is reached from outside: what links start with, what the session's cookie is called and where it goes.
//!
//! It comes from the settings alone. The `Host` of a request decides no link.

use std::time::Duration;

use url::Url;

/// The address of this server as people and browsers see it.
#[derive(Debug, Clone)]
pub struct Outside {
    /// The whole address, without a slash at its end.
    base: String,
    /// Its path, `/` at least.
    path: String,
    /// Scheme, host and port.
    origin: String,
    secure: bool,
}

impl Outside {
    /// The server at `url`, an http or https URL.
    #[must_use]
    pub fn new(url: &Url) -> Self {
        let path = url.path().trim_end_matches('/');
        Self {
            base: format!("{}{path}", url.origin().ascii_serialization()),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            origin: url.origin().ascii_serialization(),
            secure: url.scheme() == "https",
        }
    }

    /// The address of a page, `path` with its slash.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The address that signs in with a one-time link's token. Fragments are sent to no server and stand in no log.
    pub(crate) fn link(&self, token: &str) -> String {
        format!("{}/#t={token}", self.base)
    }

    /// The path under which everything lies, with a slash at its end.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{}/", self.path.trim_end_matches('/'))
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The name of the session's cookie. The prefixes are promises that browsers keep: set over TLS, by this host alone.
    pub(crate) fn cookie_name(&self) -> &'static str {
        match (self.secure, self.path.as_str()) {
            (true, "/") => "__Host-posthaste",
            (true, _) => "__Secure-posthaste",
            (false, _) => "posthaste_session",
        }
    }

    /// The session's cookie: no script reads it, no other site sends it. Where the settings do not say that this server is
    /// reached over TLS, a proxy may say it of a request.
    pub(crate) fn cookie(&self, token: &str, lasts: Duration, over_tls: bool) -> String {
        let secure = if self.secure || over_tls { "; Secure" } else { "" };
        let (name, path, seconds) = (self.cookie_name(), &self.path, lasts.as_secs());
        format!("{name}={token}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }

    /// What makes the browser forget the session's cookie.
    pub(crate) fn no_cookie(&self) -> String {
        self.cookie("", Duration::ZERO, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(url: &str) -> Outside {
        Outside::new(&Url::parse(url).expect("a URL"))
    }

    #[test]
    fn the_cookie_promises_what_the_address_allows() {
        let hour = Duration::from_secs(3_600);
        for (url, cookie) in [
            (
                "https://hooks.example.com",
                "__Host-posthaste=x; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict; Secure",
            ),
            (
                "https://example.com/hooks/",
                "__Secure-posthaste=x; Path=/hooks; Max-Age=3600; HttpOnly; SameSite=Strict; Secure",
            ),
            ("http://127.0.0.1:8400", "posthaste_session=x; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict"),
        ] {
            assert_eq!(outside(url).cookie("x", hour, false), cookie);
            let over_tls = outside(url).cookie("x", hour, true);
            assert!(over_tls.ends_with("; Secure") && over_tls.starts_with(cookie), "{over_tls}");
        }
        assert!(outside("https://a.example").no_cookie().contains("posthaste=; Path=/; Max-Age=0;"));
    }

    #[test]
    fn links_keep_the_path_and_hide_the_token_in_the_fragment() {
        assert_eq!(outside("https://example.com/hooks/").link("phl_x"), "https://example.com/hooks/#t=phl_x");
        assert_eq!(outside("https://example.com/hooks/").folder(), "/hooks/");
        assert_eq!(outside("https://example.com").folder(), "/");
        assert_eq!(outside("https://example.com:443/").origin(), "https://example.com");
    }
}
