//! The quick answer and the library's never contradict each other.

use super::*;
use crate::catalogue::raw_json::NESTING_MAX;
use proptest::prelude::*;
use serde_json::json;

fn fits(schema: &Value, text: &str) -> bool {
    let shape = Shape::compile(schema).expect("a plain schema");
    let mut cursor = Cursor::new(text);
    shape.walk(&mut cursor, NESTING_MAX).is_ok()
}

#[test]
fn other_keywords_have_no_shape() {
    for schema in [
        json!(false),
        json!({"minimum": 1}),
        json!({"properties": {"a": {"pattern": "x"}}}),
        json!({"additionalProperties": false}),
        json!({"enum": [1]}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date-time"}),
        json!({"required": (0..65).map(|n| format!("m{n}")).collect::<Vec<_>>()}),
    ] {
        assert!(Shape::compile(&schema).is_none(), "{schema}");
    }
}

#[test]
fn says_fits_where_it_can() {
    let schema = json!({
        "type": "object", "required": ["a", "z"],
        "properties": {
            "a": {"type": ["string", "null"]}, "b": {"type": "integer"}, "c": {"enum": ["x", "y"]},
            "d": {"type": "array", "items": {"type": "number"}},
        }
    });
    for text in [
        r#"{"a":"s","z":[[{}]]}"#,
        r#" { "z" : 1 , "d" : [ 1 , 2.5e400 ] , "c":"y", "b":-7,"a":null, "more" : {"a":[]} } "#,
        r#"{"a":"\"}","z":"}","d":[]}"#,
    ] {
        assert!(fits(&schema, text), "{text}");
    }
    for text in
        ["{}", "[]", r#"{"a":"s"}"#, r#"{"a":1,"z":1}"#, r#"{"a":"s","z":1,"c":"z"}"#, r#"{"a":"","z":1,"d":[""]}"#]
    {
        assert!(!fits(&schema, text), "{text}");
    }
}

#[test]
fn depth_counts_the_same_on_every_way() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (schema, text) in [
        (json!({}), nested(NESTING_MAX)),
        (json!({"items": {"items": {}}}), nested(NESTING_MAX)),
        (json!({"type": "object"}), format!(r#"{{"a":{}}}"#, nested(NESTING_MAX - 1))),
        (json!({"properties": {"a": {}}}), format!(r#"{{"a":{}}}"#, nested(NESTING_MAX - 1))),
        (json!({"properties": {"b": {}}}), format!(r#"{{"a":{}}}"#, nested(NESTING_MAX - 1))),
        (json!({"properties": {"a": {"items": {"type": "array"}}}}), format!(r#"{{"a":{}}}"#, nested(NESTING_MAX - 1))),
    ] {
        let shape = Shape::compile(&schema).expect("a plain schema");
        assert_eq!(shape.walk(&mut Cursor::new(&text), NESTING_MAX), Ok(()), "{schema}");
        assert_eq!(shape.walk(&mut Cursor::new(&text), NESTING_MAX - 1), Err(Stop::TooDeep), "{schema}");
        assert_eq!(Cursor::new(&text).read(NESTING_MAX - 1), Err(Stop::TooDeep), "{schema}");
    }
}

fn schemas() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["object", "array", "string", "number", "integer", "boolean", "null"]);
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        kind.clone().prop_map(|kind| json!({"type": kind, "description": "d"})),
        prop::collection::btree_set(kind, 1..3).prop_map(|kinds| json!({"type": kinds})),
        Just(json!({"enum": ["a", "é"]})),
        Just(json!({"type": "string", "enum": ["a\"b", ""]})),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let names = || prop::sample::select(vec!["a", "b", "c", "é", "a\"b"]);
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": ["array", "object"], "items": items})),
            (prop::collection::btree_map(names(), inner, 0..4), prop::collection::btree_set(names(), 0..3))
                .prop_map(|(properties, required)| json!({"properties": properties, "required": required})),
        ]
    })
}

/// Texts of JSON as a producer might write them: equal keys, escapes, odd numbers, white space.
fn texts() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "-0",
        "1.0",
        "1e2",
        "1E+2",
        "1e400",
        "0.5",
        "12345678901234567890123",
        "true",
        "false",
        "null",
        r#""""#,
        r#""a""#,
        r#""\u0061""#,
        r#""é""#,
        r#""\u00e9""#,
        r#""a\"b""#,
        r#""\ud800""#,
        "{}",
        "[]",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 32, 5, |inner| {
        let key = prop::sample::select(vec!["a", "b", "c", "é", "a\\\"b", "\\u0061", "other"]);
        let space = prop::sample::select(vec!["", "", " ", "\n\t"]);
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), space.clone())
                .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},{space}")))),
            (prop::collection::vec((key, inner), 0..5), space).prop_map(|(members, space)| {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("\"{key}\"{space}:{space}{value}")).collect();
                format!("{{{space}{}{space}}}", members.join(&format!("{space},{space}")))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn never_contradicts_the_library(schema in schemas(), text in texts()) {
        let valid = jsonschema::draft202012::new(&schema).expect("a schema").is_valid(
            &Cursor::new(&text).read(NESTING_MAX).expect("well-formed"));
        let fits = fits(&schema, &text);
        prop_assert!(valid || !fits, "{schema} {text}");
        // And where nothing is written in an odd way, the quick answer is the whole answer.
        if !text.contains('\\') && !text.contains("1.0") && !text.contains("1e") && !text.contains("1E") && !repeats_a_key(&text) {
            prop_assert_eq!(valid, fits, "{} {}", schema, text);
        }
    }
}

fn repeats_a_key(text: &str) -> bool {
    text.matches("\":").count() + text.matches("\" :").count() + text.matches("\"\n\t:").count()
        > count_members(&Cursor::new(text).read(NESTING_MAX).expect("well-formed"))
}

fn count_members(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(count_members).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_members).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
