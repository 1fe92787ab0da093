//! Frames of RabbitMQ.

use std::time::Duration;

use umbel_amqp::wire::{Reader, Writer};
use umbel_amqp::{Connection, Event, Login, Method, Properties, Settings, Table};

use super::memory::bounded;

/// Bytes of memory for each byte received: `V` in an array is a value, in a vector that has just grown.
const TIMES: usize = 256;

/// A connection's own tables and buffers.
const RESERVED: usize = 1 << 20;

/// A session means the same however it is cut, and announced lengths reserve nothing. The first two bytes are a seed.
pub(super) fn amqp(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first_chunk::<2>() else { return };
    let mut sizes = fastrand::Rng::with_seed(u64::from(u16::from_le_bytes(*seed)));
    let whole = bounded(bytes.len() * TIMES + RESERVED, 1, || told(bytes, |rest| rest));
    let cut = told(bytes, |rest| sizes.usize(1..=rest.min(9)));
    // As text: of numbers that are none, none equals itself.
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    for event in &whole.0 {
        if let Event::Content { content, .. } = event {
            properties_come_back(&content.properties);
        }
    }
}

/// What a client makes of what a server says, `cut` into pieces from the moment on when it may open channels, and does.
fn told(mut bytes: &[u8], mut cut: impl FnMut(usize) -> usize) -> (Vec<Event>, Option<String>) {
    let settings = Settings {
        login: Login::Plain { user: "guest".to_owned(), password: "guest".to_owned() },
        virtual_host: "/".to_owned(),
        name: "fuzz".to_owned(),
        heartbeat: Duration::from_secs(60),
        frame_max: 131_072,
    };
    let mut connection = Connection::open(settings, Duration::ZERO);
    let (mut events, mut open) = (Vec::new(), false);
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(if open { cut(bytes.len()) } else { 1 });
        bytes = rest;
        let received = connection.receive(piece, Duration::ZERO);
        while let Some(event) = connection.next_event() {
            if matches!(event, Event::Opened { .. }) {
                open = true;
                (1..=3).for_each(|channel| drop(connection.send(channel, &Method::channel_open())));
            }
            events.push(event);
        }
        if let Err(error) = received {
            return (events, Some(error.to_string()));
        }
    }
    (events, None)
}

/// What was read of a content header or a table is written and read again as the same.
pub(super) fn header(data: &[u8]) {
    properties_come_back(data);
    if let Ok(table) = bounded(data.len() * TIMES + RESERVED, 1, || Table::read(&mut Reader::new(data, "table"))) {
        let mut out = Vec::new();
        if table.write(&mut Writer::new(&mut out)).is_ok() {
            let again = Table::read(&mut Reader::new(&out, "table")).expect("it was written");
            assert_eq!(format!("{again:?}"), format!("{table:?}"));
        }
    }
    if let Ok(method) = Method::decode(data) {
        let mut out = Vec::new();
        if method.encode(&mut Writer::new(&mut out)).is_ok() {
            assert_eq!(format!("{:?}", Method::decode(&out)), format!("{:?}", Ok::<_, ()>(method)));
        }
    }
}

/// Numbers that are none (NaN) are compared as text.
fn properties_come_back(data: &[u8]) {
    let Ok(properties) = bounded(data.len() * TIMES + RESERVED, 1, || Properties::decode(data)) else { return };
    // Names that were no UTF-8 may have grown too long.
    if let Ok(written) = properties.encode() {
        let again = Properties::decode(&written).expect("it was written");
        assert_eq!(format!("{again:?}"), format!("{properties:?}"));
    }
}
