//! SQLite's log as it lies on disk, looked at before SQLite reads it: that reads up to the first frame that does not fit, and takes the rest
//! for a write that a power cut has torn. With a log that was damaged later, that forgets what was acknowledged, without a word.
//!
//! The two can be told apart. Each commit is on disk before the next one is written, so only the last transaction of a log can be torn. If a
//! commit stands behind the frame that does not fit, and the first frame of the next transaction behind that commit, then the commit was
//! on disk once. Damage within the last two transactions looks like a torn write, and is taken for one.
//!
//! The format is that of <https://sqlite.org/fileformat2.html#walformat>: a header of 32 bytes, then frames of a header of 24 bytes and a page. The checksum of a
//! frame goes on from the one before it.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The size of our pages, where the header does not say.
const PAGE: usize = 4_096;
/// What a header begins with; the last bit says in which order the bytes of a checksum's words are.
const MAGIC: u32 = 0x377f_0682;

type Sum = (u32, u32);

/// A frame, as far as it is of interest here.
struct Frame {
    salts: [u8; 8],
    /// It is the last one of a transaction.
    commits: bool,
    /// The checksum that it was written with.
    sum: Sum,
    /// What the checksum is of.
    bytes: Vec<u8>,
}

/// Looks for damage in a log: where it begins, in bytes from the beginning, if what was committed behind it was on disk once.
///
/// # Errors
/// When the log cannot be read; one that is not there has no damage.
pub(super) fn damage(log: &Path) -> io::Result<Option<u64>> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut log = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER];
    if !fill(&mut log, &mut header)? || header == [0; HEADER] {
        // It was just made.
        return Ok(None);
    }
    let word = |at: usize| word(&header[at..]);
    let big = word(0) & 1 == 1;
    let fits = word(0) & !1 == MAGIC && summed((0, 0), &header[..24], big) == (word(24), word(28));
    let page = match word(8) {
        1 => 65_536,
        size if fits => size as usize,
        _ => PAGE,
    };
    let salts = fits.then(|| header[16..24].to_vec());
    let mut damaged = (!fits).then_some(0);
    let (mut at, mut before): (u64, Option<Frame>) = (HEADER as u64, None);
    while let Some(frame) = next(&mut log, page)? {
        let ours = salts.as_ref().is_none_or(|salts| salts[..] == frame.salts);
        let from = before.as_ref().map_or((word(24), word(28)), |before| before.sum);
        let follows = ours && summed(from, &frame.bytes, big) == frame.sum;
        if damaged.is_none() && !follows {
            damaged = Some(at);
        } else if damaged.is_some()
            && follows
            && before.is_some_and(|before| before.commits && before.salts == frame.salts)
        {
            return Ok(damaged);
        }
        at += (FRAME_HEADER + page) as u64;
        before = Some(frame);
    }
    Ok(None)
}

/// The next frame, if there is a whole one.
fn next(log: &mut impl Read, page: usize) -> io::Result<Option<Frame>> {
    let (mut head, mut bytes) = ([0; FRAME_HEADER], vec![0; 8 + page]);
    if !fill(log, &mut head)? || !fill(log, &mut bytes[8..])? {
        return Ok(None);
    }
    bytes[..8].copy_from_slice(&head[..8]);
    let mut salts = [0; 8];
    salts.copy_from_slice(&head[8..16]);
    Ok(Some(Frame { salts, commits: word(&head[4..]) != 0, sum: (word(&head[16..]), word(&head[20..])), bytes }))
}

/// Reads as much as there is room for; `false` if the end comes before.
fn fill(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The checksum of `bytes`, which goes on from another one.
fn summed((mut one, mut two): Sum, bytes: &[u8], big: bool) -> Sum {
    let of = |bytes: &[u8]| if big { word(bytes) } else { word(bytes).swap_bytes() };
    for pair in bytes.chunks_exact(8) {
        one = one.wrapping_add(of(pair)).wrapping_add(two);
        two = two.wrapping_add(of(&pair[4..])).wrapping_add(one);
    }
    (one, two)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A log of ten transactions of three pages or more, after one that was begun anew: frames of before lie behind it.
    fn made(dir: &Path) -> Vec<u8> {
        let conn = Connection::open(dir.join("db")).expect("a database");
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)")
            .expect("a table");
        for _ in 0..30 {
            conn.execute("INSERT INTO t VALUES (randomblob(9000))", []).expect("a row");
        }
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).expect("it is copied");
        for _ in 0..10 {
            conn.execute("INSERT INTO t VALUES (randomblob(9000))", []).expect("a row");
        }
        std::fs::read(dir.join("db-wal")).expect("a log")
    }

    fn frame(number: usize) -> usize {
        HEADER + number * (FRAME_HEADER + PAGE)
    }

    /// How many frames there are with the salts of the header, and with which the last two transactions begin.
    fn frames(log: &[u8]) -> (usize, usize, usize) {
        let ours = |number: &usize| log.get(frame(*number) + 8..frame(*number) + 16) == Some(&log[16..24]);
        let all = (0..).take_while(ours).count();
        let commits = (0..all).filter(|number| word(&log[frame(*number) + 4..]) != 0).collect::<Vec<_>>();
        (all, commits[commits.len() - 3] + 1, commits[commits.len() - 2] + 1)
    }

    #[test]
    fn damage_is_told_from_a_torn_write() {
        let dir = std::env::temp_dir().join(format!("posthaste-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let log = made(&dir);
        let found = |log: &[u8]| {
            let file = dir.join("looked-at");
            std::fs::write(&file, log).expect("it is written");
            damage(&file).expect("it is read")
        };
        let (all, last_two, last) = frames(&log);
        assert!(all > 30 && log.len() > frame(all), "{all} frames, and older ones behind them");
        assert_eq!(found(&log), None);
        assert_eq!(damage(&dir.join("none")).expect("there is none"), None);
        // A log may end anywhere, and any part of the last transaction may be missing.
        for end in (0..log.len()).step_by(997) {
            assert_eq!(found(&log[..end]), None, "cut at {end}");
        }
        for torn in last..all {
            let mut log = log.clone();
            log[frame(torn)..frame(torn + 1)].fill(0);
            assert_eq!(found(&log), None, "the last transaction without frame {torn}");
        }
        // A bit of any kind of byte, in whichever frame.
        for number in 0..last_two {
            for within in [0, 5, 8, 15, 16, 23, 24, 2_000, FRAME_HEADER + PAGE - 1] {
                let mut log = log.clone();
                log[frame(number) + within] ^= 4;
                assert_eq!(found(&log), Some(frame(number) as u64), "byte {within} of frame {number}");
            }
        }
        for within in 0..HEADER {
            let mut log = log.clone();
            log[within] ^= 4;
            assert_eq!(found(&log), Some(0), "byte {within} of the header");
        }
        let mut gap = log;
        gap[frame(4) + 512..frame(4) + 1_024].fill(0xe5);
        assert_eq!(found(&gap), Some(frame(4) as u64), "a sector of something else");
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
}
