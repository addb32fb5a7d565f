//! The table of hostile inputs: RFC 4180, the escapes of its head, and what a row expects.

/// One row, its input still as written.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Such as `U001`.
    pub(crate) id: String,
    /// The letter of its group.
    pub(crate) group: char,
    /// The input as it is written.
    pub(crate) input: String,
    /// The set-up, where it is not the default.
    pub(crate) condition: String,
    /// The allowed answers, the preferred one first.
    pub(crate) expected: Vec<String>,
}

impl Row {
    /// The input with its escapes carried out.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        unescape(&self.input)
    }

    /// The input as text; for the groups whose input is text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).expect("the input of this group is text")
    }

    /// What follows `start` in an input that is a behaviour, escapes carried out.
    pub(crate) fn after(&self, start: &str) -> Option<Vec<u8>> {
        self.input.strip_prefix(start).map(unescape)
    }
}

/// Every row of the table.
pub(crate) fn rows() -> Vec<Row> {
    let lines = include_str!("hostile-inputs.csv").lines().filter(|line| !line.starts_with('#'));
    let records = records(&lines.collect::<Vec<_>>().join("\n"));
    let (head, rows) = records.split_first().expect("a line that names the columns");
    assert_eq!(head.join(","), "id,group,input,condition,expected,note");
    rows.iter().map(|fields| row(fields)).collect()
}

fn row(fields: &[String]) -> Row {
    let [id, group, input, condition, expected, _note] = fields else { panic!("six columns, not {fields:?}") };
    Row {
        id: id.clone(),
        group: group.chars().next().expect("a group"),
        input: input.clone(),
        condition: condition.clone(),
        expected: expected.split('|').map(str::to_owned).collect(),
    }
}

/// The records of an RFC 4180 text.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut characters) = (false, text.chars().peekable());
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            '\r' if !quoted => {}
            other => field.push(other),
        }
    }
    if !record.is_empty() || !field.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}

/// The members of the page's `watchlist.domain_changed` data.
pub(crate) const EXAMPLE: &str = r#""domain":"competitor.com","changes":[{"field":"tech_stack","action":"added","value":"Stripe","previous_value":null}]"#;

/// Carries out the escapes of the table's head.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((taken, bytes)) = escape(rest) {
            out.extend_from_slice(&bytes);
            rest = &rest[taken..];
        } else {
            out.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// The escape at the start of `text`: how long it is, and what it stands for.
fn escape(text: &str) -> Option<(usize, Vec<u8>)> {
    let point = |digits: &str| {
        let point = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).expect("a code point");
        point.to_string().into_bytes()
    };
    if text.starts_with("\\\\") {
        Some((2, b"\\".to_vec()))
    } else if text.starts_with("\\x") {
        Some((4, vec![u8::from_str_radix(&text[2..4], 16).expect("two hex digits")]))
    } else if text.starts_with("\\u") {
        Some((6, point(&text[2..6])))
    } else if text.starts_with("\\U") {
        Some((10, point(&text[2..10])))
    } else if text.starts_with("{EXAMPLE}") {
        Some(("{EXAMPLE}".len(), EXAMPLE.as_bytes().to_vec()))
    } else {
        let (inner, _) = text.strip_prefix("{repeat:")?.split_once('}')?;
        let (count, repeated) = inner.split_once(':').expect("a count and a text");
        let count = count.parse().expect("a count");
        Some(("{repeat:".len() + inner.len() + 1, unescape(repeated).repeat(count)))
    }
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let rows = rows();
    let find = |id: &str| rows.iter().find(|row| row.id == id).expect("in the table").clone();
    assert_eq!(rows.len(), 536, "every row of the table");
    assert_eq!(find("U016").text(), "https:\\\\127.0.0.1/");
    assert_eq!(find("U057").text(), "https://\u{1f600}.com/");
    assert_eq!(find("U069").text().len(), "https://example.com/".len() + 2_049);
    assert_eq!(find("R046").bytes(), b"HTTP/1.1 200 OK\r\nX-A: caf\xe9\xff\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(find("R055").after("@200 with body: ").as_deref(), Some(&b"{{7*7}}"[..]));
    assert_eq!(find("E001").text(), format!(r#"{{"event":"watchlist.domain_changed","data":{{{EXAMPLE}}}}}"#));
    assert!(find("E014").text().ends_with(&format!("{}}}}}", "]".repeat(10_000))));
    assert_eq!(find("H019").text(), "X\"A: v");
    assert_eq!(find("R040").bytes().len(), 51 + 1_000_000);
    assert_eq!(find("A043").expected, ["attempt_error:address_blocked"]);
}
