//! Gathering: for each setting the texts of the source that counts, and which source that is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::settings::BadSetting;
use crate::settings::list::{self, Kind, Mode, SETTINGS, Setting};
use crate::settings::source::{Environment, Origin};
use crate::settings::typed::Typed;

/// The settings file that is read where none is named.
const FILE: &str = "posthaste.toml";

/// The texts of one setting, and where they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// One text, or several for a list. Empty for a setting that is not given and has no default.
    pub(crate) texts: Vec<String>,
    /// Where they came from.
    pub(crate) origin: Origin,
}

/// All settings, unjudged.
#[derive(Debug, Clone)]
pub(crate) struct Gathered(BTreeMap<&'static str, Given>);

impl Gathered {
    /// Reads every source.
    ///
    /// # Errors
    /// When the file cannot be read, names an unknown setting, or a secret is given twice.
    pub(crate) fn collect(typed: &Typed, environment: &Environment, mode: Mode) -> Result<Self, BadSetting> {
        let file = File::find(typed, environment)?;
        let given = |setting: &'static Setting| given(setting, typed, environment, &file, mode);
        SETTINGS.iter().map(|setting| Ok((setting.name, given(setting)?))).collect::<Result<_, _>>().map(Self)
    }

    /// The texts of the setting `name`, which is one of the list.
    pub(crate) fn get(&self, name: &str) -> &Given {
        &self.0[name]
    }
}

fn given(
    setting: &'static Setting,
    typed: &Typed,
    environment: &Environment,
    file: &File,
    mode: Mode,
) -> Result<Given, BadSetting> {
    if let Some(texts) = typed.texts.get(setting.name) {
        let texts = texts.iter().flat_map(|text| parts(setting, text)).collect();
        return Ok(Given { texts, origin: Origin::Flag(setting.name) });
    }
    if let Some(given) = from_environment(setting, environment)? {
        return Ok(given);
    }
    if let Some(given) = file.get(setting)? {
        return Ok(given);
    }
    let default = setting.default_in(mode);
    let texts = if default.is_empty() { Vec::new() } else { parts(setting, default) };
    Ok(Given { texts, origin: Origin::Default })
}

fn from_environment(setting: &'static Setting, environment: &Environment) -> Result<Option<Given>, BadSetting> {
    let variable = setting.variable();
    let found = if setting.kind == Kind::Secret {
        environment.secret(&variable).map_err(|said| BadSetting::new(setting.name, said))?
    } else {
        environment.get(&variable).map(|value| (value.to_owned(), Origin::Variable(variable)))
    };
    Ok(found.map(|(text, origin)| Given { texts: parts(setting, &text), origin }))
}

/// The parts of a text: a list's are split at commas, and an empty part stays, to be refused where it is judged.
fn parts(setting: &Setting, text: &str) -> Vec<String> {
    match setting.kind {
        Kind::List => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Kind::One | Kind::Switch | Kind::Secret => vec![text.to_owned()],
    }
}

/// The settings file, if there is one.
#[derive(Debug, Default)]
struct File {
    path: PathBuf,
    table: toml::Table,
}

impl File {
    fn find(typed: &Typed, environment: &Environment) -> Result<Self, BadSetting> {
        let named = typed.config.clone().or_else(|| environment.get("POSTHASTE_CONFIG").map(PathBuf::from));
        match named {
            Some(path) => Self::read(&path),
            None if Path::new(FILE).is_file() => Self::read(Path::new(FILE)),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, BadSetting> {
        let bad = |said: String| BadSetting::new("config", format!("cannot use {}: {said}", path.display()));
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| bad(format!("{error}: name a settings file that can be read, or none")))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| bad(error.to_string()))?;
        match table.keys().find(|key| list::named(key).is_none()) {
            Some(unknown) => Err(BadSetting {
                origin: Some(Origin::File(path.to_owned())),
                ..BadSetting::new(unknown, "there is no such setting; `posthaste config show` lists them all")
            }),
            None => Ok(Self { path: path.to_owned(), table }),
        }
    }

    fn get(&self, setting: &'static Setting) -> Result<Option<Given>, BadSetting> {
        let Some(value) = self.table.get(setting.name) else { return Ok(None) };
        let origin = Origin::File(self.path.clone());
        let texts = match value.as_array() {
            Some(values) if setting.kind == Kind::List => values.iter().map(text_of).collect(),
            Some(_) | None => text_of(value).map(|text| parts(setting, &text)),
        };
        match texts {
            Some(texts) => Ok(Some(Given { texts, origin })),
            None => {
                let said = "write a text, a number, true or false, or a list of texts";
                Err(BadSetting { origin: Some(origin), ..BadSetting::new(setting.name, said) })
            }
        }
    }
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}
