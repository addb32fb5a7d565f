//! Reading JSON objects from outside: member by member, with every fault gathered under its pointer.

use std::borrow::Cow;
use std::fmt;

use domain::refusal::Refusal;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// The bytes as text.
///
/// # Errors
/// 400 unless they are UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("json_invalid", "The body is not UTF-8."))
}

/// More members than any input here has; what has more is not worth listing fault by fault.
const MEMBERS_MAX: usize = 64;

/// The members of an object, in order, names decoded and values as they were written.
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some((Name(name), value)) = map.next_entry()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(serde::de::Error::custom("it has too many fields"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'a> Members<'a> {
    /// The names, decoded, with the values as they were written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

/// What was given under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// Nothing, or something of a wrong kind, which is among the faults.
    Absent,
    /// `null`.
    Null,
    /// A value of the right kind.
    Value(T),
}

/// An object that is being read, and what was wrong with it so far.
#[derive(Debug, Default)]
pub(crate) struct Input<'a> {
    members: Members<'a>,
    /// What was wrong so far.
    pub(crate) faults: Vec<Refusal>,
}

impl<'a> Input<'a> {
    /// Reads an object with members of these names.
    ///
    /// # Errors
    /// 400 if the text is no JSON, 422 if it is no object. Unknown and repeated names are faults.
    pub(crate) fn parse(text: &'a str, names: &[&str]) -> Result<Self, Problem> {
        let members: Members<'a> = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
        let mut input = Self { members, faults: Vec::new() };
        for (i, (name, _)) in input.members.0.iter().enumerate() {
            if !names.contains(&name.as_ref()) {
                let known = if names.is_empty() {
                    "The body is to be empty, or {}".to_owned()
                } else {
                    format!("Known fields: {}", names.join(", "))
                };
                let detail = format!("There is no field {name:?} here. {known}.");
                input.faults.push(Refusal::new(pointer(name), "unknown_field", detail));
            } else if input.members.0[..i].iter().any(|(earlier, _)| earlier == name) {
                let detail = format!("The field {name:?} is given more than once.");
                input.faults.push(Refusal::new(pointer(name), "duplicate_field", detail));
            }
        }
        Ok(input)
    }

    /// [`Self::parse`], taking an empty text for an empty object.
    ///
    /// # Errors
    /// Those of [`Self::parse`].
    pub(crate) fn parse_optional(text: &'a str, names: &[&str]) -> Result<Self, Problem> {
        if text.is_empty() { Ok(Self::default()) } else { Self::parse(text, names) }
    }

    /// Notes a fault of the member `name`.
    pub(crate) fn fault(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        self.faults.push(Refusal::new(pointer(name), code, detail));
    }

    /// Notes faults whose pointers start at the member `name`.
    pub(crate) fn faults_under(&mut self, name: &str, faults: Vec<Refusal>) {
        let base = pointer(name);
        self.faults.extend(faults.into_iter().map(|fault| Refusal {
            pointer: if fault.pointer.starts_with(&base) { fault.pointer } else { format!("{base}{}", fault.pointer) },
            ..fault
        }));
    }

    /// The member as it was written.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.members.0.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// The member as a `T`; if it is of another kind, the fault is `code` with `expected`.
    pub(crate) fn get<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &str,
        code: &'static str,
        expected: &str,
    ) -> Given<T> {
        let Some(raw) = self.raw(name) else { return Given::Absent };
        if raw.get() == "null" {
            return Given::Null;
        }
        match serde_json::from_str(raw.get()) {
            Ok(value) => Given::Value(value),
            Err(_) => {
                self.fault(name, code, format!("{name} must be {expected}, not {}.", shown(raw.get())));
                Given::Absent
            }
        }
    }

    /// The member as text.
    pub(crate) fn text(&mut self, name: &str, code: &'static str) -> Given<String> {
        self.get(name, code, "text")
    }

    /// The faults as a problem, if there are any.
    ///
    /// # Errors
    /// 422 with every fault.
    pub(crate) fn check(&mut self) -> Result<(), Problem> {
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid(std::mem::take(&mut self.faults))) }
    }
}

/// The start of a value, short enough for a sentence.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// Why a text is no object: 400 if it is no JSON at all, 422 if it is another kind of value.
pub(crate) fn unreadable(text: &str, error: &serde_json::Error) -> Problem {
    if text.is_empty() {
        return Problem::bad_request("json_invalid", "The body is empty; a JSON object is needed.");
    }
    if text.starts_with('\u{feff}') {
        return Problem::bad_request("json_invalid", "The body starts with a byte order mark; send JSON without it.");
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Problem::fault("", "body_invalid", format!("The body must be a JSON object: {error}.")),
        Err(_) => Problem::bad_request("json_invalid", format!("The body is not valid JSON: {error}.")),
    }
}

/// The JSON pointer to the member `name` of the whole input.
pub(crate) fn pointer(name: &str) -> String {
    let mut pointer = String::with_capacity(name.len() + 1);
    pointer.push('/');
    for c in name.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unknown_and_repeated_field_is_a_fault_with_its_pointer() {
        let input = Input::parse(r#"{"name":1,"URL":2,"name":3,"a/b~":null}"#, &["name", "url"]).expect("an object");
        let faults: Vec<_> = input.faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        assert_eq!(faults, [("/URL", "unknown_field"), ("/name", "duplicate_field"), ("/a~1b~0", "unknown_field")]);
        let none = Input::parse(r#"{"a":1}"#, &[]).expect("an object");
        assert!(none.faults[0].detail.ends_with("The body is to be empty, or {}."), "{:?}", none.faults);
    }

    #[test]
    fn broken_json_is_400_and_another_kind_422() {
        let status = |text| Input::parse(text, &[]).map(|_| ()).map_err(|problem| problem.status().as_u16());
        for text in ["", "{", "NaN", "{'a':1}", "\u{feff}{}", "{}{}", "{\"a\":1,}"] {
            assert_eq!(status(text), Err(400), "{text}");
        }
        for text in ["null", "42", "[]", "\"x\""] {
            assert_eq!(status(text), Err(422), "{text}");
        }
        assert_eq!(status(" {} "), Ok(()));
    }

    #[test]
    fn wrong_kinds_are_faults_and_null_is_told_from_absent() {
        let mut input = Input::parse(r#"{"a":7,"b":null,"c":"x"}"#, &["a", "b", "c", "d"]).expect("an object");
        assert_eq!(input.text("a", "a_invalid"), Given::Absent);
        assert_eq!(input.text("b", "b_invalid"), Given::Null);
        assert_eq!(input.text("c", "c_invalid"), Given::Value("x".to_owned()));
        assert_eq!(input.text("d", "d_invalid"), Given::Absent);
        assert_eq!(input.faults.len(), 1);
        assert_eq!(input.faults[0].code, "a_invalid");
    }
}
