//! Celery's sessions with RabbitMQ, frame by frame: what is read is written as the same bytes, and a whole session makes sense.

mod sessions;

use std::time::Duration;

use sessions::{Recorded, session};
use umbel_amqp::frame::{self, Kind};
use umbel_amqp::wire::Writer;
use umbel_amqp::{Connection, Event, Login, Method, Properties, Settings, Value};

const LARGEST: usize = 1 << 20;

fn settings() -> Settings {
    Settings {
        login: Login::Plain { user: "guest".to_owned(), password: "guest".to_owned() },
        virtual_host: "/".to_owned(),
        name: "test".to_owned(),
        heartbeat: Duration::ZERO,
        frame_max: 131_072,
    }
}

/// Integers of 64 bits have two letters: py-amqp writes one, RabbitMQ the other.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let same = |(one, other): (&u8, &u8)| one == other || matches!((one, other), (b'L', b'l'));
    one.len() == other.len() && one.iter().zip(other).all(same)
}

#[test]
fn every_frame_is_read_under_its_name_and_written_as_it_was() {
    let mut seen = std::collections::BTreeSet::new();
    for Recorded { name, bytes, .. } in sessions::all() {
        if name == "ProtocolHeader" {
            assert_eq!(bytes, frame::PROTOCOL_HEADER);
            continue;
        }
        let (found, length) = frame::split(&bytes, LARGEST).expect("a frame").expect("all of it");
        assert_eq!(length, bytes.len());
        match found.kind {
            Kind::Method => {
                let method = Method::decode(found.payload).expect("a method");
                assert_eq!(method.name(), name.replace('.', ""));
                let mut written = Vec::new();
                method.encode(&mut Writer::new(&mut written)).expect("written");
                assert!(is_same(&written, found.payload), "{name}");
                seen.insert(method.name());
            }
            Kind::Header => {
                let properties = Properties::decode(&found.payload[12..]).expect("properties");
                assert!(is_same(&properties.encode().expect("written"), &found.payload[12..]), "{properties:?}");
            }
            Kind::Body | Kind::Heartbeat => {}
        }
    }
    assert!(seen.len() >= 25, "only {} methods were recorded: {seen:?}", seen.len());
}

#[test]
fn headers_of_a_task_have_the_types_of_celery() {
    let frames = session("delay_simple", 1);
    let header = frames.iter().find(|frame| frame.name == "header").expect("a header");
    let (found, _) = frame::split(&header.bytes, LARGEST).expect("a frame").expect("all of it");
    let properties = Properties::decode(&found.payload[12..]).expect("properties");
    let headers = properties.headers.expect("headers");
    assert_eq!(headers.get("task").and_then(Value::as_str), Some("wire.add"));
    assert_eq!(headers.get("eta"), Some(&Value::Void));
    assert_eq!(headers.get("retries"), Some(&Value::I32(0)));
    assert_eq!(headers.get("timelimit"), Some(&Value::Array(vec![Value::Void, Value::Void])));
    assert_eq!((properties.delivery_mode, properties.priority), (Some(2), Some(0)));
}

/// Plays the server's side of a session to a client of ours that has opened the same channels.
fn events(frames: &[Recorded], piece: usize) -> Vec<Event> {
    let mut connection = Connection::open(settings(), Duration::ZERO);
    let mut events = Vec::new();
    for frame in frames.iter().filter(|frame| frame.name != "ProtocolHeader") {
        if frame.from_server {
            for piece in frame.bytes.chunks(piece) {
                connection.receive(piece, Duration::ZERO).expect("a sound session");
            }
            events.extend(std::iter::from_fn(|| connection.next_event()));
        } else if frame.name == "Channel.Open" {
            connection.send(frame.channel, &Method::channel_open()).expect("an open connection");
        }
    }
    events
}

#[test]
fn a_session_means_the_same_however_it_is_cut() {
    for (name, connection) in [("delay_simple", 1), ("confirm_delay_simple", 2), ("run_success", 4), ("run_success", 6)]
    {
        let frames = session(name, connection);
        let whole = events(&frames, usize::MAX);
        for piece in [1, 2, 3, 7, 50] {
            assert_eq!(events(&frames, piece), whole, "{name} in pieces of {piece} bytes");
        }
    }
}

#[test]
fn a_session_is_told_in_events() {
    let told = events(&session("confirm_delay_simple", 2), usize::MAX);
    let Some(Event::Opened { server, tuned }) = told.first() else { panic!("{told:?}") };
    assert_eq!(server.get("product").and_then(Value::as_str), Some("RabbitMQ"));
    assert_eq!((tuned.channel_max, tuned.frame_max), (2047, 131_072));
    assert!(
        told.iter().any(|event| matches!(
            event,
            Event::Method { channel: 1, method: Method::BasicAck { delivery_tag: 1, multiple: false } }
        )),
        "{told:?}"
    );
}

#[test]
fn a_publish_to_an_exchange_that_is_not_there_closes_the_channel() {
    let frames = session("quorum_countdown", 1);
    let close = frames.last().expect("frames");
    let (found, _) = frame::split(&close.bytes, LARGEST).expect("a frame").expect("all of it");
    let method = Method::decode(found.payload).expect("a method");
    assert!(matches!(method, Method::ChannelClose { code: 404, class: 60, method: 40, .. }), "{method:?}");
}
