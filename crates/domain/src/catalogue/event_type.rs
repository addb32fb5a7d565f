//! One type of event: its name, what it means, what its `data` looks like, and the check of that.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::types::JsonType;
use jsonschema::{ValidationError, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::raw_json::{Cursor, NESTING_MAX, Stop};
use super::shape::Shape;
use crate::refusal::Refusal;

/// The code of every refusal of an event's data.
pub const DATA_INVALID: &str = "data_invalid";
/// How many faults one check names; the first ones tell enough, and an answer stays short.
pub const FAULTS_MAX: usize = 20;
/// How long a type's name may be, in characters.
pub const NAME_LEN_MAX: usize = 100;

/// What becomes of an event whose data breaks its type's schema. The operator's choice: schemas
/// may be stricter than what a platform has sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// It is refused.
    #[default]
    Reject,
    /// It is accepted, and marked.
    Flag,
    /// The schema is for readers only. That data is an object, and how deep it nests, is checked all the same.
    Off,
}

impl Enforcement {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reject, Self::Flag, Self::Off];

    /// The word for it in the API and in a catalogue.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Flag => "flag",
            Self::Off => "off",
        }
    }
}

/// A type of event.
pub struct EventType {
    /// Its name, such as `alert.domain_matched`.
    pub name: Arc<str>,
    /// What it means: one line.
    pub description: String,
    /// The JSON Schema of its data.
    pub schema: Value,
    /// An example of its data, as its author wrote it.
    pub example: Box<RawValue>,
    /// What becomes of an event that breaks the schema.
    pub enforcement: Enforcement,
    shape: Option<Shape>,
    validator: Validator,
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventType")
            .field("name", &self.name)
            .field("enforcement", &self.enforcement)
            .finish_non_exhaustive()
    }
}

impl EventType {
    /// A type of event; the fault as a sentence if the name, the schema or the example is not one.
    pub(super) fn new(
        name: &str,
        description: String,
        schema: Value,
        example: Box<RawValue>,
        enforcement: Enforcement,
    ) -> Result<Self, String> {
        if !is_name(name) {
            return Err(format!(
                "the name must be a group, a dot and a name, such as `invoice.paid`: lower-case letters, digits and `_`, \
                 at most {NAME_LEN_MAX} characters"
            ));
        }
        let validator =
            jsonschema::options().build(&schema).map_err(|error| format!("its schema is not valid: {error}"))?;
        let shape = Shape::compile(&schema);
        let made = Self { name: name.into(), description, schema, example, enforcement, shape, validator };
        match made.faults(&made.example) {
            Ok(faults) if faults.is_empty() => Ok(made),
            Ok(faults) | Err(faults) => {
                let details: Vec<_> = faults.into_iter().map(|fault| fault.detail).collect();
                Err(format!("its example breaks its schema: {}", details.join(" ")))
            }
        }
    }

    /// What stands before the name's first dot.
    #[must_use]
    pub fn group(&self) -> &str {
        self.name.split_once('.').map_or(&*self.name, |(group, _)| group)
    }

    /// Judges an event's data: whether it is to be marked as one that breaks the schema.
    ///
    /// # Errors
    /// A refusal with [`DATA_INVALID`] for each fault, at most [`FAULTS_MAX`], with a pointer such as `/data/domain`. Data
    /// that is no object, or nests too deep, is refused whatever the enforcement.
    pub fn check(&self, data: &RawValue) -> Result<bool, Vec<Refusal>> {
        let faults = self.faults(data)?;
        match self.enforcement {
            Enforcement::Reject if !faults.is_empty() => Err(faults),
            Enforcement::Reject | Enforcement::Flag | Enforcement::Off => Ok(!faults.is_empty()),
        }
    }

    /// The faults by the schema; as an error those that no setting forgives.
    fn faults(&self, data: &RawValue) -> Result<Vec<Refusal>, Vec<Refusal>> {
        let text = data.get();
        if !text.starts_with('{') {
            let found = kind(text);
            return Err(vec![Refusal::new(
                "/data",
                DATA_INVALID,
                format!("`data` must be an object, but is {found}."),
            )]);
        }
        let quick = match (&self.shape, self.enforcement) {
            (_, Enforcement::Off) => Cursor::new(text).skip(NESTING_MAX),
            (Some(shape), _) => shape.walk(&mut Cursor::new(text), NESTING_MAX),
            (None, _) => Err(Stop::Unsure),
        };
        match quick {
            Ok(()) => Ok(Vec::new()),
            Err(Stop::TooDeep) => Err(too_deep()),
            Err(Stop::Unsure) => self.faults_by_schema(text),
        }
    }

    fn faults_by_schema(&self, text: &str) -> Result<Vec<Refusal>, Vec<Refusal>> {
        let tree = Cursor::new(text).read(NESTING_MAX).map_err(|stop| match stop {
            Stop::TooDeep => too_deep(),
            Stop::Unsure => vec![Refusal::new("/data", DATA_INVALID, "`data` is not well-formed JSON.")],
        })?;
        Ok(self.validator.iter_errors(&tree).take(FAULTS_MAX).map(|error| self.refusal(&error)).collect())
    }

    /// One fault that the library found, in words that a person understands.
    fn refusal(&self, error: &ValidationError<'_>) -> Refusal {
        let pointer = format!("/data{}", error.instance_path().as_str());
        if let ValidationErrorKind::Required { property: Value::String(property) } = error.kind() {
            let pointer = format!("{pointer}/{}", property.replace('~', "~0").replace('/', "~1"));
            let detail = format!("`{}` is missing; `{}` requires it.", spoken(&pointer), self.name);
            return Refusal::new(pointer, DATA_INVALID, detail);
        }
        let field = format!("`{}`", spoken(&pointer));
        let detail = if let ValidationErrorKind::Type { kind: wanted } = error.kind() {
            let wanted: Vec<_> = match wanted {
                TypeKind::Single(wanted) => vec![article(*wanted)],
                TypeKind::Multiple(wanted) => wanted.iter().map(article).collect(),
            };
            format!("{field} must be {}, but is {}.", wanted.join(" or "), kind(&error.instance().to_string()))
        } else if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
            let names: Vec<_> = unexpected.iter().take(5).map(|name| format!("`{name}`")).collect();
            format!("{field} has members that its schema does not allow, such as {}.", names.join(", "))
        } else if let ValidationErrorKind::FalseSchema = error.kind() {
            format!("{field} holds something that its schema does not allow.")
        } else {
            format!("{}.", error.masked_with(field))
        };
        Refusal::new(pointer, DATA_INVALID, detail)
    }
}

/// Whether `name` can name a type: a group, a dot, a name, and nothing that JSON, a URL or a shell would escape.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    name.len() <= NAME_LEN_MAX && name.contains('.') && name.split('.').all(part)
}

fn too_deep() -> Vec<Refusal> {
    vec![Refusal::new("/data", DATA_INVALID, format!("`data` may nest at most {NESTING_MAX} levels deep."))]
}

/// A pointer as people say it: `/data/changes/0/field` is `data.changes.0.field`.
fn spoken(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

/// What a text of JSON is, with its article.
fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

const fn article(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "an array",
        JsonType::Object => "an object",
    }
}

#[cfg(test)]
mod tests;
