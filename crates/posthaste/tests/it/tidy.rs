//! The rules of the tree that no compiler knows: who may import whom, how long a file may be, what it may be called.

use std::fs;
use std::path::{Path, PathBuf};

/// The longest that a source file may be, its tests left out. A longer one is two things.
const LINES_MAX: usize = 480;
/// Names of drawers, into which anything can be thrown.
const DRAWERS: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "types", "manager", "misc"];
/// What each crate may import of the others, as [dependencies].
const IMPORTS: [(&str, &[&str]); 8] = [
    ("domain", &[]),
    ("store", &["domain"]),
    ("dispatch", &["domain"]),
    ("outbound", &["domain"]),
    ("server", &["domain"]),
    ("simulation", &["domain", "store", "dispatch"]),
    ("dashboard", &[]),
    ("posthaste", &["domain", "store", "dispatch", "outbound", "server", "dashboard"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below `folder` with this ending, build output left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if entry.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules" | ".git" | ".venv") && !name.starts_with("target") {
                found.extend(files(&entry, ending));
            }
        } else if name.ends_with(ending) {
            found.push(entry);
        }
    }
    found
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    for (name, allowed) in IMPORTS {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).expect("a manifest");
        let (_, dependencies) = manifest.split_once("[dependencies]").expect("dependencies");
        let dependencies = dependencies.split("\n[").next().expect("a section");
        for (other, _) in IMPORTS {
            let imported = dependencies
                .lines()
                .any(|line| line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} ")));
            assert!(!imported || allowed.contains(&other), "{name} must not import {other}");
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut faults = Vec::new();
    for file in files(&root().join("crates"), ".rs") {
        let text = fs::read_to_string(&file).expect("readable");
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let tests = file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs");
        if !tests && product.lines().count() > LINES_MAX {
            faults.push(format!("{}: {} lines", file.display(), product.lines().count()));
        }
        if !text.starts_with("//!") {
            faults.push(format!("{}: no module doc", file.display()));
        }
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = file.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        if DRAWERS.contains(&stem) || DRAWERS.contains(&folder) {
            faults.push(format!("{}: a drawer's name", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn sql_stays_in_the_store_and_the_wall_clock_in_the_binary() {
    for file in files(&root().join("crates"), ".rs") {
        let text = fs::read_to_string(&file).expect("readable");
        let path = file.display().to_string();
        let tests = path.contains("/tests/");
        if !tests && !path.contains("/store/") {
            let knows = text.contains("rusqlite") || text.contains("tokio_postgres");
            assert!(!knows, "{path} knows of the database");
        }
        if !tests && !path.contains("/crates/posthaste/") {
            let ambient = ["System", "Time::now"].concat();
            assert!(!text.contains(&ambient), "{path} reads the wall clock");
        }
    }
}

#[test]
fn the_guide_names_all_that_a_stream_tells() {
    let guide = include_str!("../../../../docs/guides/live.md");
    let description = include_str!("../../../server/openapi.json");
    let mut texts = description.split('"').filter_map(|text| text.strip_prefix("Which of "));
    let types = texts.find_map(|text| text.strip_suffix(", separated by commas; all if not given."));
    let types = types.expect("the parameter `types`");
    let types: Vec<&str> = types.split(", ").flat_map(|part| part.split(" and ")).collect();
    assert!(types.len() > 2, "{types:?}");
    for name in types {
        assert!(guide.contains(&format!("\n| `{name}` |")), "{name} is not in the guide's table");
    }
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut faults = Vec::new();
    for file in files(&root(), ".md") {
        let text = fs::read_to_string(&file).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !file.parent().expect("a folder").join(target).exists() {
                faults.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
