//! The catalogue: every type of event that there is. It is data, not code.
//!
//! The built-in one is the page's sixteen types; an operator's file adds to it, changes it, or takes its place:
//!
//! ```json
//! {
//!   "replace": false,
//!   "enforcement": "reject",
//!   "types": [
//!     {
//!       "name": "invoice.paid",
//!       "description": "An invoice was paid",
//!       "schema": {"type": "object", "required": ["invoice_id"], "properties": {"invoice_id": {"type": "string"}}},
//!       "example": {"invoice_id": "inv_42"},
//!       "enforcement": "flag"
//!     },
//!     {"name": "alert.rule_created", "enforcement": "off"}
//!   ]
//! }
//! ```
//!
//! `enforcement` beside `types` holds for every type that does not say its own, the built-in ones included. A type whose
//! name is there already is changed in what the file says; a new one must say everything but `enforcement`.

mod event_type;
pub(crate) mod raw_json;
mod shape;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

pub use event_type::{DATA_INVALID, Enforcement, EventType, FAULTS_MAX, NAME_LEN_MAX, is_name};
pub use raw_json::NESTING_MAX;

/// The sixteen types of the page.
const BUILTIN: &str = include_str!("../catalogue/crondb.json");

/// Why an operator's file is no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The file as a whole cannot be read.
    #[error("the catalogue is not readable: {0}")]
    File(String),
    /// One of its types is faulty.
    #[error("event type `{name}`: {fault}")]
    Type {
        /// The type's name, or its place in the list, such as `types[3]`, if it has none.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// There would be no type at all.
    #[error("the catalogue would be empty: give at least one type, or leave `replace` out")]
    Empty,
}

/// Every type of event, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    types: Vec<Arc<EventType>>,
    places: HashMap<Arc<str>, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    replace: bool,
    enforcement: Option<Enforcement>,
    #[serde(default)]
    types: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    description: Option<String>,
    schema: Option<Value>,
    example: Option<Box<RawValue>>,
    enforcement: Option<Enforcement>,
}

impl Catalogue {
    /// The page's sixteen types.
    #[must_use]
    pub fn builtin() -> Self {
        Self::default().extend(BUILTIN).expect("the built-in catalogue is read by the tests")
    }

    /// The built-in catalogue with an operator's file applied: what the module's head shows.
    ///
    /// # Errors
    /// The first fault, with the name of the type that has it.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        Self::builtin().extend(text)
    }

    /// This catalogue with an operator's file applied.
    ///
    /// # Errors
    /// The first fault, with the name of the type that has it.
    pub fn extend(self, text: &str) -> Result<Self, CatalogueError> {
        let file: File = serde_json::from_str(text).map_err(|error| CatalogueError::File(error.to_string()))?;
        let mut made = if file.replace { Self::default() } else { self };
        let mut own = HashSet::new();
        let mut named = HashSet::new();
        for (place, raw) in file.types.iter().enumerate() {
            let entry = read_entry(raw, place)?;
            let fault = |fault: String| CatalogueError::Type { name: entry.name.clone(), fault };
            if !named.insert(entry.name.clone()) {
                return Err(fault("is there twice".to_owned()));
            }
            if entry.enforcement.is_some() {
                own.insert(entry.name.clone());
            }
            let before = made.get(&entry.name).cloned();
            made.put(build(&entry, before.as_deref()).map_err(fault)?);
        }
        if let Some(enforcement) = file.enforcement {
            made.enforce(enforcement, &own)?;
        }
        if made.types.is_empty() { Err(CatalogueError::Empty) } else { Ok(made) }
    }

    /// Every type, in order.
    #[must_use]
    pub fn types(&self) -> &[Arc<EventType>] {
        &self.types
    }

    /// The type with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<EventType>> {
        self.places.get(name).map(|&place| &self.types[place])
    }

    /// The groups, what stands before the first dot of the names, in the order in which they first appear.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let mut seen = HashSet::new();
        self.types.iter().map(|event_type| event_type.group()).filter(move |group| seen.insert(*group))
    }

    /// Whether some type's name starts with `group` and a dot; `a.b` is a group of `a.b.c`, too.
    #[must_use]
    pub fn has_group(&self, group: &str) -> bool {
        let within = |name: &str| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
        !group.is_empty() && self.types.iter().any(|event_type| within(&event_type.name))
    }

    fn put(&mut self, event_type: EventType) {
        let event_type = Arc::new(event_type);
        if let Some(&place) = self.places.get(&event_type.name) {
            self.types[place] = event_type;
        } else {
            self.places.insert(Arc::clone(&event_type.name), self.types.len());
            self.types.push(event_type);
        }
    }

    /// Sets the enforcement of every type but those named in `own`.
    fn enforce(&mut self, enforcement: Enforcement, own: &HashSet<String>) -> Result<(), CatalogueError> {
        for event_type in self.types.clone() {
            if event_type.enforcement == enforcement || own.contains(&*event_type.name) {
                continue;
            }
            let name = event_type.name.to_string();
            let entry = Entry { name, description: None, schema: None, example: None, enforcement: Some(enforcement) };
            let rebuilt = build(&entry, Some(&event_type));
            self.put(rebuilt.map_err(|fault| CatalogueError::Type { name: entry.name, fault })?);
        }
        Ok(())
    }
}

fn read_entry(raw: &RawValue, place: usize) -> Result<Entry, CatalogueError> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    serde_json::from_str(raw.get()).map_err(|error| {
        let named = serde_json::from_str(raw.get()).map(|Named { name }| name);
        CatalogueError::Type { name: named.unwrap_or_else(|_| format!("types[{place}]")), fault: error.to_string() }
    })
}

/// The type that `entry` makes, with what it leaves out taken from the type `before`.
fn build(entry: &Entry, before: Option<&EventType>) -> Result<EventType, String> {
    let missing = |field: &str| format!("`{field}` is missing");
    EventType::new(
        &entry.name,
        entry
            .description
            .clone()
            .or_else(|| before.map(|before| before.description.clone()))
            .ok_or_else(|| missing("description"))?,
        entry.schema.clone().or_else(|| before.map(|before| before.schema.clone())).ok_or_else(|| missing("schema"))?,
        entry
            .example
            .clone()
            .or_else(|| before.map(|before| before.example.clone()))
            .ok_or_else(|| missing("example"))?,
        entry.enforcement.or_else(|| before.map(|before| before.enforcement)).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
