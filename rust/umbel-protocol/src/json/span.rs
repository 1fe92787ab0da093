//! Walking one object or array and keeping its parts as text.

use std::borrow::Cow;
use std::ops::Range;

use super::parse::{Cursor, Skip};
use super::text::{self, Token};
use crate::{Limits, Malformed};

/// A member of an object whose value stays text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name; lone surrogates are replaced by U+FFFD.
    pub name: Cow<'a, str>,
    /// Its value: valid JSON text without white space around it.
    pub raw: &'a str,
}

impl Member<'_> {
    /// Where the value is in the text that the member was read from.
    ///
    /// Worked out when asked for: two dozen members fit into a block that the allocator hands out from its quickest
    /// lists, and would not with a range each.
    pub fn span(&self, text: &str) -> Range<usize> {
        let start = (self.raw.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        start..start + self.raw.len()
    }
}

/// The members of the object `text`, in wire order; everything in it is checked.
pub fn members<'a>(text: &'a [u8], limits: &Limits) -> Result<Vec<Member<'a>>, Malformed> {
    let mut cursor = Cursor::new(text, limits)?;
    if cursor.peek() != Some(b'{') {
        return Err(cursor.error("expected an object"));
    }
    cursor.at += 1;
    let mut found = Vec::with_capacity(24);
    let mut more = cursor.peek() != Some(b'}');
    while more {
        let name = name(&mut cursor)?;
        let span = skipped(&mut cursor)?;
        found.push(Member { name, raw: &cursor.text[span] });
        more = follows(&mut cursor, b'}')?;
    }
    if found.is_empty() {
        cursor.at += 1;
    }
    cursor.finish()?;
    Ok(found)
}

/// The elements of the array `text`, as text; everything in it is checked.
pub fn elements<'a>(text: &'a [u8], limits: &Limits) -> Result<Vec<&'a str>, Malformed> {
    let mut cursor = Cursor::new(text, limits)?;
    if cursor.peek() != Some(b'[') {
        return Err(cursor.error("expected an array"));
    }
    cursor.at += 1;
    let mut found = Vec::new();
    let mut more = cursor.peek() != Some(b']');
    while more {
        let span = skipped(&mut cursor)?;
        found.push(&cursor.text[span]);
        more = follows(&mut cursor, b']')?;
    }
    if found.is_empty() {
        cursor.at += 1;
    }
    cursor.finish()?;
    Ok(found)
}

/// The content of a JSON string token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text<'a> {
    /// All of it.
    Plain(Cow<'a, str>),
    /// It had lone surrogates, which were replaced by U+FFFD.
    Lossy(String),
}

impl<'a> Text<'a> {
    /// The content of `raw`; `None` if that is no string token.
    pub fn read(raw: &'a str) -> Option<Self> {
        let token = raw.strip_prefix('"')?;
        let (end, escaped) = text::scan(raw.as_bytes(), 1).ok()?;
        if end + 1 != raw.len() {
            return None;
        }
        let token = token.strip_suffix('"')?;
        Some(if escaped { unescaped(token) } else { Self::Plain(Cow::Borrowed(token)) })
    }

    /// The text, whether or not it lost something.
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Plain(text) => text,
            Self::Lossy(text) => Cow::Owned(text),
        }
    }
}

/// The text of `raw` if it is a JSON string, else `None`. Lone surrogates are replaced by U+FFFD.
pub fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    Text::read(raw).map(Text::into_text)
}

fn name<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, Malformed> {
    cursor.name_follows()?;
    let (token, escaped) = cursor.raw_string()?;
    cursor.colon()?;
    Ok(if escaped { unescaped(token).into_text() } else { Cow::Borrowed(token) })
}

/// The content of a token that has escapes.
fn unescaped<'a>(token: &str) -> Text<'a> {
    let mut scratch = Vec::new();
    match text::unescape(token, &mut scratch) {
        Token::Plain(text) => Text::Plain(Cow::Owned(text.to_owned())),
        Token::Surrogates(wtf8) => Text::Lossy(String::from_utf8_lossy(wtf8).into_owned()),
    }
}

fn skipped(cursor: &mut Cursor<'_>) -> Result<Range<usize>, Malformed> {
    let first = cursor.peek();
    let start = cursor.at;
    match first {
        Some(b'"') => drop(cursor.raw_string()?),
        _ => cursor.value(&mut Skip)?,
    }
    Ok(start..cursor.at)
}

fn follows(cursor: &mut Cursor<'_>, end: u8) -> Result<bool, Malformed> {
    let more = match cursor.peek() {
        Some(b',') => true,
        Some(byte) if byte == end => false,
        _ => return Err(cursor.error("expected ',' or the end")),
    };
    cursor.at += 1;
    Ok(more)
}
