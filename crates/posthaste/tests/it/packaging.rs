//! Package and container image, as far as they can be held against the tree and the binary without building them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the binary says to these arguments, which it must know.
fn posthaste(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_posthaste")).args(arguments).env_clear().output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// An instruction of the Dockerfile: its name, and the rest.
fn instructions(text: &str) -> Vec<(String, String)> {
    let whole = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = whole.lines().filter_map(|line| line.trim().split_once(' '));
    lines.map(|(name, rest)| (name.to_owned(), rest.trim().to_owned())).collect()
}

/// The command of an instruction in its JSON form, and that it begins with the binary or follows the entry point.
fn command(rest: &str) -> Vec<String> {
    let json = rest.find('[').map(|at| &rest[at..]).unwrap_or_else(|| panic!("no JSON form: {rest}"));
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{rest}: {error}"))
}

/// The binary has this command, with these options.
fn is_known(words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).skip_while(|word| *word == "posthaste").collect();
    let help = posthaste(&[words[0], "--help"]);
    for option in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(option), "{} has no {option}", words[0]);
    }
}

/// The files outside of the dashboard that its code imports, from the tree's root.
fn imported_from_outside(folder: &Path) -> Vec<String> {
    let mut outside = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            outside.extend(imported_from_outside(&path));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let imports = text.lines().filter_map(|line| line.split_once(" from \"../")?.1.split('"').next());
        let up = |import: &&str| import.starts_with("../../../../");
        outside.extend(imports.filter(up).map(|import| import.replace("../", "").replace("?raw", "")));
    }
    outside
}

#[test]
fn the_dockerfile_fits_the_tree_and_the_binary() {
    let settings: Value = serde_json::from_str(&posthaste(&["config", "show", "--json"])).expect("JSON");
    let settings = settings.to_string();
    let (mut stages, mut last, mut copied) = (Vec::new(), None, Vec::new());
    let (mut data, mut exposed) = (None, None);
    for (name, rest) in instructions(&read("packaging/Dockerfile")) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match name.as_str() {
            "FROM" => {
                let (image, tag) = words[0].split_once(':').expect("a tag");
                if image == "rust" {
                    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
                    let version = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
                    assert!(tag.starts_with(&format!("{version}-")), "{image}:{tag} is not the workspace's {version}");
                }
                stages.extend(words.get(2).map(|stage| (*stage).to_owned()));
                last = words.get(2).map(|stage| (*stage).to_owned());
            }
            "COPY" if words[0].starts_with("--from=") => {
                let stage = words[0].trim_start_matches("--from=");
                assert!(stages.iter().any(|known| known == stage), "there is no stage {stage}");
            }
            "COPY" => {
                for source in &words[..words.len() - 1] {
                    assert!(root().join(source).exists(), "{source} is not in the tree");
                    copied.push((last.clone(), (*source).to_owned()));
                }
            }
            "ENV" => {
                for (name, value) in words.iter().filter_map(|pair| pair.split_once('=')) {
                    let setting = name.trim_start_matches("POSTHASTE_").to_ascii_lowercase().replace('_', "-");
                    let known = name == "POSTHASTE_UI_DIST" || settings.contains(&format!("\"{setting}\""));
                    assert!(known, "{name} is no setting");
                    match name {
                        "POSTHASTE_DATA" => data = Some(value.to_owned()),
                        "POSTHASTE_LISTEN" => exposed = value.rsplit_once(':').map(|(_, port)| port.to_owned()),
                        _ => {}
                    }
                }
            }
            "VOLUME" => assert_eq!(Some(rest), data, "what is kept is in the volume"),
            "EXPOSE" => assert_eq!(Some(rest), exposed),
            "CMD" => is_known(&command(&rest)),
            "HEALTHCHECK" => is_known(&command(rest.split_once("CMD").expect("a command").1)),
            "ENTRYPOINT" => assert_eq!(command(&rest), ["posthaste"]),
            "USER" => assert_ne!(rest, "root"),
            "RUN" | "WORKDIR" | "STOPSIGNAL" => {}
            other => panic!("what is {other}?"),
        }
    }
    assert!(data.is_some() && exposed.is_some());
    // What each is built from outside of its folder was copied, too.
    let has = |stage: &str, needed: &str| {
        let mut sources = copied.iter().filter(|(of, _)| of.as_deref() == Some(stage));
        assert!(sources.any(|(_, source)| Path::new(needed).starts_with(source)), "{needed} is not copied for {stage}");
    };
    for needed in ["Cargo.toml", "Cargo.lock", "crates", "docs"] {
        has("build", needed);
    }
    has("dashboard", "dashboard");
    let outside = imported_from_outside(&root().join("dashboard/src"));
    assert!(outside.iter().any(|file| file.starts_with("docs/")), "{outside:?}");
    outside.iter().for_each(|file| has("dashboard", file));
    assert!(read("dashboard/package.json").contains("\"build\""), "npm run build");
}

#[test]
fn the_package_has_files_that_exist_and_starts_a_command_that_is_known() {
    let manifest: toml::Table = read("crates/posthaste/Cargo.toml").parse().expect("TOML");
    let deb = &manifest["package"]["metadata"]["deb"];
    let crate_of = root().join("crates/posthaste");
    let assets = deb["assets"].as_array().expect("a list");
    for asset in assets {
        let source = asset[0].as_str().expect("a path");
        let (folder, _) = source.rsplit_once('/').expect("a folder");
        let exists = source.starts_with("target/release/")
            || if source.ends_with("*.md") { crate_of.join(folder).is_dir() } else { crate_of.join(source).is_file() };
        assert!(exists, "{source} is not in the tree");
    }
    let binary = assets.iter().find(|asset| asset[0].as_str() == Some("target/release/posthaste")).expect("the binary");
    assert_eq!((binary[1].as_str(), binary[2].as_str()), (Some("usr/bin/"), Some("755")));
    let scripts = crate_of.join(deb["maintainer-scripts"].as_str().expect("a folder"));
    for script in ["postinst", "postrm"] {
        let text = std::fs::read_to_string(scripts.join(script)).expect("it is there");
        assert!(text.contains("#DEBHELPER#"), "{script} does what the unit needs");
        let checked = Command::new("sh").arg("-n").arg(scripts.join(script)).status().expect("sh runs");
        assert!(checked.success(), "{script}");
    }
    let units = deb["systemd-units"]["unit-scripts"].as_str().expect("a folder");
    let unit = std::fs::read_to_string(crate_of.join(units).join("posthaste.service")).expect("the unit");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/")).expect("it starts the binary");
    is_known(&start.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
}
