//! The progress of long work: a bar where somebody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Console;

/// A bar on stderr; hidden where that is no terminal, or results are JSON.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(console: &Console) -> Self {
        let bar = ProgressBar::new(0);
        if console.json() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// The next part of the work.
    pub(crate) fn start(&self, what: &'static str) {
        self.0.set_message(what);
        self.0.set_position(0);
    }

    /// So much of it is done.
    pub(crate) fn at(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }

    /// A line above the bar; whether anybody sees it there.
    pub(crate) fn line(&self, text: &str) -> bool {
        self.0.println(text);
        !self.0.is_hidden()
    }

    /// All is done: the bar goes.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
