//! The built-in catalogue against the page, and operators' files.

use super::*;

fn fault(text: &str) -> String {
    Catalogue::parse(text).expect_err("a fault").to_string()
}

#[test]
fn the_page_s_sixteen_in_its_order() {
    let catalogue = Catalogue::builtin();
    let names: Vec<_> = catalogue.types().iter().map(|event_type| &*event_type.name).collect();
    let page = "alert.domain_matched alert.rule_created alert.rule_deleted \
        watchlist.domain_changed watchlist.domain_added watchlist.domain_removed \
        sequence.email_sent sequence.email_opened sequence.email_clicked sequence.email_replied sequence.email_bounced \
        sequence.contact_enrolled sequence.contact_completed sequence.goal_achieved \
        enrichment.completed enrichment.failed";
    assert_eq!(names, page.split_whitespace().collect::<Vec<_>>());
    assert_eq!(catalogue.groups().collect::<Vec<_>>(), ["alert", "watchlist", "sequence", "enrichment"]);
    assert_eq!(catalogue.types()[14].description, "Bulk enrichment job finished");
}

#[test]
fn the_page_s_examples_value_for_value() {
    let catalogue = Catalogue::builtin();
    let example = |name: &str| catalogue.get(name).expect("a type of the page").example.get();
    assert_eq!(
        example("alert.domain_matched"),
        r#"{"alert_id":"alt_xyz789","alert_name":"US SaaS Leads","domain":"newstartup.com","industry":"Technology","business_type":"B2B SaaS","country":"US","confidence":0.91,"tech_stack":["Next.js","Stripe","Google Analytics","Intercom"],"contact":{"emails":["hello@newstartup.com"],"phone":null}}"#
    );
    assert_eq!(
        example("watchlist.domain_changed"),
        r#"{"domain":"competitor.com","changes":[{"field":"tech_stack","action":"added","value":"Stripe","previous_value":null}]}"#
    );
    assert_eq!(
        example("sequence.email_replied"),
        r#"{"sequence_id":"seq_abc123","sequence_name":"SaaS Outreach","domain":"prospect.com","step_number":2,"engagement_score":65,"temperature":"hot"}"#
    );
}

#[test]
fn only_the_page_s_three_require_anything() {
    let empty = RawValue::from_string("{}".to_owned()).expect("JSON");
    let strict: Vec<_> = Catalogue::builtin()
        .types()
        .iter()
        .filter(|event_type| event_type.check(&empty).is_err())
        .map(|event_type| event_type.name.to_string())
        .collect();
    assert_eq!(strict, ["alert.domain_matched", "watchlist.domain_changed", "sequence.email_replied"]);
}

#[test]
fn a_file_adds_changes_and_replaces() {
    let added = r#"{"name":"invoice.paid","description":"Paid","schema":{"required":["id"]},"example":{"id": 1.50}}"#;
    let both =
        format!(r#"{{"enforcement":"flag","types":[{added},{{"name":"alert.rule_created","enforcement":"off"}}]}}"#);
    let catalogue = Catalogue::parse(&both).expect("a catalogue");
    assert_eq!(catalogue.types().len(), 17);
    let invoice = catalogue.get("invoice.paid").expect("added");
    assert_eq!(invoice.example.get(), r#"{"id": 1.50}"#);
    assert_eq!(invoice.enforcement, Enforcement::Flag);
    let rule = catalogue.get("alert.rule_created").expect("changed");
    assert_eq!((rule.enforcement, &*rule.description), (Enforcement::Off, "New alert rule created"));
    assert_eq!(catalogue.get("enrichment.failed").expect("built in").enforcement, Enforcement::Flag);

    let alone = Catalogue::parse(&format!(r#"{{"replace":true,"types":[{added}]}}"#)).expect("a catalogue");
    assert_eq!(alone.types().len(), 1);
    assert!(alone.get("alert.rule_created").is_none());
    assert!(alone.has_group("invoice") && !alone.has_group("inv") && !alone.has_group("") && !alone.has_group("alert"));
}

#[test]
fn enforcement_decides_what_a_fault_costs() {
    let data = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
    for (enforcement, expected) in [("flag", Ok(true)), ("off", Ok(false))] {
        let catalogue = Catalogue::parse(&format!(r#"{{"enforcement":"{enforcement}"}}"#)).expect("a catalogue");
        let event_type = catalogue.get("alert.domain_matched").expect("built in");
        assert_eq!(event_type.check(&data("{}")), expected);
        assert_eq!(event_type.check(&data(r#"{"domain":"a.com"}"#)), Ok(false));
        assert!(event_type.check(&data("null")).is_err());
        assert!(event_type.check(&data(&format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000)))).is_err());
    }
}

#[test]
fn faults_name_the_type() {
    let with = |rest: &str| format!(r#"{{"types":[{{"name":"a.b","description":"d",{rest}}}]}}"#);
    for (text, expected) in [
        ("{".to_owned(), "the catalogue is not readable"),
        (r#"{"typos":[]}"#.to_owned(), "unknown field `typos`"),
        (r#"{"replace":true}"#.to_owned(), "would be empty"),
        (r#"{"types":[{}]}"#.to_owned(), "event type `types[0]`: missing field `name`"),
        (r#"{"types":[{"name":"a.b"}]}"#.to_owned(), "event type `a.b`: `description` is missing"),
        (r#"{"types":[{"name":"a.b","enforcement":"maybe"}]}"#.to_owned(), "event type `a.b`: unknown variant `maybe`"),
        (with(r#""schema":{}"#), "event type `a.b`: `example` is missing"),
        (with(r#""schema":{"type":"objekt"},"example":{}"#), "event type `a.b`: its schema is not valid"),
        (
            with(r#""schema":{"$ref":"https://example.com/x"},"example":{}"#),
            "event type `a.b`: its schema is not valid",
        ),
        (with(r#""schema":{"required":["x"]},"example":{}"#), "`data.x` is missing"),
        (with(r#""schema":{},"example":[]"#), "`data` must be an object, but is an array."),
        (with(r#""schema":{},"example":{}"#).replace("a.b", "Alert.b"), "event type `Alert.b`: the name must be"),
        (r#"{"types":[{"name":"alert.rule_created"},{"name":"alert.rule_created"}]}"#.to_owned(), "is there twice"),
    ] {
        let fault = fault(&text);
        assert!(fault.contains(expected), "{fault}");
    }
}

#[test]
fn other_keywords_are_the_library_s() {
    let text = r#"{"types":[{"name":"a.b","description":"d","example":{"n":1},"schema":{
        "properties":{"n":{"minimum":0},"s":{"enum":["x","y"]},"o":{"properties":{"p":{}},"additionalProperties":false}}}}]}"#;
    let catalogue = Catalogue::parse(text).expect("a catalogue");
    let event_type = catalogue.get("a.b").expect("added");
    let data = RawValue::from_string(r#"{"n":-1e500,"s":"z","o":{"k":1}}"#.to_owned()).expect("JSON");
    let details: Vec<_> =
        event_type.check(&data).expect_err("three faults").into_iter().map(|fault| fault.detail).collect();
    assert_eq!(
        details,
        [
            "`data.n` is less than the minimum of 0.",
            "`data.o` has members that its schema does not allow, such as `k`.",
            "`data.s` is not one of \"x\" or \"y\".",
        ]
    );
}

#[test]
fn the_document_lists_exactly_the_catalogue() {
    const DOCUMENT: &str = include_str!("../../../../docs/event-types.md");
    let listed: Vec<_> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| [`")?.strip_suffix(" |")?.split_once("`](#"))
        .map(|(name, rest)| (name, rest.split_once(") | ").expect("a description").1))
        .collect();
    let catalogue = Catalogue::builtin();
    let types = catalogue.types();
    let expected: Vec<_> = types.iter().map(|event_type| (&*event_type.name, &*event_type.description)).collect();
    assert_eq!(listed, expected);
    for event_type in types {
        let start = format!("### {}\n\n{}.\n", event_type.name, event_type.description);
        let section = DOCUMENT.split_once(&start).expect("a section").1;
        let section = section.split_once("\n#").map_or(section, |(section, _)| section);
        assert!(section.contains(event_type.example.get()), "the example of {}", event_type.name);
        let fields = event_type.schema["properties"].as_object().expect("known fields");
        for field in fields.keys() {
            assert!(section.contains(&format!("\n| `{field}` | ")), "{field} of {}", event_type.name);
        }
    }
}

#[test]
fn the_guide_s_file_is_a_catalogue() {
    const GUIDE: &str = include_str!("../../../../docs/guides/sending.md");
    let file = GUIDE.split("```json\n").find(|block| block.contains("\"types\"")).expect("a file");
    let file = file.split_once("```").expect("its end").0;
    let catalogue = Catalogue::parse(file).expect("a catalogue");
    assert_eq!(catalogue.types().len(), 17);
    assert_eq!(catalogue.get("alert.rule_created").expect("changed").enforcement, Enforcement::Off);
}
