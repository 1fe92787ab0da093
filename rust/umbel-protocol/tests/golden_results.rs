//! Every recorded result is read, and written back as it was.

mod vectors;

use umbel_protocol::compression::Codec;
use umbel_protocol::content::Serializer;
use umbel_protocol::extended::{ExtendedType, recognise};
use umbel_protocol::json::{self, Value};
use umbel_protocol::result::{self, ExceptionRecord, Extended, Keys, Record, states};
use umbel_protocol::{Limits, Malformed, ReadError, Zone, iso8601};

/// The serializer that was configured for a recording; records do not say.
fn serializer(name: &str) -> Serializer {
    match name {
        "result_option_msgpack" => Serializer::Msgpack,
        "result_option_pickle" => Serializer::Pickle,
        _ => Serializer::Json,
    }
}

fn read(name: &str, record: &[u8]) -> Record {
    Record::decode(record, Serializer::Json, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn records_are_read_and_written_back_byte_for_byte() {
    let mut seen = 0;
    for vector in vectors::starting_with("") {
        let serializer = serializer(&vector.name);
        for (key, raw) in vector.records() {
            let unpacked = result::unpack(&raw, &Limits::default()).expect("a codec of ours");
            match Record::decode(&unpacked, serializer, &Limits::default()) {
                Ok(record) => {
                    assert_eq!(record.encode(serializer).as_deref(), Ok(&*unpacked), "{}", vector.name);
                    let prefix = if vector.name == "result_option_prefix" { "pre" } else { "" };
                    assert_eq!(Keys::new(prefix).task(&record.task_id), key, "{}", vector.name);
                    assert_eq!(record.date_done.is_some(), states::is_ready(&record.status), "{}", vector.name);
                    exceptions_are_written_back(&record, &vector.name);
                }
                Err(ReadError::NeedsPython(_)) => assert_eq!(serializer, Serializer::Pickle, "{}", vector.name),
                Err(error) => panic!("{}: {error}", vector.name),
            }
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen} records");
}

fn exceptions_are_written_back(record: &Record, place: &str) {
    if states::is_exception(&record.status) {
        let exception = ExceptionRecord::from_value(&record.result).expect(place);
        assert_eq!(exception.to_value(), record.result, "{place}");
    }
}

#[test]
fn compressed_records_are_packed_alike() {
    for (_, raw) in vectors::named("result_option_compressed").records() {
        let plain = result::unpack(&raw, &Limits::default()).expect("zlib");
        assert!(result::is_compressed(&raw) && !result::is_compressed(&plain));
        let packed = result::compress(&plain, Codec::Zlib).expect("native");
        assert_eq!(packed[..40], raw[..40]);
        assert_eq!(result::unpack(&packed, &Limits::default()).as_deref(), Ok(&*plain));
    }
}

#[test]
fn records_a_worker_writes_itself_equal_celerys() {
    let revoked = |reason: &str| (states::REVOKED, ExceptionRecord::task_revoked(reason));
    for (name, (status, exception)) in [
        ("run_expired", revoked("expired")),
        (
            "run_failure_hard_time_limit",
            (states::FAILURE, ExceptionRecord::time_limit_exceeded(std::time::Duration::from_secs(1))),
        ),
        ("edge_unregistered", (states::FAILURE, ExceptionRecord::not_registered("no.such.task"))),
        ("run_revoked_by_stamp", revoked("terminated")),
        ("run_revoked", revoked("terminated")),
        (
            "run_worker_lost",
            (states::FAILURE, ExceptionRecord::worker_lost("Worker exited prematurely: signal 9 (SIGKILL) Job: 8.")),
        ),
    ] {
        let records = vectors::named(name).records();
        let celerys: Vec<_> =
            records.iter().filter(|(_, raw)| read(name, raw).result == exception.to_value()).collect();
        assert!(!celerys.is_empty(), "{name} holds no {exception:?}");
        for (_, raw) in celerys {
            let theirs = read(name, raw);
            let done = theirs.date_done.as_deref().expect("a final state");
            let done = iso8601::parse(done).expect("a time").moment(&Zone::UTC);
            let ours = Record {
                group_id: theirs.group_id.clone(),
                extended: theirs.extended.clone(),
                extra: theirs.extra.clone(),
                ..Record::of_exception(theirs.task_id.as_str(), status, &exception, done, &Zone::UTC)
            };
            assert_eq!(ours.encode(Serializer::Json).as_deref(), Ok(raw.as_slice()), "{name}");
        }
    }
}

#[test]
fn a_task_that_was_never_taken_apart_has_an_empty_extension() {
    let (_, raw) = vectors::named("edge_unregistered").records().swap_remove(0);
    assert_eq!(read("edge_unregistered", &raw).extended, Some(Extended::default()));
}

#[test]
fn the_status_alone_is_read_from_any_json_record() {
    for (_, raw) in vectors::starting_with("run_").iter().flat_map(vectors::Vector::records) {
        let status = Record::status_of(&raw, &Limits::default());
        assert_eq!(status, Ok(read("run", &raw).status));
    }
    assert!(matches!(Record::status_of(b"{}", &Limits::default()), Err(Malformed { .. })));
}

#[test]
fn result_tuples_and_stored_parts_are_written_back() {
    let tuples = vectors::named("result_tuples").captured;
    let text = tuples.get("group_json").and_then(Value::as_str).expect("text");
    assert_eq!(Some(&json::parse(text.as_bytes(), &Limits::default()).expect("JSON")), tuples.get("group"));
    assert_eq!(tuples.get("group").map(json::to_string).as_deref(), Some(text));

    let rows = vectors::named("result_database").captured;
    for table in ["celery_taskmeta", "celery_tasksetmeta"] {
        for row in rows.get(table).and_then(Value::as_array).expect("rows") {
            let column = if table == "celery_taskmeta" { 3 } else { 2 };
            let text = row.at(column).and_then(Value::as_str).expect("a result");
            assert_eq!(json::to_string(&json::parse(text.as_bytes(), &Limits::default()).expect("JSON")), text);
        }
    }
}

#[test]
fn keys_of_a_chord_in_flight_are_named_alike() {
    let captured = vectors::named("chord_keys_midflight").captured;
    let mid = captured.get("mid").and_then(Value::as_object).expect("keys");
    let record = &mid.iter().find(|(key, _)| key.starts_with("celery-task-meta-")).expect("a record").1;
    let record = read("chord", &vectors::bytes(record.get("value").expect("a value")).expect("bytes"));
    let (keys, group) = (Keys::default(), record.group_id.expect("a group"));
    let mut expected =
        [keys.task(&record.task_id), keys.chord_size(&group), keys.chord_parts(&group), keys.chord_counted(&group)];
    let mut found: Vec<_> = mid.iter().map(|(key, _)| key.clone()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn celerys_json_types_are_recognised_and_written_back() {
    let captured = vectors::named("table_json_types").captured;
    for (name, row) in captured.as_object().expect("rows") {
        let Some(text) = row.get("json").and_then(Value::as_str) else { continue };
        let value = json::parse(text.as_bytes(), &Limits::default()).expect(name);
        assert_eq!(json::to_string(&value), text, "{name}");
        let expected = match name.as_str() {
            "bytes_utf8" => Some(ExtendedType::Bytes),
            "bytes_bin" => Some(ExtendedType::Base64),
            "dt_naive" | "dt_utc" | "dt_off" => Some(ExtendedType::DateTime),
            "date" => Some(ExtendedType::Date),
            "time" | "time_tz" => Some(ExtendedType::Time),
            "decimal" | "decimal_nan" => Some(ExtendedType::Decimal),
            "uuid" => Some(ExtendedType::Uuid),
            _ => None,
        };
        assert_eq!(recognise(&value).expect(name).map(|(kind, _)| kind), expected, "{name}");
    }
}

#[test]
fn serializers_are_named_alike() {
    let captured = vectors::named("table_serializers").captured;
    for (name, row) in captured.as_object().expect("rows") {
        let serializer = Serializer::named(name).expect(name);
        assert_eq!(serializer.name(), name);
        assert_eq!(row.get("content_type").and_then(Value::as_str), Some(serializer.content_type()));
        assert_eq!(row.get("content_encoding").and_then(Value::as_str), Some(serializer.content_encoding()));
    }
}

#[test]
fn codecs_are_named_alike() {
    let captured = vectors::named("table_compression").captured;
    for (alias, row) in captured.as_object().expect("rows").iter().filter(|(alias, _)| alias != "encoders") {
        let codec = Codec::named(alias).expect(alias);
        assert_eq!(row.at(1).and_then(Value::as_str), Some(codec.content_type()), "{alias}");
        let packed = vectors::bytes(row.at(0).expect("data")).expect("bytes");
        match codec.decompress(&packed, &Limits::default()) {
            Ok(data) => assert_eq!(data, [b'a'; 40], "{alias}"),
            Err(ReadError::NeedsPython(_)) => assert!(!codec.is_native(), "{alias}"),
            Err(error) => panic!("{alias}: {error}"),
        }
    }
}
