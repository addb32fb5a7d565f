//! Which attempts are wanted: the grammar of the log's filter, on what the stream tells.

use domain::attempt::ErrorCode;
use domain::delivery::DeliveryStatus;
use domain::event_filter::EventPattern;
use domain::filter::DeliveryFilter;
use serde_json::Value;

use crate::exit::Stop;
use crate::output::value::{number, text};

/// The keys of the log's filter that do not look back.
const KEYS: [&str; 6] = ["status", "event", "code", "error", "webhook", "test"];

/// The filter.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    filter: DeliveryFilter,
    failed: bool,
    /// As it was written, for the screen.
    pub(super) said: String,
}

impl Filter {
    /// Reads words of `key=value`, and the flags.
    ///
    /// # Errors
    /// What the grammar refuses, and keys that look back: a stream tells what happens from now on.
    pub(super) fn new(words: &[String], events: &[EventPattern], failed: bool) -> Result<Self, Stop> {
        let pairs = words.iter().map(|word| {
            word.split_once('=')
                .ok_or_else(|| Stop::usage(format!("Write filters as KEY=VALUE, such as status=failed, not {word:?}.")))
        });
        let pairs: Vec<(&str, &str)> = pairs.collect::<Result<_, _>>()?;
        if let Some((key, _)) = pairs.iter().find(|(key, _)| matches!(*key, "since" | "until" | "q")) {
            return Err(Stop::usage(format!("Leave {key} out: it looks back, as `posthaste deliveries list` does.")));
        }
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !KEYS.contains(key)) {
            return Err(Stop::usage(format!("Filter by {}: there is no key {key:?} here.", KEYS.join(", "))));
        }
        // No span is read, so the time does not matter.
        let filter = DeliveryFilter::parse(pairs, domain::time::Timestamp(0));
        let mut filter = filter.map_err(|refusals| {
            Stop::usage(refusals.into_iter().map(|refusal| refusal.detail).collect::<Vec<_>>().join("\n"))
        })?;
        filter.events.extend(events.iter().cloned());
        let mut said = words.to_vec();
        said.extend(events.iter().map(|event| format!("event={event}")));
        said.extend(failed.then(|| "failed".to_owned()));
        Ok(Self { filter, failed, said: said.join(" ") })
    }

    /// The id of the one webhook that is wanted.
    pub(super) fn webhook(&self) -> Option<String> {
        self.filter.webhook.as_ref().map(ToString::to_string)
    }

    /// Whether this attempt is wanted.
    pub(super) fn wants(&self, news: &Value) -> bool {
        let Self { filter, failed, .. } = self;
        let (event, status) = (text(news, "event"), DeliveryStatus::parse(text(news, "status")));
        let code = number(news, "status_code").and_then(|code| u16::try_from(code).ok());
        let error = ErrorCode::parse(text(&news["error"], "code"));
        (!failed || !news["error"].is_null())
            && (filter.events.is_empty() || filter.events.iter().any(|pattern| pattern.matches(event)))
            && (filter.status.is_empty() || status.is_some_and(|status| filter.status.contains(&status)))
            && (filter.code.is_empty() || code.is_some_and(|code| filter.code.iter().any(|one| one.matches(code))))
            && filter.test.is_none_or(|test| news["test"] == test)
            && (filter.error.is_empty() || error.is_some_and(|error| filter.error.contains(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filter(words: &[&str], failed: bool) -> Result<Filter, Stop> {
        Filter::new(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &[], failed)
    }

    #[test]
    fn only_what_is_wanted_is_said() {
        let news = |event: &str, status: &str, code: Option<u16>, error: Option<&str>| json!({"event": event, "status": status, "status_code": code, "test": code == Some(503), "error": error.map(|code| json!({"code": code}))});
        let delivered = news("alert.rule_created", "delivered", Some(200), None);
        let failing = news("alert.rule_created", "pending", Some(503), Some("http_5xx"));
        let refused = news("sequence.email_sent", "failed", None, Some("connect_refused"));
        for (words, failed, wanted) in [
            (&[][..], false, [true, true, true]),
            (&[], true, [false, true, true]),
            (&["event=alert.*"], false, [true, true, false]),
            (&["event=alert.*"], true, [false, true, false]),
            (&["status=failed,delivered"], false, [true, false, true]),
            (&["code=5xx"], false, [false, true, false]),
            (&["error=connect_refused"], false, [false, false, true]),
            (&["test=true"], false, [false, true, false]),
            (&["test=false"], false, [true, false, true]),
        ] {
            let filter = filter(words, failed).expect("a filter");
            assert_eq!([&delivered, &failing, &refused].map(|news| filter.wants(news)), wanted, "{words:?}");
        }
    }

    #[test]
    fn what_looks_back_or_is_no_filter_is_refused() {
        for words in [&["since=1h"][..], &["q=x"], &["failed"], &["status=lost"], &["webhook=x"]] {
            assert!(filter(words, false).is_err(), "{words:?}");
        }
        let said = filter(&["foo=1"], false).expect_err("it is no key").said;
        assert!(said.ends_with("there is no key \"foo\" here.") && !said.contains("since"), "{said}");
        assert_eq!(filter(&["webhook=wh_a"], false).expect("a filter").webhook().as_deref(), Some("wh_a"));
    }
}
