//! The parser: one pass, no recursion, and no tree unless the builder makes one.

use std::vec::Drain;

use super::number;
use super::text::{self, BadText, Token};
use super::value::{Value, ValueBuilder};
use crate::{Limits, Malformed};

/// Receives a document bottom-up and makes nodes of it, so that any target (a [`Value`], Python objects, nothing)
/// comes straight from the one parser.
///
/// Members of an object arrive in wire order with duplicates; the last should win. An error stops the parser.
pub trait Build {
    /// A finished value.
    type Node;
    /// A finished member name; a type of its own so that names can be interned or cached.
    type Key;
    /// The builder's error; bytes that are no JSON arrive in it as [`Malformed`].
    type Error: From<Malformed>;

    /// `null`.
    fn null(&mut self) -> Result<Self::Node, Self::Error>;
    /// `true` or `false`.
    fn bool(&mut self, flag: bool) -> Result<Self::Node, Self::Error>;
    /// An integer that fits in 64 bits.
    fn integer(&mut self, number: i64) -> Result<Self::Node, Self::Error>;
    /// A larger integer: decimal digits, `-` in front when negative, no leading zeros.
    fn big_integer(&mut self, digits: &str) -> Result<Self::Node, Self::Error>;
    /// A number with fraction or exponent, or NaN or an infinity.
    fn float(&mut self, number: f64) -> Result<Self::Node, Self::Error>;
    /// Text.
    fn string(&mut self, text: &str) -> Result<Self::Node, Self::Error>;
    /// A member name, given before the member's value.
    fn key(&mut self, text: &str) -> Result<Self::Key, Self::Error>;
    /// An array; drain or drop `items`.
    fn array(&mut self, items: Drain<'_, Self::Node>) -> Result<Self::Node, Self::Error>;
    /// An object; drain or drop `members`.
    fn object(&mut self, members: Drain<'_, (Self::Key, Self::Node)>) -> Result<Self::Node, Self::Error>;

    /// Text with lone surrogates, in WTF-8 (Python's `surrogatepass`). Python writes and reads such strings; a target
    /// that cannot hold them keeps this default, an error.
    fn surrogate_string(&mut self, wtf8: &[u8]) -> Result<Self::Node, Self::Error> {
        Err(lone_surrogate(wtf8).into())
    }

    /// A member name with lone surrogates; as [`Build::surrogate_string`].
    fn surrogate_key(&mut self, wtf8: &[u8]) -> Result<Self::Key, Self::Error> {
        Err(lone_surrogate(wtf8).into())
    }
}

fn lone_surrogate(wtf8: &[u8]) -> Malformed {
    Malformed::new("JSON", format!("lone surrogate in the string {:?}", String::from_utf8_lossy(wtf8)))
}

/// Reads one document into a [`Value`].
pub fn parse(text: &[u8], limits: &Limits) -> Result<Value, Malformed> {
    build(text, limits, &mut ValueBuilder)
}

/// Reads one document through `builder`.
pub fn build<B: Build>(text: &[u8], limits: &Limits, builder: &mut B) -> Result<B::Node, B::Error> {
    let mut cursor = Cursor::new(text, limits)?;
    let node = cursor.value(builder)?;
    cursor.finish()?;
    Ok(node)
}

/// Checks that `text` is one document.
pub fn skip(text: &[u8], limits: &Limits) -> Result<(), Malformed> {
    build(text, limits, &mut Skip)
}

/// A place in a document.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    max_depth: usize,
    scratch: Vec<u8>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        if text.len() > limits.max_bytes {
            let detail = format!("{} bytes are more than the limit of {}", text.len(), limits.max_bytes);
            return Err(Malformed::new("JSON", detail));
        }
        let text = std::str::from_utf8(text)
            .map_err(|error| Malformed::new("JSON", format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        Ok(Self { text, at: 0, max_depth: limits.depth(), scratch: Vec::new() })
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    pub(super) fn error(&self, why: &str) -> Malformed {
        Malformed::new("JSON", format!("{why} at byte {}", self.at))
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Nothing but white space may follow.
    pub(super) fn finish(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("extra data")),
        }
    }

    /// One value of any kind.
    pub(super) fn value<B: Build>(&mut self, builder: &mut B) -> Result<B::Node, B::Error> {
        Assembly { cursor: self, builder, frames: Vec::new(), nodes: Vec::new(), keys: Vec::new(), members: Vec::new() }
            .run()
    }

    /// A string token; the cursor stands on its opening quote.
    pub(super) fn string(&mut self) -> Result<Token<'_>, Malformed> {
        let (token, escaped) = self.raw_string()?;
        Ok(if escaped { text::unescape(token, &mut self.scratch) } else { Token::Plain(token) })
    }

    /// What a string token has between its quotes, and whether escapes are among it.
    pub(super) fn raw_string(&mut self) -> Result<(&'a str, bool), Malformed> {
        let start = self.at + 1;
        let (end, escaped) = text::scan(self.bytes(), start).map_err(|BadText { at, why }| {
            self.at = at;
            self.error(why)
        })?;
        self.at = end + 1;
        Ok((&self.text[start..end], escaped))
    }

    /// A member name and its colon; the cursor stands before the name.
    pub(super) fn key<B: Build>(&mut self, builder: &mut B) -> Result<B::Key, B::Error> {
        self.name_follows()?;
        let key = match self.string()? {
            Token::Plain(text) => builder.key(text)?,
            Token::Surrogates(wtf8) => builder.surrogate_key(wtf8)?,
        };
        self.colon()?;
        Ok(key)
    }

    /// Moves to the opening quote of a member name.
    pub(super) fn name_follows(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => Ok(()),
            _ => Err(self.error("expected a member name in double quotes")),
        }
    }

    /// Passes the colon after a member name.
    pub(super) fn colon(&mut self) -> Result<(), Malformed> {
        if self.peek() != Some(b':') {
            return Err(self.error("expected ':'"));
        }
        self.at += 1;
        Ok(())
    }

    /// A value that holds no others; the cursor stands on `first`.
    fn scalar<B: Build>(&mut self, first: u8, builder: &mut B) -> Result<B::Node, B::Error> {
        match first {
            b'"' => match self.string()? {
                Token::Plain(text) => builder.string(text),
                Token::Surrogates(wtf8) => builder.surrogate_string(wtf8),
            },
            b'-' if self.bytes().get(self.at + 1) == Some(&b'I') => {
                self.word("-Infinity")?;
                builder.float(f64::NEG_INFINITY)
            }
            b'-' | b'0'..=b'9' => self.number(builder),
            b't' => self.word("true").map_err(B::Error::from).and_then(|()| builder.bool(true)),
            b'f' => self.word("false").map_err(B::Error::from).and_then(|()| builder.bool(false)),
            b'n' => self.word("null").map_err(B::Error::from).and_then(|()| builder.null()),
            b'N' => self.word("NaN").map_err(B::Error::from).and_then(|()| builder.float(f64::NAN)),
            b'I' => self.word("Infinity").map_err(B::Error::from).and_then(|()| builder.float(f64::INFINITY)),
            _ => Err(self.error("expected a value").into()),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number<B: Build>(&mut self, builder: &mut B) -> Result<B::Node, B::Error> {
        let Some(token) = number::token(self.bytes(), self.at) else {
            return Err(self.error("expected a value").into());
        };
        let digits = &self.text[self.at..token.end];
        if token.is_float {
            let number = digits.parse().map_err(|_| self.error("invalid number"))?;
            self.at = token.end;
            return builder.float(number);
        }
        self.at = token.end;
        match digits.parse() {
            Ok(number) => builder.integer(number),
            Err(_) => builder.big_integer(digits),
        }
    }
}

/// An open array or object: where its contents begin on the stack of finished parts.
enum Frame {
    Array { start: usize },
    Object { start: usize },
}

/// The parser's stacks. Finished elements and members wait on two flat stacks until their container closes, so that
/// no container costs an allocation here.
struct Assembly<'c, 'a, B: Build> {
    cursor: &'c mut Cursor<'a>,
    builder: &'c mut B,
    frames: Vec<Frame>,
    nodes: Vec<B::Node>,
    keys: Vec<B::Key>,
    members: Vec<(B::Key, B::Node)>,
}

impl<B: Build> Assembly<'_, '_, B> {
    fn run(mut self) -> Result<B::Node, B::Error> {
        loop {
            let node = match self.cursor.peek() {
                Some(b'[') => self.open_array()?,
                Some(b'{') => self.open_object()?,
                Some(first) => Some(self.cursor.scalar(first, self.builder)?),
                None => return Err(self.cursor.error("expected a value").into()),
            };
            if let Some(node) = node
                && let Some(document) = self.attach(node)?
            {
                return Ok(document);
            }
        }
    }

    /// Enters an array; returns it if it is empty.
    fn open_array(&mut self) -> Result<Option<B::Node>, B::Error> {
        self.enter()?;
        let start = self.nodes.len();
        if self.cursor.peek() == Some(b']') {
            self.cursor.at += 1;
            return self.builder.array(self.nodes.drain(start..)).map(Some);
        }
        self.frames.push(Frame::Array { start });
        Ok(None)
    }

    /// Enters an object and reads its first member's name; returns the object if it is empty.
    fn open_object(&mut self) -> Result<Option<B::Node>, B::Error> {
        self.enter()?;
        let start = self.members.len();
        if self.cursor.peek() == Some(b'}') {
            self.cursor.at += 1;
            return self.builder.object(self.members.drain(start..)).map(Some);
        }
        self.keys.push(self.cursor.key(self.builder)?);
        self.frames.push(Frame::Object { start });
        Ok(None)
    }

    fn enter(&mut self) -> Result<(), Malformed> {
        if self.frames.len() >= self.cursor.max_depth {
            return Err(self.cursor.error(&format!("nested deeper than {} levels", self.cursor.max_depth)));
        }
        self.cursor.at += 1;
        Ok(())
    }

    /// Puts a finished value into its container, closing containers that end here. Returns the document when it was
    /// the outermost value, and `None` when another value must follow.
    fn attach(&mut self, mut node: B::Node) -> Result<Option<B::Node>, B::Error> {
        loop {
            match self.frames.last() {
                None => return Ok(Some(node)),
                Some(Frame::Array { start }) => {
                    let start = *start;
                    self.nodes.push(node);
                    if self.continues(b']', "expected ',' or ']'")? {
                        return Ok(None);
                    }
                    node = self.builder.array(self.nodes.drain(start..))?;
                }
                Some(Frame::Object { start }) => {
                    let start = *start;
                    if let Some(key) = self.keys.pop() {
                        self.members.push((key, node));
                    }
                    if self.continues(b'}', "expected ',' or '}'")? {
                        self.keys.push(self.cursor.key(self.builder)?);
                        return Ok(None);
                    }
                    node = self.builder.object(self.members.drain(start..))?;
                }
            }
            self.frames.pop();
        }
    }

    /// Passes a comma (true) or the container's end (false).
    fn continues(&mut self, end: u8, why: &str) -> Result<bool, Malformed> {
        let more = match self.cursor.peek() {
            Some(b',') => true,
            Some(byte) if byte == end => false,
            _ => return Err(self.cursor.error(why)),
        };
        self.cursor.at += 1;
        Ok(more)
    }
}

/// Builds nothing: what is left is the check. Lone surrogates pass, as they do in Python.
pub(super) struct Skip;

impl Build for Skip {
    type Node = ();
    type Key = ();
    type Error = Malformed;

    fn null(&mut self) -> Result<(), Malformed> {
        Ok(())
    }
    fn bool(&mut self, _: bool) -> Result<(), Malformed> {
        Ok(())
    }
    fn integer(&mut self, _: i64) -> Result<(), Malformed> {
        Ok(())
    }
    fn big_integer(&mut self, _: &str) -> Result<(), Malformed> {
        Ok(())
    }
    fn float(&mut self, _: f64) -> Result<(), Malformed> {
        Ok(())
    }
    fn string(&mut self, _: &str) -> Result<(), Malformed> {
        Ok(())
    }
    fn key(&mut self, _: &str) -> Result<(), Malformed> {
        Ok(())
    }
    fn array(&mut self, _: Drain<'_, ()>) -> Result<(), Malformed> {
        Ok(())
    }
    fn object(&mut self, _: Drain<'_, ((), ())>) -> Result<(), Malformed> {
        Ok(())
    }
    fn surrogate_string(&mut self, _: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
    fn surrogate_key(&mut self, _: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}
