//! Which events a webhook takes: exact names, a group (`alert.*`), or everything (`*`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, is_name};
use crate::refusal::Refusal;

/// The code of every refusal of a list of events.
pub const EVENTS_INVALID: &str = "events_invalid";

/// One pattern for names of event types: `alert.domain_matched`, `alert.*` or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventPattern(Arc<str>);

impl EventPattern {
    /// The pattern that `text` writes, whether or not there is such a type or group.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_part = |group: &str| is_name(group) || is_name(&format!("{group}._"));
        let fits = match text.strip_suffix(".*") {
            Some(group) => is_part(group),
            None => text == "*" || is_name(text),
        };
        fits.then(|| Self(text.into()))
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every type is meant.
    #[must_use]
    pub fn means_all(&self) -> bool {
        &*self.0 == "*"
    }

    /// Whether the type `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // What is left of `alert.*` ends with the dot; nothing is left of `*`.
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *self.0 == *name,
        }
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a webhook takes: at least one pattern, each once, in the order in which they were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventFilter(Vec<EventPattern>);

impl EventFilter {
    /// Reads the list that a person or a program gives.
    ///
    /// # Errors
    /// A refusal with [`EVENTS_INVALID`] for an empty list (it never means everything) and for each text that is no name
    /// or group of the catalogue, at `/events` or `/events/0` and so on.
    pub fn parse(texts: &[String], catalogue: &Catalogue) -> Result<Self, Vec<Refusal>> {
        if texts.is_empty() {
            let detail =
                "`events` is empty: name at least one event type, a group such as `alert.*`, or `*` for everything.";
            return Err(vec![Refusal::new("/events", EVENTS_INVALID, detail)]);
        }
        let mut patterns: Vec<EventPattern> = Vec::new();
        let mut refusals = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            match known(text, catalogue) {
                Ok(pattern) if patterns.contains(&pattern) => {}
                Ok(pattern) => patterns.push(pattern),
                Err(detail) => refusals.push(Refusal::new(format!("/events/{place}"), EVENTS_INVALID, detail)),
            }
        }
        if refusals.is_empty() { Ok(Self(patterns)) } else { Err(refusals) }
    }

    /// A list from the store. It was judged when it came in, and its types may have left the catalogue since.
    #[must_use]
    pub fn stored(texts: Vec<String>) -> Self {
        Self(texts.into_iter().map(|text| EventPattern(text.into())).collect())
    }

    /// Whether events of the type `name` are taken.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// The list as it is shown and stored.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(EventPattern::as_str)
    }
}

/// The pattern that `text` writes, if the catalogue has something that it means; else why not.
fn known(text: &str, catalogue: &Catalogue) -> Result<EventPattern, String> {
    let shown = shown(text);
    if text == "*" {
        return Ok(EventPattern(text.into()));
    }
    if let Some(group) = text.strip_suffix(".*") {
        if catalogue.has_group(group) {
            return Ok(EventPattern(text.into()));
        }
        let groups: Vec<_> = catalogue.groups().map(|group| format!("`{group}.*`")).collect();
        return Err(format!("{shown} is no group of event types; the groups are {}.", groups.join(", ")));
    }
    if let Some(event_type) = catalogue.get(text) {
        return Ok(EventPattern(Arc::clone(&event_type.name)));
    }
    if text.contains('*') {
        return Err(format!("{shown} is no pattern: `*` stands alone, or for a whole group as in `alert.*`."));
    }
    let lower = text.to_ascii_lowercase();
    Err(match catalogue.get(&lower) {
        Some(meant) => format!("{shown} is no event type; names are lower-case: `{}`.", meant.name),
        None => format!("{shown} is no event type; `GET /v1/event-types` lists them."),
    })
}

/// A text from outside as a sentence shows it: in quotes, without control characters, not longer than a line.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut start: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        start.push('…');
    }
    format!("`{start}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<EventFilter, Vec<Refusal>> {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        EventFilter::parse(&texts, &Catalogue::builtin())
    }

    fn refused(texts: &[&str]) -> Vec<(String, String)> {
        let refusals = parse(texts).expect_err("a refusal");
        assert!(refusals.iter().all(|refusal| refusal.code == EVENTS_INVALID));
        refusals.into_iter().map(|refusal| (refusal.pointer, refusal.detail)).collect()
    }

    #[test]
    fn names_groups_and_everything() {
        let filter = parse(&["alert.*", "sequence.email_sent", "alert.*"]).expect("accepted");
        assert_eq!(filter.texts().collect::<Vec<_>>(), ["alert.*", "sequence.email_sent"]);
        assert!(filter.matches("alert.rule_created") && filter.matches("sequence.email_sent"));
        assert!(!filter.matches("sequence.email_opened") && !filter.matches("alerts.x") && !filter.matches("alert"));
        assert!(parse(&["*"]).expect("accepted").matches("invoice.paid"));
        assert_eq!(parse(&["alert.domain_matched"; 2]).expect("accepted").texts().len(), 1);
    }

    #[test]
    fn an_empty_list_never_means_everything() {
        assert_eq!(refused(&[])[0].0, "/events");
    }

    #[test]
    fn what_is_unknown_is_refused_in_its_place() {
        let long = "a".repeat(1000);
        let hostile =
            ["nope.*", "alert.domain_*", "ALERT.*", "alert.", "", "*.*", ".*", "alert", "**", "alert.*.*", "\0", &long];
        for text in hostile {
            let refusals = refused(&["*", text]);
            assert_eq!(refusals.len(), 1, "{text}");
            assert_eq!(refusals[0].0, "/events/1");
            assert!(refusals[0].1.len() < 300);
        }
        assert_eq!(
            refused(&["ALERT.Rule_Created"])[0].1,
            "`ALERT.Rule_Created` is no event type; names are lower-case: `alert.rule_created`."
        );
        assert_eq!(refused(&["x.y", "*", "z"]).len(), 2);
    }

    #[test]
    fn the_store_s_list_is_trusted() {
        let filter = EventFilter::stored(vec!["gone.type".to_owned(), "gone.*".to_owned()]);
        let text = serde_json::to_string(&filter).expect("JSON");
        assert_eq!(text, r#"["gone.type","gone.*"]"#);
        assert_eq!(serde_json::from_str::<EventFilter>(&text).ok(), Some(filter.clone()));
        assert!(filter.matches("gone.type") && filter.matches("gone.other") && !filter.matches("alert.rule_created"));
    }

    #[test]
    fn patterns_without_a_catalogue() {
        for text in ["*", "alert.*", "billing.invoice.*", "gone.type"] {
            assert_eq!(EventPattern::parse(text).map(|pattern| pattern.to_string()), Some(text.to_owned()));
        }
        for text in ["", ".*", "alert", "alert.", "Alert.*", "a*", "a.b*", "*.b", "a..*"] {
            assert_eq!(EventPattern::parse(text), None, "{text}");
        }
    }
}
