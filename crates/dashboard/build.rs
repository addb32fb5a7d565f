//! Builds the dashboard and writes the table of its files.
//!
//! Everything happens below `OUT_DIR`, never in the source tree. Packages are installed only when the lock file has changed,
//! and cargo runs this only when a source of the dashboard has, so that other builds cost nothing.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What the dashboard is made of, below its directory.
const SOURCES: [&str; 8] = [
    ".npmrc",
    "index.html",
    "package-lock.json",
    "package.json",
    "public",
    "src",
    "svelte.config.js",
    "vite.config.js",
];
/// What it shows of the rest of the tree: code that checks signatures. At the same places beside the copy of its directory.
const SHOWN: [&str; 4] = [
    "crates/posthaste/src/commands/verify/example.cs",
    "crates/posthaste/src/commands/verify/example.java",
    "crates/posthaste/src/commands/verify/example.sh",
    "docs/guides/receiving.md",
];
/// What decides which packages are installed.
const LOCK: &str = "package-lock.json";

fn main() {
    let out = PathBuf::from(variable("OUT_DIR").expect("cargo gives it"));
    let stub = Path::new("stub.html");
    tell("rerun-if-env-changed", "POSTHASTE_UI_DIST");
    tell("rerun-if-changed", "build.rs");
    tell("rerun-if-changed", "stub.html");
    let dist = match variable("POSTHASTE_UI_DIST") {
        Some(dir) => {
            let dir =
                fs::canonicalize(&dir).unwrap_or_else(|error| panic!("POSTHASTE_UI_DIST={}: {error}", dir.display()));
            tell("rerun-if-changed", &dir.to_string_lossy());
            dir
        }
        None => built(&out).unwrap_or_else(|why| {
            tell(
                "warning",
                &format!("the dashboard is left out: {why}. Install Node.js with npm, or set POSTHASTE_UI_DIST"),
            );
            // Tried again with the next build: the reason is not in any file.
            tell("rerun-if-changed", "a-file-that-is-never-there");
            let dir = out.join("stub");
            fs::create_dir_all(&dir)
                .and_then(|()| fs::copy(stub, dir.join("index.html")))
                .expect("a page can be written");
            dir
        }),
    };
    fs::write(out.join("files.rs"), table(&dist)).expect("the table can be written");
}

/// A variable of the build's environment, unless it is empty.
#[expect(clippy::disallowed_methods, reason = "settings of the build, not of the product")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Tells cargo something.
fn tell(what: &str, value: &str) {
    writeln!(io::stdout(), "cargo::{what}={value}").expect("cargo listens");
}

/// Builds the dashboard: the directory with its files, or why it cannot be built here.
fn built(out: &Path) -> Result<PathBuf, String> {
    let source = Path::new("../../dashboard");
    let app = out.join("app");
    fs::create_dir_all(&app).expect("a directory for the build");
    for name in SOURCES {
        let (from, to) = (source.join(name), app.join(name));
        tell("rerun-if-changed", &from.to_string_lossy());
        if to.is_dir() {
            fs::remove_dir_all(&to).expect("what the last build left can be removed");
        }
        copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
    for name in SHOWN {
        let (from, to) = (Path::new("../..").join(name), out.join(name));
        tell("rerun-if-changed", &from.to_string_lossy());
        fs::create_dir_all(to.parent().expect("it lies in a directory"))
            .and_then(|()| copy(&from, &to))
            .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
    let lock = fs::read(app.join(LOCK)).expect("the lock file is there");
    let stamp = app.join("installed");
    if fs::read(&stamp).ok() != Some(lock.clone()) {
        let install = ["ci", "--ignore-scripts", "--omit=dev", "--prefer-offline", "--loglevel=error"];
        run(Command::new("npm").args(install).current_dir(&app))?;
        fs::write(&stamp, lock).expect("a stamp can be written");
    }
    let vite = ["node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"];
    // Packages are there, so a fault is one of the sources: it ends the build.
    run(Command::new("node").args(vite).current_dir(&app)).unwrap_or_else(|why| panic!("the dashboard: {why}"));
    Ok(app.join("dist"))
}

/// Runs a program to its end, and says what it said if it failed.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program} cannot be run ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&said).trim()))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Every file below `folder`, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a directory that can be read").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The table as Rust source. A compressed form is a file beside the plain one.
fn table(dist: &Path) -> String {
    let mut text = "&[\n".to_owned();
    for file in files(dist) {
        let Some(media) = media(&file) else { continue };
        let path = file.strip_prefix(dist).expect("it lies below").to_string_lossy().replace('\\', "/");
        let beside = |ending: &str| {
            let name = PathBuf::from(format!("{}.{ending}", file.display()));
            if name.exists() { format!("include_bytes!({name:?})") } else { "&[]".to_owned() }
        };
        writeln!(
            text,
            "File {{ path: {path:?}, media: {media:?}, plain: include_bytes!({file:?}), gzip: {}, brotli: {} }},",
            beside("gz"),
            beside("br"),
        )
        .expect("text in memory");
    }
    text.push_str("]\n");
    text
}

/// The `Content-Type` of a file; `None` for one that is not served by itself.
fn media(file: &Path) -> Option<&'static str> {
    Some(match file.extension().and_then(OsStr::to_str)? {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}
