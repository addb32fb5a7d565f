//! What is typed: help wherever it is asked for.

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
