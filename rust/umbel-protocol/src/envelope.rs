//! kombu's envelope: a whole message as one JSON object, the form it has in Redis lists and in our SQLite file.
//!
//! ```text
//! {"body": BASE64, "content-encoding": .., "content-type": .., "headers": {..},
//!  "properties": {"correlation_id": .., "reply_to": .., <others>, "delivery_mode": .., "expiration": ..,
//!    "delivery_info": {"exchange": .., "routing_key": ..}, "priority": .., "body_encoding": "base64",
//!    "delivery_tag": ..}}
//! ```

use std::borrow::Cow;

use crate::base64;
use crate::fields::{Fields, excerpt};
use crate::json::{self, Writer};
use crate::{Destination, Limits, Malformed, Message, Properties};

/// Property that counts the deliveries that ended with a dead child or worker.
pub const FAILED_DELIVERIES: &str = "umbel_deliveries";

/// Properties with a place of their own in [`Properties`], or that only concern the envelope.
const KNOWN: [&str; 9] = [
    "correlation_id",
    "reply_to",
    "delivery_mode",
    "priority",
    "expiration",
    "delivery_info",
    "delivery_tag",
    "body_encoding",
    FAILED_DELIVERIES,
];

/// The envelope of `message`, with kombu's keys in kombu's order.
///
/// A message without priority gets 0, as from kombu. A redelivered one is marked in `delivery_info` and in its
/// headers, as kombu marks what it restores.
pub fn encode(message: &Message, delivery_tag: &str) -> Vec<u8> {
    let room = message.headers.len() + message.body.len() / 3 * 4 + 512;
    let mut writer = Writer::over(Vec::with_capacity(room));
    writer.begin_object();
    writer.key("body");
    writer.string_with(|out| base64::encode_into(&message.body, out));
    write_rest(writer, message, delivery_tag, Some("base64"))
}

/// The same with the body as it is, which kombu reads too. `None` if it is no text.
pub fn encode_plain(message: &Message, delivery_tag: &str) -> Option<Vec<u8>> {
    let body = std::str::from_utf8(&message.body).ok()?;
    let mut writer = Writer::over(Vec::with_capacity(message.headers.len() + body.len() * 2 + 512));
    writer.begin_object();
    writer.key("body");
    writer.string(body);
    Some(write_rest(writer, message, delivery_tag, None))
}

fn write_rest(mut writer: Writer, message: &Message, delivery_tag: &str, body_encoding: Option<&str>) -> Vec<u8> {
    writer.key("content-encoding");
    writer.string(&message.content_encoding);
    writer.key("content-type");
    writer.string(&message.content_type);
    writer.key("headers");
    writer.raw(&headers_to_write(message));
    writer.key("properties");
    write_properties(&mut writer, &message.properties, delivery_tag, body_encoding);
    writer.end_object();
    writer.into_bytes()
}

fn write_properties(writer: &mut Writer, properties: &Properties, delivery_tag: &str, body_encoding: Option<&str>) {
    writer.begin_object();
    write_text(writer, "correlation_id", properties.correlation_id.as_deref());
    write_text(writer, "reply_to", properties.reply_to.as_deref());
    for (name, json) in &properties.extra {
        writer.key(name);
        writer.raw(json);
    }
    if let Some(mode) = properties.delivery_mode {
        writer.key("delivery_mode");
        writer.integer(mode);
    }
    write_text(writer, "expiration", properties.expiration.as_deref());
    writer.key("delivery_info");
    writer.begin_object();
    write_text(writer, "exchange", Some(&properties.destination.exchange));
    write_text(writer, "routing_key", Some(&properties.destination.routing_key));
    if properties.redelivered {
        writer.key("redelivered");
        writer.bool(true);
    }
    writer.end_object();
    writer.key("priority");
    writer.integer(properties.priority.unwrap_or(0));
    write_text(writer, "body_encoding", body_encoding);
    write_text(writer, "delivery_tag", Some(delivery_tag));
    if properties.failed_deliveries > 0 {
        writer.key(FAILED_DELIVERIES);
        writer.integer(properties.failed_deliveries.into());
    }
    writer.end_object();
}

fn write_text(writer: &mut Writer, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        writer.key(name);
        writer.string(text);
    }
}

/// The headers' text, with `"redelivered": true` in it if the message is.
fn headers_to_write(message: &Message) -> Cow<'_, str> {
    let headers = if message.headers.is_empty() { "{}" } else { message.headers.as_str() };
    if message.properties.redelivered { mark_redelivered(headers) } else { Cow::Borrowed(headers) }
}

/// Splices the mark in, once. Text that is no object stays as it is.
fn mark_redelivered(headers: &str) -> Cow<'_, str> {
    let Some(end) = headers.rfind('}') else { return Cow::Borrowed(headers) };
    let inside = headers[..end].trim_end();
    if mentions_redelivered(headers) {
        let Ok(fields) = Fields::read(headers.as_bytes(), "headers", "header", &unlimited()) else {
            return Cow::Borrowed(headers);
        };
        if let Some(member) = fields.iter().filter(|member| member.name == "redelivered").last() {
            let span = member.span(headers);
            let (before, after) = (&headers[..span.start], &headers[span.end..]);
            return if member.raw == "true" {
                Cow::Borrowed(headers)
            } else {
                Cow::Owned(format!("{before}true{after}"))
            };
        }
    }
    let comma = if inside.trim_start() == "{" { "" } else { ", " };
    Cow::Owned(format!("{inside}{comma}\"redelivered\": true}}"))
}

/// A quick look before a real one: the name may be written with escapes, then the mark is added a second time, which
/// does no harm (the last member wins).
fn mentions_redelivered(headers: &str) -> bool {
    memchr::memmem::find(headers.as_bytes(), b"\"redelivered\"").is_some()
}

fn unlimited() -> Limits {
    Limits { max_depth: usize::MAX, max_bytes: usize::MAX }
}

/// Reads an envelope. Headers stay text, but everything in it has been checked to be JSON.
///
/// Tolerated, as by kombu: other keys at the top, a missing delivery tag, headers or content type, a priority that is
/// no integer (no priority). Anything else of a wrong type is an error that names the field.
pub fn decode(raw: &[u8], limits: &Limits) -> Result<Message, Malformed> {
    let envelope = Fields::read(raw, "envelope", "envelope key", limits)?;
    let Some(properties) = envelope.raw("properties") else {
        return Err(envelope.malformed("properties", "missing: this is no kombu message"));
    };
    if !properties.starts_with('{') {
        return Err(envelope.wrong("properties", "an object", properties));
    }
    let fields = Fields::read(properties.as_bytes(), "properties", "property", limits)?;
    let headers = envelope.raw("headers").unwrap_or("{}");
    if !headers.starts_with('{') {
        return Err(envelope.wrong("headers", "an object", headers));
    }
    let mut properties = read_properties(&fields, limits)?;
    properties.redelivered = properties.redelivered || headers_say_redelivered(headers, limits);
    Ok(Message {
        headers: headers.to_owned(),
        body: read_body(&envelope, &fields)?,
        content_type: envelope.string("content-type")?.unwrap_or_default(),
        content_encoding: envelope.string("content-encoding")?.unwrap_or_default(),
        properties,
    })
}

fn read_body(envelope: &Fields<'_>, properties: &Fields<'_>) -> Result<Vec<u8>, Malformed> {
    let Some(raw) = envelope.raw("body") else { return Ok(Vec::new()) };
    let text = match json::Text::read(raw) {
        Some(json::Text::Plain(text)) => text,
        Some(json::Text::Lossy(_)) => return Err(envelope.malformed("body", "text with a lone surrogate")),
        None => return Err(envelope.wrong("body", "a string", raw)),
    };
    match properties.text("body_encoding")?.as_deref() {
        Some("base64") => base64::decode(text.as_bytes()).ok_or_else(|| envelope.malformed("body", "not base64")),
        None | Some("utf-8") => Ok(text.into_owned().into_bytes()),
        Some(other) => {
            let found = excerpt(other);
            Err(properties.malformed("body_encoding", format!("expected 'base64' or 'utf-8', found '{found}'")))
        }
    }
}

fn read_properties(fields: &Fields<'_>, limits: &Limits) -> Result<Properties, Malformed> {
    let (destination, redelivered) = read_delivery_info(fields, limits)?;
    let failed = fields.integer(FAILED_DELIVERIES)?.unwrap_or(0);
    let extra = fields.iter().filter(|member| !KNOWN.contains(&member.name.as_ref()));
    Ok(Properties {
        correlation_id: fields.string("correlation_id")?,
        reply_to: fields.string("reply_to")?,
        delivery_mode: fields.integer("delivery_mode")?,
        priority: fields.integer("priority").unwrap_or(None),
        expiration: fields.string_or_integer("expiration")?,
        destination,
        delivery_tag: fields.string_or_integer("delivery_tag")?,
        redelivered,
        failed_deliveries: u32::try_from(failed.max(0)).unwrap_or(u32::MAX),
        extra: extra.map(|member| (member.name.to_string(), member.raw.to_owned())).collect(),
    })
}

fn read_delivery_info(fields: &Fields<'_>, limits: &Limits) -> Result<(Destination, bool), Malformed> {
    let Some(raw) = fields.raw("delivery_info") else { return Ok((Destination::default(), false)) };
    if !raw.starts_with('{') {
        return Err(fields.wrong("delivery_info", "an object", raw));
    }
    let info = Fields::read(raw.as_bytes(), "property 'delivery_info'", "delivery_info", limits)?;
    let destination = Destination {
        exchange: info.string("exchange")?.unwrap_or_default(),
        routing_key: info.string("routing_key")?.unwrap_or_default(),
    };
    Ok((destination, info.raw("redelivered") == Some("true")))
}

fn headers_say_redelivered(headers: &str, limits: &Limits) -> bool {
    mentions_redelivered(headers)
        && Fields::read(headers.as_bytes(), "headers", "header", limits)
            .is_ok_and(|fields| fields.raw("redelivered") == Some("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivered_message_is_marked_once_wherever_the_mark_belongs() {
        for (headers, marked) in [
            ("{}", r#"{"redelivered": true}"#),
            (r#"{"id": "x"}"#, r#"{"id": "x", "redelivered": true}"#),
            (r#"{"id": "x" } "#, r#"{"id": "x", "redelivered": true}"#),
            (r#"{"redelivered": false, "a": {}}"#, r#"{"redelivered": true, "a": {}}"#),
            (r#"{"redelivered": true, "a": {}}"#, r#"{"redelivered": true, "a": {}}"#),
            (r#"{"a": "\"redelivered\""}"#, r#"{"a": "\"redelivered\"", "redelivered": true}"#),
        ] {
            assert_eq!(mark_redelivered(headers), marked);
        }
    }

    #[test]
    fn the_priority_may_be_no_number_and_the_tag_may_be_missing() {
        let raw = br#"{"body": "", "properties": {"priority": "high", "x": [1], "umbel_deliveries": 3}}"#;
        let message = decode(raw, &Limits::default()).expect("tolerated");
        assert_eq!(message.properties.priority, None);
        assert_eq!(message.properties.failed_deliveries, 3);
        assert_eq!(message.properties.extra, [("x".to_owned(), "[1]".to_owned())]);
        assert_eq!(message.headers, "{}");
    }

    #[test]
    fn errors_name_the_field() {
        for (raw, error) in [
            ("[]", "envelope: expected an object at byte 0"),
            ("{}", "envelope key 'properties': missing: this is no kombu message"),
            (r#"{"properties": 1}"#, "envelope key 'properties': expected an object, found 1"),
            (r#"{"properties": {}, "headers": "x"}"#, "envelope key 'headers': expected an object, found \"x\""),
            (r#"{"properties": {}, "body": 5}"#, "envelope key 'body': expected a string, found 5"),
            (r#"{"properties": {"reply_to": 5}}"#, "property 'reply_to': expected a string, found 5"),
            (r#"{"properties": {"body_encoding": "base64"}, "body": "A"}"#, "envelope key 'body': not base64"),
            (
                r#"{"properties": {"delivery_info": {"exchange": 1}}}"#,
                "delivery_info 'exchange': expected a string, found 1",
            ),
        ] {
            let error_found = decode(raw.as_bytes(), &Limits::default()).expect_err(raw);
            assert_eq!(error_found.to_string(), error);
        }
    }
}
