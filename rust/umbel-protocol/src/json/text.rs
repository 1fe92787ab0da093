//! String tokens: the fast path is a slice of the input, the slow path undoes escapes.

use super::escape::first_to_stop;

/// A decoded string token.
pub(super) enum Token<'t> {
    /// Text that is valid Unicode.
    Plain(&'t str),
    /// Text with lone surrogates, as UTF-8 with surrogates encoded like other characters (WTF-8).
    Surrogates(&'t [u8]),
}

/// What is wrong with a string token, and where.
pub(super) struct BadText {
    pub(super) at: usize,
    pub(super) why: &'static str,
}

/// Where the string whose content starts at `start` ends, and whether it holds escapes.
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<(usize, bool), BadText> {
    let mut at = start;
    let mut escaped = false;
    loop {
        at = first_to_stop(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                let (_, end) = escape(bytes, at)?;
                at = end;
                escaped = true;
            }
            Some(_) => return Err(BadText { at, why: "control character in a string" }),
            None => return Err(BadText { at: start.saturating_sub(1), why: "unterminated string starting" }),
        }
    }
}

/// One escape: its 16-bit unit and where it ends. `bytes[at]` is the backslash.
fn escape(bytes: &[u8], at: usize) -> Result<(u16, usize), BadText> {
    let unit = match bytes.get(at + 1) {
        Some(byte @ (b'"' | b'\\' | b'/')) => u16::from(*byte),
        Some(b'b') => 8,
        Some(b't') => 9,
        Some(b'n') => 10,
        Some(b'f') => 12,
        Some(b'r') => 13,
        Some(b'u') => {
            let hex = bytes.get(at + 2..at + 6).ok_or(BadText { at, why: "incomplete \\u escape" })?;
            let unit = hex4(hex).ok_or(BadText { at, why: "invalid \\u escape" })?;
            return Ok((unit, at + 6));
        }
        _ => return Err(BadText { at, why: "invalid escape" }),
    };
    Ok((unit, at + 2))
}

fn hex4(hex: &[u8]) -> Option<u16> {
    hex.iter().try_fold(0u16, |value, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(value << 4 | digit as u16)
    })
}

/// Undoes the escapes of a scanned `token` (without quotes) into `scratch`.
pub(super) fn unescape<'s>(token: &str, scratch: &'s mut Vec<u8>) -> Token<'s> {
    scratch.clear();
    let bytes = token.as_bytes();
    let mut at = 0;
    let mut lone = false;
    while let Some(offset) = memchr::memchr(b'\\', bytes.get(at..).unwrap_or_default()) {
        scratch.extend_from_slice(&bytes[at..at + offset]);
        at += offset;
        let Ok((unit, end)) = escape(bytes, at) else { break };
        at = end;
        let mut code = u32::from(unit);
        if (0xd800..0xdc00).contains(&code)
            && let Ok((low, end)) = escape(bytes, at_escape_u(bytes, at))
            && (0xdc00..0xe000).contains(&low)
        {
            code = 0x10000 + ((code - 0xd800) << 10) + (u32::from(low) - 0xdc00);
            at = end;
        }
        lone |= push_code(scratch, code);
    }
    scratch.extend_from_slice(bytes.get(at..).unwrap_or_default());
    if lone {
        return Token::Surrogates(scratch);
    }
    match std::str::from_utf8(scratch) {
        Ok(text) => Token::Plain(text),
        // Not reached: everything pushed was valid text.
        Err(_) => Token::Surrogates(scratch),
    }
}

/// `at` if a `\u` escape starts there, else a place where none can be read.
fn at_escape_u(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at) == Some(&b'\\') && bytes.get(at + 1) == Some(&b'u') { at } else { bytes.len() }
}

/// Appends a code point in UTF-8 form; true if it is a surrogate.
fn push_code(out: &mut Vec<u8>, code: u32) -> bool {
    match char::from_u32(code) {
        Some(letter) => {
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            false
        }
        None => {
            out.extend_from_slice(&[
                0xe0 | (code >> 12) as u8,
                0x80 | (code >> 6 & 0x3f) as u8,
                0x80 | (code & 0x3f) as u8,
            ]);
            true
        }
    }
}
