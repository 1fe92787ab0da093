//! The headers of a task, JSON here and a field table there.

use umbel_amqp::{Table, Value};
use umbel_protocol::Limits;
use umbel_protocol::json::{self, Writer};

use crate::error::{BrokerError, Result};

/// A JSON object as a table.
///
/// # Errors
/// [`BrokerError::Protocol`] for what is no object, and for integers of more than 64 bits, which AMQP does not know.
pub(super) fn read(text: &str, limits: &Limits) -> Result<Table> {
    if text.is_empty() || text == "{}" {
        return Ok(Table::new());
    }
    match json::parse(text.as_bytes(), limits) {
        Ok(json::Value::Object(members)) => table(&members),
        Ok(other) => Err(unsendable(format!("the headers of a message are {} and no object", other.kind()))),
        Err(error) => Err(unsendable(format!("the headers of a message are no JSON: {error}"))),
    }
}

/// Members of an object as a table.
pub(super) fn table(members: &[(String, json::Value)]) -> Result<Table> {
    let fields: Result<Vec<_>> = members.iter().map(|(name, value)| Ok((name.clone(), field(value)?))).collect();
    fields.map(Table)
}

fn field(value: &json::Value) -> Result<Value> {
    Ok(match value {
        json::Value::Null => Value::Void,
        json::Value::Bool(flag) => Value::Bool(*flag),
        json::Value::Int(number) => Value::integer(*number),
        json::Value::BigInt(digits) => {
            return Err(unsendable(format!("a header holds the number {digits}, too large for AMQP's 64 bits")));
        }
        json::Value::Float(number) => Value::F64(*number),
        json::Value::String(text) => Value::from(text.as_str()),
        json::Value::Array(items) => Value::Array(items.iter().map(field).collect::<Result<_>>()?),
        json::Value::Object(members) => Value::Table(table(members)?),
    })
}

fn unsendable(detail: String) -> BrokerError {
    BrokerError::Protocol { detail }
}

/// A table as the text of a JSON object, without the members that `leave_out` names.
pub(super) fn write(table: &Table, leave_out: impl Fn(&str) -> bool) -> String {
    let mut writer = Writer::over(Vec::with_capacity(512));
    write_table(&mut writer, table, &leave_out);
    // The writer writes UTF-8.
    String::from_utf8(writer.into_bytes()).unwrap_or_default()
}

fn write_table(writer: &mut Writer, table: &Table, leave_out: &dyn Fn(&str) -> bool) {
    writer.begin_object();
    for (name, value) in table.0.iter().filter(|(name, _)| !leave_out(name)) {
        writer.key(name);
        write_value(writer, value);
    }
    writer.end_object();
}

fn write_value(writer: &mut Writer, value: &Value) {
    match value {
        Value::Void => writer.null(),
        Value::Bool(flag) => writer.bool(*flag),
        Value::F32(number) => writer.float((*number).into()),
        Value::F64(number) => writer.float(*number),
        Value::Decimal { scale, digits } => writer.string(&decimal(*scale, *digits)),
        Value::String(bytes) | Value::Bytes(bytes) => writer.string(&String::from_utf8_lossy(bytes)),
        Value::Array(items) => {
            writer.begin_array();
            items.iter().for_each(|item| write_value(writer, item));
            writer.end_array();
        }
        Value::Table(table) => write_table(writer, table, &|_| false),
        Value::Timestamp(seconds) if i64::try_from(*seconds).is_err() => writer.string(&seconds.to_string()),
        integer => writer.integer(integer.as_i64().unwrap_or_default()),
    }
}

fn decimal(scale: u8, digits: u32) -> String {
    let scale = usize::from(scale);
    if scale == 0 {
        return digits.to_string();
    }
    let text = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    format!("{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let text =
            r#"{"id": "x", "none": null, "n": 3, "big": 9007199254740993, "f": 1.5, "list": [true, {"a": "\u00fc"}]}"#;
        let table = read(text, &Limits::default()).expect("headers");
        assert_eq!(table.get("n"), Some(&Value::I32(3)));
        assert_eq!(table.get("big"), Some(&Value::I64(9_007_199_254_740_993)));
        assert_eq!(write(&table, |name| name == "none"), text.replace(r#""none": null, "#, ""));
    }

    #[test]
    fn what_amqp_does_not_know_is_refused_and_what_json_does_not_is_text() {
        for text in ["[]", "{", r#"{"a": 123456789012345678901234567890}"#] {
            assert!(matches!(read(text, &Limits::default()), Err(BrokerError::Protocol { .. })), "{text}");
        }
        let mut table = Table::new();
        table.set("d", Value::Decimal { scale: 2, digits: 5 });
        table.set("b", Value::Bytes(vec![0xff, b'a']));
        table.set("t", Value::Timestamp(5));
        assert_eq!(write(&table, |_| false), r#"{"d": "0.05", "b": "\ufffda", "t": 5}"#);
    }
}
