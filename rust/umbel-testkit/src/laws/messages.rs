//! Envelopes and task headers.

use umbel_protocol::body::{self, Body, BodyText};
use umbel_protocol::{Limits, Message, Properties, ReadError, ReadOptions, TaskFacts, TaskHeaders, envelope, json};

use super::memory::bounded;

/// Bytes of memory for each byte of an envelope.
const TIMES: usize = 128;

/// An envelope is read, written, read again: the same message. Cut short it is none.
pub(super) fn envelope(data: &[u8]) {
    let limits = Limits::default();
    let Ok(message) = bounded(data.len(), TIMES, || envelope::decode(data, &limits)) else { return };
    let tag = message.properties.delivery_tag.clone().unwrap_or_else(|| "tag".to_owned());
    let raw = envelope::encode(&message, &tag);
    let again = envelope::decode(&raw, &limits).expect("what was written can be read");
    let written = Properties {
        priority: Some(message.properties.priority.unwrap_or(0)),
        delivery_tag: Some(tag.clone()),
        ..message.properties.clone()
    };
    assert_eq!(again.properties, written);
    assert_eq!(again.body, message.body);
    assert_eq!((&again.content_type, &again.content_encoding), (&message.content_type, &message.content_encoding));
    if !message.properties.redelivered {
        assert_eq!(again.headers, message.headers);
    }
    assert_eq!(envelope::encode(&again, &tag), raw);
    let end = data.trim_ascii_end().len() - 1;
    for end in [end, end / 2] {
        assert!(envelope::decode(&data[..end], &limits).is_err(), "cut at {end}");
    }
    read_task(&message);
}

/// Headers and body of any content: the first byte chooses the content type, two zero bytes part headers from body.
pub(super) fn task(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let (headers, body) = super::parts(rest);
    let Ok(headers) = std::str::from_utf8(headers) else { return };
    let content_type = match choice % 4 {
        0 => "application/json",
        1 => "application/x-msgpack",
        2 => "application/x-python-serialize",
        _ => "",
    };
    let message = Message {
        headers: headers.to_owned(),
        body: body.to_vec(),
        content_type: content_type.to_owned(),
        content_encoding: "utf-8".to_owned(),
        properties: Properties { redelivered: choice & 4 != 0, ..Properties::default() },
    };
    read_task(&message);
}

fn read_task(message: &Message) {
    // A small message that unpacks to a large one is bounded by the limit, not by its length.
    let options = ReadOptions { limits: Limits { max_bytes: 1 << 16, ..Limits::default() }, ..ReadOptions::default() };
    let length = message.headers.len() + message.body.len() + (1 << 16);
    let headers = bounded(length, TIMES, || TaskHeaders::parse(message, &options));
    let facts = bounded(length, TIMES, || TaskFacts::parse(message, &options));
    let Ok(task) = facts else { return assert!(headers.is_err(), "the engine refuses what a child would read") };
    assert_eq!(headers.expect("the engine has read it").facts, task);
    agrees_with_another_reading(message, &task, &options);
    survives_its_envelope(message, &task, &options);
    let compression = compression_of(message);
    let read = bounded(length, TIMES, || {
        Body::read(&message.body, &message.content_type, compression.as_deref(), &options.limits)
    });
    let unpacked = body::unpack(&message.body, compression.as_deref(), &options.limits);
    let text = unpacked.and_then(|body| body::json_text(&message.content_type, body, &options.limits));
    match text.and_then(|text| Ok(BodyText::split(&text, &options.limits)?.write())) {
        Ok(written) => {
            // Values may still be none of Rust's: lone surrogates. Then both say so.
            let again = Body::read(&written, "application/json", None, &Limits::default());
            assert_eq!(format!("{again:?}"), format!("{read:?}"));
        }
        Err(ReadError::Malformed(_)) => assert!(read.is_err()),
        Err(ReadError::NeedsPython(_)) => assert!(matches!(read, Err(ReadError::NeedsPython(_)))),
    }
}

fn compression_of(message: &Message) -> Option<String> {
    let headers = json::parse(message.headers.as_bytes(), &Limits::default()).ok()?;
    headers.get("compression")?.as_str().map(str::to_owned)
}

/// Headers that another program has read and written again say the same.
fn agrees_with_another_reading(message: &Message, task: &TaskFacts, options: &ReadOptions) {
    let Ok(value) = json::parse(message.headers.as_bytes(), &options.limits) else { return };
    let again = Message { headers: json::to_string(&value), ..message.clone() };
    assert_eq!(TaskFacts::parse(&again, options).as_ref(), Ok(task));
}

/// A message that went through a broker is the same task.
fn survives_its_envelope(message: &Message, task: &TaskFacts, options: &ReadOptions) {
    let raw = envelope::encode(message, "tag");
    let again = envelope::decode(&raw, &Limits::default()).expect("headers and body of a task");
    assert_eq!(TaskFacts::parse(&again, options).as_ref(), Ok(task));
}
