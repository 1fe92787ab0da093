//! Laws of the codec and the connection, for any value and any bytes.

use std::time::Duration;

use proptest::prelude::*;
use umbel_amqp::frame::{self, Kind};
use umbel_amqp::method::{Ticket, Unused};
use umbel_amqp::wire::{Reader, Writer};
use umbel_amqp::{Connection, Error, Event, Login, Method, Properties, Settings, Table, Value};

fn name() -> impl Strategy<Value = String> {
    "[a-z.*#\u{e9} ]{0,20}"
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        (-1e9..1e9_f32).prop_map(Value::F32),
        (-1e300..1e300).prop_map(Value::F64),
        any::<(u8, u32)>().prop_map(|(scale, digits)| Value::Decimal { scale, digits }),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::String),
        any::<u64>().prop_map(Value::Timestamp),
        Just(Value::Void),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..6).prop_map(|fields| Value::Table(Table(fields))),
        ]
    })
}

fn table() -> impl Strategy<Value = Table> {
    prop::collection::vec((name(), value()), 0..8).prop_map(Table)
}

prop_compose! {
    fn properties()(
        texts in prop::collection::vec(prop::option::of(name()), 10),
        headers in prop::option::of(table()),
        octets in any::<(Option<u8>, Option<u8>)>(),
        timestamp in any::<Option<u64>>(),
    ) -> Properties {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        Properties {
            content_type: text(), content_encoding: text(), headers, delivery_mode: octets.0, priority: octets.1,
            correlation_id: text(), reply_to: text(), expiration: text(), message_id: text(), timestamp, kind: text(),
            user_id: text(), app_id: text(), cluster_id: text(),
        }
    }
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        (name(), any::<u64>(), any::<bool>(), name(), name()).prop_map(
            |(consumer_tag, delivery_tag, redelivered, exchange, routing_key)| Method::BasicDeliver {
                consumer_tag,
                delivery_tag,
                redelivered,
                exchange,
                routing_key,
            }
        ),
        (name(), name(), any::<[bool; 5]>(), table()).prop_map(|(exchange, kind, bits, arguments)| {
            let [passive, durable, auto_delete, internal, no_wait] = bits;
            let ticket = Ticket;
            Method::ExchangeDeclare {
                ticket,
                exchange,
                kind,
                passive,
                durable,
                auto_delete,
                internal,
                no_wait,
                arguments,
            }
        }),
        (any::<u8>(), any::<u8>(), table(), any::<Vec<u8>>(), any::<Vec<u8>>()).prop_map(
            |(major, minor, server_properties, mechanisms, locales)| Method::ConnectionStart {
                major,
                minor,
                server_properties,
                mechanisms,
                locales,
            }
        ),
        (any::<u64>(), any::<bool>(), any::<bool>()).prop_map(|(delivery_tag, multiple, requeue)| Method::BasicNack {
            delivery_tag,
            multiple,
            requeue
        }),
        (name(), any::<u32>(), any::<u32>()).prop_map(|(queue, message_count, consumer_count)| {
            Method::QueueDeclareOk { queue, message_count, consumer_count }
        }),
        Just(Method::ConnectionOpenOk { known_hosts: Unused }),
        Just(Method::TxCommit),
    ]
}

fn written(method: &Method) -> Vec<u8> {
    let mut out = Vec::new();
    method.encode(&mut Writer::new(&mut out)).expect("short names");
    out
}

fn frame_of(kind: Kind, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, kind, channel, payload);
    out
}

fn settings() -> Settings {
    Settings {
        login: Login::External,
        virtual_host: "/".into(),
        name: "t".into(),
        heartbeat: Duration::from_secs(10),
        frame_max: 8192,
    }
}

/// What a server says until the connection is open.
fn greeting() -> Vec<u8> {
    let start = Method::ConnectionStart {
        major: 0,
        minor: 9,
        server_properties: Table::new(),
        mechanisms: b"PLAIN EXTERNAL".to_vec(),
        locales: b"en_US".to_vec(),
    };
    let tune = Method::ConnectionTune { channel_max: 0, frame_max: 0, heartbeat: 60 };
    let open = Method::ConnectionOpenOk { known_hosts: Unused };
    [start, tune, open].iter().flat_map(|method| frame_of(Kind::Method, 0, &written(method))).collect()
}

/// An open connection with three open channels.
fn opened() -> Connection {
    let mut connection = Connection::open(settings(), Duration::ZERO);
    connection.receive(&greeting(), Duration::ZERO).expect("a sound greeting");
    assert!(matches!(connection.next_event(), Some(Event::Opened { .. })));
    for channel in 1..=3 {
        connection.send(channel, &Method::channel_open()).expect("open");
    }
    connection.output().clear();
    connection
}

type Told = (Vec<Event>, Vec<u8>, Option<String>);

/// What a connection makes of `bytes` in `pieces`.
fn tell<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut connection = opened();
    let mut error = None;
    for piece in pieces {
        if let Err(found) = connection.receive(piece, Duration::ZERO) {
            error = Some(found.to_string());
            break;
        }
    }
    let events = std::iter::from_fn(|| connection.next_event()).collect();
    (events, connection.output().clone(), error)
}

/// Messages in frames, on two channels that take turns.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let message = (any::<bool>(), properties(), prop::collection::vec(any::<u8>(), 0..300));
    prop::collection::vec(message, 1..6).prop_map(|messages| {
        let mut out = Vec::new();
        for (number, (other, properties, body)) in messages.into_iter().enumerate() {
            let channel = 1 + u16::from(other);
            let deliver = Method::BasicDeliver {
                consumer_tag: "c".into(),
                delivery_tag: number as u64,
                redelivered: other,
                exchange: String::new(),
                routing_key: "q".into(),
            };
            let header = [
                &60_u16.to_be_bytes()[..],
                &[0, 0],
                &(body.len() as u64).to_be_bytes(),
                &properties.encode().expect("short"),
            ]
            .concat();
            out.extend(frame_of(Kind::Method, channel, &written(&deliver)));
            out.extend(frame_of(Kind::Header, channel, &header));
            body.chunks(100).for_each(|piece| out.extend(frame_of(Kind::Body, channel, piece)));
            out.extend(frame_of(Kind::Heartbeat, 0, &[]));
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn tables_come_back(table in table()) {
        let mut out = Vec::new();
        table.write(&mut Writer::new(&mut out)).expect("short names");
        let mut reader = Reader::new(&out, "table");
        prop_assert_eq!(Table::read(&mut reader), Ok(table));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn properties_come_back(properties in properties()) {
        prop_assert_eq!(Properties::decode(&properties.encode().expect("short")), Ok(properties));
    }

    #[test]
    fn methods_come_back(method in method()) {
        prop_assert_eq!(Method::decode(&written(&method)), Ok(method));
    }

    #[test]
    fn a_stream_means_the_same_however_it_is_cut(bytes in messages(), cuts in prop::collection::vec(1..60_usize, 1..40)) {
        let whole = tell([&bytes[..]]);
        let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(tell(pieces), whole);
    }

    #[test]
    fn sound_messages_all_arrive(bytes in messages()) {
        let (events, _, error) = tell([&bytes[..]]);
        prop_assert_eq!(error, None);
        prop_assert!(events.iter().all(|event| matches!(event, Event::Content { .. })), "{:?}", events);
    }

    #[test]
    fn no_bytes_are_more_than_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), sound in messages()) {
        let mut connection = Connection::open(settings(), Duration::ZERO);
        let _ = connection.receive(&bytes, Duration::ZERO);
        // Sound bytes with something in their midst.
        let at = at.index(sound.len());
        let spoilt = [&sound[..at], &bytes, &sound[at..]].concat();
        let whole = tell([&spoilt[..]]);
        let cut = tell(spoilt.chunks(1));
        prop_assert_eq!(whole, cut);
        let _ = (Method::decode(&bytes), Properties::decode(&bytes));
    }
}

#[test]
fn names_that_are_too_long_are_not_sent() {
    let mut connection = opened();
    let long = "q".repeat(256);
    let error = connection.send(1, &Method::queue_look(&long)).expect_err("too long");
    assert!(matches!(error, Error::Unsendable(_)), "{error:?}");
    let headers = Table::new().with("a", "x".repeat(9000));
    let properties = Properties { headers: Some(headers), ..Properties::default() }.encode().expect("a header");
    let error = connection.publish(1, &Method::publish("", "q", true), &properties, b"").expect_err("too long");
    assert!(matches!(error, Error::Unsendable(_)), "{error:?}");
    assert!(connection.output().is_empty(), "nothing of it is sent");
}

#[test]
fn bodies_are_cut_to_the_size_that_was_agreed_on() {
    let mut connection = opened();
    let properties = Properties::default().encode().expect("nothing");
    connection.publish(1, &Method::publish("", "q", true), &properties, &[7; 20_000]).expect("sent");
    let (mut rest, mut sizes) = (&connection.output()[..], Vec::new());
    while let Some((frame, length)) = frame::split(rest, 8192 - frame::OVERHEAD).expect("frames") {
        sizes.push((frame.kind, frame.payload.len()));
        rest = &rest[length..];
    }
    assert_eq!(sizes[2..], [(Kind::Body, 8184), (Kind::Body, 8184), (Kind::Body, 3632)]);
}

#[test]
fn silence_is_noticed_and_signs_of_life_are_given() {
    let mut connection = opened();
    let at = Duration::from_secs;
    assert_eq!(connection.next_tick(), Some(at(5)));
    connection.tick(at(4)).expect("not yet");
    assert!(connection.output().is_empty());
    connection.tick(at(5)).expect("alive");
    assert_eq!(connection.output(), &frame_of(Kind::Heartbeat, 0, &[]));
    connection.sent(at(5));
    connection.receive(&frame_of(Kind::Heartbeat, 0, &[]), at(15)).expect("alive");
    connection.tick(at(34)).expect("alive");
    assert!(matches!(connection.tick(at(35)), Err(Error::Silent(_))));
}

#[test]
fn closing_is_answered_and_what_comes_on_closed_channels_is_left_out() {
    let mut connection = opened();
    let deliver = Method::BasicDeliver {
        consumer_tag: "c".into(),
        delivery_tag: 1,
        redelivered: false,
        exchange: String::new(),
        routing_key: "q".into(),
    };
    let close = Method::ChannelClose { code: 406, text: "no".into(), class: 60, method: 80 };
    connection.receive(&frame_of(Kind::Method, 2, &written(&close)), Duration::ZERO).expect("taken");
    assert!(matches!(connection.next_event(), Some(Event::ChannelClosed { channel: 2, reason }) if reason.code == 406));
    assert_eq!(connection.output(), &frame_of(Kind::Method, 2, &written(&Method::ChannelCloseOk)));
    connection.send(1, &Method::ChannelClose { code: 200, text: String::new(), class: 0, method: 0 }).expect("sent");
    connection.receive(&frame_of(Kind::Method, 1, &written(&deliver)), Duration::ZERO).expect("left out");
    connection.receive(&frame_of(Kind::Body, 1, b"x"), Duration::ZERO).expect("left out");
    assert_eq!(connection.next_event(), None);
    let error = connection.receive(&frame_of(Kind::Body, 3, b"x"), Duration::ZERO).expect_err("no message began");
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}

#[test]
fn a_refused_login_is_told_in_the_servers_words() {
    let mut connection = Connection::open(settings(), Duration::ZERO);
    let greeting = greeting();
    let (_, start) = frame::split(&greeting, 1 << 20).expect("a frame").expect("all of it");
    connection.receive(&greeting[..start], Duration::ZERO).expect("taken");
    let close =
        Method::ConnectionClose { code: 403, text: "ACCESS_REFUSED - Login was refused".into(), class: 0, method: 0 };
    let error = connection.receive(&frame_of(Kind::Method, 0, &written(&close)), Duration::ZERO).expect_err("refused");
    assert!(matches!(&error, Error::Refused(text) if text.contains("Login was refused")), "{error:?}");
}
