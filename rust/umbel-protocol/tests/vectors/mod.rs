//! The recordings of `tests/wire/vectors`, and what can be taken from them.
//!
//! Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use umbel_protocol::json::{self, Value};
use umbel_protocol::{Limits, base64};

/// One recording.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) captured: Value,
}

/// All recordings whose name starts with `prefix`, by name.
pub(crate) fn starting_with(prefix: &str) -> Vec<Vector> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire/vectors");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).expect("the folder of recordings") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "json") && name.starts_with(prefix) {
            found.insert(name, path);
        }
    }
    let read = |(name, path): (String, PathBuf)| {
        let document = json::parse(&fs::read(path).expect("readable"), &Limits::default()).expect("JSON");
        let captured = document.get("captured").expect("captured").clone();
        Vector { name, captured }
    };
    found.into_iter().map(read).collect()
}

/// One recording by name.
pub(crate) fn named(name: &str) -> Vector {
    let mut found = starting_with(name);
    assert!(!found.is_empty(), "no recording named {name}");
    assert_eq!(found[0].name, name);
    found.swap_remove(0)
}

/// Bytes as recordings hold them: text, or `{"base64": ..}`.
pub(crate) fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(_) => base64::decode(value.get("base64")?.as_str()?.as_bytes()),
        _ => None,
    }
}

impl Vector {
    /// Envelopes left in Redis lists.
    pub(crate) fn in_lists(&self) -> Vec<Vec<u8>> {
        let lists = self.captured.get("lists").and_then(Value::as_array).unwrap_or_default();
        lists.iter().filter_map(|item| bytes(item.get("raw")?)).collect()
    }

    /// Envelopes published to fanout channels: events and remote control.
    pub(crate) fn events(&self) -> Vec<Vec<u8>> {
        let published = |name| self.captured.get(name).and_then(Value::as_array).unwrap_or_default();
        published("events").iter().chain(published("pidbox")).filter_map(|item| bytes(item.get("raw")?)).collect()
    }

    /// Commands a client or worker sent to Redis.
    pub(crate) fn commands(&self) -> Vec<Vec<Vec<u8>>> {
        let lines = self.captured.get("monitor").and_then(Value::as_array).unwrap_or_default();
        lines.iter().filter_map(|line| Some(command(line.as_str()?))).collect()
    }

    /// Envelopes that were pushed to lists.
    pub(crate) fn pushed(&self) -> Vec<Vec<u8>> {
        let pushes = self.commands().into_iter().filter(|command| is(command, "LPUSH") || is(command, "RPUSH"));
        pushes.filter_map(|command| command.into_iter().nth(2)).collect()
    }

    /// What was recorded in the unacked hash.
    pub(crate) fn unacked(&self) -> Vec<Vec<u8>> {
        let recorded = self.commands().into_iter().filter(|command| is(command, "HSET") && command[1] == b"unacked");
        recorded.filter_map(|command| command.into_iter().nth(3)).collect()
    }

    /// Result records, with their keys: left in the store, or written on the way.
    pub(crate) fn records(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        collect_records(&self.captured, &mut found);
        for command in self.commands() {
            if is(&command, "SETEX") && String::from_utf8_lossy(&command[1]).contains("celery-task-meta-") {
                found.push((String::from_utf8_lossy(&command[1]).into_owned(), command[3].clone()));
            }
        }
        found
    }
}

fn collect_records(value: &Value, found: &mut Vec<(String, Vec<u8>)>) {
    for item in value.as_array().unwrap_or_default() {
        collect_records(item, found);
    }
    for (key, item) in value.as_object().unwrap_or_default() {
        let stored = ["value", "raw"].into_iter().find_map(|name| item.get(name)).unwrap_or(item);
        match bytes(stored) {
            Some(record) if key.contains("celery-task-meta-") => found.push((key.clone(), record)),
            _ => collect_records(item, found),
        }
    }
}

fn is(command: &[Vec<u8>], name: &str) -> bool {
    command.first().is_some_and(|first| first.eq_ignore_ascii_case(name.as_bytes()))
}

/// The arguments in a line of MONITOR.
fn command(line: &str) -> Vec<Vec<u8>> {
    let quoted = line.split_once(']').map_or("", |(_, rest)| rest);
    let mut arguments = Vec::new();
    let mut letters = quoted.chars();
    while letters.any(|letter| letter == '"') {
        let mut argument = Vec::new();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            argument.extend(match letter {
                '\\' => escaped(&mut letters),
                // Redis prints bytes; each came here as one letter.
                other => vec![u8::try_from(u32::from(other)).expect("a byte")],
            });
        }
        arguments.push(argument);
    }
    arguments
}

fn escaped(letters: &mut std::str::Chars<'_>) -> Vec<u8> {
    match letters.next().expect("an escaped letter") {
        'x' => {
            let hex: String = letters.by_ref().take(2).collect();
            vec![u8::from_str_radix(&hex, 16).expect("two hex digits")]
        }
        'n' => vec![b'\n'],
        'r' => vec![b'\r'],
        't' => vec![b'\t'],
        'a' => vec![7],
        'b' => vec![8],
        other => vec![u8::try_from(u32::from(other)).expect("a byte")],
    }
}
