//! The frame codec: what is written is read back however it is cut, and no bytes make it panic.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use umbel_broker::{DeadReason, Outgoing};
use umbel_protocol::{
    ChordPart, ChordStep, Destination, Message, Properties, Protocol, ResultWrite, TaskFacts, Timestamp,
};
use umbel_worker::engine::{Cancel, Job, JobId, Outcome, Verdict};
use umbel_worker::link::incoming::Incoming;
use umbel_worker::link::{PROTOCOL_VERSION, ToChild, ToMain};

fn destination() -> impl Strategy<Value = Destination> {
    (".{0,6}", ".{0,6}").prop_map(|(exchange, routing_key)| Destination { exchange, routing_key })
}

fn properties() -> impl Strategy<Value = Properties> {
    let texts = (option::of(".{0,9}"), option::of(".{0,9}"), option::of("[0-9]{1,5}"), option::of(".{0,9}"));
    let numbers = (option::of(any::<i64>()), option::of(any::<i64>()), any::<u32>(), any::<bool>());
    (texts, numbers, destination(), vec((".{0,4}", ".{0,8}"), 0..3)).prop_map(|(texts, numbers, destination, extra)| {
        let (correlation_id, reply_to, expiration, delivery_tag) = texts;
        let (delivery_mode, priority, failed_deliveries, redelivered) = numbers;
        Properties {
            correlation_id,
            reply_to,
            delivery_mode,
            priority,
            expiration,
            destination,
            delivery_tag,
            redelivered,
            failed_deliveries,
            extra,
        }
    })
}

fn message() -> impl Strategy<Value = Message> {
    (".{0,40}", vec(any::<u8>(), 0..40), ".{0,9}", ".{0,9}", properties()).prop_map(
        |(headers, body, content_type, content_encoding, properties)| Message {
            headers,
            body,
            content_type,
            content_encoding,
            properties,
        },
    )
}

fn facts() -> impl Strategy<Value = TaskFacts> {
    let protocol = prop_oneof![Just(Protocol::One), Just(Protocol::Two), Just(Protocol::Hybrid)];
    let limit = || option::of(any::<u64>().prop_map(Duration::from_micros));
    let time = || option::of(any::<i64>().prop_map(Timestamp));
    let text = || option::of(".{0,9}");
    let names = (protocol, ".{1,9}", ".{1,9}", text(), text(), text());
    (names, (time(), time()), (limit(), limit()), any::<u32>(), any::<Option<bool>>()).prop_map(
        |((protocol, task, id, group, parent_id, compression), times, limits, retries, ignore_result)| TaskFacts {
            protocol,
            task,
            id,
            eta: times.0,
            expires: times.1,
            group,
            parent_id,
            retries,
            time_limit: limits.0,
            soft_time_limit: limits.1,
            ignore_result,
            compression,
        },
    )
}

fn job() -> impl Strategy<Value = Job> {
    (any::<u64>(), "[ab]{0,2}", facts(), message(), option::of(any::<u64>())).prop_map(
        |(id, queue, facts, message, batch)| Job {
            id: JobId(id),
            queue: Arc::from(queue),
            facts: Arc::new(facts),
            message: Arc::new(message),
            batch,
        },
    )
}

fn ids() -> impl Strategy<Value = Vec<JobId>> {
    vec(any::<u64>().prop_map(JobId), 0..5)
}

fn to_child() -> impl Strategy<Value = ToChild> {
    prop_oneof![
        vec(job(), 1..4).prop_map(ToChild::Jobs),
        ids().prop_map(ToChild::Recall),
        any::<u64>().prop_map(|id| ToChild::SoftLimit(JobId(id))),
        any::<(u64, bool)>().prop_map(|(id, limit)| {
            ToChild::Cancel(JobId(id), if limit { Cancel::TimeLimit } else { Cancel::Revoked })
        }),
        Just(ToChild::Stop),
    ]
}

fn result() -> impl Strategy<Value = ResultWrite> {
    let expires = option::of((0u64..u64::MAX).prop_map(Duration::from_micros));
    (".{0,9}", ".{0,9}", vec(any::<u8>(), 0..40), expires).prop_map(|(task_id, state, record, expires)| ResultWrite {
        task_id,
        state,
        record,
        expires,
        reply_to: None,
    })
}

fn outgoing() -> impl Strategy<Value = Outgoing> {
    let eta = option::of((i64::MIN + 1..).prop_map(Timestamp));
    let line = option::of(".{1,9}");
    (destination(), message(), eta, line, option::of(chord_step())).prop_map(
        |(destination, message, eta, line, chord)| Outgoing {
            destination,
            message,
            eta,
            line,
            chord: chord.map(Box::new),
        },
    )
}

fn chord_step() -> impl Strategy<Value = ChordStep> {
    let expires = option::of((0..u64::MAX - 1).prop_map(Duration::from_micros));
    let part = (".{0,9}", ".{0,9}", option::of(any::<i64>()), vec(any::<u8>(), 0..40), expires);
    prop_oneof![
        part.prop_map(|(group, task_id, index, part, expires)| {
            ChordStep::Count(ChordPart { group, task_id, index, part, expires })
        }),
        ".{0,9}".prop_map(|group| ChordStep::End { group }),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Success),
        Just(Verdict::Failure),
        Just(Verdict::Retry),
        Just(Verdict::Ignored),
        Just(Verdict::Requeue),
        (".{0,9}", ".{0,9}").prop_map(|(kind, detail)| Verdict::Reject(DeadReason { kind, detail })),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    (any::<u64>(), verdict(), option::of(result()), vec(outgoing(), 0..3))
        .prop_map(|(id, verdict, result, publish)| Outcome { job: JobId(id), verdict, result, publish })
}

fn to_main() -> impl Strategy<Value = ToMain> {
    prop_oneof![
        (0usize..9999).prop_map(|slots| ToMain::Ready { version: PROTOCOL_VERSION, slots }),
        ids().prop_map(ToMain::Started),
        (any::<u64>(), result()).prop_map(|(id, result)| ToMain::Progress { job: JobId(id), result }),
        vec(outcome(), 0..3).prop_map(ToMain::Finished),
        ids().prop_map(ToMain::Returned),
        Just(ToMain::Retiring),
        Just(ToMain::WantsRelief),
    ]
}

/// Feeds `bytes` in two pieces and decodes what comes out.
fn decoded<T>(bytes: &[u8], cut: usize, decode: impl Fn(u8, &[u8]) -> T) -> Vec<T> {
    let mut incoming = Incoming::default();
    let mut frames = Vec::new();
    for piece in [&bytes[..cut], &bytes[cut..]] {
        incoming.push(piece);
        while let Some((kind, payload)) = incoming.next_frame().unwrap() {
            frames.push(decode(kind, payload));
        }
    }
    frames
}

proptest! {
    #[test]
    fn frames_to_a_child_survive_every_cut(frames in vec(to_child(), 1..4)) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        for cut in 0..=bytes.len() {
            let read = decoded(&bytes, cut, |kind, payload| ToChild::decode(kind, payload).unwrap());
            prop_assert_eq!(&read, &frames);
        }
    }

    #[test]
    fn frames_to_the_main_process_survive_every_cut(frames in vec(to_main(), 1..4)) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        for cut in 0..=bytes.len() {
            let read = decoded(&bytes, cut, |kind, payload| ToMain::decode(kind, payload).unwrap());
            prop_assert_eq!(&read, &frames);
        }
    }

    #[test]
    fn a_truncated_payload_is_an_error_or_a_shorter_list(frame in to_main(), jobs in to_child()) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        for end in 5..bytes.len() {
            if let Ok(read) = ToMain::decode(bytes[4], &bytes[5..end]) {
                prop_assert_ne!(read, frame.clone());
            }
        }
        bytes.clear();
        jobs.encode(&mut bytes);
        for end in 5..bytes.len() {
            if let Ok(read) = ToChild::decode(bytes[4], &bytes[5..end]) {
                prop_assert_ne!(read, jobs.clone());
            }
        }
    }

    #[test]
    fn random_payloads_never_panic(kind in 0u8..32, payload in vec(any::<u8>(), 0..200)) {
        let _ = ToChild::decode(kind, &payload);
        let _ = ToMain::decode(kind, &payload);
    }

    #[test]
    fn random_streams_never_panic(pieces in vec(vec(any::<u8>(), 0..60), 0..8)) {
        let mut incoming = Incoming::default();
        for piece in pieces {
            incoming.push(&piece);
            while let Ok(Some((kind, payload))) = incoming.next_frame() {
                let _ = ToMain::decode(kind, payload);
            }
        }
    }
}

#[test]
fn a_claimed_length_over_the_limit_is_refused_before_any_byte_of_it() {
    let mut incoming = Incoming::default();
    incoming.push(&[0xff, 0xff, 0xff, 0xff, 17]);
    assert!(incoming.next_frame().is_err());
}

#[test]
fn a_claimed_count_reserves_no_more_than_what_is_there() {
    let mut payload = vec![0; 8];
    payload.extend_from_slice(&[2, 0, 0xff, 0xff, 0xff, 0xff]);
    assert!(ToMain::decode(19, &payload).is_err());
}

#[test]
fn large_batches_are_split_and_read_back() {
    let jobs: Vec<Job> = (0..64)
        .map(|id| Job {
            id: JobId(id),
            queue: Arc::from("celery"),
            facts: Arc::default(),
            message: Arc::new(Message { body: vec![7; 64 << 10], ..Message::default() }),
            batch: None,
        })
        .collect();
    let mut bytes = Vec::new();
    ToChild::Jobs(jobs.clone()).encode(&mut bytes);
    let frames = decoded(&bytes, bytes.len() / 2, |kind, payload| ToChild::decode(kind, payload).unwrap());
    assert!(frames.len() > 1, "one frame of {} bytes", bytes.len());
    let read: Vec<Job> = frames
        .into_iter()
        .flat_map(|frame| match frame {
            ToChild::Jobs(jobs) => jobs,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(read, jobs);
}
