//! JSON and MessagePack.

use umbel_protocol::json::{self, Text, Value};
use umbel_protocol::{Limits, Malformed, msgpack};

use super::memory::bounded;

/// Bytes of memory for each byte of a document: an element of two bytes is a [`Value`], in a vector that has just grown.
const TIMES: usize = 160;

/// Whatever is read is written and read again as the same; all readers agree about what is JSON.
pub(super) fn json(data: &[u8]) {
    let limits = Limits::default();
    let parsed = bounded(data.len(), TIMES, || json::parse(data, &limits));
    let skipped = bounded(data.len(), 8, || json::skip(data, &limits));
    if is_surrogate(&parsed) {
        // Python's strings hold them, Rust's do not: such a document stays text.
        return;
    }
    assert_eq!(parsed.as_ref().err(), skipped.as_ref().err());
    let members = bounded(data.len(), TIMES, || json::members(data, &limits));
    let elements = bounded(data.len(), TIMES, || json::elements(data, &limits));
    let Ok(value) = parsed else {
        assert!(members.is_err() && elements.is_err());
        return;
    };
    is_written_back(&value);
    match &value {
        Value::Object(expected) => {
            let members = members.expect("an object");
            assert_eq!(members.len(), expected.len());
            for (member, (name, value)) in members.iter().zip(expected) {
                assert_eq!(member.raw.as_bytes(), &data[member.span(std::str::from_utf8(data).expect("JSON is text"))]);
                assert_eq!(&*member.name, name);
                is_text_of(member.raw, value);
            }
        }
        Value::Array(expected) => {
            let elements = elements.expect("an array");
            assert_eq!(elements.len(), expected.len());
            elements.iter().zip(expected).for_each(|(raw, value)| is_text_of(raw, value));
        }
        _ => assert!(members.is_err() && elements.is_err()),
    }
}

fn is_surrogate(parsed: &Result<Value, Malformed>) -> bool {
    parsed.as_ref().is_err_and(|error| error.detail.starts_with("lone surrogate"))
}

fn is_text_of(raw: &str, value: &Value) {
    let again = json::parse(raw.as_bytes(), &Limits::default()).expect("a part of a document");
    assert_eq!(json::to_vec(&again), json::to_vec(value));
    match (Text::read(raw), value) {
        (Some(text), Value::String(expected)) => assert_eq!(&*text.into_text(), expected),
        (text, value) => assert!(text.is_none(), "{value:?} was read as text"),
    }
}

fn is_written_back(value: &Value) {
    let text = json::to_vec(value);
    assert!(text.is_ascii());
    let again = json::parse(&text, &Limits::default()).expect("what was written can be read");
    assert_eq!(json::to_vec(&again), text);
    // NaN is not equal to itself; its text is.
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
}

/// What is read is written and read again as the same, also by way of JSON; cut short it is an error.
pub(super) fn msgpack(data: &[u8]) {
    let limits = Limits::default();
    let Ok(value) = bounded(data.len(), TIMES, || msgpack::decode(data, &limits)) else { return };
    let packed = msgpack::encode(&value).expect("it was MessagePack before");
    let again = msgpack::decode(&packed, &limits).expect("what was written can be read");
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
    assert_eq!(msgpack::encode(&again).as_deref(), Ok(packed.as_slice()));
    for end in [data.len() - 1, data.len() / 2] {
        assert!(msgpack::decode(&data[..end], &limits).is_err(), "cut at {end}");
    }
    is_written_back(&value);
}
