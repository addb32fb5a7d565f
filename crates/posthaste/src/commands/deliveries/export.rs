//! `posthaste deliveries export`: the log into a file, or to stdout, a JSON document a line.

mod begun;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use domain::time::Clock as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;

use crate::cli::Session;
use crate::client::lines::Lost;
use crate::client::path::query;
use crate::clock::SystemClock;
use crate::exit::{Ended, Exit, Stop};

use begun::Begun;

/// How often a lost connection is made again without a line in between.
const TRIES: usize = 5;
/// How much later that is.
const AGAIN: Duration = Duration::from_secs(1);

/// How the export is made.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// The file to write; stdout without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on where the file ends, with the filter that it was begun with
    #[arg(long, requires = "out")]
    resume: bool,
    /// With the attempts of each delivery, and what was sent and answered
    #[arg(long)]
    attempts: bool,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Row {
    id: String,
}

/// The last line of an export that the server cannot make to its end; a delivery looks otherwise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "all three, and no other, tell it from a delivery")]
struct Broken {
    status: u16,
    code: String,
    detail: String,
}

/// The lines that are deliveries, and the one after them that is none.
fn broken(text: &[u8]) -> (&[u8], Option<Broken>) {
    let before = text.strip_suffix(b"\n").unwrap_or(text).iter().rposition(|byte| *byte == b'\n');
    let (lines, last) = text.split_at(before.map_or(0, |at| at + 1));
    match serde_json::from_slice(last) {
        Ok(broken) => (lines, Some(broken)),
        Err(_) => (text, None),
    }
}

/// Exports.
pub(crate) async fn run(session: &Session<'_>, pairs: &[(String, String)], how: &How) -> Ended {
    let Session { console, client, account, .. } = session;
    let mut out = Out::open(how, pairs, account)?;
    let bar = bar(how.out.is_none() || console.json());
    let mut tries = 0;
    loop {
        let mut asked = out.begun.query();
        asked.extend(out.last.clone().map(|id| ("cursor".to_owned(), id)));
        let lost = match client.lines(&query(&["accounts", account, "deliveries", "export"], &asked)).await {
            Ok(mut lines) => loop {
                match lines.next().await {
                    Ok(Some(text)) => {
                        tries = 0;
                        let (text, broken) = broken(&text);
                        if !text.is_empty() {
                            bar.inc(out.take(session, text)?);
                        }
                        if let Some(Broken { detail, .. }) = broken {
                            bar.abandon();
                            return Err(Stop::failure(format!(
                                "Look into the server's log, or restore a backup: {detail}"
                            )));
                        }
                        if console.closed() {
                            return Ok(Exit::Ok);
                        }
                    }
                    Ok(None) => break None,
                    Err(Lost(why)) => break Some(why),
                }
            },
            // What has begun goes on over a restart of the server.
            Err(stop) if stop.exit == Exit::Unreachable && out.last.is_some() => Some(stop.said),
            Err(stop) => return Err(stop),
        };
        let Some(why) = lost else { break };
        tries += 1;
        if tries == TRIES {
            bar.abandon();
            let way = if how.out.is_some() { "Go on with --resume" } else { "Try again" };
            return Err(Stop::new(Exit::Unreachable, format!("{way}: the connection was lost ({why}).")));
        }
        tokio::time::sleep(AGAIN).await;
    }
    bar.finish_and_clear();
    out.end()?;
    if let Some(file) = &how.out {
        console.talk(&format!("✓ {} deliveries written to {}.", out.written, file.display()));
    }
    Ok(Exit::Ok)
}

fn bar(quiet: bool) -> ProgressBar {
    // How many there will be is known only at the end.
    let bar = ProgressBar::no_length();
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} deliveries, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Where the lines go.
struct Out<'a> {
    /// What is asked for.
    begun: Begun,
    /// Whether the file, and what it was begun with, is still to be made: that is for the first line, so that a request that is
    /// refused leaves nothing behind.
    new: bool,
    /// Where it is, or is to be.
    path: Option<&'a Path>,
    file: Option<File>,
    /// The id of the last line.
    last: Option<String>,
    written: u64,
}

impl<'a> Out<'a> {
    fn open(how: &'a How, filter: &[(String, String)], account: &str) -> Result<Self, Stop> {
        let asked = |at| Begun::new(account, filter, how.attempts, at);
        let path = how.out.as_deref();
        let out = Self { begun: asked(SystemClock.now()), new: true, path, file: None, last: None, written: 0 };
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(out) };
        if !how.resume {
            return Err(exists(path));
        }
        let unwritten = |error| unwritten(path, &error);
        let Resumed { mut file, whole, last } = Resumed::open(path).map_err(unwritten)?;
        let begun = match &last {
            Some(_) => {
                let begun = Begun::read(path).map_err(unwritten)?.ok_or_else(|| unknown(path))?;
                if begun != asked(begun.at()) {
                    return Err(otherwise(path, &begun));
                }
                begun
            }
            // Nothing is in it that it could be mixed with.
            None => out.begun,
        };
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole))).map_err(unwritten)?;
        Ok(Self { begun, new: last.is_none(), file: Some(file), last, ..out })
    }

    fn make(&mut self) -> Result<(), Stop> {
        let (Some(path), true) = (self.path, std::mem::take(&mut self.new)) else { return Ok(()) };
        if self.file.is_none() {
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            let taken = |error: io::Error| {
                if error.kind() == io::ErrorKind::AlreadyExists { exists(path) } else { unwritten(path, &error) }
            };
            self.file = Some(made.map_err(taken)?);
        }
        // Before the first line: without it nobody goes on with the file.
        self.begun.write(path).map_err(|error| unwritten(&begun::beside(path), &error))
    }

    /// Writes whole lines; how many there were.
    fn take(&mut self, session: &Session<'_>, text: &[u8]) -> Result<u64, Stop> {
        self.make()?;
        let path = self.path;
        match &mut self.file {
            Some(file) => file.write_all(text).map_err(|error| cut_short(path, &error))?,
            None => session.console.bytes(text),
        }
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        let count = lines.clone().count() as u64;
        if let Some(line) = lines.next_back() {
            let last = id(line).map_err(|error| {
                Stop::failure(format!("Check the URL: a line is not what posthaste sends ({error})."))
            })?;
            self.last = Some(last);
        }
        self.written += count;
        Ok(count)
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.make()?;
        let (Some(file), Some(path)) = (&self.file, self.path) else { return Ok(()) };
        file.sync_all().map_err(|error| cut_short(Some(path), &error))?;
        // It is whole: there is nothing to go on with. Where this stays, going on finds nothing more.
        let _gone_or_not = std::fs::remove_file(begun::beside(path));
        Ok(())
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Stop {
    Stop::failure(format!("Take another file as --out: {}: {error}.", path.display()))
}

/// A file that could not be written to its end has whole lines up to where it was cut off.
fn cut_short(path: Option<&Path>, error: &io::Error) -> Stop {
    let shown = path.unwrap_or(Path::new("stdout")).display();
    Stop::failure(format!("Make room, and go on with --resume: {shown} was not written to its end ({error})."))
}

fn exists(path: &Path) -> Stop {
    let said = format!("Take another file, or go on where it ends with --resume: {} exists.", path.display());
    Stop::new(Exit::Refused, said)
}

/// The file was begun with something else.
fn otherwise(path: &Path, begun: &Begun) -> Stop {
    let said = format!(
        "Go on with what {0} was begun with, or take another file: two answers in one would be neither. It was begun with: {1}",
        path.display(),
        begun.words()
    );
    Stop::new(Exit::Refused, said)
}

/// Nobody can say what the file was begun with.
fn unknown(path: &Path) -> Stop {
    let said = format!(
        "Take another file: {0} is whole, or was not written by this command. What an unfinished one was begun with is beside it, in {1}.",
        path.display(),
        begun::beside(path).display()
    );
    Stop::new(Exit::Refused, said)
}

fn id(line: &[u8]) -> serde_json::Result<String> {
    Ok(serde_json::from_slice::<Row>(line)?.id)
}

/// A file that is gone on with.
struct Resumed {
    file: File,
    /// The bytes of its whole lines. What came of another one is to be cut off.
    whole: u64,
    /// The id of the last whole line.
    last: Option<String>,
}

impl Resumed {
    /// Reads it to its last whole line, and changes nothing yet: it may be another file than was meant.
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut reader = BufReader::new(&file);
        let (mut whole, mut last, mut line) = (0, None, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                break;
            }
            whole += read as u64;
            last = Some(line.clone());
        }
        let last = last.map(|line| id(&line)).transpose();
        let last =
            last.map_err(|error| io::Error::other(format!("it is no export: its last line has no id ({error})")))?;
        Ok(Self { file, whole, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_its_last_whole_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, kept, last) in [
            ("", "", None),
            ("{\"id\":\"dlv_2\"}\n{\"id\":\"dlv_1\"}\n", "{\"id\":\"dlv_2\"}\n{\"id\":\"dlv_1\"}\n", Some("dlv_1")),
            ("{\"id\":\"dlv_2\"}\n{\"id\":\"dl", "{\"id\":\"dlv_2\"}\n", Some("dlv_2")),
            ("{\"id\"", "", None),
        ] {
            std::fs::write(&file, text).expect("it is written");
            let found = Resumed::open(file.path()).expect("it opens");
            assert_eq!((found.last.as_deref(), found.whole), (last, kept.len() as u64), "{text}");
        }
        for text in ["no JSON\n", "no JSON\nnor this"] {
            std::fs::write(&file, text).expect("it is written");
            let refused = Resumed::open(file.path());
            assert!(refused.is_err_and(|error| error.to_string().starts_with("it is no export")), "{text}");
        }
    }
}
