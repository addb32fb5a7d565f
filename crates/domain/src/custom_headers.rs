//! A webhook's own headers: sent besides ours, as they are. The rules stand in the head of the table of hostile inputs
//! ("Headers:").

use std::fmt;

use crate::refusal::Refusal;

/// The most headers that a webhook may have.
const COUNT_MAX: usize = 20;
/// The most bytes that their names and values may have together.
const BYTES_MAX: usize = 4_096;

/// Names that are ours to send, or that steer proxies, connections or clouds; all in lower case.
const FORBIDDEN: [&str; 17] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "http2-settings",
    "user-agent",
    "accept",
    "accept-encoding",
    "date",
    "forwarded",
    "via",
    "metadata",
    "proxy",
];
/// Starts of such names; the brand's prefix comes on top.
const FORBIDDEN_STARTS: [&str; 8] = [
    "content-",
    "proxy-",
    "webhook-",
    "x-forwarded-",
    "sec-",
    "metadata-",
    "x-aws-ec2-metadata-",
    "x-google-metadata-",
];

/// Names and values, in the order in which they were given. [`fmt::Debug`] masks the values, which are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomHeaders(Vec<(String, String)>);

impl CustomHeaders {
    /// Judges the headers that a person or a program gives; `prefix` is the brand's, such as `X-CronDB`.
    ///
    /// # Errors
    /// Every fault, at `/headers` or `/headers/X-Name`, with one of the codes `header_…` of the table of hostile inputs.
    /// No refusal repeats a value.
    pub fn parse(pairs: Vec<(String, String)>, prefix: &str) -> Result<Self, Vec<Refusal>> {
        let mut refusals: Vec<Refusal> = whole_fault(&pairs).into_iter().collect();
        // More than the count says nothing about the rest, and a flood of faults helps nobody.
        for (place, (name, value)) in pairs.iter().enumerate().take(COUNT_MAX) {
            let earlier = &pairs[..place];
            let twice = earlier.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
            refusals.extend(fault(name, value, prefix, twice).map(|(code, detail)| {
                Refusal::new(format!("/headers/{}", name.replace('~', "~0").replace('/', "~1")), code, detail)
            }));
        }
        if refusals.is_empty() { Ok(Self(pairs)) } else { Err(refusals) }
    }

    /// Headers that were judged when they were taken, as the store gives them back.
    #[must_use]
    pub const fn stored(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// Names and values, in order.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The names, in order: what may be shown.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names().map(|name| (name, "•••"))).finish()
    }
}

/// What is wrong with the headers as a whole.
fn whole_fault(pairs: &[(String, String)]) -> Option<Refusal> {
    if pairs.len() > COUNT_MAX {
        let detail = format!("There are {} headers, at most {COUNT_MAX} are taken: leave some out.", pairs.len());
        return Some(Refusal::new("/headers", "header_too_many", detail));
    }
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    (bytes > BYTES_MAX).then(|| {
        let detail = format!(
            "Names and values of the headers have {bytes} bytes together, at most {BYTES_MAX} are taken: shorten them."
        );
        Refusal::new("/headers", "header_too_large", detail)
    })
}

/// What is wrong with one header: a code and a sentence.
fn fault(name: &str, value: &str, prefix: &str, twice: bool) -> Option<(&'static str, String)> {
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        let detail = format!("`{shown}` is no header name: use letters, digits and hyphens, such as X-Api-Key.");
        return Some(("header_name_invalid", detail));
    }
    if is_forbidden(name, prefix) {
        let detail = format!("The header {shown} cannot be set: it is ours, or belongs to the connection or a proxy.");
        return Some(("header_forbidden", detail));
    }
    if twice {
        return Some(("header_duplicate", format!("The header {shown} is given twice: leave one out.")));
    }
    let fits = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && value.trim() == value;
    (!fits).then(|| {
        let detail = format!("The value of {shown} may hold visible ASCII characters, and spaces between them, only.");
        ("header_value_invalid", detail)
    })
}

/// A byte of a token (RFC 9110, section 5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

fn is_forbidden(name: &str, prefix: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let prefix = prefix.to_ascii_lowercase();
    FORBIDDEN.contains(&name.as_str())
        || FORBIDDEN_STARTS.iter().any(|start| name.starts_with(start))
        || (!prefix.is_empty() && name.starts_with(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(pairs: &[(&str, &str)], prefix: &str) -> Vec<(String, &'static str)> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CustomHeaders::parse(pairs, prefix)
            .map_or_else(|faults| faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect(), |_| Vec::new())
    }

    fn check(name: &str, value: &str, expect: &str) {
        let found: Vec<_> = codes(&[(name, value)], "X-CronDB").into_iter().map(|(_, code)| code).collect();
        assert_eq!(found.join(" "), expect, "{name:?}: {value:?}");
    }

    /// Rows H001–H011.
    #[test]
    fn values_are_visible_ascii() {
        for bad in ["a\r\nX: y", "a\rb", "a\0b", "a\u{1}b", "a\tb", "日本", "a\u{2028}b", " a", "a ", "\u{7f}"] {
            check("X-Test", bad, "header_value_invalid");
        }
        for good in ["", "two words", "s3cr3t", "{{env.HOME}} ${jndi:ldap://x} %s%n"] {
            check("X-Test", good, "");
        }
    }

    /// Rows H012–H019.
    #[test]
    fn names_are_tokens() {
        for bad in ["", "X A", "X:A", "X\r\nY", "héé", "X\0", "X\tA", "X/A", "X\"A"] {
            check(bad, "v", "header_name_invalid");
        }
    }

    /// Rows H020–H043, and the rest of the rule.
    #[test]
    fn names_of_others_are_forbidden() {
        let forbidden = "hOsT Content-Length Content-Encoding Content-Foo Content-Type TE Trailer Keep-Alive Upgrade \
            Connection Transfer-Encoding Expect Proxy-Authorization Proxy-Connection X-CronDB-Signature x-crondb-foo \
            webhook-id webhook-timestamp webhook-foo HTTP2-Settings Accept-Encoding Accept User-Agent Date Metadata \
            Metadata-Flavor X-aws-ec2-metadata-token X-Google-Metadata-Request X-Forwarded-For X-Forwarded-Host Forwarded \
            Via Sec-Fetch-Site";
        for name in forbidden.split_whitespace() {
            check(name, "v", "header_forbidden");
        }
        for name in ["X-Posthaste-Foo", "X-Webhook-Token", "Authorization", "X-Api-Key", "Cookie", "X-Host"] {
            check(name, "v", "");
        }
        assert_eq!(codes(&[("X-CronDB-Foo", "v")], "X-Acme"), []);
        assert_eq!(codes(&[("X-Acme-Foo", "v")], "X-Acme"), [("/headers/X-Acme-Foo".into(), "header_forbidden")]);
    }

    /// Rows H044–H048.
    #[test]
    fn each_once_and_not_too_many() {
        assert_eq!(
            codes(&[("X-A", "1"), ("x-a", "1")], "X"),
            [("/headers/X-A".to_owned(), "header_forbidden"), ("/headers/x-a".to_owned(), "header_forbidden")]
        );
        assert_eq!(codes(&[("X-A", "1"), ("x-a", "1")], "X-CronDB"), [("/headers/x-a".into(), "header_duplicate")]);
        assert_eq!(codes(&[("X-A", "1"), ("x-b", "2")], "X-CronDB"), []);
        let names: Vec<String> = (0..21).map(|n| format!("X-{n}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1234567")).collect();
        assert_eq!(codes(&many, "X-CronDB"), [("/headers".into(), "header_too_many")]);
        assert_eq!(codes(&many[..20], "X-CronDB"), []);
        assert_eq!(codes(&[("X-Test", &"a".repeat(4_000))], "X-CronDB"), []);
        assert_eq!(codes(&[("X-Test", &"a".repeat(4_090))], "X-CronDB"), []);
        assert_eq!(codes(&[("X-Test", &"a".repeat(4_091))], "X-CronDB"), [("/headers".into(), "header_too_large")]);
    }

    #[test]
    fn pointers_are_escaped_and_values_masked() {
        assert_eq!(codes(&[("a~/b", "v")], "X-CronDB"), [("/headers/a~0~1b".into(), "header_name_invalid")]);
        let headers = CustomHeaders::stored(vec![("X-Key".into(), "s3cr3t".into())]);
        assert_eq!(format!("{headers:?}"), r#"{"X-Key": "•••"}"#);
        let refusals = CustomHeaders::parse(vec![("X-Key".into(), "s3cr3t\t".into())], "X-CronDB").expect_err("a tab");
        assert!(!format!("{refusals:?}").contains("s3cr3t"));
    }
}
