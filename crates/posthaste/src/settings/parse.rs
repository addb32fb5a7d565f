//! Judging one text: each function takes what was written and gives the value, or a sentence on what is wrong.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use data_encoding::BASE64;
use domain::address::IpRange;
use domain::size::{parse_size, write_size};
use domain::time::{parse_span, write_span};
use url::Url;
use zeroize::Zeroizing;

/// A value, or a sentence on what is wrong with it.
pub(crate) type Judged<T> = Result<T, String>;

/// `ADDR:PORT`.
pub(crate) fn socket_address(text: &str) -> Judged<SocketAddr> {
    text.parse().map_err(|_| format!("{text:?} is not an address and port such as 127.0.0.1:8400 or [::1]:8400"))
}

/// A span between two bounds, both allowed.
pub(crate) fn span(text: &str, least: Duration, most: Duration) -> Judged<Duration> {
    let span = parse_span(text).map_err(|error| format!("{text:?}: {error}"))?;
    if span < least || span > most {
        return Err(format!("{text:?} is not between {} and {}", write_span(least), write_span(most)));
    }
    Ok(span)
}

/// A share, 0 to 1.
pub(crate) fn share(text: &str) -> Judged<f64> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a share between 0 and 1, such as 0.1")),
    }
}

/// A count between 1 and `most`.
pub(crate) fn count<T>(text: &str, most: T) -> Judged<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + From<u8>,
{
    match text.parse::<T>() {
        Ok(count) if count >= T::from(1) && count <= most => Ok(count),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a whole number between 1 and {most}")),
    }
}

/// `true` or `false`.
pub(crate) fn switch(text: &str) -> Judged<bool> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// 32 bytes in base64.
pub(crate) fn encryption_key(text: &str) -> Judged<Zeroizing<[u8; 32]>> {
    let said = "it must be 32 bytes in base64, such as `openssl rand -base64 32` makes them";
    let bytes = Zeroizing::new(BASE64.decode(text.trim().as_bytes()).map_err(|_| said.to_owned())?);
    <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new).map_err(|_| said.to_owned())
}

/// A platform key: 8–255 visible ASCII characters.
pub(crate) fn platform_key(text: &str) -> Judged<Zeroizing<String>> {
    if (8..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Zeroizing::new(text.to_owned()))
    } else {
        Err("it must have 8 to 255 visible ASCII characters; 24 or more, made by chance, are wise".to_owned())
    }
}

/// A size from `least` to `most` bytes.
pub(crate) fn size(text: &str, least: u64, most: u64) -> Judged<u64> {
    let size = parse_size(text).map_err(|error| format!("{text:?} is {error}"))?;
    if (least..=most).contains(&size) {
        Ok(size)
    } else {
        Err(format!("{text} is not between {} and {}", write_size(least), write_size(most)))
    }
}

/// A name that can stand in a header: 1–40 letters, digits, dots, hyphens or underscores, a letter first.
pub(crate) fn token(text: &str) -> Judged<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if starts && text.len() <= 40 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not 1 to 40 letters, digits, dots, hyphens or underscores with a letter first"))
    }
}

/// A header prefix: a token that is none of the names which HTTP, Standard Webhooks or browsers own.
pub(crate) fn header_prefix(text: &str) -> Judged<String> {
    let prefix = token(text)?;
    let lower = prefix.to_ascii_lowercase();
    let owned = ["webhook", "content", "proxy", "sec", "x-forwarded", "transfer", "x"];
    if owned.iter().any(|name| lower == *name) || lower.starts_with("webhook-") || lower.ends_with('-') {
        return Err(format!("{text:?} would clash with other headers; take one such as X-Acme"));
    }
    Ok(prefix)
}

/// An address of this machine, and how it looks from outside: `BIND[=PUBLIC]`.
pub(crate) fn egress_ip(text: &str) -> Judged<(IpAddr, IpAddr)> {
    let (bind, public) = text.split_once('=').unwrap_or((text, text));
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("{text:?} is not an IP address"));
    let (bind, public) = (address(bind)?, address(public)?);
    if bind.is_unspecified() || bind.is_multicast() {
        return Err(format!("{bind} is no address to send from"));
    }
    if bind.is_ipv4() != public.is_ipv4() {
        return Err(format!("{bind} and {public} are not of one family"));
    }
    Ok((bind, public))
}

/// `http(s)://host[:port][/path]`, without a slash at its end.
pub(crate) fn public_url(text: &str) -> Judged<String> {
    let said = || format!("{text:?} is not an http or https URL such as https://hooks.example.com");
    let url = Url::parse(text).map_err(|_| said())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
    if !fits || url.query().is_some() || url.fragment().is_some() {
        return Err(said());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The URL of a collector of traces: http or https.
pub(crate) fn collector(text: &str) -> Judged<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| format!("{text:?} is not an http or https URL such as http://127.0.0.1:4318"))
}

/// An origin: scheme, host and port of an http or https URL.
pub(crate) fn web_origin(text: &str) -> Judged<String> {
    let said = || format!("{text:?} is not an origin such as https://app.example.com");
    let url = Url::parse(text).map_err(|_| said())?;
    if matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text.trim_end_matches('/') {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(said())
    }
}

/// A range of addresses.
pub(crate) fn range(text: &str) -> Judged<IpRange> {
    text.parse().map_err(|error: domain::address::BadRange| error.to_string())
}

/// A range that may be opened for webhooks: a network of the operator's, not the internet at large.
pub(crate) fn opened_range(text: &str) -> Judged<IpRange> {
    let range = range(text)?;
    if range.is_absurd() {
        return Err(format!("{text:?} would open the internet at large, not a network of yours; name the network"));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_what_does_not() {
        let (second, month) = (Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(span("5s", second, month), Ok(Duration::from_secs(5)));
        assert!(span("31s", second, month).is_err_and(|said| said.contains("between 1s and 30s")));
        assert!(share("0.1").is_ok() && share("1.1").is_err() && share("NaN").is_err() && share("-0.1").is_err());
        assert!(count("0", 10).is_err() && count("11", 10).is_err() && count("10", 10) == Ok(10));
        assert!(switch("maybe").is_err());
        assert!(encryption_key("c2hvcnQ=").is_err() && encryption_key(&BASE64.encode(&[7; 32])).is_ok());
        assert!(platform_key("short").is_err() && platform_key("phk_with space").is_err());
        assert!(header_prefix("X-Acme").is_ok() && header_prefix("webhook").is_err() && header_prefix("a b").is_err());
        assert!(egress_ip("10.0.0.1=203.0.113.7").is_ok() && egress_ip("0.0.0.0").is_err());
        assert!(egress_ip("10.0.0.1=::1").is_err());
        assert_eq!(public_url("https://a.example/hooks/"), Ok("https://a.example/hooks".to_owned()));
        assert!(public_url("ftp://a.example").is_err());
        assert_eq!(web_origin("https://app.example.com"), Ok("https://app.example.com".to_owned()));
        assert!(web_origin("https://app.example.com/path").is_err() && web_origin("null").is_err());
    }
}
