//! The types Celery's JSON has beyond JSON: objects of exactly `__type__` and `__value__`.

use crate::base64;
use crate::json::Value;
use crate::{Malformed, json};

/// Name of the member that names the type.
pub const TYPE: &str = "__type__";
/// Name of the member that holds the value.
pub const VALUE: &str = "__value__";

/// A type with a form in Celery's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtendedType {
    /// `datetime.datetime`: ISO 8601 text.
    DateTime,
    /// `datetime.date`: ISO 8601 text, which may carry a time (ignored).
    Date,
    /// `datetime.time`: ISO 8601 text.
    Time,
    /// `decimal.Decimal`: its text.
    Decimal,
    /// `uuid.UUID`: `{"hex": ..}`.
    Uuid,
    /// `bytes` that are UTF-8: that text.
    Bytes,
    /// Other `bytes`: base64.
    Base64,
}

impl ExtendedType {
    /// The type a `__type__` names.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "datetime" => Self::DateTime,
            "date" => Self::Date,
            "time" => Self::Time,
            "decimal" => Self::Decimal,
            "uuid" => Self::Uuid,
            "bytes" => Self::Bytes,
            "base64" => Self::Base64,
            _ => return None,
        })
    }

    /// Its `__type__`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DateTime => "datetime",
            Self::Date => "date",
            Self::Time => "time",
            Self::Decimal => "decimal",
            Self::Uuid => "uuid",
            Self::Bytes => "bytes",
            Self::Base64 => "base64",
        }
    }
}

/// Whether two member names make an extended object (the order does not matter, and there must be no third).
pub fn is_extended(first: &str, second: &str) -> bool {
    (first == TYPE && second == VALUE) || (first == VALUE && second == TYPE)
}

/// The type and value of an extended object; `None` for any other value, an error for a type nobody knows (an
/// application may have registered it in Python).
pub fn recognise(value: &Value) -> Result<Option<(ExtendedType, &Value)>, Malformed> {
    let Some([(first, _), (second, _)]) = value.as_object() else { return Ok(None) };
    if !is_extended(first, second) {
        return Ok(None);
    }
    let (Some(name), Some(inner)) = (value.get(TYPE), value.get(VALUE)) else { return Ok(None) };
    match name.as_str().and_then(ExtendedType::named) {
        Some(known) => Ok(Some((known, inner))),
        None => Err(unknown_type(&json::to_string(name))),
    }
}

/// The error for a `__type__` nobody knows; `name` as JSON text.
pub fn unknown_type(name: &str) -> Malformed {
    Malformed::new("JSON", format!("unknown __type__ {name}: register it with register_type"))
}

/// The extended object for a type and the value it has in JSON.
pub fn wrap(kind: ExtendedType, value: impl Into<Value>) -> Value {
    Value::Object(vec![(TYPE.to_owned(), kind.name().into()), (VALUE.to_owned(), value.into())])
}

/// The extended object for bytes: text if they are UTF-8, else base64.
pub fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => wrap(ExtendedType::Bytes, text),
        Err(_) => {
            let mut out = Vec::new();
            base64::encode_into(bytes, &mut out);
            wrap(ExtendedType::Base64, String::from_utf8_lossy(&out).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn read(text: &str) -> Value {
        json::parse(text.as_bytes(), &Limits::default()).expect(text)
    }

    #[test]
    fn exactly_the_two_names_make_an_extended_object() {
        let value = read(r#"{"__value__": "1.10", "__type__": "decimal"}"#);
        assert_eq!(recognise(&value), Ok(Some((ExtendedType::Decimal, &Value::from("1.10")))));
        for other in [r#"{"__type__": "decimal"}"#, r#"{"__type__": "decimal", "__value__": 1, "x": 2}"#, "[]", "5"] {
            assert_eq!(recognise(&read(other)), Ok(None), "{other}");
        }
        assert!(recognise(&read(r#"{"__type__": "color", "__value__": 1}"#)).is_err());
    }

    #[test]
    fn bytes_are_text_when_they_can_be() {
        assert_eq!(json::to_string(&bytes(b"abc")), r#"{"__type__": "bytes", "__value__": "abc"}"#);
        assert_eq!(json::to_string(&bytes(b"\xff\x00\x80")), r#"{"__type__": "base64", "__value__": "/wCA"}"#);
    }
}
