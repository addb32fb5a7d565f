//! When a certificate ends. The TLS library checks that and does not tell it, and it is four fields into the DER.

use domain::time::Timestamp;

/// A DER element's tag, as far as certificates need them.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity; `None` if it cannot be read.
pub(crate) fn ends_at(certificate: &[u8]) -> Option<Timestamp> {
    let (inside, _) = expect(certificate, SEQUENCE)?;
    let (mut rest, _) = expect(inside, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (tag, end, _) = element(element(validity)?.2)?;
    instant(tag, std::str::from_utf8(end).ok()?)
}

fn expect(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = element(der)?;
    (tag == wanted).then_some((value, rest))
}

/// The first element: its tag, its value, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// `491231235959Z` and `20491231235959Z`; years of two digits lie between 1950 and 2049.
fn instant(tag: u8, text: &str) -> Option<Timestamp> {
    let (century, text) = match tag {
        UTC_TIME => (if text.get(..2)? < "50" { "20" } else { "19" }, text),
        GENERALIZED_TIME => (text.get(..2)?, text.get(2..)?),
        _ => return None,
    };
    let part = |at: usize| text.get(at..at + 2);
    let (year, month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, part(10)?);
    format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn the_end_is_read_as_it_was_written() {
        for (year, expected) in [(2031, "2031-11-21T00:00:00.000000Z"), (2062, "2062-11-21T00:00:00.000000Z")] {
            let mut params = CertificateParams::new(["hooks.example.com".to_owned()]).expect("names");
            params.not_after = date_time_ymd(year, 11, 21);
            let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
            assert_eq!(ends_at(certificate.der()).expect("an end").to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let params = CertificateParams::new(["a.example.com".to_owned()]).expect("names");
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        let whole: &[u8] = certificate.der();
        for length in 0..100 {
            assert_eq!(ends_at(&whole[..length]), None, "{length} bytes of it");
        }
        for junk in [&b""[..], b"0", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x83\xff\xff\xff0000"] {
            assert_eq!(ends_at(junk), None);
        }
    }
}
