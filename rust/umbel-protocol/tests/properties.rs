//! Laws of the parsers and writers, for any value and any bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use umbel_protocol::body::BodyText;
use umbel_protocol::compression::Codec;
use umbel_protocol::content::Serializer;
use umbel_protocol::json::{self, Value, Writer};
use umbel_protocol::result::{self, Record};
use umbel_protocol::{
    Destination, Limits, Message, Properties, ReadError, ReadOptions, TaskFacts, TaskHeaders, Timestamp, Zone, base64,
    envelope, iso8601, msgpack,
};

fn limits() -> Limits {
    Limits::default()
}

/// Numbers that JSON gives back as they were. NaN is left out: it does not equal itself.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "-?[1-9][0-9]{19,40}".prop_filter_map("more than 64 bits", big),
        prop::num::f64::NORMAL.prop_map(Value::Float),
        prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(0.0)].prop_map(Value::Float),
        any::<String>().prop_map(Value::String),
    ]
}

fn big(digits: String) -> Option<Value> {
    digits.parse::<i64>().is_err().then_some(Value::BigInt(digits))
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((any::<String>(), inner), 0..5).prop_map(Value::Object),
        ]
    })
}

/// Values MessagePack can hold: integers up to 64 bits.
fn small(value: Value) -> Value {
    match value {
        Value::BigInt(_) => Value::BigInt(u64::MAX.to_string()),
        Value::Array(items) => Value::Array(items.into_iter().map(small).collect()),
        Value::Object(members) => Value::Object(members.into_iter().map(|(key, value)| (key, small(value))).collect()),
        other => other,
    }
}

prop_compose! {
    fn properties()(
        texts in (any::<Option<String>>(), any::<Option<String>>(), any::<Option<String>>()),
        numbers in (any::<Option<i64>>(), any::<i64>(), any::<u32>()),
        destination in (any::<String>(), any::<String>()),
        redelivered in any::<bool>(),
        extra in prop::collection::btree_map("x-[a-z]{1,9}", value(), 0..3),
        tag in any::<String>(),
    ) -> Properties {
        Properties {
            correlation_id: texts.0,
            reply_to: texts.1,
            expiration: texts.2,
            delivery_mode: numbers.0,
            priority: Some(numbers.1),
            failed_deliveries: numbers.2,
            destination: Destination { exchange: destination.0, routing_key: destination.1 },
            delivery_tag: Some(tag),
            redelivered,
            extra: extra.iter().map(|(name, value)| (name.clone(), json::to_string(value))).collect(),
        }
    }
}

prop_compose! {
    fn message()(
        properties in properties(),
        headers in vec((any::<String>(), value()), 0..6),
        body in vec(any::<u8>(), 0..200),
        types in (any::<String>(), any::<String>()),
    ) -> Message {
        let (content_type, content_encoding) = types;
        Message { headers: json::to_string(&Value::Object(headers)), body, content_type, content_encoding, properties }
    }
}

/// The facts, which must be the same however much else is read.
fn both_ways(message: &Message, options: &ReadOptions) -> Result<TaskFacts, ReadError> {
    let facts = TaskFacts::parse(message, options);
    match (&facts, TaskHeaders::parse(message, options)) {
        (Ok(facts), Ok(headers)) => assert_eq!(*facts, headers.facts),
        (facts, headers) => assert_eq!(facts.is_ok(), headers.is_ok(), "{}", message.headers),
    }
    facts
}

/// Every reader of bytes there is; none may panic.
fn read_all_ways(bytes: &[u8]) {
    let _ = json::parse(bytes, &limits());
    let _ = json::skip(bytes, &limits());
    let _ = json::members(bytes, &limits());
    let _ = json::elements(bytes, &limits());
    let _ = msgpack::decode(bytes, &limits());
    let _ = envelope::decode(bytes, &limits()).map(|message| both_ways(&message, &ReadOptions::default()));
    let _ = BodyText::split(bytes, &limits());
    let _ = result::unpack(bytes, &limits());
    let _ = base64::decode(bytes);
    for serializer in [Serializer::Json, Serializer::Msgpack] {
        let _ = Record::decode(bytes, serializer, &limits());
    }
    for codec in [Codec::Zlib, Codec::Bzip2, Codec::Zstd] {
        let _ = codec.decompress(bytes, &Limits { max_bytes: 1 << 16, ..limits() });
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = json::text_of(text);
        let _ = iso8601::parse(text);
        let headers = Message { headers: text.to_owned(), ..Message::default() };
        let _ = both_ways(&headers, &ReadOptions::default());
        // Splicing a mark into any text, too.
        let marked = Message { properties: Properties { redelivered: true, ..Properties::default() }, ..headers };
        let _ = envelope::encode(&marked, "tag");
    }
}

proptest! {
    #[test]
    fn json_comes_back_as_it_was(value in value()) {
        let text = json::to_vec(&value);
        prop_assert!(text.is_ascii());
        prop_assert_eq!(&json::parse(&text, &limits())?, &value);
        prop_assert_eq!(json::to_vec(&json::parse(&text, &limits())?), text);
    }

    #[test]
    fn json_with_raw_text_and_white_space_means_the_same(value in value()) {
        let spaced = spread(&value);
        prop_assert_eq!(json::parse(spaced.as_bytes(), &limits())?, value);
    }

    #[test]
    fn skipping_accepts_what_parsing_accepts(bytes in prop_oneof![vec(any::<u8>(), 0..40), "[\\[\\]{}:,\" 0-9eE+.tnf\\\\uNaI-]{0,40}".prop_map(String::into_bytes)]) {
        prop_assert_eq!(json::skip(&bytes, &limits()).is_ok(), json::parse(&bytes, &limits()).is_ok());
    }

    #[test]
    fn members_and_elements_are_the_parts_as_text(value in vec((any::<String>(), value()), 0..6)) {
        let text = json::to_vec(&Value::Object(value.clone()));
        let members = json::members(&text, &limits())?;
        prop_assert_eq!(members.len(), value.len());
        for (member, (name, value)) in members.iter().zip(&value) {
            prop_assert_eq!(member.name.as_ref(), name);
            prop_assert_eq!(member.raw.as_bytes(), &text[member.span(std::str::from_utf8(&text).expect("JSON is text"))]);
            prop_assert_eq!(&json::parse(member.raw.as_bytes(), &limits())?, value);
        }
        let items: Vec<_> = value.into_iter().map(|(_, value)| value).collect();
        let text = json::to_vec(&Value::Array(items.clone()));
        let elements: Vec<_> = json::elements(&text, &limits())?.iter().map(|raw| json::parse(raw.as_bytes(), &limits())).collect();
        prop_assert_eq!(elements, items.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn floats_survive_their_text(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        let text = json::to_vec(&Value::Float(number));
        match json::parse(&text, &limits())? {
            Value::Float(read) => prop_assert!(read.to_bits() == bits || (read.is_nan() && number.is_nan())),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn code_points_are_written_like_text(text in any::<String>()) {
        let mut writer = Writer::new();
        writer.code_points(text.chars().map(u32::from));
        prop_assert_eq!(writer.into_bytes(), json::to_vec(&Value::String(text)));
    }

    #[test]
    fn msgpack_comes_back_as_it_was(value in value().prop_map(small)) {
        prop_assert_eq!(&msgpack::decode(&msgpack::encode(&value)?, &limits())?, &value);
    }

    #[test]
    fn an_envelope_comes_back_as_it_was(message in message()) {
        let tag = message.properties.delivery_tag.clone().unwrap_or_default();
        let raw = envelope::encode(&message, &tag);
        let read = envelope::decode(&raw, &limits())?;
        prop_assert_eq!(&read.body, &message.body);
        prop_assert_eq!(&read.properties, &message.properties);
        prop_assert_eq!(envelope::encode(&read, &tag), raw);
        if !message.properties.redelivered {
            prop_assert_eq!(read, message);
        }
    }

    #[test]
    fn an_envelope_cut_anywhere_is_an_error(message in message(), at in any::<prop::sample::Index>()) {
        let raw = envelope::encode(&message, "tag");
        prop_assert!(envelope::decode(&raw[..at.index(raw.len())], &limits()).is_err());
    }

    #[test]
    fn msgpack_cut_anywhere_is_an_error(value in value().prop_map(small), at in any::<prop::sample::Index>()) {
        let packed = msgpack::encode(&value)?;
        prop_assert!(msgpack::decode(&packed[..at.index(packed.len())], &limits()).is_err());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..120)) {
        read_all_ways(&bytes);
    }

    #[test]
    fn no_damage_to_a_message_makes_a_reader_panic(message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut raw = envelope::encode(&message, "tag");
        let at = at.index(raw.len());
        raw[at] = byte;
        read_all_ways(&raw);
        read_all_ways(&raw[..at]);
        read_all_ways(message.headers.as_bytes());
    }

    #[test]
    fn base64_comes_back_even_with_broken_lines(bytes in vec(any::<u8>(), 0..200)) {
        let mut text = Vec::new();
        base64::encode_into(&bytes, &mut text);
        prop_assert_eq!(base64::decode(&text), Some(bytes.clone()));
        let lines: Vec<u8> = text.chunks(60).flat_map(|line| [line, b"\n"].concat()).collect();
        prop_assert_eq!(base64::decode(&lines), Some(bytes));
    }

    #[test]
    fn a_time_comes_back_from_its_text(micros in -62_135_596_800_000_000_i64..253_402_300_799_000_000, offset in -86_340_i32..86_340) {
        let zone = Zone::fixed(offset / 60 * 60);
        let moment = Timestamp(micros);
        let text = iso8601::format(moment, &zone);
        // At the ends of what Python knows, the local time is cut off.
        prop_assume!(!text.starts_with("0001-01-01") && !text.starts_with("9999-12-31"));
        prop_assert_eq!(iso8601::parse(&text)?.moment(&Zone::UTC), moment);
    }
}

/// JSON with white space everywhere and text unescaped where it may be.
fn spread(value: &Value) -> String {
    match value {
        Value::Array(items) => format!(" [ {} ]\n", items.iter().map(spread).collect::<Vec<_>>().join("\t,")),
        Value::Object(members) => {
            let member = |(name, value): &(String, Value)| format!("{}\r:{}", quoted(name), spread(value));
            format!("{{ {} }}", members.iter().map(member).collect::<Vec<_>>().join(" , "))
        }
        Value::String(text) => quoted(text),
        other => json::to_string(other),
    }
}

fn quoted(text: &str) -> String {
    let letters = text.chars().map(|letter| match letter {
        '"' | '\\' => format!("\\{letter}"),
        '\0'..='\x1f' => format!("\\u{:04X}", u32::from(letter)),
        other => other.to_string(),
    });
    format!("\"{}\"", letters.collect::<String>())
}

#[test]
fn a_message_cut_at_every_byte_is_an_error() {
    let message = Message {
        headers: r#"{"task": "t", "id": "\u00e9", "timelimit": [null, 1.5e3], "stamps": {"a": NaN}}"#.to_owned(),
        body: b"[[2, 3], {}, {}]".to_vec(),
        content_type: "application/json".to_owned(),
        ..Message::default()
    };
    let raw = envelope::encode(&message, "tag");
    assert!(envelope::decode(&raw, &limits()).is_ok());
    for end in 0..raw.len() {
        assert!(envelope::decode(&raw[..end], &limits()).is_err(), "cut at {end}");
    }
    for end in 0..message.headers.len() {
        let cut = Message { headers: message.headers.get(..end).unwrap_or("{").to_owned(), ..message.clone() };
        assert!(both_ways(&cut, &ReadOptions::default()).is_err(), "headers cut at {end}");
    }
    let value = json::parse(&raw, &limits()).expect("JSON");
    let packed = msgpack::encode(&value).expect("fits");
    for end in 0..packed.len() {
        assert!(msgpack::decode(&packed[..end], &limits()).is_err(), "cut at {end}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let unlimited = Limits { max_depth: usize::MAX, ..limits() };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| format!("{}0{}", open.repeat(depth), close.repeat(depth));
        assert!(json::parse(nested(512).as_bytes(), &limits()).is_ok());
        let error = json::parse(nested(513).as_bytes(), &limits()).expect_err("too deep");
        assert!(error.detail.starts_with("nested deeper than 512 levels at byte "), "{error}");
        let deep = nested(1_000_000);
        assert!(json::parse(deep.as_bytes(), &unlimited).is_err());
        assert!(json::skip(deep.as_bytes(), &unlimited).is_err());
        assert!(BodyText::split(deep.as_bytes(), &unlimited).is_err());
        assert!(envelope::decode(deep.as_bytes(), &unlimited).is_err());
    }
    for packed in [[0x91].repeat(1_000_000), [0x81, 0xa0].repeat(1_000_000)] {
        let error = msgpack::decode(&packed, &unlimited).expect_err("too deep");
        assert!(error.detail.starts_with("nested too deep"), "{error}");
    }
}

#[test]
fn a_value_as_deep_as_can_be_is_built_written_and_dropped() {
    // Test threads have Rust's default stack, and unoptimized code the largest frames.
    let deepest = umbel_protocol::limits::DEEPEST;
    let unlimited = Limits { max_depth: usize::MAX, ..limits() };
    let text = format!("{}{}", "[".repeat(deepest), "]".repeat(deepest));
    let value = json::parse(text.as_bytes(), &unlimited).expect("allowed");
    assert_eq!(json::to_string(&value), text);
    let packed = msgpack::encode(&value).expect("fits");
    assert_eq!(msgpack::decode(&packed, &unlimited), Ok(value));
}

#[test]
fn a_claimed_length_buys_no_memory() {
    for packed in
        [&b"\xdd\xff\xff\xff\xff"[..], b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
    {
        assert!(msgpack::decode(packed, &limits()).is_err());
    }
}

#[test]
fn input_larger_than_the_limit_is_refused_unread() {
    let small = Limits { max_bytes: 4, ..limits() };
    assert!(json::parse(b"1234", &small).is_ok());
    assert_eq!(json::parse(b"12345", &small).expect_err("too large").detail, "5 bytes are more than the limit of 4");
    assert!(msgpack::decode(&[0x94, 1, 2, 3, 4], &small).is_err());
}
