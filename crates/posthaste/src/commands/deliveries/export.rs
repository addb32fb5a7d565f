//! `posthaste deliveries export`: the log into a file, or to stdout, a JSON document a line.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;

use crate::cli::Session;
use crate::client::lines::Lost;
use crate::client::path::query;
use crate::exit::{Ended, Exit, Stop};

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
    /// Go on where the file ends
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

/// Exports.
pub(crate) async fn run(session: &Session<'_>, pairs: Vec<(String, String)>, how: &How) -> Ended {
    let Session { console, client, account, .. } = session;
    let mut out = Out::open(how)?;
    let bar = bar(how.out.is_none() || console.json());
    let mut tries = 0;
    loop {
        let mut asked = pairs.clone();
        if how.attempts {
            asked.push(("attempts".to_owned(), "true".to_owned()));
        }
        asked.extend(out.last.clone().map(|id| ("cursor".to_owned(), id)));
        let mut lines = client.lines(&query(&["accounts", account, "deliveries", "export"], &asked)).await?;
        let lost = loop {
            match lines.next().await {
                Ok(Some(text)) => {
                    tries = 0;
                    bar.inc(out.take(session, &text)?);
                    if console.closed() {
                        return Ok(Exit::Ok);
                    }
                }
                Ok(None) => break None,
                Err(Lost(why)) => break Some(why),
            }
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
    /// The file that is made for the first line: a request that is refused leaves none behind.
    new: Option<&'a Path>,
    /// Where it is, or is to be.
    path: Option<&'a Path>,
    file: Option<File>,
    /// The id of the last line.
    last: Option<String>,
    written: u64,
}

impl<'a> Out<'a> {
    fn open(how: &'a How) -> Result<Self, Stop> {
        let new = how.out.as_deref();
        let out = Self { new, path: new, file: None, last: None, written: 0 };
        match new {
            Some(path) if how.resume => {
                let (file, last) = resume(path).map_err(|error| unwritten(path, &error))?;
                Ok(Self { new: None, file: Some(file), last, ..out })
            }
            Some(path) if path.exists() => Err(exists(path)),
            Some(_) | None => Ok(out),
        }
    }

    fn make(&mut self) -> Result<(), Stop> {
        let Some(path) = self.new.take() else { return Ok(()) };
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let taken = |error: io::Error| {
            if error.kind() == io::ErrorKind::AlreadyExists { exists(path) } else { unwritten(path, &error) }
        };
        self.file = Some(made.map_err(taken)?);
        Ok(())
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
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
        synced.map_err(|error| cut_short(self.path, &error))
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

fn id(line: &[u8]) -> serde_json::Result<String> {
    Ok(serde_json::from_slice::<Row>(line)?.id)
}

/// Opens a file to go on after its last whole line, whose id is returned; what came of another line is cut off.
fn resume(path: &Path) -> io::Result<(File, Option<String>)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
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
    // Before anything is cut off: it may be another file than was meant.
    let last = last.map(|line| id(&line)).transpose();
    let last = last.map_err(|error| io::Error::other(format!("it is no export: its last line has no id ({error})")))?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok((file, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_on_after_its_last_whole_line() {
        let path = std::env::temp_dir().join(format!("posthaste-export-{}", std::process::id()));
        for (text, kept, last) in [
            ("", "", None),
            ("{\"id\":\"dlv_2\"}\n{\"id\":\"dlv_1\"}\n", "{\"id\":\"dlv_2\"}\n{\"id\":\"dlv_1\"}\n", Some("dlv_1")),
            ("{\"id\":\"dlv_2\"}\n{\"id\":\"dl", "{\"id\":\"dlv_2\"}\n", Some("dlv_2")),
            ("{\"id\"", "", None),
        ] {
            std::fs::write(&path, text).expect("it is written");
            let (mut file, found) = resume(&path).expect("it opens");
            assert_eq!(found.as_deref(), last);
            file.write_all(b"x").expect("it is written");
            assert_eq!(std::fs::read_to_string(&path).expect("it is read"), format!("{kept}x"));
        }
        std::fs::write(&path, "no JSON\n").expect("it is written");
        assert!(resume(&path).is_err_and(|error| error.to_string().starts_with("it is no export")));
        std::fs::write(&path, "no JSON\nnor this").expect("it is written");
        assert!(resume(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("it is read"), "no JSON\nnor this", "nothing is cut off");
        std::fs::remove_file(&path).expect("it is ours");
    }
}
