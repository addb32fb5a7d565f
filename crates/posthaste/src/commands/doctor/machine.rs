//! What `doctor` looks at on this machine: the data directory, its key, the store, the disk, the clock, names, addresses.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use domain::attempt::ErrorCode;
use domain::time::{Clock as _, Timestamp};
use domain::transport::Names as _;
use domain::vault::Vault;
use outbound::Network;
use store::sqlite::OpenError;

use super::{Finding, ownership};
use crate::clock::SystemClock;
use crate::embedded::{self, DATABASE, Missing};
use crate::settings::Settings;
use crate::{encryption_key, figures};

/// Space that a burst, a backup's log, and SQLite's own copies need.
const FREE_WISE: u64 = 1024 * 1024 * 1024;
/// Below this nothing else matters.
const FREE_MIN: u64 = 64 * 1024 * 1024;
/// Each acceptance waits for one of these: slower than this, and people notice.
const FSYNC_WISE: Duration = Duration::from_millis(30);
/// How many times the disk is asked.
const FSYNCS: usize = 12;
/// A descriptor for each request in flight, kept connection and client.
const DESCRIPTORS_WISE: u64 = 8_192;
/// The first of January 2026: no machine that runs this is earlier.
const EARLIEST: Timestamp = Timestamp(1_767_225_600_000_000);
/// How long a name may take.
const NAME_WITHIN: Duration = Duration::from_secs(5);
/// A name that every resolver of the internet knows.
const NAME: &str = "example.com";

/// Everything about the data directory.
pub(super) fn data(settings: &Settings, data: &Path) -> Vec<Finding> {
    let shown = data.display();
    match embedded::look(data) {
        Err(Missing::Directory) => {
            // Root may make it anywhere.
            let by_root = if ownership::is_root() { "; whether by the user who serves, look as that one" } else { "" };
            let found =
                embedded::may_be_made(data).map(|()| format!("{shown} will be made at the first start{by_root}"));
            return vec![Finding { name: "data", found }];
        }
        Err(missing @ (Missing::NotDirectory | Missing::Closed(_) | Missing::Unreadable(..))) => {
            return vec![Finding::bad("data", missing.said(data))];
        }
        Ok(()) | Err(Missing::Store) => {}
    }
    let found = match std::fs::metadata(data) {
        Ok(found) => found,
        Err(error) => return vec![Finding::bad("data", format!("{shown}: {error}"))],
    };
    let mode = found.permissions().mode() & 0o777;
    let found = if mode & 0o077 != 0 {
        Err(format!("{shown} is open to others (mode {mode:o}): chmod 700 {shown}"))
    } else {
        let writer = || if ownership::is_root() { ownership::writer(data) } else { Ok("it can be written".to_owned()) };
        embedded::may_be_written(data)
            .and_then(|()| writer())
            .map(|said| format!("{shown} is for its owner alone; {said}"))
    };
    let directory = Finding { name: "data", found };
    vec![directory, space(data), fsync(data), key(settings, data), store(settings, data)]
}

fn space(data: &Path) -> Finding {
    let mib = |bytes: u64| bytes / 1_048_576;
    match figures::disk_free(data) {
        Ok(free) if free < FREE_MIN => Finding::bad("space", format!("{} MiB are free: make room now", mib(free))),
        Ok(free) if free < FREE_WISE => {
            Finding::bad("space", format!("{} MiB are free: make room, {} are wise", mib(free), mib(FREE_WISE)))
        }
        Ok(free) => Finding::ok("space", format!("{} MiB are free", mib(free))),
        Err(error) => Finding::bad("space", format!("the file system does not tell: {error}")),
    }
}

/// How long the disk takes to keep a page, in the middle of several tries.
fn fsync(data: &Path) -> Finding {
    let path = data.join("doctor.tmp");
    let measured = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut times = Vec::with_capacity(FSYNCS);
        for _ in 0..FSYNCS {
            let start = Instant::now();
            file.write_all(&[0; 4_096])?;
            file.sync_data()?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        std::io::Result::Ok(times[FSYNCS / 2])
    })();
    // It may never have been made.
    let _gone = std::fs::remove_file(&path);
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    match measured {
        Ok(time) if time > FSYNC_WISE => {
            let said = format!("an fsync takes {}: every acceptance waits for one; use a faster disk", ms(time));
            Finding::bad("fsync", said)
        }
        Ok(time) => Finding::ok("fsync", format!("an fsync takes {}", ms(time))),
        Err(error) => Finding::bad("fsync", embedded::unwritten(data, &error)),
    }
}

/// What a rotation of the key has left beside it.
fn rotation(data: &Path) -> &'static str {
    if data.join("encryption.key.new").exists() {
        "; a rotation of it was interrupted, and the next start ends that"
    } else if data.join("encryption.key.old").exists() {
        "; encryption.key.old, which backups from before the rotation need, still lies beside it: move it to where you keep those"
    } else {
        ""
    }
}

fn key(settings: &Settings, data: &Path) -> Finding {
    let file = data.join("encryption.key");
    if settings.encryption_key.is_none()
        && let Ok(found) = std::fs::metadata(&file)
    {
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let shown = file.display();
            return Finding::bad("encryption", format!("{shown} is open to others (mode {mode:o}): chmod 600 {shown}"));
        }
    }
    let key = match encryption_key::existing(settings, data) {
        Ok(found) => found.key,
        Err(_) if !data.join(DATABASE).exists() => {
            return Finding::ok("encryption", "a key will be made at the first start".to_owned());
        }
        Err(bad) => return Finding::bad("encryption", bad.said),
    };
    match store::sqlite::opens_with(data, &Vault::new(&key)) {
        Ok(Some(true)) => Finding::ok("encryption", format!("the key opens the store{}", rotation(data))),
        Ok(Some(false)) => Finding::bad(
            "encryption",
            "the store was sealed with another key: give the one it was made with".to_owned(),
        ),
        Ok(None) => Finding::ok("encryption", "there is a key, and no store yet".to_owned()),
        Err(error) => Finding::bad("encryption", error.to_string()),
    }
}

/// Reads the whole store, and compares every checksum.
fn store(_settings: &Settings, data: &Path) -> Finding {
    let none = std::fs::metadata(data.join(DATABASE)).map_or(true, |found| found.len() == 0);
    if none && store::sqlite::whole(data).is_ok() {
        return Finding::ok("store", "there is none yet".to_owned());
    }
    match store::sqlite::could_be_served(data).and_then(|()| store::sqlite::check(data)) {
        Ok(checked) => {
            let of = |table: &str| checked.rows.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows);
            let (webhooks, events) = (of("webhooks"), of("events"));
            let sums =
                if checked.sums { "every checksum fits" } else { "an earlier layout, brought up at the next start" };
            Finding::ok("store", format!("layout {}, {webhooks} webhooks, {events} events; {sums}", checked.layout))
        }
        Err(error @ OpenError::Damaged { .. }) => {
            Finding::bad("store", format!("{error}. To restore a backup, see docs/guides/backup.md"))
        }
        Err(
            error @ (OpenError::Locked(_)
            | OpenError::Newer { .. }
            | OpenError::OtherKey(_)
            | OpenError::Moved { .. }
            | OpenError::Unusable { .. }),
        ) => Finding::bad("store", error.to_string()),
    }
}

/// The clock, by what can be known of it without another one.
pub(super) fn clock(data: Option<&Path>) -> Finding {
    let now = SystemClock.now();
    if now < EARLIEST {
        return Finding::bad("clock", format!("it says {now}: set it, and keep it set by NTP"));
    }
    // What was written last was not written in the future.
    let newest = data.and_then(|data| {
        let files = ["posthaste.db", "posthaste.db-wal"].map(|name| std::fs::metadata(data.join(name)));
        files.into_iter().flatten().filter_map(|found| Some(found.modified().ok()?.elapsed().err()?.duration())).max()
    });
    match newest {
        Some(ahead) if ahead > Duration::from_secs(60) => Finding::bad(
            "clock",
            format!("it was set back: the store was written to {} s from now. Keep it set by NTP", ahead.as_secs()),
        ),
        Some(_) | None => Finding::ok("clock", format!("it says {now}")),
    }
}

/// How many descriptors a process that is started here may have open.
pub(super) fn descriptors() -> Finding {
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(most) if most < DESCRIPTORS_WISE => Finding::bad(
            "limits",
            format!("{most} descriptors may be open: raise it to {DESCRIPTORS_WISE}, by LimitNOFILE or ulimit -n"),
        ),
        Some(most) => Finding::ok("limits", format!("{most} descriptors may be open")),
        None => Finding::ok("limits", "any number of descriptors may be open".to_owned()),
    }
}

/// The resolver that attempts will ask.
pub(super) async fn names(network: &Network) -> Finding {
    match network.resolve(NAME, NAME_WITHIN).await {
        Ok(addresses) => Finding::ok("names", format!("{NAME} has {} addresses", addresses.len())),
        // It answers, and that is what was asked.
        Err(ErrorCode::DnsNotFound) => Finding::ok("names", format!("the resolver answers, and knows no {NAME}")),
        Err(code) => Finding::bad(
            "names",
            format!("{NAME} cannot be looked up ({}): see --resolver, and /etc/resolv.conf", code.as_str()),
        ),
    }
}

/// Whether requests can be sent from the addresses that are published.
pub(super) fn egress(settings: &Settings) -> Finding {
    if settings.egress_ips.is_empty() {
        return Finding::ok(
            "egress",
            "requests go out from any address; --egress-ip fixes and publishes it".to_owned(),
        );
    }
    for (bind, _) in &settings.egress_ips {
        if let Err(error) = UdpSocket::bind((*bind, 0)) {
            return Finding::bad("egress", format!("nothing can be sent from {bind}: {error}; see --egress-ip"));
        }
    }
    Finding::ok("egress", format!("requests can go out from {} addresses", settings.egress_ips.len()))
}

/// Whether the files that settings name can be read.
pub(super) fn files(settings: &Settings) -> Option<Finding> {
    // Those of trust-ca are read with the network.
    let (file, error) = settings.catalogue.iter().find_map(|file| Some((file, File::open(file).err()?)))?;
    Some(Finding::bad("files", format!("{}: {error}: see --catalogue", file.display())))
}
