//! The recordings, frame by frame.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::path::PathBuf;

use umbel_protocol::json::{self, Value};
use umbel_protocol::{Limits, base64};

/// One frame of a recording.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) connection: i64,
    pub(crate) channel: u16,
    pub(crate) from_server: bool,
    pub(crate) bytes: Vec<u8>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../umbel-amqp/tests/recorded")
}

fn frames(file: &str) -> Vec<Recorded> {
    let text = fs::read(folder().join(file)).expect("a recording");
    let document = json::parse(&text, &Limits::default()).expect("JSON");
    let frames = document.get("captured").and_then(|captured| captured.get("frames")).and_then(Value::as_array);
    frames.expect("frames").iter().map(frame).collect()
}

fn frame(frame: &Value) -> Recorded {
    let number = |name: &str| frame.get(name).and_then(Value::as_i64).unwrap_or_default();
    let text = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or_default();
    let bytes = match frame.get("bytes").expect("bytes") {
        Value::String(text) => text.clone().into_bytes(),
        encoded => {
            let text = encoded.get("base64").and_then(Value::as_str).expect("base64");
            base64::decode(text.as_bytes()).expect("base64")
        }
    };
    Recorded {
        name: text("frame").to_owned(),
        connection: number("conn"),
        channel: u16::try_from(number("channel")).expect("a channel"),
        from_server: text("from") == "server",
        bytes,
    }
}

/// Every frame of every recording.
pub(crate) fn all() -> Vec<Recorded> {
    let files = fs::read_dir(folder()).expect("the folder");
    let names = files.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".json")).flat_map(|name| frames(&name)).collect()
}

/// The frames of a recording.
pub(crate) fn all_of(name: &str) -> Vec<Recorded> {
    frames(&format!("{name}.json"))
}

/// The frames of one connection of a recording.
pub(crate) fn session(name: &str, connection: i64) -> Vec<Recorded> {
    all_of(name).into_iter().filter(|frame| frame.connection == connection).collect()
}
