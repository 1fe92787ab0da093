//! Every recorded message is read, and written back as it was.

mod vectors;

use std::time::Duration;

use umbel_protocol::body::{self, Body, BodyText};
use umbel_protocol::compression::Codec;
use umbel_protocol::content::Serializer;
use umbel_protocol::json::{self, Value};
use umbel_protocol::{
    Limits, Message, NeedsPython, Protocol, ReadError, ReadOptions, TaskFacts, TaskHeaders, Zone, envelope, iso8601,
    msgpack,
};
use vectors::Vector;

fn decode(raw: &[u8]) -> Message {
    envelope::decode(raw, &Limits::default())
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(raw)))
}

fn headers_of(message: &Message) -> TaskHeaders {
    TaskHeaders::parse(message, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}: {}", message.headers))
}

fn only(name: &str) -> (Message, TaskHeaders) {
    let found = vectors::named(name).in_lists();
    assert_eq!(found.len(), 1, "{name}");
    let message = decode(&found[0]);
    let headers = headers_of(&message);
    (message, headers)
}

fn assert_written_back(raw: &[u8], message: &Message, place: &str) {
    let tag = message.properties.delivery_tag.as_deref().unwrap_or_else(|| panic!("{place} has no tag"));
    let written = envelope::encode(message, tag);
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(raw), "{place}");
}

fn json_bodies_are_written_back(message: &Message, headers: &TaskHeaders, place: &str) {
    let unpacked = match body::unpack(&message.body, headers.facts.compression.as_deref(), &Limits::default()) {
        Ok(unpacked) => unpacked,
        Err(ReadError::NeedsPython(NeedsPython::Compression(_))) => return,
        Err(error) => panic!("{place}: {error}"),
    };
    match Serializer::named(&message.content_type) {
        Some(Serializer::Json) => {
            let value = json::parse(&unpacked, &Limits::default()).expect("JSON");
            assert_eq!(json::to_string(&value), String::from_utf8_lossy(&unpacked), "{place}");
            let split = BodyText::split(&unpacked, &Limits::default()).expect("a body");
            if headers.facts.protocol == Protocol::Two {
                assert_eq!(split.write(), *unpacked, "{place}");
            }
        }
        Some(Serializer::Msgpack) => {
            let value = msgpack::decode(&unpacked, &Limits::default()).expect("msgpack");
            if !place.ends_with("_bytes") {
                assert_eq!(msgpack::encode(&value).expect("fits"), *unpacked, "{place}");
            }
        }
        other => assert!(matches!(other, Some(Serializer::Pickle | Serializer::Yaml)), "{place}"),
    }
}

#[test]
fn messages_in_lists_are_read_and_written_back_byte_for_byte() {
    let mut seen = 0;
    for vector in vectors::starting_with("msg_") {
        for raw in vector.in_lists() {
            let message = decode(&raw);
            assert_written_back(&raw, &message, &vector.name);
            let headers = headers_of(&message);
            agrees_with_its_text(&message, &headers, &vector.name);
            json_bodies_are_written_back(&message, &headers, &vector.name);
            seen += 1;
        }
    }
    assert!(seen >= 100, "{seen} messages");
}

#[test]
fn messages_and_events_of_whole_runs_are_read_and_written_back() {
    for vector in vectors::starting_with("run_").iter().chain(&vectors::starting_with("trace_redis_")) {
        for raw in vector.events().iter().chain(&vector.pushed()).filter(|raw| raw.starts_with(b"{")) {
            let message = decode(raw);
            if has_all_of_kombus_properties(raw) {
                assert_written_back(raw, &message, &vector.name);
            }
        }
    }
}

/// Some messages were made by hand, to see how a worker takes them.
fn has_all_of_kombus_properties(raw: &[u8]) -> bool {
    let value = json::parse(raw, &Limits::default()).expect("JSON");
    let properties = value.get("properties").expect("properties");
    ["delivery_mode", "delivery_info", "priority", "body_encoding"].iter().all(|name| properties.get(name).is_some())
}

#[test]
fn records_of_the_unacked_hash_hold_an_envelope_and_its_destination() {
    let mut seen = 0;
    for vector in vectors::starting_with("trace_redis_").iter().chain(&vectors::starting_with("run_")) {
        for raw in vector.unacked() {
            let parts = json::elements(&raw, &Limits::default()).expect("an array");
            let [text, exchange, routing_key] = parts[..] else { panic!("{} parts", parts.len()) };
            let destination = decode(text.as_bytes()).properties.destination;
            assert_eq!(json::text_of(exchange).as_deref(), Some(destination.exchange.as_str()));
            assert_eq!(json::text_of(routing_key).as_deref(), Some(destination.routing_key.as_str()));
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} records");
}

/// The typed headers say what a second, slower reading of the same text says.
fn agrees_with_its_text(message: &Message, headers: &TaskHeaders, place: &str) {
    let text = match headers.facts.protocol {
        Protocol::Two => message.headers.clone(),
        _ => String::from_utf8(message.body.clone()).expect("JSON body"),
    };
    let value = json::parse(text.as_bytes(), &Limits::default()).expect("JSON");
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    assert_eq!(Some(headers.facts.task.clone()), text("task"), "{place}");
    assert_eq!(Some(headers.facts.id.clone()), text("id"), "{place}");
    assert_eq!(message.properties.correlation_id.is_some(), text("id").is_some(), "{place}");
    for (name, found) in [
        ("shadow", &headers.shadow),
        ("root_id", &headers.root_id),
        ("parent_id", &headers.facts.parent_id),
        ("argsrepr", &headers.argsrepr),
        ("kwargsrepr", &headers.kwargsrepr),
        ("origin", &headers.origin),
    ] {
        assert_eq!(*found, text(name), "{place}: {name}");
    }
    for (name, found) in [("eta", headers.facts.eta), ("expires", headers.facts.expires)] {
        let written = text(name).map(|text| iso8601::parse(&text).expect("a time").moment(&Zone::UTC));
        assert_eq!(found, written, "{place}: {name}");
    }
    assert_eq!(i64::from(headers.facts.retries), value.get("retries").and_then(Value::as_i64).unwrap_or(0), "{place}");
    assert_eq!(headers.facts.ignore_result, value.get("ignore_result").and_then(Value::as_bool), "{place}");
    assert_eq!(headers.group_index, value.get("group_index").and_then(Value::as_i64), "{place}");
}

#[test]
fn options_of_a_call_are_where_celery_put_them() {
    let (message, headers) = only("msg_time_limits");
    assert_eq!(headers.facts.time_limit, Some(Duration::from_secs(30)));
    assert_eq!(headers.facts.soft_time_limit, Some(Duration::from_secs(20)));
    assert_eq!(message.properties.destination.routing_key, "celery");
    let (_, headers) = only("msg_v1_time_limits");
    assert_eq!((headers.facts.time_limit, headers.facts.protocol), (Some(Duration::from_secs(30)), Protocol::One));
    assert_eq!(only("msg_priority_12").0.properties.priority, Some(12));
    assert_eq!(only("msg_shadow").1.shadow.as_deref(), Some("shown.as"));
    assert_eq!(only("msg_retries_header").1.facts.retries, 3);
    assert_eq!(only("msg_ignore_result").1.facts.ignore_result, Some(true));
    let (message, _) = only("msg_extra_properties");
    let extra = [("message_id".to_owned(), "\"m1\"".to_owned()), ("app_id".to_owned(), "\"x\"".to_owned())];
    assert_eq!(message.properties.extra, extra);
    assert_eq!(message.properties.expiration.as_deref(), Some("30000"));
    let (message, headers) = only("msg_reply_to");
    assert_eq!(message.properties.reply_to.as_deref(), Some("someq"));
    assert_eq!(message.properties.correlation_id.as_deref(), Some("c-1"));
    assert_ne!(headers.facts.id, "c-1");
}

#[test]
fn naive_times_depend_on_the_readers_zone() {
    let message = decode(&vectors::named("msg_eta_naive").in_lists()[0]);
    for (zone, moment) in [("UTC", "2030-01-02T03:04:05+00:00"), ("Europe/Oslo", "2030-01-02T02:04:05+00:00")] {
        let options = ReadOptions { zone: Zone::named(zone).expect("known"), ..ReadOptions::default() };
        let headers = TaskHeaders::parse(&message, &options).expect("a task");
        assert_eq!(headers.facts.eta.map(|eta| iso8601::format(eta, &Zone::UTC)).as_deref(), Some(moment));
    }
    let (_, headers) = only("msg_eta_aware");
    assert_eq!(
        headers.facts.eta.map(|eta| iso8601::format(eta, &Zone::fixed(7200))).as_deref(),
        Some("2030-01-02T03:04:05.006000+02:00")
    );
}

#[test]
fn stamps_come_with_their_values() {
    let (_, mut headers) = only("msg_stamps_visitor");
    headers.stamps.sort_by(|one, other| one.0.cmp(&other.0));
    let owner = Value::Array(vec!["alice".into(), "bob".into()]);
    let expected = [("mtask_id".to_owned(), Value::from("m-1")), ("owner".to_owned(), owner)];
    assert_eq!(headers.stamps, expected);
}

#[test]
fn members_of_a_group_are_numbered_in_either_protocol() {
    for name in ["msg_group3", "msg_v1_group3"] {
        let messages: Vec<_> = vectors::named(name).in_lists().iter().map(|raw| headers_of(&decode(raw))).collect();
        let mut indexes: Vec<_> = messages.iter().map(|headers| headers.group_index).collect();
        indexes.sort();
        assert_eq!(indexes, [Some(0), Some(1), Some(2)], "{name}");
        assert!(
            messages
                .iter()
                .all(|headers| headers.facts.group.is_some() && headers.facts.group == messages[0].facts.group),
            "{name}"
        );
    }
}

#[test]
fn workflows_travel_in_the_body() {
    let body = |name: &str| {
        let (message, headers) = only(name);
        Body::read(&message.body, &message.content_type, headers.facts.compression.as_deref(), &Limits::default())
            .expect(name)
    };
    // The next step of a chain is the last of the list.
    let chain = body("msg_chain4").chain;
    let steps: Vec<_> = chain.as_array().expect("steps").iter().map(|step| step.get("args").cloned()).collect();
    assert_eq!(steps, [4, 3, 2].map(|number| Some(Value::Array(vec![Value::Int(number)]))));
    assert_eq!(body("msg_link").callbacks.as_array().map(<[Value]>::len), Some(1));
    assert_eq!(body("msg_link_error_list").errbacks.as_array().map(<[Value]>::len), Some(2));
    assert_eq!(body("msg_v1_chain2").callbacks.at(0).and_then(|link| link.get("task")?.as_str()), Some("wire.add"));
    for raw in vectors::named("msg_chord2").in_lists() {
        let message = decode(&raw);
        let body = Body::read(&message.body, &message.content_type, None, &Limits::default()).expect("a body");
        assert_eq!(body.chord.get("task").and_then(Value::as_str), Some("wire.xsum"));
    }
}

#[test]
fn compressed_bodies_are_unpacked_or_left_to_python() {
    for (name, codec) in [
        ("msg_compression_zlib", Codec::Zlib),
        ("msg_compression_gzip", Codec::Zlib),
        ("msg_compression_bzip2", Codec::Bzip2),
        ("msg_compression_zstd", Codec::Zstd),
        ("msg_compression_lzma", Codec::Lzma),
        ("msg_compression_brotli", Codec::Brotli),
    ] {
        let (message, headers) = only(name);
        assert_eq!(headers.facts.compression.as_deref(), Some(codec.content_type()), "{name}");
        let body =
            Body::read(&message.body, &message.content_type, headers.facts.compression.as_deref(), &Limits::default());
        match body {
            Ok(body) => assert_eq!(body.args.at(0).and_then(Value::as_str), Some("z".repeat(400).as_str()), "{name}"),
            Err(ReadError::NeedsPython(NeedsPython::Compression(_))) => assert!(!codec.is_native(), "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn pickle_and_yaml_headers_are_read_and_their_bodies_left_to_python() {
    for (name, serializer) in [
        ("msg_serializer_pickle", Serializer::Pickle),
        ("msg_serializer_yaml", Serializer::Yaml),
        ("msg_serializer_msgpack", Serializer::Msgpack),
    ] {
        let (message, headers) = only(name);
        assert_eq!(message.content_type, serializer.content_type());
        assert_eq!(message.content_encoding, serializer.content_encoding());
        assert_eq!(headers.facts.protocol, Protocol::Two);
        let body = Body::read(&message.body, &message.content_type, None, &Limits::default());
        let native = serializer == Serializer::Msgpack;
        assert_eq!(body.is_ok(), native, "{name}");
        // Without headers the task is in the body: only Python can tell what it is.
        let bare = Message { headers: "{}".into(), ..message };
        let parsed = TaskHeaders::parse(&bare, &ReadOptions::default());
        assert_eq!(matches!(parsed, Err(ReadError::NeedsPython(NeedsPython::Serializer(_)))), !native, "{name}");
    }
}

#[test]
fn a_protocol_1_body_in_msgpack_or_packed_is_read() {
    let (message, headers) = only("msg_v1_countdown");
    let value = json::parse(&message.body, &Limits::default()).expect("JSON");
    let packed = Message {
        headers: r#"{"compression": "zstd"}"#.into(),
        body: Codec::Zstd.compress(&msgpack::encode(&value).expect("fits")).expect("native"),
        content_type: Serializer::Msgpack.content_type().into(),
        ..message
    };
    assert_eq!(
        headers_of(&packed),
        TaskHeaders { facts: TaskFacts { compression: Some("zstd".into()), ..headers.facts.clone() }, ..headers }
    );
}

#[test]
fn headers_win_in_a_hybrid_message() {
    let (message, _) = only("msg_v1_countdown");
    let hybrid = Message { headers: r#"{"task": "other", "eta": null, "root_id": "r"}"#.into(), ..message };
    let headers = headers_of(&hybrid);
    assert_eq!((headers.facts.protocol, headers.facts.task.as_str()), (Protocol::Hybrid, "other"));
    assert_eq!((headers.facts.eta, headers.root_id.as_deref()), (None, Some("r")));
    assert_eq!(headers.facts.id, hybrid.properties.correlation_id.clone().expect("the id"));
}

#[test]
fn no_recording_is_forgotten() {
    for vector in vectors::starting_with("") {
        let Vector { name, .. } = &vector;
        let kind = name.split('_').next().unwrap_or_default();
        let used = match kind {
            // A direct exchange without a binding leaves nothing.
            "msg" => !vector.in_lists().is_empty() || name == "msg_exchange_routing",
            "run" => !vector.records().is_empty() || !vector.events().is_empty(),
            "trace" => !vector.commands().is_empty() || !vector.events().is_empty(),
            "edge" => !vector.pushed().is_empty(),
            "result" => !vector.records().is_empty() || ["result_database", "result_tuples"].contains(&name.as_str()),
            "chord" => name == "chord_keys_midflight",
            "table" => ["table_compression", "table_json_types", "table_serializers"].contains(&name.as_str()),
            _ => false,
        };
        assert!(used, "no test takes anything from {name}");
    }
}
