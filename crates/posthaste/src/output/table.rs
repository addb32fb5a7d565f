//! Tables for people: columns as wide as their widest cell, the last one as it comes.

use crate::output::{Console, Tone, visible};

/// One cell: a text and what it means.
#[derive(Debug, Clone)]
pub(crate) struct Cell(String, Tone);

impl Cell {
    /// A cell in a tone. Control characters are shown as escapes.
    pub(crate) fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        Self(visible(text.as_ref()), tone)
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// Rows under a head.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|name| Cell::toned(Tone::Quiet, name)).collect(), rows: Vec::new() }
    }

    /// Adds a row, one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.head.len(), "one cell for each column");
        self.rows.push(cells);
    }

    /// Writes the table to stdout; `nothing` to stderr where it has no rows.
    pub(crate) fn print(&self, console: &Console, nothing: &str) {
        if self.rows.is_empty() {
            console.talk(nothing);
            return;
        }
        for line in self.lines(|tone, text| console.tone(tone, text)) {
            console.line(&line);
        }
    }

    fn lines(&self, paint: impl Fn(Tone, &str) -> String) -> Vec<String> {
        let all: Vec<&Vec<Cell>> = std::iter::once(&self.head).chain(&self.rows).collect();
        let width = |column: usize| all.iter().map(|row| row[column].0.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        all.iter().map(|row| line(row, &widths, &paint)).collect()
    }
}

fn line(row: &[Cell], widths: &[usize], paint: &impl Fn(Tone, &str) -> String) -> String {
    let mut text = String::new();
    for (column, (Cell(cell, tone), width)) in row.iter().zip(widths).enumerate() {
        text.push_str(&paint(*tone, cell));
        if column + 1 < row.len() {
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_colour_does_not_move_them() {
        let mut table = Table::new(&["NAME", "STATUS", "URL"]);
        table.row(vec!["Grüße".into(), Cell::toned(Tone::Ok, "✓ active"), "https://a.example/".into()]);
        table.row(vec!["B".into(), Cell::toned(Tone::Quiet, "‖ paused"), "x\ny".into()]);
        let plain = table.lines(|_, text| text.to_owned());
        assert_eq!(plain, ["NAME   STATUS    URL", "Grüße  ✓ active  https://a.example/", "B      ‖ paused  x\\ny"]);
        let painted = table.lines(|tone, text| if tone == Tone::Ok { format!("<{text}>") } else { text.to_owned() });
        assert_eq!(painted[1], "Grüße  <✓ active>  https://a.example/");
    }
}
