//! When the certificates of receivers end, as they were shown at the last handshakes. In memory: the next handshake tells it
//! again, and people are only advised by it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::endpoint_url::EndpointUrl;
use domain::time::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::certificate;

/// How many origins are remembered. Beyond them it is begun anew.
const ORIGINS_MAX: usize = 20_000;

/// The ends, by origin.
#[derive(Debug, Default)]
pub(crate) struct CertificateEnds(Mutex<HashMap<Box<str>, Timestamp>>);

impl CertificateEnds {
    /// Remembers the end of the certificate that was shown: the first of the chain is the receiver's own.
    pub(crate) fn shown(&self, url: &EndpointUrl, chain: Option<&[CertificateDer<'_>]>) {
        let end = chain.and_then(<[_]>::first).and_then(|own| certificate::ends_at(own));
        let mut ends = self.ends();
        match end {
            None => drop(ends.remove(url.origin())),
            Some(end) => {
                if ends.len() >= ORIGINS_MAX && !ends.contains_key(url.origin()) {
                    ends.clear();
                }
                ends.insert(url.origin().into(), end);
            }
        }
    }

    /// The end that was seen last; `None` if none was.
    pub(crate) fn of(&self, url: &EndpointUrl) -> Option<Timestamp> {
        self.ends().get(url.origin()).copied()
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<Box<str>, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
