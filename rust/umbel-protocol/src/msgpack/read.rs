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
    let mut reader = Reader { data, at: 0, missing: 0 };
    let value = reader.value(limits.depth())?;
    match reader.at == data.len() {
        true => Ok(value),
        false => Err(reader.error("extra data")),
    }
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    /// Elements, keys and values of open containers that have not begun, each of a byte at least.
    missing: usize,
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

    /// One value and everything in it, without recursion.
    fn value(&mut self, max_depth: usize) -> Result<Value, Malformed> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.missing -= usize::from(!open.is_empty());
            let mut value = match self.item()? {
                Item::Value(value) => value,
                Item::Container(_) if open.len() >= max_depth => return Err(self.error("nested too deep")),
                Item::Container(container) => match container.closed() {
                    Ok(value) => value,
                    Err(container) => {
                        open.push(container);
                        continue;
                    }
                },
            };
            // Into the container it belongs to, and that one, if now full, into its own.
            loop {
                let Some(mut container) = open.pop() else { return Ok(value) };
                container.put(value).map_err(|why| self.error(why))?;
                match container.closed() {
                    Ok(whole) => value = whole,
                    Err(container) => {
                        open.push(container);
                        break;
                    }
                }
            }
        }
    }

    /// A scalar, or the beginning of a container.
    fn item(&mut self) -> Result<Item, Malformed> {
        let [marker] = self.array()?;
        let value = match marker {
            0x00..=0x7f => Value::Int(marker.into()),
            0xe0..=0xff => Value::Int((marker as i8).into()),
            0x80..=0x8f => return self.map(usize::from(marker & 0xf)),
            0x90..=0x9f => return self.list(usize::from(marker & 0xf)),
            0xa0..=0xbf => self.string(usize::from(marker & 0x1f))?,
            0xc0 => Value::Null,
            0xc2 | 0xc3 => Value::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                extended::bytes(self.take(length)?)
            }
            0xca => Value::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc..=0xd3 => self.integer(marker)?,
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                self.string(length)?
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (marker - 0xdc))?;
                return self.list(length);
            }
            0xde | 0xdf => {
                let length = self.length(2 << (marker - 0xde))?;
                return self.map(length);
            }
            _ => return Err(self.error("extension type")),
        };
        Ok(Item::Value(value))
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

    fn list(&mut self, length: usize) -> Result<Item, Malformed> {
        self.expect(length)?;
        Ok(Item::Container(Open::List { items: Vec::with_capacity(length), missing: length }))
    }

    fn map(&mut self, length: usize) -> Result<Item, Malformed> {
        self.expect(length.saturating_mul(2))?;
        Ok(Item::Container(Open::Map { members: Vec::with_capacity(length), key: None, missing: length }))
    }

    /// A claimed length buys no memory: all that is missing, here and further out, must fit in the bytes that are left.
    fn expect(&mut self, values: usize) -> Result<(), Malformed> {
        self.missing = self.missing.saturating_add(values);
        if self.missing > self.data.len() - self.at { Err(self.error("ends early")) } else { Ok(()) }
    }
}

enum Item {
    Value(Value),
    Container(Open),
}

/// A container that is being filled.
enum Open {
    List { items: Vec<Value>, missing: usize },
    Map { members: Vec<(String, Value)>, key: Option<String>, missing: usize },
}

impl Open {
    /// The finished value, or the container back if something is missing.
    fn closed(self) -> Result<Value, Self> {
        match self {
            Self::List { items, missing: 0 } => Ok(Value::Array(items)),
            Self::Map { members, missing: 0, .. } => Ok(Value::Object(members)),
            open => Err(open),
        }
    }

    fn put(&mut self, value: Value) -> Result<(), &'static str> {
        match self {
            Self::List { items, missing } => {
                items.push(value);
                *missing -= 1;
            }
            Self::Map { members, key, missing } => match key.take() {
                None => *key = Some(key_text(value)?),
                Some(key) => {
                    members.push((key, value));
                    *missing -= 1;
                }
            },
        }
        Ok(())
    }
}

/// A map key as JSON would have it.
fn key_text(key: Value) -> Result<String, &'static str> {
    match key {
        Value::String(text) => Ok(text),
        Value::Array(_) | Value::Object(_) => Err("map key that is no text"),
        scalar => Ok(json::to_string(&scalar)),
    }
}
