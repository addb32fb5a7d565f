//! An attempt's request as a command line for curl.

use serde_json::Value;

use crate::output::value::text;

/// The command that makes the request again. Values that the log masks stay masked: they have to be filled in.
pub(super) fn command(request: &Value) -> String {
    let mut command = format!("curl -X POST {}", quoted(text(request, "url")));
    for header in request["headers"].as_array().into_iter().flatten() {
        let name = text(header, "name");
        // curl says these by itself.
        if !["host", "content-length", "connection"].contains(&name.to_ascii_lowercase().as_str()) {
            command.push_str(&format!(" \\\n  -H {}", quoted(&format!("{name}: {}", text(header, "value")))));
        }
    }
    command + &format!(" \\\n  --data-binary {}", quoted(text(request, "body")))
}

/// A word of a shell that no character can leave.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_command_is_one_that_a_shell_reads_back() {
        let request = json!({
            "url": "https://a.example/x?y=$(id)", "body": "{\"name\":\"O'Neil\"}",
            "headers": [{"name": "Host", "value": "a.example"}, {"name": "X-A", "value": "`b`"}],
        });
        let expected = "curl -X POST 'https://a.example/x?y=$(id)' \\\n  -H 'X-A: `b`' \\\n  \
                        --data-binary '{\"name\":\"O'\\''Neil\"}'";
        assert_eq!(command(&request), expected);
    }
}
