//! Stored results: their keys, and whether one that a script cannot judge by its first bytes is a `SUCCESS`.

use std::time::Duration;

use umbel_protocol::{Limits, compression, json};

/// What Celery puts in front of a compressed record, followed by the codec's content type and a zero byte.
const COMPRESSED: &[u8] = b"\0celery-compressed\0";

/// What names of saved groups begin with.
const SAVED_GROUP: &str = "celery-taskset-meta-";

/// Key of a record, which is also the channel it is announced on: a task's, or a saved group's, whose name in the place
/// of a task id is the whole key (`celery-taskset-meta-<group id>`).
pub fn result_key(prefix: &str, task_id: &str) -> String {
    if task_id.starts_with(SAVED_GROUP) {
        return format!("{prefix}{task_id}");
    }
    format!("{prefix}celery-task-meta-{task_id}")
}

/// Key of what is kept of a group; those of its chord are this one with a suffix.
pub fn chord_key(prefix: &str, group: &str) -> String {
    format!("{prefix}celery-taskset-meta-{group}")
}

/// A record's life as scripts take it; at least a millisecond.
pub fn milliseconds(life: Duration) -> String {
    life.as_millis().max(1).to_string()
}

/// A flag as scripts take it.
pub fn flag(flag: bool) -> &'static str {
    if flag { "1" } else { "" }
}

/// What `final.lua` must be told of a stored record it asked for.
pub fn judgement(record: &[u8], limits: &Limits) -> Vec<u8> {
    let decision: &[u8] = if is_success(record, limits) { b"keep " } else { b"write " };
    [decision, record].concat()
}

/// True for a record of state `SUCCESS`, in any of Celery's serializers, compressed or not.
pub fn is_success(record: &[u8], limits: &Limits) -> bool {
    match record.strip_prefix(COMPRESSED) {
        Some(rest) => decompressed(rest, limits).is_some_and(|plain| plain_is_success(&plain, limits)),
        None => plain_is_success(record, limits),
    }
}

fn decompressed(rest: &[u8], limits: &Limits) -> Option<Vec<u8>> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let codec = std::str::from_utf8(&rest[..end]).ok()?;
    compression::decompress(codec, &rest[end + 1..], limits).ok()
}

fn plain_is_success(record: &[u8], limits: &Limits) -> bool {
    match record.first() {
        Some(0x80) if record.get(1).is_some_and(|version| (2..=5).contains(version)) => pickle_is_success(record),
        Some(0x80..=0x8f | 0xde | 0xdf) => msgpack_is_success(record),
        Some(b'{') => json_is_success(record, limits),
        _ => yaml_is_success(record),
    }
}

/// The keys of the map begin lines; what is nested is indented.
fn yaml_is_success(record: &[u8]) -> bool {
    record.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end() == b"status: SUCCESS")
}

fn json_is_success(record: &[u8], limits: &Limits) -> bool {
    let members = json::members(record, limits).unwrap_or_default();
    members.iter().any(|member| member.name == "status" && member.raw == "\"SUCCESS\"")
}

/// The status is the first member of the map.
fn msgpack_is_success(record: &[u8]) -> bool {
    let members = match record.first() {
        Some(0xde) => record.get(3..),
        Some(0xdf) => record.get(5..),
        _ => record.get(1..),
    };
    members.is_some_and(|members| members.starts_with(b"\xa6status\xa7SUCCESS"))
}

/// The status is the first item of the dictionary; strings carry their length, before protocol 4 in four bytes.
fn pickle_is_success(record: &[u8]) -> bool {
    const KEYS: [&[u8]; 2] = [b"\x8c\x06status", b"X\x06\0\0\0status"];
    const VALUES: [&[u8]; 2] = [b"\x8c\x07SUCCESS", b"X\x07\0\0\0SUCCESS"];
    let head = &record[..record.len().min(64)];
    let after_key = KEYS.iter().find_map(|key| {
        let at = head.windows(key.len()).position(|window| window == *key)?;
        Some(&head[at + key.len()..])
    });
    // Between the two strings there is at most the note that the key was memorized.
    after_key.is_some_and(|rest| {
        (0..4).any(|gap| rest.get(gap..).is_some_and(|rest| VALUES.iter().any(|value| rest.starts_with(value))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_known_in_every_serializer() {
        let limits = Limits::default();
        for (record, expected) in [
            (br#"{"result": 1, "status": "SUCCESS"}"#.as_slice(), true),
            (br#"{"result": "SUCCESS", "status": "FAILURE"}"#, false),
            (b"\x87\xa6status\xa7SUCCESS\xa6result\x01", true),
            (b"\x87\xa6status\xa7STARTED\xa6result\xa7SUCCESS", false),
            (b"\xde\0\x10\xa6status\xa7SUCCESS\xa6result\x01", true),
            (b"\x80\x02}q\0(X\x06\0\0\0statusq\x01X\x07\0\0\0SUCCESSq\x02X\x06\0\0\0result", true),
            (b"\x80\x02}q\0(X\x06\0\0\0statusq\x01X\x07\0\0\0STARTEDq\x02X\x07\0\0\0SUCCESS", false),
            (b"\x80\x04\x95\x1d\0\0\0\0\0\0\0}\x94(\x8c\x06status\x94\x8c\x07SUCCESS\x94\x8c\x06result", true),
            (b"\x80\x04\x95\x1d\0\0\0\0\0\0\0}\x94(\x8c\x06status\x94\x8c\x08progress\x94\x8c\x07SUCCESS", false),
            (b"children: null\nresult:\n  status: STARTED\nstatus: SUCCESS\ntask_id: x\n", true),
            (b"children: null\nresult:\n  status: SUCCESS\nstatus: STARTED\n", false),
            (b"", false),
            (b"\xff", false),
            (b"\0celery-compressed\0application/x-gzip\0garbage", false),
        ] {
            assert_eq!(is_success(record, &limits), expected, "{record:?}");
        }
    }

    #[test]
    fn success_is_known_under_compression() {
        let limits = Limits::default();
        let codec = compression::Codec::named("zlib").expect("zlib");
        for (plain, expected) in [(br#"{"status": "SUCCESS"}"#, true), (br#"{"status": "STARTED"}"#, false)] {
            let packed = codec.compress(plain).expect("packed");
            let record = [COMPRESSED, codec.content_type().as_bytes(), b"\0", &packed].concat();
            assert_eq!(is_success(&record, &limits), expected);
        }
    }
}
