//! The dashboard's files, built from `/dashboard` by this crate's build script and kept in the binary.
//!
//! `POSTHASTE_UI_DIST=DIR` takes a directory that was built elsewhere instead. Where there is no npm, [`FILES`] is one page
//! that says so, and everything but the dashboard works.

/// A file of the dashboard.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Its path below the dashboard's own, such as `assets/index-B1x2.js`.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub media: &'static str,
    /// Its bytes.
    pub plain: &'static [u8],
    /// The same as gzip; empty if there is none.
    pub gzip: &'static [u8],
    /// The same as Brotli; empty if there is none.
    pub brotli: &'static [u8],
}

/// All of them.
pub static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_and_it_says_where_its_addresses_start() {
        let page = FILES.iter().find(|file| file.path == "index.html").expect("a page");
        let text = std::str::from_utf8(page.plain).expect("text");
        // The server replaces this by the path under which it is reached.
        assert!(text.contains("<base href=\"/\">"), "{text}");
        assert!(!text.contains("style=") && !text.contains("<style") && !text.contains("://"), "{text}");
    }
}
