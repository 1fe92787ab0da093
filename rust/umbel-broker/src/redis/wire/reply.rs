//! Replies: RESP2 and RESP3 in, [`Value`] out. Bytes off the wire are never trusted with our memory or stack.

use std::io::{self, ErrorKind, Read};

use super::buffered::Buffered;

/// Longest line (status, error, number) that is accepted.
const MAX_LINE: usize = 64 * 1024;
/// Longest string: Redis' own limit.
const MAX_STRING: usize = 512 * 1024 * 1024;
/// Most elements of one array.
const MAX_ELEMENTS: usize = 16 * 1024 * 1024;
/// Deepest nesting; our scripts answer with two levels.
const MAX_DEPTH: usize = 32;

/// An error the server answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// Its first word: `OOM`, `NOAUTH`, `ERR`, …
    pub code: String,
    /// The whole text.
    pub text: String,
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Nil,
    /// A number; RESP3 booleans are 0 and 1.
    Int(i64),
    /// Bytes: strings, statuses, RESP3 doubles as text.
    Data(Vec<u8>),
    /// Elements; RESP3 maps are flattened to key, value, key, value.
    Array(Vec<Value>),
    /// A RESP3 frame that answers nothing: invalidations, published messages.
    Push(Vec<Value>),
    /// The server refused the command.
    Error(ServerError),
}

impl Value {
    /// The number, if it is one; digits in text count.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Data(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Data(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, if it is a UTF-8 string.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The elements, if it is an array; none for anything else.
    pub fn into_elements(self) -> Vec<Value> {
        match self {
            Self::Array(elements) | Self::Push(elements) => elements,
            _ => Vec::new(),
        }
    }
}

impl<R: Read> Buffered<R> {
    /// Reads one frame, a reply or a push.
    ///
    /// # Errors
    /// The reader's own, [`ErrorKind::UnexpectedEof`] where it ends, [`ErrorKind::InvalidData`] for what is no frame.
    pub fn value(&mut self) -> io::Result<Value> {
        read_at(self, 0)
    }
}

fn read_at(source: &mut Buffered<impl Read>, depth: usize) -> io::Result<Value> {
    if depth > MAX_DEPTH {
        return Err(broken("nested too deep"));
    }
    let mut line = Vec::with_capacity(16);
    source.line(&mut line, MAX_LINE)?;
    let Some((&kind, rest)) = line.split_first() else { return Err(broken("an empty line")) };
    match kind {
        b'+' | b',' | b'(' => Ok(Value::Data(rest.to_vec())),
        b'-' => Ok(Value::Error(server_error(rest))),
        b':' => Ok(Value::Int(number(rest)?)),
        b'#' => Ok(Value::Int(i64::from(rest == b"t"))),
        b'_' => Ok(Value::Nil),
        b'$' => string(source, rest),
        b'=' => verbatim(source, rest),
        b'!' => match string(source, rest)? {
            Value::Data(text) => Ok(Value::Error(server_error(&text))),
            _ => Err(broken("an error without text")),
        },
        b'*' | b'~' => Ok(elements(source, rest, 1, depth)?.map_or(Value::Nil, Value::Array)),
        b'%' => Ok(elements(source, rest, 2, depth)?.map_or(Value::Nil, Value::Array)),
        b'>' => Ok(Value::Push(elements(source, rest, 1, depth)?.unwrap_or_default())),
        b'|' => {
            // Attributes describe the reply that follows; none concerns us.
            elements(source, rest, 2, depth)?;
            read_at(source, depth + 1)
        }
        other => Err(broken(&format!("a frame that begins with {:?}", char::from(other)))),
    }
}

fn string(source: &mut Buffered<impl Read>, header: &[u8]) -> io::Result<Value> {
    let Some(length) = length(header, MAX_STRING)? else { return Ok(Value::Nil) };
    let mut bytes = source.exact(length + 2)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(broken("a string longer than announced"));
    }
    bytes.truncate(length);
    Ok(Value::Data(bytes))
}

/// A verbatim string begins with its format, as in `txt:`.
fn verbatim(source: &mut Buffered<impl Read>, header: &[u8]) -> io::Result<Value> {
    Ok(match string(source, header)? {
        Value::Data(bytes) => Value::Data(bytes.get(4..).unwrap_or_default().to_vec()),
        other => other,
    })
}

fn elements(
    source: &mut Buffered<impl Read>,
    header: &[u8],
    per: usize,
    depth: usize,
) -> io::Result<Option<Vec<Value>>> {
    let Some(count) = length(header, MAX_ELEMENTS)? else { return Ok(None) };
    let count = count * per;
    let mut values = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        values.push(read_at(source, depth + 1)?);
    }
    Ok(Some(values))
}

fn length(header: &[u8], limit: usize) -> io::Result<Option<usize>> {
    match number(header)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(Some(length)),
            _ => Err(broken("a length out of range")),
        },
    }
}

fn number(digits: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| broken("a number that is none"))
}

fn server_error(text: &[u8]) -> ServerError {
    let text = String::from_utf8_lossy(text).into_owned();
    let code = text.split_ascii_whitespace().next().unwrap_or("ERR").to_owned();
    ServerError { code, text }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the server sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Value> {
        Buffered::new(bytes).value()
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        let data = |text: &str| Value::Data(text.into());
        for (bytes, value) in [
            ("+OK\r\n", data("OK")),
            (":-12\r\n", Value::Int(-12)),
            ("$3\r\na\r\n\r\n", data("a\r\n")),
            ("$-1\r\n", Value::Nil),
            ("_\r\n", Value::Nil),
            ("#t\r\n", Value::Int(1)),
            (",1.5\r\n", data("1.5")),
            ("=7\r\ntxt:abc\r\n", data("abc")),
            ("*2\r\n:1\r\n*-1\r\n", Value::Array(vec![Value::Int(1), Value::Nil])),
            ("%1\r\n+k\r\n:1\r\n", Value::Array(vec![data("k"), Value::Int(1)])),
            (">1\r\n+invalidate\r\n", Value::Push(vec![data("invalidate")])),
            ("|1\r\n+ttl\r\n:1\r\n:5\r\n", Value::Int(5)),
        ] {
            assert_eq!(parse(bytes.as_bytes()).expect(bytes), value);
        }
        let error = parse(b"-OOM command not allowed\r\n").expect("a reply");
        assert!(matches!(error, Value::Error(ServerError { code, .. }) if code == "OOM"));
    }

    #[test]
    fn garbage_is_an_error() {
        let deep = "*1\r\n".repeat(100);
        for bytes in
            ["\r\n", "?\r\n", ":x\r\n", "$99999999999\r\n", "*-2\r\n", "$1\r\nabc", "$2\r\nabcd", "", deep.as_str()]
        {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }
}
