//! The proof that a request which a browser's cookie lets in was made by our own pages.
//!
//! A cookie is sent by the browser whoever made it send the request. `SameSite=Strict` keeps other sites' requests from
//! carrying it; this is the second lock, which does not trust the first: what changes something needs a header that no
//! other site can set without a CORS permission, which is never given, and must not say that it came from elsewhere.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderName, StatusCode};

use crate::app::Api;
use crate::problem::Problem;

const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request with a session's cookie pass.
///
/// # Errors
/// 403 if it could change something and lacks the proof.
pub(crate) fn require(parts: &Parts, api: &Api) -> Result<(), Problem> {
    if parts.method.is_safe() {
        return Ok(());
    }
    let Some(value) = parts.headers.get(&REQUESTED_WITH) else {
        return Err(refused(
            "A change by a session's cookie needs the header X-Requested-With, whatever its value, which only this \
             server's own pages can send.",
        ));
    };
    if value.is_empty() {
        return Err(refused("The header X-Requested-With is empty."));
    }
    require_same_origin(parts, api)
}

/// Lets a request pass unless the browser says that another site's page made it.
///
/// # Errors
/// 403.
pub(crate) fn require_same_origin(parts: &Parts, api: &Api) -> Result<(), Problem> {
    let elsewhere = || refused("The request was made by a page of another site.");
    // `none` is a person who typed an address, and no address that is typed is fetched by these methods.
    if parts.headers.get_all(&FETCH_SITE).iter().any(|site| site != "same-origin") {
        return Err(elsewhere());
    }
    for origin in parts.headers.get_all(ORIGIN) {
        let ours = origin.to_str().is_ok_and(|origin| origin == api.outside.origin() || is_of_host(origin, parts));
        if !ours {
            return Err(elsewhere());
        }
    }
    Ok(())
}

/// Whether an origin is the host that the request was sent to. The cookie was sent to this host as well, and belongs to
/// it; so a name that someone else made lead here has no cookie to abuse.
fn is_of_host(origin: &str, parts: &Parts) -> bool {
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    authority.is_some() && authority == host
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross_site", detail)
}
