//! Opening a page in the browser of whoever sits here.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Programs that open a page: those of free desktops, and of macOS.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// How long an opener may take to say that it could not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens `url`; whether a program for that was found and said that it did.
pub(super) async fn open(url: &str) -> bool {
    for opener in OPENERS {
        let mut command = Command::new(opener);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut opener) = command.spawn() else { continue };
        match tokio::time::timeout(PATIENCE, opener.wait()).await {
            Ok(Ok(status)) if status.success() => return true,
            Ok(_) => {}
            // Some stay for as long as the browser does.
            Err(_) => return true,
        }
    }
    false
}
