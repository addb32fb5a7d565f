//! The dashboard: files that the binary hands in, and the one page that every address of the dashboard gets.
//!
//! Nothing here knows what the files do. What matters is how they are given out: the page afresh each time, everything else
//! for ever, since its name changes with its content; and under a policy that lets the page talk to this server only.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use data_encoding::BASE64URL_NOPAD;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use crate::app::Api;
use crate::problem::Problem;

/// The page's name among the files.
const PAGE: &str = "index.html";
/// Where the page's addresses start; replaced by the path under which the server is reached.
const BASE: &str = "<base href=\"/\">";
/// What the page may do: run its own files and talk to this server. No inline script or style, no other host. Who may frame
/// it follows.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'self'; form-action 'none'; frame-ancestors ";

/// A file of the dashboard, compressed when it was built.
#[derive(Debug, Clone, Copy)]
pub struct DashboardFile {
    /// Its path below the dashboard's own, such as `assets/index-B1x2.js`.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub media: &'static str,
    /// Its bytes.
    pub plain: &'static [u8],
    /// The same as gzip; empty if that is not smaller.
    pub gzip: &'static [u8],
    /// The same as Brotli; empty if that is not smaller.
    pub brotli: &'static [u8],
}

/// The dashboard as the binary hands it in.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Its files; without any there is no dashboard.
    pub files: Arc<[DashboardFile]>,
    /// The path under which this server is reached from outside: `/`, or that of the public URL, with a slash at its end.
    pub base: String,
    /// The origins that may frame the portal.
    pub portal_origins: Vec<String>,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self { files: Arc::default(), base: "/".to_owned(), portal_origins: Vec::new() }
    }
}

impl Dashboard {
    fn file(&self, path: &str) -> Option<&DashboardFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The origins that may frame the page at this address: the portal's alone has any.
    fn framers(&self, path: &str) -> &[String] {
        if path == "portal" || path.starts_with("portal/") { &self.portal_origins } else { &[] }
    }

    /// The page, with the path under which it is reached.
    fn page(&self) -> Option<String> {
        let text = std::str::from_utf8(self.file(PAGE)?.plain).ok()?;
        // A public URL's path has been through a URL parser: no quote and no bracket is left in it.
        Some(text.replacen(BASE, &format!("<base href=\"{}\">", self.base), 1))
    }
}

/// Whatever is no operation of the API: a file, the page, or nothing.
pub(crate) async fn serve(State(api): State<Arc<Api>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return Problem::not_found().into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if path != PAGE
        && let Some(file) = api.dashboard.file(path)
    {
        return give(file, &headers);
    }
    // Addresses of the dashboard are the app's own to know. Who does not ask for a page gets the API's answer.
    let wants_page = path.is_empty() || accepts(&headers, &ACCEPT, "text/html");
    let below_api = path == "v1" || path.starts_with("v1/");
    match api.dashboard.page() {
        Some(page) if wants_page && !below_api => give_page(page, api.dashboard.framers(path), &headers),
        Some(_) | None => Problem::not_found().into_response(),
    }
}

fn give_page(page: String, framers: &[String], headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", BASE64URL_NOPAD.encode(&Sha256::digest(page.as_bytes())[..12]));
    let same = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let same = same.flat_map(|value| value.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = Response::new(if same { Body::empty() } else { Body::from(page) });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if framers.is_empty() {
        answer.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    let framers = if framers.is_empty() { "'none'".to_owned() } else { framers.join(" ") };
    if let Ok(policy) = HeaderValue::from_str(&format!("{POLICY}{framers}")) {
        answer.insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.insert(ETAG, tag);
    }
    response
}

fn give(file: &DashboardFile, headers: &HeaderMap) -> Response {
    let (bytes, encoding) = if !file.brotli.is_empty() && accepts(headers, &ACCEPT_ENCODING, "br") {
        (file.brotli, Some("br"))
    } else if !file.gzip.is_empty() && accepts(headers, &ACCEPT_ENCODING, "gzip") {
        (file.gzip, Some("gzip"))
    } else {
        (file.plain, None)
    };
    let mut response = Response::new(Body::from(bytes));
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(file.media));
    answer.insert(VARY, HeaderValue::from_static("accept-encoding"));
    answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(encoding) = encoding {
        answer.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    // Names of what lies in `assets` hold a hash of the content; the few others are asked for again.
    let kept =
        if file.path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "public, max-age=300" };
    answer.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    response
}

/// Whether a header with a list of values has this one, and not with `q=0`.
fn accepts(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    values.into_iter().any(|value| {
        let mut parts = value.split(';').map(str::trim);
        parts.next().is_some_and(|value| value.eq_ignore_ascii_case(wanted))
            && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)))
    })
}
