//! A JSON value as a tree.

use super::parse::Build;
use crate::Malformed;

/// Any JSON value.
///
/// Objects keep order and duplicates; [`Value::get`] finds the last member of a name, as Python does. Equality is
/// exact: `Int(1)` is not `Float(1.0)`, and member order counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// An integer that does not fit in 64 bits: its decimal digits, with `-` in front when negative.
    BigInt(String),
    /// A number with fraction or exponent, or NaN or an infinity.
    Float(f64),
    /// Text.
    String(String),
    /// `[...]`.
    Array(Vec<Value>),
    /// `{...}`.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The last member named `name`; `None` if there is none or this is no object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The element at `index`; `None` if there is none or this is no array.
    pub fn at(&self, index: usize) -> Option<&Value> {
        self.as_array()?.get(index)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of any number, rounded if need be.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::BigInt(digits) => digits.parse().ok(),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members of an object, in wire order.
    pub fn as_object(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What it is, for error texts: `"a string"`, `"null"`, …
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::BigInt(_) => "an integer",
            Self::Float(_) => "a float",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    /// `None` is `null`.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Builds [`Value`]s.
pub(crate) struct ValueBuilder;

impl Build for ValueBuilder {
    type Node = Value;
    type Key = String;
    type Error = Malformed;

    fn null(&mut self) -> Result<Value, Malformed> {
        Ok(Value::Null)
    }

    fn bool(&mut self, flag: bool) -> Result<Value, Malformed> {
        Ok(Value::Bool(flag))
    }

    fn integer(&mut self, number: i64) -> Result<Value, Malformed> {
        Ok(Value::Int(number))
    }

    fn big_integer(&mut self, digits: &str) -> Result<Value, Malformed> {
        Ok(Value::BigInt(digits.to_owned()))
    }

    fn float(&mut self, number: f64) -> Result<Value, Malformed> {
        Ok(Value::Float(number))
    }

    fn string(&mut self, text: &str) -> Result<Value, Malformed> {
        Ok(Value::String(text.to_owned()))
    }

    fn key(&mut self, text: &str) -> Result<String, Malformed> {
        Ok(text.to_owned())
    }

    fn array(&mut self, items: std::vec::Drain<'_, Value>) -> Result<Value, Malformed> {
        Ok(Value::Array(items.collect()))
    }

    fn object(&mut self, members: std::vec::Drain<'_, (String, Value)>) -> Result<Value, Malformed> {
        Ok(Value::Object(members.collect()))
    }
}
