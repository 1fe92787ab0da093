//! Messages and outcomes as a busy worker sees them: each bench uses its own part.
#![allow(dead_code)]

use std::sync::{Arc, LazyLock};

use umbel_broker::{Delivery, Payload, Tag};
use umbel_protocol::{Limits, Message, ResultWrite, envelope};
use umbel_worker::engine::{JobId, Outcome, Verdict};

#[path = "../../../umbel-protocol/tests/vectors/mod.rs"]
mod vectors;

/// The task every message is for.
pub(crate) const TASK: &str = "wire.add";

/// The id in the recorded message.
const RECORDED: &str = "63585695-ec8d-4fcb-af43-57dd360083b0";

fn task_id(number: usize) -> String {
    format!("8f0f1e0c-9d3c-4a57-8a6c-{number:012}")
}

/// `add.delay(2, 3)` as Celery writes it, under an id of its own.
pub(crate) fn message(number: usize) -> Message {
    static RAW: LazyLock<String> = LazyLock::new(|| {
        let raw = vectors::named("msg_delay_simple").in_lists().swap_remove(0);
        assert!(String::from_utf8_lossy(&raw).contains(RECORDED), "the recording has another id");
        String::from_utf8(raw).expect("JSON")
    });
    let raw = RAW.replace(RECORDED, &task_id(number));
    envelope::decode(raw.as_bytes(), &Limits::default()).expect("a recorded message")
}

/// A message under a tag of the usual length.
pub(crate) fn delivery(number: usize) -> Delivery {
    Delivery {
        tag: Tag(Arc::from(format!("umbel:celery@host:1800000000000000:{number:020}"))),
        queue: Arc::from("celery"),
        payload: Payload::Message(Box::new(message(number))),
    }
}

/// A success with a record of the usual size.
pub(crate) fn outcome(job: JobId) -> Outcome {
    let result = ResultWrite {
        task_id: task_id(job.0 as usize),
        state: "SUCCESS".into(),
        record: vec![b' '; 160],
        expires: None,
        reply_to: None,
    };
    Outcome { job, verdict: Verdict::Success, result: Some(result), publish: Vec::new() }
}
