//! A message's content as a row of `messages`.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use umbel_protocol::{Destination, Malformed, Message, Properties};

use super::fault::Fault;
use crate::broker::{Outgoing, Payload};

/// Writes a message on its way to one queue; says its number.
pub(super) fn insert(connection: &Connection, outgoing: &Outgoing) -> Result<i64, Fault> {
    let message = &outgoing.message;
    let properties = &message.properties;
    let mut insert = connection.prepare_cached(
        "INSERT INTO messages (exchange, routing_key, content_type, content_encoding, correlation_id, reply_to,
                               delivery_mode, priority, expiration, extra, headers, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    Ok(insert.insert(params![
        outgoing.destination.exchange,
        outgoing.destination.routing_key,
        message.content_type,
        message.content_encoding,
        properties.correlation_id,
        properties.reply_to,
        properties.delivery_mode,
        properties.priority,
        properties.expiration,
        join(&properties.extra),
        message.headers,
        message.body,
    ])?)
}

/// Forgets a message that is done.
pub(super) fn delete(connection: &Connection, message: i64) -> Result<(), Fault> {
    connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([message])?;
    Ok(())
}

/// Reads a message. A row that holds none (nobody but a person with a shell could have written it) is delivered as
/// malformed: it must end with the dead letters, not stop the queue.
pub(super) fn read(connection: &Connection, message: i64, failed: u32, redelivered: bool) -> Result<Payload, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT exchange, routing_key, content_type, content_encoding, correlation_id, reply_to,
                delivery_mode, priority, expiration, extra, headers, body
         FROM messages WHERE id = ?1",
    )?;
    let found = select.query_row([message], |row| Ok(payload(row, message, failed, redelivered))).optional()?;
    Ok(found.unwrap_or_else(|| Payload::Malformed {
        raw: Vec::new(),
        error: Malformed::new("message", format!("row {message} of table messages is gone")),
    }))
}

fn payload(row: &Row<'_>, number: i64, failed: u32, redelivered: bool) -> Payload {
    match message(row, number, failed, redelivered) {
        Ok(message) => Payload::Message(Box::new(message)),
        Err(error) => {
            let raw = match row.get_ref(11) {
                Ok(ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => bytes.to_vec(),
                _ => Vec::new(),
            };
            Payload::Malformed { raw, error }
        }
    }
}

fn message(row: &Row<'_>, number: i64, failed: u32, redelivered: bool) -> Result<Message, Malformed> {
    if matches!(row.get_ref(10), Ok(ValueRef::Null)) {
        return Err(Malformed::new("message", "the bytes form no message"));
    }
    let wrong = |error: rusqlite::Error| Malformed::new("message", format!("row {number}: {error}"));
    let extra: Option<String> = row.get(9).map_err(wrong)?;
    let properties = Properties {
        correlation_id: row.get(4).map_err(wrong)?,
        reply_to: row.get(5).map_err(wrong)?,
        delivery_mode: row.get(6).map_err(wrong)?,
        priority: row.get(7).map_err(wrong)?,
        expiration: row.get(8).map_err(wrong)?,
        destination: Destination { exchange: row.get(0).map_err(wrong)?, routing_key: row.get(1).map_err(wrong)? },
        delivery_tag: Some(number.to_string()),
        redelivered,
        failed_deliveries: failed,
        extra: split(extra.as_deref().unwrap_or(""))?,
    };
    Ok(Message {
        headers: row.get(10).map_err(wrong)?,
        body: row.get(11).map_err(wrong)?,
        content_type: row.get(2).map_err(wrong)?,
        content_encoding: row.get(3).map_err(wrong)?,
        properties,
    })
}

/// Further properties as one text: name and value in turn, each with its length in front (`3:abc`), so that neither
/// needs escapes and no JSON is taken apart. `None` for none.
fn join(extra: &[(String, String)]) -> Option<String> {
    use std::fmt::Write;
    if extra.is_empty() {
        return None;
    }
    let mut joined = String::new();
    for part in extra.iter().flat_map(|(name, value)| [name, value]) {
        // Writing into a String cannot fail.
        let _ = write!(joined, "{}:{part}", part.len());
    }
    Some(joined)
}

fn split(joined: &str) -> Result<Vec<(String, String)>, Malformed> {
    let mut rest = joined;
    let mut extra = Vec::new();
    while !rest.is_empty() {
        let name = next_part(&mut rest)?;
        let value = next_part(&mut rest)?;
        extra.push((name, value));
    }
    Ok(extra)
}

fn next_part(rest: &mut &str) -> Result<String, Malformed> {
    let parsed = rest.split_once(':').and_then(|(length, after)| {
        let length: usize = length.parse().ok()?;
        Some((after.get(..length)?, after.get(length..)?))
    });
    let (part, after) = parsed.ok_or_else(|| Malformed::new("column 'extra'", "not length-prefixed text"))?;
    *rest = after;
    Ok(part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_properties_make_the_round_trip() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        for extra in [pairs(&[]), pairs(&[("a", "1")]), pairs(&[("ü:3:", "\"é:\""), ("", ""), ("a", "null")])] {
            let joined = join(&extra);
            assert_eq!(split(joined.as_deref().unwrap_or("")).expect("split"), extra);
        }
    }

    #[test]
    fn broken_extra_properties_are_malformed() {
        for joined in ["x", "3:ab", "1:a", "-1:a1:b", "1:é1:b", "99999999999999999999:a", ":"] {
            assert!(split(joined).is_err(), "{joined:?}");
        }
    }
}
