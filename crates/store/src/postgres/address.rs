//! Where the database is: the text that libpq's programs take too, with what the driver does not know of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::hosts::Hosts;

/// How long a host may take to be connected to, and to answer, if the text does not say.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// After how long without an answer a connection counts as lost, if the text does not say.
const UNANSWERED: Duration = Duration::from_secs(10);

/// The text is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAddress(pub(super) String);

/// What is done about the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificate {
    /// It may be anyone's, as with libpq's `require`.
    Any,
    /// Its issuer must be trusted, and it must be for the host's name.
    Checked,
}

/// Where the database is, and as whom it is used. Its [`std::fmt::Debug`] tells no password.
#[derive(Debug, Clone)]
pub struct Address {
    /// Cloned, they are the same: what one connection finds out about them, all know.
    pub(super) hosts: Arc<Hosts>,
    pub(super) certificate: Certificate,
    /// A PEM file of roots that are trusted instead of the system's.
    pub(super) roots: Option<PathBuf>,
}

impl Address {
    /// Reads `postgres://user@host:port,host:port/database?…`.
    ///
    /// # Errors
    /// [`BadAddress`], which tells no password.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(BadAddress("an address starts with postgres://".to_owned()));
        }
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut kept, mut certificate, mut roots) = (Vec::new(), Certificate::Any, None);
        let (mut encrypted, mut met) = (false, BTreeSet::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let option = pair.split_once('=').map_or(pair, |(option, _)| option);
            if !met.insert(option) {
                // Which of both was meant, nobody knows: the last one may undo what the first one asks for.
                return Err(BadAddress(format!("it gives {option} twice: leave one of them out")));
            }
            match pair.split_once('=') {
                // With libpq these two differ in whether the name is compared: here it always is.
                Some(("sslmode", "verify-full" | "verify-ca")) => {
                    certificate = Certificate::Checked;
                    kept.push("sslmode=require");
                }
                Some(("sslmode", mode @ ("disable" | "prefer" | "require"))) => {
                    encrypted = mode == "require";
                    kept.push(pair);
                }
                Some(("sslmode", other)) => {
                    let known = "disable, prefer, require or verify-full";
                    return Err(BadAddress(format!("sslmode is {known}, and not {other}")));
                }
                Some((option @ ("sslcert" | "sslkey" | "sslpassword" | "sslcertmode"), _)) => {
                    let way = "let the role in by a password (scram-sha-256) in the server's pg_hba.conf";
                    return Err(BadAddress(format!("{option}: client certificates are not supported: {way}")));
                }
                Some(("channel_binding", "require")) => {
                    let way = "sslmode=verify-full with sslrootcert says whose server it is";
                    return Err(BadAddress(format!("channel_binding=require is not supported: {way}")));
                }
                // libpq's word for those of the system.
                Some(("sslrootcert", "system")) => certificate = Certificate::Checked,
                Some(("sslrootcert", file)) => {
                    roots = Some(PathBuf::from(unescaped(file).ok_or_else(|| {
                        BadAddress("sslrootcert: a percent sign is followed by two hexadecimal digits".to_owned())
                    })?));
                }
                _ => kept.push(pair),
            }
        }
        if roots.is_some() && certificate == Certificate::Any {
            if !encrypted {
                let why = "sslrootcert checks nothing without sslmode=verify-full: add that";
                return Err(BadAddress(why.to_owned()));
            }
            // As with libpq: whoever names issuers wants them asked.
            certificate = Certificate::Checked;
        }
        if certificate == Certificate::Checked && !kept.iter().any(|pair| pair.starts_with("sslmode=")) {
            kept.push("sslmode=require");
        }
        let joined = if kept.is_empty() { rest.to_owned() } else { format!("{rest}?{}", kept.join("&")) };
        let mut config: tokio_postgres::Config = joined.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            BadAddress(why)
        })?;
        if config.get_hosts().is_empty() {
            return Err(BadAddress("it names no host".to_owned()));
        }
        if config.get_dbname().is_none() {
            return Err(BadAddress("it names no database".to_owned()));
        }
        if config.get_application_name().is_none() {
            config.application_name("posthaste");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNANSWERED);
        }
        // Whoever names several hosts means the one that takes writes: a promotion is followed by connecting again.
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { hosts: Arc::new(Hosts::of(&config)?), certificate, roots })
    }

    /// The hosts, for people: with their ports, where they are not the usual one.
    #[must_use]
    pub fn hosts(&self) -> String {
        self.hosts.names()
    }

    /// The database and its hosts, for people: nothing by which it is let in.
    #[must_use]
    pub fn place(&self) -> String {
        format!("the database {} at {}", self.hosts.any().get_dbname().unwrap_or_default(), self.hosts())
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.hosts.any().get_ssl_mode() != SslMode::Disable
    }
}

/// A part of a URL without its percent signs; `None` where they are wrong.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_that_are_named_are_asked() {
        let read = |query: &str| Address::parse(&format!("postgres://ph@db/ph?{query}"));
        for query in ["sslmode=require&sslrootcert=/etc/my%20ca", "sslrootcert=/etc/my%20ca&sslmode=verify-ca"] {
            let address = read(query).expect("it is one");
            assert_eq!(
                (address.certificate, address.hosts.any().get_ssl_mode()),
                (Certificate::Checked, SslMode::Require)
            );
            assert_eq!(address.roots, Some(PathBuf::from("/etc/my ca")));
        }
        let system = read("sslrootcert=system").expect("it is one");
        assert_eq!((system.certificate, system.hosts.any().get_ssl_mode()), (Certificate::Checked, SslMode::Require));
        let (any, none) = (read("sslmode=require").expect("it is one"), read("").expect("it is one"));
        assert_eq!((any.certificate, any.hosts.any().get_ssl_mode()), (Certificate::Any, SslMode::Require));
        assert_eq!((none.certificate, none.hosts.any().get_ssl_mode()), (Certificate::Any, SslMode::Prefer));
        for bad in
            ["sslrootcert=/ca", "sslmode=prefer&sslrootcert=/ca", "sslmode=allow", "sslrootcert=%zz&sslmode=require"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_supported_says_what_to_do_instead() {
        for (query, way) in [("sslcert=/c&sslkey=/k", "by a password"), ("channel_binding=require", "verify-full")] {
            let said = Address::parse(&format!("postgres://ph@db/ph?{query}")).expect_err("it is none").to_string();
            assert!(said.contains("not supported") && said.contains(way), "{said}");
        }
        assert!(Address::parse("postgres://ph@db/ph?channel_binding=prefer").is_ok());
    }

    #[test]
    fn what_is_given_twice_is_refused() {
        for (query, option) in [
            ("sslmode=verify-full&sslrootcert=/ca&sslmode=disable", "sslmode"),
            ("sslmode=require&sslmode=require", "sslmode"),
            ("sslrootcert=system&sslmode=require&sslrootcert=/ca", "sslrootcert"),
            ("options=-c%20a=b&options=-c%20c=d", "options"),
        ] {
            let said =
                Address::parse(&format!("postgres://ph@db/ph?{query}")).expect_err("it is given twice").to_string();
            assert!(said.contains(&format!("gives {option} twice")), "{said}");
        }
    }

    #[test]
    fn an_address_is_read_with_its_hosts_and_what_is_checked() {
        let one =
            Address::parse("postgres://ph:secret@db1:5433,db2/posthaste?sslmode=verify-full&sslrootcert=%2Fetc%2Fca")
                .expect("it is one");
        assert_eq!(one.hosts(), "db1:5433, db2");
        assert_eq!(one.place(), "the database posthaste at db1:5433, db2");
        let plain = Address::parse("postgres://db1,db2:5432/posthaste").expect("it is one");
        assert_eq!(plain.hosts(), "db1, db2");
        assert_eq!(one.certificate, Certificate::Checked);
        assert_eq!(one.roots, Some(PathBuf::from("/etc/ca")));
        assert_eq!(one.hosts.any().get_ssl_mode(), SslMode::Require);
        assert_eq!(one.hosts.any().get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert!(!format!("{one:?}").contains("secret"));
        for bad in ["", "mysql://x/y", "postgres://", "postgres://host", "postgres://h/d?sslmode=maybe"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
