//! What the check of data lets through, and in which words it refuses.

use super::*;
use crate::catalogue::Catalogue;

fn check(name: &str, data: &str) -> Result<bool, Vec<(String, String)>> {
    let catalogue = Catalogue::builtin();
    let data = RawValue::from_string(data.to_owned()).expect("JSON");
    let checked = catalogue.get(name).expect("a type of the page").check(&data);
    checked.map_err(|refusals| {
        assert!(refusals.iter().all(|refusal| refusal.code == DATA_INVALID));
        refusals.into_iter().map(|refusal| (refusal.pointer, refusal.detail)).collect()
    })
}

fn with_member(member: &str) -> String {
    format!(r#"{{"domain":"competitor.com","changes":[],{member}}}"#)
}

#[test]
fn each_fault_has_its_pointer() {
    let faults = check("watchlist.domain_changed", r#"{"domain":7,"changes":"x"}"#).expect_err("E034");
    assert!(faults.contains(&("/data/domain".into(), "`data.domain` must be a string, but is a number.".into())));
    assert!(faults.contains(&("/data/changes".into(), "`data.changes` must be an array, but is a string.".into())));
    assert_eq!(faults.len(), 2);

    let faults = check("alert.domain_matched", "{}").expect_err("E035");
    let missing = "`data.domain` is missing; `alert.domain_matched` requires it.";
    assert_eq!(faults, [("/data/domain".to_owned(), missing.to_owned())]);

    let faults = check("sequence.email_replied", r#"{"domain":"a","step_number":1.5}"#).expect_err("no whole number");
    assert_eq!(faults[0].1, "`data.step_number` must be a whole number, but is a number.");
}

#[test]
fn data_is_an_object_always() {
    for (data, found) in [("null", "null"), ("[]", "an array"), ("7", "a number"), (r#""x""#, "a string")] {
        let faults = check("enrichment.failed", data).expect_err("no object");
        assert_eq!(faults, [("/data".to_owned(), format!("`data` must be an object, but is {found}."))]);
    }
}

#[test]
fn every_number_passes() {
    for number in ["1e400", "9223372036854775808", "123456789012345678901234567890", "1E+2", "1e999999999"] {
        assert_eq!(check("watchlist.domain_changed", &with_member(&format!(r#""n":{number}"#))), Ok(false));
        assert_eq!(
            check("alert.domain_matched", &format!(r#"{{"domain":"a.com","confidence":{number}}}"#)),
            Ok(false),
            "{number}"
        );
    }
    for number in ["2.0", "1E+2", "123456789012345678901234567890"] {
        let data = format!(r#"{{"domain":"a.com","step_number":{number}}}"#);
        assert_eq!(check("sequence.email_replied", &data), Ok(false), "{number}");
    }
}

#[test]
fn what_json_allows_passes() {
    for member in [r#""a":1,"a":2"#, r#""s":"\u0000""#, r#""s":"\ud83d\ude00""#, r#""s":"a\/b""#, r#""s":"\ud800""#] {
        assert_eq!(check("watchlist.domain_changed", &with_member(member)), Ok(false), "{member}");
    }
    // Of equal keys the last one counts, as receivers read it.
    assert_eq!(check("watchlist.domain_changed", r#"{"domain":7,"domain":"a.com"}"#), Ok(false));
    assert!(check("watchlist.domain_changed", r#"{"domain":"a.com","domain":7}"#).is_err());
    assert!(check("watchlist.domain_changed", r#"{"dom\u0061in":7}"#).is_err());
}

#[test]
fn depth_is_refused_without_a_stack() {
    for levels in [NESTING_MAX, 10_000, 100_000] {
        let deep = with_member(&format!(r#""n":{}{}"#, "[".repeat(levels), "]".repeat(levels)));
        let faults = check("watchlist.domain_changed", &deep).expect_err("too deep");
        assert_eq!(faults[0].0, "/data");
    }
    let levels = NESTING_MAX - 1;
    let deep = with_member(&format!(r#""n":{}{}"#, "[".repeat(levels), "]".repeat(levels)));
    assert_eq!(check("watchlist.domain_changed", &deep), Ok(false));
}

#[test]
fn names() {
    for name in ["a.b", "invoice.line_item.added", "v2.x_1"] {
        assert!(is_name(name), "{name}");
    }
    let long = format!("a.{}", "b".repeat(NAME_LEN_MAX));
    for name in
        ["", "alert", "alert.", ".x", "a..b", "*", "a.*", "A.b", "../x", "a\r\n.b", "a.b\0", "é.x", "a-b.c", &long]
    {
        assert!(!is_name(name), "{name}");
    }
}
