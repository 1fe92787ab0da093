//! What is kept about a message while it is held, dead or delayed, and how it is marked when it returns.

use umbel_protocol::json::{self, Text, Writer};
use umbel_protocol::{Limits, Timestamp, envelope};
use uuid::Uuid;

use super::keys::Keys;
use crate::broker::{DeadLetter, DeadReason, Payload};

/// Every tag of ours begins with this; kombu's are bare uuids.
pub(super) const TAG_PREFIX: &str = "umbel:";

/// Between exchange and the envelope before it. In a JSON text these bytes cannot occur inside a string.
const TAIL: &[u8] = b", \"\", \"";

/// Between the parts of a delayed message's id.
const ID_SEPARATOR: char = '\u{1f}';

/// A message's way back: the list's name without prefix, and its envelope.
#[derive(Debug, PartialEq)]
pub(super) struct Returned {
    pub(super) list: String,
    pub(super) envelope: Vec<u8>,
}

/// What follows the envelope in the unacked record of a message from `queue`: kombu's exchange and routing key, by
/// which its sweep finds the queue again.
pub(super) fn tail(queue: &str) -> String {
    let mut writer = Writer::over(TAIL[..TAIL.len() - 1].to_vec());
    writer.string(queue);
    let mut tail = writer.into_bytes();
    tail.push(b']');
    String::from_utf8_lossy(&tail).into_owned()
}

/// Envelope and queue of a record written by us. The envelope may be any bytes.
pub(super) fn split_own(record: &[u8]) -> Option<(&[u8], String)> {
    let at = record.windows(TAIL.len()).rposition(|window| window == TAIL)?;
    let queue = record[at + TAIL.len() - 1..].strip_suffix(b"]")?;
    Some((record[..at].strip_prefix(b"[")?, text(std::str::from_utf8(queue).ok()?)?))
}

/// Envelope, exchange and routing key of a record written by kombu.
pub(super) fn split_foreign<'a>(record: &'a [u8], limits: &Limits) -> Option<(&'a str, String, String)> {
    let parts = json::elements(record, limits).ok()?;
    match parts[..] {
        [envelope, exchange, routing_key] => Some((envelope, text(exchange)?, text(routing_key)?)),
        _ => None,
    }
}

fn text(json: &str) -> Option<String> {
    match Text::read(json)? {
        Text::Plain(text) => Some(text.into_owned()),
        Text::Lossy(text) => Some(text),
    }
}

/// `envelope` on its way back to `queue`, marked as handed out before. What is no envelope goes back as it is.
pub(super) fn returned(envelope: &[u8], queue: &str, failed: bool, keys: &Keys, limits: &Limits) -> Returned {
    rewritten(envelope, queue, keys, limits, |properties| {
        properties.redelivered = true;
        properties.failed_deliveries = properties.failed_deliveries.saturating_add(u32::from(failed));
    })
}

/// `envelope` on its way back from the dead letters.
pub(super) fn replayed(envelope: &[u8], queue: &str, keys: &Keys, limits: &Limits) -> Returned {
    rewritten(envelope, queue, keys, limits, |properties| {
        properties.redelivered = true;
        properties.failed_deliveries = 0;
    })
}

fn rewritten(
    raw: &[u8],
    queue: &str,
    keys: &Keys,
    limits: &Limits,
    change: impl FnOnce(&mut umbel_protocol::Properties),
) -> Returned {
    match envelope::decode(raw, limits) {
        Ok(mut message) => {
            change(&mut message.properties);
            let tag = message.properties.delivery_tag.take().unwrap_or_else(|| Uuid::new_v4().to_string());
            let list = keys.list_name(queue, message.properties.priority);
            Returned { list, envelope: envelope::encode(&message, &tag) }
        }
        Err(_) => Returned { list: keys.list_name(queue, None), envelope: raw.to_vec() },
    }
}

/// The list (without prefix) that `envelope` belongs to when it goes to `queue`.
pub(super) fn list_name(raw: &[u8], queue: &str, keys: &Keys, limits: &Limits) -> String {
    let priority = envelope::decode(raw, limits).ok().and_then(|message| message.properties.priority);
    keys.list_name(queue, priority)
}

/// An id for a delayed message that tells its list.
pub(super) fn delayed_id(list: &str) -> String {
    format!("{}{ID_SEPARATOR}{list}", Uuid::new_v4())
}

/// The list of such an id.
pub(super) fn delayed_list(id: &str) -> Option<&str> {
    id.split_once(ID_SEPARATOR).map(|(_, list)| list)
}

/// A dead letter as it is stored: a line of JSON, then what it was.
pub(super) fn dead_record(queue: &str, reason: &DeadReason, raw: &[u8]) -> Vec<u8> {
    let mut writer = Writer::over(Vec::with_capacity(raw.len() + 128));
    writer.begin_object();
    for (name, value) in [("queue", queue), ("kind", &reason.kind), ("detail", &reason.detail)] {
        writer.key(name);
        writer.string(value);
    }
    writer.end_object();
    let mut record = writer.into_bytes();
    record.push(b'\n');
    record.extend_from_slice(raw);
    record
}

/// Queue, reason and content of a stored dead letter.
pub(super) fn split_dead<'a>(record: &'a [u8], limits: &Limits) -> Option<(String, DeadReason, &'a [u8])> {
    let end = record.iter().position(|byte| *byte == b'\n')?;
    let members = json::members(&record[..end], limits).ok()?;
    let field = |name: &str| text(members.iter().find(|member| member.name == name)?.raw);
    let reason = DeadReason { kind: field("kind")?, detail: field("detail")? };
    Some((field("queue")?, reason, &record[end + 1..]))
}

/// A stored dead letter for people.
pub(super) fn dead_letter(id: String, score: f64, record: &[u8], limits: &Limits) -> Option<DeadLetter> {
    let (queue, reason, raw) = split_dead(record, limits)?;
    Some(DeadLetter { id, queue, reason, at: Timestamp::from_seconds(score), payload: payload(raw.to_vec(), limits) })
}

/// Bytes from a list as a message, if they are one.
pub(super) fn payload(raw: Vec<u8>, limits: &Limits) -> Payload {
    match envelope::decode(&raw, limits) {
        Ok(message) => Payload::Message(Box::new(message)),
        Err(error) => Payload::Malformed { raw, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_what_kombu_writes_and_come_apart_again() {
        for queue in ["celery", "q\"uo\\te", "a, \"\", \"b", "ümlaut"] {
            for envelope in [br#"{"body": ", \"\", \""}"#.as_slice(), b"", b"\xff], \"\", \"x\"]"] {
                let record = [b"[", envelope, tail(queue).as_bytes()].concat();
                assert_eq!(split_own(&record), Some((envelope, queue.to_owned())));
            }
        }
        assert_eq!(tail("celery"), r#", "", "celery"]"#);
        assert_eq!(split_own(b"[]"), None);
    }

    #[test]
    fn kombus_own_records_come_apart() {
        let record = br#"[{"body": "[1, 2]"}, "ex", "k\u00e9y"]"#;
        let parts = split_foreign(record, &Limits::default()).expect("three parts");
        assert_eq!(parts, (r#"{"body": "[1, 2]"}"#, "ex".to_owned(), "kéy".to_owned()));
        assert_eq!(split_foreign(b"[1]", &Limits::default()), None);
    }

    #[test]
    fn dead_letters_keep_their_bytes() {
        let reason = DeadReason { kind: "undecodable".into(), detail: "line\nbreak \"q\"".into() };
        let record = dead_record("q", &reason, b"\xff\n{");
        let (queue, read, raw) = split_dead(&record, &Limits::default()).expect("a record");
        assert_eq!((queue.as_str(), read, raw), ("q", reason, b"\xff\n{".as_slice()));
    }

    #[test]
    fn delayed_ids_tell_their_list() {
        assert_eq!(delayed_list(&delayed_id("q\u{6}\u{16}3")), Some("q\u{6}\u{16}3"));
        assert_eq!(delayed_list("foreign"), None);
    }
}
