//! What one message costs to read and write, piece by piece. The messages are recordings of Celery's.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use umbel_protocol::body::{Body, BodyText};
use umbel_protocol::compression::Codec;
use umbel_protocol::content::Serializer;
use umbel_protocol::json::{self, Value};
use umbel_protocol::result::Record;
use umbel_protocol::{Limits, Message, ReadOptions, TaskFacts, base64, envelope, iso8601, msgpack};

#[path = "../tests/vectors/mod.rs"]
mod vectors;

fn main() {
    divan::main();
}

/// `add.delay(2, 3)` as it lies in a Redis list.
fn simple() -> Vec<u8> {
    vectors::named("msg_delay_simple").in_lists().swap_remove(0)
}

fn message_of(raw: &[u8]) -> Message {
    envelope::decode(raw, &Limits::default()).expect("a recorded message")
}

/// Arguments of 16 KiB: a list of small objects.
fn large_body() -> Vec<u8> {
    let item = r#"{"id": 12345, "name": "a name of a usual length", "price": 12.5, "tags": ["a", "b"], "ok": true}"#;
    let items = vec![item; (16 << 10) / item.len()].join(", ");
    format!(r#"[[[{items}]], {{}}, {{"callbacks": null, "errbacks": null, "chain": null, "chord": null}}]"#)
        .into_bytes()
}

mod message {
    use super::*;

    #[divan::bench]
    fn envelope_decode(bencher: Bencher) {
        let (raw, limits) = (simple(), Limits::default());
        bencher.counter(BytesCount::new(raw.len())).bench(|| envelope::decode(black_box(&raw), &limits));
    }

    #[divan::bench]
    fn envelope_encode(bencher: Bencher) {
        let raw = simple();
        let message = message_of(&raw);
        let tag = message.properties.delivery_tag.clone().expect("a tag");
        bencher.counter(BytesCount::new(raw.len())).bench(|| envelope::encode(black_box(&message), &tag));
    }

    #[divan::bench(args = ["msg_delay_simple", "msg_eta_aware", "msg_stamps_visitor", "msg_v1_delay_simple"])]
    fn task_headers(bencher: Bencher, name: &str) {
        let message = message_of(&vectors::named(name).in_lists()[0]);
        let options = ReadOptions::default();
        bencher
            .counter(BytesCount::new(message.headers.len() + message.body.len()))
            .bench(|| TaskFacts::parse(black_box(&message), &options));
    }
}

mod body {
    use super::*;

    #[divan::bench]
    fn split(bencher: Bencher) {
        let (body, limits) = (message_of(&simple()).body, Limits::default());
        bencher.counter(BytesCount::new(body.len())).bench(|| BodyText::split(black_box(&body), &limits).is_ok());
    }

    #[divan::bench]
    fn write(bencher: Bencher) {
        let (body, limits) = (message_of(&simple()).body, Limits::default());
        let text = BodyText::split(&body, &limits).expect("a body");
        bencher.counter(BytesCount::new(body.len())).bench(|| black_box(&text).write());
    }

    #[divan::bench(args = ["application/json", "application/x-msgpack"])]
    fn read_large(bencher: Bencher, content_type: &str) {
        let limits = Limits::default();
        let body = match Serializer::named(content_type) {
            Some(Serializer::Msgpack) => {
                msgpack::encode(&json::parse(&large_body(), &limits).expect("JSON")).expect("fits")
            }
            _ => large_body(),
        };
        bencher
            .counter(BytesCount::new(body.len()))
            .bench(|| Body::read(black_box(&body), content_type, None, &limits).is_ok());
    }

    #[divan::bench(args = [64, 1 << 10, 64 << 10])]
    fn base64_encode(bencher: Bencher, length: usize) {
        let body = vec![b'x'; length];
        bencher.counter(BytesCount::new(length)).bench(|| {
            let mut out = Vec::with_capacity(length * 2);
            base64::encode_into(black_box(&body), &mut out);
            out
        });
    }

    #[divan::bench(args = [64, 1 << 10, 64 << 10])]
    fn base64_decode(bencher: Bencher, length: usize) {
        let mut text = Vec::new();
        base64::encode_into(&vec![b'x'; length], &mut text);
        bencher.counter(BytesCount::new(length)).bench(|| base64::decode(black_box(&text)));
    }

    #[divan::bench(args = ["zlib", "bzip2", "zstd"])]
    fn decompress(bencher: Bencher, name: &str) {
        let (plain, limits) = (large_body(), Limits::default());
        let codec = Codec::named(name).expect("a codec");
        let packed = codec.compress(&plain).expect("native");
        bencher.counter(BytesCount::new(plain.len())).bench(|| codec.decompress(black_box(&packed), &limits).is_ok());
    }
}

mod text {
    use super::*;

    #[divan::bench]
    fn json_parse(bencher: Bencher) {
        let (text, limits) = (large_body(), Limits::default());
        bencher.counter(BytesCount::new(text.len())).bench(|| json::parse(black_box(&text), &limits));
    }

    #[divan::bench]
    fn json_skip(bencher: Bencher) {
        let (text, limits) = (large_body(), Limits::default());
        bencher.counter(BytesCount::new(text.len())).bench(|| json::skip(black_box(&text), &limits).is_ok());
    }

    #[divan::bench]
    fn json_members(bencher: Bencher) {
        let (headers, limits) = (message_of(&simple()).headers, Limits::default());
        bencher
            .counter(BytesCount::new(headers.len()))
            .bench(|| json::members(black_box(headers.as_bytes()), &limits).is_ok());
    }

    #[divan::bench]
    fn json_write(bencher: Bencher) {
        let text = large_body();
        let value = json::parse(&text, &Limits::default()).expect("JSON");
        bencher.counter(BytesCount::new(text.len())).bench(|| json::to_vec(black_box(&value)));
    }

    #[divan::bench]
    fn iso8601_parse() {
        let _ = black_box(iso8601::parse(black_box("2026-11-25T21:30:15.123456+00:00")));
    }
}

mod result {
    use super::*;

    fn record() -> Record {
        Record::new("63585695-ec8d-4fcb-af43-57dd360083b0", "SUCCESS", Value::Int(5))
    }

    #[divan::bench]
    fn encode(bencher: Bencher) {
        let record = record();
        bencher.bench(|| black_box(&record).encode(Serializer::Json).is_ok());
    }

    #[divan::bench]
    fn decode(bencher: Bencher) {
        let (raw, limits) = (record().encode(Serializer::Json).expect("JSON"), Limits::default());
        bencher
            .counter(BytesCount::new(raw.len()))
            .bench(|| Record::decode(black_box(&raw), Serializer::Json, &limits).is_ok());
    }

    #[divan::bench]
    fn status_alone(bencher: Bencher) {
        let (raw, limits) = (record().encode(Serializer::Json).expect("JSON"), Limits::default());
        bencher.counter(BytesCount::new(raw.len())).bench(|| Record::status_of(black_box(&raw), &limits).is_ok());
    }
}
