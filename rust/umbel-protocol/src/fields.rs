//! Named fields of one JSON object, read with errors that name the field.

use std::borrow::Cow;

use crate::json::{self, Member, Value};
use crate::{Limits, Malformed};

/// The members of an object whose values are still text.
pub(crate) struct Fields<'a> {
    /// What a member is called in errors: `header`, `property`, …
    kind: &'static str,
    members: Vec<Member<'a>>,
    index: Index,
}

impl<'a> Fields<'a> {
    /// Reads the object `text`; errors are about `what`.
    pub(crate) fn read(text: &'a [u8], what: &str, kind: &'static str, limits: &Limits) -> Result<Self, Malformed> {
        let members = json::members(text, limits).map_err(|error| Malformed::new(what, error.detail))?;
        let index = Index::of(&members);
        Ok(Self { kind, members, index })
    }

    /// Fields of an empty object.
    pub(crate) const fn none(kind: &'static str) -> Self {
        Self { kind, members: Vec::new(), index: Index::EMPTY }
    }

    /// Members in wire order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter()
    }

    /// Whether there is a member `name`, even a null one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// The last member `name`, which is the one that counts.
    fn last(&self, name: &str) -> Option<&Member<'a>> {
        if self.members.len() > Index::MOST {
            return self.members.iter().rev().find(|member| member.name == name);
        }
        let place = self.index.slots[self.index.slot(&self.members, name)];
        self.members.get(usize::from(place))
    }

    /// The text of the last member `name`; `None` if absent or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let member = self.last(name)?;
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

/// Where members are, by name: an open hash table small enough to live beside them. Messages have about twenty
/// headers, and each is asked for by name.
struct Index {
    slots: [u8; Self::SLOTS],
}

impl Index {
    const SLOTS: usize = 64;
    /// How many members it serves at most: half full, it rarely meets two names in one place.
    const MOST: usize = Self::SLOTS / 2;
    const FREE: u8 = u8::MAX;
    const EMPTY: Self = Self { slots: [Self::FREE; Self::SLOTS] };

    /// Of no more than [`Index::MOST`] members; of more it stays empty.
    fn of(members: &[Member<'_>]) -> Self {
        let mut index = Self::EMPTY;
        if members.len() <= Self::MOST {
            for (place, member) in (0u8..).zip(members) {
                let slot = index.slot(members, &member.name);
                index.slots[slot] = place;
            }
        }
        index
    }

    /// The slot that holds `name`, or the free one where it would go. Half of them are free, and [`Index::FREE`] is
    /// the place of no member.
    fn slot(&self, members: &[Member<'_>], name: &str) -> usize {
        let mut slot = Self::hash(name);
        while members.get(usize::from(self.slots[slot])).is_some_and(|member| member.name != name) {
            slot = (slot + 1) % Self::SLOTS;
        }
        slot
    }

    /// Length, first and last bytes tell the names of a message apart well enough; whoever picks names to collide gets
    /// the linear search that [`Index::MOST`] bounds.
    fn hash(name: &str) -> usize {
        let bytes = name.as_bytes();
        let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return 0 };
        let middle = bytes[bytes.len() / 2];
        let mixed = u32::from_le_bytes([first, middle, last, bytes.len() as u8]).wrapping_mul(0x9E37_79B1);
        (mixed >> 26) as usize
    }
}

/// The beginning of `raw`, for error texts.
pub(crate) fn excerpt(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(60) {
        Some((end, _)) => Cow::Owned(format!("{}...", &raw[..end])),
        None => Cow::Borrowed(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        Fields::read(text.as_bytes(), "headers", "header", &Limits::default()).expect("an object")
    }

    #[test]
    fn the_last_of_two_members_counts_however_many_there_are() {
        for count in [2, Index::MOST, Index::MOST + 1, 300] {
            let names: Vec<String> = (0..count - 1).map(|number| format!("\"n{number}\": {number}")).collect();
            let text = format!("{{{}, \"n0\": null}}", names.join(", "));
            let found = fields(&text);
            assert!(found.has("n0"), "{count} members");
            assert_eq!(found.raw("n0"), None, "{count} members");
            for number in 1..count - 1 {
                assert_eq!(found.integer(&format!("n{number}")), Ok(Some(number as i64)));
            }
            assert!(!found.has("n"));
            assert!(!found.has(""));
        }
    }

    #[test]
    fn names_that_meet_in_one_slot_are_told_apart() {
        let names: Vec<String> =
            (0..Index::MOST).map(|number| format!("a{}{}z", "b".repeat(2), 100 + number)).collect();
        let members: Vec<String> = names.iter().map(|name| format!("\"{name}\": \"{name}\"")).collect();
        let text = format!("{{{}}}", members.join(","));
        let found = fields(&text);
        for name in &names {
            assert_eq!(found.string(name), Ok(Some(name.clone())));
        }
        assert!(!found.has("abb999z"));
    }

    #[test]
    fn a_name_with_escapes_is_found_by_what_it_means() {
        let found = fields(r#"{"\u0069d": "x", "\ud800": 1}"#);
        assert_eq!(found.raw("id"), Some("\"x\""));
        assert!(found.has("\u{fffd}\u{fffd}\u{fffd}"));
        assert!(fields("{}").raw("id").is_none());
    }
}
