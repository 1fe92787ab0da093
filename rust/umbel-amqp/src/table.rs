//! Field tables: the headers of messages and the arguments of declarations, with every type RabbitMQ knows.

use crate::error::{Malformed, Result};
use crate::wire::{Reader, Writer};

/// Tables and arrays in one another; RabbitMQ knows no bound, a stack does.
const DEEPEST: usize = 128;

/// A value in a table. Tags are RabbitMQ's, where it differs from the specification.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L` of some clients
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: digits, and how many of them stand behind the point.
    Decimal {
        /// Places behind the point.
        scale: u8,
        /// All digits.
        digits: u32,
    },
    /// `S`: text, as a rule; bytes all the same.
    String(Vec<u8>),
    /// `A`
    Array(Vec<Value>),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `F`
    Table(Table),
    /// `V`
    Void,
    /// `x`
    Bytes(Vec<u8>),
}

impl Value {
    /// The text of a string that is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The value of any integer that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I8(number) => Some((*number).into()),
            Self::U8(number) => Some((*number).into()),
            Self::I16(number) => Some((*number).into()),
            Self::U16(number) => Some((*number).into()),
            Self::I32(number) => Some((*number).into()),
            Self::U32(number) => Some((*number).into()),
            Self::I64(number) => Some(*number),
            Self::Timestamp(number) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// An integer in as few bytes as py-amqp gives it.
    pub fn integer(number: i64) -> Self {
        i32::try_from(number).map_or(Self::I64(number), Self::I32)
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            b't' => Self::Bool(reader.u8()? != 0),
            b'b' => Self::I8(reader.u8()?.cast_signed()),
            b'B' => Self::U8(reader.u8()?),
            b's' | b'U' => Self::I16(reader.u16()?.cast_signed()),
            b'u' => Self::U16(reader.u16()?),
            b'I' => Self::I32(reader.u32()?.cast_signed()),
            b'i' => Self::U32(reader.u32()?),
            b'l' | b'L' => Self::I64(reader.u64()?.cast_signed()),
            b'f' => Self::F32(f32::from_bits(reader.u32()?)),
            b'd' => Self::F64(f64::from_bits(reader.u64()?)),
            b'D' => Self::Decimal { scale: reader.u8()?, digits: reader.u32()? },
            b'S' => Self::String(reader.long_string()?.to_vec()),
            b'A' => Self::Array(read_array(reader, depth)?),
            b'T' => Self::Timestamp(reader.u64()?),
            b'F' => Self::Table(Table::read_nested(reader, depth)?),
            b'V' => Self::Void,
            b'x' => Self::Bytes(reader.long_string()?.to_vec()),
            tag => return Err(reader.malformed(format!("a value of the unknown type {:?}", char::from(tag)))),
        })
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<()> {
        match self {
            Self::Bool(flag) => writer.bytes(&[b't', (*flag).into()]),
            Self::I8(number) => writer.bytes(&[b'b', number.cast_unsigned()]),
            Self::U8(number) => writer.bytes(&[b'B', *number]),
            Self::I16(number) => tagged(writer, b's', &number.to_be_bytes()),
            Self::U16(number) => tagged(writer, b'u', &number.to_be_bytes()),
            Self::I32(number) => tagged(writer, b'I', &number.to_be_bytes()),
            Self::U32(number) => tagged(writer, b'i', &number.to_be_bytes()),
            // As py-amqp writes it, of which older releases read `l` without its sign.
            Self::I64(number) => tagged(writer, b'L', &number.to_be_bytes()),
            Self::F32(number) => tagged(writer, b'f', &number.to_bits().to_be_bytes()),
            Self::F64(number) => tagged(writer, b'd', &number.to_bits().to_be_bytes()),
            Self::Decimal { scale, digits } => {
                tagged(writer, b'D', &[*scale]);
                writer.u32(*digits);
            }
            Self::String(bytes) => {
                writer.u8(b'S');
                writer.long_string(bytes)?;
            }
            Self::Array(items) => {
                writer.u8(b'A');
                writer.measured(|writer| items.iter().try_for_each(|item| item.write(writer)))?;
            }
            Self::Timestamp(seconds) => tagged(writer, b'T', &seconds.to_be_bytes()),
            Self::Table(table) => {
                writer.u8(b'F');
                table.write(writer)?;
            }
            Self::Void => writer.u8(b'V'),
            Self::Bytes(bytes) => {
                writer.u8(b'x');
                writer.long_string(bytes)?;
            }
        }
        Ok(())
    }
}

fn tagged(writer: &mut Writer<'_>, tag: u8, bytes: &[u8]) {
    writer.u8(tag);
    writer.bytes(bytes);
}

fn read_array(reader: &mut Reader<'_>, depth: usize) -> Result<Vec<Value>, Malformed> {
    let depth = deeper(reader, depth)?;
    let mut inside = Reader::new(reader.long_string()?, "array");
    let mut items = Vec::new();
    while !inside.is_empty() {
        items.push(Value::read(&mut inside, depth)?);
    }
    Ok(items)
}

fn deeper(reader: &Reader<'_>, depth: usize) -> Result<usize, Malformed> {
    if depth >= DEEPEST {
        return Err(reader.malformed(format!("tables are nested more than {DEEPEST} deep")));
    }
    Ok(depth + 1)
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into_bytes())
    }
}

impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

/// Names and values in the order of the wire.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table(pub Vec<(String, Value)>);

impl Table {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`; the last one, if there are several.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Puts a value in, in place of those of the same name.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.remove(name);
        self.0.push((name.to_owned(), value.into()));
    }

    /// The same, for building one.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// Reads a table with its length in front.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::read_nested(reader, 0)
    }

    fn read_nested(reader: &mut Reader<'_>, depth: usize) -> Result<Self, Malformed> {
        let depth = deeper(reader, depth)?;
        let mut inside = Reader::new(reader.long_string()?, "table");
        let mut fields = Vec::new();
        while !inside.is_empty() {
            let name = inside.short_string()?;
            fields.push((name, Value::read(&mut inside, depth)?));
        }
        Ok(Self(fields))
    }

    /// Writes it with its length in front.
    ///
    /// # Errors
    /// [`crate::Error::Unsendable`] for names longer than 255 bytes.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<()> {
        writer.measured(|writer| {
            self.0.iter().try_for_each(|(name, value)| {
                writer.short_string(name)?;
                value.write(writer)
            })
        })
    }
}
