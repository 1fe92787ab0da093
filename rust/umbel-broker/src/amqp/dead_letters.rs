//! Dead letters: messages in a queue of their own, with the reason in their headers. What that queue holds is read by taking
//! everything and giving it back, which changes neither order nor content.

use umbel_amqp::{Content, Link, Method, Properties, Table, Value};
use umbel_protocol::Timestamp;

use super::message;
use super::sender::{Item, Sender};
use super::topology::Topology;
use crate::broker::{DeadLetter, DeadReason};
use crate::error::Result;

/// Where they are.
pub(super) const QUEUE: &str = "umbel.dead";

const ID: &str = "umbel_dead_id";
const FROM: &str = "umbel_dead_queue";
const KIND: &str = "umbel_dead_kind";
const DETAIL: &str = "umbel_dead_detail";
const AT: &str = "umbel_dead_at";
/// Properties that could not be read, as they were.
const RAW: &str = "umbel_dead_properties";

/// Letters of a reason at most: headers must fit into a frame.
const LONGEST_DETAIL: usize = 2000;

/// The channel of who looks at them.
const CHANNEL: u16 = 1;

/// Takes asked for at once.
const AT_ONCE: usize = 500;

/// The dead letter that a message becomes.
pub(super) fn item<'a>(
    queue: &str,
    properties: &[u8],
    body: &'a [u8],
    reason: &DeadReason,
    now: Timestamp,
) -> Result<Item<'a>> {
    let mut letter = Properties::decode(properties).unwrap_or_else(|_| {
        let raw = Table(vec![(RAW.to_owned(), Value::Bytes(properties.to_vec()))]);
        Properties { headers: Some(raw), ..Properties::default() }
    });
    message::forget_the_way(&mut letter);
    // It is to stay, whatever was meant for the task.
    letter.expiration = None;
    letter.delivery_mode = Some(2);
    let detail: String = reason.detail.chars().take(LONGEST_DETAIL).collect();
    let headers = letter.headers.get_or_insert_default();
    headers.set(ID, uuid::Uuid::new_v4().to_string());
    headers.set(FROM, queue);
    headers.set(KIND, reason.kind.as_str());
    headers.set(DETAIL, detail);
    headers.set(AT, now.0);
    Item::to_queue(QUEUE, &letter, body)
}

/// What is known of a letter, and the message it was.
struct Opened {
    id: String,
    queue: String,
    reason: DeadReason,
    at: Timestamp,
    /// As they came to the queue.
    properties: Vec<u8>,
}

fn open(content: &Content) -> Opened {
    let mut properties = Properties::decode(&content.properties).unwrap_or_default();
    let headers = properties.headers.get_or_insert_default();
    let text = |name: &str| headers.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, queue, kind, detail) = (text(ID), text(FROM), text(KIND), text(DETAIL));
    let at = Timestamp(headers.get(AT).and_then(Value::as_i64).unwrap_or(0));
    let raw = match headers.get(RAW) {
        Some(Value::Bytes(raw)) => Some(raw.clone()),
        _ => None,
    };
    [ID, FROM, KIND, DETAIL, AT].iter().for_each(|name| headers.remove(name));
    // What was read can be written.
    let properties = raw.unwrap_or_else(|| properties.encode().unwrap_or_default());
    Opened { id, queue, reason: DeadReason { kind, detail }, at, properties }
}

/// That somebody has looked at a message changes nothing of it.
pub(super) fn forget_looks(content: &mut Content) {
    if let Method::BasicGetOk { redelivered, .. } = &mut content.method {
        *redelivered = false;
    }
}

fn letter(mut content: Content) -> DeadLetter {
    forget_looks(&mut content);
    let Opened { id, queue, reason, at, properties } = open(&content);
    content.properties = properties;
    let payload = message::payload(&mut content, &queue, &id);
    DeadLetter { id, queue, reason, at, payload }
}

/// Takes messages off `queue`, `most` of them or all, hands each to `visit`, which says whether it is done with, and gives the
/// others back.
pub(super) fn walk(
    link: &mut Link,
    topology: &mut Topology,
    queue: &str,
    most: usize,
    mut visit: impl FnMut(Content) -> umbel_amqp::Result<bool>,
) -> umbel_amqp::Result<()> {
    let Some(length) = topology.length(link, queue)? else { return Ok(()) };
    let mut left = most.min(usize::try_from(length).unwrap_or(usize::MAX));
    link.call(CHANNEL, &Method::channel_open())?;
    let mut visited = Ok(());
    while left > 0 && visited.is_ok() {
        let count = left.min(AT_ONCE);
        left -= count;
        for _ in 0..count {
            link.send(CHANNEL, &Method::get(queue))?;
        }
        for _ in 0..count {
            let Some(content) = link.got(CHANNEL)? else {
                left = 0;
                continue;
            };
            let Method::BasicGetOk { delivery_tag, .. } = content.method else { continue };
            if visited.is_err() {
                continue;
            }
            match visit(content) {
                Ok(false) => {}
                Ok(true) => link.send(CHANNEL, &Method::BasicAck { delivery_tag, multiple: false })?,
                Err(error) => visited = Err(error),
            }
        }
    }
    // What is not acknowledged goes back to its place, and is there once the queue answers.
    link.send(CHANNEL, &Method::BasicNack { delivery_tag: 0, multiple: true, requeue: true })?;
    link.call(CHANNEL, &Method::queue_look(queue))?;
    link.call(CHANNEL, &Method::ChannelClose { code: 200, text: String::new(), class: 0, method: 0 })?;
    visited
}

/// Letters from `offset` on.
pub(super) fn list(
    link: &mut Link,
    topology: &mut Topology,
    offset: usize,
    limit: usize,
) -> umbel_amqp::Result<Vec<DeadLetter>> {
    let (mut letters, mut seen) = (Vec::new(), 0);
    if limit == 0 {
        return Ok(letters);
    }
    walk(link, topology, QUEUE, offset.saturating_add(limit), |content| {
        if seen >= offset {
            letters.push(letter(content));
        }
        seen += 1;
        Ok(false)
    })?;
    Ok(letters)
}

/// The letter with this id.
pub(super) fn find(link: &mut Link, topology: &mut Topology, id: &str) -> umbel_amqp::Result<Option<DeadLetter>> {
    let mut found = None;
    walk(link, topology, QUEUE, usize::MAX, |content| {
        if found.is_none() && open(&content).id == id {
            found = Some(letter(content));
        }
        Ok(false)
    })?;
    Ok(found)
}

/// Ends letters with these ids, and says how many there were.
pub(super) fn remove(link: &mut Link, topology: &mut Topology, ids: &[String]) -> umbel_amqp::Result<u64> {
    let mut removed = 0;
    walk(link, topology, QUEUE, usize::MAX, |content| {
        let ours = ids.contains(&open(&content).id);
        removed += u64::from(ours);
        Ok(ours)
    })?;
    Ok(removed)
}

/// Sends letters with these ids back to the queues they came from. Each is there before it is no longer here.
pub(super) fn replay(
    link: &mut Link,
    topology: &mut Topology,
    ids: &[String],
    sender: &mut Sender,
) -> umbel_amqp::Result<Result<u64>> {
    let (mut replayed, mut failure) = (0, None);
    walk(link, topology, QUEUE, usize::MAX, |content| {
        let opened = open(&content);
        if failure.is_some() || !ids.contains(&opened.id) {
            return Ok(false);
        }
        let item = match Properties::decode(&opened.properties) {
            Ok(mut properties) => {
                message::forgive(&mut properties);
                Item::to_queue(&opened.queue, &properties, &content.body)
            }
            Err(_) => Ok(Item {
                destination: umbel_protocol::Destination::queue(opened.queue.as_str()),
                delayed_for: None,
                mandatory: true,
                properties: opened.properties,
                body: &content.body,
            }),
        };
        failure = item.and_then(|item| sender.send(&[item])).err();
        replayed += u64::from(failure.is_none());
        Ok(failure.is_none())
    })?;
    Ok(failure.map_or(Ok(replayed), Err))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Payload;

    fn taken(item: &Item<'_>) -> Content {
        let (exchange, routing_key) = (String::new(), QUEUE.to_owned());
        let method = Method::BasicGetOk { delivery_tag: 1, redelivered: true, exchange, routing_key, message_count: 0 };
        Content { method, properties: item.properties.clone(), body: item.body.to_vec() }
    }

    fn reason() -> DeadReason {
        DeadReason { kind: "rejected".to_owned(), detail: "because \u{e9}".repeat(3000) }
    }

    #[test]
    fn a_letter_is_the_message_it_was_with_its_reason() {
        let headers = Table::new().with("id", "x").with("x-death", "many words");
        let sent = Properties {
            headers: Some(headers),
            priority: Some(3),
            expiration: Some("5".to_owned()),
            ..Properties::default()
        };
        let item = item("q", &sent.encode().expect("short"), b"body", &reason(), Timestamp(7)).expect("a letter");
        assert_eq!(&item.destination.routing_key, QUEUE);
        let letter = letter(taken(&item));
        assert_eq!((letter.queue.as_str(), letter.at, letter.reason.kind.as_str()), ("q", Timestamp(7), "rejected"));
        assert_eq!(letter.reason.detail.chars().count(), LONGEST_DETAIL);
        let Payload::Message(message) = letter.payload else { panic!("{letter:?}") };
        assert_eq!(message.headers, r#"{"id": "x"}"#);
        assert_eq!((message.body.as_slice(), message.properties.priority), (&b"body"[..], Some(3)));
        assert_eq!((message.properties.expiration, message.properties.redelivered), (None, false));
    }

    #[test]
    fn properties_that_cannot_be_read_are_kept_as_they_are() {
        let raw = [0x20, 0, 0, 0, 0, 4, 1, b'a', b'?', 0];
        let item = item("q", &raw, b"body", &reason(), Timestamp(7)).expect("a letter");
        let content = taken(&item);
        assert_eq!(open(&content).properties, raw);
        let Payload::Malformed { raw, error } = letter(content).payload else { panic!("no message") };
        assert_eq!(raw, b"body");
        assert!(error.to_string().contains("type"), "{error}");
    }
}
