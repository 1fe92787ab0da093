//! A task message as content of AMQP.
//!
//! Headers of ours beside those of the task, which nobody else minds:
//!
//! | header | what |
//! |---|---|
//! | `umbel_deliveries` | how often a delivery ended with a dead child or worker |
//! | `umbel_redelivered` | handed out before: set when a message is put back by publishing it again |
//! | `umbel_extra` | properties that AMQP has no place for, as JSON |
//! | `umbel_dead_*` | on dead letters: why, whence and since when |

use umbel_amqp::{Content, Malformed, Method, Properties, Table, Value};
use umbel_protocol::envelope::FAILED_DELIVERIES;
use umbel_protocol::json::{self, Writer};
use umbel_protocol::{Destination, Limits, Message};

use super::headers;
use super::topology::{DELIVERY, after_delay};
use crate::broker::Payload;
use crate::error::Result;

/// Handed out before.
const REDELIVERED: &str = "umbel_redelivered";
/// Other properties.
const EXTRA: &str = "umbel_extra";
/// What the headers of dead letters begin with.
const DEAD: &str = "umbel_dead_";

/// Headers that RabbitMQ adds to what it moves.
const OF_THE_SERVER: [&str; 9] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
    "x-acquired-count",
];

/// Whether a header is the transport's and no task's.
fn is_transports(name: &str) -> bool {
    matches!(name, FAILED_DELIVERIES | REDELIVERED | EXTRA) || name.starts_with(DEAD) || OF_THE_SERVER.contains(&name)
}

/// The properties of `message`.
///
/// # Errors
/// [`crate::BrokerError::Protocol`] for headers that AMQP cannot carry.
pub(super) fn properties(message: &Message, limits: &Limits) -> Result<Properties> {
    let given = &message.properties;
    let mut table = headers::read(&message.headers, limits)?;
    if given.failed_deliveries > 0 {
        table.set(FAILED_DELIVERIES, i64::from(given.failed_deliveries));
    }
    if given.redelivered {
        table.set(REDELIVERED, true);
    }
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut properties = Properties {
        content_type: text(&message.content_type),
        content_encoding: text(&message.content_encoding),
        headers: None,
        delivery_mode: given.delivery_mode.and_then(|mode| u8::try_from(mode).ok()),
        priority: Some(u8::try_from(given.priority.unwrap_or(0).clamp(0, 255)).unwrap_or(0)),
        correlation_id: given.correlation_id.clone(),
        reply_to: given.reply_to.clone(),
        expiration: given.expiration.clone(),
        ..Properties::default()
    };
    let rest = set_extra(&mut properties, &given.extra);
    if !rest.is_empty() {
        table.set(EXTRA, rest);
    }
    properties.headers = Some(table);
    Ok(properties)
}

/// Puts properties into their places; what has none is returned as JSON.
fn set_extra(properties: &mut Properties, extra: &[(String, String)]) -> String {
    let mut rest = Vec::new();
    for (name, text) in extra {
        let value = json::parse(text.as_bytes(), &Limits::default()).ok();
        let string = value.as_ref().and_then(json::Value::as_str).filter(|text| text.len() <= 255).map(str::to_owned);
        let place = match name.as_str() {
            "message_id" => Some(&mut properties.message_id),
            "type" => Some(&mut properties.kind),
            "app_id" => Some(&mut properties.app_id),
            "cluster_id" => Some(&mut properties.cluster_id),
            // The server checks it against the connection's user, which is none of the producer's of old.
            _ => None,
        };
        let seconds = value.as_ref().and_then(json::Value::as_i64).and_then(|seconds| u64::try_from(seconds).ok());
        match (place, string, seconds) {
            (Some(place), Some(string), _) => *place = Some(string),
            (None, None, Some(seconds)) if name == "timestamp" => properties.timestamp = Some(seconds),
            _ => rest.push((name, text)),
        }
    }
    if rest.is_empty() {
        return String::new();
    }
    let mut writer = Writer::new();
    writer.begin_object();
    for (name, text) in rest {
        writer.key(name);
        writer.raw(text);
    }
    writer.end_object();
    String::from_utf8(writer.into_bytes()).unwrap_or_default()
}

/// Where a content came from: exchange, routing key, and whether it had been handed out before.
pub(super) fn route(content: &Content) -> (&str, &str, bool) {
    match &content.method {
        Method::BasicDeliver { exchange, routing_key, redelivered, .. }
        | Method::BasicGetOk { exchange, routing_key, redelivered, .. } => (exchange, routing_key, *redelivered),
        Method::BasicReturn { exchange, routing_key, .. } => (exchange, routing_key, false),
        _ => ("", "", false),
    }
}

/// What was taken off `queue`; its body is taken out of `content`.
pub(super) fn payload(content: &mut Content, queue: &str, tag: &str) -> Payload {
    match Properties::decode(&content.properties) {
        Ok(properties) => Payload::Message(Box::new(message(content, properties, queue, tag))),
        Err(error) => Payload::Malformed { raw: std::mem::take(&mut content.body), error: malformed(error) },
    }
}

pub(super) fn malformed(error: Malformed) -> umbel_protocol::Malformed {
    umbel_protocol::Malformed::new(error.what, error.detail)
}

fn message(content: &mut Content, properties: Properties, queue: &str, tag: &str) -> Message {
    let body = std::mem::take(&mut content.body);
    let (exchange, routing_key, redelivered) = route(content);
    let table = properties.headers.unwrap_or_default();
    let failed = table.get(FAILED_DELIVERIES).and_then(Value::as_i64).unwrap_or(0);
    let marked = table.get(REDELIVERED).is_some();
    let destination = if exchange == DELIVERY && after_delay(routing_key).is_some() {
        // It came by way of the delay, which is nowhere to send anything to.
        Destination::queue(queue)
    } else {
        Destination { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() }
    };
    let mut extra = Vec::new();
    for (name, text) in [
        ("message_id", properties.message_id),
        ("type", properties.kind),
        ("app_id", properties.app_id),
        // py-amqp always writes an empty one.
        ("cluster_id", properties.cluster_id.filter(|id| !id.is_empty())),
        ("user_id", properties.user_id),
    ] {
        extra.extend(text.map(|text| (name.to_owned(), json::to_string(&text.into()))));
    }
    extra.extend(properties.timestamp.map(|seconds| ("timestamp".to_owned(), seconds.to_string())));
    extra.extend(other_extra(&table));
    Message {
        headers: headers::write(&table, is_transports),
        body,
        content_type: properties.content_type.unwrap_or_default(),
        content_encoding: properties.content_encoding.unwrap_or_default(),
        properties: umbel_protocol::Properties {
            correlation_id: properties.correlation_id,
            reply_to: properties.reply_to,
            delivery_mode: properties.delivery_mode.map(Into::into),
            priority: properties.priority.map(Into::into),
            expiration: properties.expiration,
            destination,
            delivery_tag: Some(tag.to_owned()),
            redelivered: redelivered || marked,
            failed_deliveries: u32::try_from(failed.max(0)).unwrap_or(u32::MAX),
            extra,
        },
    }
}

fn other_extra(table: &Table) -> Vec<(String, String)> {
    let text = table.get(EXTRA).and_then(Value::as_str).unwrap_or("{}");
    let Ok(members) = json::members(text.as_bytes(), &Limits::default()) else { return Vec::new() };
    members.into_iter().map(|member| (member.name.into_owned(), member.raw.to_owned())).collect()
}

/// How a message is marked that goes back by being published again.
pub(super) fn mark_returned(properties: &mut Properties, failed: bool) {
    let table = properties.headers.get_or_insert_default();
    table.set(REDELIVERED, true);
    if failed {
        let count = table.get(FAILED_DELIVERIES).and_then(Value::as_i64).unwrap_or(0);
        table.set(FAILED_DELIVERIES, count.max(0).saturating_add(1));
    }
    forget_the_way(properties);
}

/// Takes out what the server has written of the way so far, and would go on writing.
pub(super) fn forget_the_way(properties: &mut Properties) {
    if let Some(table) = &mut properties.headers {
        table.0.retain(|(name, _)| !OF_THE_SERVER.contains(&name.as_str()));
    }
}

/// Takes out the failed deliveries.
pub(super) fn forgive(properties: &mut Properties) {
    if let Some(table) = &mut properties.headers {
        table.remove(FAILED_DELIVERIES);
        table.remove(REDELIVERED);
    }
}
