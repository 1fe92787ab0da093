//! Writing MessagePack.

use crate::Malformed;
use crate::json::Value;

/// The shortest MessagePack of `value`. An integer beyond 64 bits is an error, as in `msgpack-python`.
pub fn encode(value: &Value) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    write(&mut out, value)?;
    Ok(out)
}

fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), Malformed> {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(flag) => out.push(0xc2 | u8::from(*flag)),
        Value::Int(number) => write_int(out, *number),
        Value::BigInt(digits) => write_big(out, digits)?,
        Value::Float(number) => {
            out.push(0xcb);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::String(text) => write_text(out, text)?,
        Value::Array(items) => {
            write_length(out, items.len(), 0x90, 0xdc)?;
            for item in items {
                write(out, item)?;
            }
        }
        Value::Object(members) => {
            write_length(out, members.len(), 0x80, 0xde)?;
            for (key, value) in members {
                write_text(out, key)?;
                write(out, value)?;
            }
        }
    }
    Ok(())
}

fn write_int(out: &mut Vec<u8>, number: i64) {
    match number {
        -32..=127 => out.push(number as u8),
        128..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => push(out, 0xcd, (number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => push(out, 0xce, (number as u32).to_be_bytes()),
        0x1_0000_0000.. => push(out, 0xcf, number.to_be_bytes()),
        -0x80..=-33 => push(out, 0xd0, (number as i8).to_be_bytes()),
        -0x8000..=-0x81 => push(out, 0xd1, (number as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => push(out, 0xd2, (number as i32).to_be_bytes()),
        _ => push(out, 0xd3, number.to_be_bytes()),
    }
}

fn write_big(out: &mut Vec<u8>, digits: &str) -> Result<(), Malformed> {
    let too_big = |_| Malformed::new("msgpack", format!("integer {digits} does not fit in 64 bits"));
    let number: u64 = digits.parse().map_err(too_big)?;
    push(out, 0xcf, number.to_be_bytes());
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), Malformed> {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length => write_long(out, length, 0xda)?,
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The length of a container: in the marker if below 16, else after `long` (2 bytes) or the marker after it (4).
fn write_length(out: &mut Vec<u8>, length: usize, short: u8, long: u8) -> Result<(), Malformed> {
    if length < 16 {
        out.push(short | length as u8);
        return Ok(());
    }
    write_long(out, length, long)
}

fn write_long(out: &mut Vec<u8>, length: usize, marker: u8) -> Result<(), Malformed> {
    if let Ok(length) = u16::try_from(length) {
        push(out, marker, length.to_be_bytes());
        return Ok(());
    }
    let length = u32::try_from(length).map_err(|_| Malformed::new("msgpack", "more than 4 GiB in one value"))?;
    push(out, marker + 1, length.to_be_bytes());
    Ok(())
}

fn push<const N: usize>(out: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    out.push(marker);
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_the_shortest_form() {
        for (number, bytes) in [
            (0, vec![0]),
            (127, vec![0x7f]),
            (128, vec![0xcc, 0x80]),
            (256, vec![0xcd, 1, 0]),
            (65536, vec![0xce, 0, 1, 0, 0]),
            (1 << 32, vec![0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
            (-1, vec![0xff]),
            (-32, vec![0xe0]),
            (-33, vec![0xd0, 0xdf]),
            (-129, vec![0xd1, 0xff, 0x7f]),
            (-32769, vec![0xd2, 0xff, 0xff, 0x7f, 0xff]),
        ] {
            assert_eq!(encode(&Value::Int(number)), Ok(bytes), "{number}");
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_an_error() {
        assert!(encode(&Value::BigInt("18446744073709551615".into())).is_ok());
        assert!(encode(&Value::BigInt("18446744073709551616".into())).is_err());
    }
}
