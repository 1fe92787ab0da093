//! What each simulated message is, and what its task will do.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::{Delivery, Outgoing, Payload, Tag};
use umbel_protocol::{ChordStep, Destination, Malformed, Message, Properties, Timestamp, Zone, iso8601};
use umbel_worker::engine::{BatchOptions, TaskOptions};

use super::chords::{FAIL_DEPENDENTS, Role, UNLOCK};
use super::faults::Mood;

/// Largest body a simulated worker takes.
pub(super) const MAX_BYTES: usize = 4_096;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Task,
    Garbage,
    NoId,
    NoTask,
    BadEta,
    UnknownTask,
    NotAccepted,
    Oversized,
}

/// What the task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Succeed,
    Fail,
    Retry,
    Ignore,
    /// `Reject(requeue=True)` on the first run, success after that.
    RequeueOnce,
    Reject,
    /// Kills its process on the first runs, then succeeds.
    KillChild {
        times: u32,
    },
    /// Kills its process before a word is said of its start, always.
    KillUnheard,
    /// Never ends, until its hard limit, on the first runs; then succeeds.
    Hang {
        times: u32,
        obeys_soft_limit: bool,
    },
}

/// A message and its future.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) task: &'static str,
    pub(super) kind: Kind,
    pub(super) act: Act,
    /// Run time in µs.
    pub(super) takes: i64,
    pub(super) follow_ups: usize,
    pub(super) eta: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    /// What it is to a chord.
    pub(super) role: Option<Role>,
}

impl Plan {
    /// A task that succeeds at once.
    pub(super) fn simple(id: String, eta: Option<Timestamp>) -> Self {
        let (kind, act) = (Kind::Task, Act::Succeed);
        Self { id, task: "late", kind, act, takes: 500, follow_ups: 0, eta, expires: None, role: None }
    }

    /// Any message, as chance has it.
    pub(super) fn random(number: usize, now: Timestamp, mood: Mood, rng: &mut fastrand::Rng) -> Self {
        let kind = match rng.u32(..40) {
            0 => Kind::Garbage,
            1 => Kind::NoId,
            2 => Kind::NoTask,
            3 => Kind::BadEta,
            4 => Kind::UnknownTask,
            5 => Kind::NotAccepted,
            6 => Kind::Oversized,
            _ => Kind::Task,
        };
        let task = TASKS[rng.usize(..TASKS.len())];
        let ahead = |rng: &mut fastrand::Rng| Timestamp(now.0 + rng.i64(-2_000_000..12_000_000));
        Self {
            id: format!("t{number}"),
            task,
            kind,
            act: if mood == Mood::Apart { Act::Succeed } else { random_act(task, rng) },
            takes: rng.i64(1..=9) * mood.unit_of_time(rng),
            follow_ups: if rng.u32(..4) == 0 { rng.usize(1..=2) } else { 0 },
            eta: (rng.u32(..6) == 0).then(|| ahead(rng)),
            expires: (rng.u32(..8) == 0).then(|| ahead(rng)),
            role: None,
        }
    }

    /// The message on the wire.
    pub(super) fn message(&self) -> Message {
        let mut headers = String::from("{\"lang\": \"py\", \"retries\": 0");
        let mut member = |name: &str, value: &str| headers.push_str(&format!(", \"{name}\": \"{value}\""));
        if self.kind != Kind::NoTask {
            member("task", if self.kind == Kind::UnknownTask { "nobody.knows" } else { self.task });
        }
        if self.kind != Kind::NoId {
            member("id", &self.id);
        }
        let eta = self.eta.map(|eta| iso8601::format(eta, &Zone::UTC));
        match (self.kind, eta) {
            (Kind::BadEta, _) => member("eta", "next Tuesday"),
            (_, Some(eta)) => member("eta", &eta),
            (_, None) => {}
        }
        if let Some(expires) = self.expires {
            member("expires", &iso8601::format(expires, &Zone::UTC));
        }
        headers.push('}');
        let body = match (self.kind, self.role) {
            (Kind::Oversized, _) => vec![b' '; MAX_BYTES + 1],
            (_, Some(Role::Member { .. })) => br#"[[], {}, {"chord": {"task": "body"}}]"#.to_vec(),
            _ => b"[[], {}, {}]".to_vec(),
        };
        let accepted = self.kind != Kind::NotAccepted;
        Message {
            headers,
            body,
            content_type: if accepted { "application/json" } else { "application/x-python-serialize" }.into(),
            content_encoding: "utf-8".into(),
            properties: Properties { correlation_id: Some(self.id.clone()), ..Properties::default() },
        }
    }

    /// As something to publish, which does that to a chord.
    pub(super) fn outgoing(&self, chord: Option<ChordStep>) -> Outgoing {
        let (destination, chord) = (Destination::queue("celery"), chord.map(Box::new));
        Outgoing { destination, message: self.message(), eta: self.eta, line: None, chord }
    }

    /// As a delivery under `tag`.
    pub(super) fn delivery(&self, tag: Tag, failed_deliveries: u32) -> Delivery {
        let payload = if self.kind == Kind::Garbage {
            Payload::Malformed { raw: b"\xff{".to_vec(), error: Malformed::new("envelope", "not JSON") }
        } else {
            let mut message = self.message();
            message.properties.delivery_tag = Some(tag.0.to_string());
            message.properties.failed_deliveries = failed_deliveries;
            Payload::Message(Box::new(message))
        };
        Delivery { tag, queue: Arc::from("celery"), payload }
    }

    /// The options its task is registered with.
    pub(super) fn options(&self) -> TaskOptions {
        options(self.task)
    }
}

fn random_act(task: &str, rng: &mut fastrand::Rng) -> Act {
    if options(task).time_limit.is_some() && rng.bool() {
        return Act::Hang { times: rng.u32(1..=7), obeys_soft_limit: rng.u32(..3) == 0 };
    }
    match rng.u32(..40) {
        20 => Act::KillUnheard,
        21 | 22 => Act::KillChild { times: rng.u32(1..=7) },
        0 | 1 => Act::Fail,
        2 => Act::Retry,
        3 => Act::Ignore,
        4 => Act::RequeueOnce,
        5 => Act::Reject,
        6 => Act::KillChild { times: rng.u32(1..=7) },
        _ => Act::Succeed,
    }
}

/// Tasks that a message may be of; what sets each apart is in [`options`].
pub(super) const TASKS: [&str; 13] = [
    "late",
    "late",
    "early",
    "strict",
    "fragile",
    "limited",
    "stubborn",
    "early-limited",
    "slow",
    "slow-shared",
    "few",
    "early-few",
    "batched",
];

/// Every registered task.
pub(super) fn registered() -> impl Iterator<Item = TaskOptions> {
    TASKS.into_iter().chain([UNLOCK, FAIL_DEPENDENTS]).map(options)
}

/// How a task is registered.
pub(super) fn options(task: &str) -> TaskOptions {
    let is_limited = matches!(task, "limited" | "stubborn" | "early-limited");
    TaskOptions {
        name: task.into(),
        acks_late: !task.starts_with("early"),
        acks_on_failure: task != "strict",
        acks_on_timeout: task != "stubborn",
        reject_on_worker_lost: task != "fragile",
        ignore_result: matches!(task, "fragile" | UNLOCK | FAIL_DEPENDENTS),
        store_errors_even_if_ignored: false,
        time_limit: is_limited.then_some(Duration::from_secs(2)),
        soft_time_limit: (task == "limited").then_some(Duration::from_secs(1)),
        rate_limit: task.starts_with("slow").then_some(2.0),
        rate_limit_shared: task == "slow-shared",
        concurrency_limit: match task {
            "few" => Some(1),
            "early-few" => Some(2),
            _ => None,
        },
        concurrency_keyed: false,
        batch: (task == "batched").then_some(BatchOptions { most: 3, patience: Duration::from_millis(200) }),
        fair: false,
        unique: false,
        tells_failures: false,
    }
}
