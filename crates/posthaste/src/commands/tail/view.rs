//! What the screen shows and what a key does, without a terminal.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use crate::output::value::text;

/// How many attempts are kept.
const ROWS_MAX: usize = 1_000;

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Not there yet.
    Connecting,
    /// It stands.
    Live,
    /// It is made again.
    Lost,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct View {
    /// Attempts, newest first.
    pub(super) rows: VecDeque<Value>,
    /// The row that is chosen. The first one stays the newest; any other stays with its attempt.
    pub(super) chosen: usize,
    /// The delivery that is looked into.
    pub(super) detail: Option<Value>,
    /// What was done last, or went wrong.
    pub(super) note: String,
    /// The connection.
    pub(super) link: Link,
    /// How many attempts came.
    pub(super) seen: u64,
}

/// What a key asks for. Each names the delivery, and the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing but to draw again.
    Draw,
    /// Fetch the delivery to look into it.
    Open(String),
    /// Send it again.
    Replay(String),
    /// Copy the request of this attempt, by its id.
    Copy(String, String),
    /// Show it in the browser.
    Browse(String),
    /// End.
    Quit,
    /// End, as by a signal.
    Interrupt,
}

impl Default for View {
    fn default() -> Self {
        let (rows, detail, note) = (VecDeque::new(), None, String::new());
        Self { rows, chosen: 0, detail, note, link: Link::Connecting, seen: 0 }
    }
}

impl View {
    /// An attempt was made.
    pub(super) fn push(&mut self, news: Value) {
        self.rows.push_front(news);
        self.rows.truncate(ROWS_MAX);
        self.seen += 1;
        if self.chosen > 0 || self.detail.is_some() {
            self.chosen = (self.chosen + 1).min(self.rows.len() - 1);
        }
    }

    /// The delivery of the chosen row.
    pub(super) fn delivery(&self) -> Option<&str> {
        self.rows.get(self.chosen).map(|news| text(news, "delivery_id"))
    }

    /// What a key asks for.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing here, those of later terminals too")]
    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Draw;
        }
        self.note.clear();
        let chosen = self.rows.get(self.chosen);
        let of = |name| chosen.map(|news| text(news, name).to_owned());
        let delivery = of("delivery_id");
        let asked = match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Action::Interrupt),
            KeyCode::Char('q') => Some(Action::Quit),
            KeyCode::Char('r') => delivery.map(Action::Replay),
            KeyCode::Char('c') => delivery.zip(of("id")).map(|(delivery, attempt)| Action::Copy(delivery, attempt)),
            KeyCode::Char('o') => delivery.map(Action::Browse),
            KeyCode::Enter if self.detail.take().is_none() => delivery.map(Action::Open),
            KeyCode::Esc => {
                self.detail = None;
                None
            }
            KeyCode::Char('j') | KeyCode::Down => self.step(|row| row + 1),
            KeyCode::Char('k') | KeyCode::Up => self.step(|row| row.saturating_sub(1)),
            KeyCode::Char('g') | KeyCode::Home => self.step(|_| 0),
            KeyCode::Char('G') | KeyCode::End => self.step(|_| ROWS_MAX),
            _ => None,
        };
        asked.unwrap_or(Action::Draw)
    }

    /// Moves to another row; what is looked into goes with it.
    fn step(&mut self, to: impl Fn(usize) -> usize) -> Option<Action> {
        let before = self.delivery().map(str::to_owned);
        self.chosen = to(self.chosen).min(self.rows.len().saturating_sub(1));
        let now = self.delivery().map(str::to_owned);
        if self.detail.is_some() && now != before { now.map(Action::Open) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn press(view: &mut View, code: KeyCode) -> Action {
        view.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn view(deliveries: &[&str]) -> View {
        let mut view = View::default();
        for id in deliveries {
            view.push(json!({"delivery_id": id, "id": format!("att_{id}")}));
        }
        view
    }

    #[test]
    fn the_newest_stays_chosen_until_one_moves() {
        let mut view = view(&["a", "b", "c"]);
        assert_eq!(view.delivery(), Some("c"));
        assert_eq!(press(&mut view, KeyCode::Char('j')), Action::Draw);
        assert_eq!(view.delivery(), Some("b"));
        view.push(json!({"delivery_id": "d"}));
        assert_eq!(view.delivery(), Some("b"), "it stays with its attempt");
        for _ in 0..9 {
            press(&mut view, KeyCode::Down);
        }
        assert_eq!(view.delivery(), Some("a"), "there is an end");
        press(&mut view, KeyCode::Char('g'));
        assert_eq!(view.delivery(), Some("d"));
        press(&mut view, KeyCode::Up);
        assert_eq!(view.delivery(), Some("d"));
    }

    #[test]
    fn keys_ask_for_what_is_chosen() {
        let mut view = view(&["a", "b"]);
        assert_eq!(press(&mut view, KeyCode::Enter), Action::Open("b".into()));
        view.detail = Some(json!({}));
        assert_eq!(press(&mut view, KeyCode::Char('j')), Action::Open("a".into()), "the detail follows");
        assert_eq!(press(&mut view, KeyCode::Char('r')), Action::Replay("a".into()));
        assert_eq!(press(&mut view, KeyCode::Char('c')), Action::Copy("a".into(), "att_a".into()));
        assert_eq!(press(&mut view, KeyCode::Char('o')), Action::Browse("a".into()));
        assert_eq!(press(&mut view, KeyCode::Enter), Action::Draw);
        assert_eq!(view.detail, None, "Enter closes it");
        assert_eq!(press(&mut view, KeyCode::Char('q')), Action::Quit);
        assert_eq!(view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Action::Interrupt);
        let mut empty = View::default();
        for key in ['j', 'k', 'r', 'c', 'o'] {
            assert_eq!(press(&mut empty, KeyCode::Char(key)), Action::Draw);
        }
    }
}
