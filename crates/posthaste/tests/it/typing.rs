//! What is typed: help wherever it is asked for, and what is said of a value that cannot be meant.

use std::env::temp_dir;

use crate::running::run;

#[test]
fn help_for_a_command_is_the_same_by_either_way() {
    for (asked, same) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "send"], &["send", "--help"]),
        (&["--json", "help", "webhooks", "create"], &["webhooks", "create", "--help"]),
        (&["help", "nope"], &["nope", "--help"]),
    ] {
        let said = run(&temp_dir(), asked);
        assert_eq!(said, run(&temp_dir(), same), "{asked:?}");
        assert_eq!(said.0, Some(if asked.contains(&"nope") { 2 } else { 0 }), "{asked:?}");
    }
    let (code, _, said) = run(&temp_dir(), &["send", "help", "--server", "http://127.0.0.1:1"]);
    assert!(
        code == Some(6) && said.contains("no server"),
        "a word behind a command is that command's: {code:?} {said}"
    );
}

#[test]
fn a_span_with_a_sign_is_refused_in_words() {
    let (code, _, said) = run(&temp_dir(), &["keys", "create", "ci", "--expires-in", "-3d"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--expires-in") && said.contains("write it without a sign, such as 90d"), "{said}");
    assert!(!said.contains("tip"), "{said}");
}
