//! Numbers: the grammar of Python's `json`, and floats written like Python's `repr`.

use std::fmt::Write as _;

/// A number token: where it ends and whether it has a fraction or exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) end: usize,
    pub(super) is_float: bool,
}

/// The number that starts at `at` (a digit or `-`), or `None` if there is none.
pub(super) fn token(bytes: &[u8], at: usize) -> Option<Token> {
    let mut end = at + usize::from(bytes.get(at) == Some(&b'-'));
    end = match bytes.get(end)? {
        b'0' => end + 1,
        b'1'..=b'9' => digits(bytes, end),
        _ => return None,
    };
    let mut is_float = false;
    if bytes.get(end) == Some(&b'.') {
        let after = digits(bytes, end + 1);
        if after > end + 1 {
            is_float = true;
            end = after;
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let after = digits(bytes, end + 1 + sign);
        if after > end + 1 + sign {
            is_float = true;
            end = after;
        }
    }
    Some(Token { end, is_float })
}

fn digits(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    at
}

/// Appends `number` as Python's `json` does: `repr`, or `NaN`, `Infinity`, `-Infinity`.
pub(super) fn write_float(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        let name: &[u8] = match (number.is_nan(), number > 0.0) {
            (true, _) => b"NaN",
            (false, true) => b"Infinity",
            (false, false) => b"-Infinity",
        };
        return out.extend_from_slice(name);
    }
    let mut scientific = Short::default();
    // Shortest digits that read back equal, as `d.ddde<exponent>`; the buffer holds every f64.
    let written = write!(scientific, "{:e}", number.abs());
    debug_assert!(written.is_ok(), "a float needs at most 24 bytes");
    if number.is_sign_negative() {
        out.push(b'-');
    }
    round_to_even(&mut scientific, number.abs());
    let text = scientific.as_bytes();
    let split = text.iter().position(|byte| *byte == b'e').unwrap_or(text.len());
    let exponent = std::str::from_utf8(text.get(split + 1..).unwrap_or_default()).unwrap_or_default();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mut digits = Short::default();
    for byte in text[..split].iter().filter(|byte| **byte != b'.') {
        digits.push(*byte);
    }
    lay_out(out, digits.as_bytes(), exponent);
}

/// No two texts of so many digits read back as the same number.
const EXACT_DIGITS: usize = f64::DIGITS as usize;

/// Where the number lies halfway between two shortest texts that read back equal, Python writes the even one, and Rust's
/// formatting by length does, too.
fn round_to_even(scientific: &mut Short, number: f64) {
    let text = scientific.as_bytes();
    let digits = text.iter().take_while(|byte| **byte != b'e').filter(|byte| byte.is_ascii_digit()).count();
    if digits <= EXACT_DIGITS {
        return;
    }
    let mut even = Short::default();
    let written = write!(even, "{number:.*e}", digits.saturating_sub(1));
    debug_assert!(written.is_ok(), "as many digits as before need no more room");
    let reads_back = std::str::from_utf8(even.as_bytes()).ok().and_then(|text| text.parse::<f64>().ok());
    if reads_back == Some(number) {
        *scientific = even;
    }
}

/// Places the point as `repr` does: plain from 1e-4 up to below 1e16, with exponent outside.
fn lay_out(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if !(-4..16).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        let mut tail = Short::default();
        let written = write!(tail, "e{sign}{:02}", exponent.unsigned_abs());
        debug_assert!(written.is_ok(), "an exponent needs at most 5 bytes");
        return out.extend_from_slice(tail.as_bytes());
    }
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        return out.extend_from_slice(digits);
    }
    let whole = exponent as usize + 1;
    if digits.len() > whole {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    } else {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
        out.extend_from_slice(b".0");
    }
}

/// Appends a decimal integer.
pub(super) fn write_int(out: &mut Vec<u8>, number: i64) {
    if (0..10).contains(&number) {
        return out.push(b'0' + number as u8);
    }
    let mut text = Short::default();
    let written = write!(text, "{number}");
    debug_assert!(written.is_ok(), "an i64 needs at most 20 bytes");
    out.extend_from_slice(text.as_bytes());
}

/// A few bytes on the stack.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    len: usize,
}

impl Short {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_like_pythons_repr() {
        let cases: [(f64, &str); 22] = [
            (562949953421312.0 + 0.25, "562949953421312.2"),
            (562949953421312.0 + 0.75, "562949953421312.8"),
            (2f64.powi(53), "9007199254740992.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (5.0, "5.0"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1.5e16, "1.5e+16"),
            (9999999999999998.0, "9999999999999998.0"),
            (123456.789, "123456.789"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.2345e-7, "1.2345e-07"),
            (1e100, "1e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (number, text) in cases {
            let mut out = Vec::new();
            write_float(&mut out, number);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn number_tokens_follow_pythons_grammar() {
        for (text, end, is_float) in [
            ("0", 1, false),
            ("01", 1, false),
            ("-12,", 3, false),
            ("1.", 1, false),
            ("1.5e", 3, true),
            ("1e+5]", 4, true),
        ] {
            assert_eq!(token(text.as_bytes(), 0), Some(Token { end, is_float }), "{text}");
        }
        assert_eq!(token(b"-", 0), None);
        assert_eq!(token(b"-a", 0), None);
    }
}
