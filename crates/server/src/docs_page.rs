//! The page at `/docs`: the API's description, written as HTML by the server. No script, no inline style, nothing from
//! elsewhere.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The page's style sheet.
pub(crate) const STYLE: &str = include_str!("docs_page.css");

/// The page of an OpenAPI document.
pub(crate) fn page(document: &Value) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let title = text(&document["info"]["title"]);
    let _in_memory = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} API</title><link rel=\"stylesheet\" href=\"/docs/style.css\"></head><body>\
         <header><h1>{title} API</h1><p>Version {}. The same as data: <a href=\"/openapi.json\">openapi.json</a>.</p><p>{}</p></header>",
        text(&document["info"]["version"]),
        text(&document["info"]["description"]),
    );
    let groups = groups(document);
    contents(&mut out, &groups);
    out.push_str("<main>");
    for (group, operations) in &groups {
        let _in_memory = write!(out, "<section id=\"{0}\"><h2>{0}</h2>", escape(group));
        for operation in operations {
            write_operation(&mut out, operation);
        }
        out.push_str("</section>");
    }
    write_webhooks(&mut out, document);
    write_schemas(&mut out, document);
    out.push_str("</main></body></html>");
    out
}

/// An operation with where it is.
struct Row<'a> {
    method: String,
    path: &'a str,
    operation: &'a Value,
}

/// The operations by group, in the order in which the groups first appear.
fn groups(document: &Value) -> Vec<(String, Vec<Row<'_>>)> {
    let mut groups: Vec<(String, Vec<Row<'_>>)> = Vec::new();
    for (path, methods) in members(&document["paths"]) {
        for (method, operation) in members(methods) {
            let group = operation["tags"][0].as_str().unwrap_or_default();
            let row = Row { method: method.to_ascii_uppercase(), path, operation };
            match groups.iter_mut().find(|(name, _)| name == group) {
                Some((_, rows)) => rows.push(row),
                None => groups.push((group.to_owned(), vec![row])),
            }
        }
    }
    groups
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn contents(out: &mut String, groups: &[(String, Vec<Row<'_>>)]) {
    out.push_str("<nav aria-label=\"Contents\"><ul>");
    for (group, rows) in groups {
        let _in_memory = write!(out, "<li><a href=\"#{0}\">{0}</a> <span>{1}</span></li>", escape(group), rows.len());
    }
    out.push_str("<li><a href=\"#sent\">sent requests</a></li><li><a href=\"#schemas\">schemas</a></li></ul></nav>");
}

fn write_operation(out: &mut String, row: &Row<'_>) {
    let Row { method, path, operation } = row;
    let _in_memory = write!(
        out,
        "<details id=\"{}\"><summary><code class=\"{}\">{method}</code> <code>{}</code> {}</summary>",
        text(&operation["operationId"]),
        method.to_ascii_lowercase(),
        escape(path),
        text(&operation["summary"]),
    );
    if let Some(about) = operation["description"].as_str() {
        let _in_memory = write!(out, "<p>{}</p>", escape(about));
    }
    write_parameters(out, operation);
    write_bodies(out, "Body", &operation["requestBody"]);
    out.push_str("<h3>Answers</h3><table><tbody>");
    for (status, answer) in members(&operation["responses"]) {
        let _in_memory =
            write!(out, "<tr><th scope=\"row\">{}</th><td>{}", escape(status), text(&answer["description"]));
        for (_, media) in members(&answer["content"]) {
            out.push(' ');
            write_schema_name(out, &media["schema"]);
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</tbody></table></details>");
}

fn write_parameters(out: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array().filter(|all| !all.is_empty()) else { return };
    out.push_str("<h3>Parameters</h3><table><tbody>");
    for parameter in parameters {
        let _in_memory = write!(
            out,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td></tr>",
            text(&parameter["name"]),
            text(&parameter["in"]),
            text(&parameter["description"]),
        );
    }
    out.push_str("</tbody></table>");
}

fn write_bodies(out: &mut String, heading: &str, body: &Value) {
    for (kind, media) in members(&body["content"]) {
        let _in_memory = write!(out, "<h3>{heading}</h3><p>{} ", escape(kind));
        write_schema_name(out, &media["schema"]);
        out.push_str("</p>");
        write_json(out, &media["example"]);
    }
}

/// A link to a schema of the page, or the schema itself.
fn write_schema_name(out: &mut String, schema: &Value) {
    let reference =
        |schema: &Value| schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    let listed = &schema["properties"]["data"]["items"];
    if let Some(name) = reference(schema) {
        let _in_memory = write!(out, "<a href=\"#schema-{0}\">{0}</a>", escape(&name));
    } else if let Some(name) = reference(listed) {
        let _in_memory = write!(out, "a page of <a href=\"#schema-{0}\">{0}</a>", escape(&name));
    } else if let Some(name) = reference(&schema["oneOf"][0]) {
        let _in_memory = write!(out, "<a href=\"#schema-{0}\">{0}</a>, or an array of them", escape(&name));
    } else if schema["properties"].is_object() {
        write_json(out, schema);
    }
}

fn write_webhooks(out: &mut String, document: &Value) {
    out.push_str("<section id=\"sent\"><h2>sent requests</h2>");
    for (name, item) in members(&document["webhooks"]) {
        let post = &item["post"];
        let _in_memory =
            write!(out, "<details><summary><code>{}</code> {}</summary>", escape(name), text(&post["summary"]));
        write_parameters(out, post);
        write_bodies(out, "Body", &post["requestBody"]);
        out.push_str("</details>");
    }
    out.push_str("</section>");
}

fn write_schemas(out: &mut String, document: &Value) {
    out.push_str("<section id=\"schemas\"><h2>schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let _in_memory = write!(out, "<details id=\"schema-{0}\"><summary><code>{0}</code></summary>", escape(name));
        write_json(out, schema);
        out.push_str("</details>");
    }
    out.push_str("</section>");
}

fn write_json(out: &mut String, value: &Value) {
    if !value.is_null() {
        let json = serde_json::to_string_pretty(value).unwrap_or_default();
        let _in_memory = write!(out, "<pre tabindex=\"0\">{}</pre>", escape(&json));
    }
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// `text` as HTML text, or as the value of an attribute in double quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_document_says_is_text_and_never_markup() {
        let page = page(&json!({
            "info": {"title": "<script>alert(1)</script>", "version": "1", "description": "a \"b\" & c"},
            "paths": {"/x": {"get": {"tags": ["x"], "operationId": "get_x", "summary": "<b>", "responses": {}}}},
        }));
        assert!(
            !page.contains("<script") && !page.contains("<b>") && !page.contains("style=") && !page.contains("://")
        );
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("<details id=\"get_x\">"));
    }
}
