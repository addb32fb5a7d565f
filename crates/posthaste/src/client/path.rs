//! Paths of the API, with every part escaped.

use url::Url;

/// `/v1/` and the parts, each escaped.
pub(crate) fn path(parts: &[&str]) -> String {
    query(parts, &[])
}

/// `/v1/` and the parts, with a query. Both are escaped.
pub(crate) fn query(parts: &[&str], query: &[(String, String)]) -> String {
    let mut url = Url::parse("http://x/v1/").expect("a constant URL");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url[url::Position::BeforePath..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_leave_their_place() {
        assert_eq!(path(&["accounts", "a b/../c?", "webhooks"]), "/v1/accounts/a%20b%2F..%2Fc%3F/webhooks");
        let pairs = [("event".to_owned(), "alert.*".to_owned()), ("q".to_owned(), "a&b=c".to_owned())];
        assert_eq!(query(&["x"], &pairs), "/v1/x?event=alert.*&q=a%26b%3Dc");
    }
}
