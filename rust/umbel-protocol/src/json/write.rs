//! Writing JSON with the bytes of `json.dumps`.

use super::escape::first_to_escape;
use super::number;
use super::value::Value;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes one document, piece by piece, at the end of a byte buffer.
///
/// Separators are `", "` and `": "`; text is ASCII with `\uXXXX` escapes. Commas come by themselves; that calls are
/// well nested is up to the caller.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    out: Vec<u8>,
    /// Whether the next value or key must be set off from one before it.
    comma: bool,
}

impl Writer {
    /// A writer with an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer that appends to `out`.
    pub fn over(out: Vec<u8>) -> Self {
        Self { out, comma: false }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Bytes in the buffer so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing is in the buffer.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back everything after the first `len` bytes, as if it had not been written; `len` must have been read
    /// with [`Writer::len`] before a value (not after a key). For values found unwritable half way.
    pub fn rewind(&mut self, len: usize) {
        self.out.truncate(len);
        self.comma = !matches!(self.out.last(), None | Some(b'[' | b'{')) && !self.out.ends_with(b": ");
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.extend_from_slice(b", ");
        }
        self.comma = true;
    }

    /// `{`
    pub fn begin_object(&mut self) {
        self.separate();
        self.out.push(b'{');
        self.comma = false;
    }

    /// `}`
    pub fn end_object(&mut self) {
        self.out.push(b'}');
        self.comma = true;
    }

    /// `[`
    pub fn begin_array(&mut self) {
        self.separate();
        self.out.push(b'[');
        self.comma = false;
    }

    /// `]`
    pub fn end_array(&mut self) {
        self.out.push(b']');
        self.comma = true;
    }

    /// A member name; its value must follow.
    pub fn key(&mut self, name: &str) {
        self.string(name);
        self.colon();
    }

    /// The colon after a name written as a string by other means (e.g. [`Writer::code_points`]).
    pub fn colon(&mut self) {
        self.out.extend_from_slice(b": ");
        self.comma = false;
    }

    /// `null`
    pub fn null(&mut self) {
        self.raw("null");
    }

    /// `true` or `false`
    pub fn bool(&mut self, flag: bool) {
        self.raw(if flag { "true" } else { "false" });
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.separate();
        number::write_int(&mut self.out, number);
    }

    /// A float, as Python's `repr`; `NaN`, `Infinity` and `-Infinity` bare.
    pub fn float(&mut self, number: f64) {
        self.separate();
        number::write_float(&mut self.out, number);
    }

    /// A value that is JSON text already (also: the digits of a big integer).
    pub fn raw(&mut self, json: &str) {
        self.separate();
        self.out.extend_from_slice(json.as_bytes());
    }

    /// As [`Writer::raw`], for text held as bytes.
    pub fn raw_bytes(&mut self, json: &[u8]) {
        self.separate();
        self.out.extend_from_slice(json);
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        self.separate();
        let bytes = text.as_bytes();
        self.out.reserve(bytes.len() + 2);
        self.out.push(b'"');
        let mut at = 0;
        loop {
            let stop = first_to_escape(bytes, at);
            self.out.extend_from_slice(&bytes[at..stop]);
            let Some(letter) = text[stop..].chars().next() else { break };
            self.escape(u32::from(letter));
            at = stop + letter.len_utf8();
        }
        self.out.push(b'"');
    }

    /// A string that is known to need no escapes (ids, numbers, base64).
    pub fn plain_string(&mut self, text: &str) {
        debug_assert!(first_to_escape(text.as_bytes(), 0) == text.len(), "needs escapes: {text:?}");
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    /// A string given as code points, which may be lone surrogates (what a Python `str` may hold).
    pub fn code_points(&mut self, codes: impl IntoIterator<Item = u32>) {
        self.separate();
        self.out.push(b'"');
        for code in codes {
            match code {
                0x20..0x7f if code != 0x22 && code != 0x5c => self.out.push(code as u8),
                _ => self.escape(code),
            }
        }
        self.out.push(b'"');
    }

    /// A string whose content `fill` appends: it must need no escapes. For base64, encoded in place.
    pub(crate) fn string_with(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        self.separate();
        self.out.push(b'"');
        fill(&mut self.out);
        self.out.push(b'"');
    }

    fn escape(&mut self, code: u32) {
        let short = match code {
            0x22 => b'"',
            0x5c => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x1_0000.. => {
                let rest = code - 0x1_0000;
                self.unit(0xd800 + (rest >> 10 & 0x3ff));
                return self.unit(0xdc00 + (rest & 0x3ff));
            }
            _ => return self.unit(code),
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    fn unit(&mut self, unit: u32) {
        let digit = |shift: u32| HEX[(unit >> shift & 0xf) as usize];
        self.out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
    }

    /// A whole value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::Bool(flag) => self.bool(*flag),
            Value::Int(number) => self.integer(*number),
            Value::BigInt(digits) => self.raw(digits),
            Value::Float(number) => self.float(*number),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.begin_array();
                items.iter().for_each(|item| self.value(item));
                self.end_array();
            }
            Value::Object(members) => {
                self.begin_object();
                for (name, value) in members {
                    self.key(name);
                    self.value(value);
                }
                self.end_object();
            }
        }
    }
}

/// The JSON text of `value`, as bytes.
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.value(value);
    writer.into_bytes()
}

/// The JSON text of `value`.
pub fn to_string(value: &Value) -> String {
    // The writer's output is ASCII, apart from what a `BigInt` made by hand may hold.
    String::from_utf8(to_vec(value)).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
