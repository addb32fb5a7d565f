//! The terminal as a whole screen, and its way back: however the command ends, the shell finds it as it was.

use std::io::{self, Write as _};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event};
use crossterm::queue;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use data_encoding::BASE64;
use tokio::sync::mpsc;

/// The screen; dropping it gives the terminal back.
pub(super) struct Terminal(());

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let terminal = Self(());
        // A panic's words would be lost on the screen that is about to go.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        let mut out = io::stdout().lock();
        queue!(out, EnterAlternateScreen, DisableLineWrap, Hide, Clear(ClearType::All))?;
        out.flush()?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let (columns, rows) = size().unwrap_or((80, 24));
        (columns.into(), rows.into())
    }

    /// Shows these lines from the top, and nothing else: all at once, in a terminal that knows how to.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in lines.iter().enumerate() {
            queue!(out, MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)), Clear(ClearType::CurrentLine))?;
            out.write_all(line.as_bytes())?;
        }
        queue!(out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        out.flush()
    }

    /// Puts a text on the clipboard of whoever sits at the terminal, over a network too (OSC 52).
    pub(super) fn copy(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write!(out, "\x1b]52;c;{}\x07", BASE64.encode(text.as_bytes()))?;
        out.flush()
    }

    /// Keys and changes of the size, as they come.
    pub(super) fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        let (tell, told) = mpsc::unbounded_channel();
        // It waits for a key when the command ends, and ends with the process.
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        told
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    let mut out = io::stdout().lock();
    // A terminal that has gone needs nothing back.
    let _gone = queue!(out, Show, EnableLineWrap, LeaveAlternateScreen).and_then(|()| out.flush());
    let _gone = disable_raw_mode();
}
