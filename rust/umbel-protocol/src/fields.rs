//! Named fields of one JSON object, read with errors that name the field.

use std::borrow::Cow;

use crate::json::{self, Member, Value};
use crate::{Limits, Malformed};

/// The members of an object whose values are still text.
pub(crate) struct Fields<'a> {
    /// What a member is called in errors: `header`, `property`, …
    kind: &'static str,
    members: Vec<Member<'a>>,
}

impl<'a> Fields<'a> {
    /// Reads the object `text`; errors are about `what`.
    pub(crate) fn read(text: &'a [u8], what: &str, kind: &'static str, limits: &Limits) -> Result<Self, Malformed> {
        let members = json::members(text, limits).map_err(|error| Malformed::new(what, error.detail))?;
        Ok(Self { kind, members })
    }

    /// Fields of an empty object.
    pub(crate) const fn none(kind: &'static str) -> Self {
        Self { kind, members: Vec::new() }
    }

    /// Members in wire order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter()
    }

    /// Whether there is a member `name`, even a null one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }

    /// The text of the last member `name`; `None` if absent or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let member = self.members.iter().rev().find(|member| member.name == name)?;
        (member.raw != "null").then_some(member.raw)
    }

    /// A string; `None` if absent or null.
    pub(crate) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        self.raw(name).map(|raw| json::text_of(raw).ok_or_else(|| self.wrong(name, "a string", raw))).transpose()
    }

    /// A string of one's own; `None` if absent or null.
    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, Malformed> {
        Ok(self.text(name)?.map(Cow::into_owned))
    }

    /// A string, or any other value as its JSON text (for what is only shown to people).
    pub(crate) fn shown(&self, name: &str) -> Option<String> {
        let raw = self.raw(name)?;
        Some(json::text_of(raw).unwrap_or(Cow::Borrowed(raw)).into_owned())
    }

    /// A string, or an integer as its digits.
    pub(crate) fn string_or_integer(&self, name: &str) -> Result<Option<String>, Malformed> {
        match self.raw(name) {
            Some(raw) if raw.parse::<i64>().is_ok() => Ok(Some(raw.to_owned())),
            _ => self.string(name),
        }
    }

    /// An integer; `None` if absent or null.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Malformed> {
        self.raw(name).map(|raw| raw.parse().map_err(|_| self.wrong(name, "an integer", raw))).transpose()
    }

    /// A boolean; `None` if absent or null.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Malformed> {
        match self.raw(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(raw) => Err(self.wrong(name, "true or false", raw)),
        }
    }

    /// A whole value; `None` if absent or null.
    pub(crate) fn value(&self, name: &str, limits: &Limits) -> Result<Option<Value>, Malformed> {
        let parsed = self.raw(name).map(|raw| json::parse(raw.as_bytes(), limits));
        parsed.transpose().map_err(|error| self.malformed(name, error.detail))
    }

    /// The error for a field that is not what it must be.
    pub(crate) fn wrong(&self, name: &str, expected: &str, raw: &str) -> Malformed {
        self.malformed(name, format!("expected {expected}, found {}", excerpt(raw)))
    }

    /// An error about the field `name`.
    pub(crate) fn malformed(&self, name: &str, detail: impl Into<String>) -> Malformed {
        Malformed::new(format!("{} '{name}'", self.kind), detail)
    }
}

/// The beginning of `raw`, for error texts.
pub(crate) fn excerpt(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(60) {
        Some((end, _)) => Cow::Owned(format!("{}...", &raw[..end])),
        None => Cow::Borrowed(raw),
    }
}
