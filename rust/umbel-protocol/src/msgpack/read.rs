//! Reading MessagePack.

use crate::extended;
use crate::json::{self, Value};
use crate::{Limits, Malformed};

/// Reads one value, which must be all of `data`.
pub fn decode(data: &[u8], limits: &Limits) -> Result<Value, Malformed> {
    if data.len() > limits.max_bytes {
        let detail = format!("{} bytes are more than the limit of {}", data.len(), limits.max_bytes);
        return Err(Malformed::new("msgpack", detail));
    }
    let mut reader = Reader { data, at: 0 };
    let value = reader.value(limits.depth())?;
    match reader.at == data.len() {
        true => Ok(value),
        false => Err(reader.error("extra data")),
    }
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, why: &str) -> Malformed {
        Malformed::new("msgpack", format!("{why} at byte {}", self.at))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.data.len());
        let end = end.ok_or_else(|| self.error("ends early"))?;
        let taken = &self.data[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.error("ends early"))
    }

    /// A length in 1, 2 or 4 bytes.
    fn length(&mut self, bytes: usize) -> Result<usize, Malformed> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        let [marker] = self.array()?;
        match marker {
            0x00..=0x7f => Ok(Value::Int(marker.into())),
            0xe0..=0xff => Ok(Value::Int((marker as i8).into())),
            0x80..=0x8f => self.map(usize::from(marker & 0xf), depth),
            0x90..=0x9f => self.list(usize::from(marker & 0xf), depth),
            0xa0..=0xbf => self.string(usize::from(marker & 0x1f)),
            0xc0 => Ok(Value::Null),
            0xc2 | 0xc3 => Ok(Value::Bool(marker == 0xc3)),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                Ok(extended::bytes(self.take(length)?))
            }
            0xca => Ok(Value::Float(f32::from_be_bytes(self.array()?).into())),
            0xcb => Ok(Value::Float(f64::from_be_bytes(self.array()?))),
            0xcc..=0xd3 => self.integer(marker),
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                self.string(length)
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (marker - 0xdc))?;
                self.list(length, depth)
            }
            0xde | 0xdf => {
                let length = self.length(2 << (marker - 0xde))?;
                self.map(length, depth)
            }
            _ => Err(self.error("extension type")),
        }
    }

    fn integer(&mut self, marker: u8) -> Result<Value, Malformed> {
        Ok(match marker {
            0xcc => Value::Int(u8::from_be_bytes(self.array()?).into()),
            0xcd => Value::Int(u16::from_be_bytes(self.array()?).into()),
            0xce => Value::Int(u32::from_be_bytes(self.array()?).into()),
            0xcf => {
                let number = u64::from_be_bytes(self.array()?);
                i64::try_from(number).map_or_else(|_| Value::BigInt(number.to_string()), Value::Int)
            }
            0xd0 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Value::Int(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Value::Int(i32::from_be_bytes(self.array()?).into()),
            _ => Value::Int(i64::from_be_bytes(self.array()?)),
        })
    }

    fn string(&mut self, length: usize) -> Result<Value, Malformed> {
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::String(text.to_owned())),
            Err(_) => Err(self.error("string that is not UTF-8")),
        }
    }

    fn list(&mut self, length: usize, depth: usize) -> Result<Value, Malformed> {
        let depth = self.enter(depth)?;
        // A claimed length buys no memory: each element takes a byte at least.
        let mut items = Vec::with_capacity(length.min(self.data.len() - self.at).min(1024));
        for _ in 0..length {
            items.push(self.value(depth)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, Malformed> {
        let depth = self.enter(depth)?;
        let mut members = Vec::with_capacity(length.min(self.data.len() - self.at).min(1024));
        for _ in 0..length {
            let key = match self.value(depth)? {
                Value::String(text) => text,
                scalar @ (Value::Null | Value::Bool(_) | Value::Int(_) | Value::BigInt(_) | Value::Float(_)) => {
                    json::to_string(&scalar)
                }
                Value::Array(_) | Value::Object(_) => return Err(self.error("map key that is no text")),
            };
            members.push((key, self.value(depth)?));
        }
        Ok(Value::Object(members))
    }

    fn enter(&self, depth: usize) -> Result<usize, Malformed> {
        depth.checked_sub(1).ok_or_else(|| self.error("nested too deep"))
    }
}
