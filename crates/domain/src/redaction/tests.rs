//! Redaction: the examples, and against a parsed tree.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn redaction(pointers: &[&str]) -> Redaction {
    Redaction::parse(&pointers.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).expect("pointers")
}

fn shown(pointers: &[&str], data: &str) -> String {
    String::from_utf8(redaction(pointers).apply(data.as_bytes()).into_owned()).expect("UTF-8")
}

#[test]
fn only_what_is_named_goes_and_every_other_byte_stays() {
    let data =
        "{ \"contact\" : {\"emails\":[\"a@b.c\", \"d@e.f\"],\"n\":1e400 }, \"x\":[ {\"v\": 1} ,{\"v\":\"2\"},3]}";
    assert_eq!(shown(&["/contact/emails"], data), data.replace("[\"a@b.c\", \"d@e.f\"]", REDACTED),);
    assert_eq!(shown(&["/contact/emails/1"], data), data.replace("\"d@e.f\"", REDACTED));
    assert_eq!(
        shown(&["/x/*/v", "/x/2"], data),
        data.replace("{\"v\": 1}", "{\"v\": \"[redacted]\"}")
            .replace("\"2\"", REDACTED)
            .replace(",3]", ",\"[redacted]\"]"),
    );
    assert_eq!(shown(&["/nope", "/contact/emails/x", "/contact/n/deeper", "/x/01"], data), data);
    // The inner one is within the outer one.
    assert_eq!(shown(&["/contact/emails/0", "/contact"], data), shown(&["/contact"], data));
}

#[test]
fn a_name_is_found_however_it_is_written_and_however_often() {
    assert_eq!(
        shown(&["/a~1b"], r#"{"a/b":1,"a\/b":2,"\u0061\u002fb":3}"#),
        r#"{"a/b":"[redacted]","a\/b":"[redacted]","\u0061\u002fb":"[redacted]"}"#
    );
    assert_eq!(shown(&["/ü"], r#"{"\u00fc":{"ü":[]},"u":1}"#), r#"{"\u00fc":"[redacted]","u":1}"#);
    assert_eq!(shown(&["/"], r#"{"":1," ":2}"#), r#"{"":"[redacted]"," ":2}"#);
}

#[test]
fn what_cannot_be_read_is_not_shown() {
    for data in ["{\"a\":", "{\"a\" 1}", "", "[1 2]"] {
        assert_eq!(shown(&["/b"], data), REDACTED, "{data}");
    }
    assert_eq!(redaction(&["/b"]).apply(b"{\"a\":\"\xff\"}"), REDACTED.as_bytes());
    assert_eq!(redaction(&[]).apply(b"\xff"), &b"\xff"[..]);
}

#[test]
fn faults_are_refused_in_their_places() {
    let texts = ["/a", "b", "/a", "/~"].map(str::to_owned);
    let refusals = Redaction::parse(&texts).expect_err("refusals");
    let pointers: Vec<_> = refusals.iter().map(|refusal| refusal.pointer.as_str()).collect();
    assert_eq!(pointers, ["/redact/1", "/redact/3"]);
    assert_eq!(Redaction::parse(&vec!["/a".to_owned(); POINTERS_MAX + 1]).expect_err("too many")[0].pointer, "/redact");
    assert_eq!(redaction(&["/a", "/a", "/b"]).texts().collect::<Vec<_>>(), ["/a", "/b"]);
}

fn trees() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|number| json!(number)),
        "[a-c\"\\\\/~ü ]{0,4}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[ab/~*]{0,2}|[012]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn pointers() -> impl Strategy<Value = Vec<Vec<String>>> {
    let segment = prop_oneof![3 => "[ab/~]{0,2}", 2 => "[012]", 1 => Just("*".to_owned())];
    prop::collection::vec(prop::collection::vec(segment, 1..4), 1..4)
}

/// The same on a tree.
fn redact(value: &mut Value, wanted: &[&[String]]) {
    if wanted.iter().any(|segments| segments.is_empty()) {
        *value = json!("[redacted]");
        return;
    }
    let below = |name: &str| -> Vec<&[String]> {
        let fits = |segments: &&&[String]| segments[0] == name || segments[0] == "*";
        wanted.iter().filter(fits).map(|segments| &segments[1..]).collect()
    };
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| redact(value, &below(name))),
        Value::Array(items) => {
            items.iter_mut().enumerate().for_each(|(place, value)| redact(value, &below(&place.to_string())));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

proptest! {
    #[test]
    fn agrees_with_a_tree(tree in trees(), pointers in pointers(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.expect("JSON");
        let escape = |segment: &String| segment.replace('~', "~0").replace('/', "~1");
        let texts: Vec<String> =
            pointers.iter().map(|segments| segments.iter().map(|segment| format!("/{}", escape(segment))).collect()).collect();
        let redaction = Redaction::parse(&texts).expect("pointers");
        let shown = redaction.apply(text.as_bytes());
        let mut expected = tree.clone();
        redact(&mut expected, &pointers.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let parsed: Value = serde_json::from_slice(&shown).expect("JSON still");
        prop_assert_eq!(&parsed, &expected);
        // What is not named keeps its bytes: cut the marks out, and the rest is a subsequence of pieces in order.
        let mut rest = text.as_str();
        for piece in std::str::from_utf8(&shown).expect("UTF-8").split(REDACTED) {
            let at = rest.find(piece);
            prop_assert!(at.is_some(), "{piece} of {shown:?} is not in {text}");
            rest = &rest[at.unwrap_or(0) + piece.len()..];
        }
        if expected == tree {
            prop_assert_eq!(&*shown, text.as_bytes());
        }
    }
}
